//! Reporting: what the shard says of itself, for gauges, health, alarms and the memory of all shards.
//!
//! Owns what is wrong in plain words and when the next answer is overdue. Does not judge: `metrics::health` does.

use std::time::Duration;

use super::delivery::Delivery;
use super::rereading::Rereading;
use super::sealing::Unsealed;
use super::setup::Mode;
use super::worker::{LONG, ShardWorker};
use crate::model::metric::Gauge;
use crate::ports::{ShardState, Standing};

/// What keeps the shard from being read, archived or announced, in plain words.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    pub(super) reading: Option<String>,
    /// Records come, but not in the way that was asked for.
    pub(super) following: Option<String>,
    pub(super) delivery: Option<String>,
    pub(super) publishing: Option<String>,
    pub(super) disk: Option<String>,
    /// Batches are archived and not kept here as well.
    pub(super) copies: Option<String>,
}

impl Troubles {
    fn told(&self) -> Vec<String> {
        let Self { reading, following, delivery, publishing, disk, copies } = self;
        [disk, reading, following, delivery, publishing, copies].into_iter().flatten().cloned().collect()
    }
}

/// What one step takes at most beside the put of a batch: a few small calls, each with its deadline, and the disk.
const CALLS: Duration = Duration::from_secs(120);

impl ShardWorker {
    pub(super) fn report_waiting(&self) {
        let reports_by = Some(self.reports_by());
        self.ports.meter.state(ShardState { activity: "waiting", reports_by, ..ShardState::default() });
    }

    /// When the next report comes at the latest: after a wait and a step, which may put the largest batch.
    fn reports_by(&self) -> Duration {
        self.monotonic() + LONG + CALLS + self.ports.store.longest_put(self.setup.settings.limits.max_bytes)
    }

    /// Calls follow in which nothing is read for so long at most, and none of it is missed.
    pub(super) fn held_up_for(&mut self, longest: Duration) {
        self.progress_due = self.progress_due.max(self.monotonic() + longest + self.patience());
        self.report();
    }

    /// Says what the shard holds in memory: the open batch, and beside it what sealing does not give back, so many
    /// bytes that are being rendered among them.
    pub(super) fn tell_memory(&self, rendered: u64) {
        // What drains has its shard's id in common with today's shard, whose memory is told under it.
        if self.setup.mode == Mode::Drain {
            return;
        }
        let open = if self.writer.is_empty() { 0 } else { self.writer.memory() };
        let unsealed = self.unsealed.as_ref().map_or(0, Unsealed::memory);
        let read_again = self.rereading.as_ref().map_or(0, Rereading::memory);
        self.shared.budget.set_batch(&self.setup.shard.id, open, unsealed + read_again + rendered);
    }

    /// How long after it was due the next answer counts as overdue: three polls and the deadline
    /// of one call.
    pub(super) fn patience(&self) -> Duration {
        3 * self.setup.settings.pacing.caught_up + Duration::from_secs(20)
    }

    /// Tells the meter how things stand.
    pub(super) fn report(&mut self) {
        self.promise();
        let meter = &self.ports.meter;
        meter.set(Gauge::SpoolBytes, self.spool.bytes() as f64);
        meter.set(Gauge::OutboxNotices, self.outbox.len() as f64);
        let oldest_sealed = self
            .spool
            .items()
            .iter()
            .filter_map(|item| item.sealed.batch())
            .map(|batch| batch.content.first_arrival)
            .min();
        let unsealed = self.unsealed.as_ref().and_then(Unsealed::oldest_arrival);
        let oldest = oldest_sealed.into_iter().chain(unsealed).chain(self.open.oldest_arrival).min();
        let now = self.ports.clock.now();
        meter.set(Gauge::DataFreshness, oldest.map_or(0.0, |oldest| now.since(oldest).as_secs_f64()));
        let mut troubles = self.troubles.told();
        troubles.extend(self.shared.bucket_trouble());
        let paused = self.shared.quota.is_full() || self.troubles.disk.is_some();
        // Where to read from is for the bucket to say, which does not: records grow old unread.
        let cannot_begin = self.setup.mode == Mode::Read && !troubles.is_empty();
        let activity = match (self.is_stopping(), self.reading.is_some()) {
            (true, _) => "draining",
            (false, _) if paused => "paused",
            (false, true) => "reading",
            (false, false) if matches!(self.delivery, Delivery::Stopped) => "stopped",
            (false, false) if cannot_begin => "paused",
            (false, false) => "waiting",
        };
        // The shard's calls are the delivery's while that reads a batch again.
        let next = match (&self.delivery, &self.rereading) {
            (Delivery::Rendering(_), Some(rereading)) => rereading.due().max(self.delivery_due),
            _ => self.read_due,
        };
        if activity != "reading" {
            // A known wait: the clock starts anew when it is over.
            self.progress_due = self.monotonic() + self.patience();
        } else if self.read_backoff.failures() == 0 {
            self.progress_due = self.progress_due.max(next.max(self.disk_due) + self.patience());
        }
        if !matches!(activity, "reading" | "draining") || self.is_overdue() || self.troubles.reading.is_some()
        {
            self.report_lag_by_clock();
        }
        let due = (activity == "reading").then_some(self.progress_due);
        let (standing, reports_by) = (self.standing(), Some(self.reports_by()));
        self.ports.meter.state(ShardState { activity, due, reports_by, troubles, standing });
    }

    fn is_overdue(&self) -> bool {
        self.reading.is_some() && self.monotonic() > self.progress_due
    }

    /// While no answer says how far reading is behind, what is unread grows older by the clock: the numbers that an
    /// alarm watches must not stand still then.
    fn report_lag_by_clock(&self) {
        let complete_to = match (&self.reading, &self.checkpoint) {
            (Some(reading), _) => reading.at.complete_to,
            (None, saved) => saved.as_ref().and_then(|saved| saved.known.complete_to),
        };
        if let Some(complete_to) = complete_to {
            let now = self.shared.board.latest_time(self.ports.clock.now(), self.monotonic());
            self.report_lag(now.since(complete_to));
        } else if self.reading.is_none() && self.setup.mode == Mode::Read {
            // Nothing is known of what came before; what came since is unread.
            self.report_lag(self.monotonic().saturating_sub(self.opened));
        }
    }

    /// Says how far reading is behind.
    pub(super) fn report_lag(&self, lag: Duration) {
        let (lag, retention) = (lag.as_millis() as f64, self.shared.retention().as_millis().max(1) as f64);
        self.ports.meter.set(Gauge::MillisBehindLatest, lag);
        self.ports.meter.set(Gauge::RetentionUsed, lag / retention);
    }

    fn standing(&self) -> Standing {
        let archived_to = self.archived.as_ref().and_then(|archived| archived.known.last_record.clone());
        let sealed_to = self.reading.as_ref().and_then(|reading| reading.at.last_record.clone());
        Standing {
            read_to: self.writer.last().cloned().or(sealed_to).or_else(|| archived_to.clone()),
            archived_to,
            open_records: self.writer.records(),
            open_bytes: self.writer.content_size(),
            open_since: self.open.since,
        }
    }
}
