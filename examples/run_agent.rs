//! Hands a task to an agent of the daemon that runs on this machine, follows it, and says what came of it.
//!
//! ```sh
//! paseo daemon start && cargo run -p paseo-examples --bin run_agent -- 'for i in 1 2 3; do echo $i; sleep 1; done'
//! ```

use std::io::Write as _;

use paseo_sdk::catalogue::{CreateAgent, GetAgentStatus, WatchAgents, WatchFrom};
use paseo_sdk::model::{Event, Mode};
use paseo_sdk::{ApiError, Client};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let script = std::env::args().nth(1).unwrap_or_else(|| "echo hello from $PWD".to_owned());
    let home = match std::env::var_os("PASEO_HOME") {
        Some(home) => home.into(),
        None => std::env::home_dir().unwrap_or_default().join(".paseo"),
    };
    let client = Client::new(paseo_sdk::client::Address::Unix(home.join("paseo.sock")));
    let here = std::env::current_dir()?.display().to_string();

    let task = CreateAgent::new("an example", "shell", script).cwd(here).mode(Mode::FullAccess).in_background();
    let agent = client.create_agent(task).await?;
    follow(&client, &agent.agent_id).await?;

    let agent = client.get_agent_status(GetAgentStatus { agent_id: agent.agent_id.into() }).await?;
    println!("{:?}: {:?}", agent.agent_id, agent.last_turn.map(|turn| turn.outcome));
    Ok(())
}

/// Prints what the agent's tools print, until its turn has ended.
async fn follow(client: &Client, agent: &paseo_sdk::model::AgentId) -> Result<(), ApiError> {
    let from = WatchFrom { agent_id: agent.into(), after: 0 };
    let mut watch = client.watch(WatchAgents { agents: Some(vec![from]) });
    while let Some(event) = watch.next().await {
        match event? {
            Event::AgentText { delta, .. } => {
                print!("{}", delta.text);
                let _ = std::io::stdout().flush();
            }
            Event::AgentChanged(agent) if agent.turn.is_none() && agent.last_turn.is_some() => break,
            _ => {}
        }
    }
    Ok(())
}
