//! A client of the protocol that looks at every message: over pipes to `paseo mcp`, or to its loop within this process.

use std::process::Stdio;
use std::time::Duration;

use paseo_sdk::Client;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use crate::lab::PASEO;

/// One conversation.
pub(super) struct Wire {
    input: Box<dyn AsyncWrite + Unpin + Send>,
    lines: Lines<BufReader<Box<dyn AsyncRead + Unpin + Send>>>,
}

impl Wire {
    /// Starts `paseo mcp`, with these variables besides, and greets it.
    pub(super) async fn program(env: &[(&str, &str)]) -> (Wire, Child) {
        let mut command = Command::new(PASEO);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PASEO_")) {
            command.env_remove(name);
        }
        command.arg("mcp").envs(env.iter().copied()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().expect("the program starts");
        let (input, output) = (child.stdin.take().expect("it is piped"), child.stdout.take().expect("it is piped"));
        let mut wire = Wire::over(input, output);
        wire.greet().await;
        (wire, child)
    }

    /// Runs the loop of `paseo mcp` in this process, and greets it.
    pub(super) async fn within(daemon: Client, beat: Duration) -> (Wire, JoinHandle<()>) {
        let (input, theirs) = tokio::io::duplex(1 << 20);
        let (their_output, output) = tokio::io::duplex(1 << 20);
        let loops = tokio::spawn(paseo_daemon::bridge::mcp::talk(theirs, their_output, daemon, beat));
        let mut wire = Wire::over(input, output);
        wire.greet().await;
        (wire, loops)
    }

    fn over(input: impl AsyncWrite + Unpin + Send + 'static, output: impl AsyncRead + Unpin + Send + 'static) -> Wire {
        Wire { input: Box::new(input), lines: BufReader::new(Box::new(output) as Box<_>).lines() }
    }

    async fn greet(&mut self) {
        let client = json!({ "name": "a test", "version": "1" });
        let params = json!({ "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client });
        self.ask(0, "initialize", params).await;
        let greeting = self.answer(0).await;
        assert_eq!(greeting["result"]["serverInfo"]["name"], "paseo", "{greeting}");
        self.tell("notifications/initialized", json!({})).await;
    }

    pub(super) async fn tell(&mut self, method: &str, params: Value) {
        self.write(&json!({ "jsonrpc": "2.0", "method": method, "params": params })).await;
    }

    pub(super) async fn ask(&mut self, id: i64, method: &str, params: Value) {
        self.write(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })).await;
    }

    pub(super) async fn call(&mut self, id: i64, tool: &str, arguments: Value) {
        self.ask(id, "tools/call", json!({ "name": tool, "arguments": arguments })).await;
    }

    /// Calls, and wants to hear how far the call is.
    pub(super) async fn call_aloud(&mut self, id: i64, tool: &str, arguments: Value) {
        let meta = json!({ "progressToken": format!("call {id}") });
        self.ask(id, "tools/call", json!({ "name": tool, "arguments": arguments, "_meta": meta })).await;
    }

    /// Reads the next message; none when there are no more.
    pub(super) async fn next(&mut self) -> Option<Value> {
        let line = self.lines.next_line().await.expect("text")?;
        Some(serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}")))
    }

    /// Reads the next message, which is the answer to this request.
    pub(super) async fn answer(&mut self, id: i64) -> Value {
        let message = self.next().await.expect("it answers");
        assert_eq!(message["id"], id, "{message}");
        message
    }

    /// Calls, and returns what comes of it.
    pub(super) async fn result(&mut self, id: i64, tool: &str, arguments: Value) -> Value {
        self.call(id, tool, arguments).await;
        self.answer(id).await["result"].take()
    }

    /// Says nothing more, and returns what is still said.
    pub(super) async fn end(mut self) -> Vec<Value> {
        drop(std::mem::replace(&mut self.input, Box::new(tokio::io::sink())));
        let mut rest = Vec::new();
        while let Some(message) = self.next().await {
            rest.push(message);
        }
        rest
    }

    /// Writes a line as it is.
    pub(super) async fn line(&mut self, text: &[u8]) {
        self.input.write_all(text).await.expect("it reads");
        self.input.write_all(b"\n").await.expect("it reads");
        self.input.flush().await.expect("it reads");
    }

    async fn write(&mut self, message: &Value) {
        self.line(message.to_string().as_bytes()).await;
    }
}
