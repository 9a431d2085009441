//! What the walk along the ledgers learned that manifests of hours repeat.
//!
//! Owns as little of each entry as tells whether a manifest agrees with it. Judges nothing.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use crate::archive::ledgers::LedgerAt;
use crate::model::ledger::{BatchBody, BeginBody, Body, EndBody, GapBody};
use crate::model::shard::ShardId;
use crate::model::timestamp::Hour;

/// What the walk learned of one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::archive) struct EntryFact {
    pub(super) serial: u64,
    pub(super) sha256: String,
    /// The hour, if it is a batch.
    pub(super) hour: Option<Hour>,
    /// Of all that a manifest repeats of it.
    pub(super) print: u64,
    /// Hex SHA-256 of its object, where that was read and is right.
    pub(super) object: Option<String>,
}

impl EntryFact {
    pub(in crate::archive) fn new(serial: u64, sha256: &str, body: &Body, object: Option<&str>) -> Self {
        let (hour, print) = match body {
            Body::Begin(begin) => (None, print_of_begin(begin)),
            Body::Batch(batch) => (Some(batch.hour), print_of_batch(batch)),
            Body::Gap(gap) => (None, print_of_gap(gap)),
            Body::End(EndBody { children }) => (None, print(children)),
        };
        Self { serial, sha256: sha256.to_owned(), hour, print, object: object.map(str::to_owned) }
    }
}

pub(super) fn print(of: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

fn print_of_begin(begin: &BeginBody) -> u64 {
    print((&begin.parents, &begin.starting_hash_key, &begin.ending_hash_key))
}

fn print_of_batch(batch: &BatchBody) -> u64 {
    let ends = (batch.first_sequence_number.as_str(), batch.last_sequence_number.as_str());
    let side = batch.side.as_ref().map(|side| (&side.key, &side.content_sha256, side.records));
    print((&batch.key, &batch.content_sha256, batch.content_size, batch.records, side, ends))
}

pub(super) fn print_of_gap(gap: &GapBody) -> u64 {
    print(serde_json::to_string(gap).unwrap_or_default())
}

/// A ledger: the creation of its stream in seconds, and its shard.
pub(super) type Name = (i64, ShardId);

/// What the walk learned of all entries.
#[derive(Debug, Default)]
pub(in crate::archive) struct Facts {
    pub(super) by_ledger: BTreeMap<Name, BTreeMap<u64, EntryFact>>,
}

impl Facts {
    /// Adds what a stretch of the ledger told.
    pub(in crate::archive) fn take(&mut self, ledger: &LedgerAt, facts: Vec<EntryFact>) {
        let of_ledger = self.by_ledger.entry((ledger.created, ledger.shard.clone())).or_default();
        of_ledger.extend(facts.into_iter().map(|fact| (fact.serial, fact)));
    }
}
