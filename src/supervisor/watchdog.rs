//! The watchdog: says once in the log that a shard makes no progress and since when, and once that
//! it goes on.
//!
//! Owns what was said. Whether a shard is overdue is the meters' to tell; nothing is done about it
//! here: a call that hangs has its own deadline, and a thread that dies is started again.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::shard::ShardId;
use crate::model::timestamp::Timestamp;

/// A shard that should have made progress by now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overdue {
    /// Which.
    pub shard: ShardId,
    /// What it said to be doing.
    pub activity: &'static str,
    /// How long ago the progress was due.
    pub late: Duration,
    /// What it said to be wrong; may be empty.
    pub troubles: Vec<String>,
}

/// Remembers which shards were reported.
#[derive(Debug, Default)]
pub(super) struct Watchdog {
    /// And since when (wall clock).
    reported: BTreeMap<ShardId, Timestamp>,
}

/// What is to be said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// It has made no progress since then, where progress was due.
    Stands(Overdue, Timestamp),
    /// It makes progress again, or is no longer run.
    GoesOn(ShardId, Timestamp),
}

impl Watchdog {
    /// What is new at `now`, given all shards that are overdue.
    pub(super) fn look(&mut self, overdue: Vec<Overdue>, now: Timestamp) -> Vec<Said> {
        let mut said = Vec::new();
        self.reported.retain(|shard, since| {
            let still = overdue.iter().any(|overdue| overdue.shard == *shard);
            if !still {
                said.push(Said::GoesOn(shard.clone(), *since));
            }
            still
        });
        for overdue in overdue {
            if !self.reported.contains_key(&overdue.shard) {
                let since = now - overdue.late;
                self.reported.insert(overdue.shard.clone(), since);
                said.push(Said::Stands(overdue, since));
            }
        }
        said
    }
}

/// Writes it to the log.
pub(super) fn log(said: &[Said]) {
    for said in said {
        match said {
            Said::Stands(Overdue { shard, activity, troubles, .. }, since) => tracing::warn!(
                shard = %shard, since = %since, activity, why = troubles.join("; "),
                "the shard makes no progress"
            ),
            Said::GoesOn(shard, since) => {
                tracing::info!(shard = %shard, since = %since, "the shard makes progress again, or is over");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_standstill_is_said_once_with_its_beginning_and_so_is_its_end() {
        let overdue = |shard: &str, late| Overdue {
            shard: ShardId::new(shard),
            activity: "reading",
            late: Duration::from_secs(late),
            troubles: vec!["kinesis is away".to_owned()],
        };
        let at = Timestamp::from_seconds;
        let mut watchdog = Watchdog::default();
        assert_eq!(watchdog.look(vec![], at(100)), []);
        assert_eq!(watchdog.look(vec![overdue("a", 3)], at(100)), [Said::Stands(overdue("a", 3), at(97))]);
        let second = watchdog.look(vec![overdue("a", 8), overdue("b", 1)], at(105));
        assert_eq!(second, [Said::Stands(overdue("b", 1), at(104))]);
        let third = watchdog.look(vec![overdue("b", 6)], at(110));
        assert_eq!(third, [Said::GoesOn(ShardId::new("a"), at(97))]);
        assert_eq!(watchdog.look(vec![overdue("a", 2), overdue("b", 7)], at(111)).len(), 1);
    }
}
