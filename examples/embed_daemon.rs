//! Runs a daemon inside this program: no other process but the agents' own shims.
//!
//! ```sh
//! cargo run -p paseo-examples --bin embed_daemon
//! ```

use paseo_daemon::Daemon;
use paseo_daemon::config::Config;
use paseo_sdk::catalogue::{CreateAgent, GetAgentActivity};
use paseo_sdk::model::Mode;

// The roles that shims and bridges play are played by this program, so they come before anything else.
fn main() -> Result<(), Box<dyn std::error::Error>> {
    paseo_daemon::helper_main();
    tokio::runtime::Runtime::new()?.block_on(supervise())
}

async fn supervise() -> Result<(), Box<dyn std::error::Error>> {
    let home = std::env::temp_dir().join(format!("paseo-example-{}", std::process::id()));
    let config = Config { helper: Some(std::env::current_exe()?), listen: None, ..Config::at(&home) };
    let daemon = Daemon::start(config).await?;
    let client = daemon.client();

    // Three agents at once; each call returns when its agent has finished.
    let task = |number: i32| {
        CreateAgent::new(format!("count {number}"), "shell", format!("seq {number}"))
            .cwd(std::env::temp_dir().display().to_string())
            .mode(Mode::FullAccess)
    };
    let (one, two, three) =
        tokio::join!(client.create_agent(task(1)), client.create_agent(task(2)), client.create_agent(task(3)));
    for outcome in [one?, two?, three?] {
        let activity = client.get_agent_activity(GetAgentActivity { agent_id: outcome.agent_id.into() }).await?;
        println!("{}\n{}\n", activity.title, activity.summary);
    }

    daemon.shutdown().await;
    std::fs::remove_dir_all(home)?;
    Ok(())
}
