//! What an operation is: a request whose type says its name, its effect and its answer.

#[cfg(feature = "schema")]
mod tool;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use futures_core::Stream;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

#[cfg(feature = "schema")]
pub use self::tool::Tool;
use crate::error::{ApiError, Code};
use crate::model::{AgentId, Progress};

/// A request of the catalogue.
pub trait Operation: Serialize + DeserializeOwned + Send + 'static {
    /// Its name on every wire.
    const NAME: &'static str;
    /// What carrying it out does.
    const EFFECT: Effect;
    /// What it answers.
    type Answer: Serialize + DeserializeOwned + Send + 'static;
}

/// What carrying out an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Nothing: it may be repeated at will.
    Read,
    /// It changes something; repeated with the same ids it changes nothing more.
    Write,
    /// It takes something away: people are asked before.
    Destroy,
}

/// Carries out one operation.
pub trait Handle<Op: Operation> {
    /// Carries it out for `caller`.
    fn handle(&self, caller: Caller, request: Op) -> impl Future<Output = Result<Op::Answer, ApiError>> + Send;
}

/// Who calls, where what they watch goes, and who hears how far the call is.
#[derive(Clone)]
pub struct Caller {
    /// Who calls.
    pub who: Principal,
    /// The connection that can carry events; none for a single request.
    pub feed: Option<Arc<dyn Feed>>,
    /// Tells the caller how far the call is.
    pub reporter: Reporter,
}

impl Caller {
    /// Makes the caller that is the user, over a connection without events.
    #[must_use]
    pub fn user() -> Caller {
        Caller { who: Principal::User, feed: None, reporter: Reporter::default() }
    }
}

/// Tells somebody how far a call is; by default nobody. Cheap to clone.
///
/// ```
/// use paseo_sdk::model::Progress;
/// use paseo_sdk::operation::Reporter;
///
/// let reporter = Reporter::new(|progress| println!("{}", progress.step));
/// reporter.report(Progress::new("fetch").message("fetching origin"));
/// ```
#[derive(Clone, Default)]
pub struct Reporter {
    listener: Option<Arc<dyn Fn(Progress) + Send + Sync>>,
}

impl Reporter {
    /// Makes a reporter to `listener`, which must not block.
    #[must_use]
    pub fn new(listener: impl Fn(Progress) + Send + Sync + 'static) -> Reporter {
        Reporter { listener: Some(Arc::new(listener)) }
    }

    /// Returns whether anybody listens: without one, nothing needs to be counted.
    #[must_use]
    pub fn is_heard(&self) -> bool {
        self.listener.is_some()
    }

    /// Says how far the call is, from any thread and without waiting. Of what is said in quick succession the newest
    /// counts, and what is said after the call's end is lost.
    pub fn report(&self, progress: Progress) {
        if let Some(listener) = &self.listener {
            listener(progress);
        }
    }
}

impl fmt::Debug for Reporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reporter({})", if self.is_heard() { "heard" } else { "unheard" })
    }
}

/// Whose rights a call has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// The user of this machine.
    User,
    /// One of the user's agents.
    Agent(AgentId),
}

/// The events of one connection.
pub trait Feed: Send + Sync {
    /// Sends `events` from now on, in place of those followed before. Each is the text of a whole frame.
    ///
    /// The stream is asked for the next one only when the connection has room: a slow watcher costs a cursor, no memory.
    fn follow(&self, events: Pin<Box<dyn Stream<Item = Arc<str>> + Send>>);
}

/// Reads the parameters of an operation; what is wrong is said by the field's name.
///
/// # Errors
///
/// `invalid_argument` for anything but an object with the request's fields.
pub fn parse<Op: Operation>(params: Value) -> Result<Op, ApiError> {
    let params = match params {
        Value::Null => Value::Object(serde_json::Map::new()),
        Value::Object(_) => params,
        _ => {
            return Err(ApiError::new(Code::InvalidArgument, "params must be an object")
                .hint("give arguments by name: {\"agentId\": \"…\"}"));
        }
    };
    serde_path_to_error::deserialize(params).map_err(|error| {
        let path = error.path().to_string();
        let message = error.inner().to_string();
        // serde names an unknown or missing field in its sentence, and the place only for a wrong type.
        let field = quoted(&message).filter(|_| path == "." || message.starts_with("unknown field"));
        let field = field.map_or_else(|| path.clone(), str::to_owned);
        let named = message.starts_with("missing field") || message.starts_with("unknown field") || path == ".";
        let error = match named {
            true => ApiError::new(Code::InvalidArgument, message).details(serde_json::json!({ "field": field })),
            false => ApiError::invalid(&path, message),
        };
        error.hint(format!(
            "the description of `{}` says what it takes; over HTTP, GET /api/openapi.json shows it",
            Op::NAME
        ))
    })
}

/// Returns what stands between the first two backticks.
fn quoted(message: &str) -> Option<&str> {
    message.split('`').nth(1)
}
