//! What an agent is still to be told: accepted once, told once, and never silently lost.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::Machine;
use crate::item::Origin;
use crate::model::Timestamp;
use crate::provider::{Tell, TellId};

/// The outbox of one agent.
///
/// Prompts are told one at a time, when there is room for one or into a turn that runs; all else at once. What it knows
/// is the fold of the lines that it asks to keep and of the journal, so it is the same after a restart.
#[derive(Clone, Debug, Default)]
pub struct Outbox {
    tells: Vec<Kept>,
    attached: bool,
    outputs: VecDeque<Output>,
}

/// How many prompts may wait.
pub const MOST_PROMPTS: usize = 100;

/// How long a tell may go without being taken before that is reported, in milliseconds.
pub const STALL: i64 = 120_000;

#[derive(Clone, Debug, PartialEq)]
struct Kept {
    id: TellId,
    at: Timestamp,
    tell: Tell,
    /// Whether it is told although a turn runs.
    steer: bool,
    /// The newest run when it was accepted.
    run: i64,
    /// Whether a journal that was read says that it was told, whatever the file says that came of it later.
    told: bool,
    /// Whether its program could not take it yet.
    unready: bool,
    state: State,
}

impl Kept {
    fn is_prompt(&self) -> bool {
        matches!(self.tell, Tell::Prompt(_))
    }
}

#[derive(Clone, Debug, PartialEq)]
enum State {
    /// Not handed to the process.
    Waiting,
    /// Handed to the process, which may have been told.
    Handed,
    /// In the journal as told; reported as stalled once `stalls` has passed.
    Told { stalls: Option<Timestamp> },
    /// Nothing more is to be done.
    Settled(Settled),
}

/// How a tell came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// What became of it.
    pub fate: Fate,
    /// When.
    pub at: Timestamp,
    /// Under which origin the timeline says so, where no record of a journal does.
    pub origin: Option<Origin>,
}

/// What became of a tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// The agent has taken it.
    Delivered,
    /// Its process ended before it was taken; it is not told again.
    Interrupted,
    /// It was taken back before it was told.
    Withdrawn,
    /// It could not be told, for this reason.
    Failed(String),
}

/// One line of the file that the outbox lives in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// Something is to be told.
    Accepted {
        /// Its id.
        id: TellId,
        /// When it was accepted, in milliseconds since the epoch.
        at: i64,
        /// Whether it goes before the prompts that wait.
        #[serde(default)]
        first: bool,
        /// Whether it is told although a turn runs.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        steer: bool,
        /// The newest run when it was accepted: what is no prompt is for that process alone.
        #[serde(default)]
        run: i64,
        /// What it is.
        tell: Tell,
    },
    /// Nothing more is to be done about it.
    Settled {
        /// Its id.
        id: TellId,
        /// When it was settled, in milliseconds since the epoch.
        at: i64,
        /// What became of it.
        fate: Fate,
        /// Under which origin the timeline says so, where no record of a journal does.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        origin: Option<Origin>,
    },
}

/// What the outbox is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// Somebody wants this told.
    Accept {
        /// Its id.
        id: TellId,
        /// What it is.
        tell: Tell,
        /// Whether it goes before the prompts that wait.
        first: bool,
        /// Whether it is told although a turn runs.
        steer: bool,
        /// The newest run: what is no prompt is for that process alone.
        run: i64,
    },
    /// There is a process that can be told things, and its journal is known to its end.
    Attached,
    /// The process can take a prompt.
    Room,
    /// The process has a turn that a prompt can be said into.
    Turn,
    /// The program cannot take this yet, and was not told.
    Unready(TellId),
    /// The program has gone on: what it could not take may be tried again.
    Ready,
    /// The journal says that this was told.
    Told(TellId),
    /// The agent has taken this.
    Delivered(TellId),
    /// This was told, and certainly not taken: it is to be told again.
    Returned(TellId),
    /// This shall not be told, unless it is handed over already.
    Withdraw(TellId),
    /// This cannot be told, for this reason.
    Fail(TellId, String),
    /// The process of this run has ended, and so have those before it.
    Lost(i64),
    /// Whatever process was still to be told something never came to be.
    Unlaunched,
}

/// What the outbox asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Append this line to the file, durably, before doing anything that is asked for after it.
    Keep(Line),
    /// Tell the process.
    Tell(TellId, Tell),
    /// Report that this was told and is not taken.
    Stalled(TellId),
}

/// Why the outbox did not take something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The id stands for something else already.
    #[error("`{0}` was used for something else")]
    Conflict(TellId),
    /// Too many prompts wait.
    #[error("{MOST_PROMPTS} prompts are waiting already")]
    Full,
    /// There is nothing of that id.
    #[error("nothing called `{0}` is to be told")]
    Unknown(TellId),
}

impl Outbox {
    /// Reads the lines of an earlier life. Nothing is told before `Attached` and `Room`.
    #[must_use]
    pub fn restore(lines: impl IntoIterator<Item = Line>) -> Outbox {
        let mut outbox = Outbox::default();
        for line in lines {
            match line {
                Line::Accepted { id, at, first, steer, run, tell } if outbox.find(&id).is_none() => {
                    let at = Timestamp(at);
                    outbox.insert(
                        Kept { id, at, tell, steer, run, told: false, unready: false, state: State::Waiting },
                        first,
                    );
                }
                Line::Accepted { .. } => {}
                Line::Settled { id, at, fate, origin } => {
                    if let Some(kept) = outbox.find_mut(&id) {
                        kept.state = State::Settled(Settled { fate, at: Timestamp(at), origin });
                    }
                }
            }
        }
        outbox
    }

    /// Returns what was accepted under `id`, settled or not.
    #[must_use]
    pub fn tell(&self, id: &TellId) -> Option<&Tell> {
        self.find(id).map(|kept| &kept.tell)
    }

    /// Returns when `id` was accepted.
    #[must_use]
    pub fn accepted_at(&self, id: &TellId) -> Option<Timestamp> {
        self.find(id).map(|kept| kept.at)
    }

    /// Returns whether the process of this run was not told of a new mode that it may be told, as far as its journal was
    /// read.
    #[must_use]
    pub fn has_untold_mode(&self, run: i64) -> bool {
        // One that was for a process which never came to be was not for the one that has its number now.
        let void = |kept: &Kept| match &kept.state {
            State::Settled(settled) => matches!(settled.fate, Fate::Failed(_) | Fate::Withdrawn),
            State::Waiting | State::Handed | State::Told { .. } => false,
        };
        let untold = |kept: &Kept| matches!(kept.tell, Tell::Mode(_)) && kept.run == run && !kept.told && !void(kept);
        self.tells.iter().any(untold)
    }

    /// Returns the prompts that are not told, in the order in which they will be.
    pub fn waiting(&self) -> impl Iterator<Item = &TellId> {
        self.tells
            .iter()
            .filter(|kept| matches!(kept.tell, Tell::Prompt(_)) && matches!(kept.state, State::Waiting | State::Handed))
            .map(|kept| &kept.id)
    }

    /// Returns the prompt that is handed over and not in the journal yet.
    #[must_use]
    pub fn on_its_way(&self) -> Option<&TellId> {
        let handed = |kept: &&Kept| kept.state == State::Handed && matches!(kept.tell, Tell::Prompt(_));
        self.tells.iter().find(handed).map(|kept| &kept.id)
    }

    /// Returns the prompt that its program could not take yet.
    #[must_use]
    pub fn unready_prompt(&self) -> Option<&TellId> {
        self.tells.iter().find(|kept| kept.unready && kept.is_prompt()).map(|kept| &kept.id)
    }

    /// Returns whether something was told that the agent has not taken.
    #[must_use]
    pub fn has_untaken(&self) -> bool {
        self.tells.iter().any(|kept| matches!(kept.state, State::Told { .. }))
    }

    /// Returns the ids of everything that is kept.
    pub fn ids(&self) -> impl Iterator<Item = &TellId> {
        self.tells.iter().map(|kept| &kept.id)
    }

    /// Returns everything that was settled.
    pub fn settled(&self) -> impl Iterator<Item = (&TellId, &Settled)> {
        self.tells.iter().filter_map(|kept| match &kept.state {
            State::Settled(settled) => Some((&kept.id, settled)),
            State::Waiting | State::Handed | State::Told { .. } => None,
        })
    }

    /// Forgets what is settled, and returns the lines that the file needs from now on.
    pub fn compact(&mut self) -> Vec<Line> {
        self.tells.retain(|kept| !matches!(kept.state, State::Settled(_)));
        self.tells
            .iter()
            .map(|kept| Line::Accepted {
                id: kept.id.clone(),
                at: kept.at.0,
                first: false,
                steer: kept.steer,
                run: kept.run,
                tell: kept.tell.clone(),
            })
            .collect()
    }

    fn find(&self, id: &TellId) -> Option<&Kept> {
        self.tells.iter().find(|kept| kept.id == *id)
    }

    fn find_mut(&mut self, id: &TellId) -> Option<&mut Kept> {
        self.tells.iter_mut().find(|kept| kept.id == *id)
    }

    fn insert(&mut self, kept: Kept, first: bool) {
        let place = match first {
            true => self.tells.iter().position(|other| other.state == State::Waiting),
            false => None,
        };
        self.tells.insert(place.unwrap_or(self.tells.len()), kept);
    }

    fn accept(&mut self, now: Timestamp, first: bool, kept: Kept) -> Result<(), Refusal> {
        match self.find(&kept.id) {
            Some(known) if known.tell.is_the_same(&kept.tell) => return Ok(()),
            Some(_) => return Err(Refusal::Conflict(kept.id)),
            None => {}
        }
        if kept.is_prompt() && self.waiting().count() >= MOST_PROMPTS {
            return Err(Refusal::Full);
        }
        let Kept { id, tell, steer, run, .. } = kept.clone();
        self.outputs.push_back(Output::Keep(Line::Accepted { id, at: now.0, first, steer, run, tell }));
        self.insert(kept, first);
        self.hand_over_urgent();
        Ok(())
    }

    /// Tells what does not wait for a place between prompts.
    fn hand_over_urgent(&mut self) {
        if !self.attached {
            return;
        }
        for kept in &mut self.tells {
            if kept.state == State::Waiting && !kept.unready && !kept.is_prompt() {
                kept.state = State::Handed;
                self.outputs.push_back(Output::Tell(kept.id.clone(), kept.tell.clone()));
            }
        }
    }

    /// Tells the next prompt of which this holds, when the one before it has arrived.
    fn hand_over_prompt(&mut self, which: impl Fn(&Kept) -> bool) {
        if !self.attached || self.on_its_way().is_some() {
            return;
        }
        let next = |kept: &&mut Kept| kept.state == State::Waiting && kept.is_prompt() && which(kept);
        // One that cannot be told yet does not let the next one pass.
        if let Some(kept) = self.tells.iter_mut().find(next).filter(|kept| !kept.unready) {
            kept.state = State::Handed;
            self.outputs.push_back(Output::Tell(kept.id.clone(), kept.tell.clone()));
        }
    }

    /// Settles those that are not settled and of which this holds.
    fn settle(&mut self, now: Timestamp, fate: &Fate, which: impl Fn(&Kept) -> bool) {
        for kept in &mut self.tells {
            if !matches!(kept.state, State::Settled(_)) && which(kept) {
                kept.state = State::Settled(Settled { fate: fate.clone(), at: now, origin: None });
                let line = Line::Settled { id: kept.id.clone(), at: now.0, fate: fate.clone(), origin: None };
                self.outputs.push_back(Output::Keep(line));
            }
        }
    }

    fn known(&self, id: &TellId) -> Result<(), Refusal> {
        self.find(id).map(|_| ()).ok_or_else(|| Refusal::Unknown(id.clone()))
    }
}

impl Machine for Outbox {
    type Input = Input;
    type Output = Output;
    type Refusal = Refusal;

    fn handle(&mut self, now: Timestamp, input: Input) -> Result<(), Refusal> {
        match input {
            Input::Accept { id, tell, first, steer, run } => {
                let state = State::Waiting;
                self.accept(now, first, Kept { id, at: now, tell, steer, run, told: false, unready: false, state })?;
            }
            Input::Attached => {
                self.attached = true;
                // Whatever an earlier daemon handed over and the journal does not know was never told.
                for kept in &mut self.tells {
                    kept.unready = false;
                    if kept.state == State::Handed {
                        kept.state = State::Waiting;
                    }
                }
                self.hand_over_urgent();
            }
            Input::Unready(id) => {
                let Some(kept) = self.find_mut(&id) else { return Err(Refusal::Unknown(id)) };
                if kept.state == State::Handed {
                    kept.state = State::Waiting;
                    kept.unready = true;
                }
            }
            Input::Ready => {
                for kept in &mut self.tells {
                    kept.unready = false;
                }
                self.hand_over_urgent();
            }
            Input::Room => self.hand_over_prompt(|_| true),
            Input::Turn => self.hand_over_prompt(|kept| kept.steer),
            Input::Told(id) => {
                let Some(kept) = self.find_mut(&id) else { return Err(Refusal::Unknown(id)) };
                kept.told = true;
                if matches!(kept.state, State::Waiting | State::Handed) {
                    kept.state = State::Told { stalls: Some(now.plus(STALL)) };
                }
            }
            Input::Delivered(id) => {
                self.known(&id)?;
                self.settle(now, &Fate::Delivered, |kept| kept.id == id);
            }
            Input::Returned(id) => {
                let Some(kept) = self.find_mut(&id) else { return Err(Refusal::Unknown(id)) };
                if matches!(kept.state, State::Told { .. }) {
                    kept.state = State::Waiting;
                }
                // The turn that it was meant for is no more.
                kept.steer = false;
            }
            Input::Fail(id, reason) => {
                self.known(&id)?;
                self.settle(now, &Fate::Failed(reason), |kept| kept.id == id);
            }
            Input::Withdraw(id) => {
                self.known(&id)?;
                self.settle(now, &Fate::Withdrawn, |kept| kept.id == id && kept.state == State::Waiting);
            }
            Input::Lost(run) => {
                self.attached = false;
                for kept in &mut self.tells {
                    kept.unready = false;
                }
                // A prompt that was only handed over is not in the journal: the shim never took it.
                for kept in &mut self.tells {
                    if kept.state == State::Handed && kept.is_prompt() {
                        kept.state = State::Waiting;
                    }
                }
                // Where an old journal is read again, the file knows already what a later process was to be told.
                self.settle(now, &Fate::Interrupted, |kept| match kept.is_prompt() {
                    true => matches!(kept.state, State::Told { .. }),
                    false => kept.run <= run,
                });
            }
            Input::Unlaunched => self.settle(now, &Fate::Withdrawn, |kept| !kept.is_prompt()),
        }
        Ok(())
    }

    fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn deadline(&self) -> Option<Timestamp> {
        let stalls = |kept: &Kept| match kept.state {
            State::Told { stalls } => stalls,
            State::Waiting | State::Handed | State::Settled(_) => None,
        };
        self.tells.iter().filter_map(stalls).min()
    }

    fn expire(&mut self, now: Timestamp) {
        for kept in &mut self.tells {
            if let State::Told { stalls } = &mut kept.state
                && stalls.is_some_and(|due| due <= now)
            {
                *stalls = None;
                self.outputs.push_back(Output::Stalled(kept.id.clone()));
            }
        }
    }
}
