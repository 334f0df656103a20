//! The whole daemon with the shell agent: turns, permissions, waits, watches, restarts, processes and faults.

mod disk;
mod faults;
mod restart;
mod turns;
pub(crate) mod watching;
