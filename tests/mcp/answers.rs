//! Every tool of a whole daemon, over `/mcp`: what it answers is what its schema says.

use std::collections::BTreeMap;

use hyper::Method;
use paseo_sdk::catalogue::tools;
use serde_json::{Value, json};
use tokio::net::UnixStream;

use crate::daemon::worktrees::repository;
use crate::lab::{Lab, PASEO};
use crate::server::caller;

/// Calls tools, and holds what they answer against their schemas.
struct Model<'a> {
    lab: &'a Lab,
    schemas: BTreeMap<String, Value>,
    called: Vec<String>,
}

impl<'a> Model<'a> {
    async fn meet(lab: &'a Lab) -> Model<'a> {
        let listed = send(lab, "tools/list", json!({})).await;
        let schemas = listed["tools"].as_array().into_iter().flatten();
        let schemas = schemas
            .map(|tool| (tool["name"].as_str().expect("a name").to_owned(), tool["outputSchema"].clone()))
            .collect();
        Model { lab, schemas, called: Vec::new() }
    }

    /// Returns the answer and its text.
    async fn call(&mut self, tool: &str, arguments: Value) -> (Value, String) {
        let mut result = send(self.lab, "tools/call", json!({ "name": tool, "arguments": arguments })).await;
        let text = result["content"][0]["text"].as_str().expect("text").to_owned();
        assert_eq!(result["isError"], false, "{tool}: {text}");
        let answer = result["structuredContent"].take();
        let schema = jsonschema::validator_for(&self.schemas[tool]).expect("a schema");
        let faults: Vec<_> = schema.iter_errors(&answer).map(|fault| fault.to_string()).collect();
        assert!(faults.is_empty(), "{tool}: {faults:#?}\n{answer:#}");
        self.called.push(tool.to_owned());
        (answer, text)
    }
}

async fn send(lab: &Lab, method: &str, params: Value) -> Value {
    let stream = UnixStream::connect(lab.home().join("paseo.sock")).await.expect("it accepts");
    let headers = [("accept", "application/json, text/event-stream"), ("content-type", "application/json")];
    let headers = headers.map(|(name, value)| (name, value.to_owned()));
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
    let mut reply = caller::request(stream, Method::POST, "/mcp", &headers, &body).await;
    assert_eq!(reply.body.get("error"), None);
    reply.body["result"].take()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_what_its_schema_says() {
    let lab = repository(&json!({ "worktree": { "setup": "true" } }));
    let daemon = lab.daemon().await;
    let mut model = Model::meet(&lab).await;
    let cwd = lab.work().display().to_string();

    let (made, _) =
        model.call("create_worktree", json!({ "action": "branch-off", "branchName": "fix/a", "cwd": cwd })).await;
    let path = made["worktreePath"].clone();
    model.call("list_worktrees", json!({ "cwd": cwd })).await;
    model.call("trust_worktree", json!({ "worktreePath": path })).await;

    let task = |script: &str, mode: &str| {
        json!({ "title": "a script", "provider": "shell", "initialPrompt": script, "mode": mode, "cwd": path,
            "labels": { "sprint": "12" } })
    };
    let (done, text) = model.call("create_agent", task("echo one; exit 3", "full-access")).await;
    let agent = done["agentId"].clone();
    assert_eq!(done["outcome"], "error");
    assert!(text.starts_with(&format!("agent {} failed: ", agent.as_str().expect("an id"))), "{text}");
    let (sent, text) =
        model.call("send_agent_prompt", json!({ "agentId": agent, "prompt": "echo two", "background": true })).await;
    assert_eq!(sent["advice"], "`wait_for_agent` waits for it");
    assert!(text.contains(" has the task\n") && text.contains("\nadvice: `wait_for_agent` waits for it\n"), "{text}");
    let wait = json!({ "agentId": agent, "promptId": sent["promptId"] });
    let (_, text) = model.call("wait_for_agent", wait).await;
    assert!(text.contains(" has finished; it said: two\n\n"), "{text}");

    let (asks, text) = model.call("create_agent", task("echo three", "default")).await;
    let asking = asks["agentId"].clone();
    let advice = asks["advice"].as_str().expect("advice");
    assert!(advice.starts_with("answer with `respond_to_permission`, then wait again, or wait with `until: finished`"));
    assert!(text.contains(" waits for a permission\n") && text.contains(&format!("\nadvice: {advice}\n")), "{text}");
    model.call("wait_for_agent", json!({ "agentIds": [agent, asking], "timeout": "1h" })).await;
    let (_, text) =
        model.call("wait_for_agent", json!({ "agentId": asking, "until": "finished", "timeout": "0s" })).await;
    assert!(text.starts_with("the time given to the wait for agent "), "{text}");
    let (pending, _) = model.call("list_pending_permissions", json!({})).await;
    let request = pending["permissions"][0]["requestId"].clone();
    model.call("respond_to_permission", json!({ "agentId": asking, "requestId": request, "behavior": "allow" })).await;
    model.call("wait_for_agent", json!({ "agentId": asking })).await;

    model.call("list_agents", json!({ "includeArchived": true, "cwd": null })).await;
    model.call("get_agent_status", json!({ "agentId": agent })).await;
    model.call("get_agent_timeline", json!({ "agentId": agent })).await;
    model.call("get_agent_activity", json!({ "agentId": agent })).await;
    model.call("update_agent", json!({ "agentId": agent, "title": "another title" })).await;
    model.call("set_agent_mode", json!({ "agentId": "another title", "mode": "default" })).await;
    model.call("cancel_agent", json!({ "agentId": agent })).await;
    model.call("archive_agent", json!({ "agentId": agent })).await;
    model.call("delete_agent", json!({ "agentId": agent })).await;
    let schedule = json!({ "scheduleId": "beat", "prompt": "true", "every": "1h", "provider": "shell", "cwd": cwd });
    model.call("create_schedule", schedule).await;
    model.call("list_schedules", json!({})).await;
    model.call("update_schedule", json!({ "scheduleId": "beat", "cron": "0 3 * * sun", "mode": "full-access" })).await;
    model.call("pause_schedule", json!({ "scheduleId": "beat" })).await;
    model.call("resume_schedule", json!({ "scheduleId": "beat" })).await;
    model.call("run_schedule", json!({ "scheduleId": "beat" })).await;
    model.call("inspect_schedule", json!({ "scheduleId": "beat" })).await;
    model.call("delete_schedule", json!({ "scheduleId": "beat" })).await;
    model.call("list_providers", json!({})).await;
    model.call("list_models", json!({})).await;
    model.call("archive_worktree", json!({ "worktreePath": path, "force": true })).await;
    model.call("restore_worktree", json!({ "worktreeSlug": made["worktreeSlug"], "cwd": cwd })).await;
    model.call("get_daemon", json!({})).await;
    model.call("shutdown_daemon", json!({ "withAgents": true })).await;

    model.called.sort();
    model.called.dedup();
    let mut all: Vec<_> = tools().iter().map(|tool| tool.name).filter(|name| *name != "watch_agents").collect();
    all.sort_unstable();
    assert_eq!(model.called, all);
    daemon.shutdown().await;
    assert_eq!(crate::lab::processes_in(&lab.work()), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_call_carries_is_in_no_log() {
    let lab = Lab::new();
    let mut command = lab.command(PASEO.as_ref());
    command.env("PASEO_LOG", "trace");
    let _daemon = lab.process_by(command);
    let mut model = Model::meet(&lab).await;
    let task = json!({ "title": "a secret", "provider": "shell", "initialPrompt": "true", "mode": "full-access",
        "cwd": lab.work().display().to_string(), "env": { "KEY": "not-to-be-seen" } });
    model.call("create_agent", task).await;
    let log = std::fs::read_to_string(lab.home().join("daemon.log")).expect("a log");
    assert!(log.contains("create_agent by the user: done") && !log.contains("not-to-be-seen"), "{log}");
    lab.stop(&lab.client()).await;
}
