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

/// Returns the blocks of a message's content, which is an array or one text.
pub(super) fn blocks(message: &Value) -> Vec<Value> {
    match &message["content"] {
        Value::Array(blocks) => blocks.iter().take(MOST_BLOCKS).cloned().collect(),
        Value::String(text) => vec![json!({ "type": "text", "text": text })],
        _ => Vec::new(),
    }
}

/// How many blocks of one message are looked at; real ones have one.
const MOST_BLOCKS: usize = 256;
