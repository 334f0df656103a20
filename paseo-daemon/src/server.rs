//! The server: the doors through which calls come in. It knows the catalogue and never a handler.
//!
//! Every door leads to the same HTTP: TCP, where callers must show who they are; the unix socket, which its mode guards;
//! and pipes within this process. One task owns one connection, with everything that happens on it.

mod gate;
mod http;
mod mcp;
mod openapi;
mod patient;
mod socket;

use std::future::Future;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use paseo_sdk::catalogue::{OPERATIONS, Service, dispatch};
use paseo_sdk::error::{ApiError, Code};
use paseo_sdk::machine::connection;
use paseo_sdk::operation::{Caller, Effect, Principal};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener, UnixSocket, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinError, JoinSet};

pub use self::openapi::openapi;
use crate::config::{Config, Listen};
use crate::home::Home;
use crate::token::Tokens;

/// The doors of a daemon while they are open. Dropping it slams them; [`Server::shutdown`] closes them.
pub struct Server {
    /// Where it really listens: `host:port` and `unix:/path`.
    pub listen: Vec<String>,
    /// What went wrong and was worked around.
    pub warnings: Vec<String>,
    hall: Arc<Hall>,
    closing: watch::Sender<bool>,
    tasks: Mutex<JoinSet<()>>,
}

/// Which doors to open, and for whom.
#[derive(Clone, Debug)]
pub struct Doors {
    /// Where to listen beside the home's socket. Where that fails, it is a warning.
    pub listen: Option<Listen>,
    /// The home's socket. A file left there by a daemon that died is replaced: the caller holds the home's lock.
    pub socket: PathBuf,
    /// What callers show.
    pub tokens: Tokens,
    /// Names beside `localhost` and addresses by which TCP clients may call.
    pub hosts: Vec<String>,
    /// Origins whose web pages may call.
    pub origins: Vec<String>,
    /// How much of everything there may be.
    pub limits: Limits,
}

impl Doors {
    /// The doors of a home, as its settings want them.
    #[must_use]
    pub fn of(home: &Home, config: &Config, tokens: Tokens) -> Doors {
        Doors {
            listen: config.listen.clone(),
            socket: home.socket(),
            tokens,
            hosts: config.hosts.clone(),
            origins: config.origins.clone(),
            limits: Limits::default(),
        }
    }
}

/// How much there may be, and how long it may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// What one WebSocket may take; a request body may be as large as one of its messages.
    pub connection: connection::Limits,
    /// Connections through one door; those beyond are told that it is busy.
    pub connections: usize,
    /// How long a request's head may take, and an idle connection may stay.
    pub head: Duration,
    /// How long a peer may take none of what is written to it, or send none of the body it announced.
    pub stall: Duration,
    /// How long a shutdown waits for calls that change something, and then for peers to say goodbye.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connection: connection::Limits::default(),
            connections: 512,
            head: Duration::from_secs(30),
            stall: Duration::from_secs(60),
            grace: Duration::from_secs(2),
        }
    }
}

impl Server {
    /// Opens the doors.
    ///
    /// # Errors
    ///
    /// When the home's socket cannot be opened.
    pub async fn start<S: Service>(service: Arc<S>, doors: Doors) -> io::Result<Server> {
        let Doors { listen, socket, tokens, hosts, origins, limits } = doors;
        let (closing, closed) = watch::channel(false);
        let gate = gate::Gate { tokens, hosts, origins };
        let hall = Arc::new(Hall { service, gate, limits, closing: closed });
        let mut server = Server { listen: Vec::new(), warnings: Vec::new(), hall, closing, tasks: Mutex::default() };

        let listener = open_socket(&socket, Occupied::Replace).map_err(|error| explain(&socket, error))?;
        server.open(Listener::Unix(listener), &Listen::Unix(socket.clone()).to_string(), Some(SocketFile::at(&socket)));
        match listen {
            Some(Listen::Unix(path)) if path == socket => {}
            Some(Listen::Unix(path)) => match open_socket(&path, Occupied::Ask) {
                Ok(listener) => {
                    let file = SocketFile::at(&path);
                    server.open(Listener::Unix(listener), &Listen::Unix(path).to_string(), Some(file));
                }
                Err(error) => server.warn(format!("cannot listen on unix:{}: {error}", path.display())),
            },
            Some(Listen::Tcp { host, port }) => {
                match TcpListener::bind((host.as_str(), port)).await.and_then(|it| Ok((it.local_addr()?, it))) {
                    Ok((address, listener)) => {
                        if !address.ip().is_loopback() {
                            server.warn(format!("{address} can be reached from other machines, without encryption"));
                        }
                        server.open(Listener::Tcp(listener), &address.to_string(), None);
                    }
                    Err(error) => {
                        let listen = Listen::Tcp { host, port };
                        let why = match error.kind() {
                            io::ErrorKind::AddrInUse => "another program listens there".to_owned(),
                            _ => error.to_string(),
                        };
                        server.warn(format!("cannot listen on {listen}: {why}; the home's socket serves all the same"));
                    }
                }
            }
            None => {}
        }
        Ok(server)
    }

    /// Serves a connection of the caller's own making, such as one end of a pipe within this process. One that is not
    /// `guarded` is trusted as the unix socket is.
    pub fn serve_stream(&self, io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, guarded: bool) {
        let door = if guarded { Door::Guarded } else { Door::Trusted };
        let mut tasks = self.tasks();
        while tasks.try_join_next().is_some() {}
        tasks.spawn(http::serve(self.hall.clone(), io, door, http::Seat::Free));
    }

    /// Closes the doors: accepts nothing more, lets calls that change something end and the answers there are go out, says
    /// goodbye, and cuts what is left after that.
    pub async fn shutdown(&self) {
        self.closing.send_replace(true);
        let mut tasks = std::mem::take(&mut *self.tasks());
        let everyone = async { while tasks.join_next().await.is_some() {} };
        // Twice: once for the calls, once for the goodbyes.
        if tokio::time::timeout(self.hall.limits.grace * 3, everyone).await.is_err() {
            tracing::debug!("connections that did not end were cut");
        }
    }

    fn open(&mut self, listener: Listener, address: &str, file: Option<SocketFile>) {
        tracing::info!("listening on {address}");
        self.listen.push(address.to_owned());
        let hall = self.hall.clone();
        self.tasks().spawn(accept(hall, listener, file));
    }

    fn warn(&mut self, warning: String) {
        self.warnings.push(warning);
    }

    fn tasks(&self) -> std::sync::MutexGuard<'_, JoinSet<()>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a connection came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Door {
    /// Anybody on this machine, or beyond, can come in here.
    Guarded,
    /// Only the user can come in here.
    Trusted,
}

/// What all connections share.
struct Hall {
    service: Arc<dyn Calls>,
    gate: gate::Gate,
    limits: Limits,
    closing: watch::Receiver<bool>,
}

impl Hall {
    /// Carries out a call and logs it as loudly as its effect deserves.
    async fn call(&self, caller: Caller, method: &str, params: Value) -> Result<Value, ApiError> {
        let who = match &caller.who {
            Principal::User => "the user",
            Principal::Agent(id) => &format!("agent {id}"),
        };
        let Some(effect) = effect(method) else {
            tracing::debug!("{who} called an operation that there is not");
            return self.service.call(caller, method, params).await;
        };
        let outcome = self.service.call(caller, method, params).await;
        let said = match &outcome {
            Ok(_) => "done",
            Err(error) => &error.to_string(),
        };
        match (&outcome, effect) {
            (Err(ApiError { code: Code::Internal, details, .. }), _) => {
                tracing::error!(?details, "{method} by {who}: {said}");
            }
            (_, Effect::Read) => tracing::debug!("{method} by {who}: {said}"),
            (_, Effect::Write) => tracing::info!("{method} by {who}: {said}"),
            (_, Effect::Destroy) => tracing::warn!("{method} by {who}: {said}"),
        }
        outcome
    }

    /// Returns when the doors close.
    async fn closing(&self) {
        // Nobody left who could say so means the same.
        let _ = self.closing.clone().wait_for(|closing| *closing).await;
    }
}

/// The effect of an operation; none when there is no such operation.
fn effect(method: &str) -> Option<Effect> {
    OPERATIONS.iter().find(|(name, _)| *name == method).map(|(_, effect)| *effect)
}

/// A service behind a pointer, so that only `dispatch` is compiled once more for each service.
trait Calls: Send + Sync {
    fn call<'a>(
        &'a self,
        caller: Caller,
        method: &'a str,
        params: Value,
    ) -> Pin<Box<dyn Future<Output = Result<Value, ApiError>> + Send + 'a>>;
}

impl<S: Service> Calls for S {
    fn call<'a>(
        &'a self,
        caller: Caller,
        method: &'a str,
        params: Value,
    ) -> Pin<Box<dyn Future<Output = Result<Value, ApiError>> + Send + 'a>> {
        Box::pin(dispatch(self, caller, method, params))
    }
}

/// What a caller is told whose call ended in a panic; the panic itself is on standard error.
fn fault(error: &JoinError) -> ApiError {
    tracing::error!("a call failed: {error}");
    ApiError::new(Code::Internal, "the call failed inside the daemon").hint("`paseo daemon logs` says more")
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Takes in connections until the doors close; those that are in are told so themselves, and awaited here.
async fn accept(hall: Arc<Hall>, listener: Listener, file: Option<SocketFile>) {
    let seats = Arc::new(Semaphore::new(hall.limits.connections));
    let stools = Arc::new(Semaphore::new(STOOLS));
    let mut connections = JoinSet::new();
    let mut closing = pin!(hall.closing());
    loop {
        let accepted = tokio::select! {
            () = closing.as_mut() => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = next(&listener) => accepted,
        };
        let stream = match accepted {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!("cannot take in a connection: {error}");
                // Out of descriptors, most likely. Asking again at once would only burn the processor.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let seat = match (seats.clone().try_acquire_owned(), stools.clone().try_acquire_owned()) {
            (Ok(seat), _) => http::Seat::Taken(seat),
            (Err(_), Ok(stool)) => http::Seat::None(stool),
            // Too many even to tell them so.
            (Err(_), Err(_)) => continue,
        };
        match stream {
            Stream::Tcp(stream) => connections.spawn(http::serve(hall.clone(), stream, Door::Guarded, seat)),
            Stream::Unix(stream) => connections.spawn(http::serve(hall.clone(), stream, Door::Trusted, seat)),
        };
    }
    drop((listener, file));
    while connections.join_next().await.is_some() {}
}

enum Stream {
    Tcp(tokio::net::TcpStream),
    Unix(UnixStream),
}

async fn next(listener: &Listener) -> io::Result<Stream> {
    match listener {
        Listener::Tcp(listener) => {
            let (stream, _) = listener.accept().await?;
            let _ = stream.set_nodelay(true);
            Ok(Stream::Tcp(stream))
        }
        Listener::Unix(listener) => listener.accept().await.map(|(stream, _)| Stream::Unix(stream)),
    }
}

/// What to do with a socket that is there already.
enum Occupied {
    /// Replace it.
    Replace,
    /// Replace it when nobody answers.
    Ask,
}

/// Opens a unix socket that only we may connect to, from its first moment on.
fn open_socket(path: &Path, occupied: Occupied) -> io::Result<UnixListener> {
    if let Ok(metadata) = path.symlink_metadata() {
        if !metadata.file_type().is_socket() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "a file that is no socket is in the way"));
        }
        let alive = matches!(occupied, Occupied::Ask) && std::os::unix::net::UnixStream::connect(path).is_ok();
        if alive {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another program listens there"));
        }
        std::fs::remove_file(path)?;
    }
    let socket = UnixSocket::new_stream()?;
    socket.bind(path)?;
    // Nobody can connect before it listens.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    socket.listen(1024)
}

fn explain(path: &Path, error: io::Error) -> io::Error {
    let hint = match path.as_os_str().len() > LONGEST_SOCKET {
        true => "; the path is too long for a socket: choose a shorter home with PASEO_HOME or `--home`",
        false => "",
    };
    io::Error::new(error.kind(), format!("cannot listen on unix:{}: {error}{hint}", path.display()))
}

/// A socket's file, removed when we stop listening unless it is somebody else's by then.
struct SocketFile {
    path: PathBuf,
    identity: Option<(u64, u64)>,
}

impl SocketFile {
    fn at(path: &Path) -> SocketFile {
        SocketFile { path: path.to_owned(), identity: identity(path) }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.identity.is_some() && identity(&self.path) == self.identity {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    path.symlink_metadata().ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// How many connections beyond the limit are told that it is busy, at the same time.
const STOOLS: usize = 32;
/// What every system takes as the path of a socket.
pub(crate) const LONGEST_SOCKET: usize = 100;
