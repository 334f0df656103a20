//! A daemon in the foreground of a terminal, which closes.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use paseo_sdk::Client;
use paseo_sdk::catalogue::{GetAgentStatus, GetDaemon, WaitForAgent};
use paseo_sdk::model::{Agent, AgentId, Permission, Status, WaitOutcome};
use rustix::process::{Pid, Signal, kill_process_group};

use super::restart::LONG;
use super::watching::until_text;
use crate::lab::{Lab, PASEO, calls, timeline};

#[tokio::test(flavor = "multi_thread")]
async fn agents_go_on_when_the_terminal_of_their_daemon_closes() {
    let lab = Lab::new();
    let mut terminal = Command::new("script");
    terminal.args(["-q", "-c", &format!("exec {PASEO} daemon run"), "/dev/null"]);
    let terminal = lab.process_by(terminal);
    let before = at_work(&lab).await;
    let daemon = lab.client().get_daemon(GetDaemon {}).await.expect("the daemon").pid;
    assert_ne!(daemon, terminal.pid());
    let stat = std::fs::read_to_string(format!("/proc/{daemon}/stat")).expect("it runs");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    assert_ne!(fields[4], "0", "it has a terminal: {stat}");
    terminal.kill();
    crate::shim::ended(daemon).await.expect("it goes with its terminal");
    goes_on(lab, before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_go_on_when_the_process_group_of_their_daemon_is_killed() {
    let lab = Lab::new();
    let mut command = Command::new(PASEO);
    command.args(["daemon", "run"]).process_group(0);
    let daemon = lab.process_by(command);
    let before = at_work(&lab).await;
    let group = Pid::from_raw(i32::try_from(daemon.pid()).expect("a pid")).expect("a pid");
    kill_process_group(group, Signal::HUP).expect("it is there");
    kill_process_group(group, Signal::KILL).expect("it is there");
    daemon.ended();
    goes_on(lab, before).await;
}

/// One agent that prints, and one that asks.
struct AtWork {
    printing: Agent,
    asking: AgentId,
    permissions: Vec<Permission>,
}

async fn status(client: &Client, agent: &AgentId) -> Agent {
    client.get_agent_status(GetAgentStatus { agent_id: agent.into() }).await.expect("it is there")
}

async fn at_work(lab: &Lab) -> AtWork {
    let client = lab.client();
    let agent = client.create_agent(lab.script(LONG).in_background()).await.expect("it starts").agent_id;
    until_text(&client, &agent, "line 3").await;
    let asking = client.create_agent(lab.asking("echo allowed")).await.expect("it asks");
    let permissions = asking.permissions;
    AtWork { printing: status(&client, &agent).await, asking: asking.agent_id, permissions }
}

/// Checks that the next daemon finds them as they were, and that they come to their end.
async fn goes_on(lab: Lab, before: AtWork) {
    let _daemon = lab.process();
    let client = lab.client();
    let agent = before.printing.agent_id;
    let after = status(&client, &agent).await;
    assert_eq!((after.status, after.pid, after.turn), (Status::Running, before.printing.pid, before.printing.turn));
    let asking = client.wait_for_agent(WaitForAgent::one(&before.asking)).await.expect("it still asks");
    assert_eq!((asking.outcome, asking.permissions), (Some(WaitOutcome::Permission), before.permissions));
    std::fs::write(lab.work().join("go"), "").expect("go");
    let done = client.wait_for_agent(WaitForAgent::one(&agent)).await.expect("it ends");
    assert_eq!(done.outcome, Some(WaitOutcome::Completed));
    let entries = timeline(&client, &agent).await;
    assert_eq!(calls(&entries)[0].output.as_deref(), Some("line 1\nline 2\nline 3\nline 4\nline 5\nline 6\n"));
    lab.end(&client).await;
}
