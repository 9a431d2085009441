//! `--from`, `--to` and `--shard`: which part of an archive a command is about.

use std::str::FromStr;
use std::time::Duration;

use clap::Args;

use crate::archive::Selection;
use crate::error::Failure;
use crate::model::shard::ShardId;
use crate::model::timestamp::Timestamp;

/// Which part of the archive.
#[derive(Clone, Debug, Default, Args)]
pub struct Range {
    /// From this time on: RFC 3339, a date (UTC), or an age such as 2h
    #[arg(long, value_name = "T")]
    pub from: Option<When>,
    /// Before this time: RFC 3339, a date (UTC), or an age such as 2h
    #[arg(long, value_name = "T")]
    pub to: Option<When>,
    /// This shard alone, such as shardId-000000000000
    #[arg(long, value_name = "S")]
    pub shard: Option<String>,
}

/// A time as people write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Then.
    At(Timestamp),
    /// So long ago.
    Ago(Duration),
}

impl FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(time) = instant(text) {
            return Ok(Self::At(time));
        }
        if text.len() == "2026-11-22".len()
            && let Some(midnight) = instant(&format!("{text}T00:00:00Z"))
        {
            return Ok(Self::At(midnight));
        }
        humantime::parse_duration(text).map(Self::Ago).map_err(|_| {
            "neither a time such as 2026-11-22T05:00:00Z, nor a date such as 2026-11-22, nor an age such as 2h".to_owned()
        })
    }
}

/// An RFC 3339 time. The last hours of the year 9999, which people write for "never", lie past the last instant
/// that there is a number for, and are taken for it: the year before has the same days.
fn instant(text: &str) -> Option<Timestamp> {
    let never = || {
        let year_before = format!("9998{}", text.strip_prefix("9999")?);
        year_before.parse::<Timestamp>().is_ok().then_some(Timestamp::LATEST)
    };
    text.parse().ok().or_else(never)
}

impl When {
    fn at(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(time) => time,
            Self::Ago(age) => now - age,
        }
    }
}

impl Range {
    /// What is meant, now.
    pub fn selection(&self, now: Timestamp) -> Result<Selection, Failure> {
        let (from, to) = (self.from.map(|when| when.at(now)), self.to.map(|when| when.at(now)));
        if let (Some(from), Some(to)) = (from, to)
            && from >= to
        {
            return Err(Failure::usage(format!("--from ({from}) does not lie before --to ({to})")));
        }
        Ok(Selection { from, to, shard: self.shard.as_deref().map(ShardId::new) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_a_date_and_an_age_are_understood() {
        let at = |text: &str| When::At(text.parse().unwrap());
        assert_eq!("2026-11-22T05:00:00+01:00".parse(), Ok(at("2026-11-22T04:00:00Z")));
        assert_eq!("2026-11-22".parse(), Ok(at("2026-11-22T00:00:00Z")));
        assert_eq!("2026-11-22T05:00:00.5Z".parse(), Ok(at("2026-11-22T05:00:00.500Z")));
        for never in ["9999-12-31", "9999-12-31T23:59:59Z", "9999-12-31T23:59:59.999+00:00"] {
            assert_eq!(never.parse(), Ok(When::At(Timestamp::LATEST)), "{never}");
        }
        assert_eq!("9999-12-30".parse(), Ok(at("9999-12-30T00:00:00Z")));
        assert!("9999-12-32".parse::<When>().is_err() && "10000-01-01".parse::<When>().is_err());
        assert_eq!("2h".parse(), Ok(When::Ago(Duration::from_secs(7200))));
        assert!("yesterday".parse::<When>().unwrap_err().contains("2026-11-22"));
    }

    #[test]
    fn a_range_goes_forward() {
        let now = "2026-11-22T05:00:00Z".parse().unwrap();
        let range = |from: &str, to: &str| Range {
            from: Some(from.parse().unwrap()),
            to: Some(to.parse().unwrap()),
            shard: None,
        };
        let selection = range("2h", "1h").selection(now).unwrap();
        assert_eq!(selection.from, Some("2026-11-22T03:00:00Z".parse().unwrap()));
        assert!(range("1h", "2h").selection(now).is_err());
    }
}
