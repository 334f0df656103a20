//! The daemon of paseo: what is left when everything that decides is pure.

pub mod bridge;
pub mod config;
pub mod lock;
pub mod log;
pub mod server;
pub mod shim;
pub mod worktrees;

/// Plays a hidden role when the arguments ask for one, and ends the process; returns otherwise.
///
/// Programs that embed the daemon and name themselves as its helper call this first in `main`.
pub fn helper_main() {}

/// Is the daemon of a home directory, in the foreground, until it is told to stop.
pub fn run(home: Option<std::path::PathBuf>, listen: Option<String>) -> std::process::ExitCode {
    let _ = (home, listen);
    eprintln!("error: this build has no daemon");
    std::process::ExitCode::FAILURE
}
