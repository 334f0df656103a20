//! The stub's HTTP: who may come in, what is kept of it, and how an answer is written.

use std::collections::{BTreeSet, VecDeque};
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Frame, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Response};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::answer::{Answer, Refusal, answer};
use super::gates::Gates;
use super::reply::Piece;
use super::request::Request;

/// What all connections share.
#[derive(Default)]
pub(super) struct Door {
    pub(super) gates: Arc<Gates>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    key: Option<String>,
    unknown_models: BTreeSet<String>,
    requests: Vec<Request>,
}

/// Serves until it is dropped, and its connections with it.
pub(super) async fn listen(listener: TcpListener, door: Arc<Door>) {
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

impl Door {
    pub(super) fn require_key(&self, key: &str) {
        self.state.lock().expect("no panic").key = Some(key.to_owned());
    }

    pub(super) fn forget_model(&self, model: &str) {
        self.state.lock().expect("no panic").unknown_models.insert(model.to_owned());
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        self.state.lock().expect("no panic").requests.clone()
    }

    async fn serve(&self, request: hyper::Request<Incoming>) -> Response<Pieces> {
        let (head, body) = request.into_parts();
        let called = match (&head.method, head.uri.path()) {
            (&Method::HEAD, "/") => return self.response(200, JSON, Vec::new()),
            (&Method::POST, "/v1/messages") => Called::Message,
            (&Method::POST, "/v1/messages/count_tokens") => Called::Count,
            (method, path) => return self.refuse(&Refusal { status: 404, message: format!("{method} {path}") }),
        };
        let body = match Limited::new(body, LARGEST_REQUEST).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => return self.refuse(&Refusal { status: 413, message: error.to_string() }),
        };
        match called {
            Called::Message => self.message(&head.headers, &body).await,
            Called::Count => {
                let count = json!({ "input_tokens": body.len() / 4 }).to_string();
                self.response(200, JSON, vec![Piece::Write(count.into())])
            }
        }
    }

    async fn message(&self, headers: &HeaderMap, body: &[u8]) -> Response<Pieces> {
        let request: Request = match serde_json::from_slice(body) {
            Ok(request) => request,
            Err(error) => return self.refuse(&Refusal { status: 400, message: error.to_string() }),
        };
        let (model, stream) = (request.model.clone(), request.stream);
        let reply = match self.decide(headers, request) {
            Answer::Reply(reply) => reply,
            Answer::Later(name, reply) => {
                self.gates.pass(&name).await;
                reply
            }
            Answer::Refusal(refusal) => return self.refuse(&refusal),
        };
        // The program knows tool calls by their ids, and keeps them when it meets another stub.
        let id = Uuid::new_v4().simple().to_string();
        if stream {
            self.response(200, "text/event-stream; charset=utf-8", reply.stream(&id, &model))
        } else {
            self.response(200, JSON, reply.whole(&id, &model))
        }
    }

    fn decide(&self, headers: &HeaderMap, request: Request) -> Answer {
        let state = &mut *self.state.lock().expect("no panic");
        if state.requests.len() == MOST_REQUESTS {
            return Answer::Refusal(Refusal { status: 400, message: "more requests than a test makes".to_owned() });
        }
        let answer = if state.key.as_deref().is_some_and(|key| shown(headers) != Some(key)) {
            Answer::Refusal(Refusal { status: 401, message: "invalid x-api-key".to_owned() })
        } else if state.unknown_models.contains(&request.model) {
            Answer::Refusal(Refusal { status: 404, message: format!("model: {}", request.model) })
        } else {
            let earlier = state.requests.iter().filter(|earlier| earlier.messages == request.messages).count();
            answer(&request, earlier)
        };
        state.requests.push(request);
        answer
    }

    fn refuse(&self, refusal: &Refusal) -> Response<Pieces> {
        let Refusal { status, message } = refusal;
        let error = json!({
            "type": "error",
            "error": { "type": error_type(*status), "message": message },
            "request_id": "req_stub",
        });
        self.response(*status, JSON, vec![Piece::Write(error.to_string().into())])
    }

    fn response(&self, status: u16, content_type: &str, pieces: Vec<Piece>) -> Response<Pieces> {
        let pieces = Pieces { left: pieces.into(), gates: self.gates.clone(), pause: None };
        let response = Response::builder().status(status).header(CONTENT_TYPE, content_type);
        response.header("request-id", "req_stub").body(pieces).expect("a status and plain headers")
    }
}

/// What a request is for.
enum Called {
    Message,
    Count,
}

/// Returns the key that a caller shows.
fn shown(headers: &HeaderMap) -> Option<&str> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    text("x-api-key").or_else(|| text(AUTHORIZATION.as_str())?.strip_prefix("Bearer "))
}

fn error_type(status: u16) -> &'static str {
    match status {
        400 => "invalid_request_error",
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        504 => "timeout_error",
        529 => "overloaded_error",
        _ => "api_error",
    }
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

const JSON: &str = "application/json";

/// More than a program with subagents opens at a time.
const MOST_CONNECTIONS: usize = 64;

/// More than a test needs, and few enough to keep.
const MOST_REQUESTS: usize = 512;

/// As much as the API itself takes.
const LARGEST_REQUEST: usize = 32 << 20;
