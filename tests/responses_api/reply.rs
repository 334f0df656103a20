//! A response of the model as it goes over the wire: a stream of events.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::request::COMMENTARY;
use crate::model_api::script::Lead;
use crate::model_api::{AND_RELEASED, Piece, event, held};

/// What the model answers.
pub(super) struct Reply {
    pub(super) parts: Vec<Part>,
    pub(super) usage: Map<String, Value>,
}

/// One item of the output, or how it fails to become one.
#[derive(Debug, PartialEq)]
pub(super) enum Part {
    Text(String),
    /// What it says on the way.
    Comment(String),
    Thinking(String),
    Call(Call),
    Patch(String),
    /// A text that is held between its halves until the test releases it.
    Held(String),
    /// A text amid which the connection is cut.
    Cut,
    /// The end of it all.
    Failed {
        code: String,
        message: String,
    },
}

/// The call of a function. A name with a slash is one of a namespace.
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
        Part::Comment(text.to_owned())
    }
}

impl Reply {
    /// Returns the response as events.
    pub(super) fn stream(&self, id: &str, model: &str) -> Vec<Piece> {
        let mut stream = Stream { id, model, items: Vec::new(), pieces: Vec::new() };
        stream.status("created", "in_progress", &Value::Null, &Value::Null);
        for part in &self.parts {
            match part {
                Part::Text(text) => stream.message("final_answer", |stream, item| stream.words(item, text)),
                Part::Comment(text) => stream.message(COMMENTARY, |stream, item| stream.words(item, text)),
                Part::Thinking(text) => stream.reasoning(text),
                Part::Call(call) => stream.call(call),
                Part::Patch(patch) => stream.patch(patch),
                Part::Held(name) => stream.message("final_answer", |stream, item| {
                    let before = stream.words(item, &held(name));
                    stream.pieces.push(Piece::Wait(name.clone()));
                    before + &stream.words(item, AND_RELEASED)
                }),
                Part::Cut => {
                    let item = stream.begin("msg", message("final_answer", "in_progress", json!([])));
                    stream.words(&item, "half a ");
                    stream.pieces.push(Piece::Cut);
                    return stream.pieces;
                }
                Part::Failed { code, message } => {
                    let error = json!({ "code": code, "message": message });
                    stream.status("failed", "failed", &Value::Null, &error);
                    return stream.pieces;
                }
            }
        }
        stream.status("completed", "completed", &json!(self.usage), &Value::Null);
        stream.pieces
    }
}

/// The events so far, and the items that are whole.
struct Stream<'a> {
    id: &'a str,
    model: &'a str,
    items: Vec<Value>,
    pieces: Vec<Piece>,
}

impl Stream<'_> {
    fn tell(&mut self, kind: &str, mut data: Value) {
        data["type"] = json!(kind);
        data["sequence_number"] = json!(self.pieces.len());
        self.pieces.push(event(&data));
    }

    /// Tells how the whole response is.
    fn status(&mut self, event: &str, status: &str, usage: &Value, error: &Value) {
        let response = json!({
            "id": format!("resp_{}", self.id),
            "object": "response",
            "model": self.model,
            "status": status,
            "output": self.items,
            "usage": usage,
            "error": error,
        });
        self.tell(&format!("response.{event}"), json!({ "response": response }));
    }

    /// Begins an item and returns its id.
    fn begin(&mut self, kind: &str, mut item: Value) -> String {
        let id = format!("{kind}_{}_{}", self.id, self.items.len());
        item["id"] = json!(id);
        self.tell("response.output_item.added", json!({ "output_index": self.items.len(), "item": item }));
        id
    }

    fn end(&mut self, id: &str, mut item: Value) {
        item["id"] = json!(id);
        self.tell("response.output_item.done", json!({ "output_index": self.items.len(), "item": item }));
        self.items.push(item);
    }

    /// Tells something of an item that has begun.
    fn of_item(&mut self, kind: &str, id: &str, mut data: Value) {
        data["item_id"] = json!(id);
        data["output_index"] = json!(self.items.len());
        self.tell(kind, data);
    }

    fn message(&mut self, phase: &str, say: impl FnOnce(&mut Self, &str) -> String) {
        let id = self.begin("msg", message(phase, "in_progress", json!([])));
        let part = |text: &str| json!({ "type": "output_text", "text": text, "annotations": [] });
        self.of_item("response.content_part.added", &id, json!({ "content_index": 0, "part": part("") }));
        let text = say(self, &id);
        self.of_item("response.output_text.done", &id, json!({ "content_index": 0, "text": text }));
        self.of_item("response.content_part.done", &id, json!({ "content_index": 0, "part": part(&text) }));
        self.end(&id, message(phase, "completed", json!([part(&text)])));
    }

    /// Says a text word by word, and returns it.
    fn words(&mut self, id: &str, text: &str) -> String {
        for word in text.split_inclusive(' ') {
            self.of_item("response.output_text.delta", id, json!({ "content_index": 0, "delta": word }));
        }
        text.to_owned()
    }

    fn reasoning(&mut self, text: &str) {
        let item = |summary: Value| json!({ "type": "reasoning", "summary": summary, "encrypted_content": ENCRYPTED });
        let part = |text: &str| json!({ "type": "summary_text", "text": text });
        let id = self.begin("rs", item(json!([])));
        self.of_item("response.reasoning_summary_part.added", &id, json!({ "summary_index": 0, "part": part("") }));
        for word in text.split_inclusive(' ') {
            let delta = json!({ "summary_index": 0, "delta": word });
            self.of_item("response.reasoning_summary_text.delta", &id, delta);
        }
        self.of_item("response.reasoning_summary_text.done", &id, json!({ "summary_index": 0, "text": text }));
        self.of_item("response.reasoning_summary_part.done", &id, json!({ "summary_index": 0, "part": part(text) }));
        self.end(&id, item(json!([part(text)])));
    }

    fn call(&mut self, Call { name, input }: &Call) {
        let call = self.call_id();
        let item = |status: &str, arguments: &str| {
            let mut item = json!({
                "type": "function_call",
                "status": status,
                "call_id": call,
                "name": name,
                "arguments": arguments,
            });
            if let Some((namespace, name)) = name.split_once('/') {
                item["namespace"] = json!(namespace);
                item["name"] = json!(name);
            }
            item
        };
        let arguments = input.to_string();
        let id = self.begin("fc", item("in_progress", ""));
        self.halves("response.function_call_arguments.delta", &id, &arguments);
        self.of_item("response.function_call_arguments.done", &id, json!({ "arguments": arguments }));
        self.end(&id, item("completed", &arguments));
    }

    fn patch(&mut self, patch: &str) {
        let call = self.call_id();
        let item = |status: &str, input: &str| {
            json!({
                "type": "custom_tool_call",
                "status": status,
                "call_id": call,
                "name": "apply_patch",
                "input": input,
            })
        };
        let id = self.begin("ctc", item("in_progress", ""));
        self.halves("response.custom_tool_call_input.delta", &id, patch);
        self.of_item("response.custom_tool_call_input.done", &id, json!({ "input": patch }));
        self.end(&id, item("completed", patch));
    }

    fn halves(&mut self, kind: &str, id: &str, text: &str) {
        let middle = text.char_indices().nth(text.chars().count() / 2).map_or(0, |(middle, _)| middle);
        let (first, second) = text.split_at(middle);
        for half in [first, second] {
            self.of_item(kind, id, json!({ "delta": half }));
        }
    }

    fn call_id(&self) -> String {
        format!("call_{}_{}", self.id, self.items.len())
    }
}

fn message(phase: &str, status: &str, content: Value) -> Value {
    json!({ "type": "message", "role": "assistant", "status": status, "phase": phase, "content": content })
}

/// The program passes it back unread.
const ENCRYPTED: &str = "c2VjcmV0";
