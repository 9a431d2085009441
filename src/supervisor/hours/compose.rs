//! From ledgers to a manifest: the same ledgers give the same bytes.
//!
//! Owns what is said of an hour, and that every object was seen before. Decides nothing.

use std::collections::HashMap;

use super::books::{Book, Books};
use crate::codec::hash::Hasher;
use crate::ledger::StoredEntry;
use crate::ledger::hours::StoredHour;
use crate::model::expiry::Expiry;
use crate::model::hour::{
    HourEntry, HourGap, HourLink, HourManifest, HourObject, HourShard, HourTotals, HourType,
};
use crate::model::ledger::{BatchBody, Body, FORMAT_VERSION};
use crate::model::manifest::{About, HourNotice, Notice};
use crate::model::metadata;
use crate::model::shard::StreamIdentity;
use crate::model::timestamp::{Hour, Timestamp};
use crate::ports::{ObjectStore, StoreError, StoreErrorKind};
use crate::stop::Stop;

/// Where a manifest is to lie, and what it follows.
pub(super) struct Place<'a> {
    pub(super) stream: &'a StreamIdentity,
    pub(super) bucket: &'a str,
    pub(super) hour: Hour,
    pub(super) key: &'a str,
    pub(super) next_key: String,
    pub(super) previous: Option<&'a StoredHour>,
}

/// What lies under a batch's key.
#[derive(Clone, Debug)]
pub(super) struct Lying {
    object: HourObject,
    sha256: String,
    size: u64,
}

/// Objects that were seen, by key.
pub(super) type Seen = HashMap<String, Lying>;

/// An object that is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Missing(pub(super) String);

/// When an object that is not there is waited for no longer.
pub(super) struct Patience<'a> {
    /// What the bucket deletes by itself, once known.
    pub(super) expiry: Option<&'a Expiry>,
    /// The service's time.
    pub(super) now: Timestamp,
    /// Of streams created before this one nothing can be read again: only the writer can still put it.
    pub(super) stream_created: Timestamp,
    /// Writers of entries that are older than this have not come back.
    pub(super) given_up_before: Timestamp,
}

impl Patience<'_> {
    /// What is told of an object that is not there; `None`: it is waited for.
    fn over(&self, created: Timestamp, key: &str, written_at: Timestamp) -> Option<HourObject> {
        if self.expiry.is_some_and(|expiry| expiry.has_taken(key, written_at, self.now)) {
            return Some(HourObject::Expired);
        }
        let earlier = created.as_seconds() < self.stream_created.as_seconds();
        (earlier && written_at < self.given_up_before).then_some(HourObject::Missing)
    }
}

/// Looks at the objects of the hour that were not seen yet; the first that is not there.
pub(super) fn look_at_objects(
    store: &dyn ObjectStore,
    books: &Books,
    hour: Hour,
    patience: &Patience<'_>,
    seen: &mut Seen,
    stop: &Stop,
) -> Result<Option<Missing>, StoreError> {
    for book in books.by_name.values() {
        for stored in &book.pending[..book.cut(hour)] {
            let Body::Batch(batch) = &stored.entry.body else { continue };
            if seen.contains_key(&batch.key) {
                continue;
            }
            let lying = match look_at(store, batch, stop)? {
                Some(lying) => lying,
                None => match patience.over(book.created, &batch.key, stored.entry.written_at) {
                    Some(object) => Lying { object, sha256: String::new(), size: 0 },
                    None => return Ok(Some(Missing(batch.key.clone()))),
                },
            };
            seen.insert(batch.key.clone(), lying);
        }
    }
    Ok(None)
}

fn look_at(store: &dyn ObjectStore, batch: &BatchBody, stop: &Stop) -> Result<Option<Lying>, StoreError> {
    let Some(head) = store.head(&batch.key, stop)? else { return Ok(None) };
    let object = if head.meta(metadata::VOID).is_some() { HourObject::Void } else { HourObject::Archived };
    if let Some(sha256) = head.meta(metadata::SHA256) {
        return Ok(Some(Lying { object, sha256: sha256.to_owned(), size: head.size }));
    }
    // An object without our metadata is fetched and hashed.
    let Some(mut bytes) = store.open(&batch.key, stop)? else { return Ok(None) };
    let (mut hasher, mut some) = (Hasher::default(), vec![0; 64 << 10]);
    loop {
        let read = bytes.read(&mut some).map_err(|error| StoreError {
            call: "GetObject",
            key: batch.key.clone(),
            kind: StoreErrorKind::NoAnswer,
            message: error.to_string(),
        })?;
        if read == 0 {
            break;
        }
        hasher.update(&some[..read]);
    }
    Ok(Some(Lying { object, size: hasher.len(), sha256: hasher.take_hex() }))
}

/// The manifest of an hour that is due, and all of whose objects were seen.
pub(super) fn compose(books: &Books, seen: &Seen, place: Place<'_>) -> HourManifest {
    let hour = place.hour;
    let named = books.by_name.iter().filter(|(name, book)| books.is_named(name, book, hour));
    let shards: Vec<HourShard> = named.map(|(_, book)| shard(book, hour, seen)).collect();
    HourManifest {
        version: FORMAT_VERSION,
        kind: HourType::Hour,
        stream: place.stream.name.clone(),
        stream_arn: place.stream.arn.clone(),
        stream_created: books.newest_creation().unwrap_or(place.stream.created),
        bucket: place.bucket.to_owned(),
        key: place.key.to_owned(),
        hour,
        previous: place
            .previous
            .map(|previous| HourLink { key: previous.manifest.key.clone(), sha256: previous.sha256.clone() }),
        next_key: place.next_key,
        totals: HourTotals::of(&shards),
        shards,
    }
}

fn shard(book: &Book, hour: Hour, seen: &Seen) -> HourShard {
    let mut told = HourShard::new(book.shard.clone(), book.created, &book.lineage);
    if let Some((serial, sha256)) = &book.told {
        (told.last_serial, told.last_entry_sha256) = (*serial, sha256.clone());
    }
    for stored in &book.pending[..book.cut(hour)] {
        (told.last_serial, told.last_entry_sha256) = (stored.entry.serial, stored.sha256.clone());
        match &stored.entry.body {
            Body::Begin(_) => {}
            Body::Batch(batch) => {
                if let Some(lying) = seen.get(&batch.key) {
                    told.add(entry(stored, batch, lying));
                }
            }
            Body::Gap(gap) => told.gaps.push(HourGap {
                serial: stored.entry.serial,
                entry_sha256: stored.sha256.clone(),
                gap: gap.clone(),
            }),
            Body::End(end) => {
                told.ended = true;
                told.children.clone_from(&end.children);
            }
        }
    }
    told
}

fn entry(stored: &StoredEntry, batch: &BatchBody, lying: &Lying) -> HourEntry {
    HourEntry {
        serial: stored.entry.serial,
        entry_sha256: stored.sha256.clone(),
        key: batch.key.clone(),
        object: lying.object,
        sha256: lying.sha256.clone(),
        size: lying.size,
        content_sha256: batch.content_sha256.clone(),
        content_size: batch.content_size,
        records: batch.records,
        side: batch.side.clone(),
        first_sequence_number: batch.first_sequence_number.clone(),
        last_sequence_number: batch.last_sequence_number.clone(),
    }
}

/// What subscribers are told of an hour.
pub(super) fn notice(stored: &StoredHour) -> Notice {
    let manifest = &stored.manifest;
    let about = About::Hour(Box::new(HourNotice {
        stream: manifest.stream.clone(),
        stream_arn: manifest.stream_arn.clone(),
        stream_created: manifest.stream_created,
        bucket: manifest.bucket.clone(),
        key: manifest.key.clone(),
        url: format!("s3://{}/{}", manifest.bucket, manifest.key),
        hour: manifest.hour,
        sha256: stored.sha256.clone(),
        size: stored.size,
        totals: manifest.totals,
    }));
    Notice { version: FORMAT_VERSION, about }
}
