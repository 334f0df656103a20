//! The wire: JSON-RPC 2.0, one message per text frame, no batches.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::{ApiError, Code};
use crate::model::{Event, Progress};

/// A message as it arrives.
#[derive(Clone, Debug, PartialEq)]
pub enum Frame {
    /// Somebody calls an operation and wants an answer.
    Call {
        /// What the answer repeats: a string or a number.
        id: Value,
        /// The operation.
        method: String,
        /// Its arguments.
        params: Value,
    },
    /// The answer to a call.
    Reply {
        /// The call's id; `null` when the call could not be read.
        id: Value,
        /// What came of it.
        result: Result<Value, ApiError>,
    },
    /// An event.
    Notification {
        /// Its name.
        method: String,
        /// What it says.
        params: Value,
    },
}

/// Why a text is not a message, with the reply that says so.
#[derive(Clone, Debug, PartialEq)]
pub struct Malformed {
    /// The call's id where there is one, else `null`.
    pub id: Value,
    /// The JSON-RPC error number.
    pub number: i64,
    /// What is wrong.
    pub error: ApiError,
}

impl Malformed {
    /// Writes the reply that says what is wrong.
    #[must_use]
    pub fn reply(&self) -> String {
        error_reply(&self.id, self.number, &self.error)
    }
}

impl Frame {
    /// Reads a message.
    ///
    /// # Errors
    ///
    /// When the text is not JSON, not an object, a batch, or neither call, reply nor notification.
    pub fn parse(text: &str) -> Result<Frame, Malformed> {
        let malformed = |id: Value, number: i64, message: &str, hint: &str| Malformed {
            id,
            number,
            error: ApiError::new(Code::InvalidArgument, message).hint(hint),
        };
        const EXAMPLE: &str = r#"send {"jsonrpc":"2.0","id":1,"method":"list_agents","params":{}}"#;
        let value: Value = serde_json::from_str(text)
            .map_err(|error| malformed(Value::Null, -32700, &format!("not JSON: {error}"), EXAMPLE))?;
        let mut object = match value {
            Value::Object(object) => object,
            Value::Array(_) => {
                return Err(malformed(Value::Null, -32600, "batches are not supported", "send one call per message"));
            }
            _ => return Err(malformed(Value::Null, -32600, "a message must be an object", EXAMPLE)),
        };
        let id = object.remove("id");
        if object.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
            let id = id.filter(valid_id).unwrap_or(Value::Null);
            return Err(malformed(id, -32600, "`jsonrpc` must be \"2.0\"", EXAMPLE));
        }
        match (object.remove("method"), id) {
            (Some(Value::String(method)), Some(id)) if valid_id(&id) => {
                Ok(Frame::Call { id, method, params: object.remove("params").unwrap_or(Value::Null) })
            }
            (Some(Value::String(_)), Some(_)) => {
                Err(malformed(Value::Null, -32600, "`id` must be a string or a number", EXAMPLE))
            }
            (Some(Value::String(method)), None) => {
                Ok(Frame::Notification { method, params: object.remove("params").unwrap_or(Value::Null) })
            }
            (Some(_), id) => {
                let id = id.filter(valid_id).unwrap_or(Value::Null);
                Err(malformed(id, -32600, "`method` must be a string", EXAMPLE))
            }
            (None, Some(id)) => match (object.remove("result"), object.remove("error")) {
                (Some(result), None) => Ok(Frame::Reply { id, result: Ok(result) }),
                (None, Some(error)) => Ok(Frame::Reply { id, result: Err(read_error(error)) }),
                _ => Err(malformed(Value::Null, -32600, "neither `method`, `result` nor `error`", EXAMPLE)),
            },
            (None, None) => Err(malformed(Value::Null, -32600, "`method` is missing", EXAMPLE)),
        }
    }
}

/// Writes a call.
#[must_use]
pub fn call(id: i64, method: &str, params: &Value) -> String {
    write(&Message { jsonrpc: "2.0", what: What::Call { id, method, params } })
}

/// Writes the answer to a call.
#[must_use]
pub fn reply(id: &Value, result: &Result<Value, ApiError>) -> String {
    match result {
        Ok(result) => write(&Message { jsonrpc: "2.0", what: What::Result { id, result } }),
        Err(error) => error_reply(id, error.code.rpc_number(), error),
    }
}

/// Writes an event whose parameters are JSON already.
#[must_use]
pub fn notification(method: &str, params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{params}}}"#)
}

/// Writes an event.
#[must_use]
pub fn event(event: &Event) -> String {
    write(&Message { jsonrpc: "2.0", what: What::Event(event) })
}

/// Writes how far the call with this id is.
#[must_use]
pub fn progress(id: &Value, progress: &Progress) -> String {
    write(&Message { jsonrpc: "2.0", what: What::Progress { method: PROGRESS, params: Reported { id, progress } } })
}

/// The name of the notification that says how far a call is; its parameters are a [`Progress`] and the call's `id`.
pub const PROGRESS: &str = "progress";

/// Writes a refusal with a JSON-RPC error number of its own.
#[must_use]
pub fn error_reply(id: &Value, number: i64, error: &ApiError) -> String {
    let error = RpcError { code: number, message: error.message.clone(), data: json!(error) };
    write(&Message { jsonrpc: "2.0", what: What::Error { id, error: &error } })
}

/// What is written. It borrows: a list or a text may be long, and is copied only into the message.
#[derive(Serialize)]
struct Message<'a> {
    jsonrpc: &'static str,
    #[serde(flatten)]
    what: What<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum What<'a> {
    Call { id: i64, method: &'a str, params: &'a Value },
    Result { id: &'a Value, result: &'a Value },
    Error { id: &'a Value, error: &'a RpcError },
    Event(&'a Event),
    Progress { method: &'static str, params: Reported<'a> },
}

#[derive(Serialize)]
struct Reported<'a> {
    id: &'a Value,
    #[serde(flatten)]
    progress: &'a Progress,
}

fn write(message: &Message<'_>) -> String {
    serde_json::to_string(message).expect("what we write has names for keys")
}

/// An error as JSON-RPC writes it; ours is its `data`.
#[derive(Serialize, Deserialize)]
struct RpcError {
    code: i64,
    message: String,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    data: Value,
}

fn read_error(error: Value) -> ApiError {
    let Ok(error) = serde_json::from_value::<RpcError>(error) else {
        return ApiError::new(Code::Internal, "an error that is not a JSON-RPC error");
    };
    serde_json::from_value(error.data).unwrap_or_else(|_| ApiError::new(Code::Internal, error.message))
}

fn valid_id(id: &Value) -> bool {
    id.is_string() || id.is_number()
}
