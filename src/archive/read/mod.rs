//! Records out of the archive: which lines are wanted, object by object, in order.
//!
//! Owns the order of shards (parents before children), what is read ahead, and that every object is
//! proved by its entry's hash as it is read. What becomes of the lines is the caller's business.

mod lines;
mod link;
mod merge;
mod order;
mod payload;

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

pub use self::lines::Wanted;
use self::lines::{Lines, Sent};
use self::link::Links;
use super::ledgers::LedgerAt;
use super::{Archive, Selection};
use crate::model::shard::ShardId;
use crate::ports::StoreError;
use crate::stop::Stop;

/// Pieces of an object that wait to be taken: so much is read ahead of each, about a megabyte a piece.
const PIECES_AHEAD: usize = 2;

/// What is to be read.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Which shards, and what arrived when.
    pub selection: Selection,
    /// Which of the lines.
    pub wanted: Wanted,
    /// By arrival over all shards, and not shard by shard.
    pub merged: bool,
    /// Objects (or, merged, shards) that are read at the same time.
    pub at_once: usize,
    /// Only these entries; `None`: all that there are.
    pub only: Option<Entries>,
    /// So long the object of a newest entry may be on its way after the entry was put.
    pub on_its_way: Duration,
}

/// Entries of ledgers: of each, by its stream's creation in epoch seconds and its shard, ranges of serials.
pub type Entries = BTreeMap<(i64, ShardId), Vec<RangeInclusive<u64>>>;

impl Query {
    /// Whether the entry at this index is among those to be read, or one that is missing right before it.
    fn reads(&self, ledger: &LedgerAt, index: usize) -> bool {
        let Some(only) = &self.only else { return true };
        let last = ledger.serials.get(index).copied().unwrap_or_default();
        let first = ledger.missing_before(index).unwrap_or(last);
        let ranges = only.get(&(ledger.created, ledger.shard.clone()));
        let meets = |range: &RangeInclusive<u64>| *range.start() <= last && first <= *range.end();
        ranges.is_some_and(|ranges| ranges.iter().any(meets))
    }
}

/// Where a line lies in the archive: it stays there, however the archive grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineAt<'a> {
    /// The shard.
    pub shard: &'a ShardId,
    /// Its stream's creation, in epoch seconds.
    pub created: i64,
    /// The ledger entry.
    pub serial: u64,
    /// Which line of the entry's object, from 0 on.
    pub line: u64,
}

/// A ledger as far as it goes now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The shard.
    pub shard: ShardId,
    /// Its stream's creation, in epoch seconds.
    pub created: i64,
    /// The newest entry's serial.
    pub newest: u64,
}

/// What reading told beside the records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remark {
    /// Records are missing here, as the ledger says.
    Gap {
        /// The key of the entry.
        entry: String,
        /// What it says, in words.
        told: String,
    },
    /// The bucket's lifecycle has deleted the object.
    Expired {
        /// The key of the object.
        key: String,
        /// How many records it held.
        records: u64,
    },
    /// The entry is the newest of its ledger and its object is not there yet.
    OnItsWay {
        /// The shard.
        shard: ShardId,
        /// Its stream's creation, in epoch seconds.
        created: i64,
        /// The ledger entry.
        serial: u64,
        /// The key of the object.
        key: String,
        /// How many records it will hold.
        records: u64,
    },
    /// Only payloads lie in the object: all of it is given, though not all of it may have arrived
    /// within the range.
    Untimed {
        /// The key of the object.
        key: String,
        /// How many records it holds.
        records: u64,
    },
}

/// Reading ended early.
#[derive(Debug, thiserror::Error)]
pub enum ReadFailure {
    /// The store did not answer as it should.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no ledger of what was asked for, and so no archive.
    #[error("no ledger is there")]
    NoArchive,
    /// The archive is not whole here.
    #[error(
        "{key}: {reason}; `verify` tells what else is wrong, and `verify --repair` puts back what can be proved"
    )]
    Damaged {
        /// The key of the object or entry.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Only payloads lie in the object, and partition keys were asked for.
    #[error(
        "{key} holds payloads alone (format = \"payload\"): its records have no partition keys to be found or put by"
    )]
    NoKeys {
        /// The key of the object.
        key: String,
    },
    /// Whoever takes the lines did not take them.
    #[error("the records could not be written: {0}")]
    Taker(std::io::Error),
    /// A stop came first.
    #[error("interrupted")]
    Stopped,
}

/// Who takes what is read.
pub trait Taker {
    /// Whole lines, in order.
    fn lines(&mut self, lines: &[u8]) -> std::io::Result<()>;

    /// One line, where lines are merged and so come one by one.
    fn line(&mut self, _at: &LineAt<'_>, line: &[u8]) -> std::io::Result<()> {
        self.lines(line)
    }

    /// Something to know about what is not there.
    fn remark(&mut self, remark: Remark);
}

/// One ledger entry to be read with its object: its index in the ledger.
#[derive(Clone)]
struct Task {
    ledger: Arc<LedgerAt>,
    index: usize,
}

impl Archive {
    /// How far the selected shards' ledgers go now, and the ARN of the stream that they are of.
    pub fn extents(
        &self,
        selection: &Selection,
        stop: &Stop,
    ) -> Result<(Vec<Extent>, Option<String>), ReadFailure> {
        let (ledgers, _) = self.ledgers(selection, stop)?;
        let mut arn = None;
        if let Some(ledger) = ledgers.first() {
            // One place holds one ARN, so the first entry of any ledger tells it.
            let damaged = |reason: String| ReadFailure::Damaged { key: ledger.key(0), reason };
            let first = self.entry(ledger, 0, stop)?.ok_or_else(|| damaged("it is missing".to_owned()))?;
            arn = Some(first.map_err(damaged)?.entry.stream_arn);
        }
        let extent = |ledger: LedgerAt| {
            let newest = ledger.serials.last().copied()?;
            Some(Extent { shard: ledger.shard, created: ledger.created, newest })
        };
        Ok((ledgers.into_iter().filter_map(extent).collect(), arn))
    }

    /// Reads what is asked for, in order, into `taker`.
    pub fn read(&self, query: &Query, taker: &mut dyn Taker, stop: &Stop) -> Result<(), ReadFailure> {
        let (ledgers, _) = self.ledgers(&query.selection, stop)?;
        if ledgers.is_empty() {
            return Err(ReadFailure::NoArchive);
        }
        let shards = order::by_lineage(self, ledgers, &query.selection, stop)?;
        if query.merged {
            return merge::merged(self, query, shards, taker, stop);
        }
        let tasks = shards.into_iter().flat_map(|shard| {
            let indices = shard.indices();
            let ledger = Arc::new(shard.ledger);
            let of_task =
                move |index| query.reads(&ledger, index).then(|| Task { ledger: Arc::clone(&ledger), index });
            indices.filter_map(of_task)
        });
        self.in_turn(query, tasks, taker, stop)
    }

    /// Entry after entry, a few of them read ahead.
    fn in_turn(
        &self,
        query: &Query,
        mut tasks: impl Iterator<Item = Task>,
        taker: &mut dyn Taker,
        stop: &Stop,
    ) -> Result<(), ReadFailure> {
        thread::scope(|scope| {
            let mut ahead: VecDeque<Receiver<Sent>> = VecDeque::new();
            let mut links = Links::default();
            loop {
                while ahead.len() < query.at_once.max(1)
                    && let Some(task) = tasks.next()
                {
                    // And one for the entry's link.
                    let (sender, receiver) = sync_channel(PIECES_AHEAD + 1);
                    let lines = Lines { archive: self, query, stop };
                    scope.spawn(move || send_all(&lines, &task, &sender));
                    ahead.push_back(receiver);
                }
                let Some(first) = ahead.pop_front() else { return Ok(()) };
                for sent in first {
                    if stop.reason().is_some() {
                        return Err(ReadFailure::Stopped);
                    }
                    hand_over(sent, &mut links, taker)?;
                }
            }
        })
    }
}

/// Sends all of an entry. When the taker is gone there is nobody to tell.
fn send_all(lines: &Lines<'_>, task: &Task, sender: &SyncSender<Sent>) {
    if let Err(failure) = lines.of_entry(&task.ledger, task.index, &mut |sent| sender.send(sent).is_ok()) {
        let _ = sender.send(Sent::Failed(failure));
    }
}

fn hand_over(sent: Sent, links: &mut Links, taker: &mut dyn Taker) -> Result<(), ReadFailure> {
    match sent {
        Sent::Link(link) => links.take(link),
        Sent::Lines(piece) => taker.lines(&piece.text).map_err(ReadFailure::Taker),
        Sent::Remark(remark) => {
            taker.remark(remark);
            Ok(())
        }
        Sent::Failed(failure) => Err(failure),
    }
}

#[cfg(test)]
mod tests;
