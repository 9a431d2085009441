//! Locating: where the shard's ledger ends, with the checkpoint as a hint.

use super::delivery::{Claim, Delivery, Trouble, Turn};
use super::lost::tells_of_void;
use super::position::{Archived, Start, is_open_gap, position_left_by};
use super::worker::ShardWorker;
use crate::ledger::{Predecessor, StoredEntry};
use crate::model::ledger::{BeginBody, Body};
use crate::model::metadata;
use crate::model::rules::Rule;
use crate::model::sealed::KnownPosition;
use crate::model::sequence::{Position, SequenceNumber};
use crate::model::timestamp::Hour;

/// What the last batch entry at or before some serial leaves to the next one.
struct LastBatch {
    hour: Option<Hour>,
    object_sha256: String,
    void_first: Option<SequenceNumber>,
}

impl ShardWorker {
    /// Finds the entry from which the ledger is walked on; a shard never seen gets its `begin`.
    pub(super) fn locate(&mut self) -> Result<Turn, Trouble> {
        let Some(begin) = self.shared.begin.get().copied() else {
            // The supervisor has not seen yet that the store keeps conditions; nothing is committed.
            return Ok(Turn::Wait(self.monotonic() + self.setup.settings.pacing.behind));
        };
        if let Some(checkpoint) = self.checkpoint.clone() {
            let stored = self.ledger.fetch(checkpoint.serial, &self.stop)?;
            let Some(stored) = stored.filter(|stored| stored.sha256 == checkpoint.entry_sha256) else {
                return Err(Trouble::Broken(format!(
                    "the checkpoint says that entry {} was archived, and s3 key {} is not that entry; \
                     was the ledger deleted or the bucket restored?",
                    checkpoint.serial,
                    self.ledger.key(checkpoint.serial)
                )));
            };
            return self.start_walk(stored, Some(checkpoint.known));
        }
        let Some(newest) = self.ledger.newest(&self.stop)? else {
            let body = Body::Begin(BeginBody {
                parents: self.setup.shard.parents.clone(),
                starting_hash_key: self.setup.shard.range.start.to_string(),
                ending_hash_key: self.setup.shard.range.end.to_string(),
                begin,
            });
            let composed = self.ledger.compose(Predecessor::None, body, self.ports.clock.now())?;
            return Ok(Turn::to(Delivery::Claiming(Claim { composed, lines: None })));
        };
        // The newest entry is walked, and so announced again; entries before it were dealt with by
        // whoever put it. What lies sealed here may be covered by any entry since it was sealed.
        let since_sealed = self.spool.lowest_known_serial().unwrap_or(u64::MAX);
        let walk_from = if self.setup.settings.rules.hold(Rule::WalkAndAnnounce) {
            newest.saturating_sub(1).min(since_sealed)
        } else {
            newest
        };
        self.start_walk_before_void(walk_from)
    }

    /// An entry whose object is void leaves no position of its own: the walk starts before it.
    fn start_walk_before_void(&mut self, mut serial: u64) -> Result<Turn, Trouble> {
        loop {
            let stored = self.fetch_known(serial)?;
            let is_batch = matches!(stored.entry.body, Body::Batch(_));
            if !is_batch || serial == 0 || self.last_batch(&stored)?.void_first.is_none() {
                return self.start_walk(stored, None);
            }
            serial -= 1;
        }
    }

    fn start_walk(&mut self, stored: StoredEntry, known: Option<KnownPosition>) -> Result<Turn, Trouble> {
        let known = known.unwrap_or_else(|| position_left_by(&stored.entry));
        if let Body::End(end) = &stored.entry.body {
            self.look_for_children(end)?;
        }
        let last_batch = self.last_batch(&stored)?;
        let start = match (&known.position, Start::of(&stored.entry)) {
            (Position::Start, None) => Start::of(&self.fetch_known(0)?.entry),
            (_, start) => start,
        };
        tracing::info!(
            shard = %self.setup.shard.id,
            serial = stored.entry.serial,
            position = %known.position,
            "found the ledger"
        );
        if self.spool.part_from_start(&known.position) {
            self.read_anew();
        }
        self.archived = Some(Archived {
            serial: stored.entry.serial,
            entry_sha256: stored.sha256,
            known,
            hour: last_batch.hour,
            last_object_sha256: last_batch.object_sha256,
            void_first: last_batch.void_first,
            ends_in_open_gap: is_open_gap(&stored.entry),
            void: None,
            start,
        });
        Ok(Turn::to(Delivery::Walking))
    }

    /// An entry that must be there, since a later one is.
    fn fetch_known(&self, serial: u64) -> Result<StoredEntry, Trouble> {
        self.ledger.fetch(serial, &self.stop)?.ok_or_else(|| {
            Trouble::Broken(format!(
                "s3 key {} is missing although later entries are there; ledger objects must never expire",
                self.ledger.key(serial)
            ))
        })
    }

    /// Walks back to the last batch entry at or before `stored`, and looks at its object.
    fn last_batch(&self, stored: &StoredEntry) -> Result<LastBatch, Trouble> {
        let mut entry = stored.entry.clone();
        loop {
            if let Body::Batch(batch) = &entry.body {
                let head = self.ports.store.head(&batch.key, &self.stop)?;
                let is_void = match &head {
                    Some(head) => head.is_void(),
                    None => {
                        let next = self.ledger.fetch(entry.serial + 1, &self.stop)?;
                        next.is_some_and(|next| tells_of_void(&next))
                    }
                };
                let sha256 = head.and_then(|head| head.meta(metadata::SHA256).map(str::to_owned));
                return Ok(LastBatch {
                    hour: Some(batch.hour),
                    object_sha256: sha256.filter(|_| !is_void).unwrap_or_default(),
                    void_first: is_void.then(|| batch.first_sequence_number.clone()),
                });
            }
            if entry.serial == 0 {
                return Ok(LastBatch { hour: None, object_sha256: String::new(), void_first: None });
            }
            entry = self.fetch_known(entry.serial - 1)?.entry;
        }
    }
}
