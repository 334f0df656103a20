//! A house with doors, and raw callers at them.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use fastwebsockets::{Frame, OpCode, Payload, Role, WebSocket};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper::{HeaderMap, Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use paseo_daemon::config::Listen;
use paseo_daemon::server::{Doors, Limits, Server};
use paseo_daemon::token::Tokens;
use paseo_sdk::machine::connection;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::canned::Canned;

/// The user's token in these tests.
pub(crate) const TOKEN: &str = "the-token-of-the-user";

/// A server with canned answers in a directory of its own.
pub(crate) struct House {
    pub(crate) server: Server,
    pub(crate) service: Arc<Canned>,
    pub(crate) tokens: Tokens,
    pub(crate) directory: TempDir,
}

impl House {
    pub(crate) async fn open() -> House {
        House::with(Limits::default(), |_| {}).await
    }

    pub(crate) async fn with(limits: Limits, change: impl FnOnce(&mut Doors)) -> House {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let tokens = Tokens::new(TOKEN, "a secret");
        let mut doors = Doors {
            listen: Some(Listen::Tcp { host: "127.0.0.1".to_owned(), port: 0 }),
            socket: directory.path().join("paseo.sock"),
            tokens: tokens.clone(),
            hosts: vec!["paseo.example".to_owned()],
            origins: vec!["https://app.example".to_owned()],
            limits,
        };
        change(&mut doors);
        let service = Arc::new(Canned::default());
        let server = Server::start(service.clone(), doors).await.expect("the socket can be opened");
        House { server, service, tokens, directory }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("paseo.sock")
    }

    pub(crate) fn address(&self) -> &str {
        self.server.listen.iter().find(|listen| !listen.starts_with("unix:")).expect("it listens on TCP")
    }

    pub(crate) async fn tcp(&self) -> TcpStream {
        TcpStream::connect(self.address()).await.expect("it accepts")
    }

    pub(crate) async fn unix(&self) -> UnixStream {
        UnixStream::connect(self.socket()).await.expect("it accepts")
    }

    /// Calls over TCP with the user's token.
    pub(crate) async fn call(&self, operation: &str, body: &str) -> Reply {
        let headers = [("authorization", format!("Bearer {TOKEN}"))];
        request(self.tcp().await, Method::POST, &format!("/api/{operation}"), &headers, body).await
    }
}

/// The usual limits, but for the bytes of a message.
pub(crate) fn messages_of(message: usize) -> Limits {
    Limits { connection: connection::Limits { message, ..connection::Limits::default() }, ..Limits::default() }
}

/// What came back over HTTP.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

/// Sends one request with `localhost` as its host unless the headers say otherwise.
pub(crate) async fn request<I>(io: I, method: Method, path: &str, headers: &[(&str, String)], body: &str) -> Reply
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await.expect("a connection");
    let mut request = Request::builder().method(method).uri(path);
    if !headers.iter().any(|(name, _)| *name == "host") {
        request = request.header("host", "localhost");
    }
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    let request = request.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).expect("a request");
    let response = async move {
        let response = sender.send_request(request).await.expect("a response");
        let (head, body) = response.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        Reply {
            status: head.status,
            headers: head.headers,
            body: serde_json::from_slice(&body).unwrap_or_else(|_| panic!("not JSON: {body:?}")),
        }
    };
    let (response, _) = tokio::join!(response, connection);
    response
}

/// Writes bytes and reads what comes back until the other side closes.
pub(crate) async fn raw(mut io: impl AsyncRead + AsyncWrite + Unpin, bytes: &[u8]) -> String {
    io.write_all(bytes).await.expect("it takes the bytes");
    let mut answer = Vec::new();
    // A reset after the answer is as good an end as any.
    let _ = io.read_to_end(&mut answer).await;
    String::from_utf8(answer).expect("UTF-8")
}

/// A WebSocket client that looks at frames.
pub(crate) struct Socket<I> {
    pub(crate) ws: WebSocket<I>,
    /// The head of the answer to the handshake.
    pub(crate) head: String,
}

/// What a frame says.
#[derive(Debug, PartialEq)]
pub(crate) enum Got {
    Text(String),
    Pong(Vec<u8>),
    Ping,
    Close(u16),
    End,
}

impl<I: AsyncRead + AsyncWrite + Unpin> Socket<I> {
    /// Opens a WebSocket, with more header lines.
    pub(crate) async fn open(mut io: I, headers: &str) -> io::Result<Socket<I>> {
        let request = format!(
            "GET /ws HTTP/1.1\r\nhost: localhost\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
        );
        io.write_all(request.as_bytes()).await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(io.read_u8().await?);
        }
        let head = String::from_utf8(head).expect("UTF-8");
        let mut ws = WebSocket::after_handshake(io, Role::Client);
        ws.set_auto_close(false);
        ws.set_auto_pong(false);
        Ok(Socket { ws, head })
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.frame(true, OpCode::Text, text.as_bytes()).await;
    }

    pub(crate) async fn frame(&mut self, fin: bool, opcode: OpCode, payload: &[u8]) {
        let frame = Frame::new(fin, opcode, None, Payload::Owned(payload.to_vec()));
        self.ws.write_frame(frame).await.expect("it takes the frame");
    }

    pub(crate) async fn call(&mut self, id: i64, method: &str, params: Value) {
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }).to_string()).await;
    }

    pub(crate) async fn next(&mut self) -> Got {
        let Ok(frame) = self.ws.read_frame().await else { return Got::End };
        match frame.opcode {
            OpCode::Text => Got::Text(String::from_utf8(frame.payload.to_vec()).expect("UTF-8")),
            OpCode::Pong => Got::Pong(frame.payload.to_vec()),
            OpCode::Ping => Got::Ping,
            OpCode::Close => Got::Close(u16::from_be_bytes([frame.payload[0], frame.payload[1]])),
            other => panic!("an unexpected {other:?}"),
        }
    }

    /// The next frame as JSON.
    pub(crate) async fn json(&mut self) -> Value {
        match self.next().await {
            Got::Text(text) => serde_json::from_str(&text).expect("JSON"),
            other => panic!("not a message: {other:?}"),
        }
    }
}
