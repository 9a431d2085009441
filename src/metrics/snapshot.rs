//! All numbers at one moment, and each of them by its name.

use super::families::{FAMILIES, Family, Source, StreamGauge};
use super::tally::Tally;
use super::uploads::Uploads;
use crate::model::batch::SealReason;
use crate::model::metric::{Counter, Gauge, Labels, Shape};
use crate::model::shard::ShardId;

/// All numbers at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub(super) stream: String,
    pub(super) per_shard: bool,
    pub(super) shards: Vec<ShardNumbers>,
    /// What belongs to no shard: failed calls, and the notices of hours.
    pub(super) of_no_shard: Tally,
    /// Everything together, with shards long gone.
    pub(super) total: Tally,
    pub(super) stream_gauges: Vec<(StreamGauge, f64)>,
}

/// The numbers of one shard.
#[derive(Clone, Debug)]
pub(super) struct ShardNumbers {
    pub(super) id: ShardId,
    pub(super) tally: Tally,
}

/// One number as it stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reading<'a> {
    /// The shard it is about, if it is one shard's.
    pub(super) shard: Option<&'a ShardId>,
    pub(super) labels: Labels,
    pub(super) value: Standing<'a>,
}

/// How a number stands, counted from the start of the process.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Standing<'a> {
    Count(u64),
    Gauge(f64),
    Uploads(&'a Uploads),
}

impl Snapshot {
    /// A counter of all shards together, also of those long ended.
    pub const fn counter(&self, counter: Counter) -> u64 {
        self.total.counters[counter as usize]
    }

    /// A gauge of all running shards together, and of what belongs to none; `None` where nobody has set it.
    pub const fn gauge(&self, gauge: Gauge) -> Option<f64> {
        self.total.gauges[gauge as usize]
    }

    /// Every number in the wanted form, family by family.
    pub(super) fn families(&self, shape: Shape) -> impl Iterator<Item = (&'static Family, Vec<Reading<'_>>)> {
        FAMILIES.iter().map(move |family| (family, self.readings(family, shape)))
    }

    fn readings(&self, family: &Family, shape: Shape) -> Vec<Reading<'_>> {
        let mut readings = Vec::new();
        if let Source::Stream(wanted) = family.source {
            let values = self.stream_gauges.iter().filter(|(gauge, _)| *gauge == wanted);
            readings.extend(values.map(|(_, value)| Reading {
                shard: None,
                labels: Vec::new(),
                value: Standing::Gauge(*value),
            }));
            return readings;
        }
        if self.per_shard {
            for shard in &self.shards {
                read(family, shape, Some(&shard.id), &shard.tally, &mut readings);
            }
        }
        if !self.per_shard || shape.totals {
            read(family, shape, None, &self.total, &mut readings);
        } else if matches!(family.source, Source::Errors | Source::Gauge(Gauge::OutboxNotices)) {
            // Beside those of the shards, so that a sum over all labels is the stream's.
            read(family, shape, None, &self.of_no_shard, &mut readings);
        }
        readings
    }
}

/// Adds the readings of one family from one tally.
fn read<'a>(
    family: &Family,
    shape: Shape,
    shard: Option<&'a ShardId>,
    tally: &'a Tally,
    out: &mut Vec<Reading<'a>>,
) {
    let mut add = |labels: Labels, value| out.push(Reading { shard, labels, value });
    match family.source {
        Source::Counter(counter) => add(vec![], Standing::Count(tally.counters[counter as usize])),
        Source::Gauge(gauge) => {
            if let Some(value) = tally.gauges[gauge as usize] {
                add(vec![], Standing::Gauge(value));
            }
        }
        Source::Sealed if shape.labels => {
            for reason in SealReason::ALL {
                let labels = vec![("reason", reason.as_str())];
                add(labels, Standing::Count(tally.sealed[reason as usize]));
            }
        }
        Source::Sealed => add(vec![], Standing::Count(tally.sealed.iter().sum())),
        Source::Errors if shape.labels => {
            for ((service, kind), count) in &tally.errors {
                add(vec![("service", *service), ("kind", *kind)], Standing::Count(*count));
            }
        }
        Source::Errors => add(vec![], Standing::Count(tally.errors.values().sum())),
        Source::Uploads => add(vec![], Standing::Uploads(&tally.uploads)),
        Source::Stream(_) => {}
    }
}
