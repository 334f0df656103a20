//! Operations on schedules.

use serde::{Deserialize, Serialize};

use super::CreateWorktree;
use crate::model::{
    Duration, Mode, Overlap, PromptId, Run, Schedule, ScheduleId, ScheduleRef, ScheduleStatus, WhenMissed,
};

/// Makes a schedule, which says a prompt whenever it is due: to the calling agent itself (a heartbeat), to a new agent
/// each time, or to another agent. Give exactly one of `cron` and `every`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateSchedule {
    /// What is said each time. For a new agent of `shell`, a script.
    pub prompt: String,
    /// When: minute, hour, day of the month, month and day of the week, as in crontab; or `@hourly`, `@daily`, `@weekly`,
    /// `@monthly`, `@yearly`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// How often, such as `30s`, `5m`, `1h30m` or `1.5h`; at least `1s`, counted from now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<Duration>,
    /// The time zone of `cron` by its IANA name, such as `Europe/Berlin`. Default: that of the daemon's machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// The id to give the schedule. The same id with the same arguments gets the same schedule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule_id: Option<ScheduleId>,
    /// What people call it. Default: the beginning of the prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Who it is said to: `self`, `new-agent`, or an agent by its id, an unambiguous prefix of it or its exact title.
    /// Default: `self` when an agent calls, else `new-agent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// With `new-agent`: `provider` or `provider/model`. Default: that of the calling agent, else `claude/sonnet`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// With `new-agent`: the directory to work in, an absolute path. Default: that of the calling agent; without one it is
    /// needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// With `new-agent`: how freely it may act. Default: the calling agent's mode, else `default`, in which runs wait for
    /// permission.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// With `new-agent`: make this worktree for each run. A new branch gets the number of the run behind its name, and four
    /// digits that no other run has. It is removed after the run when nothing in it is uncommitted; its branch stays when it
    /// has new commits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worktree: Option<CreateWorktree>,
    /// Complete after so many runs; those that are skipped do not count. Default: no end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_runs: Option<i64>,
    /// Expire after this time, such as `8h`. Default: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<Duration>,
    /// What becomes of slots that were missed, as the daemon was down or the machine slept.
    #[serde(default)]
    pub when_missed: WhenMissed,
    /// What becomes of a slot while the target is busy.
    #[serde(default)]
    pub when_busy: Overlap,
    /// How long a run may take, waiting for permissions included, before it is stopped. Default `24h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_timeout: Option<Duration>,
    /// Tell the calling agent, by a prompt, how each run ends, or that it needs permission. Not with `self`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub notify_on_finish: bool,
}

impl CreateSchedule {
    /// Makes a schedule that is due every so often.
    #[must_use]
    pub fn every(every: Duration, prompt: impl Into<String>) -> CreateSchedule {
        CreateSchedule { every: Some(every), prompt: prompt.into(), ..CreateSchedule::default() }
    }

    /// Makes a schedule that is due as a crontab says.
    #[must_use]
    pub fn cron(cron: impl Into<String>, prompt: impl Into<String>) -> CreateSchedule {
        CreateSchedule { cron: Some(cron.into()), prompt: prompt.into(), ..CreateSchedule::default() }
    }
}

/// Lists schedules, the one that is due next first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListSchedules {
    /// Only those with one of these statuses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub statuses: Vec<ScheduleStatus>,
}

/// Schedules.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Schedules {
    /// The schedules, the one that is due next first.
    pub schedules: Vec<Schedule>,
}

/// Shows a schedule with its runs, the newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InspectSchedule {
    /// The schedule: its id, an unambiguous prefix of it, or its exact name.
    pub schedule_id: ScheduleRef,
    /// At most so many runs, from 1 to 200; default 20.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
    /// Only runs with a smaller number: `nextBefore` of the answer before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<i64>,
}

/// A schedule, and a page of its runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct InspectedSchedule {
    /// The schedule.
    pub schedule: Schedule,
    /// What became of its slots, the newest first. Of what has ended, the newest 200 records are kept.
    pub runs: Vec<Run>,
    /// Give it as `before` for the next page; none when this is the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_before: Option<i64>,
}

/// Changes a schedule. What is left out stays; a run that goes on is not changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UpdateSchedule {
    /// The schedule: its id, an unambiguous prefix of it, or its exact name.
    pub schedule_id: ScheduleRef,
    /// What is said each time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// When it is due, in place of what it had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// How often it is due, in place of what it had; counted from now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<Duration>,
    /// The time zone of `cron`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// What people call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Of new agents: `provider` or `provider/model`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// Of new agents: how freely they may act.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Complete after so many runs; 0 for no end. Those that have happened count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_runs: Option<i64>,
    /// Expire after this time from now; `0s` for never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<Duration>,
    /// What becomes of slots that were missed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when_missed: Option<WhenMissed>,
    /// What becomes of a slot while the target is busy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when_busy: Option<Overlap>,
    /// How long a run may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_timeout: Option<Duration>,
}

impl UpdateSchedule {
    /// Makes a change that changes nothing yet.
    #[must_use]
    pub fn new(schedule: impl Into<ScheduleRef>) -> UpdateSchedule {
        UpdateSchedule {
            schedule_id: schedule.into(),
            prompt: None,
            cron: None,
            every: None,
            timezone: None,
            name: None,
            provider: None,
            mode: None,
            max_runs: None,
            expires_in: None,
            when_missed: None,
            when_busy: None,
            run_timeout: None,
        }
    }
}

/// Lets a schedule run no more until it is resumed. A run that goes on goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PauseSchedule {
    /// The schedule: its id, an unambiguous prefix of it, or its exact name.
    pub schedule_id: ScheduleRef,
}

/// Lets a paused schedule go on, with the first slot from now on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResumeSchedule {
    /// The schedule: its id, an unambiguous prefix of it, or its exact name.
    pub schedule_id: ScheduleRef,
}

/// Runs a schedule now, or as soon as the runs before have ended, besides when it is due. It answers at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RunSchedule {
    /// The schedule: its id, an unambiguous prefix of it, or its exact name.
    pub schedule_id: ScheduleRef,
    /// The id to give the prompt of the run. The same id runs once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_id: Option<PromptId>,
}

/// Deletes a schedule with the records of its runs. A run that goes on comes to its end; the agents stay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeleteSchedule {
    /// The schedule: its id, an unambiguous prefix of it, or its exact name.
    pub schedule_id: ScheduleRef,
}

/// What was deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct DeletedSchedule {
    /// The schedule.
    pub schedule_id: ScheduleId,
}
