//! Turns that are stopped, and processes that are killed.

use paseo_sdk::catalogue::{CancelAgent, WaitForAgent};
use paseo_sdk::item::{Content, Happening, ToolStatus};
use paseo_sdk::model::{Behavior, Outcome, Status, WaitOutcome};

use super::Cell;
use super::stage::{Kind, Stage, answer, kill_agent, notices, send, status, turns};
use super::turns::streaming;
use crate::lab::{calls, gone, processes_in, timeline};

pub(super) async fn interrupt_while_it_streams(mut stage: Stage) -> Cell {
    let client = stage.client().await;
    let agent = streaming(&stage, &client).await;
    let stopped = client.cancel_agent(CancelAgent { agent_id: (&agent).into() }).await.expect("it stops");
    assert_eq!((stopped.status, stopped.turn), (Status::Interrupted, None));
    // What it had said is not lost.
    let entries = timeline(&client, &agent).await;
    let said = entries.iter().any(|entry| match &entry.what {
        Happening::ItemClosed { item } => match &item.content {
            Content::AssistantMessage { text } => text.contains("gate is held"),
            Content::ToolCall(call) => call.output.as_deref().is_some_and(|output| output.contains("gate is held")),
            _ => false,
        },
        _ => false,
    });
    assert!(said, "{entries:#?}");
    let done = send(&client, &agent, &stage.kind.says("again")).await;
    assert_eq!(done.last_message.as_deref(), Some("again"), "{done:?}");
    stage.end(&client).await;
    Cell::Passed
}

pub(super) async fn interrupt_while_a_tool_runs(mut stage: Stage) -> Cell {
    let client = stage.client().await;
    let agent = stage.runs(&client).await;
    let stopped = client.cancel_agent(CancelAgent { agent_id: (&agent).into() }).await.expect("it stops");
    assert_eq!((stopped.status, stopped.turn), (Status::Interrupted, None));
    let entries = timeline(&client, &agent).await;
    assert_eq!(calls(&entries)[0].status, ToolStatus::Interrupted);
    let command = |process: &String| process.ends_with(" cat");
    match stage.kind {
        Kind::Shell | Kind::Codex { .. } => {
            assert!(!processes_in(&stage.lab.work()).iter().any(command), "the command is gone");
        }
        // This program says that it has stopped a moment before it ends the command.
        Kind::Claude { .. } => gone(&stage.lab.work(), command).await,
    }
    stage.end(&client).await;
    Cell::Passed
}

pub(super) async fn interrupt_while_it_asks(mut stage: Stage) -> Cell {
    let client = stage.client().await;
    let (agent, permission) = stage.asks(&client, &stage.kind.runs("touch made")).await;
    let stopped = client.cancel_agent(CancelAgent { agent_id: (&agent).into() }).await.expect("it stops");
    assert_eq!((stopped.status, stopped.permissions.len()), (Status::Interrupted, 0), "{stopped:?}");
    let late = client.respond_to_permission(answer(&agent, &permission, Behavior::Allow)).await;
    assert_eq!(late.expect_err("it does not ask any more").code, paseo_sdk::Code::NotFound);
    let done = send(&client, &agent, &stage.kind.says("again")).await;
    assert_eq!(
        done.outcome,
        Some(if let Kind::Shell = stage.kind { WaitOutcome::Permission } else { WaitOutcome::Completed })
    );
    assert!(!stage.file("made").exists());
    stage.end(&client).await;
    Cell::Passed
}

pub(super) async fn agent_killed_while_a_tool_runs(mut stage: Stage) -> Cell {
    let client = stage.client().await;
    let agent = stage.runs(&client).await;
    kill_agent(&client, &agent).await;
    let lost = client.wait_for_agent(WaitForAgent::one(&agent)).await.expect("it is noticed");
    assert_eq!((lost.outcome, lost.status), (Some(WaitOutcome::Interrupted), Status::Interrupted), "{lost:?}");
    assert!(lost.reason.is_some_and(|reason| reason.contains("KILL")));
    assert_eq!(processes_in(&stage.lab.work()), Vec::<String>::new(), "its command went with it");
    let before = timeline(&client, &agent).await;
    assert_eq!(calls(&before)[0].status, ToolStatus::Interrupted);
    let done = send(&client, &agent, &stage.kind.says("again")).await;
    assert_eq!((done.outcome, done.last_message.as_deref()), (Some(WaitOutcome::Completed), Some("again")), "{done:?}");
    if !matches!(stage.kind, Kind::Shell) {
        tells_what_was_cut_off(&stage, &client, &agent, "cat go").await;
    }
    stage.end(&client).await;
    Cell::Passed
}

pub(super) async fn agent_killed_while_it_asks(mut stage: Stage) -> Cell {
    let client = stage.client().await;
    let (agent, _) = stage.asks(&client, &stage.kind.runs("touch made")).await;
    kill_agent(&client, &agent).await;
    let finished = WaitForAgent { until: paseo_sdk::catalogue::WaitUntil::Finished, ..WaitForAgent::one(&agent) };
    let lost = client.wait_for_agent(finished).await.expect("it is noticed");
    assert_eq!((lost.outcome, lost.permissions.len()), (Some(WaitOutcome::Interrupted), 0), "{lost:?}");
    let again = send(&client, &agent, &stage.kind.says("again")).await;
    match stage.kind {
        Kind::Shell => assert_eq!(again.outcome, Some(WaitOutcome::Permission)),
        Kind::Claude { .. } | Kind::Codex { .. } => {
            assert_eq!(again.last_message.as_deref(), Some("again"), "{again:?}");
            tells_what_was_cut_off(&stage, &client, &agent, "touch made").await;
        }
    }
    assert!(!stage.file("made").exists());
    stage.end(&client).await;
    Cell::Passed
}

/// Checks that the model was told what its process had been in the middle of, once, and that people can read that.
async fn tells_what_was_cut_off(
    stage: &Stage,
    client: &paseo_sdk::Client,
    agent: &paseo_sdk::model::AgentId,
    what: &str,
) {
    let (_, texts) = stage.model.asked();
    let notes: Vec<_> = texts.iter().filter(|text| text.contains("Your process was ended")).collect();
    assert_eq!(notes.len(), 1, "{texts:#?}");
    assert!(notes[0].contains(what), "{notes:?}");
    let entries = timeline(client, agent).await;
    assert!(notices(&entries).iter().any(|notice| notice.contains(what)), "{entries:#?}");
    // And it goes on in the conversation that was.
    assert!(texts.iter().any(|text| text.contains("[[bash:")), "{texts:#?}");
}

pub(super) async fn daemon_killed_while_it_streams(mut stage: Stage) -> Cell {
    let client = stage.start();
    let agent = streaming(&stage, &client).await;
    let pid = status(&client, &agent).await.pid;
    stage.kill();
    let client = stage.start();
    assert_eq!(status(&client, &agent).await.pid, pid, "the same process");
    stage.go_on().await;
    let done = client.wait_for_agent(WaitForAgent::one(&agent)).await.expect("it ends");
    assert_eq!(done.outcome, Some(WaitOutcome::Completed), "{done:?}");
    assert_eq!(done.last_message.as_deref(), Some("gate is held and released"));
    assert_eq!(turns(&client, &agent).await, 1);
    stage.end(&client).await;
    Cell::Passed
}

pub(super) async fn daemon_killed_while_a_tool_runs(mut stage: Stage) -> Cell {
    let client = stage.start();
    let agent = stage.runs(&client).await;
    let pid = status(&client, &agent).await.pid;
    stage.kill();
    let client = stage.start();
    assert_eq!(status(&client, &agent).await.pid, pid, "the same process");
    stage.let_command_go().await;
    let done = client.wait_for_agent(WaitForAgent::one(&agent)).await.expect("it ends");
    assert_eq!(done.outcome, Some(WaitOutcome::Completed), "{done:?}");
    let entries = timeline(&client, &agent).await;
    let [call] = &calls(&entries)[..] else { panic!("one call: {entries:#?}") };
    assert_eq!((call.status, call.output.as_deref().map(str::trim_end)), (ToolStatus::Completed, Some("over")));
    assert_eq!(turns(&client, &agent).await, 1);
    stage.end(&client).await;
    Cell::Passed
}

pub(super) async fn daemon_killed_while_it_asks(mut stage: Stage) -> Cell {
    let client = stage.start();
    let (agent, permission) = stage.asks(&client, &stage.kind.runs("touch made")).await;
    stage.kill();
    let client = stage.start();
    let again = client.wait_for_agent(WaitForAgent::one(&agent)).await.expect("it still asks");
    assert_eq!(again.permissions, std::slice::from_ref(&permission));
    client.respond_to_permission(answer(&agent, &permission, Behavior::Allow)).await.expect("the first answer");
    // It may die before the answer is told: the next one tells it.
    stage.kill();
    let client = stage.start();
    let done = client.wait_for_agent(WaitForAgent::one(&agent)).await.expect("it ends");
    assert_eq!(done.outcome, Some(WaitOutcome::Completed), "{done:?}");
    assert!(stage.file("made").exists());
    let entries = timeline(&client, &agent).await;
    let ends: Vec<_> = entries
        .iter()
        .filter_map(|entry| match entry.what {
            Happening::TurnEnded { outcome, .. } => Some(outcome),
            _ => None,
        })
        .collect();
    assert_eq!(ends, [Outcome::Completed]);
    stage.end(&client).await;
    Cell::Passed
}
