//! Where a daemon is, and how to get there.

use std::fmt;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::str::FromStr;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// Where a daemon listens: `host:port`, `[v6]:port`, a port of this machine, or `unix:/path`.
///
/// ```
/// use paseo_sdk::client::Address;
///
/// let address: Address = "6767".parse()?;
/// assert_eq!(address.to_string(), "127.0.0.1:6767");
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub enum Address {
    /// Over TCP, with the token that the daemon's home holds.
    Tcp {
        /// `host:port`.
        authority: String,
        /// The token; none is refused by the daemon.
        token: Option<String>,
    },
    /// Over a unix socket.
    Unix(PathBuf),
}

impl Address {
    /// Makes one connection.
    pub(crate) async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        match self {
            Address::Tcp { authority, .. } => {
                let stream = TcpStream::connect(authority).await?;
                // Calls are small and waited for.
                stream.set_nodelay(true)?;
                Ok(Box::new(stream))
            }
            #[cfg(unix)]
            Address::Unix(path) => Ok(Box::new(tokio::net::UnixStream::connect(path).await?)),
            #[cfg(not(unix))]
            Address::Unix(_) => Err(io::Error::new(io::ErrorKind::Unsupported, "this system has no unix sockets")),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp { authority, .. } => f.write_str(authority),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl fmt::Debug for Address {
    /// Writes the address without its token, which belongs in no log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refusal = |why: &str| {
            format!("not an address: `{text}`: {why}; write `host:port`, `[v6]:port`, a port, or `unix:/path`")
        };
        if let Some(path) = text.strip_prefix("unix:") {
            // As URLs are written; an absolute path is the same with one slash.
            let path = path.strip_prefix("//").unwrap_or(path);
            return match path.is_empty() {
                true => Err(refusal("the path is missing")),
                false => Ok(Address::Unix(path.into())),
            };
        }
        if text.starts_with("wss://") || text.starts_with("https://") {
            return Err(refusal("TLS is not supported"));
        }
        let bare = text.strip_prefix("ws://").or_else(|| text.strip_prefix("http://")).unwrap_or(text);
        let bare = bare.strip_suffix("/ws").or_else(|| bare.strip_suffix('/')).unwrap_or(bare);
        if bare.contains('/') {
            return Err(refusal("it is a path"));
        }
        let (host, port) = match bare.rsplit_once(':') {
            Some((host, port)) => (host, port),
            None if !bare.is_empty() && bare.bytes().all(|byte| byte.is_ascii_digit()) => ("", bare),
            None => return Err(refusal("the port is missing")),
        };
        let port: u16 = match port.bytes().all(|byte| byte.is_ascii_digit()) {
            true => port.parse().map_err(|_| refusal("a port is a number from 0 to 65535"))?,
            false => return Err(refusal("a port is a number from 0 to 65535")),
        };
        let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(v6) if v6.parse::<std::net::Ipv6Addr>().is_ok() => host,
            Some(_) => return Err(refusal("what stands in brackets is no IPv6 address")),
            None if host.is_empty() => "127.0.0.1",
            None if host.contains(':') => return Err(refusal("an IPv6 address stands in brackets")),
            None if host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_')) => host,
            None => return Err(refusal("that is no name of a host")),
        };
        Ok(Address::Tcp { authority: format!("{host}:{port}"), token: None })
    }
}

/// Makes connections to a daemon, over which the client speaks WebSocket.
pub trait Connect: Send + Sync + 'static {
    /// Makes one connection.
    fn connect(&self) -> Connecting<'_>;
}

/// A connection that is being made.
pub type Connecting<'a> = Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>> + Send + 'a>>;

/// A connection in both directions.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}
