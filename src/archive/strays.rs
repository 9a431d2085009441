//! Objects that lie in the archive and that no ledger entry names.

use std::collections::{BTreeMap, HashMap};

use super::chain::Hole;
use super::fault::{Fault, FaultKind};
use super::ledgers::LedgerAt;
use super::{Archive, Selection};
use crate::model::ledger::Body;
use crate::model::sequence::SequenceNumber;
use crate::model::shard::ShardId;
use crate::model::timestamp::Hour;
use crate::ports::StoreError;
use crate::stop::Stop;

/// Which entry claims an object: the index of its ledger, and its serial.
pub(super) type Claimed = (usize, u64);

/// What the ledgers claim, as far as it was walked.
pub(super) struct Claims<'a> {
    pub(super) ledgers: &'a [LedgerAt],
    /// The keys of all claimed objects.
    pub(super) keys: &'a HashMap<String, Claimed>,
    /// Where entries are missing that may have named an object.
    pub(super) holes: BTreeMap<ShardId, Vec<Hole>>,
    pub(super) selection: &'a Selection,
}

/// What lies beside the claimed objects.
#[derive(Default)]
pub(super) struct Beside {
    pub(super) faults: Vec<Fault>,
    /// The keys of hour manifests: they are held against the ledgers elsewhere.
    pub(super) manifests: Vec<String>,
}

impl Claims<'_> {
    /// Looks at every object of the selected hours.
    pub(super) fn strays(&self, archive: &Archive, stop: &Stop) -> Result<Beside, StoreError> {
        let mut beside = Beside::default();
        for folder in data_folders(archive, stop)? {
            if stop.reason().is_some() {
                break;
            }
            for key in archive.store.list(&folder, None, stop)? {
                if key.ends_with("/_hour.json") {
                    beside.manifests.push(key);
                } else if self.is_stray(archive, &key, stop)? {
                    beside.faults.push(Fault::new(FaultKind::ObjectUnknown, key, "no ledger entry names it"));
                }
            }
        }
        Ok(beside)
    }

    fn is_stray(&self, archive: &Archive, key: &str, stop: &Stop) -> Result<bool, StoreError> {
        if self.keys.contains_key(key) {
            return Ok(false);
        }
        let below = key.strip_prefix(archive.keys.root()).unwrap_or(key);
        let name = below.rsplit('/').next().unwrap_or(below);
        if name.starts_with('_') && !name.contains(".side.ndjson.") {
            return Ok(false);
        }
        let whole = self.selection == &Selection::default();
        let Some((hour, shard, first)) = parts(below) else { return Ok(whole) };
        let outside = |hour: Hour| {
            self.selection.from.is_some_and(|from| hour < from.hour())
                || self.selection.to.is_some_and(|to| hour > to.hour().next())
        };
        if outside(hour) || self.selection.shard.as_ref().is_some_and(|wanted| *wanted != shard) {
            return Ok(false);
        }
        if self.holes.get(&shard).is_some_and(|holes| holes.iter().any(|hole| hole.contains(&first))) {
            return Ok(false);
        }
        self.came_since(archive, &shard, key, stop).map(|came| !came)
    }

    /// Whether an entry that was put since the ledgers were listed names the object.
    fn came_since(
        &self,
        archive: &Archive,
        shard: &ShardId,
        key: &str,
        stop: &Stop,
    ) -> Result<bool, StoreError> {
        let listed = || self.ledgers.iter().filter(|ledger| ledger.shard == *shard);
        let mut born = Vec::new();
        if listed().next().is_none() {
            // The shard may be one that began since: all its entries came since then.
            let of_shard = Selection { shard: Some(shard.clone()), ..Selection::default() };
            born = archive.ledgers(&of_shard, stop)?.0;
            born.iter_mut().for_each(|ledger| ledger.serials.clear());
        }
        for ledger in listed().chain(&born) {
            let mut serial = ledger.serials.last().map_or(0, |last| last + 1);
            while let Some(Ok(read)) = archive.entry(ledger, serial, stop)? {
                if let Body::Batch(batch) = &read.entry.body
                    && (batch.key == key || batch.side.as_ref().is_some_and(|side| side.key == key))
                {
                    return Ok(true);
                }
                serial += 1;
            }
        }
        Ok(false)
    }
}

/// The folders of days (`dt=…/`) or months (`2026/11/`), each a listing of bounded length.
fn data_folders(archive: &Archive, stop: &Stop) -> Result<Vec<String>, StoreError> {
    let root = archive.keys.root();
    let mut folders = Vec::new();
    for folder in archive.store.folders(root, stop)? {
        let name = folder.strip_prefix(root).unwrap_or(&folder);
        if name.starts_with('_') {
            continue;
        }
        if name.len() == 5 && name.bytes().take(4).all(|byte| byte.is_ascii_digit()) {
            folders.extend(archive.store.folders(&folder, stop)?);
        } else {
            folders.push(folder);
        }
    }
    Ok(folders)
}

/// The hour whose folder this is, below the archive's root.
pub(super) fn hour_of_folder(folder: &str) -> Option<Hour> {
    match folder.strip_prefix("dt=") {
        Some(rest) => {
            let (date, hour) = rest.split_once("/hour=")?;
            Hour::of_date(date, hour)
        }
        None => {
            let (date, hour) = folder.rsplit_once('/')?;
            Hour::of_date(&date.replace('/', "-"), hour)
        }
    }
}

/// The hour, shard and first record that a key below the archive's root tells of.
fn parts(below: &str) -> Option<(Hour, ShardId, SequenceNumber)> {
    let (folder, name) = below.rsplit_once('/')?;
    let hour = hour_of_folder(folder)?;
    let (stem, _) = name.trim_start_matches('_').split_once('.')?;
    let (shard, first) = stem.rsplit_once('-')?;
    Some((hour, ShardId::new(shard), first.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_either_layout_tells_its_hour_shard_and_first_record() {
        let hive = parts("dt=2026-11-22/hour=05/shardId-000000000000-4966.ndjson.gz").unwrap();
        assert_eq!(hive, parts("2026/11/22/05/shardId-000000000000-4966.ndjson.zst").unwrap());
        assert_eq!(hive.0.start().to_string(), "2026-11-22T05:00:00.000Z");
        assert_eq!(hive.1, ShardId::new("shardId-000000000000"));
        assert_eq!(hive, parts("2026/11/22/05/_shardId-000000000000-4966.side.ndjson.gz").unwrap());
        assert!(parts("dt=2026-11-22/notes.txt").is_none());
    }
}
