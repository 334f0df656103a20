//! A time zone: from local times to points in time, over the hours that clocks skip or show twice.

use std::str::FromStr as _;

use chrono::{DateTime, LocalResult, NaiveDateTime, TimeDelta, TimeZone as _};
use chrono_tz::{GapInfo, TZ_VARIANTS, Tz};

use crate::model::Timestamp;

/// A time zone of the IANA database, as it was when this was built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Zone(Tz);

impl Zone {
    pub(super) fn parse(name: &str) -> Result<Zone, String> {
        if name.trim().is_empty() {
            return Err("no time zone: the name is empty; write for example `Europe/Berlin` or `UTC`".to_owned());
        }
        Tz::from_str(name).map(Zone).map_err(|_| match nearest(name) {
            Some(nearest) => format!("unknown time zone `{name}`: did you mean `{nearest}`?"),
            None => format!("unknown time zone `{name}`: write an IANA name, for example `Europe/Berlin` or `UTC`"),
        })
    }

    /// Returns what clocks show at `time`.
    pub(super) fn local(self, time: Timestamp) -> Option<NaiveDateTime> {
        let time = DateTime::from_timestamp_millis(time.0)?;
        Some(time.with_timezone(&self.0).naive_local())
    }

    /// Returns the first point in time at which clocks show `local`; where they skip it, when they go on.
    ///
    /// Of two local times, the later one never comes before the other.
    pub(super) fn instant(self, local: NaiveDateTime) -> Option<Timestamp> {
        let found = match self.0.from_local_datetime(&local) {
            LocalResult::Single(time) => time,
            LocalResult::Ambiguous(one, other) => one.min(other),
            LocalResult::None => GapInfo::new(&local, &self.0)?.end?,
        };
        Some(Timestamp(found.timestamp_millis()))
    }

    /// Returns the latest that clocks have shown until `time`, or a little later where they show an hour again.
    pub(super) fn reached(self, time: Timestamp) -> Option<NaiveDateTime> {
        let local = self.local(time)?;
        match self.0.from_local_datetime(&local) {
            // What clocks would show, had they not been set back.
            LocalResult::Ambiguous(one, other) => {
                let back = time.0 - one.min(other).timestamp_millis();
                Some(local + TimeDelta::milliseconds(back))
            }
            _ => Some(local),
        }
    }
}

/// Finds the zone that somebody meant: in other letters, without its continent, or with a slip or two.
fn nearest(name: &str) -> Option<&'static str> {
    if name.len() > LONGEST_NAME {
        return None;
    }
    let wanted = name.trim().to_lowercase().replace(' ', "_");
    let names = || TZ_VARIANTS.iter().map(|zone| zone.name());
    let city = |zone: &'static str| zone.rsplit('/').next().unwrap_or(zone).to_lowercase();
    // Short names are not alike because they differ in one letter: `AEST` is not meant to be `EST`.
    let allowed = (wanted.chars().count() / 6).min(2);
    names().find(|zone| zone.to_lowercase() == wanted).or_else(|| names().find(|zone| city(zone) == wanted)).or_else(
        || {
            let slips = names().map(|zone| (slips(&wanted, &zone.to_lowercase()), zone));
            slips.filter(|(slips, _)| *slips <= allowed).min_by_key(|(slips, _)| *slips).map(|(_, zone)| zone)
        },
    )
}

/// How many letters must be put in, taken out or replaced to make one text of the other.
fn slips(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (above, letter) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = above + 1;
        for (at, other) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[at + 1];
            row[at + 1] = replaced.min(row[at] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

const LONGEST_NAME: usize = 64;
