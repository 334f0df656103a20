//! The real program uses the tools of paseo, and meets what agents may not do.

use paseo_sdk::Client;
use paseo_sdk::catalogue::{AgentOutcome, CreateAgent, WaitForAgent};
use paseo_sdk::model::{Behavior, Mode, PermissionKind, Status, WaitOutcome};
use serde_json::{Value, json};

use crate::conformance::stage::{Kind, Stage, answer, ended, outputs, question, status, with_tools};
use crate::messages_api::program::claude_program;

async fn stage() -> Option<(Stage, Client)> {
    let mut stage = Stage::new(Kind::Claude { program: claude_program()? }).await;
    let client = stage.client().await;
    Some((stage, client))
}

/// Starts an agent that is called `me`, and calls these tools one after the other.
async fn calling(stage: &Stage, client: &Client, mode: Mode, tools: &[(&str, Value)]) -> AgentOutcome {
    let steps: String = tools.iter().map(|(tool, input)| stage.kind.calls(tool, input)).collect();
    let task = with_tools(stage.asking(&format!("{steps} [[text: so be it]]"))).mode(mode);
    client.create_agent(CreateAgent { agent_id: Some("me".parse().expect("an id")), ..task }).await.expect("it starts")
}

fn child(id: &str, mode: &str) -> Value {
    json!({ "agentId": id, "promptId": "task", "title": id, "provider": "shell", "mode": mode,
        "initialPrompt": format!("touch {id}; echo made") })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_above_its_mode_waits_for_a_person_and_the_turn_goes_on_with_the_answer() {
    let Some((stage, client)) = stage().await else { return };
    let tools = [
        ("create_agent", child("denied", "full-access")),
        ("create_agent", child("allowed", "full-access")),
        ("set_agent_mode", json!({ "agentId": "me", "mode": "full-access" })),
    ];
    let mut asking = calling(&stage, &client, Mode::Default, &tools).await;
    let me = asking.agent_id.clone();
    let asked = [
        ("start an agent of shell in mode full-access: denied", Behavior::Deny),
        ("start an agent of shell in mode full-access: allowed", Behavior::Allow),
        ("change the mode of agent “a case” (me) from default to full-access", Behavior::Deny),
    ];
    for (title, behavior) in asked {
        let permission = question(&asking);
        assert_eq!((permission.kind, permission.title.as_str()), (PermissionKind::Other, title));
        assert_eq!(status(&client, &me).await.status, Status::Waiting);
        let mut said = answer(&me, permission, behavior);
        said.message = (behavior == Behavior::Deny).then(|| "not on a Friday".to_owned());
        client.respond_to_permission(said).await.expect("an answer");
        asking = client.wait_for_agent(WaitForAgent::one(&me)).await.expect("it goes on");
    }
    assert_eq!((asking.outcome, asking.last_message.as_deref()), (Some(WaitOutcome::Completed), Some("so be it")));
    let outputs = outputs(&client, &me).await;
    let [denied, allowed, raised] = &outputs[..] else { panic!("three calls: {outputs:#?}") };
    for output in [denied, raised] {
        assert!(output.contains("forbidden: a person has not allowed it: not on a Friday"), "{output}");
    }
    assert!(stage.kind.tells_end(allowed, "made"), "{allowed}");
    assert!(!stage.file("denied").exists() && stage.file("allowed").exists());
    assert_eq!(status(&client, &me).await.mode, Mode::Default);
    stage.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_for_agents_its_model_reads_as_forbidden() {
    let Some((stage, client)) = stage().await else { return };
    let tools = [
        ("respond_to_permission", json!({ "agentId": "me", "requestId": "any", "behavior": "allow" })),
        ("shutdown_daemon", json!({})),
        ("archive_worktree", json!({ "worktreeSlug": "any", "force": true })),
        ("trust_worktree", json!({ "worktreeSlug": "any" })),
        ("delete_agent", json!({ "agentId": "me" })),
    ];
    let done = calling(&stage, &client, Mode::FullAccess, &tools).await;
    let outputs = outputs(&client, &done.agent_id).await;
    let said = (done.outcome, done.last_message.as_deref());
    assert_eq!(said, (Some(WaitOutcome::Completed), Some("so be it")), "{outputs:#?}");
    insta::assert_snapshot!(outputs.join("\n\n"), @"
    forbidden: an agent may not answer its own permissions, nor those of an agent that created it
    hint: ask your user to answer

    forbidden: an agent may not stop the daemon
    hint: ask your user to do it

    forbidden: an agent may not archive a worktree by force
    hint: ask your user to do it

    forbidden: an agent may not trust a pull request
    hint: ask your user to do it

    forbidden: an agent may not delete agents
    hint: ask your user to do it
    ");
    stage.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_asks_returns_the_call_and_is_answered_and_waited_for_again() {
    let Some((stage, client)) = stage().await else { return };
    let tools = [
        ("create_agent", child("child", "default")),
        ("respond_to_permission", json!({ "agentId": "child", "requestId": "prompt.task", "behavior": "allow" })),
        ("wait_for_agent", json!({ "agentId": "child" })),
    ];
    let me = calling(&stage, &client, Mode::FullAccess, &tools).await.agent_id;
    assert_eq!(ended(&client, &me).await.last_message.as_deref(), Some("so be it"));
    let outputs = outputs(&client, &me).await;
    let [asks, answered, done] = &outputs[..] else { panic!("three calls: {outputs:#?}") };
    assert!(asks.contains(r#""outcome":"permission","permissions":[{"requestId":"prompt.task""#), "{asks}");
    assert!(answered.contains(r#""agentId":"child""#), "{answered}");
    assert!(stage.kind.tells_end(done, "made"), "{done}");
    stage.end(&client).await;
}
