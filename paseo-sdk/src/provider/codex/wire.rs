//! The lines that the program reads: JSON-RPC without its version.

use serde_json::{Value, json};

use crate::model::Prompt;
use crate::provider::value::{clip, text};

/// The ids of what a session says by itself. Those of tells are the tells' own, which begin otherwise.
pub(super) const GREETING: &str = "paseo.initialize";
pub(super) const ACCOUNT: &str = "paseo.account";
pub(super) const SANDBOX: &str = "paseo.sandbox";
pub(super) const THREAD: &str = "paseo.thread";
pub(super) const UNARCHIVE: &str = "paseo.unarchive";
pub(super) const SETTINGS: &str = "paseo.settings";
pub(super) const CLEAN: &str = "paseo.clean";
pub(super) const MODE: &str = "paseo.mode";
pub(super) const MESSAGE: &str = "paseo.message";

/// The field of a line that the program passes over, in which a session tells itself what the line is for.
pub(super) const OWN: &str = "paseo";

pub(super) fn request(id: &str, method: &str, params: &Value) -> String {
    json!({ "id": id, "method": method, "params": params }).to_string()
}

pub(super) fn initialize() -> String {
    let params = json!({
        // Of what is spoken here, so that a journal read by another paseo says the same.
        "clientInfo": { "name": "paseo", "title": "paseo", "version": "1" },
        "capabilities": {
            "experimentalApi": true,
            "requestAttestation": false,
            "optOutNotificationMethods": ["account/rateLimits/updated", "remoteControl/status/changed"],
        },
    });
    request(GREETING, "initialize", &params)
}

pub(super) fn initialized() -> String {
    json!({ "method": "initialized" }).to_string()
}

/// Answers a request of the program; `own` is for the session.
pub(super) fn response(id: &Value, result: &Value, own: &Value) -> String {
    match own {
        Value::Null => json!({ "id": id, "result": result }),
        own => json!({ "id": id, "result": result, OWN: own }),
    }
    .to_string()
}

/// Says that something is not answered.
pub(super) fn refusal(id: &Value) -> String {
    json!({ "id": id, "error": { "code": -32601, "message": "paseo does not answer this" } }).to_string()
}

/// Returns a prompt as the program reads it: nothing in it is taken for more than text.
pub(super) fn input(prompt: &Prompt) -> Value {
    let texts = prompt.note.iter().chain([&prompt.text]).map(|text| json!({ "type": "text", "text": text }));
    let images = prompt
        .images
        .iter()
        .map(|image| json!({ "type": "image", "url": format!("data:{};base64,{}", image.media_type, image.data) }));
    texts.chain(images).collect()
}

/// Returns whether an answer to `account/read` says that somebody is logged in, or that nobody need be.
pub(super) fn is_logged_in(account: &Value) -> Option<bool> {
    let required = account["requiresOpenaiAuth"].as_bool()?;
    Some(!required || !account["account"].is_null())
}

/// Returns what is wrong with the settings of the program's user, which it then passes over, where a notification says so.
pub(super) fn broken_settings(method: &str, params: &Value) -> Option<String> {
    let summary = text(params, "summary");
    let about = (method == "configWarning" && summary.starts_with("Invalid configuration")).then_some(summary)?;
    let details = params["details"].as_str().unwrap_or_default();
    Some(clip(format!("{about} {details}").trim(), 1_000))
}
