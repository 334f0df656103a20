//! What can arrive on the wire: any text, and any arguments.

use std::pin::pin;
use std::task::{Context, Waker};

use paseo_sdk::catalogue::{OPERATIONS, dispatch};
use paseo_sdk::error::{ApiError, Code};
use paseo_sdk::frame::{self, Frame};
use paseo_sdk::operation::{Caller, Handle, Operation, parse};
use serde_json::{Map, Value, json};

use crate::bytes::Bytes;

/// Reads any text as a message, and what is one again from its own words.
///
/// # Panics
///
/// When a message is another one the second time, or when a refusal cannot be read by a client.
pub fn frames(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match Frame::parse(&text) {
        Ok(read) => {
            let again = Frame::parse(&write(&read));
            assert!(has_fraction(&read) || again.as_ref() == Ok(&read), "{read:?} is {again:?} the second time");
        }
        Err(malformed) => {
            let reply = Frame::parse(&malformed.reply());
            let expected = Frame::Reply { id: malformed.id.clone(), result: Err(malformed.error.clone()) };
            assert!(has_fraction(&expected) || reply == Ok(expected), "{malformed:?} is told as {reply:?}");
        }
    }
}

fn write(frame: &Frame) -> String {
    match frame {
        Frame::Call { id, method, params } => {
            json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }).to_string()
        }
        Frame::Reply { id, result } => frame::reply(id, result),
        Frame::Notification { method, params } => {
            json!({ "jsonrpc": "2.0", "method": method, "params": params }).to_string()
        }
    }
}

/// A number with a fraction may lose its last bit each time it is read, which is JSON's doing and not ours.
fn has_fraction(frame: &Frame) -> bool {
    fn within(value: &Value) -> bool {
        match value {
            Value::Number(number) => number.is_f64(),
            Value::Array(values) => values.iter().any(within),
            Value::Object(values) => values.values().any(within),
            Value::Null | Value::Bool(_) | Value::String(_) => false,
        }
    }
    match frame {
        Frame::Call { id, params, .. } => within(id) || within(params),
        Frame::Reply { id, result: Ok(value) } => within(id) || within(value),
        Frame::Reply { id, result: Err(error) } => within(id) || error.details.as_ref().is_some_and(within),
        Frame::Notification { params, .. } => within(params),
    }
}

/// Calls an operation with any arguments.
///
/// # Panics
///
/// When a request that was read is another one the second time, or when a refusal says nothing.
pub fn params(data: &[u8]) {
    let mut bytes = Bytes(data);
    let (operation, _) = bytes.pick(OPERATIONS);
    let params = match serde_json::from_slice(bytes.0) {
        Ok(params) => params,
        Err(_) => arguments(&mut bytes),
    };
    let shown = params.to_string();
    let called = pin!(dispatch(&Mirror, Caller::user(), operation, params));
    let std::task::Poll::Ready(answer) = called.poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("nothing here waits");
    };
    let error = answer.expect_err("nothing is carried out");
    assert!(!error.message.is_empty(), "{operation} refuses {shown} without a word");
    assert!(error.code != Code::Internal, "{operation} with {shown}: {error:?}");
}

/// Carries out nothing; looks at each request from both sides.
struct Mirror;

impl<Op: Operation> Handle<Op> for Mirror {
    async fn handle(&self, _: Caller, request: Op) -> Result<Op::Answer, ApiError> {
        let written = serde_json::to_value(&request).expect("a request can be written");
        let read: Op = parse(written.clone()).expect("what was written can be read");
        let again = serde_json::to_value(&read).expect("a request can be written");
        assert_eq!(written, again, "{} is another one the second time", Op::NAME);
        Err(ApiError::new(Code::Unavailable, "nothing is carried out here"))
    }
}

fn arguments(bytes: &mut Bytes<'_>) -> Value {
    let mut fields = Map::new();
    while !bytes.is_empty() && fields.len() < 12 {
        fields.insert(bytes.pick(FIELDS).to_owned(), value(bytes));
    }
    Value::Object(fields)
}

fn value(bytes: &mut Bytes<'_>) -> Value {
    match bytes.below(12) {
        0 => Value::Null,
        1 => json!(bytes.flag()),
        2 => json!(bytes.pick(&[0, 1, -1, 503, i64::MAX, i64::MIN])),
        3 => json!(bytes.some(3, Bytes::word)),
        4 => json!({ "a": bytes.word() }),
        5 => json!([{ "agentId": bytes.word(), "after": bytes.number(9) }]),
        6 => json!([{ "mediaType": "image/png", "data": bytes.word() }]),
        7 => json!(1.5),
        _ => json!(bytes.pick(WORDS)),
    }
}

const FIELDS: &[&str] = &[
    "action",
    "after",
    "agentId",
    "agentIds",
    "agents",
    "all",
    "background",
    "baseBranch",
    "before",
    "behavior",
    "branchName",
    "cursor",
    "cwd",
    "env",
    "fetch",
    "force",
    "githubPrNumber",
    "images",
    "includeArchived",
    "initialPrompt",
    "input",
    "interrupt",
    "kinds",
    "labels",
    "limit",
    "message",
    "mode",
    "model",
    "nonsense",
    "notifyOnFinish",
    "optionId",
    "parent",
    "prompt",
    "promptId",
    "provider",
    "raw",
    "refName",
    "requestId",
    "sinceHours",
    "statuses",
    "thinking",
    "timeout",
    "title",
    "trust",
    "until",
    "updatedInput",
    "waitForSetup",
    "whenBusy",
    "withAgents",
    "worktree",
    "worktreeSlug",
    "yes",
];

const WORDS: &[&str] = &[
    "",
    "a1",
    "p1",
    "/",
    "main",
    "fix/foo",
    "branch-off",
    "checkout",
    "shell",
    "shell/model",
    "default",
    "full-access",
    "claude:dontAsk",
    "allow",
    "deny",
    "queue",
    "interrupt",
    "any",
    "all",
    "attention",
    "finished",
    "5m",
    "1.5h",
    "-3s",
    "notice",
    "running",
    "2026-01-01T00:00:00Z",
    "@9",
];
