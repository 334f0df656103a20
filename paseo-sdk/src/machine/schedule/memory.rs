//! What a schedule remembers: its file.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::cadence::{self, Cadence};
use crate::model::{
    AgentId, Duration, Mode, Overlap, Rhythm, Run, RunStatus, Schedule, ScheduleId, ScheduleStatus, Task, Timestamp,
    WhenMissed, in_one_line,
};

/// What somebody asks of a schedule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Definition {
    /// What people call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// When it is due.
    pub rhythm: Rhythm,
    /// What each run does.
    pub task: Task,
    /// After how many runs it completes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_runs: Option<i64>,
    /// When it expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// What becomes of slots that nobody was there for.
    #[serde(default)]
    pub when_missed: WhenMissed,
    /// What becomes of a slot while its target is busy.
    #[serde(default)]
    pub when_busy: Overlap,
    /// How free an agent may be to which another one has it say something; none when a person does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed: Option<Mode>,
}

impl Definition {
    /// Returns when it is due, counted from `anchor`.
    ///
    /// # Errors
    ///
    /// When its rhythm is none.
    pub fn cadence(&self, anchor: Timestamp) -> Result<Cadence, cadence::Refusal> {
        match (&self.rhythm.cron, self.rhythm.every) {
            (Some(cron), _) => Cadence::cron(cron, self.rhythm.timezone.as_deref().unwrap_or("UTC")),
            (None, every) => Cadence::every(every.unwrap_or(Duration { milliseconds: 0 }), anchor),
        }
    }
}

/// All that a schedule knows, as it is in its file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Memory {
    /// Its id.
    pub schedule_id: ScheduleId,
    /// What was asked of it.
    pub definition: Definition,
    /// A digest of the request that made it.
    pub request: String,
    /// The agent that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<AgentId>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When somebody changed it last.
    pub updated_at: Timestamp,
    /// What `every` counts from.
    pub anchor: Timestamp,
    /// Whether it goes on.
    pub status: ScheduleStatus,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether it is to be forgotten.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deleted: bool,
    /// Of every slot up to here it is decided what becomes of it.
    pub decided: Timestamp,
    /// The number of the newest record.
    pub numbered: i64,
    /// How many runs have happened.
    pub happened: i64,
    /// The runs that have not ended, the oldest first.
    #[serde(default)]
    pub open: Vec<Open>,
    /// The records of the others, the oldest first.
    #[serde(default)]
    pub history: VecDeque<Run>,
}

/// A run that has not ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Open {
    /// Its record.
    pub run: Run,
    /// What it does, as it was when the run was claimed.
    pub task: Task,
    /// What the schedule was called then.
    #[serde(default)]
    pub name: String,
    /// How free the agent may be that it is said to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed: Option<Mode>,
    /// Whether it is skipped when its agent is busy.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unless_busy: bool,
    /// When it has taken too long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
    /// Whether it has, and is being stopped.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stopping: bool,
}

impl Memory {
    /// Makes the memory of a new schedule.
    #[must_use]
    pub fn new(
        id: ScheduleId,
        definition: Definition,
        created_by: Option<AgentId>,
        request: String,
        now: Timestamp,
    ) -> Memory {
        Memory {
            schedule_id: id,
            definition,
            request,
            created_by,
            created_at: now,
            updated_at: now,
            anchor: now,
            status: ScheduleStatus::Active,
            reason: None,
            deleted: false,
            decided: now,
            numbered: 0,
            happened: 0,
            open: Vec::new(),
            history: VecDeque::new(),
        }
    }

    /// Returns what people call it.
    #[must_use]
    pub fn name(&self) -> String {
        if let Some(name) = &self.definition.name {
            return name.clone();
        }
        in_one_line(&self.definition.task.prompt, LONGEST_NAME)
    }

    /// Shows it, due at these times.
    #[must_use]
    pub fn shown(&self, next: Vec<Timestamp>) -> Schedule {
        let definition = self.definition.clone();
        Schedule {
            schedule_id: self.schedule_id.clone(),
            name: self.name(),
            rhythm: definition.rhythm,
            task: definition.task,
            max_runs: definition.max_runs,
            expires_at: definition.expires_at,
            when_missed: definition.when_missed,
            when_busy: definition.when_busy,
            created_by: self.created_by.clone(),
            status: self.status,
            reason: self.reason.clone(),
            next,
            runs: self.happened,
            open: self.open.iter().map(|open| open.run.clone()).collect(),
            last: self.history.iter().rev().find(|run| run.status.has_happened()).cloned(),
            created_at: self.created_at,
            updated_at: self.updated_at,
        }
    }

    /// Returns the newest records before a number, the newest first, at most `limit`; and whether there are older ones.
    #[must_use]
    pub fn page(&self, before: Option<i64>, limit: usize) -> (Vec<Run>, bool) {
        let mut all: Vec<&Run> = self.history.iter().chain(self.open.iter().map(|open| &open.run)).collect();
        all.sort_by_key(|run| std::cmp::Reverse(run.number));
        let mut wanted = all.into_iter().filter(|run| before.is_none_or(|before| run.number < before));
        let page = wanted.by_ref().take(limit).cloned().collect();
        (page, wanted.next().is_some())
    }

    pub(super) fn number(&mut self) -> i64 {
        self.numbered += 1;
        self.numbered
    }

    /// Writes down what became of slots, with a number unless it has one. Where they follow those of the newest record, and
    /// share their fate, that record is about them too.
    pub(super) fn record(&mut self, run: Run, follows: bool) {
        if run.status.has_happened() {
            self.happened += 1;
        }
        let same = |last: &&mut Run| {
            let of_slots = last.slots != Some(0) && run.slots != Some(0) && !run.status.has_happened();
            follows && of_slots && (last.status, &last.reason, last.into) == (run.status, &run.reason, run.into)
        };
        if let Some(last) = self.history.back_mut().filter(same) {
            last.last_slot = Some(run.last_slot.unwrap_or(run.slot));
            last.slots = last.slots.zip(run.slots).map(|(one, other)| one + other);
            last.ended_at = run.ended_at;
            return;
        }
        let number = if run.number == 0 { self.number() } else { run.number };
        self.history.push_back(Run { number, ..run });
        if self.history.len() > MOST_RECORDS {
            self.history.pop_front();
        }
    }
}

impl Open {
    /// Whether it waits for the runs before it.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.run.status == RunStatus::Pending
    }
}

/// How many records of what has ended are kept.
pub const MOST_RECORDS: usize = 200;

/// How much of a prompt stands for a name, in bytes.
const LONGEST_NAME: usize = 60;
