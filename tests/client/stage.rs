//! A stage for the client: the test plays the daemon, connection by connection.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use fastwebsockets::{Frame, OpCode, Payload, WebSocket, upgrade};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::AUTHORIZATION;
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use paseo_sdk::catalogue::{ListAgents, WatchAgents, WatchFrom};
use paseo_sdk::client::{Client, Connect, Connecting, Watch};
use paseo_sdk::error::ApiError;
use paseo_sdk::frame;
use paseo_sdk::model::Event;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

/// A daemon as a test plays it: its connections come to [`Daemon::accept`].
pub(super) struct Daemon {
    stage: Stage,
    peers: mpsc::UnboundedReceiver<Peer>,
}

/// What becomes of a connection.
#[derive(Clone)]
pub(super) enum Plan {
    Fail,
    Refuse(u16, String),
}

#[derive(Clone)]
struct Stage(Arc<Shared>);

struct Shared {
    peers: mpsc::UnboundedSender<Peer>,
    plans: Mutex<VecDeque<Plan>>,
    attempts: Mutex<usize>,
    bearer: Mutex<Option<String>>,
}

pub(super) fn stage() -> (Client, Daemon) {
    let (sender, peers) = mpsc::unbounded_channel();
    let shared =
        Shared { peers: sender, plans: Mutex::default(), attempts: Mutex::default(), bearer: Mutex::default() };
    let stage = Stage(Arc::new(shared));
    (Client::over(stage.clone()), Daemon { stage, peers })
}

impl Connect for Stage {
    fn connect(&self) -> Connecting<'_> {
        Box::pin(async {
            *self.0.attempts.lock().expect("no test panics with it") += 1;
            let mut plans = self.0.plans.lock().expect("no test panics with it");
            if let Some(Plan::Fail) = plans.front() {
                plans.pop_front();
                return Err(io::Error::new(io::ErrorKind::ConnectionRefused, "nobody listens"));
            }
            let (near, far) = tokio::io::duplex(64 << 10);
            tokio::spawn(self.clone().serve(far));
            Ok(Box::new(near) as _)
        })
    }
}

impl Stage {
    /// Serves one connection until it is upgraded, or to its end.
    async fn serve(self, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) {
        let service = service_fn(|request| self.respond(request));
        let http = hyper::server::conn::http1::Builder::new();
        // A connection that ends early is a test's intention.
        let _ = http.serve_connection(TokioIo::new(stream), service).with_upgrades().await;
    }

    async fn respond(&self, mut request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
        let bearer = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        *self.0.bearer.lock().expect("no test panics with it") = bearer.map(str::to_owned);
        assert_eq!(request.uri(), "/ws");
        if let Some(Plan::Refuse(status, body)) = self.0.plans.lock().expect("no test panics with it").pop_front() {
            let response = Response::builder().status(status).body(Full::from(body));
            return Ok(response.expect("it is a response"));
        }
        let (response, socket) = upgrade::upgrade(&mut request).expect("it is an upgrade");
        let peers = self.0.peers.clone();
        tokio::spawn(async move {
            if let Ok(mut socket) = socket.await {
                socket.set_auto_close(false);
                let _ = peers.send(Peer { socket });
            }
        });
        Ok(response.map(|_| Full::default()))
    }
}

impl Daemon {
    /// Says what becomes of the next connections; those after them are accepted.
    pub(super) fn plan(&self, plans: &[Plan]) {
        self.stage.0.plans.lock().expect("no test panics with it").extend(plans.iter().cloned());
    }

    pub(super) fn attempts(&self) -> usize {
        *self.stage.0.attempts.lock().expect("no test panics with it")
    }

    pub(super) fn bearer(&self) -> Option<String> {
        self.stage.0.bearer.lock().expect("no test panics with it").clone()
    }

    pub(super) async fn accept(&mut self) -> Peer {
        self.peers.recv().await.expect("the stage is held")
    }

    pub(super) async fn host(&mut self, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Peer {
        tokio::spawn(self.stage.clone().serve(stream));
        self.accept().await
    }
}

/// The daemon's end of one connection. Dropped, it is cut.
pub(super) struct Peer {
    socket: WebSocket<TokioIo<Upgraded>>,
}

pub(super) struct Call {
    pub(super) id: Value,
    pub(super) method: String,
    pub(super) params: Value,
}

impl Peer {
    pub(super) async fn frame(&mut self) -> Option<Frame<'static>> {
        self.socket.read_frame().await.ok()
    }

    /// Waits for the next call.
    pub(super) async fn call(&mut self) -> Call {
        loop {
            let frame = self.frame().await.expect("the connection is open");
            if frame.opcode == OpCode::Text {
                let text = std::str::from_utf8(&frame.payload).expect("text is UTF-8");
                match frame::Frame::parse(text) {
                    Ok(frame::Frame::Call { id, method, params }) => return Call { id, method, params },
                    other => panic!("not a call: {other:?}"),
                }
            }
        }
    }

    /// Waits for the end of the connection, and returns what the client says to it.
    pub(super) async fn closed(&mut self) -> Option<(u16, String)> {
        loop {
            let frame = self.frame().await?;
            if frame.opcode == OpCode::Close {
                let code = u16::from_be_bytes([frame.payload[0], frame.payload[1]]);
                return Some((code, String::from_utf8_lossy(&frame.payload[2..]).into_owned()));
            }
        }
    }

    /// Writes a frame; the client may have gone, which its tests look at elsewhere.
    pub(super) async fn write(&mut self, frame: Frame<'_>) {
        let _ = self.socket.write_frame(frame).await;
    }

    pub(super) async fn say(&mut self, text: &str) {
        self.write(Frame::text(Payload::Borrowed(text.as_bytes()))).await;
    }

    pub(super) async fn answer(&mut self, call: &Call, result: Value) {
        self.say(&frame::reply(&call.id, &Ok(result))).await;
    }

    pub(super) async fn refuse(&mut self, call: &Call, error: ApiError) {
        self.say(&frame::reply(&call.id, &Err(error))).await;
    }

    pub(super) async fn event(&mut self, event: Value) {
        let method = event["method"].as_str().expect("an event has a name");
        self.say(&frame::notification(method, &event["params"].to_string())).await;
    }

    /// Sends an entry of agent `a1`.
    pub(super) async fn entry(&mut self, seq: i64) {
        self.event(json!({"method": "agent_entry", "params": {"agentId": "a1", "entry": entry(seq)}})).await;
    }
}

/// A watch that is read all the time.
pub(super) struct Watching {
    pub(super) events: mpsc::UnboundedReceiver<Event>,
}

impl Watching {
    pub(super) fn begin(mut watch: Watch) -> Watching {
        let (sender, events) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(event) = watch.next().await {
                if sender.send(event.expect("the watch goes on")).is_err() {
                    return;
                }
            }
        });
        Watching { events }
    }

    /// Returns the numbers of the next entries.
    pub(super) async fn seqs(&mut self, count: usize) -> Vec<i64> {
        let mut seqs = Vec::new();
        while seqs.len() < count {
            match self.events.recv().await {
                Some(Event::AgentEntry { entry, .. }) => seqs.push(entry.seq),
                Some(_) => {}
                None => break,
            }
        }
        seqs
    }

    /// Returns the next agent that is removed.
    pub(super) async fn removed(&mut self) -> String {
        loop {
            match self.events.recv().await {
                Some(Event::AgentRemoved { agent_id }) => return agent_id.to_string(),
                Some(_) => {}
                None => panic!("the watch is over"),
            }
        }
    }
}

pub(super) fn all() -> ListAgents {
    ListAgents::default()
}

pub(super) fn follow(name: &str) -> WatchAgents {
    WatchAgents { agents: Some(vec![WatchFrom { agent_id: name.into(), after: 0 }]) }
}

pub(super) fn open(text: &[u8]) -> Frame<'static> {
    Frame::new(false, OpCode::Text, None, text.to_vec().into())
}

pub(super) fn outcome(agent: &Value, outcome: Value) -> Value {
    json!({"agentId": agent, "status": "running", "outcome": outcome})
}

pub(super) fn watching(entries: std::ops::RangeInclusive<i64>, last: i64) -> Value {
    json!({"agents": [watched("a1", entries, last)]})
}

pub(super) fn watched(name: &str, seqs: std::ops::RangeInclusive<i64>, last: i64) -> Value {
    json!({"agent": agent(name, last), "entries": entries(seqs)})
}

pub(super) fn entries(seqs: std::ops::RangeInclusive<i64>) -> Vec<Value> {
    seqs.map(entry).collect()
}

pub(super) fn entry(seq: i64) -> Value {
    json!({"seq": seq, "at": "2025-01-01T00:00:00Z", "type": "notice", "text": "something happened"})
}

pub(super) fn agent(name: &str, last: i64) -> Value {
    json!({
        "agentId": name, "title": "a title", "provider": "shell", "mode": "default", "cwd": "/", "status": "running",
        "lastSeq": last, "createdAt": "2025-01-01T00:00:00Z", "updatedAt": "2025-01-01T00:00:00Z",
    })
}
