//! Crontabs over the hours that clocks skip or show twice, and over the ends of the calendar.

use paseo_sdk::cadence::Cadence;
use paseo_sdk::model::Timestamp;

use super::{time, times};

#[test]
fn a_time_that_clocks_skip_is_due_when_they_go_on() {
    // 02:00 becomes 03:00.
    let zone = "Europe/Berlin";
    due("30 2 * * *", zone, "2026-03-28T00:00Z", &["2026-03-28T01:30Z", "2026-03-29T01:00Z", "2026-03-30T00:30Z"]);
    due("0 2 * * *", zone, "2026-03-29T00:00Z", &["2026-03-29T01:00Z", "2026-03-30T00:00Z"]);
}

#[test]
fn all_that_falls_into_a_skipped_hour_and_the_minute_after_it_are_one_slot() {
    let zone = "Europe/Berlin";
    due("*/15 * * * *", zone, "2026-03-29T00:30Z", &["2026-03-29T00:45Z", "2026-03-29T01:00Z", "2026-03-29T01:15Z"]);
    due("0,30 2,3 * * *", zone, "2026-03-29T00:00Z", &["2026-03-29T01:00Z", "2026-03-29T01:30Z", "2026-03-30T00:00Z"]);
}

#[test]
fn a_time_that_clocks_show_twice_is_due_the_first_time() {
    // 03:00 becomes 02:00.
    let zone = "Europe/Berlin";
    due("30 2 * * *", zone, "2026-10-24T12:00Z", &["2026-10-25T00:30Z", "2026-10-26T01:30Z"]);
    due("*/30 * * * *", zone, "2026-10-24T23:45Z", &["2026-10-25T00:00Z", "2026-10-25T00:30Z", "2026-10-25T02:00Z"]);
    // Asked for in the hour that is shown again, before and after what it shows again.
    due("30 2 * * *", zone, "2026-10-25T01:10Z", &["2026-10-26T01:30Z"]);
    due("30 2 * * *", zone, "2026-10-25T01:40Z", &["2026-10-26T01:30Z"]);
    due("0 3 * * *", zone, "2026-10-25T01:40Z", &["2026-10-25T02:00Z"]);
}

#[test]
fn half_an_hour_is_skipped_and_shown_twice_too() {
    let zone = "Australia/Lord_Howe";
    // 02:00 becomes 01:30.
    due("45 1 * * *", zone, "2026-04-04T12:00Z", &["2026-04-04T14:45Z", "2026-04-05T15:15Z"]);
    due("*/15 * * * *", zone, "2026-04-04T14:30Z", &["2026-04-04T14:45Z", "2026-04-04T15:30Z"]);
    // 02:00 becomes 02:30.
    due("15 2 * * *", zone, "2026-10-03T12:00Z", &["2026-10-03T15:30Z", "2026-10-04T15:15Z"]);
}

#[test]
fn a_day_without_a_midnight_begins_later() {
    // 00:00 becomes 01:00.
    let days = ["2018-11-03T03:00Z", "2018-11-04T03:00Z", "2018-11-05T02:00Z"];
    due("@daily", "America/Sao_Paulo", "2018-11-02T12:00Z", &days);
    due("@daily", "Africa/Cairo", "2026-04-23T12:00Z", &["2026-04-23T22:00Z", "2026-04-24T21:00Z"]);
    // 00:00 becomes 23:00 of the day before.
    due("30 23 * * *", "America/Sao_Paulo", "2018-02-17T12:00Z", &["2018-02-18T01:30Z", "2018-02-19T02:30Z"]);
    due("@daily", "America/Sao_Paulo", "2018-02-17T12:00Z", &["2018-02-18T03:00Z", "2018-02-19T03:00Z"]);
}

#[test]
fn what_a_skipped_day_had_is_due_when_the_next_begins() {
    // 30 December never was.
    let noons = ["2011-12-29T22:00Z", "2011-12-30T10:00Z", "2011-12-30T22:00Z"];
    due("0 12 * * *", "Pacific/Apia", "2011-12-29T12:00Z", &noons);
    due("0 * 30 12 *", "Pacific/Apia", "2011-12-01T00:00Z", &["2011-12-30T10:00Z", "2012-12-29T10:00Z"]);
}

#[test]
fn the_end_of_a_century_is_passed_in_both_directions() {
    due("0 0 29 2 *", "UTC", "2095-01-01T00:00Z", &["2096-02-29T00:00Z", "2104-02-29T00:00Z", "2108-02-29T00:00Z"]);
    due("0 0 29 2 */7", "UTC", "2070-01-01T00:00Z", &["2088-02-29T00:00Z", "2128-02-29T00:00Z"]);
    due("0 0 31 12 *", "UTC", "2099-12-30T00:00Z", &["2099-12-31T00:00Z", "2100-12-31T00:00Z", "2101-12-31T00:00Z"]);
}

#[test]
fn a_crontab_begins_in_1970_and_ends_with_the_year_9999() {
    let cadence = Cadence::cron("@yearly", "America/New_York").expect("this is a cadence");
    let (always, never) = (Timestamp(i64::MIN), Timestamp(i64::MAX));
    assert_eq!(cadence.after(always), Some(time("1970-01-01T05:00:00Z")));
    assert_eq!(cadence.last(always, never), Some(time("9999-01-01T05:00:00Z")));
    assert_eq!(cadence.last(always, time("1970-01-01T04:00:00Z")), None);
    assert_eq!(cadence.after(time("9999-01-01T05:00:00Z")), None);
    assert_eq!(cadence.after(never), None);
    assert_eq!(cadence.count(always, never, u32::MAX), Some(8_030));
}

/// Checks the first slots after `start`, and that they are found backwards and counted too.
fn due(crontab: &str, zone: &str, start: &str, expected: &[&str]) {
    let minute = |text: &str| time(&text.replace('Z', ":00Z"));
    let cadence = Cadence::cron(crontab, zone).expect("this is a cadence");
    let start = minute(start);
    let found: Vec<_> = times(&cadence, start).take(expected.len()).map(|time| time.to_string()).collect();
    let expected: Vec<_> = expected.iter().map(|text| minute(text)).collect();
    assert_eq!(found, expected.iter().map(ToString::to_string).collect::<Vec<_>>(), "{crontab} in {zone}");
    for (at, slot) in expected.iter().enumerate() {
        let before = at.checked_sub(1).map(|before| expected[before]);
        assert_eq!(cadence.last(start, *slot), Some(*slot));
        assert_eq!(cadence.last(start, slot.plus(-1)), before, "{crontab} in {zone} before {slot}");
        assert_eq!(cadence.count(start, *slot, 100).map(|count| count as usize), Some(at + 1));
    }
}
