//! The lines that Claude Code says.

mod control;
mod message;
mod system;

use std::collections::VecDeque;

use serde_json::{Value, json};

use super::odd::odd;
use super::tell;
use crate::bytes::Bytes;

/// Decides for a line; `uuids` are those of the prompts that it was told last.
pub(super) fn said(bytes: &mut Bytes<'_>, uuids: &VecDeque<String>) -> String {
    let mut line = match bytes.below(32) {
        0..=8 => system::line(bytes),
        9..=11 => message::streamed(bytes),
        12..=16 => message::assistant(bytes),
        17..=20 => message::results(bytes),
        21 | 22 => message::replay(bytes, uuids),
        23..=25 => result(bytes),
        26..=28 => control::request(bytes),
        29 => json!({ "type": "control_cancel_request", "request_id": tell::request_id(bytes) }),
        30 => control::response(bytes, uuids),
        _ => other(bytes),
    };
    if bytes.below(8) == 0
        && let Value::Object(fields) = &mut line
    {
        fields.insert("session_id".to_owned(), json!(session_id(bytes)));
    }
    if bytes.below(8) == 0 {
        odd(bytes, &mut line);
    }
    let mut text = line.to_string();
    if bytes.below(64) == 63 {
        let mut at = usize::from(bytes.byte()).min(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        text.truncate(at);
    }
    text
}

fn result(bytes: &mut Bytes<'_>) -> Value {
    let errors = ["No conversation found with session ID: c1", "aborted", ""];
    let mut line = json!({
        "type": "result",
        "subtype": bytes.pick(&[
            "success", "error_during_execution", "error_max_turns", "error_max_budget_usd", "error_new", "",
        ]),
        "is_error": bytes.flag(),
        "terminal_reason": bytes.pick(&["completed", "aborted_streaming", "aborted_tools", "blocking_limit"]),
        "result": text(bytes),
        "errors": bytes.some(2, |bytes| bytes.pick(&errors)),
        "total_cost_usd": f64::from(bytes.byte()) / 7.0,
    });
    if bytes.flag() {
        line["modelUsage"] = json!({ bytes.word(): {
            "inputTokens": bytes.number(200),
            "cacheCreationInputTokens": bytes.number(200),
            "cacheReadInputTokens": bytes.number(200),
            "outputTokens": bytes.number(200),
        } });
    }
    if bytes.below(4) == 0 {
        line["origin"] = json!({ "kind": "task-notification" });
    }
    line
}

fn other(bytes: &mut Bytes<'_>) -> Value {
    match bytes.below(4) {
        0 => {
            json!({ "type": "rate_limit_event", "rate_limit_info": { "status": bytes.pick(&["allowed", "rejected"]) } })
        }
        1 => json!({ "type": "keep_alive" }),
        2 => json!([]),
        _ => json!({ "type": bytes.word() }),
    }
}

/// Decides for a conversation.
fn session_id(bytes: &mut Bytes<'_>) -> String {
    match bytes.below(8) {
        0 => "c".repeat(65),
        1 => String::new(),
        2 => "c2".to_owned(),
        _ => "c1".to_owned(),
    }
}

/// Decides for a call: few, so that results and questions meet it. Some look as what a session calls an item by itself.
fn call_id(bytes: &mut Bytes<'_>) -> String {
    match bytes.below(16) {
        0..=6 => "t1".to_owned(),
        7..=9 => "t2".to_owned(),
        10..=12 => "t3".to_owned(),
        13 => format!("s{}", bytes.below(20)),
        14 => "t".repeat(bytes.pick(&[200, 9_000])),
        _ => String::new(),
    }
}

/// Decides for the call of a sub-agent; mostly for none.
fn parent(bytes: &mut Bytes<'_>) -> Option<String> {
    match bytes.below(4) {
        0 => Some(call_id(bytes)),
        _ => None,
    }
}

/// Decides for something that goes on in the background.
fn task_id(bytes: &mut Bytes<'_>) -> String {
    match bytes.below(8) {
        0 => "k".repeat(100),
        1 => String::new(),
        2 | 3 => "k2".to_owned(),
        _ => "k1".to_owned(),
    }
}

/// Decides for the name of a tool.
fn tool(bytes: &mut Bytes<'_>) -> String {
    let tools = [
        "Bash",
        "Bash",
        "BashOutput",
        "Read",
        "Edit",
        "MultiEdit",
        "NotebookEdit",
        "Write",
        "Grep",
        "WebFetch",
        "Agent",
        "Task",
        "TaskCreate",
        "TaskCreate",
        "TaskUpdate",
        "TaskUpdate",
        "TaskList",
        "TaskGet",
        "TodoWrite",
        "TodoWrite",
        "ExitPlanMode",
        "EnterPlanMode",
        "AskUserQuestion",
        "mcp__lab__look",
        "",
    ];
    match bytes.below(32) {
        31 => "Tool".repeat(3_000),
        _ => bytes.pick(&tools).to_owned(),
    }
}

/// Decides for what a tool is given.
fn input(bytes: &mut Bytes<'_>) -> Value {
    match bytes.below(8) {
        0 | 1 => json!({ "command": text(bytes), "description": bytes.word() }),
        2 => json!({ "file_path": bytes.word(), "content": text(bytes) }),
        3 => {
            let edits = bytes.some(3, |bytes| json!({ "old_string": text(bytes), "new_string": text(bytes) }));
            json!({ "file_path": text(bytes), "edits": edits })
        }
        4 => json!({ "taskId": bytes.pick(&["1", "2", ""]), "status": status(bytes), "subject": bytes.maybe(text) }),
        5 => json!({ "subject": text(bytes), "description": bytes.word() }),
        6 => json!({ "questions": bytes.some(3, |bytes| json!({
            "question": text(bytes),
            "header": bytes.word(),
            "options": bytes.some(3, |bytes| json!({ "label": bytes.word(), "description": bytes.word() })),
            "multiSelect": bytes.flag(),
        })) }),
        _ => json!({ "plan": text(bytes) }),
    }
}

/// Decides for how far an entry of a to-do list is.
fn status(bytes: &mut Bytes<'_>) -> &'static str {
    bytes.pick(&["pending", "in_progress", "completed", "deleted", "other"])
}

/// Decides for a text, now and then for one that is longer than what is kept or shown of it.
fn text(bytes: &mut Bytes<'_>) -> String {
    match bytes.below(32) {
        0 => "Exit code 3\nno such file".to_owned(),
        1 => "Exit code 99999999999999999999".to_owned(),
        2 => "…".repeat(bytes.pick(&[40, 700, 11_000, 23_000])),
        3 => "line\n".repeat(bytes.pick(&[10, 15_000])),
        4 => "\u{0}\u{7}\r\u{1b}[0m".to_owned(),
        5 => " \n\t ".to_owned(),
        _ => bytes.word(),
    }
}
