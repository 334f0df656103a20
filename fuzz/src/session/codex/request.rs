//! What it asks for.

use serde_json::{Value, json};

use super::item::Items;
use super::text;
use crate::bytes::Bytes;
use crate::session::tell::request_id;

/// Decides for a request in a turn; mostly about the item that has begun last.
pub(super) fn line(bytes: &mut Bytes<'_>, turn: &str, items: &Items) -> Value {
    let item = if bytes.below(4) == 0 { bytes.word() } else { items.last() };
    let (method, mut params) = match bytes.below(10) {
        0..=2 => (
            "item/commandExecution/requestApproval",
            json!({
                "kind": "command",
                "reason": bytes.maybe(text),
                "command": text(bytes),
                "cwd": "/",
                "networkApprovalContext": if bytes.below(8) == 0 { json!({}) } else { Value::Null },
            }),
        ),
        3 | 4 => ("item/fileChange/requestApproval", json!({ "reason": bytes.maybe(text), "grantRoot": null })),
        5 | 6 => ("mcpServer/elicitation/request", elicitation(bytes)),
        7 | 8 => (
            "item/tool/requestUserInput",
            json!({ "questions": bytes.some(3, |bytes| json!({
                "id": bytes.pick(&["a", "b", ""]),
                "question": text(bytes),
                "header": text(bytes),
                "options": bytes.some(3, |bytes| json!({ "label": text(bytes), "description": bytes.word() })),
            })) }),
        ),
        _ => (
            bytes.pick(&["item/permissions/requestApproval", "item/tool/call", "currentTime/read", "new"]),
            json!({ "tool": text(bytes) }),
        ),
    };
    params["turnId"] = json!(turn);
    params["itemId"] = json!(item);
    json!({ "method": method, "id": id(bytes), "params": params })
}

fn elicitation(bytes: &mut Bytes<'_>) -> Value {
    let meta = json!({
        "codex_approval_kind": "mcp_tool_call",
        "tool_name": bytes.pick(&["look", "write", ""]),
        "tool_params": { "text": text(bytes) },
    });
    json!({
        "serverName": text(bytes),
        "mode": "form",
        "message": text(bytes),
        "requestedSchema": bytes.maybe(|bytes| json!({ "type": "object", "title": text(bytes) })),
        "_meta": if bytes.flag() { meta } else { Value::Null },
    })
}

/// Decides for the id of a request. Those of the real program are numbers, and a word is an id as well.
pub(super) fn id(bytes: &mut Bytes<'_>) -> Value {
    match bytes.below(4) {
        0 => json!(bytes.below(3)),
        _ => json!(request_id(bytes)),
    }
}
