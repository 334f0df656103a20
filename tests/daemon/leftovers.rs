//! Of an agent that is over nothing is left, however it came to its end; except what `keep` names.

use std::process::{Command, Stdio};

use paseo_daemon::shim::{Ready, SHIM_FILE, place, tree};
use paseo_sdk::Client;
use paseo_sdk::catalogue::{ArchiveAgent, DeleteAgent, ShutdownDaemon, WaitForAgent};
use paseo_sdk::model::{AgentId, WaitOutcome};
use rustix::process::Signal;

use super::watching::{until, until_text};
use crate::lab::{Lab, processes_in};

/// Starts processes that do what they can to stay: deaf, in groups and sessions of their own, without a parent, without
/// an environment. Each writes down its pid.
const STUBBORN: &str = r#"
    trap '' TERM HUP INT
    echo $$ >> pids
    (sh -c 'echo $$ >> pids; exec sleep 1001' >/dev/null 2>&1 &)
    setsid sh -c 'echo $$ >> pids; exec sleep 1002' >/dev/null 2>&1 &
    (setsid sh -c '(sh -c "echo \$\$ >> pids; cd /; exec sleep 1003" &); exit' >/dev/null 2>&1 &)
    env -i PATH="$PATH" setsid sh -c 'echo $$ >> pids; exec sleep 1004' >/dev/null 2>&1 &
    until [ "$(wc -l < pids)" -eq 5 ]; do sleep 0.01; done
"#;

#[tokio::test(flavor = "multi_thread")]
async fn agents_that_finish_are_stopped_archived_or_deleted_leave_nothing() {
    let lab = Lab::new();
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let done = client.create_agent(lab.script(&format!("{STUBBORN} echo done"))).await.expect("it runs");
    assert_eq!(done.outcome, Some(WaitOutcome::Completed));
    until(&client, &done.agent_id, |agent| agent.pid.is_none()).await;
    assert_left_nothing(&lab);

    let agent = stays(&lab, &client).await;
    client.cancel_agent(paseo_sdk::catalogue::CancelAgent { agent_id: (&agent).into() }).await.expect("it stops");
    until(&client, &agent, |agent| agent.pid.is_none()).await;
    assert_left_nothing(&lab);

    let agent = stays(&lab, &client).await;
    client.archive_agent(ArchiveAgent { agent_id: (&agent).into() }).await.expect("it goes");
    assert_left_nothing(&lab);

    let agent = stays(&lab, &client).await;
    client.delete_agent(DeleteAgent { agent_id: (&agent).into() }).await.expect("it is deleted");
    assert_left_nothing(&lab);
    lab.end(&client).await;
}

/// Starts an agent with all of them that does not end.
async fn stays(lab: &Lab, client: &Client) -> AgentId {
    let script = format!("{STUBBORN} echo ready; while :; do sleep 1005; done");
    let agent = client.create_agent(lab.script(&script).in_background()).await.expect("it starts").agent_id;
    until_text(client, &agent, "ready").await;
    agent
}

fn assert_left_nothing(lab: &Lab) {
    let file = lab.work().join("pids");
    let pids = std::fs::read_to_string(&file).expect("they have written");
    let left: Vec<&str> = pids.lines().filter(|pid| crate::shim::is_alive(pid.parse().expect("a pid"))).collect();
    assert_eq!((pids.lines().count(), left), (5, Vec::new()), "of {pids}");
    assert_eq!(processes_in(&lab.work()), Vec::<String>::new());
    std::fs::remove_file(file).expect("the next ones write anew");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_daemon_ends_the_orphans_of_a_killed_shim_and_only_those() {
    let mut lab = Lab::new();
    lab.set_env([("PATH".to_owned(), format!("{}:/usr/bin:/bin", lab.work().display()))]);
    let private = std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0o700).create(lab.home());
    private.expect("a home");
    std::fs::write(lab.home().join("config.json"), r#"{ "keep": ["keeper"] }"#).expect("settings");
    crate::lab::copy_of_program("/bin/sleep", &lab.work().join("keeper"));
    let daemon = lab.process();
    let client = lab.client();
    let kept = client.create_agent(lab.script("keeper 1001 >/dev/null 2>&1 & echo $!")).await.expect("it runs");
    until(&client, &kept.agent_id, |agent| agent.pid.is_none()).await;
    let kept: i64 = kept.last_message.as_deref().unwrap_or_default().parse().expect("a pid");
    let script = "keeper 1002 >/dev/null 2>&1 & echo $!; setsid sleep 1003 & echo $!; echo ready; sleep 1004";
    let agent = client.create_agent(lab.script(script).in_background()).await.expect("it starts").agent_id;
    let living = client.create_agent(lab.script("echo ready; sleep 1005").in_background()).await.expect("it starts");
    until_text(&client, &agent, "ready").await;
    until_text(&client, &living.agent_id, "ready").await;
    // Somebody who happens to have the variable of another agent of this home, and of this agent in another home.
    let strangers = [place::marker(&lab.home(), "other", 1), place::marker(&lab.work(), agent.as_str(), 1)];
    let stranger = |marker: &String| Command::new("cat").env("PASEO_RUN", marker).stdin(Stdio::piped()).spawn();
    let mut strangers = strangers.iter().map(|marker| stranger(marker).expect("it runs")).collect::<Vec<_>>();

    daemon.kill();
    let file = lab.home().join(format!("agents/{agent}/runs/1")).join(SHIM_FILE);
    let shim: Ready = serde_json::from_str(&std::fs::read_to_string(file).expect("its file")).expect("who it is");
    tree::signal_one(shim.shim_pid, shim.shim_start_time, Signal::KILL).expect("it is killed");
    crate::shim::ended(shim.pid).await.expect("its agent goes with it");
    let orphan = |name: &str| processes_in(&lab.work()).iter().filter(|process| process.ends_with(name)).count();
    assert_eq!((orphan(" keeper"), orphan(" sleep")), (2, 3), "two that it left, one of the other agent");

    let daemon = lab.process();
    let lost = client.wait_for_agent(WaitForAgent::one(&agent)).await.expect("it is known");
    assert_eq!(lost.outcome, Some(WaitOutcome::Interrupted));
    assert_eq!((orphan(" keeper"), orphan(" sleep")), (2, 1));
    assert!(strangers.iter_mut().all(|stranger| matches!(stranger.try_wait(), Ok(None))));
    assert!(crate::shim::is_alive(kept));

    client.shutdown_daemon(ShutdownDaemon { with_agents: true, restart: false }).await.expect("it stops");
    daemon.ended();
    assert_eq!((orphan(" keeper"), orphan(" sleep")), (2, 0));
    for mut stranger in strangers {
        drop(stranger.stdin.take());
        assert!(stranger.wait().expect("it ends").success());
    }
}
