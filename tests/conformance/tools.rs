//! The tools of paseo, as every agent finds them.

use std::path::Path;

use paseo_sdk::Client;
use paseo_sdk::catalogue::{CancelAgent, CreateAgent, SendAgentPrompt, WaitForAgent};
use paseo_sdk::item::ToolStatus;
use paseo_sdk::model::{AgentId, Mode, PermissionKind, Status, WaitOutcome};
use serde_json::{Value, json};

use super::Cell;
use super::stage::{Kind, Stage, ended, notices, outputs, question, status, turns, with_tools};
use crate::daemon::reports::{between_turns, reports, told};
use crate::daemon::watching::{until, until_call_of};
use crate::daemon::worktrees::{branch_off, git, inside};
use crate::lab::{TOOLS, calls, timeline};

pub(super) async fn own_tools_are_not_asked_for(mut stage: Stage) -> Cell {
    let call = match stage.kind {
        Kind::Shell => return NO_TOOLS,
        Kind::Claude { .. } => "mcp__paseo__archive_agent",
        Kind::Codex { .. } => "mcp__paseo/archive_agent",
    };
    stage.lab.serve_tools_by(TOOLS);
    let client = stage.client().await;
    for mode in [Mode::Plan, Mode::Default, Mode::Auto, Mode::FullAccess] {
        let task = stage.asking(&format!("[[tool: {call} {{}}]] [[text: called]]"));
        let task = with_tools(task).mode(mode.clone());
        let done = client.create_agent(task).await.expect("it starts");
        assert_eq!(done.outcome, Some(WaitOutcome::Completed), "{mode}: {done:?}");
        let entries = timeline(&client, &done.agent_id).await;
        let outputs: Vec<_> = calls(&entries).iter().filter_map(|call| call.output.as_deref()).collect();
        let whose = format!("archive_agent for {} of {}, token of ", done.agent_id, stage.lab.home().display());
        let [output] = &outputs[..] else { panic!("one call in {mode}: {entries:#?}") };
        assert!(output.contains(&whose) && !output.ends_with(" 0"), "{mode}: {output}");
        assert!(!notices(&entries).iter().any(|notice| notice.contains("server")), "{mode}: {entries:#?}");
    }
    stage.end(&client).await;
    Cell::Passed
}

pub(super) async fn tools_that_start_slowly(mut stage: Stage) -> Cell {
    if let Kind::Shell = stage.kind {
        return NO_TOOLS;
    }
    stage.lab.serve_tools_by(&format!("import time; time.sleep(2)\n{TOOLS}"));
    let client = stage.client().await;
    let prompt = [stage.kind.calls("list_agents", &json!({})), stage.kind.says("called")].concat();
    let done = client.create_agent(with_tools(stage.free(&prompt))).await.expect("it runs");
    let outputs = outputs(&client, &done.agent_id).await;
    let [output] = &outputs[..] else { panic!("one call: {outputs:#?}") };
    assert!(output.contains("list_agents for"), "the first turn has them: {output}");
    stage.end(&client).await;
    Cell::Passed
}

pub(super) async fn child_in_a_new_worktree(mut stage: Stage) -> Cell {
    if let Kind::Shell = stage.kind {
        return NO_TOOLS;
    }
    git(&stage.lab.work(), &["init", "--quiet", "--initial-branch=main"]);
    git(&stage.lab.work(), &["commit", "--quiet", "--allow-empty", "--message", "first"]);
    let client = stage.client().await;
    // So that the script knows where the repository's worktrees are.
    let other = client.create_worktree(branch_off(&stage.lab, "other")).await.expect("it is made").worktree_path;
    let tree = Path::new(&other).with_file_name("feat-x");
    let script = "git branch --show-current; pwd; cp /dev/null made";
    let prompt = [
        stage.kind.calls("create_worktree", &json!({ "action": "branch-off", "branchName": "feat/x" })),
        stage.kind.calls("create_agent", &child(script, &json!({ "mode": "full-access", "cwd": tree }))),
        stage.kind.calls("wait_for_agent", &json!({ "agentId": "child" })),
        stage.kind.says("all done"),
    ];
    let parent = client.create_agent(with_tools(stage.free(&prompt.concat()))).await.expect("it runs");
    let said = (parent.outcome, parent.last_message.as_deref());
    let outputs = outputs(&client, &parent.agent_id).await;
    assert_eq!(said, (Some(WaitOutcome::Completed), Some("all done")), "{outputs:#?}");
    let [worktree, started, awaited] = &outputs[..] else { panic!("three calls: {outputs:#?}") };
    assert!(worktree.contains(&tree.display().to_string()), "{worktree}");
    let end = format!("feat/x\n{}", tree.display());
    for output in [started, awaited] {
        assert!(stage.kind.tells_end(output, &end), "{output}");
    }
    let child = status(&client, &child_id()).await;
    assert_eq!((child.parent, Path::new(&child.cwd)), (Some(parent.agent_id), &*tree));
    assert!(tree.join("made").exists());
    stage.end(&client).await;
    Cell::Passed
}

pub(super) async fn child_that_reports(mut stage: Stage) -> Cell {
    if let Kind::Shell = stage.kind {
        return NO_TOOLS;
    }
    let client = stage.client().await;
    let task = child(HELD, &json!({ "background": true, "notifyOnFinish": true }));
    let prompt = [stage.kind.calls("create_agent", &task), stage.kind.says("over to you")].concat();
    let parent = client.create_agent(with_tools(stage.free(&prompt))).await.expect("it runs");
    assert_eq!(parent.last_message.as_deref(), Some("over to you"), "{parent:?}");
    stage.started(&client, &child_id()).await;
    stage.let_command_go().await;
    let entries = told(&client, &parent.agent_id, 1).await;
    between_turns(&entries);
    let told: Vec<_> = reports(&entries).into_iter().map(|(_, text)| text).collect();
    assert_eq!(told, ["agent “a child” (child) has finished. It said last:\n> the end"]);
    assert_eq!(turns(&client, &parent.agent_id).await, 2, "{entries:#?}");
    assert!(stage.model.asked().1.iter().any(|text| text.contains("It said last:\n> the end")), "the model was told");
    stage.end(&client).await;
    Cell::Passed
}

/// Longer than programs give a tool unless they are told otherwise: Codex a minute.
pub(super) async fn child_that_takes_long(mut stage: Stage) -> Cell {
    if let Kind::Shell = stage.kind {
        return NO_TOOLS;
    }
    let client = stage.client().await;
    let seconds = std::env::var("PASEO_CHILD_SECONDS").unwrap_or_else(|_| "90".to_owned());
    let script = format!("sleep {seconds}; echo ran >> runs; echo the end");
    let prompt = [stage.kind.calls("create_agent", &child(&script, &json!({}))), stage.kind.says("at last")].concat();
    let parent = client.create_agent(with_tools(stage.free(&prompt))).await.expect("it runs");
    assert_eq!(parent.last_message.as_deref(), Some("at last"), "{parent:?}");
    returned_once(&stage, &client, &parent.agent_id, "create_agent").await;
    stage.end(&client).await;
    Cell::Passed
}

pub(super) async fn daemon_killed_while_it_starts_a_child(mut stage: Stage) -> Cell {
    if let Kind::Shell = stage.kind {
        return NO_TOOLS;
    }
    let client = stage.start();
    let prompt = [stage.kind.calls("create_agent", &child(HELD, &json!({}))), stage.kind.says("and on")].concat();
    let parent =
        client.create_agent(with_tools(stage.free(&prompt)).in_background()).await.expect("it starts").agent_id;
    stage.started(&client, &parent).await;
    stage.kill();
    let client = stage.start();
    stage.let_command_go().await;
    assert_eq!(ended(&client, &parent).await.last_message.as_deref(), Some("and on"));
    returned_once(&stage, &client, &parent, "create_agent").await;
    stage.end(&client).await;
    Cell::Passed
}

pub(super) async fn daemon_killed_while_it_waits_for_a_child(mut stage: Stage) -> Cell {
    if let Kind::Shell = stage.kind {
        return NO_TOOLS;
    }
    let client = stage.start();
    let prompt = [
        stage.kind.calls("create_agent", &child(HELD, &json!({ "background": true }))),
        stage.kind.calls("wait_for_agent", &json!({ "agentId": "child" })),
        stage.kind.says("and on"),
    ];
    let parent = with_tools(stage.free(&prompt.concat())).in_background();
    let parent = client.create_agent(parent).await.expect("it starts").agent_id;
    stage.started(&client, &parent).await;
    until_call_of(&client, &parent, "wait_for_agent").await;
    stage.kill();
    // It ends while nobody sees it.
    stage.let_command_go().await;
    let client = stage.start();
    assert_eq!(ended(&client, &parent).await.last_message.as_deref(), Some("and on"));
    returned_once(&stage, &client, &parent, "wait_for_agent").await;
    stage.end(&client).await;
    Cell::Passed
}

pub(super) async fn interrupt_while_it_waits_for_a_child(mut stage: Stage) -> Cell {
    if let Kind::Shell = stage.kind {
        return NO_TOOLS;
    }
    let client = stage.client().await;
    let prompt = stage.kind.calls("create_agent", &child(HELD, &json!({ "notifyOnFinish": true })));
    let parent =
        client.create_agent(with_tools(stage.free(&prompt)).in_background()).await.expect("it starts").agent_id;
    stage.started(&client, &parent).await;
    let stopped = client.cancel_agent(CancelAgent { agent_id: (&parent).into() }).await.expect("it stops");
    assert_eq!((stopped.status, stopped.turn), (Status::Interrupted, None));
    assert_eq!(status(&client, &child_id()).await.status, Status::Running, "the child goes on");

    // Nothing of that call is left: the child may wait for its parent's next turn, and its end is told.
    let hold = SendAgentPrompt::new(&parent, "[[hold: gate]]").in_background();
    let hold = client.send_agent_prompt(hold).await.expect("it is sent").prompt_id;
    until(&client, &parent, |agent| agent.turn.as_ref().is_some_and(|turn| turn.prompt_id == hold)).await;
    let within = inside(&stage.lab, &child_id());
    let wait = within.wait_for_agent(WaitForAgent::one(&parent));
    let go = async {
        for _ in 0..5 {
            assert_eq!(status(&client, &parent).await.status, Status::Running);
        }
        stage.go_on().await;
    };
    let (done, ()) = tokio::join!(wait, go);
    assert_eq!(done.expect("it is not refused").outcome, Some(WaitOutcome::Completed));
    stage.let_command_go().await;
    let entries = told(&client, &parent, 1).await;
    between_turns(&entries);
    assert!(reports(&entries)[0].1.ends_with("has finished. It said last:\n> the end"), "{entries:#?}");
    stage.end(&client).await;
    Cell::Passed
}

pub(super) async fn interrupt_while_it_waits_for_a_person(mut stage: Stage) -> Cell {
    if let Kind::Shell = stage.kind {
        return NO_TOOLS;
    }
    let client = stage.client().await;
    for (tool, input) in [
        ("create_agent", child("true", &json!({ "mode": "full-access" }))),
        ("set_agent_mode", json!({ "agentId": "set_agent_mode", "mode": "full-access" })),
    ] {
        let prompt = stage.kind.calls(tool, &input);
        let task = CreateAgent { agent_id: Some(tool.parse().expect("an id")), ..with_tools(stage.asking(&prompt)) };
        let asking = client.create_agent(task).await.expect("it starts");
        assert_eq!(question(&asking).kind, PermissionKind::Other, "{asking:?}");
        let agent = asking.agent_id;
        client.cancel_agent(CancelAgent { agent_id: (&agent).into() }).await.expect("it stops");
        until(&client, &agent, |agent| agent.permissions.is_empty()).await;
        assert_eq!(status(&client, &agent).await.mode, Mode::Default);
    }
    stage.end(&client).await;
    Cell::Passed
}

/// What is said of a provider whose agents call no tools.
const NO_TOOLS: Cell = Cell::Out("a script calls no tools: it runs `paseo`");

/// Returns what `create_agent` is given for a script that is called `child`, and so is its id.
fn child(script: &str, more: &Value) -> Value {
    let mut task = json!({ "agentId": "child", "title": "a child", "provider": "shell", "initialPrompt": script });
    for (field, value) in more.as_object().expect("an object") {
        task[field] = value.clone();
    }
    task
}

/// A script that says that it has begun, waits to be let go on, and leaves a line each time it has run.
const HELD: &str = "echo on > started; cat go >/dev/null; echo ran >> runs; echo the end";

fn child_id() -> AgentId {
    "child".parse().expect("an id")
}

/// Checks that the one call of this tool has returned the child's end, and that child and turn have run once.
async fn returned_once(stage: &Stage, client: &Client, parent: &AgentId, tool: &str) {
    let entries = timeline(client, parent).await;
    let returned: Vec<_> = calls(&entries).into_iter().filter(|call| call.name.ends_with(tool)).collect();
    let [call] = &returned[..] else { panic!("one call of {tool}: {entries:#?}") };
    assert_eq!(call.status, ToolStatus::Completed);
    let output = call.output.as_deref().expect("an output");
    assert!(stage.kind.tells_end(output, "the end"), "{output}");
    assert_eq!((turns(client, parent).await, turns(client, &child_id()).await), (1, 1), "{entries:#?}");
    assert_eq!(std::fs::read_to_string(stage.file("runs")).expect("it ran"), "ran\n");
}
