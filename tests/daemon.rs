//! The whole daemon with the shell agent: turns, permissions, waits, watches, restarts and faults.

mod damage;
mod faults;
mod restart;
mod turns;
pub(crate) mod watching;
