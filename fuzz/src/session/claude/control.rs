//! What it asks, and what it answers: lines of types `control_request` and `control_response`.

use std::collections::VecDeque;

use serde_json::{Value, json};

use super::message::uuid;
use super::{call_id, input, text, tool};
use crate::bytes::Bytes;
use crate::session::tell::request_id;

/// Decides for a question.
pub(super) fn request(bytes: &mut Bytes<'_>) -> Value {
    let request = match bytes.below(8) {
        0 => {
            json!({ "subtype": bytes.pick(&["hook_callback", "mcp_message", "elicitation", ""]), "input": input(bytes) })
        }
        _ => json!({
            "subtype": "can_use_tool",
            "tool_name": tool(bytes),
            "display_name": text(bytes),
            "input": input(bytes),
            "description": bytes.maybe(text),
            "tool_use_id": call_id(bytes),
            "permission_suggestions": bytes.some(3, suggestion),
            "decision_reason": bytes.maybe(text),
        }),
    };
    json!({ "type": "control_request", "request_id": request_id(bytes), "request": request })
}

fn suggestion(bytes: &mut Bytes<'_>) -> Value {
    match bytes.below(6) {
        0 => json!({ "type": "addDirectories", "directories": [bytes.word()], "destination": "session" }),
        1 => json!({ "type": "setMode", "mode": bytes.pick(&["acceptEdits", "plan"]), "destination": "session" }),
        _ => json!({
            "type": bytes.pick(&["addRules", "addRules", "removeRules"]),
            "rules": bytes.some(3, |bytes| json!({
                "toolName": bytes.pick(&["Bash", "Bash", "Edit", ""]),
                "ruleContent": match bytes.below(3) {
                    0 => json!("ls"),
                    1 => json!(text(bytes)),
                    _ => Value::Null,
                },
            })),
            "behavior": bytes.pick(&["allow", "allow", "deny"]),
            "destination": "localSettings",
        }),
    }
}

/// Decides for an answer to what it was asked, or for the echo of one that it was given.
pub(super) fn response(bytes: &mut Bytes<'_>, uuids: &VecDeque<String>) -> Value {
    let (id, response) = match bytes.below(6) {
        0 => {
            let account = json!({
                "tokenSource": bytes.pick(&["none", "none", "env"]),
                "apiProvider": bytes.pick(&["firstParty", "firstParty", "bedrock"]),
                "apiKeySource": bytes.maybe(Bytes::word),
            });
            ("paseo.initialize".to_owned(), json!({ "models": [], "account": account }))
        }
        1..=3 => (format!("paseo.cancel.{}", uuid(bytes, uuids)), json!({ "cancelled": bytes.below(4) != 0 })),
        4 => (bytes.pick(&["mode.p1", "model.p2", "interrupt.p3", "paseo.interrupt"]).to_owned(), json!({})),
        _ => (request_id(bytes), json!({ "behavior": "allow", "updatedInput": {} })),
    };
    let response = match bytes.below(4) {
        0 => json!({ "subtype": "error", "request_id": id, "error": text(bytes) }),
        _ => json!({ "subtype": "success", "request_id": id, "response": response }),
    };
    json!({ "type": "control_response", "response": response })
}
