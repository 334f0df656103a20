//! When schedules are due: what is a cadence and what is none, and the times that follow from one.

mod clocks;
mod every;
mod table;

use paseo_sdk::cadence::Cadence;
use paseo_sdk::model::{Duration, Timestamp};

#[test]
fn what_is_no_crontab_is_refused_with_its_place_and_what_to_write() {
    let texts = [
        "",
        "  ",
        "* * * *",
        " 1 2",
        "* * * * * *",
        "0 0 12 * * ? *",
        "61 * * * *",
        "0 24 * * *",
        "0 0 0 * *",
        "0 0 * 13 *",
        "0 0 * * 8",
        "99999999999 * * * *",
        "*/0 * * * *",
        "*/90 * * * *",
        "*/ * * * *",
        "*/x * * * *",
        "1- * * * *",
        "-5 * * * *",
        "1-2-3 * * * *",
        "1,,2 * * * *",
        "1, * * * *",
        "/5 * * * *",
        "5x * * * *",
        "** * * * *",
        "50-10 * * * *",
        "0 0 * nov-feb *",
        "0 0 * dec-jan *",
        "0 0 * * fri-mon",
        "0 0 * * 6-2",
        "0 0 * * monday",
        "0 0 * june *",
        "0 0 * * tues",
        "0 0 ? * *",
        "0 0 L * *",
        "0 0 * * fri#2",
        "0 0 30 2 *",
        "0 0 31 feb,apr,9 *",
        "0 0 30 2 */2",
        "@reboot",
        "@hurly",
        "@every 5m",
        "@daily 5",
        "ü * * * *",
        "* * *\u{a0}* *",
        "*\u{0}* * * * *",
    ];
    insta::assert_snapshot!(texts.map(|text| said(text, Cadence::cron(text, "UTC"))).join("\n"));
    let long = "1,".repeat(4_000);
    insta::assert_snapshot!(Cadence::cron(&long, "UTC").expect_err("it is long"), @"not a crontab time: it has 8000 characters; 500 are the most");
}

#[test]
fn crontabs_mean_what_they_mean_to_cron() {
    let texts = [
        "* * * * *",
        "\t*/20  * *\t* * ",
        "5/15 * * * *",
        "1-30/7 * * * *",
        "0 9 * * MON-fri",
        "0 0 * Feb,jul *",
        "0 0 * * 0",
        "0 0 * * 7",
        "0 0 * * 5-7",
        "0 0 * * sat-sun",
        "0 0 * * sun-tue",
        "0 0 * * 7-2",
        "0 0 * * sun-sun",
        "0 0 * * 5/1",
        "0 0 1 * mon",
        "0 0 */10 * mon",
        "0 0 1,15 * */3",
        "0 0 30 2 mon",
        "0 0 29 2 *",
        "0 0 29 2 */7",
        "@HOURLY",
        "@midnight",
        "@weekly",
        "@monthly",
        "@annually",
    ];
    insta::assert_snapshot!(texts.map(|text| said(text, Cadence::cron(text, "UTC"))).join("\n"));
}

#[test]
fn lengths_of_time_are_cadences_from_a_second_to_ten_years() {
    let texts = [
        "",
        "0s",
        "500ms",
        "999ms",
        "1s",
        "2s",
        "1.5h",
        "1h30m",
        "1d2h",
        "1500ms",
        "5",
        "5x",
        "5m5m",
        "1m1h",
        "-5m",
        "5 m",
        "1e3s",
        "٥m",
        "3650d",
        "3651d",
        "9999999999d",
    ];
    let cadence = |text: &str| {
        let length: Duration = text.parse()?;
        Cadence::every(length, START).map_err(|refusal| refusal.to_string())
    };
    insta::assert_snapshot!(texts.map(|text| said(text, cadence(text))).join("\n"));
}

#[test]
fn a_zone_is_one_of_the_iana_names_and_the_nearest_is_suggested() {
    let names = [
        "UTC",
        "Etc/GMT+5",
        "Asia/Kolkata",
        "Europe/Berln",
        "europe/berlin",
        "Berlin",
        "new york",
        " UTC",
        "AEST",
        "Mars/Phobos",
        "CEST",
        "+02:00",
        "",
        "Zürich",
    ];
    insta::assert_snapshot!(names.map(|name| said(name, Cadence::cron("0 9 * * *", name))).join("\n"));
    Cadence::cron("0 9 * * *", &"x".repeat(1 << 20)).expect_err("that is no zone");
}

/// What somebody sees of a cadence: its next three times, or why it is none.
fn said(text: &str, cadence: Result<Cadence, impl ToString>) -> String {
    let text = format!("`{}`", text.escape_debug());
    match cadence {
        Ok(cadence) => {
            let times: Vec<_> = times(&cadence, START).take(3).map(|time| time.to_string()).collect();
            format!("{text} {}", times.join(", "))
        }
        Err(refusal) => format!("{text}\n    {}", refusal.to_string()),
    }
}

/// The slots after `start`.
fn times(cadence: &Cadence, start: Timestamp) -> impl Iterator<Item = Timestamp> {
    std::iter::successors(cadence.after(start), |last| cadence.after(*last))
}

fn time(text: &str) -> Timestamp {
    text.parse().expect("this is a time")
}

/// 2026-01-02 is a Friday.
const START: Timestamp = Timestamp(1_767_348_000_000);
