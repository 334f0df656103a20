//! A Responses API on loopback, against which the real Codex runs: what it answers is a script in the prompt.
//!
//! The newest text of the user that holds `[[...]]` is the script, and how often the model answered since is the step; one
//! step is one response of the model. So an answer is a function of the request, and a conversation that is resumed, or
//! runs against another stub, goes on where it was; a step that failed is what a prompt without a script tries again.
//! After the last step comes `done: ` with the last output of a tool, shortened and without what is different each time;
//! where there never was a script, `ok: ` with the prompt.
//!
//! | Step | The model |
//! |---|---|
//! | `[[text: T]]` | says T, and is done |
//! | `[[bash: COMMAND]]` | runs a command with `exec_command` |
//! | `[[bash!: COMMAND]]` | runs it outside the sandbox, and says why |
//! | `[[background: MS COMMAND]]` | runs it and goes on after so many milliseconds |
//! | `[[patch: FILE TEXT]]`, `[[update: FILE\|OLD\|NEW]]`, `[[delete: FILE]]` | changes a file with `apply_patch` |
//! | `[[todo: a\|b\|c]]` | plans with `update_plan` |
//! | `[[ask: QUESTION\|A\|B]]` | asks the user with `request_user_input` |
//! | `[[tool: NAME {json}]]` | calls any function; `mcp__server/tool` is one of a namespace |
//! | `[[tools: [{"name": .., "input": ..}, ..]]]` | calls several in one response |
//! | `[[echo]]` | says as JSON what the request was: model, effort, images, prompts, notes, tools |
//! | `[[hold: NAME]]` | says half a sentence, waits until the test releases NAME, and says the rest |
//! | `[[hang: NAME]]` | does not even begin to answer until the test releases NAME |
//! | `[[error: STATUS]]`, `[[error: STATUS K]]` | is an HTTP error, always or for the first K requests |
//! | `[[drop]]`, `[[drop: K]]` | has its connection cut amid the message, always or for the first K requests |
//! | `[[fail: CODE MESSAGE]]` | fails in the stream |
//!
//! `[[think: T]]` (a summary of reasoning), `[[say: T]]` (a comment on the way) and `[[usage: {json}]]` change the next step:
//! what comes before it, and what it is said to have cost; they move nothing on by themselves. An argument ends at the first
//! `]]` after its JSON, if it has any. What is no script gets a 400 that says why.
//!
//! What the program adds in the user's name, as the environment or that a turn was interrupted, is never a script. A request
//! that offers no tools is one of the program's own, for a summary; it says how many responses there were, as they are gone
//! from the conversation after it, and moves no script on. Nobody gets a WebSocket.

mod alone;
mod answer;
pub(crate) mod program;
mod real;
mod reply;
pub(crate) mod request;
mod script;

use hyper::Method;
use hyper::header::UPGRADE;
use hyper::http::request::Parts;
use serde_json::{Value, json};
use uuid::Uuid;

use self::request::Request;
use crate::model_api::{Answer, Called, EVENTS, ModelApi, Protocol, Refusal, Written};

/// The stub. Its base URL is what a provider's `base_url` is to be.
pub(crate) type ResponsesApi = ModelApi<Responses>;

pub(crate) struct Responses;

impl Protocol for Responses {
    type Request = Request;

    const BASE: &'static str = "/v1";
    const REQUEST_ID: &'static str = "x-request-id";
    const WRONG_KEY: &'static str = "incorrect API key provided";

    fn called(head: &Parts) -> Called {
        let nothing = |status, message: String| Called::Nothing(Refusal { status, message });
        match (&head.method, head.uri.path()) {
            (&Method::POST, "/v1/responses") => Called::Model,
            (&Method::GET, "/v1/responses") if head.headers.contains_key(UPGRADE) => {
                nothing(426, "no WebSocket here".to_owned())
            }
            (method, path) => nothing(404, format!("{method} {path}")),
        }
    }

    fn model(request: &Request) -> &str {
        &request.model
    }

    fn again(one: &Request, other: &Request) -> bool {
        one.conversation == other.conversation && one.input == other.input
    }

    fn answer(request: &Request, earlier: usize) -> Answer<Written> {
        answer::answer(request, earlier).map(|reply| {
            // The program knows calls by their ids, and keeps them when it meets another stub.
            let id = Uuid::new_v4().simple().to_string();
            Written { content_type: EVENTS, pieces: reply.stream(&id, &request.model) }
        })
    }

    fn unknown(model: &str) -> String {
        format!("the model `{model}` does not exist")
    }

    fn error(Refusal { status, message }: &Refusal) -> Value {
        let (kind, code) = match status {
            400 | 413 => ("invalid_request_error", None),
            401 => ("invalid_request_error", Some("invalid_api_key")),
            404 => ("invalid_request_error", Some("model_not_found")),
            429 => ("requests", Some("rate_limit_exceeded")),
            _ => ("server_error", None),
        };
        json!({ "error": { "message": message, "type": kind, "param": null, "code": code } })
    }
}
