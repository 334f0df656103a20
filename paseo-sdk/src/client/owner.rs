//! The task that owns a client's connection: it sends calls, gives answers back, and mends what was cut.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::conversation::{Conversation, Happened};
use super::dial::{Dialer, Link};
use crate::catalogue::WaitForAgent;
use crate::error::{ApiError, Code};
use crate::machine::connection::Token;
use crate::model::{Duration, Progress};
use crate::operation::{Effect, Operation, Reporter};

/// A call on its way.
pub(crate) struct Call {
    method: String,
    params: Value,
    effect: Effect,
    begun: Instant,
    progress: watch::Sender<Progress>,
    answer: oneshot::Sender<Result<Value, ApiError>>,
}

/// What its caller keeps of a call.
pub(crate) struct Stub {
    progress: watch::Receiver<Progress>,
    answer: oneshot::Receiver<Result<Value, ApiError>>,
}

impl Stub {
    /// Waits for the answer, and reports meanwhile; none when the call is lost. Reports come from here, where only the
    /// call itself waits for whoever listens.
    pub(crate) async fn answer(mut self, reporter: &Reporter) -> Option<Result<Value, ApiError>> {
        loop {
            tokio::select! {
                biased;
                answer = &mut self.answer => {
                    // Both may have come at once.
                    let newest = self.progress.borrow();
                    if newest.has_changed() {
                        reporter.report(newest.clone());
                    }
                    return answer.ok();
                }
                Ok(()) = self.progress.changed() => {
                    let newest = self.progress.borrow().clone();
                    reporter.report(newest);
                }
            }
        }
    }
}

impl Call {
    pub(crate) fn new(method: &str, params: Value, effect: Effect) -> (Call, Stub) {
        let (tells, progress) = watch::channel(Progress::default());
        let (answers, answer) = oneshot::channel();
        let call =
            Call { method: method.to_owned(), params, effect, begun: Instant::now(), progress: tells, answer: answers };
        (call, Stub { progress, answer })
    }

    /// Returns the arguments to send now. The time given to a wait counts from its beginning, however often it is
    /// taken up again.
    fn params(&self) -> Value {
        let mut params = self.params.clone();
        if self.method == WaitForAgent::NAME
            && let Some(timeout) = params.get_mut("timeout")
            && let Some(given) = timeout.as_str().and_then(|text| text.parse::<Duration>().ok())
        {
            let passed = i64::try_from(self.begun.elapsed().as_millis()).unwrap_or(i64::MAX);
            let milliseconds = given.milliseconds.saturating_sub(passed).max(0);
            if milliseconds != given.milliseconds {
                *timeout = Value::String(Duration { milliseconds }.to_string());
            }
        }
        params
    }

    /// Ends the call. Whoever made it may have gone, which is no matter.
    fn end(self, result: Result<Value, ApiError>) {
        let _ = self.answer.send(result);
    }
}

/// Carries out `calls` until nobody can call any more.
pub(crate) async fn run(link: Arc<Link>, calls: mpsc::Receiver<Call>) {
    let dialer = Dialer::new(link);
    let mut owner = Owner { calls, waiting: VecDeque::new(), sent: BTreeMap::new(), next: 1 };
    owner.run(dialer).await;
}

struct Owner {
    calls: mpsc::Receiver<Call>,
    /// Calls to send, the oldest first.
    waiting: VecDeque<Call>,
    /// Calls that were sent on this connection.
    sent: BTreeMap<Token, Call>,
    next: i64,
}

/// Why the owner stops talking.
enum End {
    /// The connection was cut.
    Cut,
    /// Nobody can call any more.
    Unused,
}

impl Owner {
    async fn run(&mut self, mut dialer: Dialer) {
        loop {
            // Nobody needs a connection before somebody calls.
            while self.waiting.is_empty() {
                dialer.rest();
                match self.calls.recv().await {
                    Some(call) => self.waiting.push_back(call),
                    None => return,
                }
            }
            match self.connect(&mut dialer).await {
                Some(Ok(mut conversation)) => {
                    let end = self.talk(&mut conversation, &mut dialer).await;
                    conversation.finish().await;
                    match end {
                        End::Cut => dialer.cut(),
                        End::Unused => return,
                    }
                }
                Some(Err(error)) => {
                    for call in self.waiting.drain(..) {
                        call.end(Err(error.clone()));
                    }
                }
                None => return,
            }
        }
    }

    /// Connects, and takes calls meanwhile; none when nobody can call any more.
    async fn connect(&mut self, dialer: &mut Dialer) -> Option<Result<Conversation, ApiError>> {
        let mut dialing = std::pin::pin!(dialer.dial());
        loop {
            tokio::select! {
                biased;
                result = dialing.as_mut() => return Some(result),
                call = self.calls.recv(), if self.waiting.len() < WAITING => self.waiting.push_back(call?),
            }
        }
    }

    async fn talk(&mut self, conversation: &mut Conversation, dialer: &mut Dialer) -> End {
        let mut cut = false;
        loop {
            // What was sent on a connection that has been cut waits for the next one.
            while !cut
                && conversation.has_room()
                && let Some(call) = self.waiting.pop_front()
            {
                self.send(conversation, call);
            }
            tokio::select! {
                happened = conversation.next() => match happened {
                    Some(Happened::Answer { token, result }) => {
                        dialer.answered();
                        if let Some(call) = self.sent.remove(&token) {
                            call.end(result);
                        }
                    }
                    Some(Happened::Progress { token, progress }) => {
                        if let Some(call) = self.sent.get(&token) {
                            call.progress.send_replace(progress);
                        }
                    }
                    Some(Happened::Cut { token, sent }) => {
                        cut = true;
                        self.cut(token, sent);
                    }
                    // Nothing is watched on this connection.
                    Some(Happened::Event { .. }) => {}
                    None => return End::Cut,
                },
                call = self.calls.recv(), if self.waiting.len() < WAITING => match call {
                    Some(call) => self.waiting.push_back(call),
                    None => return End::Unused,
                },
            }
        }
    }

    fn send(&mut self, conversation: &mut Conversation, call: Call) {
        // Its caller has lost interest before it was sent.
        if call.answer.is_closed() {
            return;
        }
        let token = Token(self.next);
        self.next += 1;
        match conversation.call(token, &call.method, call.params()) {
            Ok(()) => {
                self.sent.insert(token, call);
            }
            Err(refusal) => call.end(Err(refusal.into())),
        }
    }

    /// Takes back a call that got no answer, to send it again where that is safe.
    fn cut(&mut self, token: Token, sent: bool) {
        let Some(call) = self.sent.remove(&token) else { return };
        if sent && call.effect == Effect::Destroy {
            let message = format!("the connection was cut before `{}` was answered; it may have happened", call.method);
            call.end(Err(ApiError::new(Code::Unavailable, message).hint("look whether it has, then ask again")));
        } else {
            self.waiting.push_back(call);
        }
    }
}

/// Calls that may wait for a connection.
const WAITING: usize = 64;
