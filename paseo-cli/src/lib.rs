//! The command line of paseo.

use std::process::ExitCode;

/// Runs the command line with the arguments of this process.
pub fn main() -> ExitCode {
    paseo_daemon::helper_main();
    ExitCode::SUCCESS
}
