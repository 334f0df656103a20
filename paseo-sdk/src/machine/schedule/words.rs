//! What a schedule is told, and what it asks for.

use super::memory::Definition;
use crate::cadence;
use crate::model::{AgentId, PromptId, RunStatus, Usage, Worktree};

/// What a schedule is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// It is to be as this says from now on.
    Update(Box<Definition>),
    /// It is to run no more until it is resumed. A run that goes on goes on.
    Pause,
    /// It goes on, with the first slot from now on.
    Resume,
    /// It is to run once more, now or as soon as the runs before have ended. The same prompt runs once.
    Run(PromptId),
    /// It is to be forgotten, once the run that goes on has ended.
    Delete,
    /// The clock has gone on by so many milliseconds in which nothing ran, as the machine slept or the clock was set:
    /// these are not counted against a run.
    Shift(i64),
    /// Something has become of the run with this number.
    Fact(i64, Fact),
}

/// What becomes of a run that was started.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    /// The prompt is in the queue of this agent.
    Accepted(AgentId, PromptId),
    /// The agent is at work on it.
    Working,
    /// The agent waits for a permission, about which this says more.
    Waiting(String),
    /// The agent is busy with something else, and the run was not started.
    Busy,
    /// Its prompt was taken back before the agent began with it.
    Withdrawn,
    /// It cannot be started, for this reason.
    Refused(String),
    /// There is no such agent any more, or none that takes prompts: it never will start.
    Gone(String),
    /// It has ended, and nothing of it is left to be done.
    Ended(Box<Ending>),
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Ending {
    /// As what: one of those that have happened.
    pub status: RunStatus,
    /// Why.
    pub reason: Option<String>,
    /// The last thing that the agent said.
    pub last_message: Option<String>,
    /// Tokens and money.
    pub usage: Usage,
    /// The worktree that is left of it.
    pub worktree: Option<Worktree>,
}

/// What a schedule asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// To write its memory down, and only then to go on.
    Keep,
    /// To start the run with this number, or to go on with it where it was.
    Start(i64),
    /// To stop the run with this number, which is over when it says so.
    Stop(i64),
    /// To forget it.
    Forget,
}

/// Why a schedule does not take an input.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It would never be due.
    #[error(transparent)]
    Cadence(#[from] cadence::Refusal),
    /// It has ended.
    #[error("it has {0}")]
    Over(&'static str),
    /// Too many runs wait already.
    #[error("{0} runs wait already")]
    Full(usize),
    /// It is being deleted.
    #[error("it is being deleted")]
    Deleted,
    /// There is no such run, or it is elsewhere by now.
    #[error("there is no run {0} that this could be about")]
    NoRun(i64),
}
