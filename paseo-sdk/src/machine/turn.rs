//! One turn, from its start to its end, and how long it may go on once it is told to stop.

use std::collections::VecDeque;

use super::Machine;
use crate::model::{PromptId, Timestamp, TurnId};

/// A turn of an agent.
#[derive(Clone, Debug)]
pub struct Turn {
    id: TurnId,
    prompt: Option<PromptId>,
    started_at: Timestamp,
    state: State,
    outputs: VecDeque<Output>,
}

/// How long a turn may go on after it was told to stop, in milliseconds.
pub const INTERRUPT_GRACE: i64 = 10_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Running,
    Stopping { until: Timestamp },
    Overdue,
    Ended,
}

/// What a turn is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// It shall stop.
    Interrupt,
    /// It has ended.
    Ended,
}

/// What a turn asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// It was told to stop and did not: end its process.
    Overdue,
}

/// Why a turn takes nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It has ended.
    #[error("the turn has ended")]
    Ended,
}

impl Turn {
    /// Begins a turn.
    #[must_use]
    pub fn new(id: TurnId, prompt: Option<PromptId>, started_at: Timestamp) -> Turn {
        Turn { id, prompt, started_at, state: State::Running, outputs: VecDeque::new() }
    }

    /// Returns the turn's id.
    #[must_use]
    pub fn id(&self) -> &TurnId {
        &self.id
    }

    /// Returns the prompt that it answers; none when the agent started by itself.
    #[must_use]
    pub fn prompt(&self) -> Option<&PromptId> {
        self.prompt.as_ref()
    }

    /// Returns when it started.
    #[must_use]
    pub fn started_at(&self) -> Timestamp {
        self.started_at
    }

    /// Returns whether it was told to stop.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        matches!(self.state, State::Stopping { .. } | State::Overdue)
    }
}

impl Machine for Turn {
    type Input = Input;
    type Output = Output;
    type Refusal = Refusal;

    fn handle(&mut self, now: Timestamp, input: Input) -> Result<(), Refusal> {
        self.state = match (self.state, input) {
            (State::Ended, _) => return Err(Refusal::Ended),
            (_, Input::Ended) => State::Ended,
            (State::Running, Input::Interrupt) => State::Stopping { until: now.plus(INTERRUPT_GRACE) },
            (state @ (State::Stopping { .. } | State::Overdue), Input::Interrupt) => state,
        };
        Ok(())
    }

    fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn deadline(&self) -> Option<Timestamp> {
        match self.state {
            State::Stopping { until } => Some(until),
            State::Running | State::Overdue | State::Ended => None,
        }
    }

    fn expire(&mut self, now: Timestamp) {
        if self.deadline().is_some_and(|due| due <= now) {
            self.state = State::Overdue;
            self.outputs.push_back(Output::Overdue);
        }
    }
}
