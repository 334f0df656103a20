//! A stub's HTTP: who may come in, what is kept of it, and how an answer is written.

use std::collections::{BTreeSet, VecDeque};
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::Response;
use hyper::body::{Body, Frame, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::gates::Gates;
use super::{Answer, Called, JSON, Piece, Protocol, Refusal, Written};

/// What all connections share.
pub(crate) struct Door<P: Protocol> {
    pub(crate) gates: Arc<Gates>,
    state: Mutex<State<P::Request>>,
}

struct State<R> {
    key: Option<String>,
    unknown_models: BTreeSet<String>,
    requests: Vec<R>,
}

impl<P: Protocol> Default for Door<P> {
    fn default() -> Door<P> {
        let state = State { key: None, unknown_models: BTreeSet::new(), requests: Vec::new() };
        Door { gates: Arc::default(), state: Mutex::new(state) }
    }
}

/// Serves until it is dropped, and its connections with it.
pub(crate) async fn listen<P: Protocol>(listener: TcpListener, door: Arc<Door<P>>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        if connections.len() == MOST_CONNECTIONS {
            connections.join_next().await;
        }
        let Ok((stream, _)) = listener.accept().await else { return };
        let door = door.clone();
        connections.spawn(async move {
            let service = service_fn(|request| {
                let door = door.clone();
                async move { Ok::<_, Infallible>(door.serve(request).await) }
            });
            // A program that hangs up, or is hung up on as its script wants, is no failure of the stub.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

impl<P: Protocol> Door<P> {
    pub(crate) fn require_key(&self, key: &str) {
        self.state.lock().expect("no panic").key = Some(key.to_owned());
    }

    pub(crate) fn forget_model(&self, model: &str) {
        self.state.lock().expect("no panic").unknown_models.insert(model.to_owned());
    }

    pub(crate) fn requests(&self) -> Vec<P::Request> {
        self.state.lock().expect("no panic").requests.clone()
    }

    async fn serve(&self, request: hyper::Request<Incoming>) -> Response<Pieces> {
        let (head, body) = request.into_parts();
        let called = P::called(&head);
        if let Called::Nothing(refusal) = called {
            return self.refuse(&refusal);
        }
        let body = match Limited::new(body, LARGEST_REQUEST).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => return self.refuse(&Refusal { status: 413, message: error.to_string() }),
        };
        match called {
            Called::Model => self.ask(&head.headers, &body).await,
            Called::Plain(answer) => self.response(200, JSON, vec![Piece::Write(answer(&body).into())]),
            Called::Nothing(refusal) => self.refuse(&refusal),
        }
    }

    async fn ask(&self, headers: &HeaderMap, body: &[u8]) -> Response<Pieces> {
        let request = match serde_json::from_slice(body) {
            Ok(request) => request,
            Err(error) => return self.refuse(&Refusal { status: 400, message: error.to_string() }),
        };
        let Written { content_type, pieces } = match self.decide(headers, request) {
            Answer::Reply(reply) => reply,
            Answer::Later(name, reply) => {
                self.gates.pass(&name).await;
                reply
            }
            Answer::Refusal(refusal) => return self.refuse(&refusal),
        };
        self.response(200, content_type, pieces)
    }

    fn decide(&self, headers: &HeaderMap, request: P::Request) -> Answer<Written> {
        let state = &mut *self.state.lock().expect("no panic");
        if state.requests.len() == MOST_REQUESTS {
            return Answer::Refusal(Refusal { status: 400, message: "more requests than a test makes".to_owned() });
        }
        let answer = if state.key.as_deref().is_some_and(|key| shown(headers) != Some(key)) {
            Answer::Refusal(Refusal { status: 401, message: P::WRONG_KEY.to_owned() })
        } else if state.unknown_models.contains(P::model(&request)) {
            Answer::Refusal(Refusal { status: 404, message: P::unknown(P::model(&request)) })
        } else {
            P::answer(&request, state.requests.iter().filter(|earlier| P::again(earlier, &request)).count())
        };
        state.requests.push(request);
        answer
    }

    fn refuse(&self, refusal: &Refusal) -> Response<Pieces> {
        self.response(refusal.status, JSON, vec![Piece::Write(P::error(refusal).to_string().into())])
    }

    fn response(&self, status: u16, content_type: &str, pieces: Vec<Piece>) -> Response<Pieces> {
        let pieces = Pieces { left: pieces.into(), gates: self.gates.clone(), pause: None };
        let response = Response::builder().status(status).header(CONTENT_TYPE, content_type);
        response.header(P::REQUEST_ID, "req_stub").body(pieces).expect("a status and plain headers")
    }
}

/// Returns the key that a caller shows.
fn shown(headers: &HeaderMap) -> Option<&str> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    text("x-api-key").or_else(|| text(AUTHORIZATION.as_str())?.strip_prefix("Bearer "))
}

/// A body that is written piece by piece.
struct Pieces {
    left: VecDeque<Piece>,
    gates: Arc<Gates>,
    pause: Option<Pause>,
}

/// What the next piece waits for.
type Pause = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        loop {
            let paused = self.pause.is_some();
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(context));
                self.pause = None;
            }
            match self.left.pop_front() {
                Some(Piece::Write(bytes)) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
                Some(Piece::Wait(name)) => {
                    let gates = self.gates.clone();
                    self.pause = Some(Box::pin(async move { gates.pass(&name).await }));
                }
                Some(Piece::Cut) if paused => return Poll::Ready(Some(Err(io::ErrorKind::ConnectionAborted.into()))),
                Some(Piece::Cut) => {
                    // What was written leaves at the next pause; without one it would be cut off too.
                    self.left.push_front(Piece::Cut);
                    self.pause = Some(Box::pin(tokio::task::yield_now()));
                }
                None => return Poll::Ready(None),
            }
        }
    }
}

/// More than a program with subagents opens at a time.
const MOST_CONNECTIONS: usize = 64;

/// More than a test needs, and few enough to keep.
const MOST_REQUESTS: usize = 512;

/// As much as the API itself takes.
const LARGEST_REQUEST: usize = 32 << 20;
