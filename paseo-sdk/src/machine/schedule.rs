//! One schedule: each of its slots ends in exactly one record, whatever the clock does and whenever the daemon dies.
//!
//! A slot is decided when its time has come: it becomes a run of its own, is made up for by another one, or is skipped.
//! Runs of a schedule go on one after another. One is claimed, in the schedule's file, before it is started; what is
//! started has ids that follow from its number, so that a run which is started again after a crash is the same run.

mod memory;
mod words;

use std::collections::VecDeque;

pub use memory::{Definition, MOST_RECORDS, Memory, Open};
pub use words::{Ending, Fact, Input, Output, Refusal};

use super::Machine;
use crate::cadence::{self, Cadence};
use crate::model::{self, Overlap, PromptId, Run, RunStatus, ScheduleStatus, Timestamp, WhenMissed};

/// A schedule.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    memory: Memory,
    cadence: Cadence,
    out: VecDeque<Output>,
}

/// How many runs may wait.
pub const MOST_OPEN: usize = 100;

/// How late a slot may be and not be missed, in milliseconds; or half of the time to the next one, if that is less.
pub const GRACE: i64 = 30_000;

/// How far the clock may go back, in milliseconds, before slots that it shows for the second time are due again. It was
/// wrong before, then, and to wait until it is as late again would be to stop.
pub const SETBACK: i64 = 24 * 60 * 60 * 1000;

/// Up to how many slots are counted that are in one record.
const MOST_COUNTED: u32 = 10_000;

impl Schedule {
    /// Makes the machine of a new schedule.
    ///
    /// # Errors
    ///
    /// When its rhythm is none.
    pub fn new(memory: Memory) -> Result<Schedule, cadence::Refusal> {
        let mut made = Schedule::load(memory)?;
        made.keep();
        Ok(made)
    }

    /// Makes the machine of a schedule that an earlier daemon had: what that had claimed is gone on with.
    ///
    /// # Errors
    ///
    /// When its rhythm is none.
    pub fn load(memory: Memory) -> Result<Schedule, cadence::Refusal> {
        let cadence = memory.definition.cadence(memory.anchor)?;
        let mut out = VecDeque::new();
        for open in memory.open.iter().filter(|open| !open.is_pending()) {
            out.push_back(Output::Start(open.run.number));
            if open.stopping {
                out.push_back(Output::Stop(open.run.number));
            }
        }
        if memory.deleted && out.is_empty() {
            out.push_back(Output::Forget);
        }
        Ok(Schedule { memory, cadence, out })
    }

    /// Returns all that it knows.
    #[must_use]
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Returns a run that has not ended.
    #[must_use]
    pub fn run(&self, number: i64) -> Option<&Open> {
        self.memory.open.iter().find(|open| open.run.number == number)
    }

    /// Shows it, with the next times.
    #[must_use]
    pub fn shown(&self) -> model::Schedule {
        let mut next = Vec::new();
        let left = self.memory.definition.max_runs.map_or(i64::MAX, |most| most - self.counted());
        while next.len() < SHOWN && i64::try_from(next.len()).is_ok_and(|shown| shown < left) {
            let Some(slot) = self.slot_after(next.last().copied().unwrap_or(self.memory.decided)) else { break };
            next.push(slot);
        }
        self.memory.shown(next)
    }

    /// Returns the next slot after a time; none when there is none that will be run.
    fn slot_after(&self, time: Timestamp) -> Option<Timestamp> {
        let goes_on = self.memory.status == ScheduleStatus::Active && !self.memory.deleted;
        self.cadence
            .after(time)
            .filter(|slot| goes_on && self.memory.definition.expires_at.is_none_or(|end| *slot < end))
    }

    /// How many runs have happened or may still happen.
    fn counted(&self) -> i64 {
        self.memory.happened + i64::try_from(self.memory.open.len()).unwrap_or(i64::MAX)
    }

    /// Whether no more runs are to be made as it is now.
    fn is_full(&self) -> bool {
        self.memory.definition.max_runs.is_some_and(|most| self.counted() >= most)
    }

    /// Whether the clock was far ahead of what it shows now.
    fn is_set_back(&self, now: Timestamp) -> bool {
        now.0 < self.memory.decided.0.saturating_sub(SETBACK)
    }

    /// Leaves out the slots up to now. Those for which there are records stay so when the clock has gone back.
    fn go_on_from(&mut self, now: Timestamp) {
        self.memory.decided = if self.is_set_back(now) { now } else { self.memory.decided.max(now) };
    }

    fn keep(&mut self) {
        if self.out.back() != Some(&Output::Keep) {
            self.out.push_back(Output::Keep);
        }
    }

    fn record(&mut self, now: Timestamp, run: Run) {
        let end = self.memory.history.back().map(|last| last.last_slot.unwrap_or(last.slot));
        let follows = end.is_some_and(|end| self.cadence.after(end) == Some(run.slot));
        self.memory.record(Run { ended_at: Some(now), ..run }, follows);
        self.keep();
    }

    /// Decides what becomes of every slot up to now.
    fn decide(&mut self, now: Timestamp) {
        let decided = self.memory.decided;
        let goes_on = self.memory.status == ScheduleStatus::Active && !self.memory.deleted;
        let until = self.memory.definition.expires_at.map_or(now, |end| now.min(end.plus(-1)));
        if !goes_on || self.is_full() {
            return;
        }
        let Some(last) = self.cadence.last(decided, until) else { return };
        self.memory.decided = last;
        let to_next = self.cadence.after(last).map_or(GRACE, |next| (next.0 - last.0) / 2);
        let missed = now.0 - last.0 > GRACE.min(to_next);
        let earlier = self.cadence.last(decided, last.plus(-1)).map(|end| Run {
            slots: self.cadence.count(decided, end, MOST_COUNTED).map(i64::from),
            last_slot: Some(end),
            ..run(self.cadence.after(decided).unwrap_or(end))
        });
        if self.memory.definition.when_missed == WhenMissed::Skip {
            if let Some(earlier) = earlier {
                self.skip(now, single(earlier), MISSED);
            }
            match missed {
                true => self.skip(now, run(last), MISSED),
                false => self.place(now, last),
            }
        } else {
            // The number of what makes up for the earlier ones follows theirs.
            let into = self.joinable().or(earlier.as_ref().map(|_| self.memory.numbered + 2));
            match self.refusal() {
                Some(busy) => {
                    for slots in earlier.into_iter().chain([run(last)]) {
                        self.skip(now, single(slots), busy);
                    }
                }
                None => {
                    if let Some(earlier) = earlier {
                        self.coalesce(now, single(earlier), into);
                    }
                    self.place(now, last);
                }
            }
        }
        self.claim(now);
    }

    /// Returns why no run can be made of a slot now.
    fn refusal(&self) -> Option<&'static str> {
        match self.memory.definition.when_busy {
            Overlap::Skip if !self.memory.open.is_empty() => Some("the run before had not ended"),
            _ if self.joinable().is_none() && self.memory.open.len() >= MOST_OPEN => Some("too many runs waited"),
            _ => None,
        }
    }

    /// Returns the run that has not begun and makes up for further slots.
    fn joinable(&self) -> Option<i64> {
        let waits = |open: &&Open| matches!(open.run.status, RunStatus::Pending | RunStatus::Claimed);
        let coalesces = self.memory.definition.when_busy == Overlap::Coalesce;
        self.memory.open.iter().filter(|_| coalesces).find(waits).map(|open| open.run.number)
    }

    /// Makes a run of a slot, or lets another one make up for it, or skips it.
    fn place(&mut self, now: Timestamp, slot: Timestamp) {
        match (self.refusal(), self.joinable()) {
            (Some(busy), _) => self.skip(now, run(slot), busy),
            (None, Some(into)) => self.coalesce(now, run(slot), Some(into)),
            (None, None) => {
                let unless_busy = self.memory.definition.when_busy == Overlap::Skip;
                self.open(run(slot), unless_busy);
            }
        }
    }

    fn open(&mut self, run: Run, unless_busy: bool) {
        let run = Run { number: self.memory.number(), ..run };
        let (task, name) = (self.memory.definition.task.clone(), String::new());
        self.memory.open.push(Open { run, task, name, allowed: None, unless_busy, deadline: None, stopping: false });
        self.keep();
    }

    fn skip(&mut self, now: Timestamp, run: Run, why: &str) {
        self.record(now, Run { reason: Some(why.to_owned()), status: RunStatus::Skipped, ..run });
    }

    fn coalesce(&mut self, now: Timestamp, run: Run, into: Option<i64>) {
        self.record(now, Run { into, status: RunStatus::Coalesced, ..run });
    }

    /// Claims the first run that waits, if none goes on. From then on it is what the schedule was then.
    fn claim(&mut self, now: Timestamp) {
        let name = self.memory.name();
        let definition = &self.memory.definition;
        let Some(first) = self.memory.open.first_mut().filter(|open| open.is_pending()) else { return };
        first.run.status = RunStatus::Claimed;
        first.task = definition.task.clone();
        first.name = name;
        first.allowed = definition.allowed.clone();
        if first.task.agent_id.is_none() {
            // A prompt may wait in the queue of an agent that is there for as long as that takes.
            first.deadline = Some(now.plus(first.task.run_timeout.milliseconds));
        }
        let number = first.run.number;
        self.keep();
        self.out.push_back(Output::Start(number));
    }

    /// Gives up the runs that wait.
    fn drop_pending(&mut self, now: Timestamp, why: &str) {
        let (pending, open) = std::mem::take(&mut self.memory.open).into_iter().partition(Open::is_pending);
        self.memory.open = open;
        for Open { run, .. } in pending {
            self.record(now, Run { status: RunStatus::Skipped, reason: Some(why.to_owned()), ..run });
        }
    }

    fn stop_at(&mut self, now: Timestamp, status: ScheduleStatus, why: Option<String>, pending: &str) {
        self.memory.status = status;
        self.memory.reason = why;
        self.drop_pending(now, pending);
        self.keep();
    }

    /// Ends the run that goes on.
    fn end(&mut self, now: Timestamp, run: Run) {
        self.memory.open.remove(0);
        self.record(now, run);
        let active = self.memory.status == ScheduleStatus::Active;
        if active && self.memory.definition.max_runs.is_some_and(|most| self.memory.happened >= most) {
            self.stop_at(now, ScheduleStatus::Completed, None, "the schedule has completed");
        }
        if self.memory.deleted {
            self.out.push_back(Output::Forget);
        }
        self.claim(now);
    }

    fn learn(&mut self, now: Timestamp, number: i64, fact: Fact) -> Result<(), Refusal> {
        // Of those that have not ended, only the first goes on.
        let first = self.memory.open.first_mut().filter(|open| open.run.number == number && !open.is_pending());
        let open = first.ok_or(Refusal::NoRun(number))?;
        let mut run = open.run.clone();
        match fact {
            Fact::Accepted(agent, prompt) => {
                open.run.agent_id = Some(agent);
                open.run.prompt_id = Some(prompt);
                self.keep();
            }
            Fact::Working | Fact::Waiting(_) => {
                let (status, reason) = match fact {
                    Fact::Waiting(what) => (RunStatus::Waiting, Some(what)),
                    _ => (RunStatus::Running, None),
                };
                (open.run.status, open.run.reason) = (status, reason);
                open.run.started_at.get_or_insert(now);
                open.deadline.get_or_insert(now.plus(open.task.run_timeout.milliseconds));
                self.keep();
            }
            Fact::Busy => {
                let reason = Some("the agent was busy".to_owned());
                self.end(now, Run { status: RunStatus::Skipped, reason, ..run });
            }
            Fact::Withdrawn => {
                let reason = Some("the prompt was taken back before the agent began".to_owned());
                self.end(now, Run { status: RunStatus::Skipped, reason, ..run });
            }
            Fact::Refused(why) => self.end(now, Run { status: RunStatus::Failed, reason: Some(why), ..run }),
            Fact::Gone(why) => {
                if self.memory.status == ScheduleStatus::Active {
                    self.decide(now);
                    self.stop_at(now, ScheduleStatus::Paused, Some(why.clone()), PAUSED);
                }
                self.end(now, Run { status: RunStatus::Skipped, reason: Some(why), ..run });
            }
            Fact::Ended(ending) => {
                let Ending { status, reason, last_message, usage, worktree } = *ending;
                run.status = status;
                run.reason = match open.stopping && status == RunStatus::Interrupted {
                    true => Some(format!("it took longer than {}", open.task.run_timeout)),
                    false => reason,
                };
                (run.last_message, run.usage, run.worktree) = (last_message, Some(usage), worktree);
                self.end(now, run);
            }
        }
        Ok(())
    }

    fn update(&mut self, now: Timestamp, definition: Definition) -> Result<(), Refusal> {
        let fresh = definition.rhythm != self.memory.definition.rhythm;
        let anchor = if fresh { now } else { self.memory.anchor };
        let cadence = definition.cadence(anchor)?;
        self.decide(now);
        self.cadence = cadence;
        let ended = matches!(self.memory.status, ScheduleStatus::Completed | ScheduleStatus::Expired);
        self.memory.definition = definition;
        self.memory.anchor = anchor;
        self.memory.updated_at = now;
        let more = self.memory.definition.max_runs.is_none_or(|most| self.memory.happened < most);
        let woken = ended && more && self.memory.definition.expires_at.is_none_or(|end| now < end);
        if woken {
            self.memory.status = ScheduleStatus::Active;
        }
        if fresh || woken {
            self.go_on_from(now);
        }
        if !more && self.memory.status == ScheduleStatus::Active {
            self.stop_at(now, ScheduleStatus::Completed, None, "the schedule has completed");
        }
        self.keep();
        Ok(())
    }

    fn resume(&mut self, now: Timestamp) -> Result<(), Refusal> {
        match self.memory.status {
            ScheduleStatus::Active => Ok(()),
            ScheduleStatus::Completed => Err(Refusal::Over("completed")),
            ScheduleStatus::Expired => Err(Refusal::Over("expired")),
            ScheduleStatus::Paused => {
                self.memory.status = ScheduleStatus::Active;
                self.memory.reason = None;
                self.go_on_from(now);
                self.memory.updated_at = now;
                self.keep();
                Ok(())
            }
        }
    }

    fn run_now(&mut self, now: Timestamp, prompt: PromptId) -> Result<(), Refusal> {
        let all = self.memory.history.iter().chain(self.memory.open.iter().map(|open| &open.run));
        if all.into_iter().any(|run| run.prompt_id.as_ref() == Some(&prompt)) {
            return Ok(());
        }
        if self.memory.open.len() >= MOST_OPEN {
            return Err(Refusal::Full(MOST_OPEN));
        }
        self.open(Run { slots: Some(0), prompt_id: Some(prompt), ..run(now) }, false);
        self.claim(now);
        Ok(())
    }

    fn shift(&mut self, milliseconds: i64) {
        for deadline in self.memory.open.iter_mut().filter_map(|open| open.deadline.as_mut()) {
            *deadline = deadline.plus(milliseconds);
        }
        if !self.memory.open.is_empty() {
            self.keep();
        }
    }

    fn delete(&mut self) {
        self.memory.deleted = true;
        // Their records would go with the file.
        self.memory.open.retain(|open| !open.is_pending());
        self.keep();
        if self.memory.open.is_empty() {
            self.out.push_back(Output::Forget);
        }
    }
}

impl Machine for Schedule {
    type Input = Input;
    type Output = Output;
    type Refusal = Refusal;

    fn handle(&mut self, now: Timestamp, input: Input) -> Result<(), Refusal> {
        match input {
            Input::Fact(number, fact) => return self.learn(now, number, fact),
            Input::Shift(milliseconds) => self.shift(milliseconds),
            _ if self.memory.deleted => return Err(Refusal::Deleted),
            Input::Update(definition) => self.update(now, *definition)?,
            Input::Pause if self.memory.status == ScheduleStatus::Active => {
                self.decide(now);
                self.stop_at(now, ScheduleStatus::Paused, None, PAUSED);
                self.memory.updated_at = now;
            }
            Input::Pause => {}
            Input::Resume => self.resume(now)?,
            Input::Run(prompt) => self.run_now(now, prompt)?,
            Input::Delete => self.delete(),
        }
        Ok(())
    }

    fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    fn deadline(&self) -> Option<Timestamp> {
        let slot = self.slot_after(self.memory.decided).filter(|_| !self.is_full());
        let active = self.memory.status == ScheduleStatus::Active && !self.memory.deleted;
        let end = self.memory.definition.expires_at.filter(|_| active);
        let runs = self.memory.open.iter().filter(|open| !open.stopping).filter_map(|open| open.deadline);
        slot.into_iter().chain(end).chain(runs).min()
    }

    fn expire(&mut self, now: Timestamp) {
        if self.is_set_back(now) {
            self.memory.decided = now;
            self.keep();
        }
        self.decide(now);
        for open in &mut self.memory.open {
            if !open.stopping && open.deadline.is_some_and(|deadline| deadline <= now) {
                open.stopping = true;
                self.out.push_back(Output::Keep);
                self.out.push_back(Output::Stop(open.run.number));
            }
        }
        let over = self.memory.definition.expires_at.is_some_and(|end| end <= now);
        if over && self.memory.status == ScheduleStatus::Active && !self.memory.deleted {
            self.stop_at(now, ScheduleStatus::Expired, None, "the schedule has expired");
        }
    }
}

/// A record of one slot that is not decided yet.
fn run(slot: Timestamp) -> Run {
    Run {
        number: 0,
        slot,
        last_slot: None,
        slots: Some(1),
        status: RunStatus::Pending,
        reason: None,
        into: None,
        agent_id: None,
        prompt_id: None,
        worktree: None,
        last_message: None,
        usage: None,
        started_at: None,
        ended_at: None,
    }
}

/// Leaves out of a record what says nothing where it is about one slot.
fn single(run: Run) -> Run {
    Run { last_slot: run.last_slot.filter(|last| *last != run.slot), ..run }
}

const MISSED: &str = "the daemon was not running, the machine slept, or was too busy";
const PAUSED: &str = "the schedule was paused";

/// How many of the next times are shown.
const SHOWN: usize = 3;
