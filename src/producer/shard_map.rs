//! Which shard a hash key belongs to.
//!
//! Owns the open shards in the order of their ranges. Asks nobody for them.

use std::collections::HashMap;

use crate::model::shard::{HashKeyRange, Shard, ShardId};

/// The shards of a stream, as last listed.
#[derive(Clone, Debug, Default)]
pub(super) struct ShardMap {
    /// The open ones, by where their ranges begin.
    open: Vec<(HashKeyRange, ShardId)>,
    /// Closed ones, too: a late answer may name them.
    known: HashMap<ShardId, HashKeyRange>,
}

impl ShardMap {
    /// `None` if no shard is open: nothing could be put.
    pub(super) fn new(listed: Vec<Shard>) -> Option<Self> {
        let known = listed.iter().map(|shard| (shard.id.clone(), shard.range)).collect();
        let mut open: Vec<_> =
            listed.into_iter().filter(|shard| !shard.closed).map(|shard| (shard.range, shard.id)).collect();
        open.sort_by_key(|(range, _)| range.start);
        (!open.is_empty()).then_some(Self { open, known })
    }

    /// The open shards in the order of their ranges.
    pub(super) fn open(&self) -> impl Iterator<Item = &ShardId> {
        self.open.iter().map(|(_, id)| id)
    }

    /// The index, among the open shards, of the one that takes this hash key; of the nearest one while a
    /// reshard leaves the key to none.
    pub(super) fn place(&self, hash_key: u128) -> usize {
        self.open.partition_point(|(range, _)| range.start <= hash_key).saturating_sub(1)
    }

    /// The range of the open shard of that index.
    pub(super) fn range(&self, index: usize) -> HashKeyRange {
        self.open.get(index).map_or(HashKeyRange::WHOLE, |(range, _)| *range)
    }

    /// The range of a shard, if it was listed.
    pub(super) fn range_of(&self, shard: &ShardId) -> Option<HashKeyRange> {
        self.known.get(shard).copied()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Shards of equal width, the first ids closed.
    pub(in crate::producer) fn shards(open: u64, closed: u64) -> Vec<Shard> {
        let width = u128::MAX / u128::from(open);
        let shard = |n: u64, range, closed| Shard {
            id: ShardId::new(format!("shardId-{n:012}")),
            parents: Vec::new(),
            range,
            closed,
        };
        let range = |n: u64| HashKeyRange {
            start: width * u128::from(n) + u128::from(n > 0),
            end: if n + 1 == open { u128::MAX } else { width * u128::from(n + 1) },
        };
        let old = (0..closed).map(|n| shard(n, HashKeyRange::WHOLE, true));
        old.chain((0..open).map(|n| shard(closed + n, range(n), false))).collect()
    }

    #[test]
    fn each_hash_key_has_the_shard_whose_range_holds_it() {
        let map = ShardMap::new(shards(4, 2)).unwrap();
        for key in [0, 1, u128::MAX / 4, u128::MAX / 4 + 1, u128::MAX / 2, u128::MAX - 1, u128::MAX] {
            assert!(map.range(map.place(key)).contains(key), "{key}");
        }
        assert_eq!(map.open().next().unwrap().as_str(), "shardId-000000000002");
        assert_eq!(map.range_of(&ShardId::new("shardId-000000000000")), Some(HashKeyRange::WHOLE));
        assert_eq!(map.range_of(&ShardId::new("shardId-000000000009")), None);
    }

    #[test]
    fn a_stream_without_open_shards_has_no_map() {
        let closed = shards(1, 3).into_iter().filter(|shard| shard.closed).collect();
        assert!(ShardMap::new(closed).is_none());
        assert!(ShardMap::new(Vec::new()).is_none());
    }
}
