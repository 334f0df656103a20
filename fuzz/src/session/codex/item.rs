//! What it says of items: they begin, grow and end.

use std::collections::VecDeque;

use serde_json::{Value, json};

use super::{REMEMBERED, notification, text};
use crate::bytes::Bytes;

/// Items of which the program has spoken.
#[derive(Default)]
pub(super) struct Items {
    known: VecDeque<Known>,
    /// How many there were: the program gives no id twice.
    count: u32,
}

/// An item, which mostly has begun and not ended.
#[derive(Clone)]
struct Known {
    turn: String,
    id: String,
    kind: u8,
}

impl Items {
    /// Decides for a line about an item: a new one of this turn, or one that is known.
    pub(super) fn line(&mut self, bytes: &mut Bytes<'_>, turn: &str) -> Value {
        let at = usize::from(bytes.byte()) % (self.known.len() + 1);
        match (bytes.below(16), self.known.get(at).cloned()) {
            (0..=6, Some(item)) => item.delta(bytes),
            (7, Some(item)) => item.started(bytes),
            (8..=11, Some(item)) => {
                // Now and then one ends twice.
                if bytes.below(8) != 0 {
                    self.known.remove(at);
                }
                item.completed(bytes)
            }
            (0, None) => self.begin(bytes, turn).delta(bytes),
            (1, None) => self.begin(bytes, turn).completed(bytes),
            _ => self.begin(bytes, turn).started(bytes),
        }
    }

    /// Returns the item that has begun last.
    pub(super) fn last(&self) -> String {
        self.known.back().map(|item| item.id.clone()).unwrap_or_default()
    }

    fn begin(&mut self, bytes: &mut Bytes<'_>, turn: &str) -> Known {
        self.count += 1;
        let id = match bytes.below(32) {
            0 => String::new(),
            1 => format!("i{}{}", self.count, "i".repeat(300)),
            _ => format!("i{}", self.count),
        };
        let item = Known { turn: turn.to_owned(), id, kind: bytes.below(KINDS) };
        self.known.push_back(item.clone());
        if self.known.len() > REMEMBERED {
            self.known.pop_front();
        }
        item
    }
}

impl Known {
    fn started(&self, bytes: &mut Bytes<'_>) -> Value {
        let item = item(bytes, &self.id, self.kind, &["inProgress"]);
        notification("item/started", &json!({ "item": item, "turnId": self.turn }))
    }

    fn delta(&self, bytes: &mut Bytes<'_>) -> Value {
        let method = bytes.pick(&[
            "item/agentMessage/delta",
            "item/plan/delta",
            "item/reasoning/summaryTextDelta",
            "item/reasoning/textDelta",
            "item/commandExecution/outputDelta",
            "item/reasoning/summaryPartAdded",
        ]);
        let (delta, index) = (text(bytes), bytes.number(3));
        let params = json!({ "itemId": self.id, "turnId": self.turn, "delta": delta, "summaryIndex": index });
        notification(method, &params)
    }

    fn completed(&self, bytes: &mut Bytes<'_>) -> Value {
        let statuses = ["completed", "completed", "failed", "declined", "inProgress", "new"];
        let item = item(bytes, &self.id, self.kind, &statuses);
        notification("item/completed", &json!({ "item": item, "turnId": self.turn }))
    }
}

/// Decides for an item of a kind; now and then for one of another.
fn item(bytes: &mut Bytes<'_>, id: &str, kind: u8, statuses: &[&str]) -> Value {
    let kind = if bytes.below(16) == 0 { bytes.below(KINDS) } else { kind };
    let status = bytes.pick(statuses);
    match kind {
        0 => json!({ "type": "agentMessage", "id": id, "text": text(bytes), "phase": bytes.maybe(Bytes::word) }),
        1 | 2 => json!({ "type": "plan", "id": id, "text": text(bytes) }),
        3 => json!({
            "type": "reasoning",
            "id": id,
            "summary": bytes.some(3, text),
            "content": bytes.some(2, text),
        }),
        4 | 5 => command(bytes, id, status),
        6 | 7 => patch(bytes, id, status),
        8 => json!({
            "type": "mcpToolCall",
            "id": id,
            "server": bytes.word(),
            "tool": text(bytes),
            "arguments": { "text": text(bytes) },
            "result": { "content": bytes.some(3, |bytes| {
                json!({ "type": bytes.pick(&["text", "image", ""]), "text": text(bytes) })
            }) },
            "error": bytes.maybe(|bytes| json!({ "message": text(bytes) })),
            "status": status,
        }),
        9 => json!({ "type": bytes.pick(&["contextCompaction", "userMessage", "new"]), "id": id }),
        10 => json!({ "type": "webSearch", "id": id, "query": text(bytes) }),
        11 => json!({ "type": "imageView", "id": id, "path": text(bytes) }),
        12 => json!({
            "type": "collabAgentToolCall",
            "id": id,
            "tool": "spawn",
            "prompt": bytes.maybe(text),
            "status": status,
        }),
        _ => json!({
            "type": "dynamicToolCall",
            "id": id,
            "tool": text(bytes),
            "arguments": text(bytes),
            "status": status,
        }),
    }
}

fn command(bytes: &mut Bytes<'_>, id: &str, status: &str) -> Value {
    json!({
        "type": "commandExecution",
        "id": id,
        "command": text(bytes),
        "commandActions": bytes.some(2, |bytes| {
            json!({ "type": bytes.pick(&["read", "search", "listFiles", "unknown"]), "command": "ls" })
        }),
        "cwd": bytes.word(),
        "aggregatedOutput": bytes.maybe(text),
        "exitCode": bytes.pick(&[json!(0), json!(3), json!(-1), Value::Null]),
        "status": status,
    })
}

fn patch(bytes: &mut Bytes<'_>, id: &str, status: &str) -> Value {
    let changes = bytes.some(3, |bytes| {
        json!({
            "path": text(bytes),
            "kind": {
                "type": bytes.pick(&["add", "delete", "update", "new"]),
                "move_path": bytes.maybe(text),
            },
            "diff": text(bytes),
        })
    });
    json!({ "type": "fileChange", "id": id, "changes": changes, "status": status })
}

/// How many kinds there are; those of which more is made are several.
const KINDS: u8 = 14;
