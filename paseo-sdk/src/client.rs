//! The client: one typed method per operation, over a WebSocket, a unix socket or a daemon in this process.

mod connect;
mod conversation;
mod dial;
mod owner;
mod prepare;
mod socket;
mod watch;

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::mpsc;

pub use self::connect::{Address, Connect, Connecting, Stream};
use self::dial::{Link, Place};
use self::owner::Call;
pub(crate) use self::prepare::Prepare;
pub use self::watch::Watch;
use crate::catalogue::{OPERATIONS, WaitForAgent, WatchAgents};
use crate::error::{ApiError, Code};
use crate::model::Progress;
use crate::operation::{Effect, Operation, Reporter};

/// A connection to a daemon that mends itself: cheap to clone, shared by all clones.
///
/// It connects when it is first used, on the tokio runtime of that call, and fails then if there is no daemon. A daemon
/// that was there before is waited for, by calls and watches, for as long as [`Client::patience`] says. Reads are repeated; writes are repeated with the same
/// ids, so they happen once; waits go on, and the time given to them counts from their beginning. What takes something
/// away is not repeated once it was sent.
///
/// A call that blocks until an agent has finished is made as a start in the background and a wait, so it survives
/// restarts of the daemon. A call that is dropped is forgotten here; the agent goes on.
///
/// ```no_run
/// use paseo_sdk::Client;
/// use paseo_sdk::catalogue::CreateAgent;
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::new("unix:/home/me/.paseo/paseo.sock".parse()?);
/// let task = CreateAgent::new("say hello", "shell", "echo hello").cwd("/tmp");
/// let outcome = client.create_agent(task).await?;
/// println!("{:?}: {}", outcome.outcome, outcome.last_message.unwrap_or_default());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client {
    link: Arc<Link>,
    /// The way to the task that owns the connection, once there is one; the task ends when this is dropped.
    owner: Arc<Mutex<Option<mpsc::Sender<Call>>>>,
    reporter: Reporter,
}

impl Client {
    /// Makes a client for `address`. It connects when it is first used.
    #[must_use]
    pub fn new(address: Address) -> Client {
        let token = match &address {
            Address::Tcp { token, .. } => token.clone(),
            Address::Unix(_) => None,
        };
        Client::linked(Link { place: Place::At(address), token, patience: PATIENCE, met: Arc::default() })
    }

    /// Makes a client over connections of the caller's own making, such as pipes to a daemon in this process.
    ///
    /// ```no_run
    /// use paseo_sdk::Client;
    /// use paseo_sdk::client::{Connect, Connecting};
    ///
    /// /// A daemon behind a proxy that takes the name of the other side as its first line.
    /// struct Proxied;
    ///
    /// impl Connect for Proxied {
    ///     fn connect(&self) -> Connecting<'_> {
    ///         Box::pin(async {
    ///             use tokio::io::AsyncWriteExt;
    ///             let mut stream = tokio::net::TcpStream::connect("proxy:8000").await?;
    ///             stream.write_all(b"daemon\n").await?;
    ///             Ok(Box::new(stream) as _)
    ///         })
    ///     }
    /// }
    ///
    /// let client = Client::over(Proxied);
    /// ```
    #[must_use]
    pub fn over(connect: impl Connect) -> Client {
        Client::linked(Link {
            place: Place::Behind(Arc::new(connect)),
            token: None,
            patience: PATIENCE,
            met: Arc::default(),
        })
    }

    /// Sets the token that says who calls: over TCP the daemon's, over any transport that of an agent.
    #[must_use]
    pub fn token(self, token: impl Into<String>) -> Client {
        let link = Link { token: Some(token.into()), ..Link::clone(&self.link) };
        Client { reporter: self.reporter, ..Client::linked(link) }
    }

    /// Sets how long a daemon that was there is waited for after a cut; default 30 seconds.
    #[must_use]
    pub fn patience(self, patience: Duration) -> Client {
        let link = Link { patience, ..Link::clone(&self.link) };
        Client { reporter: self.reporter, ..Client::linked(link) }
    }

    /// Expects the daemon to be there: when it is not, it is waited for, as one that was there before.
    #[must_use]
    pub fn expected(self) -> Client {
        self.link.met.store(true, Ordering::Relaxed);
        self
    }

    /// Returns a client over the same connection whose calls tell `listener` how far they are: those that take a while,
    /// such as making a worktree, several times a second. The last that comes before an answer is told before it.
    ///
    /// It is called while the call's future is polled, so it should not block; of what happens meanwhile the newest comes.
    ///
    /// ```no_run
    /// use paseo_sdk::Client;
    /// use paseo_sdk::catalogue::CreateWorktree;
    ///
    /// # async fn run(client: Client) -> Result<(), paseo_sdk::ApiError> {
    /// let watched = client.with_progress(|progress| {
    ///     if let (Some(done), Some(total)) = (progress.done, progress.total) {
    ///         println!("{}: {done} of {total}", progress.step);
    ///     }
    /// });
    /// let request = CreateWorktree::branch_off("fix/flaky", "main").cwd("/home/me/project");
    /// println!("{}", watched.create_worktree(request).await?.worktree_path);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_progress(&self, listener: impl Fn(Progress) + Send + Sync + 'static) -> Client {
        Client { reporter: Reporter::new(listener), ..self.clone() }
    }

    /// Follows agents, over a connection of its own: see [`Watch`].
    #[must_use]
    pub fn watch(&self, request: WatchAgents) -> Watch {
        Watch::new(self.link.clone(), request)
    }

    /// Calls an operation by name, as a program that passes calls on does. Ids that are missing are added, and a call
    /// that blocks is made as a start and a wait, as the typed methods do.
    ///
    /// # Errors
    ///
    /// Those of the operation; `unavailable` when the daemon cannot be reached.
    pub async fn call(&self, method: &str, mut params: Value) -> Result<Value, ApiError> {
        // What this client does not know may be anything, so it is not repeated.
        let known = OPERATIONS.iter().find(|(name, _)| *name == method);
        let effect = known.map_or(Effect::Destroy, |(_, effect)| *effect);
        let wait = prepare::prepare(method, &mut params);
        self.carry_out(method, params, effect, wait).await
    }

    /// Carries out an operation; one that blocks as its background form and a wait that is taken up again after a cut.
    pub(crate) async fn perform<Op: Operation>(
        &self,
        request: Op,
        wait: Option<WaitForAgent>,
    ) -> Result<Op::Answer, ApiError> {
        let params = to_value(&request)?;
        let answer = self.carry_out(Op::NAME, params, Op::EFFECT, wait).await?;
        serde_json::from_value(answer).map_err(|error| not_understood(Op::NAME, &error))
    }

    async fn carry_out(
        &self,
        method: &str,
        params: Value,
        effect: Effect,
        wait: Option<WaitForAgent>,
    ) -> Result<Value, ApiError> {
        let answer = self.send(method, params, effect).await?;
        let Some(mut wait) = wait else { return Ok(answer) };
        // From now on by its id: a title may change, and a prefix may become ambiguous.
        if let Some(id) = answer.get("agentId").and_then(Value::as_str) {
            wait.agent_id = Some(id.into());
        }
        self.send(WaitForAgent::NAME, to_value(&wait)?, WaitForAgent::EFFECT).await
    }

    async fn send(&self, method: &str, params: Value, effect: Effect) -> Result<Value, ApiError> {
        let (call, stub) = Call::new(method, params, effect);
        let lost = || ApiError::new(Code::Unavailable, "the runtime that held the connection has ended");
        self.owner().send(call).await.map_err(|_| lost())?;
        stub.answer(&self.reporter).await.unwrap_or_else(|| Err(lost()))
    }

    /// Returns the way to the task that owns the connection. The first call starts it, and so does a call on a new
    /// runtime after the one before has ended.
    fn owner(&self) -> mpsc::Sender<Call> {
        let mut owner = self.owner.lock().unwrap_or_else(PoisonError::into_inner);
        match &*owner {
            Some(calls) if !calls.is_closed() => calls.clone(),
            _ => {
                let (calls, called) = mpsc::channel(CALLS);
                tokio::spawn(owner::run(self.link.clone(), called));
                owner.insert(calls).clone()
            }
        }
    }

    fn linked(link: Link) -> Client {
        Client { link: Arc::new(link), owner: Arc::default(), reporter: Reporter::default() }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.link.place {
            Place::At(address) => write!(f, "Client({address})"),
            Place::Behind(_) => f.write_str("Client(..)"),
        }
    }
}

fn to_value(request: &impl Operation) -> Result<Value, ApiError> {
    serde_json::to_value(request).map_err(|error| {
        ApiError::new(Code::InvalidArgument, format!("the request cannot be written as JSON: {error}"))
    })
}

fn not_understood(method: &str, error: &serde_json::Error) -> ApiError {
    ApiError::new(Code::Internal, format!("the daemon's answer to `{method}` is not understood: {error}"))
        .hint("the daemon may be of another version: `paseo daemon restart`")
}

/// How long a daemon that was there is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// Calls that may wait to be taken by the task that owns the connection.
const CALLS: usize = 64;
