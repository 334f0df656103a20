//! The lines that the program reads, and how what it says is read: as far as it is understood, and no further.

use serde_json::{Value, json};

use crate::model::Prompt;
use crate::provider::TellId;

/// The `request_id` of the greeting, whose answer says who is logged in.
pub(super) const GREETING: &str = "paseo.initialize";

/// What stands before the uuid of a prompt in the `request_id` that takes it back.
pub(super) const CANCEL: &str = "paseo.cancel.";

/// Greets the program. A system prompt goes this way rather than in the arguments, which everybody on the machine can
/// read.
pub(super) fn greeting(system_prompt: Option<&str>) -> String {
    let mut request = json!({ "subtype": "initialize" });
    if let Some(text) = system_prompt {
        request["appendSystemPrompt"] = json!(text);
    }
    control(GREETING, request)
}

/// Says a prompt.
pub(super) fn prompt(id: &TellId, prompt: &Prompt) -> String {
    let text = |text: &str| json!({ "type": "text", "text": text });
    let images = prompt.images.iter().map(|image| {
        json!({ "type": "image", "source": { "type": "base64", "media_type": image.media_type, "data": image.data } })
    });
    let note = prompt.note.iter().map(|note| text(note));
    // The program takes the last text for what was typed, and looks there for commands and for files to read. What comes
    // before is said as it is; an empty text at the end is not sent on.
    let content: Vec<Value> = match prompt.raw {
        true => note.chain(images).chain([text(&prompt.text)]).collect(),
        false => note.chain([text(&prompt.text)]).chain(images).chain([text("\n")]).collect(),
    };
    json!({
        "type": "user",
        "uuid": uuid(id),
        "session_id": "",
        "parent_tool_use_id": null,
        "message": { "role": "user", "content": content },
    })
    .to_string()
}

/// Makes a control request.
pub(super) fn control(request_id: &str, request: Value) -> String {
    json!({ "type": "control_request", "request_id": request_id, "request": request }).to_string()
}

/// Takes back a prompt that the program has not read yet.
pub(super) fn cancel(uuid: &str) -> String {
    control(&format!("{CANCEL}{uuid}"), json!({ "subtype": "cancel_async_message", "message_uuid": uuid }))
}

/// Answers a control request.
pub(super) fn answer(request_id: &str, response: Value) -> String {
    let response = json!({ "subtype": "success", "request_id": request_id, "response": response });
    json!({ "type": "control_response", "response": response }).to_string()
}

/// Returns the uuid under which a prompt is told: its id where that ends in one, else one made from it.
pub(super) fn uuid(id: &TellId) -> String {
    let own = id.0.rsplit('.').next().unwrap_or_default();
    if is_uuid(own) {
        return own.to_ascii_lowercase();
    }
    // FNV-1a with 128 bits, marked as a uuid of the version that is for such.
    let mut hash = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128;
    for byte in id.0.bytes() {
        hash = (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
    }
    let hash = hash & !(0xf000 << 64) & !(0xc000 << 48) | (0x8000 << 64) | (0x8000 << 48);
    let text = format!("{hash:032x}");
    [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]].join("-")
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// Returns the text at a field; empty where there is none.
pub(super) fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

/// Returns the blocks of a message's content, which is an array or one text.
pub(super) fn blocks(message: &Value) -> Vec<Value> {
    match &message["content"] {
        Value::Array(blocks) => blocks.iter().take(MOST_BLOCKS).cloned().collect(),
        Value::String(text) => vec![json!({ "type": "text", "text": text })],
        _ => Vec::new(),
    }
}

/// Returns the beginning of a text, at most so many bytes.
pub(super) fn clip(text: &str, most: usize) -> String {
    text[..crate::provider::output::floor(text, most)].to_owned()
}

/// Returns the beginning of an id of the program. Whoever looks for it looks for that.
pub(super) fn id(value: &Value, field: &str) -> String {
    clip(text(value, field), LONGEST_ID)
}

/// Returns a value whose texts are at most so long, and which weighs about `most` at most. It says what is left out of
/// its texts.
pub(super) fn clipped(value: &Value, longest: usize, most: usize) -> Value {
    within(value, longest, &mut { most })
}

fn within(value: &Value, longest: usize, room: &mut usize) -> Value {
    *room = room.saturating_sub(PART);
    match value {
        Value::String(text) => {
            let head = clip(text, longest.min(*room));
            *room -= head.len();
            match i64::try_from(text.len() - head.len()).unwrap_or(i64::MAX) {
                0 => json!(head),
                left => json!(format!("{head}\n{}", crate::item::omission(left))),
            }
        }
        Value::Array(values) => {
            values.iter().map_while(|value| (*room > 0).then(|| within(value, longest, room))).collect()
        }
        Value::Object(fields) => {
            let field = |(name, value): (&String, &Value)| {
                let name = clip(name, LONGEST_NAME.min(*room));
                *room -= name.len();
                (*room > 0).then(|| (name, within(value, longest, room)))
            };
            fields.iter().map_while(field).collect::<serde_json::Map<_, _>>().into()
        }
        other => other.clone(),
    }
}

/// Returns about how many bytes a value takes up in memory.
pub(super) fn weight(value: &Value) -> usize {
    PART + match value {
        Value::String(text) => text.len(),
        Value::Array(values) => values.iter().map(weight).sum(),
        Value::Object(fields) => fields.iter().map(|(name, value)| name.len() + weight(value)).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

/// How many blocks of one message are looked at; real ones have one.
const MOST_BLOCKS: usize = 256;

const LONGEST_ID: usize = 128;

const LONGEST_NAME: usize = 256;

/// How many bytes every value in a value takes up, beside its text.
const PART: usize = 128;
