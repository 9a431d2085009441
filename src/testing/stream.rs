//! A stream in memory: shards that are split, merged and trimmed, made again under the same name.
//!
//! Owns the logs and their history. How a keeper reads them, with faults, is `stream_port`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::world::World;
use crate::model::record::RawRecord;
use crate::model::sequence::SequenceNumber;
use crate::model::shard::{HashKeyRange, Shard, ShardId, StreamDescription, StreamIdentity, StreamStatus};
use crate::model::timestamp::Timestamp;

/// A record that was written, and when it truly was.
#[derive(Clone, Debug)]
pub struct Logged {
    /// As readers get it.
    pub record: RawRecord,
    /// When it was written: its retention counts from here.
    pub written: Timestamp,
}

/// All that ever happened to a shard.
#[derive(Clone, Debug)]
pub struct ShardHistory {
    /// The creation of its stream.
    pub created: Timestamp,
    /// The shard.
    pub shard: Shard,
    /// When it came into being.
    pub opened: Timestamp,
    /// When it was closed by a reshard.
    pub closed: Option<Timestamp>,
    /// When its stream was deleted.
    pub deleted: Option<Timestamp>,
    /// Every record that was ever written.
    pub records: Vec<Logged>,
}

/// How a stream behaves where AWS leaves it open.
#[derive(Clone, Copy, Debug)]
pub struct StreamSetup {
    /// How long records are kept.
    pub retention: Duration,
    /// Whether asking AT or AFTER a trimmed number silently begins at the trim horizon, instead of
    /// being refused.
    pub silent_trim: bool,
    /// The most records in a reply.
    pub reply_limit: usize,
    /// How far arrival times go backwards at most.
    pub arrival_jitter: Duration,
}

/// One stream and those that bore its name before.
#[derive(Debug)]
pub struct MemoryStream {
    pub(super) world: Arc<World>,
    pub(super) setup: StreamSetup,
    state: Mutex<State>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) identity: Option<StreamIdentity>,
    pub(super) shards: BTreeMap<ShardId, ShardHistory>,
    past: Vec<ShardHistory>,
    random: fastrand::Rng,
    shards_made: u64,
    next_number: u128,
    /// The last number of the stream that bore the name before: a number tells its stream.
    pub(super) earlier: Option<SequenceNumber>,
}

const NAME: &str = "clickstream";
const ARN: &str = "arn:aws:kinesis:eu-central-1:123456789012:stream/clickstream";

impl MemoryStream {
    /// A stream of `shards` shards, made now.
    pub fn new(world: Arc<World>, setup: StreamSetup, shards: u32, random: fastrand::Rng) -> Arc<Self> {
        let state = State {
            identity: None,
            shards: BTreeMap::new(),
            past: Vec::new(),
            random,
            shards_made: 0,
            // Close below a power of ten, so that the numbers grow by a digit in many runs.
            next_number: 999_700,
            earlier: None,
        };
        let stream = Arc::new(Self { world, setup, state: Mutex::new(state) });
        stream.create(shards);
        stream
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Deletes the stream with all its records and makes it again with `shards` shards, at least a
    /// second later.
    pub fn recreate(&self, shards: u32) {
        let now = self.world.now();
        let mut state = self.state();
        for (_, mut shard) in std::mem::take(&mut state.shards) {
            shard.deleted = Some(now);
            state.past.push(shard);
        }
        state.earlier = Some(state.take_number());
        drop(state);
        self.world.advance(Duration::from_secs(2));
        self.create(shards);
        self.world.note(|| "the stream was deleted and made again");
    }

    fn create(&self, shards: u32) {
        let created = self.world.date();
        let mut state = self.state();
        state.identity = Some(StreamIdentity { name: NAME.into(), arn: ARN.into(), created });
        state.shards_made = 0;
        let width = u128::MAX / u128::from(shards.max(1));
        for index in 0..u128::from(shards) {
            let start = index * width;
            let end = if index + 1 == u128::from(shards) { u128::MAX } else { start + width - 1 };
            state.add_shard(self.world.now(), Vec::new(), HashKeyRange { start, end });
        }
    }

    /// What DescribeStreamSummary says.
    pub fn description(&self) -> Option<StreamDescription> {
        let identity = self.state().identity.clone()?;
        Some(StreamDescription { identity, status: StreamStatus::Active, retention: self.setup.retention })
    }

    /// What ListShards says: shards that still hold, or may yet get, a record.
    pub fn listing(&self) -> Vec<Shard> {
        let state = self.state();
        let listed = state.shards.values().filter(|shard| self.is_listed(shard));
        listed.map(|shard| shard.shard.clone()).collect()
    }

    /// The open shards.
    pub fn open_shards(&self) -> Vec<ShardId> {
        let state = self.state();
        state
            .shards
            .values()
            .filter(|shard| !shard.shard.closed)
            .map(|shard| shard.shard.id.clone())
            .collect()
    }

    /// Everything that was ever written, of every creation.
    pub fn history(&self) -> Vec<ShardHistory> {
        let state = self.state();
        state.past.iter().chain(state.shards.values()).cloned().collect()
    }

    /// A producer's record. Does nothing on a shard that is closed.
    pub fn write(&self, shard: &ShardId, partition_key: Option<String>, data: Bytes) {
        let written = self.world.now();
        let mut state = self.state();
        let state = &mut *state;
        let jitter = u64::try_from(self.setup.arrival_jitter.as_millis()).unwrap_or(0);
        let back = if state.random.bool() { state.random.u64(0..=jitter) } else { 0 };
        let number = state.take_number();
        let Some(log) = state.shards.get_mut(shard).filter(|log| !log.shard.closed) else { return };
        let arrival = written - Duration::from_millis(back);
        self.world.note(|| format!("written {shard} {number} arrival {arrival}"));
        let partition_key = partition_key.map(Into::into);
        let record = RawRecord { sequence_number: number, arrival, partition_key, data };
        log.records.push(Logged { record, written });
    }

    /// Splits an open shard into two; does nothing with any other.
    pub fn split(&self, shard: &ShardId) {
        let now = self.world.now();
        let mut state = self.state();
        let Some(range) = state.close(shard, now) else { return };
        let middle = range.start + (range.end - range.start) / 2;
        let low = HashKeyRange { start: range.start, end: middle };
        let high = HashKeyRange { start: middle + 1, end: range.end };
        state.add_shard(now, vec![shard.clone()], low);
        state.add_shard(now, vec![shard.clone()], high);
        self.world.note(|| format!("split {shard}"));
    }

    /// Merges two open shards, neighbours in the key space; does nothing with any others.
    pub fn merge(&self, one: &ShardId, other: &ShardId) {
        let now = self.world.now();
        let mut state = self.state();
        let open = |id: &ShardId| state.shards.get(id).filter(|shard| !shard.shard.closed);
        let (Some(a), Some(b)) = (open(one), open(other)) else { return };
        let (low, high) =
            (a.shard.range.start.min(b.shard.range.start), a.shard.range.end.max(b.shard.range.end));
        let adjacent = a.shard.range.end.wrapping_add(1) == b.shard.range.start
            || b.shard.range.end.wrapping_add(1) == a.shard.range.start;
        if one == other || !adjacent {
            return;
        }
        state.close(one, now);
        state.close(other, now);
        state.add_shard(now, vec![one.clone(), other.clone()], HashKeyRange { start: low, end: high });
        self.world.note(|| format!("merged {one} and {other}"));
    }

    /// Whether the stream no longer holds a record that was written then.
    pub fn is_trimmed(&self, written: Timestamp) -> bool {
        written + self.setup.retention < self.world.now()
    }

    pub(super) fn is_listed(&self, shard: &ShardHistory) -> bool {
        shard.closed.is_none_or(|closed| !self.is_trimmed(closed))
    }

    /// The index of the first record that is still there.
    pub(super) fn horizon(&self, shard: &ShardHistory) -> usize {
        shard.records.partition_point(|logged| self.is_trimmed(logged.written))
    }
}

impl State {
    fn take_number(&mut self) -> SequenceNumber {
        self.next_number += u128::from(self.random.u32(1..=9));
        // Digits only, so it always parses; a zero stands in for what cannot be.
        let text = self.next_number.to_string();
        text.parse().unwrap_or_else(|_| zero())
    }

    fn add_shard(&mut self, opened: Timestamp, parents: Vec<ShardId>, range: HashKeyRange) {
        let id = ShardId::new(format!("shardId-{:012}", self.shards_made));
        self.shards_made += 1;
        let shard = Shard { id: id.clone(), parents, range, closed: false };
        let created = self.identity.as_ref().map_or(opened, |identity| identity.created);
        let records = Vec::new();
        self.shards.insert(id, ShardHistory { created, shard, opened, closed: None, deleted: None, records });
    }

    fn close(&mut self, shard: &ShardId, now: Timestamp) -> Option<HashKeyRange> {
        let log = self.shards.get_mut(shard).filter(|log| !log.shard.closed)?;
        log.shard.closed = true;
        log.closed = Some(now);
        Some(log.shard.range)
    }

    pub(super) fn children(&self, shard: &ShardId) -> Vec<ShardId> {
        let of = |log: &&ShardHistory| log.shard.parents.contains(shard);
        self.shards.values().filter(of).map(|log| log.shard.id.clone()).collect()
    }
}

#[allow(clippy::unwrap_used, reason = "a constant")]
fn zero() -> SequenceNumber {
    "0".parse().unwrap()
}
