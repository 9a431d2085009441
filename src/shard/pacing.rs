//! Pacing: when the shard is asked again, after a reply and after each kind of failure.

use std::time::Duration;

use super::setup::Pacing;
use super::worker::{Activity, ShardWorker};
use crate::model::metric::{Counter, Service};
use crate::ports::news::is_news;
use crate::ports::{Reply, Served, StreamError, StreamErrorKind};

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

/// A shard from which nothing comes is left alone for this part of its silence …
const SILENCE: u32 = 8;
/// … at most for so many times `stream.poll` …
const RARELY: u32 = 5;
/// … and no longer than this, unless `stream.poll` itself is longer.
const LEFT_ALONE: Duration = Duration::from_secs(5);

/// A call of GetRecords that was answered; instants are monotonic.
struct Call {
    asked: Duration,
    answered: Duration,
    bytes: u64,
}

impl Pacing {
    /// When a call is paid for. Counted from its beginning: Kinesis counts calls and bytes a second,
    /// however long an answer takes.
    fn paid_at(&self, call: &Call, random: &mut fastrand::Rng) -> Duration {
        let price = Duration::from_secs_f64(call.bytes as f64 / self.bytes_per_second.max(1) as f64);
        let turn = self.behind + self.behind.mul_f64(0.1 * random.f64());
        // A full reply must be paid from its end on: AWS refuses calls in the five seconds after it.
        let from = if call.bytes >= FULL_REPLY { call.answered } else { call.asked };
        (call.asked + turn).max(from + price)
    }

    /// When the main reading may ask again; `silent` is for how long nothing came, if all was read.
    fn next_call(&self, call: &Call, silent: Option<Duration>, random: &mut fastrand::Rng) -> Duration {
        let paid = self.paid_at(call, random);
        // Spread, and as rarely as is asked for: each call costs both sides whether or not there are records.
        let share = 0.8 + 0.2 * random.f64();
        let wait = silent.map_or(Duration::ZERO, |silent| self.left_alone(silent).mul_f64(share));
        paid.max(call.answered + wait)
    }

    /// How long a shard is left alone at most that was read to its end and has been silent for so long: who
    /// has waited long for a record can wait a little longer, and a shard that nobody writes to costs next
    /// to nothing.
    fn left_alone(&self, silent: Duration) -> Duration {
        let rarely = (self.caught_up * RARELY).min(LEFT_ALONE);
        (silent / SILENCE).min(rarely).max(self.caught_up)
    }
}

/// Shards that are started in a row without a wait.
const START_BURST: u32 = 20;
/// Between two starts after those. A start asks the bucket and the stream about five times: a thousand shards
/// at once would open a thousand connections for it, and keep none of them busy.
const BETWEEN_STARTS: Duration = Duration::from_millis(5);

/// When the shards of a stream may begin, so that many do not begin at once.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct StartGate {
    /// When all that have begun are counted as over, monotonic.
    free_at: Duration,
}

impl StartGate {
    /// When the next shard may begin.
    pub(super) fn next(&mut self, now: Duration) -> Duration {
        let at = self.free_at.max(now);
        self.free_at = at + BETWEEN_STARTS;
        now.max(at.saturating_sub(BETWEEN_STARTS * START_BURST))
    }
}

impl ShardWorker {
    /// When the next call may be made after this reply.
    pub(super) fn pace(&mut self, reply: &Reply) {
        if reply.pushed {
            // There may be more already; the service paces itself.
            self.read_due = self.monotonic();
            return;
        }
        let call = Call { asked: self.read_asked, answered: self.monotonic(), bytes: reply.bytes };
        let mut heard = call.answered;
        if let Some(reading) = &mut self.reading {
            if !reply.records.is_empty() {
                reading.heard = heard;
            }
            heard = reading.heard;
        }
        let caught_up = reply.millis_behind_latest == 0;
        let silent = caught_up.then(|| call.answered.saturating_sub(heard));
        self.read_due = self.setup.settings.pacing.next_call(&call, silent, &mut self.random);
    }

    /// When a call beside the main reading, that began at `asked` and brought so many bytes, is paid for.
    pub(super) fn paid_at(&mut self, asked: Duration, bytes: u64) -> Duration {
        let call = Call { asked, answered: self.monotonic(), bytes };
        self.setup.settings.pacing.paid_at(&call, &mut self.random)
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
        self.note_pressure(Duration::from_millis(lag));
        if let Some(reading) = &mut self.reading {
            reading.millis_behind_latest = lag;
        }
        self.report_lag(Duration::from_millis(lag));
        // Reported anew from when the next call is due.
        self.progress_due = Duration::ZERO;
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
            // By count, not by the text: one that tells the time (of a clock that is wrong) is never the same twice.
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
        if is_news(self.troubles.reading.as_deref(), &told) {
            tracing::warn!(shard = %self.setup.shard.id, "{told}");
        }
        self.troubles.reading = Some(told);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_few_shards_begin_at_once_and_many_one_after_the_other() {
        let (mut gate, now) = (StartGate::default(), Duration::from_secs(100));
        let starts: Vec<Duration> = (0..1000).map(|_| gate.next(now) - now).collect();
        assert!(starts[..=20].iter().all(Duration::is_zero));
        assert!(starts[20..].windows(2).all(|pair| pair[1] - pair[0] == BETWEEN_STARTS));
        assert_eq!(starts[999], Duration::from_millis(979 * 5));
        // Children of a reshard later on do not wait for those.
        let later = now + Duration::from_secs(60);
        assert_eq!(gate.next(later), later);
    }

    /// The pauses that a thousand seeds give after a call that took `took` milliseconds.
    fn waits(took: u64, bytes: u64, silent: Option<Duration>) -> impl Iterator<Item = Duration> {
        let asked = Duration::from_secs(100);
        (0..1000).map(move |seed| {
            let call = Call { asked, answered: asked + Duration::from_millis(took), bytes };
            Pacing::default().next_call(&call, silent, &mut fastrand::Rng::with_seed(seed)) - asked
        })
    }

    #[test]
    fn no_more_than_five_calls_a_second_and_no_less_than_four_while_behind() {
        for took in [0, 50, 199] {
            assert!(waits(took, 1000, None).all(|wait| (200..=220).contains(&wait.as_millis())));
        }
    }

    #[test]
    fn a_reply_costs_its_bytes_at_two_mebibytes_a_second() {
        assert!(waits(10, 3 * MIB, None).all(|wait| wait == Duration::from_millis(1500)));
        assert!(waits(1400, 3 * MIB, None).all(|wait| wait == Duration::from_millis(1500)));
    }

    #[test]
    fn a_full_reply_is_paid_from_its_end_on() {
        assert!(waits(700, 10 * MIB, None).all(|wait| wait == Duration::from_millis(5700)));
    }

    #[test]
    fn caught_up_the_next_look_comes_within_the_poll_time_and_not_much_sooner() {
        let none = Some(Duration::ZERO);
        assert!(waits(20, 0, none).all(|wait| (820..=1020).contains(&wait.as_millis())));
        // What is dear is paid for first all the same.
        assert!(waits(20, 4 * MIB, none).all(|wait| wait == Duration::from_secs(2)));
    }

    #[test]
    fn a_silent_shard_is_left_alone_for_an_eighth_of_its_silence_and_never_for_long() {
        let secs = Duration::from_secs;
        let alone = |poll, silent| Pacing { caught_up: poll, ..Pacing::default() }.left_alone(silent);
        for (silent, left) in [(0, 1), (8, 1), (16, 2), (40, 5), (3600, 5)] {
            assert_eq!(alone(secs(1), secs(silent)), secs(left), "after {silent} s");
        }
        assert_eq!(alone(Duration::from_millis(200), secs(3600)), secs(1));
        assert_eq!(alone(secs(3), secs(3600)), secs(5));
        assert_eq!(alone(secs(60), secs(3600)), secs(60), "as long as was asked for, and no longer");
        assert!(waits(20, 0, Some(secs(32))).all(|wait| (3220..=4020).contains(&wait.as_millis())));
    }
}
