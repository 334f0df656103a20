//! The line that says how far a call is.

use std::time::Duration;

use paseo_cli::bar::{Bar, follow, line, size};
use paseo_cli::table::width;
use paseo_sdk::model::Progress;
use proptest::prelude::*;
use tokio::sync::watch;
use tokio::time::sleep;

fn checkout(done: i64, total: Option<i64>, bytes: i64) -> Progress {
    Progress {
        done: Some(done),
        total,
        unit: Some("files".to_owned()),
        bytes: Some(bytes),
        ..Progress::new("checkout").message("checking out fix/foo")
    }
}

#[test]
fn a_line_says_what_is_done_and_how_much_of_it() {
    let lines = [
        line(&checkout(1234, Some(5000), 12 << 20), 80),
        line(&checkout(0, None, 0), 80),
        line(&Progress::new("setup"), 80),
        line(&Progress::new("fetch").message("fetching origin"), 80),
        line(&Progress { bytes: Some(1536), ..Progress::new("fetch") }, 80),
        line(&Progress { done: Some(3), total: Some(7), ..Progress::new("link") }, 80),
        line(&Progress::new("checkout").message("checking out \u{202e}a\x1b[2J\nb"), 80),
        line(&checkout(1234, Some(5000), 12 << 20), 40),
        line(&checkout(1234, Some(5000), 12 << 20), 20),
        line(&checkout(1234, Some(5000), 12 << 20), 4),
    ];
    insta::assert_snapshot!(lines.join("\n"), @r"
    checking out fix/foo  1234/5000 files  12 MiB
    checking out fix/foo  0 files  0 B
    setup
    fetching origin
    fetch  1.5 KiB
    link  3/7
    checking out \u{202e}a\u{1b}[2J\nb
    checking out f…  1234/5000 files  12 MiB
    checkin…  1234/5000…
    che…
    ");
}

#[test]
fn bytes_are_written_as_people_read_them() {
    let shown = [0, 1023, 1024, 1535, 10_188, 10_189, 1_048_063, 1_048_064, 12 << 20, 5 << 30, 3 << 50, i64::MAX];
    insta::assert_snapshot!(shown.map(size).join("\n"), @r"
    0 B
    1023 B
    1.0 KiB
    1.5 KiB
    9.9 KiB
    10 KiB
    1023 KiB
    1.0 MiB
    12 MiB
    5.0 GiB
    3072 TiB
    8388608 TiB
    ");
}

proptest! {
    #[test]
    fn a_line_fits_whatever_it_says(message in any::<String>(), done in any::<i64>(), columns in 1usize..60) {
        let progress = Progress { unit: Some(message.clone()), ..checkout(done, Some(done), done) }.message(message);
        let line = line(&progress, columns);
        prop_assert!(width(&line) <= columns, "{line:?}");
        prop_assert!(!line.chars().any(char::is_control), "{line:?}");
    }
}

/// Returns what is drawn on a narrow terminal of a call that says such things at such milliseconds.
async fn drawn(says: &[(u64, Progress)], ends: u64) -> String {
    let (tells, news) = watch::channel(Progress::default());
    let mut out = Vec::new();
    let call = async {
        let mut now = 0;
        for (at, progress) in says {
            sleep(Duration::from_millis(at - now)).await;
            now = *at;
            tells.send_replace(progress.clone());
        }
        sleep(Duration::from_millis(ends - now)).await;
        "done"
    };
    assert_eq!(follow(Bar::new(&mut out, 60), news, call).await, "done");
    let text = String::from_utf8(out).expect("it is text");
    text.split('\r').map(|line| format!("[{line}]\n")).collect()
}

#[tokio::test(start_paused = true)]
async fn a_call_that_takes_a_while_is_drawn_in_place_and_leaves_nothing() {
    let says = [
        (10, checkout(10, None, 0)),
        (200, checkout(90, Some(900), 100)),
        (400, checkout(800, Some(900), 20_000)),
        (500, Progress::new("setup")),
    ];
    insta::assert_snapshot!(drawn(&says, 600).await, @r"
    []
    [checking out fix/foo  90/900 files  100 B]
    [checking out fix/foo  800/900 files  20 KiB]
    [setup                                      ]
    [     ]
    []
    ");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_quick_or_says_nothing_draws_nothing() {
    assert_eq!(drawn(&[(10, checkout(1, None, 1))], 250).await, "[]\n");
    assert_eq!(drawn(&[], 10_000).await, "[]\n");
}
