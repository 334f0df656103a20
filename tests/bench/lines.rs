//! Lines on time: start, calls, commands, agents.

use std::io::Read as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use paseo_sdk::Client;
use paseo_sdk::catalogue::{DeleteAgent, GetDaemon, ListAgents};
use paseo_sdk::model::Status;
use serde_json::json;

use crate::Result;
use crate::echo::Echo;
use crate::stage::Stage;
use crate::table::{self, Figures, Unit};

/// From the spawn of a daemon to its health, each time in a new home.
pub(crate) fn first_start(stage: &Stage) -> Result<()> {
    start(stage, "start, in a new home", Stage::clear)
}

/// From the spawn of a daemon to its health, in the home as it is.
pub(crate) fn next_start(stage: &Stage, what: &str) -> Result<()> {
    start(stage, what, |_| Ok(()))
}

fn start(stage: &Stage, what: &str, prepare: impl Fn(&Stage) -> Result<()>) -> Result<()> {
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        prepare(stage)?;
        let begun = Instant::now();
        let daemon = stage.daemon()?;
        ours.push(begun.elapsed().as_secs_f64());
        daemon.stop()?;
        bare.push(command(&mut Command::new(NOTHING))?);
    }
    beside(what, ours, NOTHING, bare);
    Ok(())
}

/// From the spawn of a daemon whose forerunner was killed, until it has attached to the hundred agents that run. The home
/// as it is has a hundred agents, too, none of which run.
pub(crate) async fn reattach(stage: &mut Stage) -> Result<()> {
    let idle = stage.enter("running");
    let daemon = stage.daemon()?;
    stage.sleepers(&stage.client(), HUNDRED).await?;
    daemon.kill();
    let (mut healthy, mut listed, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..STARTS {
        let begun = Instant::now();
        let daemon = stage.daemon()?;
        healthy.push(begun.elapsed().as_secs_f64());
        let client = stage.client();
        while running(&client).await? < HUNDRED {
            tokio::time::sleep(LOOK).await;
        }
        listed.push(begun.elapsed().as_secs_f64());
        daemon.kill();
        stage.enter(idle);
        let begun = Instant::now();
        let daemon = stage.daemon()?;
        bare.push(begun.elapsed().as_secs_f64());
        daemon.stop()?;
        stage.enter("running");
    }
    beside("re-attach to 100 agents, until healthy", healthy, "100 idle ones", bare.clone());
    beside("re-attach to 100 agents, until listed", listed, "100 idle ones", bare);
    let daemon = stage.daemon()?;
    stage.end()?;
    daemon.stop()?;
    stage.enter(idle);
    Ok(())
}

/// Returns how many agents run, in a process that the daemon knows.
async fn running(client: &Client) -> Result<usize> {
    let request = ListAgents { statuses: vec![Status::Running], ..ListAgents::default() };
    let agents = client.list_agents(request).await?.agents;
    Ok(agents.iter().filter(|agent| agent.pid.is_some()).count())
}

/// Calls through the client, over both kinds of socket.
pub(crate) async fn calls(stage: &Stage) -> Result<()> {
    stage.agents(AGENTS).await?;
    let (unix, tcp) = (stage.client(), stage.client_over_tcp().await?);
    for method in ["get_daemon", "list_agents"] {
        let answer = json!({ "jsonrpc": "2.0", "id": 1000, "result": unix.call(method, json!({})).await? });
        let question = json!({ "jsonrpc": "2.0", "id": 1000, "method": method, "params": {} });
        let (question, answer) = (question.to_string().len(), answer.to_string().len());
        let path = stage.work().join(method);
        let what = format!("call {method} ({answer} B)");
        call(&format!("{what}, unix"), &unix, method, Echo::over_unix(&path, question, answer).await?).await?;
        call(&format!("{what}, TCP"), &tcp, method, Echo::over_tcp(question, answer).await?).await?;
    }
    Ok(())
}

async fn call(what: &str, client: &Client, method: &str, mut echo: Echo) -> Result<()> {
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    // The first ones, over a connection that is made for them, do not count.
    for round in 0..=ROUNDS {
        let begun = Instant::now();
        for _ in 0..CALLS {
            match method {
                "get_daemon" => drop(client.get_daemon(GetDaemon {}).await?),
                _ => drop(client.list_agents(ListAgents::default()).await?),
            }
        }
        let one = begun.elapsed().as_secs_f64() / f64::from(CALLS);
        let begun = Instant::now();
        for _ in 0..CALLS {
            echo.call().await?;
        }
        let other = begun.elapsed().as_secs_f64() / f64::from(CALLS);
        if round > 0 {
            ours.push(one);
            bare.push(other);
        }
    }
    beside(what, ours, "a bare WebSocket", bare);
    Ok(())
}

/// `paseo ls`, as a whole process.
pub(crate) fn list(stage: &Stage) -> Result<()> {
    let (mut ours, mut nothing, mut git) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..COMMANDS {
        ours.push(command(&mut stage.paseo(&["ls"]))?);
        nothing.push(command(&mut Command::new(NOTHING))?);
        git.push(command(Command::new("git").arg("--version"))?);
    }
    beside("paseo ls", ours.clone(), NOTHING, nothing);
    beside("paseo ls", ours, "git --version", git);
    Ok(())
}

/// The shortest life of an agent.
pub(crate) async fn agent(stage: &Stage) -> Result<()> {
    let client = stage.client();
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..COMMANDS {
        let begun = Instant::now();
        stage.run(&client, "true").await?;
        ours.push(begun.elapsed().as_secs_f64());
        bare.push(command(Command::new("/bin/sh").args(["-c", "true"]))?);
    }
    beside("agent, `true`", ours, "sh -c true", bare);
    Ok(())
}

/// An agent that prints much.
pub(crate) async fn output(stage: &Stage) -> Result<()> {
    let client = stage.client();
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..OUTPUTS {
        let begun = Instant::now();
        let agent = stage.run(&client, PRINTING).await?;
        ours.push(begun.elapsed().as_secs_f64());
        client.delete_agent(DeleteAgent { agent_id: (&agent).into() }).await?;
        bare.push(command(Command::new("/bin/sh").args(["-c", PRINTING]))?);
    }
    beside("output, 20 MB", ours, "sh into a pipe", bare);
    Ok(())
}

/// Runs a command to its end, reads what it prints, and returns how long that took.
pub(crate) fn command(command: &mut Command) -> Result<f64> {
    let begun = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let read = child.stdout.take().ok_or("it is piped")?.read_to_end(&mut Vec::new());
    let ended = child.wait()?;
    read?;
    match ended.success() {
        true => Ok(begun.elapsed().as_secs_f64()),
        false => Err(format!("{} failed: {ended}", command.get_program().display()).into()),
    }
}

pub(crate) fn beside(what: &str, ours: Vec<f64>, bare: &str, bare_figures: Vec<f64>) {
    table::beside(what, &Figures::new(Unit::Seconds, ours), bare, &Figures::new(Unit::Seconds, bare_figures));
}

/// A process that does nothing.
const NOTHING: &str = if cfg!(target_os = "macos") { "/usr/bin/true" } else { "/bin/true" };
/// A script that prints twenty megabytes, in lines of 64 bytes.
const PRINTING: &str = "yes 'a line of output as a program prints it, of sixty-four bytes...' | head -c 20000000";

const STARTS: usize = 15;
const AGENTS: i64 = 10;
const HUNDRED: usize = 100;
/// How long between two looks at what is listed.
const LOOK: Duration = Duration::from_millis(1);
const ROUNDS: usize = 20;
const CALLS: u32 = 100;
const COMMANDS: usize = 30;
const OUTPUTS: usize = 7;
