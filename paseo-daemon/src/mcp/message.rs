//! What a text is in the protocol: a message, or what is answered to a text that is none.

use rmcp::model::{
    CallToolRequestParams, ClientJsonRpcMessage, ClientRequest, InitializeRequestParams, JsonRpcMessage,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// A text that is no message, or none that a server of tools understands.
#[derive(Debug)]
pub(crate) enum Wrong {
    /// It is to be answered, with this message.
    Answer(Value),
    /// It answers a question that nobody asked, or says nothing.
    Silence,
}

/// Reads a message.
pub(crate) fn read(text: &[u8]) -> Result<ClientJsonRpcMessage, Wrong> {
    match serde_json::from_slice(text) {
        // What the protocol knows by this name it would have recognised.
        Ok(JsonRpcMessage::Request(asked))
            if custom(&asked.request).is_some_and(|method| METHODS.contains(&method)) =>
        {
            Err(judge(text))
        }
        Ok(message) => Ok(message),
        Err(_) => Err(judge(text)),
    }
}

/// Answers a message that is too long to be read.
pub(crate) fn too_long(most: usize) -> Value {
    let message =
        format!("the message is longer than {} MiB; pass the path of a file in place of its content", most >> 20);
    refusal(&Value::Null, INVALID_REQUEST, &message)
}

/// Says what is wrong with a text.
fn judge(text: &[u8]) -> Wrong {
    if text.iter().all(u8::is_ascii_whitespace) {
        return Wrong::Silence;
    }
    let message = match serde_json::from_slice::<Value>(text) {
        Err(error) => return Wrong::Answer(refusal(&Value::Null, PARSE_ERROR, &format!("this is not JSON: {error}"))),
        Ok(Value::Object(message)) => message,
        Ok(_) => {
            let what = "a message is one object, and there are no batches";
            return Wrong::Answer(refusal(&Value::Null, INVALID_REQUEST, what));
        }
    };
    if !message.contains_key("method") && (message.contains_key("result") || message.contains_key("error")) {
        return Wrong::Silence;
    }
    let id = message.get("id").filter(|id| id.is_string() || id.is_number()).unwrap_or(&Value::Null);
    let invalid = |what: &str| Wrong::Answer(refusal(id, INVALID_REQUEST, what));
    let Some(method) = message.get("method").and_then(Value::as_str) else {
        return invalid("a request names its `method`");
    };
    if message.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
        return invalid("a message has `\"jsonrpc\": \"2.0\"`");
    }
    let Some(given) = message.get("id") else {
        // A notification is not answered, whatever is in it.
        return Wrong::Silence;
    };
    if !given.is_string() && !given.is_i64() {
        return invalid("the `id` of a request is a text or a whole number");
    }
    if message.contains_key("result") || message.contains_key("error") {
        return invalid("a message is a request or a response, and not both");
    }
    if !METHODS.contains(&method) {
        return invalid("the `params` of a request are an object");
    }
    let why = match message.get("params") {
        Some(params) => why(method, params.clone()).map(|why| why.chars().take(LONGEST_REASON).collect()),
        None => Some("they are missing".to_owned()),
    };
    let why = why.map(|why| format!(": {why}")).unwrap_or_default();
    Wrong::Answer(refusal(id, INVALID_PARAMS, &format!("these are no `params` of `{method}`{why}")))
}

/// Says why a method does not take these parameters, where that is known.
fn why(method: &str, params: Value) -> Option<String> {
    fn mistake<T: DeserializeOwned>(params: Value) -> Option<String> {
        serde_json::from_value::<T>(params).err().map(|error| error.to_string())
    }
    match method {
        _ if !params.is_object() => Some("they are no object".to_owned()),
        "tools/call" => mistake::<CallToolRequestParams>(params),
        "initialize" => mistake::<InitializeRequestParams>(params),
        _ => None,
    }
}

/// Returns the method of a request that the protocol does not know, or not with such parameters.
fn custom(request: &ClientRequest) -> Option<&str> {
    match request {
        ClientRequest::CustomRequest(request) => Some(&request.method),
        _ => None,
    }
}

fn refusal(id: &Value, code: i32, message: &str) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": message } })
}

/// The requests that a server of tools answers.
const METHODS: [&str; 5] = ["initialize", "ping", "server/discover", "tools/call", "tools/list"];

/// How much of what is wrong is told, in characters: it may quote what came.
const LONGEST_REASON: usize = 300;

const PARSE_ERROR: i32 = -32700;
const INVALID_REQUEST: i32 = -32600;
const INVALID_PARAMS: i32 = -32602;
