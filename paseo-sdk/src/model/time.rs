//! Points in time and lengths of time.

use std::fmt;
use std::str::FromStr;

use chrono::Datelike as _;
use serde::{Deserialize, Serialize};

use super::text::text_on_the_wire;

/// Milliseconds since the Unix epoch; RFC 3339 in UTC on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Returns the time `milliseconds` later; negative for earlier.
    #[must_use]
    pub fn plus(self, milliseconds: i64) -> Timestamp {
        Timestamp(self.0.saturating_add(milliseconds))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = chrono::DateTime::from_timestamp_millis(self.0);
        match time.filter(|time| (0..=9999).contains(&time.year())) {
            Some(time) => f.write_str(&time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)),
            // A year that RFC 3339 has no words for: a damaged number, shown as it is.
            None => write!(f, "@{}", self.0),
        }
    }
}

impl FromStr for Timestamp {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(number) = text.strip_prefix('@') {
            return number.parse().map(Timestamp).map_err(|error| format!("not a time: `{text}`: {error}"));
        }
        chrono::DateTime::parse_from_rfc3339(text)
            .map(|time| Timestamp(time.timestamp_millis()))
            .map_err(|error| format!("not an RFC 3339 time: `{text}`: {error}"))
    }
}

/// A length of time; on the wire text such as `90s`, `5m`, `1h30m` or `1.5h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Duration {
    /// Milliseconds; never negative.
    pub milliseconds: i64,
}

impl Duration {
    const UNITS: [(&'static str, i64); 5] =
        [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.milliseconds == 0 {
            return f.write_str("0s");
        }
        let mut rest = self.milliseconds;
        for (unit, size) in Duration::UNITS {
            if rest >= size {
                write!(f, "{}{unit}", rest / size)?;
                rest %= size;
            }
        }
        Ok(())
    }
}

impl FromStr for Duration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refusal =
            |why: &str| format!("not a duration: `{text}`: {why}; write for example `90s`, `5m`, `1h30m` or `1.5h`");
        // Says at which place of the text `rest` begins.
        let at = |rest: &str, why: &str| {
            let before = text[..text.len() - rest.len()].chars().count();
            refusal(&format!("at character {}: {why}", before + 1))
        };
        let mut rest = text;
        let mut total = 0i64;
        // Each part must have a smaller unit than the one before, so `5m5m` and `1s1h` are refused as slips.
        let mut smallest = i64::MAX;
        if rest.is_empty() {
            return Err(refusal("it is empty"));
        }
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
            let (number, from_unit) = rest.split_at(digits);
            let letters = from_unit.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(from_unit.len());
            let (unit, after) = from_unit.split_at(letters);
            let Some((_, size)) = Duration::UNITS.into_iter().find(|(name, _)| *name == unit) else {
                return Err(at(from_unit, "every number needs one of the units d, h, m, s, ms"));
            };
            if size >= smallest {
                return Err(at(from_unit, "units go from large to small, each once"));
            }
            smallest = size;
            let amount = parse_decimal(number, size).ok_or_else(|| at(rest, "a number is malformed or too large"))?;
            total = total.checked_add(amount).ok_or_else(|| refusal("it is too long"))?;
            rest = after;
        }
        Ok(Duration { milliseconds: total })
    }
}

/// Multiplies a decimal such as `1.5` by `size`, exactly; fractions of a millisecond are cut off.
fn parse_decimal(number: &str, size: i64) -> Option<i64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if whole.is_empty() || fraction.is_empty() || fraction.len() > 9 || fraction.contains('.') {
        return None;
    }
    let whole: i64 = whole.parse().ok()?;
    let scale = 10i64.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let fraction: i64 = fraction.parse().ok()?;
    whole
        .checked_mul(size)?
        .checked_add(i64::try_from(i128::from(fraction) * i128::from(size) / i128::from(scale)).ok()?)
}

text_on_the_wire! {
    Timestamp: "RFC 3339, UTC",
    Duration: "a duration such as `90s`, `5m`, `1h30m` or `1.5h`",
}
