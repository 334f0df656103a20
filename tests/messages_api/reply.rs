//! A message of the model as it goes over the wire: in one piece, or as a stream of events.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::model_api::script::Lead;
use crate::model_api::{AND_RELEASED, Piece, event, held};

/// What the model answers.
pub(super) struct Reply {
    pub(super) parts: Vec<Part>,
    pub(super) usage: Map<String, Value>,
}

/// One content block, or how it fails to become one.
#[derive(Debug, PartialEq)]
pub(super) enum Part {
    Text(String),
    Thinking(String),
    Use(Call),
    /// A text that is held between its halves until the test releases it.
    Held(String),
    /// A text amid which the connection is cut.
    Cut,
    /// A text amid which the stream ends with an error of this type.
    Broken(String),
}

/// The use of a tool.
#[derive(Debug, Deserialize, PartialEq)]
pub(super) struct Call {
    pub(super) name: String,
    #[serde(default)]
    pub(super) input: Value,
}

impl Lead for Part {
    fn thinking(text: &str) -> Part {
        Part::Thinking(text.to_owned())
    }

    fn saying(text: &str) -> Part {
        Part::Text(text.to_owned())
    }
}

impl Reply {
    /// Returns the message as one JSON value.
    pub(super) fn whole(&self, id: &str, model: &str) -> Vec<Piece> {
        let content: Vec<Value> = self.parts.iter().enumerate().map(|(index, part)| part.whole(id, index)).collect();
        let message = envelope(id, model, content, json!(self.stop_reason()), json!(self.usage)).to_string();
        let mut pieces = Vec::new();
        for part in &self.parts {
            match part {
                Part::Held(name) => pieces.push(Piece::Wait(name.clone())),
                Part::Cut => {
                    let half = Bytes::copy_from_slice(&message.as_bytes()[..message.len() / 2]);
                    return vec![Piece::Write(half), Piece::Cut];
                }
                _ => {}
            }
        }
        pieces.push(Piece::Write(message.into()));
        pieces
    }

    /// Returns the message as events.
    pub(super) fn stream(&self, id: &str, model: &str) -> Vec<Piece> {
        let mut started = self.usage.clone();
        started.insert("output_tokens".to_owned(), json!(1));
        let message = envelope(id, model, Vec::new(), Value::Null, json!(started));
        let mut pieces =
            vec![event(&json!({ "type": "message_start", "message": message })), event(&json!({ "type": "ping" }))];
        for (index, part) in self.parts.iter().enumerate() {
            if !part.stream(id, index, &mut pieces) {
                return pieces;
            }
        }
        let delta = json!({ "stop_reason": self.stop_reason(), "stop_sequence": null });
        pieces.push(event(&json!({ "type": "message_delta", "delta": delta, "usage": self.usage })));
        pieces.push(event(&json!({ "type": "message_stop" })));
        pieces
    }

    fn stop_reason(&self) -> &'static str {
        let uses = self.parts.iter().any(|part| matches!(part, Part::Use(_)));
        if uses { "tool_use" } else { "end_turn" }
    }
}

impl Part {
    fn whole(&self, id: &str, index: usize) -> Value {
        match self {
            Part::Text(text) => json!({ "type": "text", "text": text }),
            Part::Thinking(thinking) => {
                json!({ "type": "thinking", "thinking": thinking, "signature": SIGNATURE })
            }
            Part::Use(Call { name, input }) => {
                json!({ "type": "tool_use", "id": format!("toolu_{id}_{index}"), "name": name, "input": input })
            }
            Part::Held(name) => json!({ "type": "text", "text": format!("{}{AND_RELEASED}", held(name)) }),
            Part::Cut | Part::Broken(_) => json!({ "type": "text", "text": "a message in one piece" }),
        }
    }

    /// Adds the events of a block, and returns whether the message goes on after it.
    fn stream(&self, id: &str, index: usize, pieces: &mut Vec<Piece>) -> bool {
        let delta = |kind: &str, field: &str, text: &str| {
            event(&json!({ "type": "content_block_delta", "index": index, "delta": { "type": kind, field: text } }))
        };
        let words = |text: &str| -> Vec<Piece> {
            text.split_inclusive(' ').map(|word| delta("text_delta", "text", word)).collect()
        };
        let block = match self {
            Part::Thinking(_) => json!({ "type": "thinking", "thinking": "", "signature": "" }),
            Part::Use(Call { name, .. }) => {
                json!({ "type": "tool_use", "id": format!("toolu_{id}_{index}"), "name": name, "input": {} })
            }
            _ => json!({ "type": "text", "text": "" }),
        };
        pieces.push(event(&json!({ "type": "content_block_start", "index": index, "content_block": block })));
        match self {
            Part::Text(text) => pieces.extend(words(text)),
            Part::Thinking(thinking) => {
                pieces.push(delta("thinking_delta", "thinking", thinking));
                pieces.push(delta("signature_delta", "signature", SIGNATURE));
            }
            Part::Use(Call { input, .. }) => {
                let input = input.to_string();
                let middle = input.char_indices().nth(input.chars().count() / 2).map_or(0, |(middle, _)| middle);
                let (first, second) = input.split_at(middle);
                pieces.push(delta("input_json_delta", "partial_json", first));
                pieces.push(delta("input_json_delta", "partial_json", second));
            }
            Part::Held(name) => {
                pieces.extend(words(&held(name)));
                pieces.push(Piece::Wait(name.clone()));
                pieces.extend(words(AND_RELEASED));
            }
            Part::Cut => {
                pieces.push(delta("text_delta", "text", "half a "));
                pieces.push(Piece::Cut);
                return false;
            }
            Part::Broken(kind) => {
                pieces.push(delta("text_delta", "text", "half a "));
                let error = json!({ "type": kind, "message": "a scripted error in the stream" });
                pieces.push(event(&json!({ "type": "error", "error": error })));
                return false;
            }
        }
        pieces.push(event(&json!({ "type": "content_block_stop", "index": index })));
        true
    }
}

fn envelope(id: &str, model: &str, content: Vec<Value>, stop_reason: Value, usage: Value) -> Value {
    json!({
        "id": format!("msg_{id}"),
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": null,
        "usage": usage,
    })
}

/// The program passes it back unread.
const SIGNATURE: &str = "c2lnbmVk";
