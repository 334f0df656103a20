//! Every so often: arithmetic.

use paseo_sdk::cadence::Cadence;
use paseo_sdk::model::{Duration, Timestamp};

use super::time;

#[test]
fn slots_are_counted_from_the_anchor_which_is_none() {
    let cadence = every("5m", time("2026-01-01T00:02:00Z"));
    let after = |text| cadence.after(time(text)).expect("there is a next one").to_string();
    assert_eq!(after("2025-06-01T00:00:00Z"), "2026-01-01T00:07:00.000Z");
    assert_eq!(after("2026-01-01T00:02:00Z"), "2026-01-01T00:07:00.000Z");
    assert_eq!(after("2026-01-01T00:06:59.999Z"), "2026-01-01T00:07:00.000Z");
    assert_eq!(after("2026-01-01T00:07:00Z"), "2026-01-01T00:12:00.000Z");
}

#[test]
fn the_last_one_is_in_the_time_that_was_asked_for_or_there_is_none() {
    let cadence = every("5m", Timestamp(0));
    let last = |after, until| cadence.last(Timestamp(after), Timestamp(until)).map(|time| time.0);
    assert_eq!(last(0, 299_999), None);
    assert_eq!(last(0, 300_000), Some(300_000));
    assert_eq!(last(300_000, 599_999), None);
    assert_eq!(last(-1, 1_000_000), Some(900_000));
    assert_eq!(last(1_000_000, 0), None);
    assert_eq!(last(i64::MIN, 0), None);
}

#[test]
fn a_century_of_seconds_is_counted_at_once() {
    let cadence = every("1s", Timestamp(0));
    let century = Timestamp(100 * 365 * 86_400_000);
    assert_eq!(cadence.count(Timestamp(0), century, u32::MAX), Some(3_153_600_000));
    assert_eq!(cadence.count(Timestamp(0), century, 3_153_599_999), None);
    assert_eq!(cadence.count(century, Timestamp(0), 0), Some(0));
}

#[test]
fn damaged_times_are_no_slots_and_no_panics() {
    for anchor in [i64::MIN, -1, i64::MAX].map(Timestamp) {
        let cadence = every("3650d", anchor);
        for time in [i64::MIN, 0, i64::MAX].map(Timestamp) {
            assert!(cadence.after(time).is_none_or(|slot| slot > time && slot > anchor));
            assert!(cadence.last(Timestamp(i64::MIN), time).is_none_or(|slot| slot <= time && slot > anchor));
        }
        assert_eq!(cadence.after(Timestamp(i64::MAX)), None);
        let slots = cadence.count(Timestamp(i64::MIN), Timestamp(i64::MAX), u32::MAX);
        assert!(slots.is_some_and(|slots| (slots == 0) == (anchor == Timestamp(i64::MAX))));
    }
}

fn every(length: &str, anchor: Timestamp) -> Cadence {
    let length: Duration = length.parse().expect("this is a length of time");
    Cadence::every(length, anchor).expect("this is a cadence")
}
