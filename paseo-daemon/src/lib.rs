//! The daemon of paseo: what is left when everything that decides is pure.

pub mod bridge;
pub mod config;
pub mod home;
pub mod lock;
pub mod log;
pub mod server;
pub mod shim;
pub mod token;
pub mod worktrees;

/// Plays a hidden role when the arguments ask for one, and ends the process; returns otherwise.
///
/// Programs that embed the daemon and name themselves as its helper call this first in `main`.
pub fn helper_main() {}
