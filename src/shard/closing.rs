//! Closing: what a shard promises of the entries to come, and in which hour a batch may still lie.
//!
//! Owns when nothing of an hour can come any more: what follows the newest entry in the stream begins with
//! a record that arrived later. That is so for every keeper, since all read the same stream; so it
//! is promised once and holds for good. One exception: at a shard's start another may have read what was
//! trimmed before we read; its batch finds the hour closed and takes the next.

use std::time::Duration;

use super::board::Promise;
use super::delivery::Trouble;
use super::worker::ShardWorker;
use crate::ledger::hours::Hours;
use crate::model::rules::Rule;
use crate::model::timestamp::Hour;

/// Arrival times go back by so much at most: a shard that is complete to then has all that arrived so
/// much earlier. It is also how long an hour stays open after its end.
pub const GRACE: Duration = Duration::from_secs(60);

impl ShardWorker {
    /// Tells the board what can be promised, if that is new.
    pub(super) fn promise(&mut self) {
        let promise = self.promised();
        if promise.is_some() && promise != self.promise {
            self.promise = promise;
            if let Some(promise) = promise {
                self.shared.board.promise(&self.setup.shard.id, promise);
            }
        }
    }

    fn promised(&self) -> Option<Promise> {
        let (reading, archived) = (self.reading.as_ref()?, self.archived.as_ref()?);
        let unsure = reading.hole.is_some()
            || reading.test.is_some()
            || reading.look_at_stream
            || archived.void.is_some()
            || self.unsealed.is_some();
        let position = &archived.known.position;
        if unsure || reading.at.position < *position {
            return None;
        }
        let from = match self.spool.items().iter().find(|item| !item.is_covered_by(position)) {
            Some(item) => {
                let batch = item.sealed.batch()?;
                let first = &batch.content.first_sequence_number;
                // What lies before it, or is cut from it, arrived at another time.
                if item.follows > *position || position.covers(first) {
                    return None;
                }
                batch.content.first_arrival.hour()
            }
            None if self.writer.is_empty() => (reading.at.complete_to? - GRACE).hour(),
            None => self.open.oldest_arrival?.hour(),
        };
        Some(Promise { serial: archived.serial, from })
    }

    /// The hour itself while it is open, else the next that is. An hour that is not over is not asked about.
    pub(super) fn open_hour(&self, hour: Hour) -> Result<Hour, Trouble> {
        if !self.is_over(hour) || !self.setup.settings.rules.hold(Rule::ClosedHourTakesNoBatch) {
            return Ok(hour);
        }
        let open = self.hours().next_open(hour, &self.stop)?;
        if open != hour {
            tracing::info!(
                shard = %self.setup.shard.id,
                hour = %hour.start(),
                open = %open.start(),
                "the hour of a batch is closed: it takes the next open one"
            );
        }
        Ok(open)
    }
    /// Whether a manifest of the hour may be there.
    pub(super) fn is_over(&self, hour: Hour) -> bool {
        self.shared.board.latest_time(self.ports.clock.now(), self.monotonic()) >= hour.end()
    }

    /// The chain of the hours' manifests.
    pub(super) fn hours(&self) -> Hours {
        let settings = &self.setup.settings;
        Hours::new(self.ports.store.clone(), settings.keys.clone(), settings.layout)
    }
}
