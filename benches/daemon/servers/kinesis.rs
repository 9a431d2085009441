//! The stream: rendered replies as fast as they are asked for, or records as time passes.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::super::events::event;
use super::super::input::{record, sequence};
use super::lags::Lags;
use super::{Plan, Request, State};

/// The records of [`Plan::Paced`] come round again after so many.
const DIFFERENT: u64 = 2_000;
/// The most records in a reply.
const MOST: u64 = 10_000;
/// Within a rendered record, what differs when it comes round again: `1.795324260123E9`, and, from its end,
/// 20 digits of the sequence number.
const ARRIVAL: usize = 31;
const DIGITS: usize = 20;

pub struct Stream {
    plan: Plan,
    /// [`Plan::Full`]: up to the iterator, which differs from shard to shard. [`Plan::Paced`]: a record each.
    rendered: Vec<Vec<u8>>,
    began: Instant,
    /// `began`, by the wall clock in milliseconds.
    began_at: u64,
    /// Microseconds after `began`.
    ended: AtomicU64,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    begun: BTreeSet<u64>,
    /// Shards that were last read to the tip.
    drained: BTreeSet<u64>,
    lags: Lags,
}

impl Stream {
    /// The stream, bytes of payload in a shard, and its records.
    pub fn new(plan: Plan) -> super::super::Outcome<(Self, u64, u64)> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let now = u64::try_from(now.as_millis())?;
        let mut sums = (0, 0);
        let rendered = match plan {
            Plan::Full { content, replies, .. } => {
                // It all lies in this hour or the one before.
                let input = content.replies(replies, now - 600_000)?;
                sums = (input.payload, input.records);
                let begin = |records: Vec<u8>| [b"{\"Records\":[", records.as_slice(), b"]"].concat();
                input.replies.into_iter().map(begin).collect()
            }
            Plan::Paced { .. } => {
                let mut random = fastrand::Rng::with_seed(1);
                let mut render = |number| {
                    let data = event(&mut random, number);
                    record(number, now, data.as_bytes(), random.u32(1..20_000))
                };
                (0..DIFFERENT).map(&mut render).collect()
            }
        };
        let (began, ended) = (Instant::now(), AtomicU64::new(u64::MAX));
        let stream = Self { plan, rendered, began, began_at: now, ended, seen: Mutex::default() };
        Ok((stream, sums.0, sums.1))
    }

    pub fn forget_lags(&self) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).lags = Lags::default();
    }

    /// Nothing is written from now on.
    pub fn end(&self) {
        self.ended.store(self.micros(), Ordering::SeqCst);
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).drained.clear();
    }

    pub fn tell(&self, state: &mut State) {
        let now = self.micros();
        if let Plan::Paced { shards, .. } = self.plan {
            state.written = (0..shards).map(|shard| self.written(shard, now)).sum();
        }
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        (state.begun, state.drained) = (seen.begun.len() as u64, seen.drained.len() as u64);
        [state.median, state.p99, state.longest] = seen.lags.told();
    }

    fn micros(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// How many records the shard has at this time.
    fn written(&self, shard: u64, now: u64) -> u64 {
        let Plan::Paced { shards, every_micros } = self.plan else { return 0 };
        let now = now.min(self.ended.load(Ordering::SeqCst));
        // The shards' records are spread evenly over the time between two of one shard.
        (now + every_micros * shard / shards).checked_div(every_micros).unwrap_or(0)
    }

    /// When a record was written, in microseconds after `began`.
    fn written_at(&self, shard: u64, record: u64) -> u64 {
        let Plan::Paced { shards, every_micros } = self.plan else { return 0 };
        (every_micros * (record + 1)).saturating_sub(every_micros * shard / shards)
    }

    /// The answer in two pieces.
    pub fn answer<'a>(&'a self, request: &Request, room: &'a mut Vec<u8>) -> (&'a [u8], String) {
        let asked: serde_json::Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let text = |name: &str| asked[name].as_str().unwrap_or_default();
        let answer = match request.header("x-amz-target").rsplit('.').next() {
            Some("GetRecords") => {
                let (shard, from) = text("ShardIterator").split_once('/').unwrap_or(("0", "0"));
                let (shard, from) = (shard.parse().unwrap_or(0), from.parse().unwrap_or(0));
                return match self.plan {
                    Plan::Full { .. } => self.rendered_reply(shard, from),
                    Plan::Paced { .. } => self.reply_of_now(shard, from, room),
                };
            }
            Some("GetShardIterator") => {
                let shard: u64 = text("ShardId").trim_start_matches("shardId-").parse().unwrap_or(0);
                format!(r#"{{"ShardIterator":"{shard}/0"}}"#)
            }
            Some("ListShards") => {
                let shards = self.plan.shards();
                let shards: Vec<_> = (0..shards).map(|shard| listed(shard, shards)).collect();
                format!(r#"{{"Shards":[{}]}}"#, shards.join(","))
            }
            _ => {
                let created = self.began_at / 1000 - 864_000;
                let (stream, shards) = (r#""StreamName":"bench","StreamARN":"#, self.plan.shards());
                format!(
                    r#"{{"StreamDescriptionSummary":{{{stream}"arn:aws:kinesis:us-east-1:123456789012:stream/bench","StreamStatus":"ACTIVE","RetentionPeriodHours":8760,"StreamCreationTimestamp":{created},"EnhancedMonitoring":[],"OpenShardCount":{shards}}}}}"#
                )
            }
        };
        (b"", answer)
    }

    fn rendered_reply(&self, shard: u64, reply: u64) -> (&[u8], String) {
        let at = usize::try_from(reply).unwrap_or(usize::MAX);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.begun.insert(shard);
        let Some(records) = self.rendered.get(at) else {
            seen.drained.insert(shard);
            return (b"{\"Records\":[]", next(shard, reply, 0));
        };
        let behind = if at + 1 < self.rendered.len() { 60_000 } else { 0 };
        (records, next(shard, reply + 1, behind))
    }

    fn reply_of_now<'a>(&self, shard: u64, from: u64, room: &'a mut Vec<u8>) -> (&'a [u8], String) {
        let now = self.micros();
        let written = self.written(shard, now);
        let to = written.min(from + MOST);
        room.clear();
        room.extend_from_slice(b"{\"Records\":[");
        for record in from..to {
            if record > from {
                room.push(b',');
            }
            self.render(shard, record, room);
        }
        room.push(b']');
        let behind = if to < written { (now - self.written_at(shard, to).min(now)) / 1000 } else { 0 };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.begun.insert(shard);
        if to == from {
            seen.drained.insert(shard);
        } else {
            seen.drained.remove(&shard);
        }
        for record in from..to {
            seen.lags.take(now.saturating_sub(self.written_at(shard, record)));
        }
        (room, next(shard, to.max(from), behind))
    }

    fn render(&self, shard: u64, record: u64, room: &mut Vec<u8>) {
        let Some(template) = usize::try_from(record % DIFFERENT).ok().and_then(|at| self.rendered.get(at))
        else {
            return;
        };
        let begin = room.len();
        room.extend_from_slice(template);
        let millis = self.began_at + self.written_at(shard, record) / 1000;
        room[begin + ARRIVAL] = b'0' + (millis / 1_000_000_000_000) as u8;
        patch(&mut room[begin + ARRIVAL + 2..begin + ARRIVAL + 14], millis);
        let end = room.len() - 2;
        patch(&mut room[end - DIGITS..end], sequence(record));
    }
}

/// Writes the last digits of a number over others.
fn patch(digits: &mut [u8], mut number: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

fn next(shard: u64, place: u64, behind: u64) -> String {
    format!(r#","NextShardIterator":"{shard}/{place}","MillisBehindLatest":{behind}}}"#)
}

fn listed(shard: u64, shards: u64) -> String {
    let width = u128::MAX / u128::from(shards);
    let start = width * u128::from(shard);
    let end = if shard + 1 == shards { u128::MAX } else { start + width - 1 };
    format!(
        r#"{{"ShardId":"shardId-{shard:012}","HashKeyRange":{{"StartingHashKey":"{start}","EndingHashKey":"{end}"}},"SequenceNumberRange":{{"StartingSequenceNumber":"49"}}}}"#
    )
}
