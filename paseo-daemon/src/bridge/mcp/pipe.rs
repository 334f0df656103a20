//! The protocol over pipes: each message is a line.
//!
//! The list of tools is written one tool at a time. All schemas at once, as values, are more than a megabyte, which a
//! process that has nothing else to hold would never give back.

use std::future::Future;
use std::io;
use std::sync::Arc;

use rmcp::RoleServer;
use rmcp::model::{JsonRpcMessage, JsonRpcResponse, ListToolsResult, RequestId, ServerResult};
use rmcp::service::{RxJsonRpcMessage, TxJsonRpcMessage};
use rmcp::transport::Transport;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;

use crate::mcp::listed;
use crate::mcp::message::{self, Wrong};

/// Two pipes, and who wants to know that nothing more comes in.
pub(super) struct Pipe<I, O> {
    input: BufReader<I>,
    /// What has come of a line.
    line: Vec<u8>,
    /// The line is too long, and passed over.
    overlong: bool,
    output: Arc<Mutex<O>>,
    /// Answers what is no message. At most one is on its way; it is written whole, whoever stops reading meanwhile.
    refuser: JoinSet<io::Result<()>>,
    ends: watch::Sender<bool>,
}

impl<I: AsyncRead + Unpin, O> Pipe<I, O> {
    pub(super) fn new(input: I, output: O, ends: watch::Sender<bool>) -> Pipe<I, O> {
        let output = Arc::new(Mutex::new(output));
        let input = BufReader::new(input);
        Pipe { input, line: Vec::new(), overlong: false, output, refuser: JoinSet::new(), ends }
    }

    /// Reads a line; none at the end. Dropped on the way, it goes on with the same line the next time.
    async fn line(&mut self) -> io::Result<Option<Line>> {
        loop {
            let come = self.input.fill_buf().await?;
            if come.is_empty() {
                // The last line may have no end.
                let line = self.whole();
                return Ok(Some(line).filter(|line| !matches!(line, Line::Text(text) if text.is_empty())));
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
            if ended {
                return Ok(Some(self.whole()));
            }
        }
    }

    fn whole(&mut self) -> Line {
        let text = std::mem::take(&mut self.line);
        if std::mem::take(&mut self.overlong) { Line::TooLong } else { Line::Text(text) }
    }
}

/// What came until a line feed.
enum Line {
    Text(Vec<u8>),
    /// It was passed over.
    TooLong,
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
            if let Some(refused) = self.refuser.join_next().await
                && !matches!(refused, Ok(Ok(())))
            {
                // Nobody reads answers any more.
                self.ends.send_replace(true);
                return None;
            }
            let refusal = match self.line().await {
                Ok(Some(Line::Text(text))) => match message::read(&text) {
                    Ok(message) => return Some(message),
                    Err(Wrong::Silence) => continue,
                    Err(Wrong::Answer(refusal)) => refusal,
                },
                Ok(Some(Line::TooLong)) => message::too_long(LONGEST),
                Ok(None) | Err(_) => {
                    self.ends.send_replace(true);
                    return None;
                }
            };
            let output = self.output.clone();
            self.refuser.spawn(async move {
                let mut output = output.lock().await;
                output.write_all(format!("{refusal}\n").as_bytes()).await?;
                output.flush().await
            });
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

/// How long a message may be, in bytes; a longer one is passed over and refused.
const LONGEST: usize = 32 << 20;
