//! Bridges: small programs under a shim that speak lines for programs that do not.

pub(crate) mod shell;

use std::ffi::OsStr;

/// Plays the bridge of this name, and returns the exit code.
pub(crate) fn main(name: &OsStr) -> i32 {
    match name.to_str() {
        Some("shell") => shell::main(),
        _ => {
            eprintln!("error: no bridge is called `{}`", name.display());
            2
        }
    }
}
