//! What is said and done in a conversation: lines of types `stream_event`, `assistant` and `user`.

use std::collections::VecDeque;

use serde_json::{Value, json};

use super::{call_id, input, parent, status, text, tool};
use crate::bytes::Bytes;

/// Decides for a piece of a message that is being written.
pub(super) fn streamed(bytes: &mut Bytes<'_>) -> Value {
    let delta = match bytes.below(8) {
        0..=3 => json!({ "type": "text_delta", "text": text(bytes) }),
        4 | 5 => json!({ "type": "thinking_delta", "thinking": text(bytes) }),
        6 => json!({ "type": "signature_delta", "signature": "x" }),
        _ => json!({ "type": "input_json_delta", "partial_json": text(bytes) }),
    };
    let kind = match bytes.below(8) {
        0 => {
            bytes.pick(&["message_start", "content_block_start", "content_block_stop", "message_delta", "message_stop"])
        }
        _ => "content_block_delta",
    };
    json!({
        "type": "stream_event",
        "event": { "type": kind, "index": bytes.below(3), "delta": delta },
        "parent_tool_use_id": parent(bytes),
    })
}

/// Decides for a message.
pub(super) fn assistant(bytes: &mut Bytes<'_>) -> Value {
    let content = match bytes.below(8) {
        0 => json!(text(bytes)),
        1 => json!(bytes.some(5, block)),
        _ => json!([block(bytes)]),
    };
    let mut line = json!({
        "type": "assistant",
        "message": { "id": "msg_1", "role": "assistant", "content": content, "stop_reason": null },
        "parent_tool_use_id": parent(bytes),
    });
    if bytes.below(12) == 0 {
        line["error"] = json!(bytes.pick(&["authentication_failed", "rate_limit", "unknown", ""]));
    }
    line
}

fn block(bytes: &mut Bytes<'_>) -> Value {
    match bytes.below(10) {
        0..=2 => json!({ "type": "text", "text": text(bytes) }),
        3 | 4 => json!({ "type": "thinking", "thinking": text(bytes) }),
        5 => json!({ "type": bytes.pick(&["redacted_thinking", "image", ""]) }),
        _ => json!({ "type": "tool_use", "id": call_id(bytes), "name": tool(bytes), "input": input(bytes) }),
    }
}

/// Decides for what tools came to.
pub(super) fn results(bytes: &mut Bytes<'_>) -> Value {
    let content = match bytes.below(8) {
        0 => json!(text(bytes)),
        1 => json!(bytes.some(4, tool_result)),
        _ => json!([tool_result(bytes)]),
    };
    json!({
        "type": "user",
        "message": { "role": "user", "content": content },
        "tool_use_result": details(bytes),
        "parent_tool_use_id": parent(bytes),
    })
}

fn tool_result(bytes: &mut Bytes<'_>) -> Value {
    let content = match bytes.below(6) {
        0 => json!(bytes.some(4, |bytes| match bytes.below(3) {
            0 => json!({ "type": "image", "source": {} }),
            _ => json!({ "type": "text", "text": text(bytes) }),
        })),
        1 => Value::Null,
        _ => json!(text(bytes)),
    };
    json!({
        "type": bytes.pick(&["tool_result", "tool_result", "tool_result", "text"]),
        "tool_use_id": call_id(bytes),
        "content": content,
        "is_error": bytes.flag(),
    })
}

/// Decides for what is told of a result beside what the model reads.
fn details(bytes: &mut Bytes<'_>) -> Value {
    match bytes.below(12) {
        0 => json!(text(bytes)),
        1 => json!({ "stdout": text(bytes), "stderr": "", "interrupted": bytes.flag(), "isImage": false }),
        2 => json!({ "stdout": "", "backgroundTaskId": "k1" }),
        3 | 4 => json!({
            "filePath": text(bytes),
            "structuredPatch": bytes.some(3, hunk),
            "type": bytes.pick(&["update", "create"]),
            "content": bytes.maybe(text),
        }),
        5 | 6 => json!({ "task": { "id": bytes.pick(&["1", "2", ""]), "subject": text(bytes) } }),
        7 => json!({ "success": bytes.flag(), "taskId": "1", "updatedFields": ["status"] }),
        8 => json!({ "tasks": bytes.some(3, |bytes| {
            json!({ "id": bytes.pick(&["1", "2"]), "subject": text(bytes), "status": status(bytes) })
        }) }),
        9 => json!({ "oldTodos": [], "newTodos": bytes.some(3, |bytes| {
            json!({ "content": text(bytes), "status": status(bytes), "activeForm": "x" })
        }) }),
        10 => json!({ "status": "completed", "agentId": "k1", "content": [{ "type": "text", "text": text(bytes) }] }),
        _ => Value::Null,
    }
}

fn hunk(bytes: &mut Bytes<'_>) -> Value {
    json!({
        "oldStart": bytes.number(9),
        "oldLines": bytes.number(9),
        "newStart": bytes.number(9),
        "newLines": bytes.number(9),
        "lines": bytes.some(5, |bytes| format!("{}{}", bytes.pick(&[" ", "+", "-", ""]), text(bytes))),
    })
}

/// Decides for a prompt that it has taken.
pub(super) fn replay(bytes: &mut Bytes<'_>, uuids: &VecDeque<String>) -> Value {
    json!({
        "type": "user",
        "isReplay": bytes.below(8) != 0,
        "uuid": uuid(bytes, uuids),
        "message": { "role": "user", "content": text(bytes) },
    })
}

/// Decides for one of the prompts that it was told, or for one that it was not.
pub(super) fn uuid(bytes: &mut Bytes<'_>, uuids: &VecDeque<String>) -> String {
    let at = usize::from(bytes.byte()) % (uuids.len() + 1);
    uuids.get(at).cloned().unwrap_or_default()
}
