//! Getting a connection to the daemon, and another one when it is cut.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use fastwebsockets::handshake::generate_key;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONNECTION, HOST, HeaderValue, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use hyper::upgrade::Upgraded;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::connect::{Address, Connect, Stream};
use super::conversation::Conversation;
use crate::error::{ApiError, Code};

/// Where a daemon is, who asks, and how patiently.
#[derive(Clone)]
pub(crate) struct Link {
    pub(crate) place: Place,
    pub(crate) token: Option<String>,
    pub(crate) patience: Duration,
    /// Whether the daemon has answered before: then it is waited for, also by connections that are made later.
    pub(crate) met: Arc<AtomicBool>,
}

/// Where a daemon is.
#[derive(Clone)]
pub(crate) enum Place {
    At(Address),
    Behind(Arc<dyn Connect>),
}

/// Makes one connection after the other, for as long as there is hope.
pub(crate) struct Dialer {
    link: Arc<Link>,
    hope: Hope,
    opened: Instant,
    answered: bool,
}

enum Hope {
    /// The daemon was never there, or patience is over: the next failure counts.
    None,
    /// The last connection worked.
    Fresh,
    /// Nothing has worked since then.
    Waning { since: Instant, pause: Duration, last: ApiError },
}

impl Dialer {
    pub(crate) fn new(link: Arc<Link>) -> Dialer {
        let hope = if link.met.load(Ordering::Relaxed) { Hope::Fresh } else { Hope::None };
        Dialer { link, hope, opened: Instant::now(), answered: false }
    }

    /// Connects. A daemon that was there before is waited for.
    pub(crate) async fn dial(&mut self) -> Result<Conversation, ApiError> {
        loop {
            if let Hope::Waning { since, pause, last } = &mut self.hope {
                if since.elapsed() >= self.link.patience {
                    let error = last.clone();
                    self.give_up();
                    return Err(error);
                }
                let now = *pause;
                *pause = (now * 2).min(LONGEST_PAUSE);
                sleep(now).await;
            }
            match self.link.open().await {
                Ok(conversation) => {
                    self.opened = Instant::now();
                    self.answered = false;
                    return Ok(conversation);
                }
                Err(Failure::Unreachable(error)) if !matches!(self.hope, Hope::None) => self.wane(error),
                Err(Failure::Unreachable(error) | Failure::Refused(error)) => {
                    self.give_up();
                    return Err(error);
                }
            }
        }
    }

    fn give_up(&mut self) {
        self.link.met.store(false, Ordering::Relaxed);
        self.hope = Hope::None;
    }

    /// Takes notice that the daemon answers.
    pub(crate) fn answered(&mut self) {
        self.link.met.store(true, Ordering::Relaxed);
        self.answered = true;
    }

    /// Takes notice that the connection was cut. After one that did not hold, the next one has to wait: what is repeated
    /// on it may be what cuts it.
    pub(crate) fn cut(&mut self) {
        match self.answered || self.opened.elapsed() >= STEADY {
            true => self.hope = Hope::Fresh,
            false => self.wane(self.link.unreachable("the connection is cut as soon as it is made")),
        }
    }

    /// Takes notice that nobody needs a connection: what was hoped for before is over.
    pub(crate) fn rest(&mut self) {
        if let Hope::Waning { .. } = self.hope {
            self.hope = Hope::Fresh;
        }
    }

    fn wane(&mut self, error: ApiError) {
        match &mut self.hope {
            Hope::Waning { last, .. } => *last = error,
            Hope::None | Hope::Fresh => {
                self.hope = Hope::Waning { since: Instant::now(), pause: SHORTEST_PAUSE, last: error };
            }
        }
    }
}

/// Why there is no connection.
enum Failure {
    /// It may be there the next time.
    Unreachable(ApiError),
    /// Trying again would not help.
    Refused(ApiError),
}

impl Link {
    async fn open(&self) -> Result<Conversation, Failure> {
        match timeout(CONNECT_LIMIT, self.connect()).await {
            Ok(upgraded) => upgraded.map(Conversation::begin),
            Err(_) => Err(Failure::Unreachable(self.unreachable("it does not answer"))),
        }
    }

    async fn connect(&self) -> Result<TokioIo<Upgraded>, Failure> {
        let stream = match &self.place {
            Place::At(address) => address.connect().await,
            Place::Behind(connect) => connect.connect().await,
        };
        let stream = stream.map_err(|error| Failure::Unreachable(self.unreachable(error)))?;
        self.upgrade(stream).await
    }

    async fn upgrade(&self, stream: Box<dyn Stream>) -> Result<TokioIo<Upgraded>, Failure> {
        let unreachable = |error: hyper::Error| Failure::Unreachable(self.unreachable(error));
        let request = self.request()?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(unreachable)?;
        // Ends with the upgrade, or with this function; what goes wrong on it shows in the response.
        let mut driver = JoinSet::new();
        driver.spawn(async move { drop(connection.with_upgrades().await) });
        let mut response = sender.send_request(request).await.map_err(unreachable)?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(self.refused(response).await);
        }
        hyper::upgrade::on(&mut response).await.map(TokioIo::new).map_err(unreachable)
    }

    fn request(&self) -> Result<Request<Empty<Bytes>>, Failure> {
        let host = match &self.place {
            Place::At(Address::Tcp { authority, .. }) => authority,
            Place::At(Address::Unix(_)) | Place::Behind(_) => "localhost",
        };
        let mut request = Request::get("/ws")
            .header(HOST, host)
            .header(CONNECTION, "Upgrade")
            .header(UPGRADE, "websocket")
            .header(SEC_WEBSOCKET_VERSION, "13")
            .header(SEC_WEBSOCKET_KEY, generate_key());
        if let Some(token) = &self.token {
            let mut bearer = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| {
                Failure::Refused(ApiError::new(Code::Unauthorized, "the token has characters that no token has"))
            })?;
            bearer.set_sensitive(true);
            request = request.header(AUTHORIZATION, bearer);
        }
        request.body(Empty::new()).map_err(|error| {
            Failure::Refused(ApiError::new(
                Code::InvalidArgument,
                format!("`{host}` is not a host and a port: {error}"),
            ))
        })
    }

    /// Reads why there was no upgrade: the daemon's own words, where it is a daemon.
    async fn refused(&self, response: Response<Incoming>) -> Failure {
        let status = response.status();
        let body = Limited::new(response.into_body(), LARGEST_REFUSAL).collect().await;
        let said = body.ok().and_then(|body| serde_json::from_slice::<ApiError>(&body.to_bytes()).ok());
        let code = match status {
            StatusCode::UNAUTHORIZED => Code::Unauthorized,
            StatusCode::FORBIDDEN => Code::Forbidden,
            _ => Code::Unavailable,
        };
        let known = said.is_some();
        let error = said.unwrap_or_else(|| {
            ApiError::new(code, format!("{} refuses to talk: HTTP {status}", self.name()))
                .hint("is there a paseo daemon at this address?")
        });
        match error.code {
            // A daemon that starts, stops, or has too much to do.
            Code::Unavailable if known => Failure::Unreachable(error),
            _ => Failure::Refused(error),
        }
    }

    fn unreachable(&self, why: impl std::fmt::Display) -> ApiError {
        ApiError::new(Code::Unavailable, format!("cannot reach {}: {why}", self.name()))
            .hint("`paseo daemon start` starts it")
    }

    fn name(&self) -> String {
        match &self.place {
            Place::At(address) => format!("the daemon at {address}"),
            Place::Behind(_) => "the daemon".to_owned(),
        }
    }
}

/// How long connecting may take, the greeting included.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// How long a connection holds that works, even if nothing is answered on it.
const STEADY: Duration = Duration::from_secs(10);
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Bytes of the answer that says why there is no upgrade.
const LARGEST_REFUSAL: usize = 64 << 10;
