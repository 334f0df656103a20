//! The `paseo` program, built for the tests: it can be told to die between two effects.

use paseo_daemon::fault::{self, Point};

fn main() -> std::process::ExitCode {
    // A point's name, or `any`, and how many passages it has to live: `outbox-synced:3`.
    let chosen = std::env::var("PASEO_TEST_FAULT").unwrap_or_default();
    if let Some((name, nth)) = chosen.split_once(':') {
        let point = Point::ALL.iter().copied().find(|point| point.name() == name);
        assert!(point.is_some() || name == "any", "no fault point {name}");
        fault::arm(point, nth.parse().expect("a number of passages"));
    }
    paseo_cli::main()
}
