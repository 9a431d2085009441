//! Shards as a family: every child has its ledger, and together they cover the key space.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::archive::fault::{Fault, FaultKind};
use crate::archive::ledgers::LedgerAt;
use crate::model::ledger::{Body, EndBody, Entry};
use crate::model::shard::{HashKeyRange, ShardId};
use crate::model::timestamp::Timestamp;

/// What is known of the shards, by the creation of their stream.
#[derive(Default)]
pub(super) struct Lineage {
    streams: BTreeMap<i64, BTreeMap<ShardId, Member>>,
}

#[derive(Default)]
struct Member {
    folder: String,
    range: Option<HashKeyRange>,
    begun: Option<Timestamp>,
    end: Option<(EndBody, Timestamp)>,
}

impl Lineage {
    /// Takes note of a ledger's first and last entry.
    pub(super) fn take(
        &mut self,
        ledger: &LedgerAt,
        first: Option<&Entry>,
        end: Option<(EndBody, Timestamp)>,
    ) {
        let stream = self.streams.entry(ledger.created).or_default();
        let member = stream.entry(ledger.shard.clone()).or_default();
        member.folder.clone_from(&ledger.folder);
        if let Some(Entry { body: Body::Begin(begin), written_at, .. }) = first {
            let keys = (begin.starting_hash_key.parse(), begin.ending_hash_key.parse());
            if let (Ok(start), Ok(end)) = keys {
                member.range = Some(HashKeyRange { start, end });
            }
            member.begun = Some(*written_at);
        }
        member.end = end.or(member.end.take());
    }
}

/// What is missing in the family. A ledger begun or ended within `fresh` may have relatives that
/// are just about to begin.
pub(super) fn faults(lineage: &Lineage, now: Timestamp, fresh: Duration) -> Vec<Fault> {
    let mut faults = Vec::new();
    for stream in lineage.streams.values() {
        let recent = |at: Option<Timestamp>| at.is_some_and(|at| now.since(at) < fresh);
        let mut settled = true;
        for member in stream.values() {
            let ended = member.end.as_ref().map(|(_, at)| *at);
            settled &= !recent(ended) && !recent(member.begun);
            let Some((end, at)) = &member.end else { continue };
            for child in end.children.iter().filter(|child| !stream.contains_key(*child)) {
                if !recent(Some(*at)) {
                    let told = format!("the shard ended, and its child {child} has no ledger");
                    faults.push(Fault::new(FaultKind::LineageBroken, &member.folder, told));
                }
            }
        }
        let open: Option<Vec<HashKeyRange>> =
            stream.values().filter(|member| member.end.is_none()).map(|member| member.range).collect();
        // A ledger whose first entry is missing is a fault by itself.
        let Some(open) = open.filter(|open| !open.is_empty() && faults.is_empty() && settled) else {
            continue;
        };
        if let Some((from, to)) = uncovered(open) {
            let folder = stream.values().next().map_or_else(String::new, |member| member.folder.clone());
            let told = format!("no shard without an end covers the hash keys {from} to {to}");
            faults.push(Fault::new(FaultKind::LineageBroken, folder, told));
        }
    }
    faults
}

/// The lowest stretch of the key space that no range covers.
fn uncovered(mut ranges: Vec<HashKeyRange>) -> Option<(u128, u128)> {
    ranges.sort_by_key(|range| range.start);
    let mut next = 0_u128;
    for range in ranges {
        if range.start > next {
            return Some((next, range.start - 1));
        }
        next = next.max(range.end.checked_add(1)?);
    }
    Some((next, u128::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_space_is_covered_to_the_last_key() {
        let range = |start, end| HashKeyRange { start, end };
        let half = 1_u128 << 127;
        assert_eq!(uncovered(vec![HashKeyRange::WHOLE]), None);
        assert_eq!(uncovered(vec![range(half, u128::MAX), range(0, half - 1)]), None);
        assert_eq!(uncovered(vec![range(0, half - 2), range(half, u128::MAX)]), Some((half - 1, half - 1)));
        assert_eq!(uncovered(vec![range(0, u128::MAX - 1)]), Some((u128::MAX, u128::MAX)));
    }
}
