//! Texts that are no messages, over pipes and over `/mcp`: each is answered, and what comes after it too.

use std::time::Duration;

use hyper::{Method, StatusCode};
use paseo_sdk::Client;
use paseo_sdk::client::Address;
use serde_json::{Value, json};

use super::wire::Wire;
use crate::server::caller::{House, Reply, TOKEN, request};

/// What is wrong, with the `id` and the code that it is answered with.
fn wrong() -> Vec<(String, Value, i64)> {
    let line = |text: &str, id: Value, code: i64| (text.to_owned(), id, code);
    let called = |params: Value| json!({ "jsonrpc": "2.0", "id": "a", "method": "tools/call", "params": params });
    let mut all = vec![
        line("hello", Value::Null, -32700),
        line(r#"{"jsonrpc": "2.0", "id": 1, "method": "ping""#, Value::Null, -32700),
        line("5", Value::Null, -32600),
        line("null", Value::Null, -32600),
        line(r#"[{"jsonrpc": "2.0", "id": 1, "method": "ping"}]"#, Value::Null, -32600),
        line("{}", Value::Null, -32600),
        line(r#"{"jsonrpc": "2.0", "id": 8}"#, json!(8), -32600),
        line(r#"{"jsonrpc": "2.0", "id": 8, "method": 5}"#, json!(8), -32600),
        line(r#"{"id": "b", "method": "ping"}"#, json!("b"), -32600),
        line(r#"{"jsonrpc": "1.0", "method": "notifications/initialized"}"#, Value::Null, -32600),
        line(r#"{"jsonrpc": "2.0", "id": 1.5, "method": "ping"}"#, json!(1.5), -32600),
        line(r#"{"jsonrpc": "2.0", "id": [1], "method": "ping"}"#, Value::Null, -32600),
        line(r#"{"jsonrpc": "2.0", "id": 8, "method": "ping", "result": {}}"#, json!(8), -32600),
        line(r#"{"jsonrpc": "2.0", "id": 8, "method": "tea/make", "params": 5}"#, json!(8), -32600),
        line(r#"{"jsonrpc": "2.0", "id": 8, "method": "initialize", "params": {}}"#, json!(8), -32602),
        line(r#"{"jsonrpc": "2.0", "id": 8, "method": "tools/call"}"#, json!(8), -32602),
    ];
    for params in [
        json!({ "name": 5 }),
        json!({ "name": "list_agents", "arguments": "x".repeat(1 << 20) }),
        json!({ "name": "list_agents", "arguments": [1] }),
        json!({ "arguments": {} }),
        json!(["list_agents"]),
        json!(5),
    ] {
        all.push((called(params).to_string(), json!("a"), -32602));
    }
    all
}

fn check(text: &str, answer: &Value, id: &Value, code: i64) {
    let shown: String = text.chars().take(80).collect();
    assert_eq!(
        (&answer["jsonrpc"], answer.get("id"), &answer["error"]["code"]),
        (&json!("2.0"), Some(id), &json!(code)),
        "{shown}: {answer}"
    );
    let message = answer["error"]["message"].as_str().expect("a sentence");
    assert!(!message.is_empty() && message.len() < 400, "{shown}: {message}");
}

async fn wire(house: &House) -> Wire {
    let daemon = Client::new(Address::Unix(house.socket()));
    Wire::within(daemon, Duration::from_secs(60 * 60)).await.0
}

#[tokio::test]
async fn a_line_that_is_no_message_is_answered_and_the_next_line_is_read() {
    let house = House::open().await;
    let mut wire = wire(&house).await;
    for (text, id, code) in wrong() {
        wire.line(text.as_bytes()).await;
        check(&text, &wire.next().await.expect("it answers"), &id, code);
    }
    wire.line(b"\xff\xfe").await;
    check("what is no UTF-8", &wire.next().await.expect("it answers"), &Value::Null, -32700);
    wire.ask(9, "ping", json!({})).await;
    assert_eq!(wire.answer(9).await["result"], json!({}));
}

#[tokio::test]
async fn what_wants_no_answer_gets_none() {
    let house = House::open().await;
    let mut wire = wire(&house).await;
    for silent in [
        "",
        "  \r",
        r#"{"jsonrpc": "2.0", "id": 77, "result": {"of": "nothing asked"}}"#,
        r#"{"jsonrpc": "2.0", "id": 77, "error": {"code": 1, "message": "no"}}"#,
        r#"{"jsonrpc": "2.0", "id": null, "error": {"code": -32700, "message": "no"}}"#,
        r#"{"jsonrpc": "2.0", "id": 77, "result": {}, "error": 5}"#,
        r#"{"jsonrpc": "2.0", "method": "notifications/of/a/kind", "params": {"a": 1}}"#,
        r#"{"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": {}}}"#,
    ] {
        wire.line(silent.as_bytes()).await;
    }
    wire.ask(9, "ping", json!({})).await;
    assert_eq!(wire.answer(9).await["result"], json!({}));
    assert_eq!(wire.end().await, Vec::<Value>::new());
}

#[tokio::test]
async fn a_method_that_there_is_not_is_said_to_be_none() {
    let house = House::open().await;
    let mut wire = wire(&house).await;
    wire.ask(1, "tea/make", json!({})).await;
    assert_eq!(wire.answer(1).await["error"]["code"], -32601);
    wire.call(2, "make_tea", json!({})).await;
    assert_eq!(wire.answer(2).await["error"]["code"], -32602);
}

#[tokio::test]
async fn a_line_that_is_too_long_is_refused_and_the_next_line_is_read() {
    let house = House::open().await;
    let mut wire = wire(&house).await;
    wire.line(&vec![b'x'; (32 << 20) + 1]).await;
    let refused = wire.next().await.expect("it answers");
    check("xx…", &refused, &Value::Null, -32600);
    let message = refused["error"]["message"].as_str().expect("a sentence");
    assert!(message.starts_with("the message is longer than 32 MiB"), "{message}");
    wire.ask(9, "ping", json!({})).await;
    assert_eq!(wire.answer(9).await["result"], json!({}));
}

#[tokio::test]
async fn a_body_that_is_no_message_is_answered_in_the_protocol_too() {
    let house = House::open().await;
    let post = async |text: &str| -> Reply {
        let headers = [
            ("accept", "application/json, text/event-stream".to_owned()),
            ("content-type", "application/json".to_owned()),
            ("authorization", format!("Bearer {TOKEN}")),
        ];
        request(house.tcp().await, Method::POST, "/mcp", &headers, text).await
    };
    for (text, id, code) in wrong() {
        let reply = post(&text).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST);
        check(&text, &reply.body, &id, code);
    }
}
