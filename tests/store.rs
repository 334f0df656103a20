//! Logs read by number.

use std::io;
use std::path::Path;

use paseo_daemon::store::{Log, Numbered, Page};
use paseo_sdk::model::Timestamp;

#[test]
fn a_log_read_backwards_has_the_lines_that_it_has_forwards() -> io::Result<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("log.ndjson");
    let lines = lines();
    write(&path, &lines)?;
    let log = Numbered::open(&path)?.expect("the log was written");
    for keep in [|_: &str| true, |line: &str| line.contains("odd"), |_: &str| false] {
        for number in 0..=COUNT + 1 {
            for limit in [1, 3] {
                let after = lines.iter().filter(|(seq, line)| *seq > number && keep(line));
                assert_eq!(log.after(number, limit, keep)?, page(after, limit), "after {number}");
                let before = lines.iter().rev().filter(|(seq, line)| *seq < number && keep(line));
                let mut expected = page(before, limit);
                expected.lines.reverse();
                assert_eq!(log.before(number, limit, keep)?, expected, "before {number}");
            }
        }
    }
    Ok(())
}

fn page<'a>(lines: impl Iterator<Item = &'a (i64, String)>, limit: usize) -> Page {
    let mut lines: Vec<_> = lines.map(|(_, line)| line.clone()).take(limit + 1).collect();
    let more = lines.len() > limit;
    lines.truncate(limit);
    Page { lines, more }
}

/// Returns lines around the sizes in which a log is read: shorter, as long, longer, much longer.
fn lines() -> Vec<(i64, String)> {
    let sizes = [0, 1, 300, 4_096, 5_000, 65_536, 200_000];
    let line = |seq: i64, size: usize| {
        let parity = if seq % 2 == 0 { "even" } else { "odd" };
        format!(r#"{{"seq":{seq},"is":"{parity}","text":"{}"}}"#, "x".repeat(size))
    };
    (1..=COUNT).zip(sizes.into_iter().cycle()).map(|(seq, size)| (seq, line(seq, size))).collect()
}

fn write(path: &Path, lines: &[(i64, String)]) -> io::Result<()> {
    let (mut log, _) = Log::open(path, Timestamp(0), |_| true)?;
    lines.iter().try_for_each(|(_, line)| log.append(line.as_bytes()))
}

const COUNT: i64 = 15;
