//! The WebSocket: JSON-RPC 2.0 calls in, replies and events out.
//!
//! One task owns a connection and everything on it, and does one thing at a time: while a write waits for a slow peer, no
//! event is asked for and no message taken in, so a peer that never reads costs one message of each. Only reading has a
//! task of its own, because a frame that is read halfway must be read to its end.

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};

use fastwebsockets::{
    CloseCode, Frame, OpCode, Payload, Role, WebSocketError, WebSocketRead, WebSocketWrite, after_handshake_split,
};
use futures_core::Stream;
use paseo_sdk::error::{ApiError, Code};
use paseo_sdk::frame;
use paseo_sdk::operation::{Caller, Effect, Feed, Principal};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, WriteHalf};
use tokio::sync::mpsc;
use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, timeout};

use super::{Hall, Limits, effect, fault};

/// Serves one WebSocket to its end.
pub(super) async fn serve<I>(hall: Arc<Hall>, io: I, who: Principal)
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (read, write) = tokio::io::split(io);
    let (_, writer) = after_handshake_split(tokio::io::empty(), write, Role::Server);
    let (sender, heard) = mpsc::channel(1);
    let mut reader = JoinSet::new();
    reader.spawn(hear(read, hall.limits.message, sender));
    let connection = Connection { hall: &hall, who, writer, calls: JoinSet::new(), ids: HashMap::new(), events: None };
    if let Err(error) = connection.run(heard).await {
        tracing::debug!("a WebSocket ended: {error}");
    }
    // The peer's own goodbye, or the end of what it was still sending: cut off at once, it may not see ours.
    let _ = timeout(hall.limits.grace, reader.join_next()).await;
}

type Events = Pin<Box<dyn Stream<Item = Arc<str>> + Send>>;

struct Connection<'a, I> {
    hall: &'a Arc<Hall>,
    who: Principal,
    writer: WebSocketWrite<WriteHalf<I>>,
    /// The calls in progress; dropped with the connection, they end.
    calls: JoinSet<(String, Option<Events>)>,
    ids: HashMap<Id, (Value, Option<Effect>)>,
    events: Option<Events>,
}

impl<I: AsyncRead + AsyncWrite + Send + Unpin + 'static> Connection<'_, I> {
    async fn run(mut self, mut heard: mpsc::Receiver<Heard>) -> Result<(), WebSocketError> {
        let hall = self.hall;
        let mut talk = Talk::new(Instant::now(), hall.limits);
        let mut closing = pin!(hall.closing());
        loop {
            while let Some(next) = talk.poll() {
                match next {
                    Do::Call { id, method, params } => self.call(id, method, params),
                    Do::Say(text) => self.say(&text).await?,
                    Do::Ping => self.write(Frame::new(true, OpCode::Ping, None, Payload::Borrowed(b""))).await?,
                    Do::Pong(payload) => self.write(Frame::pong(payload.into())).await?,
                    Do::Close(code, reason) => return self.close(code, reason).await,
                }
            }
            tokio::select! {
                biased;
                () = closing.as_mut() => {
                    let _ = timeout(hall.limits.grace, self.finish()).await;
                    return self.close(CloseCode::Away.into(), "the daemon stops").await;
                }
                Some(ended) = self.calls.join_next_with_id() => {
                    talk.ended();
                    self.reply(ended).await?;
                }
                message = heard.recv() => match message {
                    Some(message) => talk.heard(Instant::now(), message),
                    None => return Ok(()),
                },
                () = tokio::time::sleep_until(talk.deadline()) => talk.expire(Instant::now()),
                event = next(&mut self.events) => match event {
                    Some(event) => self.say(&event).await?,
                    None => self.events = None,
                },
            }
        }
    }

    fn call(&mut self, id: Value, method: String, params: Value) {
        let feed = Arc::new(Following::default());
        let caller = Caller { who: self.who.clone(), feed: Some(feed.clone()) };
        let effect = effect(&method);
        let known = effect.is_some();
        let hall = self.hall.clone();
        let reply_to = id.clone();
        let task = self.calls.spawn(async move {
            let outcome = hall.call(caller, &method, params).await;
            // What a call follows begins after its own reply, and not at all when it was refused.
            match outcome {
                Ok(_) => (frame::reply(&reply_to, &outcome), feed.take()),
                Err(error) if !known => (frame::error_reply(&reply_to, METHOD_NOT_FOUND, &error), None),
                Err(_) => (frame::reply(&reply_to, &outcome), None),
            }
        });
        self.ids.insert(task.id(), (id, effect));
    }

    async fn reply(
        &mut self,
        ended: Result<(Id, (String, Option<Events>)), tokio::task::JoinError>,
    ) -> Result<(), WebSocketError> {
        match ended {
            Ok((task, (text, events))) => {
                self.ids.remove(&task);
                self.say(&text).await?;
                if events.is_some() {
                    self.events = events;
                }
                Ok(())
            }
            Err(error) => {
                let (id, _) = self.ids.remove(&error.id()).unwrap_or_default();
                self.say(&frame::reply(&id, &Err(fault(&error)))).await
            }
        }
    }

    /// Waits for the calls that change something, and sends every reply there is. A call that reads is asked again by its
    /// client.
    async fn finish(&mut self) -> Result<(), WebSocketError> {
        while self.ids.values().any(|(_, effect)| matches!(effect, Some(Effect::Write | Effect::Destroy))) {
            match self.calls.join_next_with_id().await {
                Some(ended) => self.reply(ended).await?,
                None => break,
            }
        }
        while let Some(ended) = self.calls.try_join_next_with_id() {
            self.reply(ended).await?;
        }
        Ok(())
    }

    async fn say(&mut self, text: &str) -> Result<(), WebSocketError> {
        self.write(Frame::text(Payload::Borrowed(text.as_bytes()))).await
    }

    async fn close(&mut self, code: u16, reason: &str) -> Result<(), WebSocketError> {
        let grace = self.hall.limits.grace;
        match timeout(grace, self.write(Frame::close(code, reason.as_bytes()))).await {
            Ok(written) => written,
            Err(_) => Err(WebSocketError::ConnectionClosed),
        }
    }

    async fn write(&mut self, frame: Frame<'_>) -> Result<(), WebSocketError> {
        self.writer.write_frame(frame).await?;
        self.writer.flush().await
    }
}

/// The feed of one call: what it is to follow, kept until its reply is written.
#[derive(Default)]
struct Following {
    events: Mutex<Option<Events>>,
}

impl Following {
    fn take(&self) -> Option<Events> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Feed for Following {
    fn follow(&self, events: Events) {
        *self.events.lock().unwrap_or_else(PoisonError::into_inner) = Some(events);
    }
}

/// Returns the next event; never when nothing is followed.
async fn next(events: &mut Option<Events>) -> Option<Arc<str>> {
    poll_fn(|cx| match events {
        Some(events) => events.as_mut().poll_next(cx),
        None => std::task::Poll::Pending,
    })
    .await
}

/// What arrives.
enum Heard {
    Text(String),
    Binary,
    Ping(Vec<u8>),
    Pong,
    Closed(u16),
    Broken(u16, &'static str),
}

/// What is to be done about it.
enum Do {
    Call { id: Value, method: String, params: Value },
    Say(String),
    Ping,
    Pong(Vec<u8>),
    Close(u16, &'static str),
}

/// The decisions about one connection: what is a call, what is refused, when it is silent for too long.
struct Talk {
    limits: Limits,
    last_heard: Instant,
    pinged: bool,
    calls: usize,
    out: VecDeque<Do>,
}

impl Talk {
    fn new(now: Instant, limits: Limits) -> Talk {
        Talk { limits, last_heard: now, pinged: false, calls: 0, out: VecDeque::new() }
    }

    fn heard(&mut self, now: Instant, message: Heard) {
        self.last_heard = now;
        self.pinged = false;
        let next = match message {
            Heard::Text(text) => match frame::Frame::parse(&text) {
                Ok(frame::Frame::Call { id, .. }) if self.calls >= self.limits.calls => {
                    let error = ApiError::new(Code::Unavailable, "too many calls are in progress on this connection")
                        .hint("wait for replies, or open another connection");
                    Do::Say(frame::reply(&id, &Err(error)))
                }
                Ok(frame::Frame::Call { id, method, params }) => {
                    self.calls += 1;
                    Do::Call { id, method, params }
                }
                // JSON-RPC forbids to answer a notification, and nothing here listens to one.
                Ok(frame::Frame::Notification { .. } | frame::Frame::Reply { .. }) => return,
                Err(malformed) => Do::Say(malformed.reply()),
            },
            Heard::Binary => Do::Close(CloseCode::Unsupported.into(), "send JSON-RPC as text"),
            Heard::Ping(payload) => Do::Pong(payload),
            Heard::Pong => return,
            Heard::Closed(code) => Do::Close(code, ""),
            Heard::Broken(code, reason) => Do::Close(code, reason),
        };
        self.out.push_back(next);
    }

    fn ended(&mut self) {
        self.calls = self.calls.saturating_sub(1);
    }

    fn poll(&mut self) -> Option<Do> {
        self.out.pop_front()
    }

    fn deadline(&self) -> Instant {
        self.last_heard + if self.pinged { self.limits.idle } else { self.limits.ping }
    }

    fn expire(&mut self, now: Instant) {
        if now < self.deadline() {
            return;
        }
        if self.pinged {
            self.out.push_back(Do::Close(CloseCode::Policy.into(), "no sign of life"));
            self.last_heard = now;
        } else {
            self.pinged = true;
            self.out.push_back(Do::Ping);
        }
    }
}

/// Reads to the end of what can be understood, and swallows a bounded rest so that the peer reads why before it is cut.
async fn hear<R: AsyncRead + Unpin>(mut read: R, limit: usize, sender: mpsc::Sender<Heard>) {
    let last = {
        let (frames, _) = after_handshake_split(&mut read, tokio::io::sink(), Role::Server);
        listen(frames, limit, &sender).await
    };
    if let Some(last) = last
        && sender.send(last).await.is_ok()
    {
        drop(sender);
        let _ = tokio::io::copy(&mut read.take(2 * limit as u64), &mut tokio::io::sink()).await;
    }
}

/// Passes on whole messages, and returns how it ended when there is something to say about it.
async fn listen<R: AsyncRead + Unpin>(
    mut frames: WebSocketRead<R>,
    limit: usize,
    sender: &mpsc::Sender<Heard>,
) -> Option<Heard> {
    frames.set_auto_close(false);
    frames.set_auto_pong(false);
    frames.set_max_message_size(limit + 1);
    let mut never = |_: Frame<'_>| std::future::ready(Ok::<(), WebSocketError>(()));
    let mut message: Option<Message> = None;
    loop {
        let frame = match frames.read_frame(&mut never).await {
            Ok(frame) => frame,
            Err(error) => return broken(&error),
        };
        let heard = match frame.opcode {
            OpCode::Ping => Heard::Ping(frame.payload.to_vec()),
            OpCode::Pong => Heard::Pong,
            OpCode::Close => return Some(Heard::Closed(farewell(&frame.payload))),
            OpCode::Continuation if message.is_none() => {
                return Some(Heard::Broken(CloseCode::Protocol.into(), "a continuation of nothing"));
            }
            OpCode::Text | OpCode::Binary if message.is_some() => {
                return Some(Heard::Broken(CloseCode::Protocol.into(), "a message within a message"));
            }
            OpCode::Text | OpCode::Binary | OpCode::Continuation => {
                let text = frame.opcode == OpCode::Text;
                let so_far = message.get_or_insert(Message { text, bytes: Vec::new(), fragments: 0 });
                so_far.fragments += 1;
                if so_far.bytes.len() + frame.payload.len() > limit || so_far.fragments > FRAGMENTS {
                    return Some(too_large());
                }
                match so_far.bytes.is_empty() {
                    true => so_far.bytes = Vec::from(frame.payload),
                    false => so_far.bytes.extend_from_slice(&frame.payload),
                }
                if !frame.fin {
                    continue;
                }
                match message.take() {
                    Some(Message { text: true, bytes, .. }) => match String::from_utf8(bytes) {
                        Ok(text) => Heard::Text(text),
                        Err(_) => return Some(Heard::Broken(CloseCode::Invalid.into(), "not UTF-8")),
                    },
                    _ => Heard::Binary,
                }
            }
        };
        if sender.send(heard).await.is_err() {
            return None;
        }
    }
}

/// A message as far as it has arrived.
struct Message {
    text: bool,
    bytes: Vec<u8>,
    fragments: usize,
}

fn broken(error: &WebSocketError) -> Option<Heard> {
    match error {
        WebSocketError::UnexpectedEOF | WebSocketError::IoError(_) | WebSocketError::ConnectionClosed => None,
        WebSocketError::FrameTooLarge => Some(too_large()),
        WebSocketError::InvalidUTF8 => Some(Heard::Broken(CloseCode::Invalid.into(), "not UTF-8")),
        _ => Some(Heard::Broken(CloseCode::Protocol.into(), "not a WebSocket frame")),
    }
}

fn too_large() -> Heard {
    Heard::Broken(CloseCode::Size.into(), "the message is too large")
}

/// Returns the code to say goodbye with: the peer's own, where it may be said.
fn farewell(payload: &[u8]) -> u16 {
    match payload {
        [] => CloseCode::Normal.into(),
        [high, low, ..] => match CloseCode::from(u16::from_be_bytes([*high, *low])) {
            code if code.is_allowed() => code.into(),
            _ => CloseCode::Protocol.into(),
        },
        [_] => CloseCode::Protocol.into(),
    }
}

/// JSON-RPC's number for an operation that there is not.
const METHOD_NOT_FOUND: i64 = -32601;
/// How many fragments a message may come in: enough for the largest in pieces of half a KiB, too few to be endless.
const FRAGMENTS: usize = 1 << 16;
