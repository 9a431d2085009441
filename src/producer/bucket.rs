//! How fast one shard is written to: two token buckets, and a pace that gives way to throttling.
//!
//! Owns the arithmetic only. Time comes in as a monotonic duration.

use std::time::Duration;

use super::options::ShardLimits;

/// Part of a shard's limit that is used at best: other clocks and other producers need some, too.
const SHARE: f64 = 0.95;
/// How much is saved up while nothing is sent, as a time at full pace. Kinesis counts by the second, so
/// that a longer burst after a pause would be throttled.
const BURST: Duration = Duration::from_millis(100);
/// What is left of the pace after a throttle.
const SLOWER: f64 = 0.7;
/// The pace never falls below this part of the limit.
const SLOWEST: f64 = 0.02;
/// Throttles within this time of a slow-down are of requests sent before it.
const SETTLE: Duration = Duration::from_millis(500);
/// Part of the limit that the pace gains a second.
const RECOVERY: f64 = 0.05;

/// Tokens that come in at a rate and are saved up to a level. A cost above the level leaves a debt.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    rate: f64,
    level: f64,
    tokens: f64,
}

impl Bucket {
    fn new(rate: f64) -> Self {
        let level = (rate * BURST.as_secs_f64()).max(1.0);
        Self { rate, level, tokens: level }
    }

    fn fill(&mut self, passed: f64, pace: f64) {
        self.tokens = (self.tokens + passed * self.rate * pace).min(self.level);
    }

    /// Seconds until `wanted` tokens, or as many as can be saved up, are there.
    fn until(&self, wanted: f64, pace: f64) -> f64 {
        ((wanted.min(self.level) - self.tokens) / (self.rate * pace)).max(0.0)
    }
}

/// The pace of one shard.
#[derive(Clone, Copy, Debug)]
pub(super) struct ShardPace {
    buckets: Option<(Bucket, Bucket)>,
    pace: f64,
    at: Duration,
    slowed: Option<Duration>,
}

impl ShardPace {
    /// Full of tokens; without limits it never makes anybody wait.
    pub(super) fn new(limits: Option<ShardLimits>, now: Duration) -> Self {
        let buckets = limits.map(|limits| (Bucket::new(limits.records), Bucket::new(limits.bytes)));
        Self { buckets, pace: SHARE, at: now, slowed: None }
    }

    /// Lets the time pass.
    pub(super) fn advance(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        self.at = self.at.max(now);
        if let Some((records, bytes)) = &mut self.buckets {
            records.fill(passed, self.pace);
            bytes.fill(passed, self.pace);
        }
        self.pace = (self.pace + RECOVERY * passed).min(SHARE);
    }

    /// How long until so much may be sent at once, or until waiting on gains nothing.
    pub(super) fn until(&self, records: usize, bytes: usize) -> Duration {
        let Some((by_records, by_bytes)) = &self.buckets else { return Duration::ZERO };
        let wait = by_records.until(records as f64, self.pace).max(by_bytes.until(bytes as f64, self.pace));
        // A rounding error must not wake anybody a nanosecond early, again and again.
        if wait <= 1e-6 { Duration::ZERO } else { Duration::from_secs_f64(wait.min(3600.0) + 1e-4) }
    }

    /// Whether so many records and bytes fill what can be saved up.
    pub(super) fn is_filled_by(&self, records: usize, bytes: usize) -> bool {
        let (by_records, by_bytes) = self.buckets.unzip();
        by_records.is_some_and(|bucket| records as f64 >= bucket.level)
            || by_bytes.is_some_and(|bucket| bytes as f64 >= bucket.level)
    }

    /// The most records and bytes that can be saved up.
    pub(super) fn at_once(&self) -> (usize, usize) {
        let level = |bucket: Option<Bucket>| bucket.map_or(usize::MAX, |bucket| bucket.level as usize);
        let (by_records, by_bytes) = self.buckets.unzip();
        (level(by_records), level(by_bytes))
    }

    /// Whether one more record of so many bytes may be sent now.
    pub(super) fn allows(&self, bytes: usize) -> bool {
        let Some((by_records, by_bytes)) = &self.buckets else { return true };
        let enough = |bucket: &Bucket, wanted: f64| bucket.tokens + 1e-6 >= wanted.min(bucket.level);
        enough(by_records, 1.0) && enough(by_bytes, bytes as f64)
    }

    /// One record of so many bytes is sent.
    pub(super) fn take(&mut self, bytes: usize) {
        if let Some((by_records, by_bytes)) = &mut self.buckets {
            by_records.tokens -= 1.0;
            by_bytes.tokens -= bytes as f64;
        }
    }

    /// The shard refused something: slow down, once for all that was sent together.
    pub(super) fn throttled(&mut self, now: Duration) {
        if self.slowed.is_some_and(|at| now < at + SETTLE) {
            return;
        }
        self.slowed = Some(now);
        self.pace = (self.pace * SLOWER).max(SLOWEST);
        if let Some((records, bytes)) = &mut self.buckets {
            records.tokens = records.tokens.min(0.0);
            bytes.tokens = bytes.tokens.min(0.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Sends as much as is allowed in each millisecond of `time`; gives what was sent in each second.
    fn send(pace: &mut ShardPace, from: u64, millis: u64, bytes: usize) -> Vec<u64> {
        let mut sent = vec![0; usize::try_from(millis.div_ceil(1000)).unwrap()];
        for millisecond in 0..millis {
            pace.advance(Duration::from_millis(from + millisecond));
            while pace.allows(bytes) {
                pace.take(bytes);
                sent[usize::try_from(millisecond / 1000).unwrap()] += 1;
            }
        }
        sent
    }

    #[test]
    fn a_shard_gets_nearly_its_records_a_second_and_never_much_more() {
        let mut pace = ShardPace::new(Some(ShardLimits::KINESIS), Duration::ZERO);
        let sent = send(&mut pace, 0, 5_000, 100);
        assert!((940..=1_060).contains(&sent[0]), "{sent:?}");
        assert!(sent[1..].iter().all(|sent| (940..=955).contains(sent)), "{sent:?}");
    }

    #[test]
    fn a_shard_gets_nearly_its_bytes_a_second() {
        let mut pace = ShardPace::new(Some(ShardLimits::KINESIS), Duration::ZERO);
        let sent = send(&mut pace, 0, 5_000, 10_486);
        assert!(sent[1..].iter().all(|sent| (93..=96).contains(sent)), "{sent:?}");
    }

    #[test]
    fn a_record_larger_than_can_be_saved_up_goes_and_leaves_a_debt() {
        let mut pace = ShardPace::new(Some(ShardLimits::KINESIS), Duration::ZERO);
        assert!(pace.allows(10 << 20));
        pace.take(10 << 20);
        assert!(!pace.allows(1));
        let wait = pace.until(1, 10 << 20);
        assert!(wait > 10 * SECOND && wait < 12 * SECOND, "{wait:?}");
        pace.advance(wait);
        assert!(pace.allows(10 << 20));
        assert_eq!(pace.until(1, 10 << 20), Duration::ZERO);
    }

    #[test]
    fn throttles_slow_it_down_once_for_each_burst_and_it_recovers() {
        let mut pace = ShardPace::new(Some(ShardLimits::KINESIS), Duration::ZERO);
        for _ in 0..100 {
            pace.throttled(Duration::from_millis(10));
        }
        let slow = send(&mut pace, 10, 1_000, 100)[0];
        assert!((640..=710).contains(&slow), "{slow}");
        let later = send(&mut pace, 20_000, 1_000, 100)[0];
        assert!(later > 940, "{later}");
        for second in 0..60 {
            pace.throttled(SECOND * (30 + second));
        }
        assert!(pace.pace >= SLOWEST);
    }

    #[test]
    fn without_limits_nobody_waits() {
        let pace = ShardPace::new(None, Duration::ZERO);
        assert!(pace.allows(usize::MAX) && pace.until(1 << 20, 1 << 40).is_zero());
        assert!(!pace.is_filled_by(1 << 20, 1 << 30));
    }
}
