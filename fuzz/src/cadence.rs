//! Cadences out of any bytes: what is asked forwards, backwards and for a number is the same slots.

use paseo_sdk::cadence::Cadence;
use paseo_sdk::model::{Duration, Timestamp};

use crate::bytes::Bytes;

/// Makes a cadence, and asks it for its slots around some time.
///
/// # Panics
///
/// When its slots are not in order, when they are others backwards, or when something is refused without a word.
pub fn cadence(data: &[u8]) {
    let mut bytes = Bytes(data);
    let from = time(&mut bytes);
    let zone = if bytes.below(16) == 0 { bytes.word() } else { bytes.pick(ZONES).to_owned() };
    let made = match bytes.below(8) {
        0 => Cadence::every(Duration { milliseconds: bytes.number(255) * 100 }, time(&mut bytes)),
        1 => Cadence::cron(&String::from_utf8_lossy(bytes.0), &zone),
        _ => Cadence::cron(&crontab(&mut bytes), &zone),
    };
    match made {
        Ok(cadence) => same_slots(&cadence, from),
        Err(refusal) => assert!(!refusal.to_string().is_empty(), "refused without a word"),
    }
}

fn same_slots(cadence: &Cadence, from: Timestamp) {
    let mut before = None;
    let mut last = from;
    for count in 0..LOOKED_AT {
        let Some(slot) = cadence.after(last) else { break };
        assert!(slot > last, "{slot} comes after {last}: {cadence:?}");
        // From any time between two slots one looks back to the former and forward to the latter.
        for until in [last, last.plus((slot.0 - last.0) / 2), slot.plus(-1)] {
            assert_eq!(cadence.last(from, until), before, "the last one after {from} until {until}: {cadence:?}");
            assert_eq!(cadence.after(until), Some(slot), "the next one after {until}: {cadence:?}");
            assert_eq!(cadence.count(from, until, LOOKED_AT), Some(count), "from {from} until {until}: {cadence:?}");
        }
        assert_eq!(cadence.count(last, slot, 0), None, "from {last} until {slot}: {cadence:?}");
        before = Some(slot);
        last = slot;
    }
}

fn crontab(bytes: &mut Bytes<'_>) -> String {
    let mut text = String::new();
    for field in 0..5 {
        let item = match bytes.below(8) {
            0..=2 => "*".to_owned(),
            3 => bytes.pick(&["*/7", "*/15", "5/15", "1-5", "2-3", "0", "6,7", "10-20/3"]).to_owned(),
            4 => bytes.pick(&["mon", "sat-sun", "feb", "jan-MAR", "1,", "fri-mon", "60"]).to_owned(),
            _ => format!("{}", bytes.number([60, 24, 31, 13, 8][field])),
        };
        text.push_str(&item);
        text.push(' ');
    }
    text
}

/// Decides for a time, mostly one within a day of clocks being set.
fn time(bytes: &mut Bytes<'_>) -> Timestamp {
    let near = bytes.pick(TIMES).parse().unwrap_or_default();
    let minutes = bytes.number(96) * 15 + bytes.number(3) - 720;
    Timestamp::plus(near, minutes * 60_000 + bytes.number(2))
}

const LOOKED_AT: u32 = 12;

const ZONES: &[&str] = &[
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Sao_Paulo",
    "Africa/Cairo",
    "Africa/Casablanca",
    "Antarctica/Troll",
    "Australia/Lord_Howe",
    "Pacific/Apia",
];

const TIMES: &[&str] = &[
    "2026-03-29T01:00:00Z",
    "2026-10-25T01:00:00Z",
    "2026-03-08T07:00:00Z",
    "2026-11-01T06:00:00Z",
    "2018-11-04T03:00:00Z",
    "2018-02-18T02:00:00Z",
    "2026-04-23T22:00:00Z",
    "2026-10-29T21:00:00Z",
    "2026-04-04T15:00:00Z",
    "2026-10-03T15:30:00Z",
    "2011-12-30T10:00:00Z",
    "1970-01-01T00:00:00Z",
    "2100-02-28T12:00:00Z",
    "9999-12-31T12:00:00Z",
];
