//! When a schedule is due: every so often, or at the times of a crontab in a time zone.
//!
//! The time of a slot follows from the cadence alone, so that a daemon that was away finds the same slots as one that
//! was there. Like the machines, nothing here reads a clock.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod calendar;
mod crontab;
mod zone;

use self::calendar::Calendar;
use self::crontab::Crontab;
use self::zone::Zone;
use crate::model::{Duration, Timestamp};

/// When a schedule is due.
///
/// Slots are points in time, each later than the one before. There are none after the year 9999, and those of a crontab
/// begin in 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cadence(Kind);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    /// The slots are `anchor + k * length` for `k` from 1 on; both in milliseconds.
    Every {
        length: i64,
        anchor: i64,
    },
    Cron {
        calendar: Calendar,
        zone: Zone,
    },
}

/// Why something is no cadence, by the argument that is wrong; says where in its text, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The length of time between two slots.
    #[error("{0}")]
    Every(String),
    /// The times of a crontab.
    #[error("{0}")]
    Cron(String),
    /// The time zone.
    #[error("{0}")]
    Zone(String),
}

impl Cadence {
    /// Returns a cadence that is due every `length`, counted from `anchor`, which is no slot itself.
    ///
    /// # Errors
    ///
    /// Less than a second or more than ten years is refused.
    pub fn every(length: Duration, anchor: Timestamp) -> Result<Cadence, Refusal> {
        if length < SHORTEST {
            return Err(Refusal::Every(format!("too often: every `{length}`: write `{SHORTEST}` or more")));
        }
        if length > LONGEST {
            return Err(Refusal::Every(format!("too rare: every `{length}`: write `{LONGEST}` (ten years) or less")));
        }
        Ok(Cadence(Kind::Every { length: length.milliseconds, anchor: anchor.0 }))
    }

    /// Returns a cadence that is due at the times of a crontab: minute, hour, day of the month, month and day of the
    /// week, or a name such as `@daily`, on the clocks of the IANA time zone `zone`.
    ///
    /// A time that clocks there skip is due when they go on, and one that they show twice is due the first time only.
    /// A day that matches either day field is due; where one of them starts with `*`, it must match both.
    ///
    /// # Errors
    ///
    /// What is no crontab, or would never come, is refused with its place in the text; so is an unknown zone.
    pub fn cron(text: &str, zone: &str) -> Result<Cadence, Refusal> {
        let crontab = Crontab::parse(text).map_err(Refusal::Cron)?;
        let zone = Zone::parse(zone).map_err(Refusal::Zone)?;
        Ok(Cadence(Kind::Cron { calendar: Calendar::new(&crontab), zone }))
    }

    /// Returns the first slot strictly after `time`; none when there is none before the year 10000.
    #[must_use]
    pub fn after(&self, time: Timestamp) -> Option<Timestamp> {
        match &self.0 {
            Kind::Every { length, anchor } => {
                let passed = passed(*length, *anchor, time);
                slot(*length, *anchor, passed + 1)
            }
            Kind::Cron { calendar, zone } => {
                let time = time.clamp(BEFORE_THE_FIRST, LAST);
                let mut local = zone.local(time)?;
                loop {
                    local = calendar.after(local)?;
                    // While clocks show an hour again, its slots have been already; the loop runs through it.
                    match zone.instant(local) {
                        Some(found) if found > LAST => return None,
                        Some(found) if found > time => return Some(found),
                        _ => {}
                    }
                }
            }
        }
    }

    /// Returns the last slot that is later than `after` and not later than `until`.
    #[must_use]
    pub fn last(&self, after: Timestamp, until: Timestamp) -> Option<Timestamp> {
        let until = until.min(LAST);
        match &self.0 {
            Kind::Every { length, anchor } => {
                slot(*length, *anchor, passed(*length, *anchor, until)).filter(|found| *found > after)
            }
            Kind::Cron { calendar, zone } => {
                let after = after.max(BEFORE_THE_FIRST);
                if until <= after {
                    return None;
                }
                let mut local = calendar.until(zone.reached(until)?)?;
                loop {
                    // What was reached may be too much by an hour that clocks show again; the loop runs through it.
                    match zone.instant(local) {
                        Some(found) if found <= until => return (found > after).then_some(found),
                        _ => local = calendar.before(local)?,
                    }
                }
            }
        }
    }

    /// Returns how many slots are later than `after` and not later than `until`; none when they are more than `most`.
    ///
    /// For a crontab this takes as long as there are slots, at most `most` and one.
    #[must_use]
    pub fn count(&self, after: Timestamp, until: Timestamp, most: u32) -> Option<u32> {
        let until = until.min(LAST);
        match &self.0 {
            Kind::Every { length, anchor } => {
                let count = passed(*length, *anchor, until) - passed(*length, *anchor, after);
                u32::try_from(count.max(0)).ok().filter(|count| *count <= most)
            }
            Kind::Cron { .. } => {
                let mut count = 0;
                let mut last = after;
                while let Some(next) = self.after(last).filter(|next| *next <= until) {
                    if count == most {
                        return None;
                    }
                    count += 1;
                    last = next;
                }
                Some(count)
            }
        }
    }
}

/// How many slots there are until `time`.
fn passed(length: i64, anchor: i64, time: Timestamp) -> i128 {
    (i128::from(time.0) - i128::from(anchor)).div_euclid(i128::from(length)).max(0)
}

/// The slot of that number; the first one has the number 1.
fn slot(length: i64, anchor: i64, number: i128) -> Option<Timestamp> {
    let time = i128::from(anchor) + number * i128::from(length);
    let time = Timestamp(i64::try_from(time).ok()?);
    (number >= 1 && time <= LAST).then_some(time)
}

const SHORTEST: Duration = Duration { milliseconds: 1_000 };

const LONGEST: Duration = Duration { milliseconds: 3_650 * 86_400_000 };

/// Slots of a crontab are later than this.
const BEFORE_THE_FIRST: Timestamp = Timestamp(-1);

/// The end of the year 9999, the last one that RFC 3339 can write.
const LAST: Timestamp = Timestamp(253_402_300_799_999);
