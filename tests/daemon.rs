//! The whole daemon with the shell agent: turns, permissions, waits, watches, restarts and faults.

mod faults;
mod restart;
mod turns;
mod watching;
