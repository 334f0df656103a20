//! What the stubs of model APIs have in common: a door on loopback, gates that tests open, and the language of scripts.
//!
//! Each stub is a [`Protocol`]: which requests there are, and what an answer is on the wire.

mod door;
mod gates;
pub(crate) mod script;

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use hyper::http::request::Parts;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use self::door::Door;

/// A stub while it listens. Dropping it ends every connection, those that wait too.
pub(crate) struct ModelApi<P: Protocol> {
    address: SocketAddr,
    door: Arc<Door<P>>,
    #[expect(dead_code, reason = "it ends the task that listens, and with it the connections, by being dropped")]
    listening: JoinSet<()>,
}

impl<P: Protocol> ModelApi<P> {
    /// Listens on a port of its own.
    pub(crate) async fn start() -> ModelApi<P> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("loopback has a free port");
        let address = listener.local_addr().expect("it is bound");
        let door = Arc::<Door<P>>::default();
        let mut listening = JoinSet::new();
        listening.spawn(door::listen(listener, door.clone()));
        ModelApi { address, door, listening }
    }

    /// Returns what the program is to be told as the API's address.
    pub(crate) fn base_url(&self) -> String {
        format!("http://{}{}", self.address, P::BASE)
    }

    /// Refuses every request from now on that shows another key.
    pub(crate) fn require_key(&self, key: &str) {
        self.door.require_key(key);
    }

    /// Does not know a model from now on.
    pub(crate) fn forget_model(&self, model: &str) {
        self.door.forget_model(model);
    }

    /// Returns the requests to the model so far, in order, with those that were refused.
    pub(crate) fn requests(&self) -> Vec<P::Request> {
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

/// What one API has of its own.
pub(crate) trait Protocol: 'static {
    type Request: Clone + DeserializeOwned + Send;

    /// Where its paths begin, as the program is told.
    const BASE: &'static str;
    /// The header that names a request.
    const REQUEST_ID: &'static str;
    /// What it says to a wrong key.
    const WRONG_KEY: &'static str;

    /// Decides what is called.
    fn called(head: &Parts) -> Called;

    fn model(request: &Self::Request) -> &str;

    /// Says whether one is the other tried again.
    fn again(one: &Self::Request, other: &Self::Request) -> bool;

    /// Decides what the model answers. `earlier` says how often this was asked before.
    fn answer(request: &Self::Request, earlier: usize) -> Answer<Written>;

    /// Returns what it says of a model that it does not know.
    fn unknown(model: &str) -> String;

    /// Returns the body of an error.
    fn error(refusal: &Refusal) -> Value;
}

/// What a request is for.
pub(crate) enum Called {
    Model,
    /// Something small, which is a function of the body.
    Plain(fn(&[u8]) -> String),
    Nothing(Refusal),
}

/// What a request comes to.
pub(crate) enum Answer<R> {
    Reply(R),
    /// The reply, when the gate of this name is open.
    Later(String, R),
    Refusal(Refusal),
}

impl<R> Answer<R> {
    pub(crate) fn map<S>(self, write: impl FnOnce(R) -> S) -> Answer<S> {
        match self {
            Answer::Reply(reply) => Answer::Reply(write(reply)),
            Answer::Later(name, reply) => Answer::Later(name, write(reply)),
            Answer::Refusal(refusal) => Answer::Refusal(refusal),
        }
    }
}

/// An error as the API words it.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) message: String,
}

/// A reply as it goes over the wire.
pub(crate) struct Written {
    pub(crate) content_type: &'static str,
    pub(crate) pieces: Vec<Piece>,
}

/// What a response's body does next.
#[derive(Debug)]
pub(crate) enum Piece {
    Write(Bytes),
    /// Waits at the gate of this name.
    Wait(String),
    /// Ends without an end.
    Cut,
}

/// Returns an event of a stream.
pub(crate) fn event(data: &Value) -> Piece {
    let name = data["type"].as_str().expect("every event has a type");
    Piece::Write(format!("event: {name}\ndata: {data}\n\n").into())
}

/// Returns as much of a text as it is known by.
pub(crate) fn shortened(text: &str) -> String {
    text.chars().take(SHORT).collect()
}

/// Returns what is said before a gate.
pub(crate) fn held(name: &str) -> String {
    format!("{name} is held ")
}

/// What is said behind it.
pub(crate) const AND_RELEASED: &str = "and released";

pub(crate) const JSON: &str = "application/json";
pub(crate) const EVENTS: &str = "text/event-stream; charset=utf-8";

/// How many characters of a text are enough to know it by.
pub(crate) const SHORT: usize = 400;
