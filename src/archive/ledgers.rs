//! The ledgers of an archive: which there are, their entries one by one, and where an hour begins.
//!
//! Owns what makes an entry one of its ledger. What follows from a row of entries is `stretch`'s.

use super::fault::{Fault, FaultKind};
use super::{Archive, Selection};
use crate::codec::hash::sha256_hex;
use crate::model::key::serial_of;
use crate::model::ledger::{Body, Entry, FORMAT_VERSION};
use crate::model::shard::ShardId;
use crate::model::timestamp::Hour;
use crate::ports::StoreError;
use crate::stop::Stop;

/// One shard's ledger in the bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LedgerAt {
    /// Its folder, with the closing `/`.
    pub(super) folder: String,
    pub(super) shard: ShardId,
    /// The stream's creation, in seconds since the epoch.
    pub(super) created: i64,
    /// The serials that are there.
    pub(super) serials: Vec<u64>,
}

impl LedgerAt {
    pub(super) fn key(&self, serial: u64) -> String {
        format!("{}{serial:012}.json", self.folder)
    }

    /// The first serial that is missing right before the entry at `index`: serials have no holes. Right
    /// behind the last entry none is, unless there is no entry at all.
    pub(super) fn missing_before(&self, index: usize) -> Option<u64> {
        let before = index.checked_sub(1).and_then(|before| self.serials.get(before));
        let expected = before.map_or(0, |before| before + 1);
        match self.serials.get(index) {
            Some(serial) => (*serial > expected).then_some(expected),
            None => self.serials.is_empty().then_some(0),
        }
    }
}

/// An entry as it was read.
#[derive(Clone, Debug)]
pub(super) struct ReadEntry {
    pub(super) entry: Entry,
    pub(super) sha256: String,
}

impl Archive {
    /// The ledgers of the selected shards, and what in their folders is no entry.
    pub(super) fn ledgers(
        &self,
        selection: &Selection,
        stop: &Stop,
    ) -> Result<(Vec<LedgerAt>, Vec<Fault>), StoreError> {
        let (mut ledgers, mut faults) = (Vec::new(), Vec::new());
        let root = self.keys.ledgers();
        for folder in self.store.folders(&root, stop)? {
            let name = folder.strip_prefix(&root).unwrap_or(&folder).trim_end_matches('/');
            let Some((shard, created)) = name
                .rsplit_once('-')
                .and_then(|(shard, created)| Some((ShardId::new(shard), created.parse::<i64>().ok()?)))
            else {
                faults.push(Fault::new(FaultKind::ObjectUnknown, folder, "it is no shard's ledger"));
                continue;
            };
            if selection.shard.as_ref().is_some_and(|wanted| *wanted != shard) {
                continue;
            }
            let mut serials = Vec::new();
            for key in self.store.list(&folder, None, stop)? {
                match serial_of(&key) {
                    Some(serial) if key == format!("{folder}{serial:012}.json") => serials.push(serial),
                    Some(_) | None => {
                        faults.push(Fault::new(FaultKind::ObjectUnknown, key, "it is no ledger entry"));
                    }
                }
            }
            ledgers.push(LedgerAt { folder, shard, created, serials });
        }
        Ok((ledgers, faults))
    }

    /// Entry `serial`; the inner error says why what lies there is none of this ledger.
    pub(super) fn entry(
        &self,
        ledger: &LedgerAt,
        serial: u64,
        stop: &Stop,
    ) -> Result<Option<Result<ReadEntry, String>>, StoreError> {
        let Some(bytes) = self.store.get(&ledger.key(serial), stop)? else { return Ok(None) };
        let entry: Entry = match serde_json::from_slice(&bytes) {
            Ok(entry) => entry,
            Err(error) => return Ok(Some(Err(format!("it is no ledger entry: {error}")))),
        };
        let is_own = entry.version == FORMAT_VERSION
            && entry.serial == serial
            && entry.shard == ledger.shard
            && entry.stream_created.as_seconds() == ledger.created
            && (serial == 0) == matches!(entry.body, Body::Begin(_));
        if !is_own {
            return Ok(Some(Err(format!(
                "it says version {}, shard {}, serial {}, stream created {}",
                entry.version, entry.shard, entry.serial, entry.stream_created
            ))));
        }
        Ok(Some(Ok(ReadEntry { entry, sha256: sha256_hex(&bytes) })))
    }

    /// The first index of `ledger.serials` from which on entries can hold what arrived at `from` or
    /// later: hours never go back along a ledger.
    pub(super) fn first_from(&self, ledger: &LedgerAt, from: Hour, stop: &Stop) -> Result<usize, StoreError> {
        let (mut low, mut high) = (0, ledger.serials.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.hour_at(ledger, middle, stop)? {
                Some(hour) if hour >= from => high = middle,
                Some(_) | None => low = middle + 1,
            }
        }
        Ok(low)
    }

    /// `first`, or the index of the first gap right before it that lies in the selected time: a gap has no hour
    /// of its own. What is missing in a gap further back arrived before the batch that follows it.
    pub(super) fn with_gaps_before(
        &self,
        ledger: &LedgerAt,
        first: usize,
        selection: &Selection,
        stop: &Stop,
    ) -> Result<usize, StoreError> {
        let mut found = first;
        for index in (0..first).rev() {
            let Some(Ok(read)) = self.entry(ledger, ledger.serials[index], stop)? else { break };
            match &read.entry.body {
                Body::Gap(gap) if selection.meets(gap.from, gap.to) => found = index,
                Body::Gap(_) | Body::End(_) => {}
                Body::Begin(_) | Body::Batch(_) => break,
            }
        }
        Ok(found)
    }

    /// The hour of the last batch at or before an index, if there is one.
    fn hour_at(&self, ledger: &LedgerAt, mut index: usize, stop: &Stop) -> Result<Option<Hour>, StoreError> {
        loop {
            if let Some(Ok(read)) = self.entry(ledger, ledger.serials[index], stop)?
                && let Body::Batch(batch) = &read.entry.body
            {
                return Ok(Some(batch.hour));
            }
            let Some(before) = index.checked_sub(1) else { return Ok(None) };
            index = before;
        }
    }
}
