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
mod door;
mod gates;
pub(crate) mod program;
mod real;
mod reply;
pub(crate) mod request;
mod script;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::JoinSet;

use self::answer::SIDE_TEXT;
use self::door::Door;
use self::request::Request;

/// The stub while it listens. Dropping it ends every connection, those that wait too.
pub(crate) struct MessagesApi {
    address: SocketAddr,
    door: Arc<Door>,
    #[expect(dead_code, reason = "it ends the task that listens, and with it the connections, by being dropped")]
    listening: JoinSet<()>,
}

impl MessagesApi {
    /// Listens on a port of its own.
    pub(crate) async fn start() -> MessagesApi {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("loopback has a free port");
        let address = listener.local_addr().expect("it is bound");
        let door = Arc::<Door>::default();
        let mut listening = JoinSet::new();
        listening.spawn(door::listen(listener, door.clone()));
        MessagesApi { address, door, listening }
    }

    /// Returns what `ANTHROPIC_BASE_URL` is to be.
    pub(crate) fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Refuses every request from now on that shows another key.
    pub(crate) fn require_key(&self, key: &str) {
        self.door.require_key(key);
    }

    /// Does not know a model from now on.
    pub(crate) fn forget_model(&self, model: &str) {
        self.door.forget_model(model);
    }

    /// Returns the requests for messages so far, in order, with those that were refused.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.door.requests()
    }

    /// Returns when a response waits to be released under this name, or has waited.
    pub(crate) async fn held(&self, name: &str) {
        self.door.gates.reached(name).await;
    }

    /// Lets responses of this name go on: those that wait, and those that will.
    pub(crate) fn release(&self, name: &str) {
        self.door.gates.open(name);
    }
}
