//! One run of a schedule, from its claim to its end. It may be carried out again from the start after a crash: the ids of
//! its agent and its prompt follow from its number, so that it is the same run.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use paseo_sdk::catalogue::{ArchiveWorktree, CreateAgent, WaitUntil, WhenBusy};
use paseo_sdk::error::{ApiError, Code};
use paseo_sdk::machine::agent::{Input, Report, View, over};
use paseo_sdk::machine::schedule::{Ending, Fact, Memory, Open};
use paseo_sdk::model::{
    AgentId, Mode, Prompt, PromptId, RunStatus, ScheduleId, Speaker, Status, WaitOutcome, Worktree,
};
use paseo_sdk::operation::{Caller, Handle as _};
use sha2::{Digest as _, Sha256};
use tokio::sync::{mpsc, watch};

use crate::Core;
use crate::agents::{Errand, Owned, belongs};
use crate::fault::{Point, reached};
use crate::owner::now;

/// A run that is carried out.
pub(super) struct Run {
    schedule: ScheduleId,
    number: i64,
    /// The agent that made the schedule.
    made_by: Option<AgentId>,
    open: Open,
    agent_id: AgentId,
    prompt_id: PromptId,
    core: Arc<Core>,
    stopped: watch::Receiver<bool>,
    facts: mpsc::Sender<(ScheduleId, i64, Fact)>,
}

/// How an agent is with the prompt of a run.
#[derive(Clone, Debug, PartialEq)]
enum State {
    Queued,
    Working,
    Waiting(String),
}

impl Run {
    pub(super) fn of(
        memory: &Memory,
        open: Open,
        core: Arc<Core>,
        stopped: watch::Receiver<bool>,
        facts: mpsc::Sender<(ScheduleId, i64, Fact)>,
    ) -> Run {
        let number = open.run.number;
        // A schedule that was deleted and made again has other runs.
        let key = format!("{} {} {number}", memory.schedule_id, memory.created_at.0);
        let digest = Sha256::digest(key);
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        let id = uuid::Builder::from_custom_bytes(bytes).into_uuid().to_string();
        let fits = "a uuid is an id";
        Run {
            schedule: memory.schedule_id.clone(),
            number,
            made_by: memory.created_by.clone(),
            agent_id: open.task.agent_id.clone().unwrap_or_else(|| id.parse().expect(fits)),
            prompt_id: open.run.prompt_id.clone().unwrap_or_else(|| id.parse().expect(fits)),
            open,
            core,
            stopped,
            facts,
        }
    }

    /// Carries it out to its end, and says what becomes of it.
    pub(super) async fn carry_out(mut self) {
        self.core.schedules.awake().await;
        let fact = match self.begin_in_time().await {
            Ok(owned) => self.follow(&owned).await,
            Err(fact) => fact,
        };
        self.tell_maker(&fact).await;
        self.say(fact).await;
    }

    async fn say(&self, fact: Fact) {
        // Without its keeper the daemon is about to end.
        let _ = self.facts.send((self.schedule.clone(), self.number, fact)).await;
    }

    fn speaker(&self) -> Speaker {
        let (schedule_id, name) = (self.schedule.clone(), self.open.name.clone());
        Speaker::Schedule { schedule_id, name, made_by: self.made_by.clone() }
    }

    /// Whether an earlier daemon has told the agent already.
    fn is_accepted(&self) -> bool {
        self.open.run.agent_id.is_some()
    }

    /// Sees to it that the agent has the prompt, unless that takes too long: then nothing is left of a new agent.
    async fn begin_in_time(&mut self) -> Result<Arc<Owned>, Fact> {
        let mut stopped = self.stopped.clone();
        tokio::select! {
            begun = self.begin() => begun,
            Ok(_) = stopped.wait_for(|stopped| *stopped) => {
                match self.core.agents.get(&self.agent_id).filter(|_| self.open.task.agent_id.is_none()) {
                    // It is there, and is stopped as one that has begun.
                    Some(owned) => Ok(owned),
                    None => Err(ended(RunStatus::Interrupted, "it could not begin in time")),
                }
            }
        }
    }

    async fn begin(&self) -> Result<Arc<Owned>, Fact> {
        loop {
            let begun = match (&self.open.task.agent_id, self.core.agents.get(&self.agent_id)) {
                (None, None) if self.is_accepted() => return Err(ended(RunStatus::Interrupted, DELETED)),
                (None, None) => match &self.made_by {
                    Some(maker) if self.core.agents.get(maker).is_none() => {
                        return Err(Fact::Gone(format!("agent {maker}, which made it, was deleted")));
                    }
                    _ => self.make().await,
                },
                // This run has made it.
                (None, Some(owned)) => self.tell(&owned).await.map(|()| owned),
                (Some(id), None) => return Err(Fact::Gone(format!("there is no agent {id} any more"))),
                (Some(_), Some(owned)) => match self.objection(&owned) {
                    Some(objection) => return Err(objection),
                    None => self.tell(&owned).await.map(|()| owned),
                },
            };
            match begun {
                Ok(owned) => {
                    reached(Point::RunAccepted);
                    self.say(Fact::Accepted(self.agent_id.clone(), self.prompt_id.clone())).await;
                    return Ok(owned);
                }
                // The disk or the queue is full, and the prompt may have been accepted all the same: it is told again, with
                // the same id.
                Err(error) if error.code == Code::Unavailable && self.core.agents.get(&self.agent_id).is_some() => {
                    tokio::time::sleep(RETRY).await;
                }
                Err(error) => return Err(refused(&error)),
            }
        }
    }

    /// Makes the agent of this run, with its prompt.
    async fn make(&self) -> Result<Arc<Owned>, ApiError> {
        let task = &self.open.task;
        let mut worktree = task.worktree.clone();
        if let Some(branch) = worktree.as_mut().and_then(|worktree| worktree.branch_name.as_mut()) {
            // No other run has this branch.
            branch.push_str(&format!("-{}-{}", self.number, &self.agent_id.as_str()[..4]));
        }
        let request = CreateAgent {
            agent_id: Some(self.agent_id.clone()),
            prompt_id: Some(self.prompt_id.clone()),
            cwd: task.cwd.clone(),
            mode: Some(task.mode.clone().unwrap_or(Mode::Default)),
            labels: [("schedule".to_owned(), self.schedule.to_string())].into(),
            worktree,
            ..CreateAgent::new(&self.open.name, task.provider.as_deref().unwrap_or_default(), &task.prompt)
        };
        let errand = Errand { from: self.speaker(), made_by: self.made_by.clone(), reports: task.notify_on_finish };
        self.core.create_for(errand, &request).await
    }

    /// Says why an agent that is there is not told the prompt. One that was told already is not told again.
    fn objection(&self, owned: &Owned) -> Option<Fact> {
        let view = owned.live.view();
        if view.knows(&self.prompt_id) {
            return None;
        }
        if self.is_accepted() {
            return Some(self.lost());
        }
        let id = &self.agent_id;
        if view.agent.status == Status::Archived {
            return Some(Fact::Gone(format!("agent {id} is archived")));
        }
        let mode = &view.agent.mode;
        if self.open.allowed.as_ref().is_some_and(|allowed| !allowed.may_give(mode)) {
            let why = "freer than when an agent was allowed to have it say this";
            return Some(Fact::Gone(format!("agent {id} is in mode {mode} by now, {why}")));
        }
        let busy = view.agent.turn.is_some() || !view.agent.queued.is_empty();
        (self.open.unless_busy && busy).then_some(Fact::Busy)
    }

    /// Tells an agent the prompt.
    async fn tell(&self, owned: &Owned) -> Result<(), ApiError> {
        let knows = owned.live.view().knows(&self.prompt_id);
        if !knows && let (true, Some(made_by)) = (self.open.task.notify_on_finish, &self.made_by) {
            owned.tell(Input::ReportTo(made_by.clone())).await?;
        }
        let prompt = Prompt { text: self.open.task.prompt.clone(), from: Some(self.speaker()), ..Prompt::default() };
        owned.tell(Input::Prompt { id: self.prompt_id.clone(), prompt, when_busy: WhenBusy::Queue }).await
    }

    /// Waits until the agent has ended, and stops it when it takes too long.
    async fn follow(&mut self, owned: &Arc<Owned>) -> Fact {
        let mut views = owned.live.views();
        let (mut known, mut stops) = (State::Queued, false);
        let outcome = loop {
            let view = views.borrow_and_update().clone();
            let has_ended = view.finished.iter().any(|end| end.prompt_id.as_ref() == Some(&self.prompt_id));
            if !has_ended && (!view.knows(&self.prompt_id) || view.agent.status == Status::Archived) {
                self.put_away(owned).await;
                return self.lost();
            }
            if let Some(outcome) = over(&view, Some(&self.prompt_id), WaitUntil::Finished) {
                break outcome;
            }
            let state = self.state(&view);
            if state != known {
                known = state;
                match &known {
                    State::Queued => {}
                    State::Working => self.say(Fact::Working).await,
                    State::Waiting(what) => self.say(Fact::Waiting(what.clone())).await,
                }
                self.open.run.started_at.get_or_insert(now());
            }
            if !stops && *self.stopped.borrow() && known != State::Queued {
                stops = true;
                if let Err(error) = owned.tell(Input::StopPrompt(self.prompt_id.clone())).await {
                    tracing::warn!("run {} of schedule {} cannot be stopped: {error}", self.number, self.schedule);
                    stops = false;
                }
            }
            tokio::select! {
                changed = views.changed() => if changed.is_err() {
                    // The daemon stops, and the next one goes on with it.
                    return std::future::pending().await;
                },
                Ok(()) = self.stopped.changed() => {}
            }
        };
        if self.open.run.started_at.is_none() && outcome.outcome == Some(WaitOutcome::Interrupted) {
            self.put_away(owned).await;
            return Fact::Withdrawn;
        }
        if known == State::Queued {
            // It was over at once, or while nobody looked.
            self.say(Fact::Working).await;
        }
        let worktree = self.put_away(owned).await;
        let status = match outcome.outcome {
            Some(WaitOutcome::Completed) => RunStatus::Succeeded,
            Some(WaitOutcome::Error | WaitOutcome::Limit) => RunStatus::Failed,
            _ => RunStatus::Interrupted,
        };
        let last_message = outcome.last_message.map(|message| tail(&message).to_owned());
        Fact::Ended(Box::new(Ending { status, reason: outcome.reason, last_message, usage: outcome.usage, worktree }))
    }

    fn state(&self, view: &View) -> State {
        let turn = view.agent.turn.as_ref();
        match turn.is_some_and(|turn| turn.prompt_id.as_ref() == Some(&self.prompt_id)) {
            false => State::Queued,
            true => match view.agent.permissions.first() {
                None => State::Working,
                Some(permission) => {
                    let id = &permission.request_id;
                    State::Waiting(format!("permission {id} is asked for: {}", permission.title))
                }
            },
        }
    }

    /// What became of a prompt that its agent has no more.
    fn lost(&self) -> Fact {
        match self.open.run.started_at {
            None => Fact::Withdrawn,
            Some(_) => ended(RunStatus::Interrupted, "its turn was ended with its agent"),
        }
    }

    /// Ends the process of the agent that was made for this run, and removes its worktree if nothing is left in it; returns
    /// the worktree otherwise. An agent that somebody has gone on talking to stays.
    async fn put_away(&self, owned: &Arc<Owned>) -> Option<Worktree> {
        if self.open.task.agent_id.is_some() {
            return None;
        }
        let agent = owned.live.view().agent.clone();
        let left = agent.worktree.filter(|_| self.open.task.worktree.is_some());
        if agent.turn.is_some() || !agent.queued.is_empty() {
            return left;
        }
        let archived = async {
            // What it has to report is the end of its turn.
            owned.tell(Input::ReportNoMore).await?;
            owned.archive().await
        };
        if let Err(error) = archived.await {
            tracing::warn!("the agent of run {} of schedule {} stays: {error}", self.number, self.schedule);
        }
        let left = left?;
        // Only a new branch is surely this run's own; others may have been here before.
        let own = left.created || self.open.task.worktree.as_ref().is_some_and(|wanted| wanted.branch_name.is_some());
        match own {
            false => Some(left),
            true => match self.remove(&left).await {
                Ok(()) => None,
                // It is said in the record of the run.
                Err(error) if error.code == Code::Refused => Some(left),
                Err(error) => {
                    tracing::warn!("the worktree {} stays: {error}", left.worktree_path);
                    Some(left)
                }
            },
        }
    }

    async fn remove(&self, worktree: &Worktree) -> Result<(), ApiError> {
        let path = Path::new(&worktree.worktree_path);
        let others = self.core.agents.all().into_iter().map(|owned| owned.live.view());
        if others.into_iter().any(|view| view.agent.status != Status::Archived && belongs(&view.agent, path)) {
            return Err(ApiError::new(Code::Refused, "another agent works there"));
        }
        let moved = self.core.worktrees.has_moved(&worktree.worktree_path).await?;
        let request = ArchiveWorktree {
            worktree_path: Some(worktree.worktree_path.clone()),
            keep_branch: moved,
            ..ArchiveWorktree::default()
        };
        match self.core.handle(Caller::user(), request).await {
            // An earlier daemon has done it.
            Err(error) if error.code == Code::NotFound => Ok(()),
            removed => removed.map(drop),
        }
    }

    /// Tells the agent that made the schedule of a run that never began: of others their agents report.
    async fn tell_maker(&self, fact: &Fact) {
        let (Fact::Refused(why) | Fact::Gone(why)) = fact else { return };
        let maker = self.made_by.as_ref().filter(|_| self.open.task.notify_on_finish);
        let Some(maker) = maker.and_then(|maker| self.core.agents.get(maker)) else { return };
        let name =
            Speaker::Schedule { schedule_id: self.schedule.clone(), name: self.open.name.clone(), made_by: None };
        let report = Report {
            key: format!("{}:run:{}", self.schedule, self.prompt_id),
            text: format!("Run {} of {name} could not begin: {why}.", self.number),
        };
        if let Err(error) = maker.tell(Input::Report(report)).await {
            tracing::warn!("agent {} is not told of a run that could not begin: {error}", maker.live.id);
        }
    }
}

impl Drop for Run {
    /// A fault of paseo's own is no reason for the schedule to wait for this run for ever.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let fact = ended(RunStatus::Interrupted, "a fault of paseo; the daemon's log says more");
            let _ = self.facts.try_send((self.schedule.clone(), self.number, fact));
        }
    }
}

fn refused(error: &ApiError) -> Fact {
    let hint = error.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
    Fact::Refused(format!("{}{hint}", error.message))
}

fn ended(status: RunStatus, why: &str) -> Fact {
    Fact::Ended(Box::new(Ending {
        status,
        reason: Some(why.to_owned()),
        last_message: None,
        usage: Default::default(),
        worktree: None,
    }))
}

/// Returns the end of a message.
fn tail(message: &str) -> &str {
    let start = message.len().saturating_sub(LONGEST_MESSAGE);
    let start = (start..=message.len()).find(|at| message.is_char_boundary(*at)).unwrap_or_default();
    &message[start..]
}

/// How long until a prompt that could not be written down is told again.
const RETRY: Duration = Duration::from_secs(1);

const DELETED: &str = "the agent was deleted";

/// How much is kept of what an agent said last, in bytes.
const LONGEST_MESSAGE: usize = 1024;
