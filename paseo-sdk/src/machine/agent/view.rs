//! What everybody sees of an agent.

use super::{Agent, Process, Reports, Turn, Wish, told_prompt};
use crate::model::{self, Outcome, Permission, PromptId, Status, TurnEnd};

/// An agent as waiters see it.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// What everybody sees.
    pub agent: model::Agent,
    /// How the newest prompts ended, the oldest first.
    pub finished: Vec<TurnEnd>,
    /// Prompts that were told and whose turn has not begun, or is another one's.
    pub told: Vec<PromptId>,
    /// Whether the turn that runs was told to stop.
    pub stopping: bool,
    /// Whether there is a process, or one is being started.
    pub has_process: bool,
    /// The reports that it makes and gets.
    pub reports: Reports,
    /// What it wants of paseo.
    pub wishes: Vec<Wish>,
    /// What is wrong with the place where it works, if anything is.
    pub trouble: Option<String>,
}

impl View {
    /// Returns whether something is known of a prompt.
    #[must_use]
    pub fn knows(&self, prompt: &PromptId) -> bool {
        self.agent.queued.contains(prompt)
            || self.told.contains(prompt)
            || self.agent.turn.as_ref().is_some_and(|turn| turn.prompt_id.as_ref() == Some(prompt))
            || self.finished.iter().any(|end| end.prompt_id.as_ref() == Some(prompt))
    }

    /// Returns the same with something wrong.
    #[must_use]
    pub fn in_trouble(&self, trouble: String) -> View {
        let agent = model::Agent { reason: Some(trouble.clone()), ..self.agent.clone() };
        View { agent, trouble: Some(trouble), ..self.clone() }
    }
}

impl Agent {
    /// Returns what watchers see.
    #[must_use]
    pub fn view(&self, last_seq: i64) -> View {
        let about = &self.about;
        let status = self.status();
        let last_turn = self.progress.last_turn.clone();
        let reason = match status {
            Status::Error | Status::Interrupted => last_turn.as_ref().and_then(|end| end.reason.clone()),
            Status::Starting | Status::Idle | Status::Running | Status::Waiting | Status::Archived => None,
        };
        let agent = model::Agent {
            agent_id: about.agent_id.clone(),
            title: about.title.clone(),
            provider: about.provider.clone(),
            mode: self.mode().clone(),
            cwd: about.cwd.clone(),
            worktree: about.worktree.clone(),
            labels: about.labels.clone(),
            parent: about.parent.clone(),
            status,
            reason: self.trouble.clone().or(reason),
            turn: self.turn.as_ref().map(|turn| model::Turn {
                turn_id: turn.id().clone(),
                prompt_id: turn.prompt().cloned(),
                started_at: turn.started_at(),
            }),
            last_turn,
            last_message: self.progress.last_message.clone(),
            queued: self.outbox.waiting().filter_map(told_prompt).collect(),
            permissions: self.open_asks().cloned().collect(),
            usage: self.progress.usage,
            pid: match self.process {
                Process::Live { pid, .. } | Process::Leaving { pid, .. } => Some(pid),
                Process::Gone | Process::Starting { .. } => None,
            },
            last_seq,
            created_at: about.created_at,
            updated_at: self.progress.updated_at.max(about.updated_at),
            archived_at: about.archived_at,
        };
        let finished = self.progress.finished.iter().map(|finished| finished.end.clone()).collect();
        let aside = self.displaced.iter().chain(&self.returned).filter_map(|turn| turn.prompt().cloned());
        let told = self.behind.iter().chain(&self.joined).cloned().chain(aside).collect();
        // Their keys are for the machine itself.
        let Reports { to, outgoing, incoming, held, known: _ } = &about.reports;
        View {
            agent,
            finished,
            told,
            stopping: self.turn.as_ref().is_some_and(Turn::is_stopping),
            has_process: self.has_process(),
            reports: Reports {
                to: to.clone(),
                outgoing: outgoing.clone(),
                incoming: incoming.clone(),
                held: *held,
                ..Reports::default()
            },
            wishes: about.wishes.clone(),
            trouble: self.trouble.clone(),
        }
    }

    fn status(&self) -> Status {
        let queued = self.outbox.waiting().next().is_some();
        if self.about.archived_at.is_some() {
            Status::Archived
        } else if self.open_asks().next().is_some() {
            Status::Waiting
        } else if self.turn.is_some() || queued && matches!(self.process, Process::Live { .. }) {
            Status::Running
        } else if queued || matches!(self.process, Process::Starting { .. }) {
            Status::Starting
        } else {
            match self.progress.last_turn.as_ref().map(|end| end.outcome) {
                Some(Outcome::Interrupted) => Status::Interrupted,
                Some(Outcome::Error) => Status::Error,
                Some(Outcome::Completed | Outcome::Limit) | None => Status::Idle,
            }
        }
    }

    /// Returns the questions that nobody has answered.
    pub(super) fn open_asks(&self) -> impl Iterator<Item = &Permission> {
        let asks = self.asks.values().filter(|ask| self.outbox.tell(&self.answer_tell(&ask.request_id)).is_none());
        let wishes = self.about.wishes.iter().filter(|wish| wish.decision.is_none()).map(|wish| &wish.permission);
        asks.chain(wishes)
    }
}
