//! The client: one typed method per operation, over a WebSocket, a unix socket or a daemon in this process.

mod connect;
mod watch;

use serde_json::Value;

pub use connect::{Address, Connect, Stream};
pub use watch::Watch;

use crate::catalogue::{WaitForAgent, WatchAgents};
use crate::error::{ApiError, Code};
use crate::operation::Operation;

/// A connection to a daemon that mends itself: cheap to clone, shared by all clones.
///
/// After a cut it connects again. Reads are repeated; writes are repeated with the same ids, so they happen once; waits
/// go on.
#[derive(Clone, Debug)]
pub struct Client {}

impl Client {
    /// Makes a client for `address`. It connects when it is first used.
    #[must_use]
    pub fn new(address: Address) -> Client {
        let _ = address;
        Client {}
    }

    /// Makes a client over connections of the caller's own making, such as pipes to a daemon in this process.
    #[must_use]
    pub fn over(connect: impl Connect) -> Client {
        let _ = connect;
        Client {}
    }

    /// Follows agents: see [`Watch`].
    #[must_use]
    pub fn watch(&self, request: WatchAgents) -> Watch {
        let _ = request;
        Watch {}
    }

    /// Calls an operation by name, as a program that passes calls on does.
    ///
    /// # Errors
    ///
    /// Those of the operation; `unavailable` when the daemon cannot be reached.
    pub async fn call(&self, method: &str, params: Value) -> Result<Value, ApiError> {
        let _ = params;
        Err(ApiError::new(Code::Unavailable, format!("{method} is not connected")))
    }

    /// Carries out an operation; one that blocks as its background form and a wait that is taken up again after a cut.
    pub(crate) async fn perform<Op: Operation>(
        &self,
        request: Op,
        wait: Option<WaitForAgent>,
    ) -> Result<Op::Answer, ApiError> {
        let _ = (request, wait);
        Err(ApiError::new(Code::Unavailable, "not connected"))
    }
}

/// What a request needs before it is sent: ids, so that it may be repeated. Requests that need something have a method
/// of this name of their own, which goes before this one.
pub(crate) trait Prepare {
    /// Fills in what is missing, and says what to wait for afterwards.
    fn prepare(&mut self) -> Option<WaitForAgent> {
        None
    }
}

impl<Op: Operation> Prepare for Op {}
