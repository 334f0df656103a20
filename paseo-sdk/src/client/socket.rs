//! The two halves of a WebSocket, each with a task of its own: one reads whole messages, the other writes.

use fastwebsockets::{CloseCode, Frame, OpCode, Payload, WebSocketError, WebSocketRead, WebSocketWrite};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

use crate::machine::connection::{Fault, Input};

/// What goes out.
#[derive(Debug)]
pub(crate) enum Outgoing {
    Text(String),
    Ping,
    Pong(Vec<u8>),
    Close(u16, &'static str),
}

/// Reads messages of at most `limit` bytes until there are no more, and says so at last. Must run in a task of its own: a
/// frame whose reading is broken off halfway takes the next one with it.
pub(crate) async fn read<R>(mut frames: WebSocketRead<R>, limit: usize, heard: mpsc::Sender<Input>)
where
    R: AsyncRead + Unpin,
{
    // The machine decides what is answered, and the writer's task writes it.
    frames.set_auto_close(false);
    frames.set_auto_pong(false);
    frames.set_max_message_size(limit.saturating_add(1));
    let mut message = Message::default();
    loop {
        let input = match frames.read_frame(&mut |_| std::future::ready(Ok::<_, WebSocketError>(()))).await {
            Ok(frame) => match frame.opcode {
                OpCode::Ping => Some(Input::Ping(frame.payload.to_vec())),
                OpCode::Pong => Some(Input::Pong),
                OpCode::Close => Some(Input::Gone),
                OpCode::Binary => Some(Input::Unreadable(Fault::Binary)),
                OpCode::Text | OpCode::Continuation => {
                    message.add(frame, limit).unwrap_or_else(|fault| Some(Input::Unreadable(fault)))
                }
            },
            Err(error) => Some(broken(&error)),
        };
        let Some(input) = input else { continue };
        let last = matches!(input, Input::Unreadable(_) | Input::Gone);
        if heard.send(input).await.is_err() || last {
            return;
        }
    }
}

/// Writes what it is given, until a close, a failure, or the end of what it is given.
pub(crate) async fn write<W>(mut frames: WebSocketWrite<W>, mut outgoing: mpsc::Receiver<Outgoing>)
where
    W: AsyncWrite + Unpin,
{
    while let Some(next) = outgoing.recv().await {
        let last = matches!(next, Outgoing::Close(..));
        let frame = match next {
            Outgoing::Text(text) => Frame::text(Payload::Owned(text.into_bytes())),
            Outgoing::Ping => Frame::new(true, OpCode::Ping, None, Payload::Owned(Vec::new())),
            Outgoing::Pong(payload) => Frame::pong(Payload::Owned(payload)),
            Outgoing::Close(code, reason) => Frame::close(code, reason.as_bytes()),
        };
        if frames.write_frame(frame).await.is_err() || frames.flush().await.is_err() || last {
            return;
        }
    }
}

/// A text as far as it has arrived; none between two texts.
#[derive(Default)]
struct Message(Option<Partial>);

#[derive(Default)]
struct Partial {
    bytes: Vec<u8>,
    /// What it took on the wire, a byte for every fragment included: endless empty fragments come to an end too.
    weight: usize,
}

impl Message {
    fn add(&mut self, frame: Frame<'_>, limit: usize) -> Result<Option<Input>, Fault> {
        let begins = frame.opcode == OpCode::Text;
        if begins != self.0.is_none() {
            return Err(Fault::Protocol);
        }
        let Partial { mut bytes, weight } = self.0.take().unwrap_or_default();
        let weight = weight.saturating_add(frame.payload.len()).saturating_add(usize::from(!begins));
        if weight > limit {
            return Err(Fault::TooLarge);
        }
        match bytes.is_empty() {
            true => bytes = frame.payload.into(),
            false => bytes.extend_from_slice(&frame.payload),
        }
        if !frame.fin {
            self.0 = Some(Partial { bytes, weight });
            return Ok(None);
        }
        String::from_utf8(bytes).map(|text| Some(Input::Text(text))).map_err(|_| Fault::NotUtf8)
    }
}

fn broken(error: &WebSocketError) -> Input {
    match error {
        WebSocketError::UnexpectedEOF | WebSocketError::IoError(_) | WebSocketError::ConnectionClosed => Input::Gone,
        WebSocketError::FrameTooLarge => Input::Unreadable(Fault::TooLarge),
        WebSocketError::InvalidUTF8 => Input::Unreadable(Fault::NotUtf8),
        _ => Input::Unreadable(Fault::Protocol),
    }
}

/// The code that says goodbye when there is no reason to complain.
pub(crate) const GOODBYE: CloseCode = CloseCode::Normal;
