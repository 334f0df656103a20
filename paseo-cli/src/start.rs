//! Where the daemon is, and how it is started when it is needed and not there.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use paseo_daemon::home::Home;
use paseo_daemon::lock;
use paseo_sdk::client::{Address, Client};
use paseo_sdk::{ApiError, Code};
use rustix::fs::{FlockOperation, flock};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

use crate::command::Global;
use crate::exit::Failure;

/// The daemon that commands speak to.
#[derive(Debug)]
pub(crate) struct Daemon {
    /// Paseo's home directory, absolute.
    pub(crate) home: PathBuf,
    /// Where the daemon listens, if that was given: such a daemon is somebody else's to start.
    host: Option<Address>,
    no_start: bool,
}

impl Daemon {
    /// Finds out where the daemon is, or will be once it is started.
    pub(crate) fn locate(global: &Global) -> Result<Daemon, Failure> {
        let home = match global.home.as_deref().filter(|home| !home.as_os_str().is_empty()) {
            Some(home) => std::path::absolute(home)?,
            None => std::env::home_dir()
                .filter(|home| home.is_absolute())
                .ok_or_else(|| Failure::usage("your home directory is not known", "give --home or set PASEO_HOME"))?
                .join(".paseo"),
        };
        let host = global.host.as_deref().filter(|host| !host.is_empty());
        let host = host.map(|host| parse_host(host, &home)).transpose()?;
        Ok(Daemon { home, host, no_start: global.no_start })
    }

    /// Returns whether the daemon was named by its address, and not by its home.
    pub(crate) fn elsewhere(&self) -> bool {
        self.host.is_some()
    }

    /// Returns a client of the daemon, which is started first where it is needed and allowed.
    pub(crate) async fn client(&self) -> Result<Client, Failure> {
        let Err(error) = self.connects().await else { return Ok(self.connected()) };
        if self.elsewhere() || self.no_start || inside_agent() {
            return Err(self.not_reachable(&error));
        }
        self.start(None).await?;
        Ok(self.connected())
    }

    /// Returns a client of a daemon that nobody starts.
    pub(crate) async fn running(&self) -> Result<Client, Failure> {
        match self.connects().await {
            Ok(()) => Ok(self.connected()),
            Err(error) => Err(self.not_reachable(&error)),
        }
    }

    /// Starts the daemon and returns when it answers, or says why it does not.
    pub(crate) async fn start(&self, listen: Option<&str>) -> Result<(), Failure> {
        let log = self.home.join("daemon.start.log");
        // The same check as the daemon's, before its log is made there.
        Home::open(&self.home)?;
        let mut child = self.spawn(listen, &log).map_err(|error| {
            ApiError::new(Code::Unavailable, format!("the daemon cannot be started: {error}"))
                .hint("check the directory, or give another with --home")
        })?;
        let deadline = tokio::time::Instant::now() + START_LIMIT;
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        loop {
            ticks.tick().await;
            if self.answers().await {
                return Ok(());
            }
            // One that finds another daemon at work leaves; then that one is waited for.
            let gone = child.try_wait()?.is_some() && !self.is_locked();
            if gone || tokio::time::Instant::now() > deadline {
                // What was ready in between has been overlooked.
                if self.answers().await {
                    return Ok(());
                }
                return Err(did_not_start(&log, gone));
            }
        }
    }

    /// Returns whether the daemon answers.
    pub(crate) async fn answers(&self) -> bool {
        let health = async {
            match &self.address() {
                Address::Unix(path) => health(UnixStream::connect(path).await?, "localhost").await,
                Address::Tcp { authority, .. } => health(TcpStream::connect(authority).await?, authority).await,
            }
        };
        matches!(tokio::time::timeout(CONNECT_LIMIT, health).await, Ok(Ok(true)))
    }

    /// Where the daemon listens.
    fn address(&self) -> Address {
        let address = self.host.clone().unwrap_or_else(|| lock::address(&self.home));
        match &address {
            Address::Tcp { authority, token: None } => parse_host(authority, &self.home).unwrap_or(address),
            _ => address,
        }
    }

    /// Returns whether a daemon runs on this home, be it one that does not answer yet.
    fn is_locked(&self) -> bool {
        let file = File::open(self.home.join("paseo.pid"));
        file.is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockShared).is_err())
    }

    /// Returns a client that nobody has tried yet.
    pub(crate) fn connected(&self) -> Client {
        let client = Client::new(self.address());
        // The socket lets anybody of this user in; an agent says who it is.
        match agent_token() {
            Some(token) => client.token(token),
            None => client,
        }
    }

    async fn connects(&self) -> io::Result<()> {
        let connect = async {
            match &self.address() {
                Address::Unix(path) => UnixStream::connect(path).await.map(drop),
                Address::Tcp { authority, .. } => TcpStream::connect(authority).await.map(drop),
            }
        };
        tokio::time::timeout(CONNECT_LIMIT, connect).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    fn not_reachable(&self, error: &io::Error) -> Failure {
        let hint = if inside_agent() {
            INSIDE_AGENT
        } else if self.elsewhere() {
            "check --host and PASEO_HOST"
        } else {
            "`paseo daemon start` starts it"
        };
        let message = match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                format!("no daemon runs at {}", self.address())
            }
            _ => format!("no daemon answers at {}: {error}", self.address()),
        };
        Failure::unreachable(message, hint)
    }

    fn spawn(&self, listen: Option<&str>, log: &Path) -> io::Result<Child> {
        let log = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(log)?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["daemon", "run", "--detached", "--home"]).arg(&self.home);
        if let Some(listen) = listen {
            command.args(["--listen", listen]);
        }
        command
            .current_dir(&self.home)
            .env_remove("PASEO_HOST")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
    }
}

/// Returns whether an agent runs this command: it has no say over the daemon.
pub(crate) fn inside_agent() -> bool {
    std::env::var_os("PASEO_AGENT_ID").is_some_and(|id| !id.is_empty())
}

/// What an agent is told that misses the daemon.
pub(crate) const INSIDE_AGENT: &str =
    "you are an agent of paseo and cannot start or stop its daemon: ask your user to run `paseo daemon start`";

/// How long a daemon may take until it answers.
const START_LIMIT: Duration = Duration::from_secs(30);

/// How long a connection may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

fn parse_host(host: &str, home: &Path) -> Result<Address, Failure> {
    let wrong = |why: String| Failure::usage(why, "write `host:port` or `unix:/path`");
    match host.parse::<Address>().map_err(|why| wrong(format!("--host: {why}")))? {
        Address::Unix(path) if path.as_os_str().is_empty() => Err(wrong("--host: the path is empty".to_owned())),
        Address::Unix(path) => Ok(Address::Unix(path)),
        Address::Tcp { authority, .. } => {
            let (name, port) = authority.rsplit_once(':').unwrap_or((&authority, ""));
            if name.is_empty() || port.parse::<u16>().is_err() {
                return Err(wrong(format!("--host: `{authority}` is not an address")));
            }
            let token = agent_token().or_else(|| variable("PASEO_TOKEN")).or_else(|| own_token(name, home));
            Ok(Address::Tcp { authority, token })
        }
    }
}

/// Returns the token in the home directory, for this machine only: it is nobody else's business.
fn own_token(host: &str, home: &Path) -> Option<String> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let here = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    here.then(|| std::fs::read_to_string(home.join("token")).ok()).flatten().map(|token| token.trim().to_owned())
}

/// Returns the token that says which agent runs this command.
fn agent_token() -> Option<String> {
    variable("PASEO_AGENT_TOKEN").filter(|_| inside_agent())
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Asks for the daemon's health.
async fn health(mut stream: impl AsyncRead + AsyncWrite + Unpin, host: &str) -> io::Result<bool> {
    let request = format!("GET /api/health HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut status = [0; "HTTP/1.1 200".len()];
    stream.read_exact(&mut status).await?;
    Ok(&status == b"HTTP/1.1 200")
}

/// Says why the daemon did not come up, in its own words.
fn did_not_start(log: &Path, gone: bool) -> Failure {
    let text = std::fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let last = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let (hints, words): (Vec<_>, Vec<_>) = last.partition(|line| line.starts_with("hint: "));
    let reason = words.last().map(|line| line.trim_start_matches("error: ").to_owned());
    let what = if gone { "the daemon did not start" } else { "the daemon does not answer" };
    let message = reason.map_or_else(|| what.to_owned(), |reason| format!("{what}: {reason}"));
    let hint = hints.last().map(|hint| hint.trim_start_matches("hint: ").to_owned());
    Failure::unreachable(message, hint.unwrap_or_else(|| format!("see {}", log.display())))
}
