//! Items and entries, decided by bytes.

use paseo_sdk::item::{Content, Entry, Happening, Item, Origin, Tool, ToolCall, ToolStatus};
use paseo_sdk::model::{ItemId, Outcome, Timestamp, TurnId, Usage};
use serde_json::Value;

use crate::bytes::Bytes;

pub(crate) fn item_id(bytes: &mut Bytes<'_>) -> ItemId {
    ItemId::from(bytes.pick(&["i1", "i2", "i3"]))
}

pub(crate) fn turn_id(bytes: &mut Bytes<'_>) -> TurnId {
    TurnId::from(bytes.pick(&["p1", "p2", "u1.3"]))
}

pub(crate) fn origin(bytes: &mut Bytes<'_>) -> Origin {
    Origin { run: bytes.number(3), record: bytes.number(9), part: bytes.number(4) }
}

pub(crate) fn outcome(bytes: &mut Bytes<'_>) -> Outcome {
    bytes.pick(&[Outcome::Completed, Outcome::Error, Outcome::Interrupted, Outcome::Limit])
}

pub(crate) fn usage(bytes: &mut Bytes<'_>) -> Usage {
    Usage {
        input_tokens: bytes.pick(&[0, 7, i64::MAX]),
        cached_tokens: bytes.number(9),
        output_tokens: bytes.number(9),
        cost_usd: bytes.maybe(|bytes| f64::from(bytes.byte()) / 100.0),
    }
}

pub(crate) fn item(bytes: &mut Bytes<'_>) -> Item {
    let content = match bytes.below(4) {
        0 => Content::UserMessage { text: bytes.text(), images: bytes.number(3) },
        1 => Content::AssistantMessage { text: bytes.text() },
        2 => Content::Reasoning { text: bytes.text() },
        _ => Content::ToolCall(Box::new(ToolCall {
            tool: Tool::Shell,
            name: "shell".to_owned(),
            title: bytes.word(),
            status: bytes.pick(&[ToolStatus::Running, ToolStatus::Completed, ToolStatus::Failed]),
            input: Value::Null,
            output: bytes.maybe(Bytes::text),
            omitted_bytes: 0,
            exit_code: bytes.maybe(|bytes| bytes.number(3)),
            diff: bytes.maybe(Bytes::text),
        })),
    };
    Item { item_id: item_id(bytes), parent_id: bytes.maybe(item_id), content }
}

pub(crate) fn happening(bytes: &mut Bytes<'_>) -> Happening {
    match bytes.below(7) {
        0 | 1 => Happening::ItemOpened { item: item(bytes) },
        2 => Happening::ItemClosed { item: item(bytes) },
        3 => Happening::TurnStarted { prompt_id: bytes.maybe(Bytes::prompt_id) },
        4 => Happening::Notice { text: bytes.word() },
        5 => Happening::Error { text: bytes.word() },
        _ => Happening::TurnEnded { outcome: outcome(bytes), reason: bytes.maybe(Bytes::word), usage: usage(bytes) },
    }
}

pub(crate) fn entry(bytes: &mut Bytes<'_>) -> Entry {
    Entry {
        seq: bytes.number(12) - 1,
        at: Timestamp(bytes.number(50)),
        turn_id: bytes.maybe(turn_id),
        origin: bytes.maybe(origin),
        what: happening(bytes),
    }
}
