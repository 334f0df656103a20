//! The lines of `bridge shell`.

use paseo_sdk::provider::TellId;
use serde_json::json;

use super::odd::odd;
use crate::bytes::Bytes;

/// Decides for a line that it might be told.
pub(super) fn told(bytes: &mut Bytes<'_>, id: &TellId) -> String {
    let mut line = match bytes.below(4) {
        0 | 1 => json!({ "run": { "id": id, "script": bytes.text(), "ask": bytes.flag() } }),
        2 => json!({ "answer": { "id": id, "allow": bytes.flag(), "script": bytes.maybe(Bytes::text) } }),
        _ => json!({ "interrupt": {} }),
    };
    if bytes.below(8) == 0 {
        odd(bytes, &mut line);
    }
    line.to_string()
}

/// Decides for a line that it might say.
pub(super) fn said(bytes: &mut Bytes<'_>) -> String {
    let id = bytes.pick(&["prompt.p1", "prompt.p2", "prompt.p4"]);
    let mut line = match bytes.below(8) {
        0 => json!({ "ask": { "id": id, "script": bytes.text() } }),
        1 => json!({ "started": { "id": id, "pid": 8 } }),
        2..=4 => json!({ "out": { "id": id, "stream": "stdout", "text": bytes.text() } }),
        5 => json!({ "out": { "id": id, "stream": "stderr", "base64": bytes.pick(&["/w==", "4oKs", "?"]) } }),
        _ => json!({ "exit": {
            "id": id,
            "code": bytes.maybe(|bytes| bytes.number(3)),
            "signal": bytes.maybe(Bytes::word),
            "denied": bytes.below(4) == 0,
            "interrupted": bytes.below(4) == 0,
            "reason": bytes.maybe(Bytes::word),
            "message": bytes.maybe(Bytes::word),
        } }),
    };
    if bytes.below(8) == 0 {
        odd(bytes, &mut line);
    }
    line.to_string()
}
