//! What the owner of an agent is asked to do, and what becomes of that while a disk takes nothing.

use std::io;
use std::time::Duration;

use paseo_sdk::error::{ApiError, Code};
use paseo_sdk::machine::agent::{Input, View};
use tokio::sync::{mpsc, oneshot};

use super::blocking;
use crate::live::Live;

/// What the owner of an agent is asked to do.
pub(crate) enum Order {
    /// Tell the machine this, and answer when what follows from it is done.
    Tell(Input, oneshot::Sender<Result<(), ApiError>>),
    /// Write this into the timeline, beside what the agent does.
    Note(String, oneshot::Sender<Result<(), ApiError>>),
    /// Answer once the journals of earlier lives are read.
    Ready(oneshot::Sender<()>),
    /// End for good when the agent is archived and its process has ended; answer whether it is so.
    Retire(oneshot::Sender<bool>),
}

/// The orders that wait for the owner of an agent.
pub(crate) struct Inbox {
    orders: mpsc::Receiver<Order>,
    /// One that came while something else could not be written, and could be by then.
    postponed: Option<Order>,
}

impl Inbox {
    pub(crate) fn new(orders: mpsc::Receiver<Order>) -> Inbox {
        Inbox { orders, postponed: None }
    }

    pub(super) async fn next(&mut self) -> Option<Order> {
        match self.postponed.take() {
            Some(order) => Some(order),
            None => self.orders.recv().await,
        }
    }
}

/// Writes until it is written. Whoever waits for it is told after the first failure that it is not, but will be; whoever
/// comes meanwhile makes it try at once, and is refused when that fails too.
pub(super) async fn persist(
    live: &Live,
    inbox: &mut Inbox,
    what: &str,
    mut write: impl FnMut() -> io::Result<()>,
    waiting: &mut Option<oneshot::Sender<Result<(), ApiError>>>,
) {
    let Err(error) = blocking(&mut write) else { return };
    tracing::error!(agent = %live.id, %error, "{what} cannot be written; trying again each second");
    let before = live.view();
    live.state(before.in_trouble(format!("{what} cannot be written: {error}; trying again each second")));
    let refusal =
        |hint: &str| ApiError::new(Code::Unavailable, format!("{what} cannot be written: {error}")).hint(hint);
    if let Some(done) = waiting.take() {
        let hint = "make room on the disk and ask again with the same id; it is carried out once";
        let _ = done.send(Err(refusal(hint)));
    }
    loop {
        let order = match tokio::time::timeout(RETRY, inbox.next()).await {
            // Nobody can ask any more; what is begun is written all the same.
            Ok(None) => {
                tokio::time::sleep(RETRY).await;
                None
            }
            Ok(order) => order,
            Err(_) => None,
        };
        if blocking(&mut write).is_ok() {
            tracing::info!(agent = %live.id, "{what} is written after all");
            live.state(View::clone(&before));
            inbox.postponed = order;
            return;
        }
        match order {
            Some(Order::Tell(_, done) | Order::Note(_, done)) => {
                let _ = done.send(Err(refusal("make room on the disk and ask again; nothing was changed")));
            }
            Some(Order::Ready(done)) => {
                let _ = done.send(());
            }
            Some(Order::Retire(done)) => {
                let _ = done.send(false);
            }
            None => {}
        }
    }
}

/// How long until something that could not be written is tried again.
const RETRY: Duration = Duration::from_secs(1);
