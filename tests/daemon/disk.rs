//! A disk that takes no more of what an agent says: who looks at it finds that out, and why.

use std::process::Command;

use paseo_daemon::shim::{Ready, SHIM_FILE};
use paseo_sdk::catalogue::{GetAgentStatus, GetDaemon, WaitForAgent};
use paseo_sdk::item::Happening;
use paseo_sdk::model::{Status, WaitOutcome};
use rustix::process::{Pid, Resource, Rlimit, prlimit};

use super::watching::{until, until_text};
use crate::lab::{Lab, PASEO, timeline};

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_cannot_be_written_is_said_wherever_people_look() {
    let lab = Lab::new();
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let script = "echo ready; until test -e go; do sleep 0.03; done; seq 1 2000; echo end";
    let agent = client.create_agent(lab.script(script).in_background()).await.expect("it starts").agent_id;
    until_text(&client, &agent, "ready").await;
    let run = lab.home().join(format!("agents/{agent}/runs/1"));
    let file = std::fs::read_to_string(run.join(SHIM_FILE)).expect("its file");
    let shim: Ready = serde_json::from_str(&file).expect("who it is");
    let shim = Pid::from_raw(i32::try_from(shim.shim_pid).expect("a pid")).expect("a pid");
    let length = run.join("journal-000001.ndjson").metadata().expect("its journal").len();
    let before = prlimit(Some(shim), Resource::Fsize, Rlimit { current: Some(length + 10), maximum: None });
    let before = before.expect("its disk is full");
    std::fs::write(lab.work().join("go"), "").expect("go");
    until(&client, &agent, |agent| agent.reason.is_some()).await;

    let status = client.get_agent_status(GetAgentStatus { agent_id: (&agent).into() }).await.expect("a status");
    let trouble = "the journal cannot be written: file too large; the agent waits, and is ended when this lasts";
    assert_eq!((status.status, status.reason.as_deref()), (Status::Running, Some(trouble)));
    let warnings = client.get_daemon(GetDaemon {}).await.expect("the daemon").warnings;
    assert_eq!(warnings, [format!("agent {agent} (a test): {trouble}")]);
    for arguments in [&["ls", "-g"][..], &["inspect", agent.as_str()], &["daemon", "status"], &["logs", agent.as_str()]]
    {
        let shown = Command::new(PASEO).args(arguments).env("PASEO_HOME", lab.home()).output().expect("it runs");
        let shown = String::from_utf8_lossy(&shown.stdout);
        assert!(shown.contains("the journal cannot be written: file too large"), "{arguments:?}: {shown}");
    }

    prlimit(Some(shim), Resource::Fsize, before).expect("there is room");
    let done = client.wait_for_agent(WaitForAgent::one(&agent)).await.expect("it ends");
    assert_eq!(done.outcome, Some(WaitOutcome::Completed));
    assert!(done.last_message.is_some_and(|said| said.ends_with("2000\nend")));
    let status = client.get_agent_status(GetAgentStatus { agent_id: (&agent).into() }).await.expect("a status");
    assert_eq!((status.status, status.reason), (Status::Idle, None));
    assert_eq!(client.get_daemon(GetDaemon {}).await.expect("the daemon").warnings, Vec::<String>::new());
    let entries = timeline(&client, &agent).await;
    let notices: Vec<&str> = entries
        .iter()
        .filter_map(|entry| match &entry.what {
            Happening::Notice { text } => Some(text.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(notices, [trouble, "the journal can be written again"]);
    lab.end(&client).await;
}
