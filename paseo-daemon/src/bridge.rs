//! Bridges: small programs that speak for others: lines for shells, which have none, and MCP for the daemon.

pub mod mcp;
pub(crate) mod shell;

use std::ffi::OsStr;

/// Plays the bridge of this name, and returns the exit code.
pub(crate) fn main(name: &OsStr) -> i32 {
    match name.to_str() {
        Some("mcp") => mcp::main(),
        Some("shell") => shell::main(),
        _ => {
            eprintln!("error: no bridge is called `{}`", name.display());
            2
        }
    }
}
