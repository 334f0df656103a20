//! Turns that go well.

use paseo_sdk::Code;
use paseo_sdk::catalogue::{SendAgentPrompt, SetAgentMode, WaitForAgent, WhenBusy};
use paseo_sdk::item::ToolStatus;
use paseo_sdk::model::{Behavior, Image, Mode, Status, WaitOutcome};

use super::Cell;
use super::stage::{Kind, Stage, answer, send, status, turns};
use crate::daemon::watching::until_text;
use crate::lab::{calls, timeline};

pub(super) async fn text(mut stage: Stage) -> Cell {
    let client = stage.client().await;
    let done = client.create_agent(stage.free(&stage.kind.says("hello"))).await.expect("it starts");
    assert_eq!((done.outcome, done.status), (Some(WaitOutcome::Completed), Status::Idle), "{done:?}");
    assert_eq!(done.last_message.as_deref(), Some("hello"));
    assert_eq!(turns(&client, &done.agent_id).await, 1);
    stage.end(&client).await;
    Cell::Passed
}

pub(super) async fn tool_allowed(mut stage: Stage) -> Cell {
    let client = stage.client().await;
    let (agent, permission) = stage.asks(&client, &stage.kind.runs("touch made; echo made it")).await;
    assert_eq!(permission.input["command"], "touch made; echo made it");
    assert!(!stage.file("made").exists(), "it waits");
    client.respond_to_permission(answer(&agent, &permission, Behavior::Allow)).await.expect("the first answer");
    let done = client.wait_for_agent(WaitForAgent::one(&agent)).await.expect("it ends");
    assert_eq!((done.outcome, done.permissions.len()), (Some(WaitOutcome::Completed), 0), "{done:?}");
    assert!(stage.file("made").exists());
    let entries = timeline(&client, &agent).await;
    let call = calls(&entries)[0];
    assert_eq!((call.status, call.exit_code), (ToolStatus::Completed, Some(0)));
    assert_eq!(call.output.as_deref().map(str::trim_end), Some("made it"));
    stage.end(&client).await;
    Cell::Passed
}

pub(super) async fn tool_denied(mut stage: Stage) -> Cell {
    let client = stage.client().await;
    let (agent, permission) = stage.asks(&client, &stage.kind.runs("touch made")).await;
    let mut denial = answer(&agent, &permission, Behavior::Deny);
    denial.message = Some("not on a Friday".to_owned());
    client.respond_to_permission(denial).await.expect("the first answer");
    let done = client.wait_for_agent(WaitForAgent::one(&agent)).await.expect("it ends");
    assert!(!stage.file("made").exists());
    let entries = timeline(&client, &agent).await;
    assert_eq!(calls(&entries)[0].status, ToolStatus::Denied);
    match stage.kind {
        Kind::Shell => {
            assert_eq!(done.outcome, Some(WaitOutcome::Interrupted));
            assert!(done.reason.is_some_and(|reason| reason.contains("not on a Friday")));
        }
        Kind::Claude { .. } => {
            // The model reads why, and goes on.
            assert_eq!(done.outcome, Some(WaitOutcome::Completed), "{done:?}");
            assert_eq!(calls(&entries)[0].output.as_deref(), Some("not on a Friday"));
        }
        Kind::Codex { .. } => {
            assert_eq!(done.outcome, Some(WaitOutcome::Completed), "{done:?}");
            let (_, texts) = stage.model.asked();
            assert!(texts.iter().any(|text| text.contains("not on a Friday")), "{texts:#?}");
        }
    }
    stage.end(&client).await;
    Cell::Passed
}

pub(super) async fn follow_up(mut stage: Stage) -> Cell {
    let client = stage.client().await;
    let agent = client.create_agent(stage.free(&stage.kind.says("one"))).await.expect("it starts").agent_id;
    let pid = status(&client, &agent).await.pid;
    let done = send(&client, &agent, &stage.kind.says("two")).await;
    assert_eq!((done.outcome, done.last_message.as_deref()), (Some(WaitOutcome::Completed), Some("two")), "{done:?}");
    assert_eq!(turns(&client, &agent).await, 2);
    if !matches!(stage.kind, Kind::Shell) {
        assert_eq!(status(&client, &agent).await.pid, pid, "a process for both");
        let (_, texts) = stage.model.asked();
        assert!(texts.iter().any(|text| text == "one"), "{texts:?}");
    }
    stage.end(&client).await;
    Cell::Passed
}

pub(super) async fn busy_queue(mut stage: Stage) -> Cell {
    let client = stage.client().await;
    let agent = stage.runs(&client).await;
    let later = SendAgentPrompt::new(&agent, stage.kind.says("later")).in_background();
    let later = client.send_agent_prompt(later).await.expect("it is queued");
    let now = status(&client, &agent).await;
    assert_eq!(now.queued, Vec::from_iter(later.prompt_id.clone()), "it waits");
    stage.let_command_go().await;
    let wait = WaitForAgent { prompt_id: later.prompt_id, ..WaitForAgent::one(&agent) };
    let done = client.wait_for_agent(wait).await.expect("it ends");
    assert_eq!((done.outcome, done.last_message.as_deref()), (Some(WaitOutcome::Completed), Some("later")), "{done:?}");
    assert!(stage.file("end").exists(), "what ran before has ended before");
    assert_eq!(turns(&client, &agent).await, 2);
    stage.end(&client).await;
    Cell::Passed
}

pub(super) async fn busy_interrupt(mut stage: Stage) -> Cell {
    let client = stage.client().await;
    let agent = stage.runs(&client).await;
    let urgent = SendAgentPrompt::new(&agent, stage.kind.says("urgent"));
    let urgent = SendAgentPrompt { when_busy: WhenBusy::Interrupt, ..urgent };
    let done = client.send_agent_prompt(urgent).await.expect("it is sent");
    assert_eq!(
        (done.outcome, done.last_message.as_deref()),
        (Some(WaitOutcome::Completed), Some("urgent")),
        "{done:?}"
    );
    let entries = timeline(&client, &agent).await;
    assert_eq!(calls(&entries)[0].status, ToolStatus::Interrupted);
    assert_eq!(turns(&client, &agent).await, 2);
    stage.end(&client).await;
    Cell::Passed
}

pub(super) async fn busy_steer(mut stage: Stage) -> Cell {
    let client = stage.client().await;
    let agent = stage.runs(&client).await;
    let steer = SendAgentPrompt::new(&agent, "and mind the gap").in_background();
    let steer = SendAgentPrompt { when_busy: WhenBusy::Steer, ..steer };
    let steered = client.send_agent_prompt(steer).await;
    if let Kind::Shell = stage.kind {
        assert_eq!(steered.expect_err("it cannot").code, Code::Unsupported);
        stage.let_command_go().await;
        client.wait_for_agent(WaitForAgent::one(&agent)).await.expect("it ends");
        stage.end(&client).await;
        return Cell::Out("a script that runs cannot be told more");
    }
    let steered = steered.expect("it is said");
    assert!(status(&client, &agent).await.turn.is_some(), "the turn goes on");
    let prompt = steered.prompt_id.as_ref().expect("it has one");
    match stage.kind {
        Kind::Shell => {}
        Kind::Claude { .. } => {
            // That it has read so far, it says only of what it answers.
            let set = SetAgentMode { agent_id: (&agent).into(), mode: Mode::Auto };
            client.set_agent_mode(set).await.expect("it has it");
            stage.said(&agent, r#""permissionMode":"acceptEdits""#).await;
        }
        Kind::Codex { .. } => stage.said(&agent, &format!(r#""id":"prompt.{prompt}","result""#)).await,
    }
    stage.let_command_go().await;
    let wait = WaitForAgent { prompt_id: steered.prompt_id, ..WaitForAgent::one(&agent) };
    let done = client.wait_for_agent(wait).await.expect("it ends");
    assert_eq!(done.outcome, Some(WaitOutcome::Completed), "{done:?}");
    assert_eq!(turns(&client, &agent).await, 1, "it is part of the turn that ran");
    let (_, texts) = stage.model.asked();
    assert!(texts.iter().any(|text| text.contains("and mind the gap")), "{texts:#?}");
    stage.end(&client).await;
    Cell::Passed
}

pub(super) async fn images(mut stage: Stage) -> Cell {
    const PNG: &str =
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
    let client = stage.client().await;
    let image = Image { media_type: "image/png".to_owned(), data: PNG.to_owned() };
    let mut task = stage.free("[[echo]]");
    task.images = vec![image.clone(), image];
    let done = client.create_agent(task).await;
    if let Kind::Shell = stage.kind {
        assert_eq!(done.expect_err("it cannot").code, Code::Unsupported);
        stage.end(&client).await;
        return Cell::Out("a script is text");
    }
    let done = done.expect("it starts");
    let echo: serde_json::Value = serde_json::from_str(&done.last_message.unwrap_or_default()).expect("facts");
    assert_eq!(echo["images"], 2, "{echo}");
    stage.end(&client).await;
    Cell::Passed
}

pub(super) async fn usage(mut stage: Stage) -> Cell {
    let client = stage.client().await;
    if let Kind::Shell = stage.kind {
        let done = client.create_agent(stage.free("true")).await.expect("it runs");
        assert_eq!(done.usage, paseo_sdk::model::Usage::default());
        stage.end(&client).await;
        return Cell::Out("it uses no model");
    }
    let prompt = |tokens: i64| format!(r#"[[usage: {{"input_tokens": {tokens}, "output_tokens": 7}}]] [[text: x]]"#);
    let one = client.create_agent(stage.free(&prompt(1_000))).await.expect("it starts");
    let two = send(&client, &one.agent_id, &prompt(2_000)).await;
    assert_eq!((one.usage.input_tokens, one.usage.output_tokens), (1_000, 7), "{one:?}");
    assert_eq!((two.usage.input_tokens, two.usage.output_tokens), (2_000, 7), "a turn's own: {two:?}");
    let whole = status(&client, &one.agent_id).await.usage;
    assert_eq!((whole.input_tokens, whole.output_tokens), (3_000, 14), "{whole:?}");
    if let Kind::Claude { .. } = stage.kind {
        assert!(two.usage.cost_usd > one.usage.cost_usd, "{two:?}");
        let sum = one.usage.cost_usd.unwrap_or(0.0) + two.usage.cost_usd.unwrap_or(0.0);
        assert!((whole.cost_usd.unwrap_or(0.0) - sum).abs() < 1e-9, "{whole:?}");
    }
    stage.end(&client).await;
    Cell::Passed
}

/// Starts a task that streams, and returns when the first of it is seen.
pub(super) async fn streaming(stage: &Stage, client: &paseo_sdk::Client) -> paseo_sdk::model::AgentId {
    let task = stage.free(&stage.kind.streams()).in_background();
    let agent = client.create_agent(task).await.expect("it starts").agent_id;
    until_text(client, &agent, "gate is held").await;
    agent
}
