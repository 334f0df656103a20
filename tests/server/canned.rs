//! A service with canned answers: enough of a daemon to try its doors.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use futures_core::Stream;
use paseo_sdk::catalogue::*;
use paseo_sdk::error::{ApiError, Code};
use paseo_sdk::model::{Agent, Schedule, Timestamp, Worktree};
use paseo_sdk::operation::{Caller, Handle, Principal, Reporter};
use tokio::sync::{Notify, mpsc, oneshot};

/// Answers as its fields say.
#[derive(Default)]
pub(crate) struct Canned {
    /// What the next calls of `watch_agents` follow.
    pub(crate) streams: Mutex<VecDeque<Numbers>>,
    /// Told when a wait, which never ends by itself, begins.
    pub(crate) waiting: Notify,
    /// Taken by the next wait, and dropped when it is.
    pub(crate) wait: Mutex<Option<oneshot::Sender<()>>>,
    /// Told when an archiving begins.
    pub(crate) archiving: Notify,
    /// Lets an archiving end.
    pub(crate) archive: Notify,
    /// Where the making of a worktree hands its reporter, and waits to be told what to answer.
    pub(crate) making: Mutex<Option<mpsc::UnboundedSender<Making>>>,
}

/// The making of a worktree, in the hands of a test. Dropped, it is answered.
pub(crate) struct Making {
    pub(crate) reporter: Reporter,
    #[expect(dead_code, reason = "it does its work by being dropped")]
    end: oneshot::Sender<()>,
}

impl Canned {
    /// Lets the test play the makers of worktrees.
    pub(crate) fn makings(&self) -> mpsc::UnboundedReceiver<Making> {
        let (sender, makings) = mpsc::unbounded_channel();
        *self.making.lock().expect("no panic") = Some(sender);
        makings
    }
}

impl Handle<CreateWorktree> for Canned {
    async fn handle(&self, caller: Caller, _: CreateWorktree) -> Result<Worktree, ApiError> {
        let (end, ended) = oneshot::channel();
        if let Some(making) = &*self.making.lock().expect("no panic") {
            let _ = making.send(Making { reporter: caller.reporter, end });
        }
        let _ = ended.await;
        Err(ApiError::new(Code::Conflict, "made by somebody else"))
    }
}

impl Handle<GetDaemon> for Canned {
    async fn handle(&self, caller: Caller, _: GetDaemon) -> Result<DaemonInfo, ApiError> {
        let who = match caller.who {
            Principal::User => "user".to_owned(),
            Principal::Agent(id) => format!("agent {id}"),
        };
        Ok(DaemonInfo {
            version: "1".to_owned(),
            pid: 1,
            home: "/".to_owned(),
            listen: Vec::new(),
            started_at: Timestamp(0),
            agents: 0,
            running: 0,
            pending_permissions: 0,
            schedules: 0,
            warnings: vec![who],
        })
    }
}

impl Handle<ListAgents> for Canned {
    async fn handle(&self, _: Caller, _: ListAgents) -> Result<Agents, ApiError> {
        Ok(Agents::default())
    }
}

impl Handle<WatchAgents> for Canned {
    async fn handle(&self, caller: Caller, _: WatchAgents) -> Result<Watching, ApiError> {
        let feed = caller.feed.ok_or_else(|| ApiError::new(Code::Unsupported, "no feed"))?;
        if let Some(stream) = self.streams.lock().expect("no panic").pop_front() {
            feed.follow(Box::pin(stream));
        }
        Ok(Watching::default())
    }
}

impl Handle<WaitForAgent> for Canned {
    async fn handle(&self, _: Caller, _: WaitForAgent) -> Result<AgentOutcome, ApiError> {
        let _held = self.wait.lock().expect("no panic").take();
        self.waiting.notify_one();
        std::future::pending().await
    }
}

impl Handle<ArchiveAgent> for Canned {
    async fn handle(&self, _: Caller, _: ArchiveAgent) -> Result<Agent, ApiError> {
        self.archiving.notify_one();
        self.archive.notified().await;
        Err(ApiError::new(Code::Conflict, "archived by somebody else"))
    }
}

impl Handle<DeleteAgent> for Canned {
    async fn handle(&self, _: Caller, _: DeleteAgent) -> Result<DeletedAgent, ApiError> {
        Err(ApiError::new(Code::Refused, "it would lose something"))
    }
}

impl Handle<ListProviders> for Canned {
    async fn handle(&self, _: Caller, _: ListProviders) -> Result<Providers, ApiError> {
        panic!("a handler panics on purpose")
    }
}

macro_rules! no_answer {
    ($($request:ident -> $answer:ident;)*) => {$(
        impl Handle<$request> for Canned {
            async fn handle(&self, _: Caller, _: $request) -> Result<$answer, ApiError> {
                Err(ApiError::new(Code::Unsupported, "there is no canned answer"))
            }
        }
    )*};
}

no_answer! {
    ListWorktrees -> Worktrees;
    ArchiveWorktree -> ArchivedWorktree;
    RestoreWorktree -> Worktree;
    TrustWorktree -> Worktree;
    CreateAgent -> AgentOutcome;
    SendAgentPrompt -> AgentOutcome;
    GetAgentStatus -> Agent;
    GetAgentTimeline -> TimelinePage;
    GetAgentActivity -> Activity;
    UpdateAgent -> Agent;
    SetAgentMode -> Agent;
    CreateSchedule -> Schedule;
    ListSchedules -> Schedules;
    InspectSchedule -> InspectedSchedule;
    UpdateSchedule -> Schedule;
    PauseSchedule -> Schedule;
    ResumeSchedule -> Schedule;
    RunSchedule -> Schedule;
    DeleteSchedule -> DeletedSchedule;
    ListModels -> Models;
    CancelAgent -> Agent;
    ListPendingPermissions -> Permissions;
    RespondToPermission -> Agent;
    ShutdownDaemon -> ShuttingDown;
}

/// Events `name 0`, `name 1` and so on, each of at least `size` bytes; after `count` of them nothing, but no end.
pub(crate) struct Numbers {
    pub(crate) name: &'static str,
    pub(crate) count: usize,
    pub(crate) size: usize,
    /// How many were asked for.
    pub(crate) asked: Arc<AtomicUsize>,
    #[expect(dead_code, reason = "it does its work by being dropped with the stream")]
    pub(crate) dropped: Option<oneshot::Sender<()>>,
}

impl Numbers {
    pub(crate) fn new(name: &'static str, count: usize) -> Numbers {
        Numbers { name, count, size: 0, asked: Arc::default(), dropped: None }
    }
}

impl Stream for Numbers {
    type Item = Arc<str>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Arc<str>>> {
        let number = self.asked.load(Ordering::Relaxed);
        if number == self.count {
            return Poll::Pending;
        }
        self.asked.store(number + 1, Ordering::Relaxed);
        let text = format!("{} {number}", self.name);
        Poll::Ready(Some(format!("{text:<width$}", width = self.size).into()))
    }
}
