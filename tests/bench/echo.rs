//! The bare thing beside a call: a WebSocket server that answers every message with so many bytes, and its client.

use std::path::Path;

use fastwebsockets::{Frame, OpCode, Payload, Role, WebSocket};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::Result;

/// A socket of any kind.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Socket for S {}

/// A client, with the size of what it says. The server has a thread of its own, and ends with the connection.
pub(crate) struct Echo {
    socket: WebSocket<Box<dyn Socket>>,
    question: usize,
}

impl Echo {
    /// Over a unix socket that is made there.
    pub(crate) async fn over_unix(path: &Path, question: usize, answer: usize) -> Result<Echo> {
        let listener = UnixListener::bind(path)?;
        let (client, server) = tokio::join!(UnixStream::connect(path), listener.accept());
        let server = server?.0.into_std()?;
        serve(move || Ok(UnixStream::from_std(server)?), answer);
        Ok(Echo::new(Box::new(client?), question))
    }

    /// Over TCP on this machine.
    pub(crate) async fn over_tcp(question: usize, answer: usize) -> Result<Echo> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (client, server) = tokio::join!(TcpStream::connect(listener.local_addr()?), listener.accept());
        let (client, server) = (client?, server?.0.into_std()?);
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        serve(move || Ok(TcpStream::from_std(server)?), answer);
        Ok(Echo::new(Box::new(client), question))
    }

    fn new(socket: Box<dyn Socket>, question: usize) -> Echo {
        // What comes before the messages costs nothing per message, so there is no handshake.
        Echo { socket: WebSocket::after_handshake(socket, Role::Client), question }
    }

    /// Sends a message, and returns when the answer is there.
    pub(crate) async fn call(&mut self) -> Result<()> {
        self.socket.write_frame(Frame::text(Payload::Owned(vec![b'x'; self.question]))).await?;
        match self.socket.read_frame().await?.opcode {
            OpCode::Text => Ok(()),
            _ => Err("the echo has ended".into()),
        }
    }
}

fn serve<S: Socket>(socket: impl FnOnce() -> Result<S> + Send + 'static, answer: usize) {
    std::thread::spawn(move || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        runtime.block_on(async move {
            let Ok(socket) = socket() else { return };
            let mut socket = WebSocket::after_handshake(socket, Role::Server);
            while let Ok(frame) = socket.read_frame().await {
                let reply = Frame::text(Payload::Owned(vec![b'x'; answer]));
                if frame.opcode != OpCode::Text || socket.write_frame(reply).await.is_err() {
                    return;
                }
            }
        });
    });
}
