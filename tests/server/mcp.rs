//! The door `/mcp`: who may come in, what is said in the protocol itself, and when a call ends.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use paseo_sdk::model::AgentId;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;

use super::caller::{House, Reply, TOKEN, messages_of, request};
use paseo_daemon::server::Limits;

const ACCEPT: &str = "application/json, text/event-stream";

/// What every client of this protocol sends.
fn headers(token: &str) -> Vec<(&'static str, String)> {
    vec![
        ("accept", ACCEPT.to_owned()),
        ("content-type", "application/json".to_owned()),
        ("authorization", format!("Bearer {token}")),
    ]
}

fn message(method: &str, params: Value) -> String {
    json!({ "jsonrpc": "2.0", "id": 7, "method": method, "params": params }).to_string()
}

fn call(tool: &str, arguments: Value) -> String {
    message("tools/call", json!({ "name": tool, "arguments": arguments }))
}

async fn post(house: &House, body: &str) -> Reply {
    request(house.tcp().await, Method::POST, "/mcp", &headers(TOKEN), body).await
}

#[tokio::test]
async fn every_version_of_the_protocol_is_answered_in_itself() {
    let house = House::open().await;
    for version in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
        let client = json!({ "name": "a test", "version": "1" });
        let params = json!({ "protocolVersion": version, "capabilities": {}, "clientInfo": client });
        let reply = post(&house, &message("initialize", params)).await;
        assert_eq!(reply.status, StatusCode::OK);
        let result = &reply.body["result"];
        assert_eq!((&result["protocolVersion"], &result["serverInfo"]["name"]), (&json!(version), &json!("paseo")));
        assert_eq!(result["capabilities"], json!({ "tools": {} }));
        // Nothing is remembered of it: the next request may go to another daemon.
        assert_eq!(reply.headers.get("mcp-session-id"), None);
    }
}

#[tokio::test]
async fn the_newest_version_needs_no_greeting() {
    let house = House::open().await;
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { "name": "a test", "version": "1" },
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let body = message("tools/call", json!({ "name": "list_agents", "arguments": {}, "_meta": meta }));
    let mut headers = headers(TOKEN);
    for (name, value) in
        [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call"), ("mcp-name", "list_agents")]
    {
        headers.push((name, value.to_owned()));
    }
    let reply = request(house.tcp().await, Method::POST, "/mcp", &headers, &body).await;
    assert_eq!(reply.body["result"]["structuredContent"], json!({ "agents": [] }), "{reply:?}");
}

#[tokio::test]
async fn each_request_on_a_connection_is_its_own_callers() {
    let house = House::open().await;
    let (mut sender, connection) = http1::handshake(TokioIo::new(house.unix().await)).await.expect("a connection");
    let connection = tokio::spawn(connection);
    let tokens = ["a1", "a2"].map(|id| house.tokens.agent_token(&id.parse::<AgentId>().expect("an id")));
    let mut callers = Vec::new();
    for token in [Some(&tokens[0]), None, Some(&tokens[1])] {
        let mut request = Request::post("/mcp").header("host", "localhost").header("accept", ACCEPT);
        request = request.header("content-type", "application/json");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(Full::new(Bytes::from(call("get_daemon", json!({}))))).expect("a request");
        let body = sender.send_request(request).await.expect("a response").collect().await.expect("a body").to_bytes();
        let body: Value = serde_json::from_slice(&body).expect("JSON");
        callers.push(body["result"]["structuredContent"]["warnings"][0].clone());
    }
    assert_eq!(callers, ["agent a1", "user", "agent a2"]);
    drop(sender);
    connection.await.expect("no panic").expect("it ends well");
}

#[tokio::test]
async fn foreign_names_foreign_pages_and_strangers_are_refused_and_configured_ones_are_not() {
    let house = House::open().await;
    let ask = async |more: &[(&'static str, &str)]| {
        let mut headers = headers(TOKEN);
        for (name, value) in more {
            headers.retain(|(there, _)| there != name);
            headers.push((name, (*value).to_owned()));
        }
        request(house.tcp().await, Method::POST, "/mcp", &headers, &call("list_agents", json!({}))).await.status
    };
    assert_eq!(ask(&[]).await, StatusCode::OK);
    assert_eq!(ask(&[("host", "evil.example")]).await, StatusCode::FORBIDDEN);
    assert_eq!(ask(&[("origin", "https://evil.example")]).await, StatusCode::FORBIDDEN);
    assert_eq!(ask(&[("authorization", "Bearer of nobody")]).await, StatusCode::UNAUTHORIZED);
    assert_eq!(ask(&[("host", "paseo.example"), ("origin", "https://app.example")]).await, StatusCode::OK);
}

#[tokio::test]
async fn there_is_nothing_to_get_and_nothing_to_delete() {
    let house = House::open().await;
    for method in [Method::GET, Method::DELETE] {
        let reply = request(house.tcp().await, method, "/mcp", &headers(TOKEN), "").await;
        assert_eq!(
            (reply.status, &reply.headers["allow"]),
            (StatusCode::METHOD_NOT_ALLOWED, &"POST".parse().expect("text"))
        );
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused() {
    let house = House::with(messages_of(1000), |_| {}).await;
    let reply = post(&house, &call("list_agents", json!({ "cwd": "/".repeat(1000) }))).await;
    assert_eq!(reply.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn an_error_is_text_for_the_model_and_no_structured_content() {
    let house = House::open().await;
    let refused = post(&house, &call("delete_agent", json!({ "agentId": "a1" }))).await.body;
    assert_eq!(
        refused["result"],
        json!({
            "content": [{ "type": "text", "text": "refused: it would lose something" }],
            "isError": true,
            "_meta": { "paseo/error": { "code": "refused", "message": "it would lose something" } },
        })
    );
    let unknown = post(&house, &call("get_agent_status", json!({ "agentId": "a1", "colour": "red" }))).await.body;
    let error = &unknown["result"]["_meta"]["paseo/error"];
    assert_eq!((&unknown["result"]["isError"], &error["details"]), (&json!(true), &json!({ "field": "colour" })));
    let text = unknown["result"]["content"][0]["text"].as_str().expect("text");
    assert!(text.starts_with("invalid_argument: unknown field `colour`, expected `agentId`\nhint: "), "{text}");
    let panicked = post(&house, &call("list_providers", json!({}))).await.body;
    assert_eq!(panicked["result"]["_meta"]["paseo/error"]["code"], "internal");
}

#[tokio::test]
async fn what_is_no_tool_is_no_call() {
    let house = House::open().await;
    for name in ["make_coffee", "watch_agents", ""] {
        let error = post(&house, &call(name, json!({}))).await.body["error"].clone();
        assert_eq!((&error["code"], &error["message"]), (&json!(-32602), &json!(format!("no tool `{name}`"))));
    }
}

#[tokio::test]
async fn a_wait_ends_when_its_caller_leaves() {
    let house = House::open().await;
    let (held, dropped) = oneshot::channel();
    *house.service.wait.lock().expect("no panic") = Some(held);
    let waiting = begin(house.tcp().await, &call("wait_for_agent", json!({ "agentId": "a1" })));
    house.service.waiting.notified().await;
    waiting.abort();
    // Its sender is gone with the handler that held it.
    dropped.await.expect_err("nothing is ever sent");
}

#[tokio::test]
async fn a_wait_ends_with_a_word_when_the_daemon_stops() {
    let house = House::open().await;
    let waiting = begin(house.tcp().await, &call("wait_for_agent", json!({ "agentId": "a1" })));
    house.service.waiting.notified().await;
    house.server.shutdown().await;
    let result = waiting.await.expect("no panic").body["result"].clone();
    assert_eq!(result["_meta"]["paseo/error"]["code"], "unavailable", "{result}");
}

#[tokio::test]
async fn a_shorter_stall_is_a_body_that_does_not_arrive() {
    let limits = Limits { stall: std::time::Duration::from_millis(50), ..Limits::default() };
    let house = House::with(limits, |_| {}).await;
    let head = format!(
        "POST /mcp HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {TOKEN}\r\naccept: {ACCEPT}\r\n\
         content-type: application/json\r\ncontent-length: 10\r\n\r\n{{"
    );
    let answer = super::caller::raw(house.tcp().await, head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
}

fn begin<I>(io: I, body: &str) -> tokio::task::JoinHandle<Reply>
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let body = body.to_owned();
    tokio::spawn(async move { request(io, Method::POST, "/mcp", &headers(TOKEN), &body).await })
}
