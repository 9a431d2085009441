//! Sealing: when the open batch ends, and how it becomes durable.

use std::io;
use std::time::Duration;

use super::open_batch::OpenBatch;
use super::turns::LOOK_FOR_TURN;
use super::worker::{Activity, ShardWorker};
use crate::model::batch::SealReason;
use crate::model::metric::Service;
use crate::model::sealed::{KnownPosition, Sealed, SealedBatch, SealedKind};
use crate::model::sequence::SequenceNumber;
use crate::model::timestamp::Timestamp;
use crate::ports::CrashPoint;
use crate::spool::STATE_VERSION;
use crate::spool::items::UnsealedLines;

/// A batch that has ended in memory and that the disk has not taken yet.
pub(super) struct Unsealed {
    sealed: Sealed,
    lines: UnsealedLines,
    /// Bytes of it that the quota knows as spilled.
    spilled: u64,
    reason: Option<SealReason>,
}

impl Unsealed {
    /// Bytes of it that the quota knows as spilled.
    pub(super) const fn spilled(&self) -> u64 {
        self.spilled
    }

    /// Bytes of it that are in memory.
    pub(super) fn memory(&self) -> u64 {
        self.lines.parts.iter().map(|part| part.len() as u64).sum()
    }

    /// Its first record, if it is a batch.
    pub(super) fn first(&self) -> Option<&SequenceNumber> {
        self.sealed.batch().map(|batch| &batch.content.first_sequence_number)
    }

    /// When its first record arrived, if it has any.
    pub(super) fn oldest_arrival(&self) -> Option<Timestamp> {
        self.sealed.batch().map(|batch| batch.content.first_arrival)
    }
}

impl ShardWorker {
    /// Seals the open batch if it is old enough, or asked for; tries again what the disk refused.
    pub(super) fn seal_if_due(&mut self) -> Activity {
        if self.unsealed.is_some() {
            let now = self.monotonic();
            return if now < self.disk_due {
                Activity::NotBefore(self.disk_due)
            } else {
                self.write_unsealed()
            };
        }
        let requested = self.take_seal_request();
        if self.writer.is_empty() {
            return Activity::Idle;
        }
        let due = self.open.since.unwrap_or(Duration::ZERO) + self.setup.settings.limits.max_age;
        let reason = if self.is_stopping() {
            SealReason::Shutdown
        } else if requested {
            SealReason::Request
        } else if self.shared.budget.must_seal(&self.setup.shard.id) {
            SealReason::Memory
        } else if self.monotonic() >= due {
            SealReason::Age
        } else {
            return Activity::NotBefore(due);
        };
        let shared = self.shared.clone();
        let mut turn = None;
        // What is asked for, and what makes room, waits for nobody.
        if reason == SealReason::Age {
            turn = shared.seal_turns.take(&self.setup.shard.id, &self.stop);
            if turn.is_none() {
                return Activity::NotBefore(self.monotonic() + LOOK_FOR_TURN);
            }
        }
        let sealed = self.seal_open(reason);
        drop(turn);
        sealed
    }

    /// Ends the open batch and writes it down, with the position that reading has reached.
    pub(super) fn seal_open(&mut self, reason: SealReason) -> Activity {
        let Some(reading) = &self.reading else { return Activity::Idle };
        let reached = reading.at.clone();
        let lag = reading.millis_behind_latest;
        let OpenBatch { follows, hour, spilled, chosen_level, .. } = std::mem::take(&mut self.open);
        self.ports.probe.reached(CrashPoint::BeforeSeal);
        let finished = self.writer.finish();
        self.tell_memory(0);
        let (Some(finished), Some(follows)) = (finished, follows) else { return Activity::Idle };
        if let Some(reading) = &mut self.reading {
            reading.hour = reading.hour.max(hour);
        }
        let kind = SealedKind::Batch(Box::new(SealedBatch {
            content: finished.content,
            sealed_by: reason,
            deaggregate: self.setup.settings.deaggregate,
            millis_behind_latest: lag,
            level: Some(self.setup.settings.spool_level(chosen_level)),
            chosen_level,
        }));
        let sealed = self.sealed(&follows, reached.complete_to, kind);
        let lines = UnsealedLines { spilled, parts: finished.parts };
        self.unsealed = Some(Unsealed { sealed, lines, spilled, reason: Some(reason) });
        self.write_unsealed()
    }

    /// Writes the compressed members of the open batch to the disk once they are worth a write. The memory of
    /// an open batch is that of its last text then, however large it grows.
    pub(super) fn spill(&mut self) {
        let bytes = self.writer.members_size();
        if bytes < self.setup.settings.members.spill || !self.shared.quota.spill(bytes) {
            return;
        }
        if let Err(error) = self.spool.spill(self.open.spilled, self.writer.members()) {
            self.shared.quota.unspill(bytes);
            if self.open.spilled > 0 && error.kind() == io::ErrorKind::NotFound {
                self.lost_spilled(&error);
                return;
            }
            // What was written of them must not take room on a full disk.
            if self.open.spilled == 0 {
                self.remove_spilled();
            } else {
                self.cut_spilled(self.open.spilled);
            }
            // They stay in memory, and reading pauses.
            self.disk_failed("writing to the spool", &error);
            return;
        }
        self.writer.drop_members();
        self.open.spilled += bytes;
        self.disk_works();
        self.ports.probe.reached(CrashPoint::AfterSpill);
    }

    /// Somebody removed what was spilled, or the file system lost it.
    fn lost_spilled(&mut self, error: &io::Error) -> Activity {
        tracing::error!(
            shard = %self.setup.shard.id,
            "what was written of the open batch is gone: {error}; its records are read again"
        );
        self.ports.meter.error(Service::Disk, "lost");
        self.remove_spilled();
        self.read_anew();
        Activity::Acted
    }

    /// Drops what was spilled of the open batch, whose records will come again.
    pub(super) fn drop_spilled(&mut self) {
        let spilled = std::mem::take(&mut self.open.spilled);
        if spilled > 0 {
            self.shared.quota.unspill(spilled);
            self.remove_spilled();
        }
    }

    /// Leaves only the first bytes of what was spilled.
    fn cut_spilled(&self, bytes: u64) {
        if let Err(error) = self.spool.spill(bytes, &[]) {
            // The next try writes over it.
            tracing::debug!(shard = %self.setup.shard.id, "{error}");
        }
    }

    fn remove_spilled(&self) {
        if let Err(error) = self.spool.drop_spilled() {
            // The next batch is written over it, or the next start removes it.
            tracing::debug!(shard = %self.setup.shard.id, "{error}");
        }
    }

    /// Seals something without lines: a gap, or the shard's end.
    pub(super) fn seal_mark(
        &mut self,
        follows: &KnownPosition,
        complete_to: Option<Timestamp>,
        kind: SealedKind,
    ) -> Activity {
        let sealed = self.sealed(follows, complete_to, kind);
        let lines = UnsealedLines::default();
        self.unsealed = Some(Unsealed { sealed, lines, spilled: 0, reason: None });
        self.write_unsealed()
    }

    fn sealed(&self, follows: &KnownPosition, complete_to: Option<Timestamp>, kind: SealedKind) -> Sealed {
        Sealed {
            version: STATE_VERSION,
            stream_arn: self.setup.stream.arn.clone(),
            stream_created: self.setup.stream.created,
            shard: self.setup.shard.id.clone(),
            follows: follows.position.clone(),
            last_before: follows.last_record.clone(),
            complete_to,
            known_serial: self
                .archived
                .as_ref()
                .map(|archived| archived.serial)
                .or_else(|| self.checkpoint.as_ref().map(|saved| saved.serial)),
            sealed_at: self.ports.clock.now(),
            kind,
        }
    }

    fn write_unsealed(&mut self) -> Activity {
        let Some(mut unsealed) = self.unsealed.take() else { return Activity::Idle };
        let sealing = self.spool.seal(unsealed.sealed.clone(), &mut unsealed.lines, &*self.ports.probe);
        if let Err(error) = sealing {
            if unsealed.lines.spilled > 0 && error.kind() == io::ErrorKind::NotFound {
                self.shared.quota.unspill(unsealed.spilled);
                return self.lost_spilled(&error);
            }
            if unsealed.lines.spilled > 0 {
                self.cut_spilled(unsealed.lines.spilled);
            }
            self.unsealed = Some(unsealed);
            // Or every shard would fill as much again while the disk takes nothing.
            self.tell_memory(0);
            return self.disk_failed("sealing a batch", &error);
        }
        self.disk_works();
        self.tell_memory(0);
        self.ports.probe.reached(CrashPoint::AfterSeal);
        if let Some(reason) = unsealed.reason {
            self.ports.meter.sealed(reason);
        }
        if let Some(batch) = unsealed.sealed.batch() {
            self.shared.quota.unspill(unsealed.spilled);
            self.shared.quota.add(batch.content.size);
            tracing::debug!(
                shard = %self.setup.shard.id,
                records = batch.content.records,
                bytes = batch.content.content_size,
                reason = batch.sealed_by.as_str(),
                "sealed a batch"
            );
        }
        Activity::Acted
    }
}
