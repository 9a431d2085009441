//! The order of shards: streams by their creation, parents before their children.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::ReadFailure;
use crate::archive::ledgers::LedgerAt;
use crate::archive::verify::selected;
use crate::archive::{Archive, Selection};
use crate::model::ledger::Body;
use crate::model::shard::ShardId;
use crate::stop::Stop;

/// A shard in its place.
pub(super) struct Placed {
    pub(super) ledger: LedgerAt,
    /// Indices of the serials that can hold what is wanted.
    pub(super) entries: Range<usize>,
    /// Those of its parents that are read as well.
    pub(super) parents: Vec<ShardId>,
}

impl Placed {
    /// The indices to be read, in order. One more where an entry is missing right behind them, which may have
    /// claimed some of what is wanted: reading finds that out there.
    pub(super) fn indices(&self) -> Range<usize> {
        let hole = self.ledger.missing_before(self.entries.end).is_some();
        self.entries.start..self.entries.end + usize::from(hole)
    }
}

/// The selected shards, each after its parents.
pub(super) fn by_lineage(
    archive: &Archive,
    ledgers: Vec<LedgerAt>,
    selection: &Selection,
    stop: &Stop,
) -> Result<Vec<Placed>, ReadFailure> {
    let mut streams: BTreeMap<i64, BTreeMap<ShardId, Placed>> = BTreeMap::new();
    for ledger in ledgers {
        let entries = selected(archive, &ledger, selection, stop)?;
        let begin = archive.entry(&ledger, 0, stop)?.and_then(Result::ok);
        let parents = match begin.map(|read| read.entry.body) {
            Some(Body::Begin(begin)) => begin.parents,
            Some(Body::Batch(_) | Body::Gap(_) | Body::End(_)) | None => Vec::new(),
        };
        let stream = streams.entry(ledger.created).or_default();
        stream.insert(ledger.shard.clone(), Placed { ledger, entries, parents });
    }
    Ok(streams.into_values().flat_map(in_order).collect())
}

/// Whoever has no parent left that is still to come is next; a circle, which only a forged ledger
/// can make, is broken at its lowest id.
fn in_order(mut shards: BTreeMap<ShardId, Placed>) -> Vec<Placed> {
    let mut placed = Vec::with_capacity(shards.len());
    let known: BTreeSet<ShardId> = shards.keys().cloned().collect();
    for shard in shards.values_mut() {
        shard.parents.retain(|parent| known.contains(parent));
    }
    while !shards.is_empty() {
        let free = |shard: &Placed| shard.parents.iter().all(|parent| !shards.contains_key(parent));
        let mut next: Vec<ShardId> =
            shards.iter().filter(|(_, shard)| free(shard)).map(|(id, _)| id.clone()).collect();
        if next.is_empty() {
            next.extend(shards.keys().next().cloned());
        }
        placed.extend(next.iter().filter_map(|id| shards.remove(id)));
    }
    placed
}
