//! How long puts took: a fixed histogram, fine enough that sinks can be given values instead of buckets.
//!
//! The bounds are the R20 preferred numbers (ISO 3) from 1 ms to 1000 s: each about 12 % above the
//! one before, so that a value taken from the middle of a bucket is within 6 % of the truth, and few
//! enough for CloudWatch's 150 values a datum.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const R20: [u64; 20] =
    [100, 112, 125, 140, 160, 180, 200, 224, 250, 280, 315, 355, 400, 450, 500, 560, 630, 710, 800, 900];
const DECADES: usize = 6;
const BOUNDS: usize = R20.len() * DECADES + 1;
/// One bucket a bound, and one for what took longer than the last.
const BUCKETS: usize = BOUNDS + 1;

/// Upper bounds, inclusive, in nanoseconds.
static BOUNDS_NANOS: [u64; BOUNDS] = bounds();

/// The bounds that OpenMetrics shows, in nanoseconds; each is one of [`BOUNDS_NANOS`].
static SHOWN_NANOS: [u64; 13] = [
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
    25_000_000_000,
    50_000_000_000,
    100_000_000_000,
];

const fn bounds() -> [u64; BOUNDS] {
    let mut bounds = [0; BOUNDS];
    let mut scale = 10_000; // 100 × 10 µs is the first bound, 1 ms
    let mut at = 0;
    while at < BOUNDS {
        bounds[at] = R20[at % R20.len()] * scale;
        at += 1;
        if at % R20.len() == 0 {
            scale *= 10;
        }
    }
    bounds
}

/// Takes durations without a lock.
#[derive(Debug)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    nanos: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: std::array::from_fn(|_| AtomicU64::new(0)), nanos: AtomicU64::new(0) }
    }
}

impl Histogram {
    /// One more.
    pub fn add(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_NANOS.partition_point(|bound| *bound < nanos);
        if let Some(count) = self.buckets.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// What it holds now.
    pub fn read(&self) -> Uploads {
        Uploads {
            buckets: self.buckets.iter().map(|count| count.load(Ordering::Relaxed)).collect(),
            nanos: self.nanos.load(Ordering::Relaxed),
        }
    }
}

/// The content of a [`Histogram`], or of several together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uploads {
    buckets: Vec<u64>,
    nanos: u64,
}

impl Default for Uploads {
    fn default() -> Self {
        Self { buckets: vec![0; BUCKETS], nanos: 0 }
    }
}

impl Uploads {
    /// Adds another's content.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine = mine.saturating_add(*theirs);
        }
        self.nanos = self.nanos.saturating_add(other.nanos);
    }

    /// How many puts.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// How long they took together, in seconds.
    pub fn seconds(&self) -> f64 {
        as_seconds(self.nanos)
    }

    /// Upper bounds in seconds, each with how many puts took no longer; the last, infinite one is left out.
    pub fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> {
        SHOWN_NANOS.iter().map(|shown| {
            let within = BOUNDS_NANOS.partition_point(|bound| bound <= shown);
            (as_seconds(*shown), self.buckets.iter().take(within).sum())
        })
    }

    /// What came since `earlier`, as the middle of each bucket in seconds and how often.
    pub fn since(&self, earlier: &Self) -> Vec<(f64, u64)> {
        let more = self.buckets.iter().zip(&earlier.buckets).map(|(now, then)| now.saturating_sub(*then));
        more.enumerate().filter(|(_, count)| *count > 0).map(|(at, count)| (middle(at), count)).collect()
    }
}

/// A value that stands for a bucket. Of what took longer than the last bound, nothing else is known.
fn middle(bucket: usize) -> f64 {
    let last = BOUNDS_NANOS[BOUNDS - 1];
    let upper = BOUNDS_NANOS.get(bucket).copied().unwrap_or(last);
    let lower = bucket.checked_sub(1).and_then(|below| BOUNDS_NANOS.get(below)).copied().unwrap_or(0);
    as_seconds(lower + (upper - lower) / 2)
}

fn as_seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_rise_from_a_millisecond_to_a_thousand_seconds() {
        assert_eq!(BOUNDS_NANOS[0], 1_000_000);
        assert_eq!(BOUNDS_NANOS[BOUNDS - 1], 1_000_000_000_000);
        assert!(BOUNDS_NANOS.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(SHOWN_NANOS.iter().all(|shown| BOUNDS_NANOS.contains(shown)));
        const { assert!(BUCKETS <= 150) };
    }

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        let histogram = Histogram::default();
        histogram.add(Duration::from_millis(10));
        histogram.add(Duration::from_nanos(10_000_001));
        histogram.add(Duration::from_secs(5000));
        let uploads = histogram.read();
        let shown: Vec<_> = uploads.cumulative().collect();
        assert_eq!(shown[0], (0.01, 1));
        assert_eq!(shown[1], (0.025, 2));
        assert_eq!(shown[12], (100.0, 2));
        assert_eq!(uploads.count(), 3);
        assert!((uploads.seconds() - 5000.020000001).abs() < 1e-6);
    }

    #[test]
    fn values_stand_in_the_middle_of_what_is_new() {
        let histogram = Histogram::default();
        histogram.add(Duration::from_millis(95));
        let before = histogram.read();
        histogram.add(Duration::from_millis(95));
        histogram.add(Duration::from_millis(95));
        assert_eq!(histogram.read().since(&before), vec![(0.095, 2)]);
        assert_eq!(before.since(&before), vec![]);
    }
}
