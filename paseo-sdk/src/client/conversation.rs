//! One connection at work: the hands of the `connection` machine, on the client's side.

use std::collections::VecDeque;
use std::time::Duration;

use fastwebsockets::{Role, after_handshake_split};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::socket::{self, GOODBYE, Outgoing};
use crate::error::ApiError;
use crate::machine::Machine;
use crate::machine::connection::{Connection, Input, Limits, Output, Refusal, Side, Token};
use crate::model::{Progress, Timestamp};

/// One connection to the daemon.
pub(crate) struct Conversation {
    machine: Connection,
    clock: Clock,
    heard: mpsc::Receiver<Input>,
    writer: mpsc::Sender<Outgoing>,
    /// What the writer has no room for yet. Short: while there is something in it, no call is taken.
    outbox: VecDeque<Outgoing>,
    /// The reader and the writer; they end with this.
    tasks: JoinSet<()>,
}

/// What came of a conversation.
pub(crate) enum Happened {
    Answer { token: Token, result: Result<Value, ApiError> },
    Progress { token: Token, progress: Progress },
    Cut { token: Token, sent: bool },
    Event { method: String, params: Value },
}

impl Conversation {
    /// Begins to speak over an upgraded connection.
    pub(crate) fn begin(stream: TokioIo<Upgraded>) -> Conversation {
        let limits = Limits { calls: CALLS, ..Limits::default() };
        let clock = Clock::start();
        let (read, write) = tokio::io::split(stream);
        let (reader, writer) = after_handshake_split(read, write, Role::Client);
        let (hears, heard) = mpsc::channel(HEARD);
        let (says, said) = mpsc::channel(SAID);
        let mut tasks = JoinSet::new();
        tasks.spawn(socket::read(reader, limits.message, hears));
        tasks.spawn(socket::write(writer, said));
        let machine = Connection::new(Side::Client, limits, clock.now());
        Conversation { machine, clock, heard, writer: says, outbox: VecDeque::new(), tasks }
    }

    /// Returns whether a call would be taken and be sent soon.
    pub(crate) fn has_room(&self) -> bool {
        !self.machine.is_closed() && self.outbox.is_empty() && self.machine.calls() < CALLS
    }

    /// Makes a call; what comes of it, [`Conversation::next`] says.
    pub(crate) fn call(&mut self, token: Token, method: &str, params: Value) -> Result<(), Refusal> {
        self.machine.handle(self.clock.now(), Input::Call { token, method: method.to_owned(), params })
    }

    /// Keeps the conversation going until something comes of it; none when it is over. May be cancelled.
    pub(crate) async fn next(&mut self) -> Option<Happened> {
        loop {
            while let Some(output) = self.machine.poll() {
                match output {
                    Output::Send { text, .. } => self.outbox.push_back(Outgoing::Text(text)),
                    Output::Ping => self.outbox.push_back(Outgoing::Ping),
                    Output::Pong(payload) => self.outbox.push_back(Outgoing::Pong(payload)),
                    Output::Close { code, reason } => self.outbox.push_back(Outgoing::Close(code, reason)),
                    Output::Answer { token, result } => return Some(Happened::Answer { token, result }),
                    Output::Progress { token, progress } => return Some(Happened::Progress { token, progress }),
                    Output::Cut { token, sent } => return Some(Happened::Cut { token, sent }),
                    Output::Event { method, params } => return Some(Happened::Event { method, params }),
                    // Only servers are asked to serve.
                    Output::Serve { .. } => {}
                }
            }
            let due = self.clock.instant(self.machine.deadline()?);
            // A refusal says only that the conversation is over, which shows at the next turn.
            tokio::select! {
                biased;
                permit = self.writer.reserve(), if !self.outbox.is_empty() => match permit {
                    Ok(permit) => {
                        if let Some(next) = self.outbox.pop_front() {
                            permit.send(next);
                        }
                    }
                    // Nothing can be said any more; answers that are under way may still be heard.
                    Err(_) => self.outbox.clear(),
                },
                input = self.heard.recv(), if self.outbox.len() < OUTBOX => {
                    let _ = self.machine.handle(self.clock.now(), input.unwrap_or(Input::Gone));
                }
                () = sleep_until(due) => self.machine.expire(self.clock.now()),
            }
        }
    }

    /// Says goodbye, for as long as that is worth.
    pub(crate) async fn finish(mut self) {
        if !matches!(self.outbox.back(), Some(Outgoing::Close(..))) {
            self.outbox.push_back(Outgoing::Close(GOODBYE.into(), ""));
        }
        let goodbye = async {
            for next in self.outbox {
                if self.writer.send(next).await.is_err() {
                    return;
                }
            }
            // The writer ends with its last word. One who hangs up before the other side has said goodbye, too, may keep
            // it from reading why.
            self.writer.closed().await;
            while self.heard.recv().await.is_some_and(|input| input != Input::Gone) {}
        };
        let _ = timeout(FAREWELL, goodbye).await;
        self.tasks.shutdown().await;
    }
}

/// The clock of a machine: milliseconds since it was started, because machines care for differences only.
#[derive(Clone, Copy)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Clock {
        Clock(Instant::now())
    }

    pub(crate) fn now(self) -> Timestamp {
        Timestamp(i64::try_from(self.0.elapsed().as_millis()).unwrap_or(i64::MAX))
    }

    pub(crate) fn instant(self, at: Timestamp) -> Instant {
        self.0 + Duration::from_millis(u64::try_from(at.0).unwrap_or(0))
    }
}

/// Calls that may be in progress. The daemon allows fewer, and says so itself.
const CALLS: usize = 1024;
/// Messages that may wait to be understood; each may be large.
const HEARD: usize = 4;
/// Messages that may wait to be written.
const SAID: usize = 16;
/// Messages that may wait for the writer before nothing more is heard.
const OUTBOX: usize = 64;
/// How long a goodbye may take.
const FAREWELL: Duration = Duration::from_secs(1);
