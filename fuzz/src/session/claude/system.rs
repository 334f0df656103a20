//! What it says about itself: lines of type `system`.

use serde_json::{Value, json};

use super::{call_id, task_id, text, tool};
use crate::bytes::Bytes;

/// Decides for a line.
pub(super) fn line(bytes: &mut Bytes<'_>) -> Value {
    let (subtype, fields) = match bytes.below(26) {
        0..=5 => ("init", json!({ "cwd": "/", "model": "m", "permissionMode": mode(bytes), "tools": ["Bash"] })),
        6 | 7 => ("status", json!({ "status": null, "permissionMode": mode(bytes) })),
        8..=11 => (
            "session_state_changed",
            json!({ "state": bytes.pick(&["idle", "idle", "running", "requires_action", ""]) }),
        ),
        12 => (
            "api_retry",
            json!({
                "attempt": bytes.number(12),
                "max_retries": 10,
                "retry_delay_ms": bytes.pick(&[0.5, 544.0, 34_658.0, 1e300, -1.0]),
                "error_status": bytes.pick(&[json!(529), json!(null), json!(-1)]),
                "error": text(bytes),
            }),
        ),
        13..=15 => (
            "task_started",
            json!({
                "task_id": task_id(bytes),
                "tool_use_id": call_id(bytes),
                "task_type": bytes.pick(&["local_agent", "local_bash"]),
                "prompt": text(bytes),
            }),
        ),
        16 => ("task_progress", json!({ "task_id": task_id(bytes), "last_tool_name": tool(bytes) })),
        17 | 18 => (
            "task_updated",
            json!({ "task_id": task_id(bytes), "patch": { "status": bytes.pick(&[
                "completed", "failed", "stopped", "killed", "running", "",
            ]) } }),
        ),
        19 | 20 => (
            "task_notification",
            json!({
                "task_id": task_id(bytes),
                "status": bytes.pick(&["completed", "failed", "stopped"]),
                "summary": text(bytes),
            }),
        ),
        21 => ("permission_denied", json!({ "tool_use_id": call_id(bytes), "tool_name": tool(bytes) })),
        22 => (
            "compact_boundary",
            json!({ "compact_metadata": {
                "trigger": bytes.pick(&["auto", "manual", "…"]),
                "pre_tokens": bytes.number(200),
                "post_tokens": bytes.number(200),
            } }),
        ),
        23 => ("model_fallback", json!({ "content": text(bytes) })),
        24 => ("model_refusal_no_fallback", json!({})),
        _ => ("thinking_tokens", json!({ "estimated_tokens": 5 })),
    };
    let mut line = json!({ "type": "system", "subtype": subtype });
    if let (Value::Object(line), Value::Object(fields)) = (&mut line, fields) {
        line.extend(fields);
    }
    line
}

fn mode(bytes: &mut Bytes<'_>) -> String {
    match bytes.below(12) {
        0 => "plan".to_owned(),
        1 => "acceptEdits".to_owned(),
        2 => "bypassPermissions".to_owned(),
        3 => "dontAsk".to_owned(),
        4 => "m".repeat(1_000),
        _ => "default".to_owned(),
    }
}
