//! The days and minutes of a crontab, on clocks that nobody ever sets.

use std::fmt::Write as _;
use std::str::FromStr as _;

use chrono::{Datelike as _, NaiveDate, NaiveDateTime, TimeDelta, Weekday};
use cron::Schedule;

use super::crontab::{Crontab, Set};

/// The local times of a crontab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Calendar {
    /// Its times are those of any of these: `cron` wants a day to match both day fields, and a crontab sometimes either.
    schedules: Vec<Schedule>,
}

impl Calendar {
    pub(super) fn new(crontab: &Crontab) -> Calendar {
        let either_day = crontab.either_day();
        let days = if either_day {
            vec![(crontab.days, Set::ALL), (Set::ALL, crontab.weekdays)]
        } else {
            vec![(crontab.days, crontab.weekdays)]
        };
        Calendar { schedules: days.into_iter().map(|(days, weekdays)| schedule(crontab, days, weekdays)).collect() }
    }

    /// Returns the first time strictly after `local`.
    pub(super) fn after(&self, local: NaiveDateTime) -> Option<NaiveDateTime> {
        let mut from = local.with_year(stand_in(local.year())?)?;
        for year in local.year()..=local.year() + LONGEST_GAP {
            let stand_in_year = stand_in(year)?;
            let times = self.schedules.iter().filter_map(|schedule| schedule.after(&from.and_utc()).next());
            let found = times.map(|time| time.naive_utc()).min();
            if let Some(found) = found.filter(|found| found.year() == stand_in_year) {
                return found.with_year(year);
            }
            from = new_year(stand_in(year + 1)?)? - TimeDelta::milliseconds(1);
        }
        None
    }

    /// Returns the last time strictly before `local`.
    pub(super) fn before(&self, local: NaiveDateTime) -> Option<NaiveDateTime> {
        let mut from = local.with_year(stand_in(local.year())?)?;
        for year in (local.year() - LONGEST_GAP..=local.year()).rev() {
            let stand_in_year = stand_in(year)?;
            let times = self.schedules.iter().filter_map(|schedule| schedule.after(&from.and_utc()).next_back());
            let found = times.map(|time| time.naive_utc()).max();
            if let Some(found) = found.filter(|found| found.year() == stand_in_year) {
                return found.with_year(year);
            }
            from = new_year(stand_in(year - 1)? + 1)?;
        }
        None
    }

    /// Returns the last time not after `local`.
    pub(super) fn until(&self, local: NaiveDateTime) -> Option<NaiveDateTime> {
        self.before(local + TimeDelta::milliseconds(1))
    }
}

/// Returns a year of the last century that has the same days: `cron` knows only the years from 1970 to 2100, and going
/// backwards from a later one it leaves months out.
fn stand_in(year: i32) -> Option<i32> {
    let kind = |year: i32| -> Option<(bool, Weekday)> {
        let day = NaiveDate::from_ymd_opt(year, 1, 1)?;
        Some((day.leap_year(), day.weekday()))
    };
    let wanted = kind(year)?;
    (1972..2000).find(|year| kind(*year) == Some(wanted))
}

fn new_year(year: i32) -> Option<NaiveDateTime> {
    NaiveDate::from_ymd_opt(year, 1, 1)?.and_hms_opt(0, 0, 0)
}

fn schedule(crontab: &Crontab, days: Set, weekdays: Set) -> Schedule {
    let text = format!(
        "0 {} {} {} {} {}",
        list(crontab.minutes, 0..=59),
        list(crontab.hours, 0..=23),
        list(days, 1..=31),
        list(crontab.months, 1..=12),
        // `cron` counts the days of the week from Sunday, which is 1.
        list(weekdays.shifted(), 1..=7),
    );
    Schedule::from_str(&text).expect("fields that are lists of their numbers are a schedule")
}

/// Writes a field out: all, or each of its numbers.
fn list(set: Set, all: std::ops::RangeInclusive<u32>) -> String {
    if all.clone().all(|number| set.has(number)) {
        return "*".to_owned();
    }
    let mut text = String::new();
    for number in all.filter(|number| set.has(*number)) {
        let comma = if text.is_empty() { "" } else { "," };
        write!(text, "{comma}{number}").expect("a string takes what is written");
    }
    text
}

/// In years: from a 29 February on a certain day of the week to the next one, over the end of a century.
const LONGEST_GAP: i32 = 40;
