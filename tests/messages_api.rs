//! A Messages API on loopback, against which the real Claude Code runs: what it answers is a script in the prompt.
//!
//! The newest text of the user that holds `[[...]]` is the script, and the number of assistant messages after it is the
//! step; one step is one response of the model. So an answer is a function of the request, and a conversation that is
//! resumed, or runs against another stub, goes on where it was; a step that failed is what a prompt without a script
//! tries again. After the last step comes `done: ` with the last tool result, shortened; where there never was a script,
//! `ok: ` with the prompt.
//!
//! | Step | The model |
//! |---|---|
//! | `[[text: T]]` | says T |
//! | `[[bash: COMMAND]]`, `[[write: PATH CONTENT]]`, `[[read: PATH]]`, `[[edit: PATH\|OLD\|NEW]]` | uses that tool |
//! | `[[tool: NAME {json}]]` | uses any tool |
//! | `[[tools: [{"name": .., "input": ..}, ..]]]` | uses several in one response |
//! | `[[ask: QUESTION\|A\|B]]` | asks the user with `AskUserQuestion` |
//! | `[[todo: a\|b\|c]]` | plans with `TodoWrite` if it is offered, else with a `TaskCreate` for each |
//! | `[[plan: TEXT]]` | leaves plan mode with `ExitPlanMode` |
//! | `[[agent: PROMPT]]` | starts a subagent; `((bash: x))` within stands for `[[bash: x]]` |
//! | `[[echo]]` | says as JSON what the request was: model, images, prompts, notes, system_tail, tools |
//! | `[[hold: NAME]]` | says half a sentence, waits until the test releases NAME, and says the rest |
//! | `[[hang: NAME]]` | does not even begin to answer until the test releases NAME |
//! | `[[error: STATUS]]`, `[[error: STATUS K]]` | is an HTTP error, always or for the first K requests |
//! | `[[drop]]`, `[[drop: K]]` | has its connection cut amid the message, always or for the first K requests |
//! | `[[sserror: TYPE]]` | breaks off with an error in the stream; whole where no stream was asked for |
//!
//! `[[think: T]]`, `[[say: T]]` and `[[usage: {json}]]` change the next step: what comes before it, and what it is said to
//! have cost. An argument ends at the first `]]` after its JSON, if it has any. What is no script gets a 400 that says why.
//!
//! What the program injects while a turn runs has the role `system`, and is never a script. A request that offers no
//! tools is one of the program's own (a title, a summary); it gets [`SIDE_TEXT`] and moves no script on.

mod alone;
mod answer;
pub(crate) mod program;
mod real;
mod reply;
pub(crate) mod request;
mod script;

use hyper::Method;
use hyper::http::request::Parts;
use serde_json::{Value, json};
use uuid::Uuid;

use self::answer::SIDE_TEXT;
use self::request::Request;
use crate::model_api::{Answer, Called, EVENTS, JSON, ModelApi, Protocol, Refusal, Written};

/// The stub. Its base URL is what `ANTHROPIC_BASE_URL` is to be.
pub(crate) type MessagesApi = ModelApi<Messages>;

pub(crate) struct Messages;

impl Protocol for Messages {
    type Request = Request;

    const BASE: &'static str = "";
    const REQUEST_ID: &'static str = "request-id";
    const WRONG_KEY: &'static str = "invalid x-api-key";

    fn called(head: &Parts) -> Called {
        match (&head.method, head.uri.path()) {
            (&Method::HEAD, "/") => Called::Plain(|_| String::new()),
            (&Method::POST, "/v1/messages") => Called::Model,
            (&Method::POST, "/v1/messages/count_tokens") => {
                Called::Plain(|body| json!({ "input_tokens": body.len() / 4 }).to_string())
            }
            (method, path) => Called::Nothing(Refusal { status: 404, message: format!("{method} {path}") }),
        }
    }

    fn model(request: &Request) -> &str {
        &request.model
    }

    fn again(one: &Request, other: &Request) -> bool {
        one.messages == other.messages
    }

    fn answer(request: &Request, earlier: usize) -> Answer<Written> {
        answer::answer(request, earlier).map(|reply| {
            // The program knows tool calls by their ids, and keeps them when it meets another stub.
            let id = Uuid::new_v4().simple().to_string();
            if request.stream {
                Written { content_type: EVENTS, pieces: reply.stream(&id, &request.model) }
            } else {
                Written { content_type: JSON, pieces: reply.whole(&id, &request.model) }
            }
        })
    }

    fn unknown(model: &str) -> String {
        format!("model: {model}")
    }

    fn error(Refusal { status, message }: &Refusal) -> Value {
        json!({
            "type": "error",
            "error": { "type": error_type(*status), "message": message },
            "request_id": "req_stub",
        })
    }
}

fn error_type(status: u16) -> &'static str {
    match status {
        400 => "invalid_request_error",
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        504 => "timeout_error",
        529 => "overloaded_error",
        _ => "api_error",
    }
}
