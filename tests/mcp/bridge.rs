//! `paseo mcp`: the same tools without a port, and calls that outlive the daemon.

use std::time::Duration;

use paseo_sdk::Client;
use paseo_sdk::catalogue::tools;
use paseo_sdk::client::Address;
use paseo_sdk::model::{AgentId, Progress};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::wire::Wire;
use crate::daemon::watching::{until, until_text};
use crate::daemon::worktrees::inside;
use crate::lab::Lab;
use crate::server::caller::House;

/// Longer than any test.
const NEVER: Duration = Duration::from_secs(24 * 60 * 60);

fn client(house: &House) -> Client {
    Client::new(Address::Unix(house.socket()))
}

fn home(lab: &Lab) -> String {
    lab.home().display().to_string()
}

#[tokio::test]
async fn the_tools_are_listed_while_no_daemon_runs() {
    let lab = Lab::new();
    let (mut wire, mut child) = Wire::program(&[("PASEO_HOME", &home(&lab))]).await;
    wire.ask(1, "tools/list", json!({})).await;
    let mut listed = wire.answer(1).await["result"]["tools"].take();
    let known = tools();
    for tool in listed.as_array_mut().expect("a list") {
        let known = known.iter().find(|known| known.name == tool["name"]).expect("an operation");
        let shown = ["description", "inputSchema"].map(|key| tool[key].take());
        assert_eq!(shown, [json!(known.description), known.input_schema.clone()]);
        // Of an answer only what it is like: what its fields mean, no client shows its model.
        let mut answer = tool["outputSchema"].take();
        let advice = answer["properties"].as_object_mut().expect("fields").remove("advice").expect("a field");
        assert_eq!(advice["type"], "string");
        assert_eq!(answer, without_descriptions(&known.output_schema));
    }
    let lines: Vec<String> = listed.as_array().into_iter().flatten().map(hints).collect();
    insta::assert_snapshot!("tools", lines.join("\n"));
    assert_eq!(wire.end().await, Vec::<Value>::new());
    assert_eq!(child.wait().await.expect("it ends").code(), Some(0));
}

fn without_descriptions(schema: &Value) -> Value {
    match schema {
        Value::Object(fields) => {
            // A field called so has a schema.
            let kept = fields.iter().filter(|(key, value)| *key != "description" || value.is_object());
            kept.map(|(key, value)| (key.clone(), without_descriptions(value))).collect()
        }
        Value::Array(items) => items.iter().map(without_descriptions).collect(),
        other => other.clone(),
    }
}

/// Says in a line what a client is told of a tool beside its schemas.
fn hints(tool: &Value) -> String {
    let hints = &tool["annotations"];
    assert_eq!((&hints["title"], &hints["openWorldHint"]), (&tool["title"], &json!(false)));
    let kind = match (hints["readOnlyHint"].as_bool(), hints["destructiveHint"].as_bool()) {
        (Some(true), Some(false)) => "reads",
        (Some(false), Some(false)) => "writes",
        (Some(false), Some(true)) => "destroys",
        other => panic!("no such hints: {other:?}"),
    };
    format!("{}: {}, {kind}", tool["name"].as_str().expect("a name"), tool["title"].as_str().expect("a title"))
}

#[tokio::test]
async fn a_daemon_that_does_not_run_is_said_to_be_unavailable_at_once() {
    let lab = Lab::new();
    let (mut wire, _child) = Wire::program(&[("PASEO_HOME", &home(&lab))]).await;
    for (id, tool) in [(1, "list_agents"), (2, "wait_for_agent")] {
        let result = wire.result(id, tool, json!({})).await;
        let error = &result["_meta"]["paseo/error"];
        assert_eq!((&result["isError"], &error["code"]), (&json!(true), &json!("unavailable")));
        let text = result["content"][0]["text"].as_str().expect("text");
        assert!(text.ends_with("\nhint: your user's `paseo daemon start` starts it"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agents_tools_wait_for_a_daemon_that_restarts_and_are_the_agents() {
    let lab = Lab::new();
    let daemon = lab.process();
    let agent = lab.client().create_agent(lab.script("true")).await.expect("it runs").agent_id;
    daemon.kill();
    let secret = std::fs::read_to_string(lab.home().join("secret")).expect("a secret");
    let token = paseo_daemon::token::Tokens::new("", secret.trim()).agent_token(&agent);
    let (home, id) = (home(&lab), agent.to_string());
    let env = [("PASEO_HOME", &*home), ("PASEO_AGENT_ID", &id), ("PASEO_AGENT_TOKEN", &token)];
    let (mut wire, _child) = Wire::program(&env).await;
    wire.call(1, "list_agents", json!({})).await;
    let _daemon = lab.process();
    let answer = wire.answer(1).await;
    assert_eq!(answer["result"]["structuredContent"]["agents"][0]["agentId"], id, "{answer}");
    // What an agent has no say over, its tools have none over either.
    let refused = wire.result(2, "shutdown_daemon", json!({})).await;
    assert_eq!(refused["_meta"]["paseo/error"]["code"], "forbidden", "{refused}");
    lab.stop(&lab.client()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_blocks_returns_once_after_the_daemon_was_killed() {
    let lab = Lab::new();
    let daemon = lab.process();
    let (mut wire, mut child) = Wire::program(&[("PASEO_HOME", &home(&lab))]).await;
    let agent: AgentId = "c0ffee00-0000-4000-8000-000000000000".parse().expect("an id");
    let script = "echo begun; until test -e go; do sleep 0.03; done; echo done";
    let task = json!({ "title": "long", "provider": "shell", "initialPrompt": script, "mode": "full-access",
        "cwd": lab.work().display().to_string(), "agentId": agent });
    wire.call(1, "create_agent", task).await;
    // Until the daemon has heard of it.
    wire.result(2, "list_agents", json!({})).await;
    while lab
        .client()
        .get_agent_status(paseo_sdk::catalogue::GetAgentStatus { agent_id: (&agent).into() })
        .await
        .is_err()
    {
        tokio::task::yield_now().await;
    }
    until_text(&lab.client(), &agent, "begun").await;
    daemon.kill();
    let _daemon = lab.process();
    std::fs::write(lab.work().join("go"), "").expect("go");
    let result = wire.answer(1).await["result"].take();
    assert_eq!(result["structuredContent"]["lastMessage"], "begun\ndone", "{result}");
    let text = result["content"][0]["text"].as_str().expect("text");
    assert!(text.starts_with(&format!("agent {agent} has finished; it said:\nbegun\ndone\n\n")), "{text}");
    assert_eq!(wire.end().await, Vec::<Value>::new(), "it is answered once");
    assert_eq!(child.wait().await.expect("it ends").code(), Some(0));
    lab.stop(&lab.client()).await;
}

#[tokio::test]
async fn the_end_of_the_input_ends_the_program_while_a_call_blocks() {
    let house = House::open().await;
    let host = format!("unix:{}", house.socket().display());
    let (held, dropped) = oneshot::channel();
    *house.service.wait.lock().expect("no panic") = Some(held);
    let (mut wire, mut child) = Wire::program(&[("PASEO_HOST", &host)]).await;
    wire.call(1, "wait_for_agent", json!({ "agentId": "a1" })).await;
    house.service.waiting.notified().await;
    wire.end().await;
    assert_eq!(child.wait().await.expect("it ends").code(), Some(0));
    dropped.await.expect_err("the wait is over for the daemon too");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_is_asked_goes_with_the_call_that_wanted_it() {
    let lab = Lab::new();
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let agent = client.create_agent(lab.asking("true")).await.expect("it asks").agent_id;
    let (mut wire, loops) = Wire::within(inside(&lab, &agent), NEVER).await;
    let raise = json!({ "agentId": agent, "mode": "full-access" });
    wire.call(1, "set_agent_mode", raise.clone()).await;
    until(&client, &agent, |agent| agent.permissions.len() == 2).await;
    wire.tell("notifications/cancelled", json!({ "requestId": 1, "reason": "enough" })).await;
    until(&client, &agent, |agent| agent.permissions.len() == 1).await;
    wire.call(2, "set_agent_mode", raise).await;
    until(&client, &agent, |agent| agent.permissions.len() == 2).await;
    wire.end().await;
    until(&client, &agent, |agent| agent.permissions.len() == 1).await;
    loops.await.expect("no panic");
    lab.end(&client).await;
}

#[tokio::test]
async fn a_cancelled_call_ends_for_the_daemon_too_and_is_not_answered() {
    let house = House::open().await;
    let (held, dropped) = oneshot::channel();
    *house.service.wait.lock().expect("no panic") = Some(held);
    let (mut wire, _loops) = Wire::within(client(&house), NEVER).await;
    wire.call(1, "wait_for_agent", json!({ "agentId": "a1" })).await;
    house.service.waiting.notified().await;
    wire.tell("notifications/cancelled", json!({ "requestId": 1, "reason": "enough" })).await;
    dropped.await.expect_err("nothing is ever sent");
    let agents = wire.result(2, "list_agents", json!({})).await;
    assert_eq!(agents["structuredContent"], json!({ "agents": [] }));
}

#[tokio::test]
async fn a_call_that_goes_on_says_so_to_those_who_want_to_hear_it() {
    let house = House::open().await;
    let (mut wire, _loops) = Wire::within(client(&house), Duration::from_millis(5)).await;
    wire.call(1, "wait_for_agent", json!({ "agentId": "a1" })).await;
    wire.call_aloud(2, "wait_for_agent", json!({ "agentId": "a1" })).await;
    for count in 1..=3 {
        let progress = wire.next().await.expect("it says so");
        let params = &progress["params"];
        assert_eq!(
            (&progress["method"], &params["progressToken"]),
            (&json!("notifications/progress"), &json!("call 2"))
        );
        assert_eq!(params["progress"].as_f64(), Some(f64::from(count)));
        assert!(
            params["message"].as_str().is_some_and(|message| message.starts_with("wait_for_agent has gone on for "))
        );
    }
}

#[tokio::test]
async fn what_the_daemon_says_of_a_call_is_passed_on_at_once() {
    let house = House::open().await;
    let mut makings = house.service.makings();
    let (mut wire, _loops) = Wire::within(client(&house), NEVER).await;
    wire.call_aloud(1, "create_worktree", json!({ "githubPrNumber": 7 })).await;
    let making = makings.recv().await.expect("it is asked for");
    let checkout = Progress {
        done: Some(3),
        total: Some(5),
        unit: Some("files".to_owned()),
        ..Progress::new("checkout").message("checking out pr/7")
    };
    making.reporter.report(checkout);
    let progress = wire.next().await.expect("it is passed on");
    assert_eq!(progress["params"]["message"], "checking out pr/7: 3 of 5 files");
    drop(making);
    assert_eq!(wire.answer(1).await["result"]["_meta"]["paseo/error"]["code"], "conflict");
}

#[tokio::test]
async fn short_calls_are_answered_after_the_end_of_the_input() {
    let house = House::open().await;
    let (mut wire, loops) = Wire::within(client(&house), NEVER).await;
    wire.call(1, "list_agents", json!({})).await;
    let rest = wire.end().await;
    assert_eq!((rest.len(), &rest[0]["id"]), (1, &json!(1)), "{rest:?}");
    loops.await.expect("no panic");
}
