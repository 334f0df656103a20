//! The daemon of paseo: what is left when everything that decides is pure.

pub mod bridge;
pub mod config;
pub mod lock;
pub mod log;
pub mod server;
pub mod shim;
pub mod worktrees;

use std::ffi::OsStr;

/// Plays a hidden role when the arguments ask for one, and ends the process; returns otherwise.
///
/// Programs that embed the daemon and name themselves as its helper call this first in `main`, before anything else:
/// many of these processes run at once, and each is as small as what it touches.
pub fn helper_main() {
    let mut arguments = std::env::args_os().skip(1);
    let role = arguments.next();
    let code = match role.as_deref().and_then(OsStr::to_str) {
        Some("__shim") => shim::main(),
        Some("__exec") => shim::child::exec(),
        Some("__bridge") => bridge::main(arguments.next().as_deref().unwrap_or_default()),
        _ => return,
    };
    std::process::exit(code);
}
