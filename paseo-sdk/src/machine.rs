//! State machines: each is told the time and the facts, and says what to do. None of them does anything.
//!
//! Below this module no code reads a clock, a file, the environment or a random number; `clippy.toml` says which calls
//! that forbids. What a machine asks for is carried out by its owner, which decides nothing.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod agent;
pub mod connection;
pub mod outbox;
pub mod replica;
#[cfg(feature = "schedules")]
pub mod schedule;
pub mod standstill;
pub mod timeline;
pub mod turn;
pub mod worktree;

use crate::model::Timestamp;

/// A state machine that is told everything and touches nothing.
///
/// Its laws, which one property test checks for every machine:
///
/// 1. An input that is refused changes nothing.
/// 2. After `expire(now)` nothing is due at `now`.
/// 3. The same inputs give the same outputs.
/// 4. `poll` comes to an end.
pub trait Machine {
    /// A fact that the machine is told.
    type Input;
    /// Something that the machine asks for.
    type Output;
    /// Why an input was not taken.
    type Refusal;

    /// Takes a fact.
    ///
    /// # Errors
    ///
    /// A refused input has changed nothing.
    fn handle(&mut self, now: Timestamp, input: Self::Input) -> Result<(), Self::Refusal>;

    /// Returns the next thing to do, in order; none when there is nothing.
    fn poll(&mut self) -> Option<Self::Output>;

    /// Returns when the machine wants to be told that time has passed.
    fn deadline(&self) -> Option<Timestamp>;

    /// Takes the fact that it is `now`.
    fn expire(&mut self, now: Timestamp);
}
