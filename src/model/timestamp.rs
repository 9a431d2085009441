//! Instants as the archive writes them: milliseconds since 1970, UTC, and the hours they fall in.

use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Milliseconds since the Unix epoch, UTC: the resolution of Kinesis' arrival timestamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

/// A whole UTC hour, counted from the Unix epoch: the unit by which the archive is partitioned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hour(i64);

/// The text was not an RFC 3339 instant.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not an RFC 3339 time such as 2026-11-22T05:11:00.123Z")]
pub struct NotATimestamp(pub String);

const MILLIS_PER_HOUR: i64 = 3_600_000;
const MILLIS_PER_DAY: i64 = 24 * MILLIS_PER_HOUR;

impl Timestamp {
    /// The beginning of 1970.
    pub const EPOCH: Self = Self(0);

    /// The last instant that can be read back: `9999-12-30T22:00:00.000Z`.
    pub const LATEST: Self = Self(253_402_207_200_000);

    /// The instant `millis` milliseconds after the epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// The instant `seconds` seconds after the epoch.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// Milliseconds since the epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down.
    pub const fn as_seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// The UTC hour it falls in.
    pub const fn hour(self) -> Hour {
        Hour(self.0.div_euclid(MILLIS_PER_HOUR))
    }

    /// How long after `earlier` it is; zero if it is not later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Appends `2026-11-22T05:11:00.123Z`, without allocating.
    pub fn write_to(self, out: &mut Vec<u8>) {
        let (year, month, day) = civil_from_days(self.0.div_euclid(MILLIS_PER_DAY));
        let in_day = self.0.rem_euclid(MILLIS_PER_DAY);
        let mut text = *b"0000-00-00T00:00:00.000Z";
        let mut digits = |at: usize, width: usize, value: i64| {
            let mut rest = value;
            for slot in text[at..at + width].iter_mut().rev() {
                *slot = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
        };
        digits(0, 4, year.clamp(0, 9999));
        digits(5, 2, month);
        digits(8, 2, day);
        digits(11, 2, in_day / MILLIS_PER_HOUR);
        digits(14, 2, in_day / 60_000 % 60);
        digits(17, 2, in_day / 1000 % 60);
        digits(20, 3, in_day % 1000);
        out.extend_from_slice(&text);
    }
}

/// Howard Hinnant's `civil_from_days`: the proleptic Gregorian date of a day count from 1970-01-01.
const fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::with_capacity(24);
        self.write_to(&mut text);
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl FromStr for Timestamp {
    type Err = NotATimestamp;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse::<jiff::Timestamp>()
            .map(|instant| Self(instant.as_millisecond()))
            .map_err(|_| NotATimestamp(text.to_owned()))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, later: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(later.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, earlier: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(earlier.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl Hour {
    /// The instant at which the hour begins.
    pub const fn start(self) -> Timestamp {
        Timestamp(self.0 * MILLIS_PER_HOUR)
    }

    /// The hour after it.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// Hours since the epoch.
    pub const fn number(self) -> i64 {
        self.0
    }

    /// The hour that lies so many hours after this one, or before it.
    pub const fn plus(self, hours: i64) -> Self {
        Self(self.0.saturating_add(hours))
    }

    /// The hour of a UTC date and an hour of that day, if there is such a one.
    pub fn of_date(date: &str, hour: &str) -> Option<Self> {
        if date.len() != 10 || hour.len() != 2 {
            return None;
        }
        Some(format!("{date}T{hour}:00:00Z").parse::<Timestamp>().ok()?.hour())
    }

    /// The first instant after the hour.
    pub const fn end(self) -> Timestamp {
        Timestamp((self.0 + 1) * MILLIS_PER_HOUR)
    }
}

/// Written as the instant at which it begins, `2026-11-22T05:00:00.000Z`.
impl Serialize for Hour {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.start().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Hour {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Timestamp::deserialize(deserializer)?.hour())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_writes_milliseconds_and_z() {
        assert_eq!(Timestamp::from_millis(1_795_324_260_123).to_string(), "2026-11-22T05:11:00.123Z");
        assert_eq!(Timestamp::from_millis(-1).to_string(), "1969-12-31T23:59:59.999Z");
        assert_eq!(Timestamp::from_seconds(951_782_400).to_string(), "2000-02-29T00:00:00.000Z");
    }

    #[test]
    fn the_latest_is_read_back() {
        assert_eq!(Timestamp::LATEST.to_string(), "9999-12-30T22:00:00.000Z");
        assert_eq!(Timestamp::LATEST.to_string().parse(), Ok(Timestamp::LATEST));
    }

    proptest::proptest! {
        #[test]
        fn what_it_writes_it_reads_back(millis in 0..=Timestamp::LATEST.0) {
            let instant = Timestamp::from_millis(millis);
            proptest::prop_assert_eq!(instant.to_string().parse(), Ok(instant));
        }
    }
}
