//! Everything counted for one shard, or for several together, as plain values.

use std::collections::BTreeMap;

use super::uploads::Uploads;
use crate::model::batch::SealReason;
use crate::model::metric::{Counter, Gauge};

/// Failed calls by service and kind.
pub type Errors = BTreeMap<(&'static str, &'static str), u64>;

/// The numbers of one shard, or of several together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    /// By `Counter as usize`.
    pub counters: [u64; Counter::ALL.len()],
    /// By `SealReason as usize`.
    pub sealed: [u64; SealReason::ALL.len()],
    /// By `Gauge as usize`; `None` where none was set.
    pub gauges: [Option<f64>; Gauge::ALL.len()],
    /// Failed calls.
    pub errors: Errors,
    /// Puts.
    pub uploads: Uploads,
}

impl Tally {
    /// Adds what another counted; gauges are left alone.
    pub fn add_counts(&mut self, other: &Self) {
        for (mine, theirs) in self.counters.iter_mut().zip(other.counters) {
            *mine = mine.saturating_add(theirs);
        }
        for (mine, theirs) in self.sealed.iter_mut().zip(other.sealed) {
            *mine = mine.saturating_add(theirs);
        }
        for (call, count) in &other.errors {
            let mine = self.errors.entry(*call).or_default();
            *mine = mine.saturating_add(*count);
        }
        self.uploads.add(&other.uploads);
    }

    /// Takes another's gauges in: amounts add up, of ages and shares the worst counts.
    pub fn add_gauges(&mut self, other: &Self) {
        for gauge in Gauge::ALL {
            let Some(theirs) = other.gauges[gauge as usize] else { continue };
            let mine = &mut self.gauges[gauge as usize];
            *mine = Some(match (gauge, *mine) {
                (_, None) => theirs,
                (Gauge::SpoolBytes | Gauge::OutboxNotices, Some(mine)) => mine + theirs,
                (Gauge::MillisBehindLatest | Gauge::RetentionUsed | Gauge::DataFreshness, Some(mine)) => {
                    mine.max(theirs)
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_add_up_and_the_worst_age_counts() {
        let with = |spool, behind| {
            let mut tally = Tally::default();
            tally.gauges[Gauge::SpoolBytes as usize] = Some(spool);
            tally.gauges[Gauge::MillisBehindLatest as usize] = behind;
            tally
        };
        let mut all = Tally::default();
        all.add_gauges(&with(10.0, Some(5.0)));
        all.add_gauges(&with(20.0, None));
        all.add_gauges(&with(1.0, Some(3.0)));
        assert_eq!(all.gauges[Gauge::SpoolBytes as usize], Some(31.0));
        assert_eq!(all.gauges[Gauge::MillisBehindLatest as usize], Some(5.0));
        assert_eq!(all.gauges[Gauge::DataFreshness as usize], None);
    }

    #[test]
    fn an_enums_place_in_all_is_its_number() {
        assert!(Counter::ALL.iter().enumerate().all(|(at, counter)| *counter as usize == at));
        assert!(Gauge::ALL.iter().enumerate().all(|(at, gauge)| *gauge as usize == at));
        assert!(SealReason::ALL.iter().enumerate().all(|(at, reason)| *reason as usize == at));
    }
}
