//! The whole daemon with the shell agent: turns, permissions, waits, watches, restarts, processes and faults.

mod carry;
mod damage;
mod disk;
mod faults;
mod leftovers;
mod lines;
mod restart;
mod terminal;
mod turns;
pub(crate) mod watching;
