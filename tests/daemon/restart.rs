//! What a daemon that was killed, stopped or replaced leaves to the next one.

use paseo_daemon::shim::link::{self, News};
use paseo_sdk::catalogue::{
    GetAgentStatus, GetDaemon, RespondToPermission, SendAgentPrompt, ShutdownDaemon, WaitForAgent, WatchAgents,
    WatchFrom,
};
use paseo_sdk::item::Happening;
use paseo_sdk::model::{Behavior, Event, Status, WaitOutcome};
use paseo_sdk::provider::{Record, What};

use super::watching::{follow, until_text};
use crate::conformance::stage::status;
use crate::lab::{Lab, calls, copy_of_program, timeline};

/// Prints numbered lines until it is told to go, then more of them.
pub(super) const LONG: &str = "for i in 1 2 3; do echo line $i; done; until test -e go; do sleep 0.03; done; for i in 4 5 6; do echo line $i; done";

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_killed_in_the_middle_of_a_turn_loses_nothing() {
    let lab = Lab::new();
    let daemon = lab.process();
    let client = lab.client();
    let agent = client.create_agent(lab.script(LONG).in_background()).await.expect("it starts").agent_id;
    let queued =
        client.send_agent_prompt(SendAgentPrompt::new(&agent, "echo queued").in_background()).await.expect("queued");
    until_text(&client, &agent, "line 3").await;
    let before = client.get_agent_status(GetAgentStatus { agent_id: (&agent).into() }).await.expect("a status");
    daemon.kill();

    let _daemon = lab.process();
    let after = client.get_agent_status(GetAgentStatus { agent_id: (&agent).into() }).await.expect("a status");
    assert_eq!((after.status, after.pid, &after.turn), (Status::Running, before.pid, &before.turn), "the same process");
    assert_eq!(after.queued, before.queued);
    std::fs::write(lab.work().join("go"), "").expect("go");
    let wait = WaitForAgent { prompt_id: queued.prompt_id, ..WaitForAgent::one(&agent) };
    assert_eq!(client.wait_for_agent(wait).await.expect("it ends").last_message.as_deref(), Some("queued"));
    let entries = timeline(&client, &agent).await;
    let outputs: Vec<_> = calls(&entries).iter().map(|call| call.output.clone().unwrap_or_default()).collect();
    assert_eq!(outputs, ["line 1\nline 2\nline 3\nline 4\nline 5\nline 6\n", "queued\n"]);
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permission_outlives_the_daemon_that_was_told_of_it() {
    let lab = Lab::new();
    let daemon = lab.process();
    let client = lab.client();
    let asking = client.create_agent(lab.asking("echo allowed")).await.expect("it asks");
    assert_eq!(asking.outcome, Some(WaitOutcome::Permission));
    daemon.kill();

    let daemon = lab.process();
    let again = client.wait_for_agent(WaitForAgent::one(&asking.agent_id)).await.expect("it still asks");
    assert_eq!(again.permissions, asking.permissions);
    let answer = RespondToPermission {
        agent_id: (&asking.agent_id).into(),
        request_id: asking.permissions[0].request_id.clone(),
        behavior: Behavior::Allow,
        option_id: None,
        message: None,
        updated_input: None,
        interrupt: false,
    };
    client.respond_to_permission(answer).await.expect("an answer");
    // It may die before the answer is told: the next one tells it.
    daemon.kill();
    let _daemon = lab.process();
    let done = client.wait_for_agent(WaitForAgent::one(&asking.agent_id)).await.expect("it ends");
    assert_eq!((done.outcome, done.last_message.as_deref()), (Some(WaitOutcome::Completed), Some("allowed")));
    timeline(&client, &asking.agent_id).await;
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_and_a_watch_go_on_across_a_restart() {
    let lab = Lab::new();
    let daemon = lab.process();
    let client = lab.client();
    let agent = client.create_agent(lab.script(LONG).in_background()).await.expect("it starts").agent_id;
    let mut watch = client.watch(WatchAgents { agents: Some(vec![WatchFrom { agent_id: (&agent).into(), after: 0 }]) });
    let waiting = tokio::spawn({
        let (client, wait) = (client.clone(), WaitForAgent::one(&agent));
        async move { client.wait_for_agent(wait).await }
    });
    until_text(&client, &agent, "line 3").await;
    daemon.kill();
    let _daemon = lab.process();
    std::fs::write(lab.work().join("go"), "").expect("go");
    let done = waiting.await.expect("no panic").expect("the wait ends");
    assert_eq!(done.outcome, Some(WaitOutcome::Completed));
    let mut seen = Vec::new();
    while let Some(event) = watch.next().await {
        if let Event::AgentEntry { entry, .. } = event.expect("the watch goes on") {
            seen.push(*entry);
            if matches!(seen.last().map(|entry| &entry.what), Some(Happening::TurnEnded { .. })) {
                break;
            }
        }
    }
    assert_eq!(seen, timeline(&client, &agent).await, "each entry once, in order");
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ended_while_no_daemon_was_there_is_known_to_the_next() {
    let lab = Lab::new();
    let daemon = lab.process();
    let client = lab.client();
    let agent = client.create_agent(lab.script(LONG).in_background()).await.expect("it starts").agent_id;
    until_text(&client, &agent, "line 3").await;
    daemon.kill();
    std::fs::write(lab.work().join("go"), "").expect("go");
    let socket = paseo_daemon::shim::place::socket(&lab.home(), agent.as_str(), 1).expect("its socket");
    let (words, mut heard) = link::attach(&socket, 0).await.expect("its shim goes on");
    loop {
        match heard.next().await.expect("its shim goes on") {
            News::Record(Record { what: What::Said(line), .. })
                if line.text().is_some_and(|line| line.contains("exit")) =>
            {
                break;
            }
            _ => {}
        }
    }
    drop((words, heard));
    let _daemon = lab.process();
    let done = client.wait_for_agent(WaitForAgent::one(&agent)).await.expect("it is known");
    assert_eq!((done.outcome, done.status), (Some(WaitOutcome::Completed), Status::Idle));
    let entries = timeline(&client, &agent).await;
    assert_eq!(calls(&entries)[0].output.as_deref(), Some("line 1\nline 2\nline 3\nline 4\nline 5\nline 6\n"));
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_shim_interrupts_the_turn_and_the_agent_can_go_on() {
    let lab = Lab::new();
    let _daemon = lab.process();
    let client = lab.client();
    let agent = client
        .create_agent(lab.script("echo ready; setsid sleep 1000 & sleep 1001").in_background())
        .await
        .expect("it starts")
        .agent_id;
    until_text(&client, &agent, "ready").await;
    let file =
        std::fs::read_to_string(lab.home().join(format!("agents/{agent}/runs/1")).join(paseo_daemon::shim::SHIM_FILE));
    let shim: paseo_daemon::shim::Ready = serde_json::from_str(&file.expect("the shim's file")).expect("who it is");
    let pid = rustix::process::Pid::from_raw(i32::try_from(shim.shim_pid).expect("a pid")).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it is killed");
    let lost = client.wait_for_agent(WaitForAgent::one(&agent)).await.expect("it is noticed");
    assert_eq!((lost.outcome, lost.status), (Some(WaitOutcome::Interrupted), Status::Interrupted));
    assert!(lost.reason.as_deref().is_some_and(|reason| reason.contains("lost")), "{lost:?}");
    assert_eq!(crate::lab::processes_in(&lab.work()), Vec::<String>::new());
    let again = client.send_agent_prompt(SendAgentPrompt::new(&agent, "echo again")).await.expect("it goes on");
    assert_eq!(again.last_message.as_deref(), Some("again"));
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shim_that_does_not_answer_holds_up_nobody_and_is_found_when_it_does() {
    let lab = Lab::new();
    let daemon = lab.process();
    let client = lab.client();
    let agent = client.create_agent(lab.script(LONG).in_background()).await.expect("it starts").agent_id;
    until_text(&client, &agent, "line 3").await;
    daemon.kill();
    let run = lab.home().join(format!("agents/{agent}/runs/1"));
    let shim = paseo_daemon::shim::journal::processes(&run).expect("its file").expect("its shim");
    let signal = |signal| paseo_daemon::shim::tree::signal_one(shim.shim_pid, shim.shim_start_time, signal);
    signal(rustix::process::Signal::STOP).expect("it runs");
    let _daemon = lab.process();
    assert_eq!(status(&client, &agent).await.status, Status::Running);
    let other = client.create_agent(lab.script("echo other")).await.expect("it runs");
    assert_eq!(other.last_message.as_deref(), Some("other"));
    let queued = SendAgentPrompt::new(&agent, "echo queued").in_background();
    let queued = client.send_agent_prompt(queued).await.expect("it is queued").prompt_id;
    let told = client.get_daemon(GetDaemon {}).await.expect("the daemon").warnings;
    assert!(told.iter().any(|warning| warning.contains(agent.as_str())), "{told:?}");
    signal(rustix::process::Signal::CONT).expect("it is there");
    std::fs::write(lab.work().join("go"), "").expect("go");
    let wait = WaitForAgent { prompt_id: queued, ..WaitForAgent::one(&agent) };
    assert_eq!(client.wait_for_agent(wait).await.expect("it ends").last_message.as_deref(), Some("queued"));
    let entries = timeline(&client, &agent).await;
    assert_eq!(calls(&entries)[0].output.as_deref(), Some("line 1\nline 2\nline 3\nline 4\nline 5\nline 6\n"));
    let told = client.get_daemon(GetDaemon {}).await.expect("the daemon").warnings;
    assert_eq!(told, Vec::<String>::new(), "it is found");
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_restarts_in_place_under_running_agents() {
    let lab = Lab::new();
    let daemon = lab.process();
    let client = lab.client();
    let agent = client.create_agent(lab.script(LONG).in_background()).await.expect("it starts").agent_id;
    until_text(&client, &agent, "line 3").await;
    let before = client.get_daemon(GetDaemon {}).await.expect("the daemon");
    let answer =
        client.shutdown_daemon(ShutdownDaemon { with_agents: false, restart: true }).await.expect("it restarts");
    assert_eq!(answer.running, 1);
    std::fs::write(lab.work().join("go"), "").expect("go");
    let done = client.wait_for_agent(WaitForAgent::one(&agent)).await.expect("it ends");
    assert_eq!(done.outcome, Some(WaitOutcome::Completed));
    let after = client.get_daemon(GetDaemon {}).await.expect("the daemon");
    assert_eq!(after.pid, before.pid);
    assert_eq!(after.pid, daemon.pid());
    assert!(after.started_at > before.started_at);
    lab.end(&client).await;
    assert_eq!(daemon.ended(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_whose_program_was_replaced_still_starts_agents_and_becomes_the_new_one() {
    let lab = Lab::new();
    // A copy that can be replaced, as an upgrade does: by rename, while it runs.
    let program = lab.work().join("paseo");
    copy_of_program(crate::lab::PASEO, &program);
    let _daemon = lab.process_of(&program);
    let client = lab.client();
    let mut running = Vec::new();
    for _ in 0..10 {
        running.push(client.create_agent(lab.script(LONG).in_background()).await.expect("it starts").agent_id);
    }
    let mut watches = Vec::new();
    for agent in &running {
        until_text(&client, agent, "line 3").await;
        watches.push(client.watch(follow(agent, 0)));
    }
    let newer = lab.work().join("paseo.new");
    copy_of_program(crate::lab::PASEO, &newer);
    std::fs::rename(&newer, &program).expect("it is replaced");
    let done = client.create_agent(lab.script("echo still here")).await.expect("it runs");
    assert_eq!(done.last_message.as_deref(), Some("still here"));

    let before = client.get_daemon(GetDaemon {}).await.expect("the daemon");
    let mut agents = Vec::new();
    for agent in &running {
        agents.push(status(&client, agent).await);
    }
    let restart = ShutdownDaemon { with_agents: false, restart: true };
    assert_eq!(client.shutdown_daemon(restart).await.expect("it restarts").running, 10);
    for agent in &agents {
        let now = status(&client, &agent.agent_id).await;
        assert_eq!((now.status, now.pid, &now.turn), (Status::Running, agent.pid, &agent.turn), "the same process");
    }
    std::fs::write(lab.work().join("go"), "").expect("go");
    for (agent, mut watch) in running.iter().zip(watches) {
        let done = client.wait_for_agent(WaitForAgent::one(agent)).await.expect("it ends");
        assert_eq!(done.outcome, Some(WaitOutcome::Completed));
        let entries = timeline(&client, agent).await;
        assert_eq!(calls(&entries)[0].output.as_deref(), Some("line 1\nline 2\nline 3\nline 4\nline 5\nline 6\n"));
        let mut seen = Vec::new();
        while seen.len() < entries.len() {
            if let Event::AgentEntry { entry, .. } = watch.next().await.expect("it goes on").expect("it goes on") {
                seen.push(*entry);
            }
        }
        assert_eq!(seen, entries, "a watcher has seen each entry once, in order");
    }
    let after = client.get_daemon(GetDaemon {}).await.expect("the daemon");
    assert_eq!(after.pid, before.pid);
    let runs = std::fs::read_link(format!("/proc/{}/exe", after.pid)).expect("it runs");
    assert_eq!(runs, program, "the new file");
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_does_not_become_a_program_that_does_not_run() {
    let lab = Lab::new();
    let program = lab.work().join("paseo");
    copy_of_program(crate::lab::PASEO, &program);
    let daemon = lab.process_of(&program);
    let client = lab.client();
    let agent = client.create_agent(lab.script(LONG).in_background()).await.expect("it starts").agent_id;
    let half = lab.work().join("paseo.new");
    let bytes = std::fs::read(crate::lab::PASEO).expect("a program");
    // A download that was cut.
    crate::lab::program(&half, &bytes[..bytes.len() / 100]);
    std::fs::rename(&half, &program).expect("it is replaced");
    let restart = ShutdownDaemon { with_agents: false, restart: true };
    let refused = client.shutdown_daemon(restart).await.expect_err("it would not come back");
    assert_eq!(refused.code, paseo_sdk::Code::Refused);
    assert!(refused.message.contains(&program.display().to_string()), "{refused:?}");
    let info = client.get_daemon(GetDaemon {}).await.expect("it goes on");
    assert_eq!((info.pid, info.running), (daemon.pid(), 1));
    std::fs::write(lab.work().join("go"), "").expect("go");
    client.wait_for_agent(WaitForAgent::one(&agent)).await.expect("it ends");
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_new_program_is_gone_by_then_the_old_one_goes_on() {
    let lab = Lab::new();
    let program = lab.work().join("paseo");
    copy_of_program(crate::lab::PASEO, &program);
    let daemon = lab.process_of(&program);
    let client = lab.client();
    let agent = client.create_agent(lab.script(LONG).in_background()).await.expect("it starts").agent_id;
    until_text(&client, &agent, "line 3").await;
    let before = client.get_daemon(GetDaemon {}).await.expect("the daemon");
    // It runs when it is tried, and then no more.
    let fleeting = lab.work().join("paseo.new");
    crate::lab::program(&fleeting, b"#!/bin/sh\nrm \"$0\"\necho paseo 9.9.9\n");
    std::fs::rename(&fleeting, &program).expect("it is replaced");
    client.shutdown_daemon(ShutdownDaemon { with_agents: false, restart: true }).await.expect("it restarts");
    std::fs::write(lab.work().join("go"), "").expect("go");
    let done = client.wait_for_agent(WaitForAgent::one(&agent)).await.expect("it ends");
    assert_eq!(done.outcome, Some(WaitOutcome::Completed));
    let after = client.get_daemon(GetDaemon {}).await.expect("the daemon");
    assert_eq!(after.pid, daemon.pid());
    assert!(after.started_at > before.started_at);
    lab.end(&client).await;
}
