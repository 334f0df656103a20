//! The whole daemon with the shell agent: turns, permissions, waits, watches, restarts, processes and faults.

mod carry;
mod damage;
mod disk;
mod faults;
mod injection;
mod leftovers;
mod lines;
mod progress;
pub(crate) mod reports;
mod restart;
mod rights;
mod schedules;
mod standstill;
mod terminal;
mod trust;
mod turns;
pub(crate) mod watching;
pub(crate) mod worktrees;
