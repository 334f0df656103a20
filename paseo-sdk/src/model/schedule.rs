//! Schedules, and the runs that they make.

use serde::{Deserialize, Serialize};

use super::{AgentId, Duration, Mode, PromptId, ScheduleId, Timestamp, Usage, Worktree};
use crate::catalogue::CreateWorktree;

/// A schedule, as it is now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Schedule {
    /// The schedule's id.
    pub schedule_id: ScheduleId,
    /// What people call it: the name that was given, else the beginning of the prompt.
    pub name: String,
    /// When it is due.
    #[serde(flatten)]
    pub rhythm: Rhythm,
    /// What each run does.
    #[serde(flatten)]
    pub task: Task,
    /// After how many runs it completes; none when only somebody ends it. Runs that were skipped do not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_runs: Option<i64>,
    /// When it expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// What becomes of slots that nobody was there for.
    pub when_missed: WhenMissed,
    /// What becomes of a slot while its target is busy.
    pub when_busy: Overlap,
    /// The agent that made it; none when a person did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<AgentId>,
    /// Whether it goes on.
    pub status: ScheduleStatus,
    /// Why the status is what it is, where that needs a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it is due next, at most three times; empty when it is not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub next: Vec<Timestamp>,
    /// How many runs have happened: those that have ended other than by being skipped.
    pub runs: i64,
    /// The runs that wait or go on, the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub open: Vec<Run>,
    /// The run that ended last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Run>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When somebody changed it last.
    pub updated_at: Timestamp,
}

/// When a schedule is due: one of the two.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Rhythm {
    /// Five fields as in crontab, or a name such as `@daily`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// The time zone of `cron`, by its IANA name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// Every so often, counted from when it was made or last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<Duration>,
}

/// What each run of a schedule does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Task {
    /// What is said.
    pub prompt: String,
    /// The agent that it is said to; none when each run makes a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<AgentId>,
    /// Of a new agent: its provider, or `provider/model`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// Of a new agent: how freely it may act.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Of a new agent: where it works.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// Of a new agent: the worktree that is made for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worktree: Option<CreateWorktree>,
    /// How long a run may take.
    pub run_timeout: Duration,
    /// Whether the agent that made the schedule is told how each run ends.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub notify_on_finish: bool,
}

/// Whether a schedule goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[serde(rename_all = "snake_case")]
pub enum ScheduleStatus {
    /// It runs when it is due.
    Active,
    /// Somebody paused it, or it cannot go on as it is.
    Paused,
    /// It has run as often as it was to.
    Completed,
    /// Its time is over.
    Expired,
}

/// What becomes of slots that nobody was there for, as the daemon was down or the machine slept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[serde(rename_all = "snake_case")]
pub enum WhenMissed {
    /// One run makes up for all of them.
    #[default]
    Once,
    /// They are skipped.
    Skip,
}

/// What becomes of a slot while the target is busy: with an earlier run, or, when it is an agent, with anything else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// One run waits until the target is free, and makes up for all slots until then.
    #[default]
    Coalesce,
    /// It is skipped.
    Skip,
    /// Each waits for its turn, at most 100.
    Queue,
}

/// What became of one slot of a schedule, or of several in a row that share their fate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// The number of this record within its schedule, from 1.
    pub number: i64,
    /// When it was due: the time of its slot, or when somebody asked for it.
    pub slot: Timestamp,
    /// With more than one slot: the last of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_slot: Option<Timestamp>,
    /// How many slots this is about; 0 for a run that somebody asked for, none when there were too many to count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slots: Option<i64>,
    /// How it is, or how it ended.
    pub status: RunStatus,
    /// Why, where the status alone does not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Of slots that were coalesced: the number of the run that makes up for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub into: Option<i64>,
    /// The agent that does it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<AgentId>,
    /// The prompt in which it was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_id: Option<PromptId>,
    /// The worktree that was made for it and is still there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worktree: Option<Worktree>,
    /// The last thing that the agent said, shortened to its last KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_message: Option<String>,
    /// Tokens and money.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// When the agent began with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
}

/// How a run is, or how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// It waits for an earlier run of its schedule.
    Pending,
    /// It is written down that it starts, or it waits in the queue of its agent.
    Claimed,
    /// The agent is at work.
    Running,
    /// The agent waits for a permission.
    Waiting,
    /// The agent finished.
    Succeeded,
    /// The agent failed, or could not be started.
    Failed,
    /// Somebody stopped it, or it took longer than `runTimeout`.
    Interrupted,
    /// It was not run.
    Skipped,
    /// Another run makes up for it.
    Coalesced,
}

impl RunStatus {
    /// Whether it has ended.
    #[must_use]
    pub fn has_ended(self) -> bool {
        !matches!(self, RunStatus::Pending | RunStatus::Claimed | RunStatus::Running | RunStatus::Waiting)
    }

    /// Whether it has ended, and something ran.
    #[must_use]
    pub fn has_happened(self) -> bool {
        matches!(self, RunStatus::Succeeded | RunStatus::Failed | RunStatus::Interrupted)
    }
}
