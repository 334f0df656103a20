//! One JSON-RPC conversation over text frames, seen from either side: who is owed an answer, how far that is, and whether
//! the other side still lives.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::Value;

use crate::catalogue::OPERATIONS;
use crate::error::{ApiError, Code};
use crate::frame::{self, Frame};
use crate::machine::Machine;
use crate::model::{Progress, Timestamp};

/// One conversation.
///
/// On the client every call taken ends in exactly one [`Output::Answer`] or [`Output::Cut`]. On the server every call
/// that arrives is answered once: by the machine when it cannot be taken, else by what is given as [`Input::Reply`].
/// How far a call is may be said before its answer, never after it: of each call the newest is kept, until it may be sent.
#[derive(Clone, Debug)]
pub struct Connection {
    limits: Limits,
    role: Role,
    phase: Phase,
    outputs: VecDeque<Output>,
}

/// Which side of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The one that calls.
    Client,
    /// The one that is called.
    Server,
}

/// A call: on the client the caller's number for it, which is also its id on the wire; on the server the machine's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub i64);

/// How much a conversation may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Calls in progress at a time.
    pub calls: usize,
    /// Frames in a row that are no messages.
    pub malformed: u32,
    /// Bytes of a message.
    pub message: usize,
    /// Milliseconds of silence after which the other side is asked for a sign of life.
    pub ping: i64,
    /// Milliseconds of silence after which the other side is given up.
    pub idle: i64,
    /// Milliseconds between two frames that say how far the same call is.
    pub progress: i64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { calls: 128, malformed: 100, message: 32 << 20, ping: 20_000, idle: 60_000, progress: 100 }
    }
}

/// What a conversation is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// A text frame came in.
    Text(String),
    /// A ping came in.
    Ping(Vec<u8>),
    /// A pong came in.
    Pong,
    /// What came in is no text.
    Unreadable(Fault),
    /// The transport is gone; the other side may have said goodbye before.
    Gone,
    /// The owner wants to end it.
    Close {
        /// The WebSocket close code.
        code: u16,
        /// One short sentence.
        reason: &'static str,
    },
    /// On the client: somebody calls.
    Call {
        /// The caller's number for it.
        token: Token,
        /// The operation.
        method: String,
        /// Its arguments.
        params: Value,
    },
    /// On the server: the service answers.
    Reply {
        /// The call.
        token: Token,
        /// What came of it.
        result: Result<Value, ApiError>,
    },
    /// On the server: the service says how far a call is.
    Progress {
        /// The call.
        token: Token,
        /// How far it is.
        progress: Progress,
    },
}

/// Why something that came in is no text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is a binary message.
    Binary,
    /// It is text that is not UTF-8.
    NotUtf8,
    /// It is larger than `Limits::message`, or comes in endless fragments.
    TooLarge,
    /// It breaks the WebSocket protocol.
    Protocol,
}

impl Fault {
    /// Returns the WebSocket close code and the reason that say so.
    #[must_use]
    pub fn close(self) -> (u16, &'static str) {
        match self {
            Fault::Binary => (1003, "send JSON-RPC as text"),
            Fault::NotUtf8 => (1007, "not UTF-8"),
            Fault::TooLarge => (1009, "the message is too large"),
            Fault::Protocol => (1002, "not a WebSocket frame"),
        }
    }
}

/// What a conversation asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Send a text frame.
    Send {
        /// The frame.
        text: String,
        /// On the client: the call that it makes.
        call: Option<Token>,
    },
    /// Send a ping.
    Ping,
    /// Send a pong.
    Pong(Vec<u8>),
    /// Close the transport; the conversation is over.
    Close {
        /// The WebSocket close code.
        code: u16,
        /// One short sentence.
        reason: &'static str,
    },
    /// On the server: carry out a call, and give the answer as [`Input::Reply`].
    Serve {
        /// The machine's number for it.
        token: Token,
        /// The operation.
        method: String,
        /// Its arguments.
        params: Value,
    },
    /// On the client: give an answer to the caller.
    Answer {
        /// The call.
        token: Token,
        /// What came of it.
        result: Result<Value, ApiError>,
    },
    /// On the client: tell a caller how far the call is.
    Progress {
        /// The call.
        token: Token,
        /// How far it is.
        progress: Progress,
    },
    /// On the client: tell a caller that there will be no answer.
    Cut {
        /// The call.
        token: Token,
        /// Whether its frame was given out to be sent, so that the other side may have carried it out.
        sent: bool,
    },
    /// On the client: an event came in.
    Event {
        /// Its name.
        method: String,
        /// What it says.
        params: Value,
    },
}

/// Why an input was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The conversation is over.
    #[error("the connection is closed")]
    Closed,
    /// Clients do not answer, servers do not call.
    #[error("this side of the connection does not do that")]
    WrongSide,
    /// As many calls as there may be are in progress.
    #[error("{0} calls are in progress on this connection")]
    Busy(usize),
    /// The caller's number is that of another call in progress.
    #[error("call {} is in progress already", .0.0)]
    InUse(Token),
    /// There is no such call in progress.
    #[error("no call {} is in progress", .0.0)]
    NoSuchCall(Token),
    /// The call would be a larger message than may be sent.
    #[error("a call of {size} bytes is too large, {limit} are allowed")]
    TooLarge {
        /// The bytes of the message.
        size: usize,
        /// The bytes that are allowed.
        limit: usize,
    },
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> ApiError {
        let message = refusal.to_string();
        match refusal {
            Refusal::Closed => ApiError::new(Code::Unavailable, message).hint("connect again"),
            Refusal::Busy(_) => ApiError::new(Code::Unavailable, message).hint(BUSY_HINT),
            Refusal::TooLarge { .. } => {
                ApiError::new(Code::InvalidArgument, message).hint("pass the path of a file in place of its content")
            }
            Refusal::WrongSide | Refusal::InUse(_) | Refusal::NoSuchCall(_) => ApiError::new(Code::Internal, message),
        }
    }
}

impl Connection {
    /// Begins a conversation at `now`.
    #[must_use]
    pub fn new(side: Side, limits: Limits, now: Timestamp) -> Connection {
        let role = match side {
            Side::Client => Role::Client { pending: BTreeSet::new() },
            Side::Server => Role::Server { pending: BTreeMap::new(), next: 1 },
        };
        let phase = Phase::Open(Open { heard: now, pinged: None, malformed: 0 });
        Connection { limits, role, phase, outputs: VecDeque::new() }
    }

    /// Returns whether the conversation is over.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }

    /// Returns how many calls are in progress.
    #[must_use]
    pub fn calls(&self) -> usize {
        match &self.role {
            Role::Client { pending } => pending.len(),
            Role::Server { pending, .. } => pending.len(),
        }
    }

    fn text(&mut self, now: Timestamp, text: &str) {
        let complaint = match (Frame::parse(text), &mut self.role) {
            (Ok(Frame::Call { id, .. }), Role::Server { pending, .. }) if pending.len() >= self.limits.calls => {
                let error = ApiError::from(Refusal::Busy(pending.len()));
                Ok(Some(Output::Send { text: frame::reply(&id, &Err(error)), call: None }))
            }
            (Ok(Frame::Call { id, method, params }), Role::Server { pending, next }) => {
                let token = Token(*next);
                *next += 1;
                let known = OPERATIONS.iter().any(|(name, _)| *name == method);
                pending.insert(token, Asked { id, known, news: News::Nothing, quiet: now });
                Ok(Some(Output::Serve { token, method, params }))
            }
            (Ok(Frame::Notification { .. }), Role::Server { .. }) => {
                Err(frame::error_reply(&Value::Null, INVALID_REQUEST, &without_id()))
            }
            (Ok(Frame::Reply { .. }), Role::Server { .. }) => {
                Err(frame::error_reply(&Value::Null, INVALID_REQUEST, &nothing_asked()))
            }
            (Err(malformed), Role::Server { .. }) => Err(malformed.reply()),
            (Ok(Frame::Reply { id, result }), Role::Client { pending }) => {
                // An answer to nobody's call is late or not meant for us.
                let token = id.as_i64().map(Token).filter(|token| pending.remove(token));
                Ok(token.map(|token| Output::Answer { token, result }))
            }
            (Ok(Frame::Notification { method, params }), Role::Client { pending }) if method == frame::PROGRESS => {
                // What it says of nobody's call is late, and what cannot be understood is of a newer server.
                let told = read_progress(params).filter(|(token, _)| pending.contains(token));
                Ok(told.map(|(token, progress)| Output::Progress { token, progress }))
            }
            (Ok(Frame::Notification { method, params }), Role::Client { .. }) => {
                Ok(Some(Output::Event { method, params }))
            }
            // A client answers nothing, so that two sides never complain to each other about complaints.
            (Ok(Frame::Call { .. }) | Err(_), Role::Client { .. }) => Err(String::new()),
        };
        let Phase::Open(open) = &mut self.phase else { return };
        match complaint {
            Ok(output) => {
                open.malformed = 0;
                self.outputs.extend(output);
            }
            Err(complaint) => {
                open.malformed += 1;
                let enough = open.malformed >= self.limits.malformed;
                if matches!(self.role, Role::Server { .. }) {
                    self.outputs.push_back(Output::Send { text: complaint, call: None });
                }
                if enough {
                    self.close(1008, "too many malformed messages");
                }
            }
        }
    }

    fn call(&mut self, token: Token, method: &str, params: &Value) -> Result<(), Refusal> {
        let Role::Client { pending } = &mut self.role else { return Err(Refusal::WrongSide) };
        if pending.contains(&token) {
            return Err(Refusal::InUse(token));
        }
        if pending.len() >= self.limits.calls {
            return Err(Refusal::Busy(pending.len()));
        }
        let text = frame::call(token.0, method, params);
        if text.len() > self.limits.message {
            return Err(Refusal::TooLarge { size: text.len(), limit: self.limits.message });
        }
        pending.insert(token);
        self.outputs.push_back(Output::Send { text, call: Some(token) });
        Ok(())
    }

    fn reply(&mut self, token: Token, result: &Result<Value, ApiError>) -> Result<(), Refusal> {
        let Role::Server { pending, .. } = &mut self.role else { return Err(Refusal::WrongSide) };
        let asked = pending.remove(&token).ok_or(Refusal::NoSuchCall(token))?;
        let text = match result {
            Err(error) if !asked.known => frame::error_reply(&asked.id, METHOD_NOT_FOUND, error),
            _ => frame::reply(&asked.id, result),
        };
        self.outputs.push_back(Output::Send { text, call: None });
        Ok(())
    }

    fn progress(&mut self, now: Timestamp, token: Token, progress: Progress) -> Result<(), Refusal> {
        let Role::Server { pending, .. } = &mut self.role else { return Err(Refusal::WrongSide) };
        let asked = pending.get_mut(&token).ok_or(Refusal::NoSuchCall(token))?;
        match asked.news {
            News::Due(_) => asked.news = News::Due(progress),
            News::Nothing | News::Held(_) => {
                asked.news = News::Held(progress);
                asked.release(now, self.limits.progress);
            }
        }
        Ok(())
    }

    fn close(&mut self, code: u16, reason: &'static str) {
        self.cut();
        self.outputs.push_back(Output::Close { code, reason });
    }

    /// Ends the conversation: gives back the calls of a client, and forgets those of a server.
    fn cut(&mut self) {
        self.phase = Phase::Closed;
        match &mut self.role {
            Role::Server { pending, .. } => pending.clear(),
            Role::Client { pending } => {
                let mut unsent = BTreeSet::new();
                self.outputs.retain(|output| match output {
                    Output::Send { call, .. } => {
                        unsent.extend(*call);
                        false
                    }
                    _ => true,
                });
                let cut = std::mem::take(pending).into_iter();
                self.outputs.extend(cut.map(|token| Output::Cut { token, sent: !unsent.contains(&token) }));
            }
        }
    }
}

impl Machine for Connection {
    type Input = Input;
    type Output = Output;
    type Refusal = Refusal;

    fn handle(&mut self, now: Timestamp, input: Input) -> Result<(), Refusal> {
        let Phase::Open(open) = &mut self.phase else { return Err(Refusal::Closed) };
        if matches!(input, Input::Text(_) | Input::Ping(_) | Input::Pong) {
            open.heard = now;
            open.pinged = None;
        }
        match input {
            Input::Text(text) => self.text(now, &text),
            Input::Ping(payload) => {
                // The latest ping is the one to answer.
                self.outputs.retain(|output| !matches!(output, Output::Pong(_)));
                self.outputs.push_back(Output::Pong(payload));
            }
            Input::Pong => {}
            Input::Unreadable(fault) => {
                let (code, reason) = fault.close();
                self.close(code, reason);
            }
            Input::Gone => {
                self.outputs.retain(|output| {
                    !matches!(output, Output::Send { call: None, .. } | Output::Ping | Output::Pong(_))
                });
                self.cut();
            }
            Input::Close { code, reason } => self.close(code, reason),
            Input::Call { token, method, params } => self.call(token, &method, &params)?,
            Input::Reply { token, result } => self.reply(token, &result)?,
            Input::Progress { token, progress } => self.progress(now, token, progress)?,
        }
        Ok(())
    }

    fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front().or_else(|| {
            let text = self.role.asked_mut().find_map(Asked::tell)?;
            Some(Output::Send { text, call: None })
        })
    }

    fn deadline(&self) -> Option<Timestamp> {
        let Phase::Open(open) = &self.phase else { return None };
        let ping = open.pinged.unwrap_or(open.heard).plus(self.limits.ping);
        let held = self.role.asked().filter(|asked| matches!(asked.news, News::Held(_))).map(|asked| asked.quiet);
        held.chain([ping, open.heard.plus(self.limits.idle)]).min()
    }

    fn expire(&mut self, now: Timestamp) {
        let Phase::Open(open) = &mut self.phase else { return };
        self.role.asked_mut().for_each(|asked| asked.release(now, self.limits.progress));
        if now >= open.heard.plus(self.limits.idle) {
            self.close(1011, "no sign of life");
        } else if now >= open.pinged.unwrap_or(open.heard).plus(self.limits.ping) {
            open.pinged = Some(now);
            self.outputs.push_back(Output::Ping);
        }
    }
}

/// What only one side has.
#[derive(Clone, Debug)]
enum Role {
    Client { pending: BTreeSet<Token> },
    Server { pending: BTreeMap<Token, Asked>, next: i64 },
}

impl Role {
    /// Returns the calls that the service has not answered.
    fn asked(&self) -> impl Iterator<Item = &Asked> {
        match self {
            Role::Client { .. } => None,
            Role::Server { pending, .. } => Some(pending.values()),
        }
        .into_iter()
        .flatten()
    }

    fn asked_mut(&mut self) -> impl Iterator<Item = &mut Asked> {
        match self {
            Role::Client { .. } => None,
            Role::Server { pending, .. } => Some(pending.values_mut()),
        }
        .into_iter()
        .flatten()
    }
}

/// A call that the service has not answered.
#[derive(Clone, Debug)]
struct Asked {
    /// The caller's id, which the answer repeats.
    id: Value,
    /// Whether there is such an operation.
    known: bool,
    news: News,
    /// Until when the caller is not told again how far it is.
    quiet: Timestamp,
}

/// How far a call is, as far as its caller has not been told.
#[derive(Clone, Debug)]
enum News {
    Nothing,
    /// Told too soon after the last.
    Held(Progress),
    /// To be told next.
    Due(Progress),
}

impl Asked {
    /// Lets go of what is held, when it is time for that.
    fn release(&mut self, now: Timestamp, pause: i64) {
        match std::mem::replace(&mut self.news, News::Nothing) {
            News::Held(progress) if now >= self.quiet => {
                self.news = News::Due(progress);
                self.quiet = now.plus(pause);
            }
            news => self.news = news,
        }
    }

    /// Writes what is due, if anything is.
    fn tell(&mut self) -> Option<String> {
        match std::mem::replace(&mut self.news, News::Nothing) {
            News::Due(progress) => Some(frame::progress(&self.id, &progress)),
            news => {
                self.news = news;
                None
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Phase {
    Open(Open),
    Closed,
}

#[derive(Clone, Debug)]
struct Open {
    /// When the other side was last heard.
    heard: Timestamp,
    /// When it was last asked for a sign of life, if that was after it was heard.
    pinged: Option<Timestamp>,
    /// Frames in a row that were no messages.
    malformed: u32,
}

/// Reads how far which call is.
fn read_progress(mut params: Value) -> Option<(Token, Progress)> {
    let id = params.as_object_mut()?.remove("id")?.as_i64()?;
    Some((Token(id), serde_json::from_value(params).ok()?))
}

fn without_id() -> ApiError {
    ApiError::new(Code::InvalidArgument, "`id` is missing")
        .hint(r#"send {"jsonrpc":"2.0","id":1,"method":"list_agents","params":{}}"#)
}

fn nothing_asked() -> ApiError {
    ApiError::new(Code::InvalidArgument, "an answer to nothing: this side makes no calls")
        .hint(r#"send {"jsonrpc":"2.0","id":1,"method":"list_agents","params":{}}"#)
}

const BUSY_HINT: &str = "wait for answers before calling more, or open another connection";
const INVALID_REQUEST: i64 = -32600;
const METHOD_NOT_FOUND: i64 = -32601;
