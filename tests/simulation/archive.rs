//! What came to lie in the bucket, and in which order: the material of the checks.

use std::collections::BTreeMap;
use std::sync::Arc;

use kinesis_keeper::model::ledger::{BatchBody, Begin, Body, Entry, GapBody, GapCause};
use kinesis_keeper::model::timestamp::Timestamp;
use kinesis_keeper::testing::{Change, MemoryBucket, ShardHistory, StoredObject, What};

use crate::keeper::keys;
use crate::reader::sha256;

/// Every object that was ever stored, by key, in the order of events.
pub struct Archive {
    pub stored: BTreeMap<String, Vec<Change>>,
    pub expired: BTreeMap<String, Vec<Change>>,
    pub lifecycle: bool,
}

/// A ledger entry as it lies there.
pub struct Lain {
    pub serial: u64,
    pub entry: Entry,
    pub event: u64,
    pub at: Timestamp,
    pub object: Arc<StoredObject>,
    pub sha256: String,
}

impl Archive {
    pub fn of(bucket: &MemoryBucket) -> Self {
        let (mut stored, mut expired) = (BTreeMap::new(), BTreeMap::new());
        for change in bucket.history() {
            let kind: &mut BTreeMap<String, Vec<Change>> = match change.what {
                What::Stored => &mut stored,
                What::Expired => &mut expired,
            };
            kind.entry(change.key.clone()).or_default().push(change);
        }
        Self { stored, expired, lifecycle: bucket.lifecycle.is_some() }
    }

    /// The first object that came to lie under a key.
    pub fn first(&self, key: &str) -> Option<&Change> {
        self.stored.get(key).and_then(|changes| changes.first())
    }

    /// A shard's ledger; the serials must have no hole.
    pub fn ledger(&self, shard: &ShardHistory) -> Result<Vec<Lain>, String> {
        let folder = keys().ledger(&shard.shard.id, shard.created);
        let mut entries = Vec::new();
        let of_shard = self.stored.range(folder.clone()..).take_while(|(key, _)| key.starts_with(&folder));
        for (serial, (key, changes)) in (0_u64..).zip(of_shard) {
            if *key != keys().entry(&shard.shard.id, shard.created, serial) {
                return Err(format!("{key} lies where serial {serial} should"));
            }
            let [change] = &changes[..] else { return Err(format!("{key} was stored twice")) };
            let entry = serde_json::from_slice::<Entry>(&change.object.bytes);
            entries.push(Lain {
                serial,
                entry: entry.map_err(|error| format!("{key}: {error}"))?,
                event: change.event,
                at: change.at,
                object: Arc::clone(&change.object),
                sha256: sha256(&change.object.bytes),
            });
        }
        Ok(entries)
    }

    /// The object of a batch entry, if one ever came: a void, or the records.
    pub fn object_of(&self, batch: &BatchBody) -> Option<&Change> {
        self.first(&batch.key)
    }

    /// The hashes of all objects that came for it: more than one if it expired before any entry followed, and its
    /// writer put it again.
    pub fn hashes_of(&self, batch: &BatchBody) -> Vec<String> {
        let objects = self.stored.get(&batch.key).into_iter().flatten();
        objects.map(|change| sha256(&change.object.bytes)).collect()
    }

    /// Whether a void lies in place of the batch's object.
    pub fn is_void(&self, batch: &BatchBody) -> bool {
        self.object_of(batch).is_some_and(|change| is_void(&change.object))
    }
    /// The bucket deleted a void before anybody could put the gap that follows: what was lost counts as expired, as it
    /// would be by then.
    pub fn void_passed_for_expired(&self, ledger: &[Lain]) -> bool {
        ledger.windows(2).any(|pair| {
            let void = pair[0].batch().filter(|batch| self.is_void(batch));
            let gone = void.and_then(|batch| self.expired.get(&batch.key)?.first());
            let lost = pair[1].gap().is_some_and(|gap| gap.why == GapCause::Lost);
            !lost && gone.is_some_and(|gone| gone.event < pair[1].event)
        })
    }
}

/// Whether the object is a void.
pub fn is_void(object: &StoredObject) -> bool {
    object.meta("keeper-void").is_some()
}

impl Lain {
    pub fn batch(&self) -> Option<&BatchBody> {
        match &self.entry.body {
            Body::Batch(batch) => Some(batch),
            _ => None,
        }
    }

    pub fn gap(&self) -> Option<&GapBody> {
        match &self.entry.body {
            Body::Gap(gap) => Some(gap),
            _ => None,
        }
    }

    /// The time at which the shard begins, if it does at one.
    pub fn begins_at(&self) -> Option<Timestamp> {
        match &self.entry.body {
            Body::Begin(begin) => match begin.begin {
                Begin::At(time) => Some(time),
                Begin::TrimHorizon(_) => None,
            },
            _ => None,
        }
    }
}
