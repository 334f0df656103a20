//! The stand-alone daemon: `paseo daemon run` for those who want only that.

use std::process::ExitCode;

fn main() -> ExitCode {
    paseo_daemon::helper_main();
    match std::env::args().nth(1).as_deref() {
        None => paseo_daemon::run(None, None),
        Some("--version") => {
            println!("paseo-daemon {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        Some(_) => {
            eprintln!("usage: paseo-daemon [--version]");
            eprintln!("hint: PASEO_HOME, PASEO_LISTEN and $PASEO_HOME/config.json say how it runs");
            ExitCode::from(2)
        }
    }
}
