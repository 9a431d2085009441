//! From a lane into a request: records as they are, or packed into KPL aggregates.

use super::entry::Entry;
use super::lane::Lane;
use super::options::Options;
use super::request::{Flight, Request};
use crate::codec::aggregate::encode::{Aggregate, OUTER_KEY};
use crate::model::shard::HashKeyRange;
use crate::ports::put::Record;

/// Readers of aggregates were written when a record had at most 1 MiB.
const LARGEST_AGGREGATE: usize = 1 << 20;

/// A record goes bare after so many aggregates with it went astray: once is a reshard.
const ASTRAY: u32 = 2;

/// What the stream takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Whether aggregates come to the shards that they are made for.
    pub(super) aggregates: bool,
    /// The largest record.
    pub(super) most_bytes: usize,
}

/// Moves what the shard's pace allows into the request; `false` if the request is full.
pub(super) fn fill(
    request: &mut Request,
    lane: &mut Lane,
    range: HashKeyRange,
    options: &Options,
    limits: Limits,
) -> bool {
    while let Some(front) = lane.front() {
        // No larger than what is saved up for the shard: a larger one would hold the shard up for long.
        let most = limits.most_bytes.min(LARGEST_AGGREGATE).min(lane.pace.at_once().1);
        let most = most.min(request.room());
        let flight = if limits.aggregates && joins(front, &Aggregate::default(), range, most) {
            if !request.has_room(0, front.company) {
                return false;
            }
            if !lane.pace.allows(front.record.size()) {
                return true;
            }
            gather(lane, range, most)
        } else {
            if !request.has_room(front.record.size(), front.company) {
                return false;
            }
            if !lane.pace.allows(front.record.size()) {
                return true;
            }
            lane.pop().map(Flight::One)
        };
        let Some(flight) = flight else { return true };
        let company = flight.entries().iter().map(|entry| entry.company).min().unwrap_or_default();
        lane.pace.take(flight.outer().size());
        lane.in_flight += 1;
        request.add(flight, company);
        if options.ordered && options.aggregate {
            // A second one in the same request could be stored before the first.
            return true;
        }
    }
    true
}

/// Whether a record may go into an aggregate of at most so many bytes.
fn joins(entry: &Entry, aggregate: &Aggregate, range: HashKeyRange, most: usize) -> bool {
    let record = &entry.record;
    let hash_key = record.explicit_hash_key.map(|key| key.to_string());
    let size = aggregate.size_with(&record.partition_key, hash_key.as_deref(), record.data.len());
    // Company 0: a request of one aggregate with it was refused, so that it is sent alone and bare.
    entry.company > 0 && entry.astray < ASTRAY && range.contains(entry.hash_key) && size <= most
}

/// An aggregate of the lane's first records; a single one stays as it is, as the KPL has it.
fn gather(lane: &mut Lane, range: HashKeyRange, most: usize) -> Option<Flight> {
    let mut aggregate = Aggregate::default();
    let mut users: Vec<Entry> = Vec::new();
    let mut bytes = 0;
    while let Some(front) = lane.front() {
        bytes += front.record.size();
        if !joins(front, &aggregate, range, most) || (!users.is_empty() && !lane.pace.allows(bytes)) {
            break;
        }
        let Some(entry) = lane.pop() else { break };
        let record = &entry.record;
        let hash_key = record.explicit_hash_key.map(|key| key.to_string());
        aggregate.push(&record.partition_key, hash_key.as_deref(), record.data.clone());
        users.push(entry);
    }
    if users.len() < 2 {
        return users.pop().map(Flight::One);
    }
    let hash_key = users.first()?.hash_key;
    let outer = Record {
        data: aggregate.finish(),
        partition_key: OUTER_KEY.to_owned(),
        explicit_hash_key: Some(hash_key),
        tag: 0,
    };
    Some(Flight::Many { outer, users, hash_key })
}
