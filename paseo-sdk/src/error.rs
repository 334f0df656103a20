//! The one error of every surface: a code for programs, a sentence and a hint for people.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why an operation was not carried out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[error("{message}")]
pub struct ApiError {
    /// What kind of refusal it is.
    pub code: Code,
    /// One sentence, in lower case and without a full stop.
    pub message: String,
    /// What to do, or what to type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// What a program may want to know beside: candidates, the field's name, what would be lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<serde_json::Value>,
}

impl ApiError {
    /// Makes an error with a code and a sentence.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> ApiError {
        ApiError { code, message: message.into(), hint: None, details: None }
    }

    /// Makes an `invalid_argument` that names the field, in the sentence and in `details.field`.
    #[must_use]
    pub fn invalid(field: &str, message: impl fmt::Display) -> ApiError {
        ApiError::new(Code::InvalidArgument, format!("{field}: {message}"))
            .details(serde_json::json!({ "field": field }))
    }

    /// Adds what to do, or what to type.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> ApiError {
        ApiError { hint: Some(hint.into()), ..self }
    }

    /// Adds what a program may want to know.
    #[must_use]
    pub fn details(self, details: serde_json::Value) -> ApiError {
        ApiError { details: Some(details), ..self }
    }
}

/// What kind of refusal an error is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// An argument is wrong; the message names it.
    InvalidArgument,
    /// There is no such thing.
    NotFound,
    /// Something else is there already, or has happened in between.
    Conflict,
    /// It would lose something; the details say what.
    Refused,
    /// This caller may not.
    Forbidden,
    /// This paseo, or this provider, cannot.
    Unsupported,
    /// Not now: something that is needed does not answer, or everything is in use.
    Unavailable,
    /// The credentials are missing or wrong.
    Unauthorized,
    /// A fault of paseo; the daemon's log says more.
    Internal,
    /// A code of a newer daemon.
    #[serde(untagged)]
    Other(String),
}

impl Code {
    /// Returns the HTTP status that fits.
    #[must_use]
    pub fn http_status(&self) -> u16 {
        match self {
            Code::InvalidArgument => 400,
            Code::Unauthorized => 401,
            Code::Forbidden => 403,
            Code::NotFound => 404,
            Code::Conflict => 409,
            Code::Refused => 422,
            Code::Unsupported => 501,
            Code::Unavailable => 503,
            Code::Internal | Code::Other(_) => 500,
        }
    }

    /// Returns the JSON-RPC error number that goes with the code.
    #[must_use]
    pub fn rpc_number(&self) -> i64 {
        match self {
            Code::InvalidArgument => -32602,
            _ => -32000,
        }
    }
}
