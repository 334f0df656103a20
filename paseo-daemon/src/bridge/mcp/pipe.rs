//! The protocol over pipes: each message is a line.
//!
//! The list of tools is written one tool at a time. All schemas at once, as values, are more than a megabyte, which a
//! process that has nothing else to hold would never give back.

use std::future::Future;
use std::io;
use std::sync::Arc;

use rmcp::RoleServer;
use rmcp::model::{ErrorData, JsonRpcMessage, JsonRpcResponse, ListToolsResult, RequestId, ServerResult};
use rmcp::service::{RxJsonRpcMessage, TxJsonRpcMessage};
use rmcp::transport::Transport;
use serde_json::{Map, Value};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::sync::{Mutex, watch};

use crate::mcp::listed;

/// Two pipes, and who wants to know that nothing more comes in.
pub(super) struct Pipe<I, O> {
    input: BufReader<I>,
    /// What has come of a line.
    line: Vec<u8>,
    /// The line is too long, and passed over.
    overlong: bool,
    output: Arc<Mutex<O>>,
    ends: watch::Sender<bool>,
}

impl<I: AsyncRead + Unpin, O> Pipe<I, O> {
    pub(super) fn new(input: I, output: O, ends: watch::Sender<bool>) -> Pipe<I, O> {
        let output = Arc::new(Mutex::new(output));
        Pipe { input: BufReader::new(input), line: Vec::new(), overlong: false, output, ends }
    }

    /// Reads a line; none at the end. Dropped on the way, it goes on with the same line the next time.
    async fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let come = self.input.fill_buf().await?;
            if come.is_empty() {
                // The last line may have no end.
                return Ok(Some(std::mem::take(&mut self.line)).filter(|line| !line.is_empty()));
            }
            let (used, ended) = match come.iter().position(|byte| *byte == b'\n') {
                Some(at) => (at + 1, true),
                None => (come.len(), false),
            };
            self.overlong |= self.line.len() + used > LONGEST;
            match self.overlong {
                true => self.line = Vec::new(),
                false => self.line.extend_from_slice(&come[..used]),
            }
            self.input.consume(used);
            if ended && !std::mem::take(&mut self.overlong) {
                return Ok(Some(std::mem::take(&mut self.line)));
            }
        }
    }
}

impl<I, O> Transport<RoleServer> for Pipe<I, O>
where
    I: AsyncRead + Send + Unpin + 'static,
    O: AsyncWrite + Send + Unpin + 'static,
{
    type Error = io::Error;

    fn send(&mut self, message: TxJsonRpcMessage<RoleServer>) -> impl Future<Output = io::Result<()>> + Send + 'static {
        let output = self.output.clone();
        async move {
            let mut output = output.lock().await;
            match message {
                JsonRpcMessage::Response(JsonRpcResponse {
                    id, result: ServerResult::ListToolsResult(list), ..
                }) => {
                    write_list(&mut *output, &id, &list).await?;
                }
                message => output.write_all(&serde_json::to_vec(&message)?).await?,
            }
            output.write_all(b"\n").await?;
            output.flush().await
        }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleServer>> {
        loop {
            let Ok(Some(line)) = self.line().await else {
                self.ends.send_replace(true);
                return None;
            };
            match serde_json::from_slice(&line) {
                Ok(message) => return Some(message),
                Err(_) => {
                    // Of what is no message at all nobody waits for an answer.
                    if let Some(id) = id_of(&line) {
                        let error = ErrorData::invalid_request("this is no message of the protocol", None);
                        self.send(JsonRpcMessage::error(error, Some(id))).await.ok()?;
                    }
                }
            }
        }
    }

    async fn close(&mut self) -> io::Result<()> {
        self.output.lock().await.flush().await
    }
}

/// Writes the answer that lists the tools, which `list` says all of but the tools.
async fn write_list(output: &mut (impl AsyncWrite + Unpin), id: &RequestId, list: &ListToolsResult) -> io::Result<()> {
    let mut start = format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{"#, serde_json::to_string(id)?);
    if let Value::Object(beside) = serde_json::to_value(list)? {
        for (key, value) in beside.iter().filter(|(key, _)| *key != "tools") {
            start.push_str(&format!("{}:{value},", Value::from(key.as_str())));
        }
    }
    start.push_str(r#""tools":["#);
    output.write_all(start.as_bytes()).await?;
    for (number, tool) in listed().enumerate() {
        let comma = if number == 0 { "" } else { "," };
        output.write_all(comma.as_bytes()).await?;
        output.write_all(&serde_json::to_vec(&tool)?).await?;
    }
    output.write_all(b"]}}").await
}

/// Returns the id of a request that is not understood.
fn id_of(line: &[u8]) -> Option<RequestId> {
    let request: Map<String, Value> = serde_json::from_slice(line).ok()?;
    request.contains_key("method").then(|| serde_json::from_value(request.get("id")?.clone()).ok())?
}

/// Bytes of a message; longer ones are passed over.
const LONGEST: usize = 32 << 20;
