//! The WebSocket: JSON-RPC 2.0 calls in, replies, progress and events out.
//!
//! The machine [`Connection`] decides; here it is carried out. One task owns a connection and everything on it, and does one thing at a time: while a write waits for a slow peer, no
//! event is asked for and no message taken in, so a peer that never reads costs one message of each. Only reading has a
//! task of its own, because a frame that is read halfway must be read to its end.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fastwebsockets::{
    CloseCode, Frame, OpCode, Payload, Role, WebSocketError, WebSocketRead, WebSocketWrite, after_handshake_split,
};
use futures_core::Stream;
use paseo_sdk::error::ApiError;
use paseo_sdk::machine::Machine;
use paseo_sdk::machine::connection::{Connection, Fault, Input, Output, Side, Token};
use paseo_sdk::model::{Progress, Timestamp};
use paseo_sdk::operation::{Caller, Effect, Feed, Principal, Reporter};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, WriteHalf};
use tokio::sync::{Notify, mpsc};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, timeout};

use super::{Hall, effect, fault};

/// Serves one WebSocket to its end.
pub(super) async fn serve<I>(hall: Arc<Hall>, io: I, who: Principal)
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (read, write) = tokio::io::split(io);
    let (_, writer) = after_handshake_split(tokio::io::empty(), write, Role::Server);
    let (sender, heard) = mpsc::channel(1);
    let mut reader = JoinSet::new();
    reader.spawn(hear(read, hall.limits.connection.message, sender));
    let owner = Owner {
        hall: &hall,
        who,
        writer,
        torn: false,
        began: Instant::now(),
        machine: Connection::new(Side::Server, hall.limits.connection, Timestamp(0)),
        calls: JoinSet::new(),
        running: HashMap::new(),
        news: Arc::default(),
        events: None,
    };
    if let Err(error) = owner.run(heard).await {
        tracing::debug!("a WebSocket ended: {error}");
    }
    // The peer's own goodbye, or the end of what it was still sending: cut off at once, it may not see ours.
    let _ = timeout(hall.limits.grace, reader.join_next()).await;
}

type Events = Pin<Box<dyn Stream<Item = Arc<str>> + Send>>;

/// The owner of one connection.
struct Owner<'a, I> {
    hall: &'a Arc<Hall>,
    who: Principal,
    writer: WebSocketWrite<WriteHalf<I>>,
    /// Whether a write was given up halfway.
    torn: bool,
    /// When the machine's time was 0: the clock on the wall may jump. Its time stands still while a write waits, since a
    /// peer that is slow to read is not silent.
    began: Instant,
    machine: Connection,
    /// The calls in progress; dropped with the connection, they end.
    calls: JoinSet<Ended>,
    running: HashMap<Id, Running>,
    /// Told when a call has said how far it is.
    news: Arc<Notify>,
    events: Option<Events>,
}

/// A call in progress.
struct Running {
    token: Token,
    effect: Option<Effect>,
    feed: Arc<CallFeed>,
}

/// What came of a call, and what it follows.
type Ended = (Result<Value, ApiError>, Option<Events>);

impl<I: AsyncRead + AsyncWrite + Send + Unpin + 'static> Owner<'_, I> {
    async fn run(mut self, mut heard: mpsc::Receiver<Input>) -> Result<(), WebSocketError> {
        let hall = self.hall;
        let mut closing = pin!(hall.closing());
        while !self.machine.is_closed() {
            let due = self.machine.deadline().map(|due| self.instant(due));
            tokio::select! {
                biased;
                () = closing.as_mut() => {
                    let _ = timeout(hall.limits.grace, self.finish()).await;
                    self.tell(Input::Close { code: CloseCode::Away.into(), reason: "the daemon stops" }).await?;
                }
                Some(ended) = self.calls.join_next_with_id() => self.reply(ended).await?,
                input = heard.recv() => self.tell(input.unwrap_or(Input::Gone)).await?,
                () = until(due) => {
                    self.machine.expire(self.now());
                    self.carry_out().await?;
                }
                event = next(&mut self.events) => match event {
                    Some(event) => self.say(&event).await?,
                    None => self.events = None,
                },
                () = self.news.notified() => self.report().await?,
            }
        }
        Ok(())
    }

    /// Tells the machine something and does what it asks for.
    async fn tell(&mut self, input: Input) -> Result<(), WebSocketError> {
        if let Err(refusal) = self.machine.handle(self.now(), input) {
            tracing::debug!("a WebSocket went on after its end: {refusal}");
        }
        self.carry_out().await
    }

    async fn carry_out(&mut self) -> Result<(), WebSocketError> {
        while let Some(output) = self.machine.poll() {
            match output {
                Output::Send { text, .. } => self.say(&text).await?,
                Output::Ping => self.write(Frame::new(true, OpCode::Ping, None, Payload::Borrowed(b""))).await?,
                Output::Pong(payload) => self.write(Frame::pong(payload.into())).await?,
                Output::Serve { token, method, params } => self.call(token, method, params),
                Output::Close { code, reason } => {
                    let grace = self.hall.limits.grace;
                    let goodbye = self.write(Frame::close(code, reason.as_bytes()));
                    return timeout(grace, goodbye).await.unwrap_or(Ok(()));
                }
                Output::Answer { .. } | Output::Progress { .. } | Output::Cut { .. } | Output::Event { .. } => {
                    tracing::debug!("a server has nobody to tell that");
                }
            }
        }
        Ok(())
    }

    fn call(&mut self, token: Token, method: String, params: Value) {
        let feed = Arc::new(CallFeed::default());
        let (told, news) = (feed.clone(), self.news.clone());
        let reporter = Reporter::new(move |progress| {
            told.report(progress);
            news.notify_one();
        });
        let caller = Caller { who: self.who.clone(), feed: Some(feed.clone()), reporter };
        let effect = effect(&method);
        let hall = self.hall.clone();
        let following = feed.clone();
        let task = self.calls.spawn(async move {
            let outcome = hall.call(caller, &method, params).await;
            // A call that was refused follows nothing.
            let events = following.take_events().filter(|_| outcome.is_ok());
            (outcome, events)
        });
        self.running.insert(task.id(), Running { token, effect, feed });
    }

    /// Tells the machine how far each call is that has said something new.
    async fn report(&mut self) -> Result<(), WebSocketError> {
        let now = self.now();
        for call in self.running.values() {
            if let Some(progress) = call.feed.take_progress()
                && let Err(refusal) = self.machine.handle(now, Input::Progress { token: call.token, progress })
            {
                tracing::debug!("nobody is told how far a call is: {refusal}");
            }
        }
        self.carry_out().await
    }

    async fn reply(&mut self, ended: Result<(Id, Ended), JoinError>) -> Result<(), WebSocketError> {
        let (task, (result, events)) = match ended {
            Ok(ended) => ended,
            Err(error) => (error.id(), (Err(fault(&error)), None)),
        };
        let Some(Running { token, .. }) = self.running.remove(&task) else { return Ok(()) };
        self.tell(Input::Reply { token, result }).await?;
        // What a call follows begins after its own reply.
        if events.is_some() {
            self.events = events;
        }
        Ok(())
    }

    /// Waits for the calls that change something, and sends every reply there is. A call that reads is asked again by its
    /// client.
    async fn finish(&mut self) -> Result<(), WebSocketError> {
        while self.running.values().any(|call| matches!(call.effect, Some(Effect::Write | Effect::Destroy))) {
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

    async fn write(&mut self, frame: Frame<'_>) -> Result<(), WebSocketError> {
        // After half a frame anything more would be read as its other half.
        if std::mem::replace(&mut self.torn, true) {
            return Err(WebSocketError::ConnectionClosed);
        }
        let before = Instant::now();
        self.writer.write_frame(frame).await?;
        self.writer.flush().await?;
        self.began += before.elapsed();
        self.torn = false;
        Ok(())
    }

    fn now(&self) -> Timestamp {
        Timestamp(i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX))
    }

    fn instant(&self, time: Timestamp) -> Instant {
        self.began + Duration::from_millis(u64::try_from(time.0).unwrap_or(0))
    }
}

/// What one call has to say beside its reply.
#[derive(Default)]
struct CallFeed {
    /// What it is to follow, kept until its reply is written.
    events: Mutex<Option<Events>>,
    /// How far it is: the newest, kept until the connection has time for it.
    progress: Mutex<Option<Progress>>,
}

impl CallFeed {
    fn take_events(&self) -> Option<Events> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn report(&self, progress: Progress) {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = Some(progress);
    }

    fn take_progress(&self) -> Option<Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Feed for CallFeed {
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

/// Returns when it is time; never when nothing is due.
async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// Reads to the end of what can be understood, and swallows a bounded rest so that the peer reads why before it is cut.
async fn hear<R: AsyncRead + Unpin>(mut read: R, limit: usize, sender: mpsc::Sender<Input>) {
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
    sender: &mpsc::Sender<Input>,
) -> Option<Input> {
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
            OpCode::Ping => Input::Ping(frame.payload.to_vec()),
            OpCode::Pong => Input::Pong,
            OpCode::Close => return Some(Input::Close { code: farewell(&frame.payload), reason: "" }),
            // A continuation of nothing, or a message within a message.
            OpCode::Continuation if message.is_none() => return Some(Input::Unreadable(Fault::Protocol)),
            OpCode::Text | OpCode::Binary if message.is_some() => return Some(Input::Unreadable(Fault::Protocol)),
            OpCode::Text | OpCode::Binary | OpCode::Continuation => {
                let text = frame.opcode == OpCode::Text;
                let so_far = message.get_or_insert(Message { text, bytes: Vec::new(), fragments: 0 });
                so_far.fragments += 1;
                if so_far.bytes.len() + frame.payload.len() > limit || so_far.fragments > FRAGMENTS {
                    return Some(Input::Unreadable(Fault::TooLarge));
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
                        Ok(text) => Input::Text(text),
                        Err(_) => return Some(Input::Unreadable(Fault::NotUtf8)),
                    },
                    _ => return Some(Input::Unreadable(Fault::Binary)),
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

fn broken(error: &WebSocketError) -> Option<Input> {
    match error {
        WebSocketError::UnexpectedEOF | WebSocketError::IoError(_) | WebSocketError::ConnectionClosed => None,
        WebSocketError::FrameTooLarge => Some(Input::Unreadable(Fault::TooLarge)),
        WebSocketError::InvalidUTF8 => Some(Input::Unreadable(Fault::NotUtf8)),
        _ => Some(Input::Unreadable(Fault::Protocol)),
    }
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

/// How many fragments a message may come in: enough for the largest in pieces of half a KiB, too few to be endless.
const FRAGMENTS: usize = 1 << 16;
