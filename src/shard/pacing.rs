//! Pacing: when the shard is asked again, after a reply and after each kind of failure.

use std::time::Duration;

use super::worker::{Activity, ShardWorker};
use crate::model::metric::{Counter, Gauge, Service};
use crate::ports::{Reply, Served, StreamError, StreamErrorKind};
use crate::retry::jitter;

/// The least time between two looks at a subscription that had nothing: what wakes a shard's
/// thread, however often, makes it look no more than twenty times a second.
const LEAST_LOOK: Duration = Duration::from_millis(50);

/// GetRecords gives 10 MiB at most; what comes near that counts as full.
const FULL_REPLY: u64 = 8 << 20;

/// Between two tries of what only the operator can mend, at least.
const FOR_OPERATOR: Duration = Duration::from_secs(5);

/// Throttled calls in a row that are told: a few are everyday business.
const LONG_THROTTLED: u32 = 5;

/// Of so many failures in a row that only the operator can mend, one is logged.
const REMIND_EVERY: u32 = 20;

impl ShardWorker {
    /// When the next call may be made after this reply.
    pub(super) fn pace(&mut self, reply: &Reply) {
        if reply.pushed {
            // There may be more already; the service paces itself.
            self.read_due = self.monotonic();
            return;
        }
        let paid = self.paid_at(self.read_asked, reply.bytes);
        self.read_due = if reply.millis_behind_latest == 0 {
            paid.max(self.monotonic() + jitter(self.setup.settings.pacing.caught_up, &mut self.random))
        } else {
            paid
        };
    }

    /// When a call that began at `asked` and brought so many bytes is paid for. Counted from its
    /// beginning: Kinesis counts calls and bytes a second, however long an answer takes.
    pub(super) fn paid_at(&mut self, asked: Duration, bytes: u64) -> Duration {
        let pacing = self.setup.settings.pacing;
        let price = Duration::from_secs_f64(bytes as f64 / pacing.bytes_per_second.max(1) as f64);
        let turn = pacing.behind + pacing.behind.mul_f64(0.1 * self.random.f64());
        // A full reply must be paid from its end on: AWS refuses calls in the five seconds after it.
        let from = if bytes >= FULL_REPLY { self.monotonic() } else { asked };
        (asked + turn).max(from + price)
    }

    /// A subscription has nothing now. The next look is due at once (the shard is not stuck), and
    /// happens after `wait`, or when a nudge says that there is something.
    pub(super) fn nothing_yet(&mut self, wait: Duration) -> Activity {
        let now = self.monotonic();
        self.read_due = now + LEAST_LOOK;
        Activity::NotBefore(now + wait.max(LEAST_LOOK))
    }

    pub(super) fn reading_works(&mut self, reply: &Served<Reply>) {
        self.shared.board.saw_date(reply.at, self.monotonic());
        self.pace(&reply.value);
        self.read_backoff.reset();
        if self.troubles.reading.take().is_some() {
            tracing::info!(shard = %self.setup.shard.id, "reading goes on");
        }
        self.troubles.following = self.ports.stream.trouble(&self.setup.shard.id);
        let lag = reply.value.millis_behind_latest;
        if let Some(reading) = &mut self.reading {
            reading.millis_behind_latest = lag;
        }
        let retention = self.shared.retention().as_millis().max(1) as f64;
        self.ports.meter.set(Gauge::MillisBehindLatest, lag as f64);
        self.ports.meter.set(Gauge::RetentionUsed, lag as f64 / retention);
    }

    /// Decides by kind what a failed call means: another iterator, a longer pause, an alarm.
    pub(super) fn reading_failed(&mut self, error: &StreamError) -> Activity {
        let kind = error.kind;
        let for_operator = matches!(kind, StreamErrorKind::Kms(_) | StreamErrorKind::AccessDenied);
        let throttled = matches!(kind, StreamErrorKind::Throttled | StreamErrorKind::KmsThrottled);
        match kind {
            StreamErrorKind::Stopped => return Activity::Idle,
            StreamErrorKind::ExpiredIterator => {
                self.ports.meter.count(Counter::ExpiredIterators, 1);
                self.forget_iterators();
                // One that has just been given should not be expired: no hot loop over that.
                let again = self.read_backoff.failures() > 0;
                let pause = self.read_backoff.next(&mut self.random);
                self.read_due = self.monotonic() + if again { pause } else { Duration::ZERO };
                return Activity::Acted;
            }
            StreamErrorKind::InvalidArgument | StreamErrorKind::PositionRefused => self.forget_iterators(),
            StreamErrorKind::NotFound => return self.stream_is_gone(error),
            StreamErrorKind::Throttled
            | StreamErrorKind::KmsThrottled
            | StreamErrorKind::Kms(_)
            | StreamErrorKind::AccessDenied
            | StreamErrorKind::NoAnswer
            | StreamErrorKind::Other => {}
        }
        let pause = self.read_backoff.next(&mut self.random);
        if throttled {
            self.ports.meter.count(Counter::Throttled, 1);
            if self.read_backoff.failures() >= LONG_THROTTLED {
                self.trouble_reading(format!(
                    "{} is refused again and again for want of throughput ({}): \
                    do other consumers read this shard as well?",
                    error.call,
                    kind.as_str()
                ));
            }
        } else if for_operator {
            // Each answer has another request id: not said anew every half minute for that.
            if self.read_backoff.failures() % REMIND_EVERY == 1 {
                let (shard, kind) = (&self.setup.shard.id, kind.as_str());
                tracing::error!(%shard, kind, "the shard cannot be read until this is mended: {error}");
            }
            self.troubles.reading = Some(error.to_string());
        } else {
            self.trouble_reading(error.to_string());
        }
        self.ports.meter.error(Service::Kinesis, kind.as_str());
        let least = match (for_operator, throttled) {
            (true, _) => FOR_OPERATOR,
            (false, true) => self.setup.settings.pacing.throttled,
            (false, false) => Duration::ZERO,
        };
        self.read_due = self.monotonic() + pause.max(least);
        Activity::NotBefore(self.read_due)
    }

    fn forget_iterators(&mut self) {
        if let Some(reading) = &mut self.reading {
            reading.iterator = None;
            reading.look_at_stream = true;
            if let Some(test) = &mut reading.test {
                test.iterator = None;
            }
        }
    }

    pub(super) fn trouble_reading(&mut self, told: String) {
        if self.troubles.reading.as_ref() != Some(&told) {
            tracing::warn!(shard = %self.setup.shard.id, "{told}");
        }
        self.troubles.reading = Some(told);
    }
}
