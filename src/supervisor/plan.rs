//! What is to run: from what is known of the shards to threads to be started and stopped.
//!
//! Pure. The loop tells it what it saw, asks for a plan and carries it out.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::shard::{HashKeyRange, Shard, ShardId};
use crate::shard::setup::Mode;
use crate::spool::OldFolder;

/// A shard is taken for gone when this many complete listings in a row lack it. A shard wrongly
/// taken for gone would be given its end, and that can't be undone; waiting costs nothing.
pub const LISTINGS_WITHOUT: u32 = 3;

/// So many shards that are not listed are looked at side by side: most have their end already, and
/// a stream that reshards for years has thousands of them.
pub const UNLISTED_AT_ONCE: usize = 16;

/// Which shards there are, as the listings, the disk and the bucket tell.
#[derive(Clone, Debug, Default)]
pub struct Census {
    listed: Option<BTreeMap<ShardId, Shard>>,
    /// Seen once, on disk, in the bucket or in an earlier listing, and not in the latest.
    absent: BTreeMap<ShardId, Absent>,
}

#[derive(Clone, Debug)]
struct Absent {
    shard: Shard,
    listings: u32,
}

impl Census {
    /// The disk or the bucket knows the shard, so it was read once.
    pub fn known(&mut self, id: ShardId) {
        if !self.is_listed(&id) {
            // Its place in the key space is in its `begin` entry; nothing here depends on it.
            let shard =
                Shard { id: id.clone(), parents: Vec::new(), range: HashKeyRange::WHOLE, closed: true };
            self.absent.entry(id).or_insert(Absent { shard, listings: 0 });
        }
    }

    /// A complete listing of the shards.
    pub fn listing(&mut self, shards: &[Shard]) {
        let listed: BTreeMap<ShardId, Shard> =
            shards.iter().map(|shard| (shard.id.clone(), shard.clone())).collect();
        for (id, shard) in self.listed.take().unwrap_or_default() {
            self.absent.entry(id).or_insert(Absent { shard, listings: 0 });
        }
        self.absent.retain(|id, _| !listed.contains_key(id));
        for absent in self.absent.values_mut() {
            absent.listings = absent.listings.saturating_add(1);
        }
        self.listed = Some(listed);
    }

    /// All that were ever seen.
    pub fn ids(&self) -> impl Iterator<Item = &ShardId> {
        self.listed.iter().flat_map(BTreeMap::keys).chain(self.absent.keys())
    }

    /// Whether there was a complete listing yet.
    pub fn has_listing(&self) -> bool {
        self.listed.is_some()
    }

    /// Whether the latest listing has the shard.
    pub fn is_listed(&self, id: &ShardId) -> bool {
        self.listed.as_ref().is_some_and(|listed| listed.contains_key(id))
    }

    fn shards(&self) -> impl Iterator<Item = &Shard> {
        self.listed.iter().flat_map(BTreeMap::values)
    }

    fn gone(&self) -> impl Iterator<Item = &Shard> {
        let gone = self.absent.values().filter(|absent| absent.listings >= LISTINGS_WITHOUT);
        gone.map(|absent| &absent.shard)
    }

    /// The share of the key space that open shards cover for which `runs` holds.
    pub fn covered(&self, runs: impl Fn(&ShardId) -> bool) -> f64 {
        let open = self.shards().filter(|shard| !shard.closed && runs(&shard.id));
        key_space_covered(open.map(|shard| shard.range).collect())
    }
}

/// What a thread that ended has finished for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// The shard's ledger has its end.
    Ended,
    /// What was sealed is delivered.
    Drained,
}

/// A thread, as far as a plan depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Running {
    /// What it does.
    pub mode: Mode,
    /// Whether it was told to stop.
    pub stopping: bool,
}

/// All that a plan depends on.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// Which shards there are.
    pub census: Census,
    /// Shards of this creation with something to deliver on disk: matters only until the first listing.
    pub pending: BTreeSet<ShardId>,
    /// The stream was not found when it was last looked at.
    pub away: bool,
    /// Folders of earlier creations.
    pub old: Vec<OldFolder>,
    /// Threads by folder.
    pub running: BTreeMap<String, Running>,
    /// What needs no thread any more, by folder.
    pub done: BTreeMap<String, Done>,
    /// Threads that failed, by folder: not to be started before then (monotonic).
    pub retry_at: BTreeMap<String, Duration>,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start a thread.
    Start(Start),
    /// Tell the thread of this folder to stop: something else is to be done for the shard.
    Stop(String),
}

/// A thread to be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// The folder.
    pub folder: String,
    /// The shard.
    pub shard: Shard,
    /// Of an earlier creation of the stream.
    pub old: Option<OldFolder>,
    /// What to do.
    pub mode: Mode,
}

/// What to do now, and when to plan again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// In this order.
    pub actions: Vec<Action>,
    /// When the next thread that failed may be started again (monotonic).
    pub retry_at: Option<Duration>,
}

impl View {
    /// What should run.
    fn wanted(&self) -> Vec<Start> {
        let of = |shard: &Shard, mode| Start {
            folder: shard.id.as_str().to_owned(),
            shard: shard.clone(),
            old: None,
            mode,
        };
        let mut wanted: Vec<Start> = self.census.shards().map(|shard| of(shard, Mode::Read)).collect();
        wanted.extend(self.census.gone().map(|shard| of(shard, Mode::Unlisted)));
        let unseen = |id: &ShardId| Shard {
            id: id.clone(),
            parents: Vec::new(),
            range: HashKeyRange::WHOLE,
            closed: true,
        };
        if !self.census.has_listing() {
            wanted.extend(self.pending.iter().map(|id| of(&unseen(id), Mode::Deliver)));
        }
        wanted.extend(self.old.iter().map(|old| Start {
            folder: old.folder.clone(),
            shard: unseen(&old.shard),
            old: Some(old.clone()),
            mode: Mode::Drain,
        }));
        wanted
    }

    fn is_done(&self, start: &Start) -> bool {
        match self.done.get(&start.folder) {
            Some(Done::Ended) => true,
            Some(Done::Drained) => matches!(start.mode, Mode::Drain | Mode::Deliver),
            None => false,
        }
    }

    /// What to do at the monotonic instant `now`.
    pub fn plan(&self, now: Duration) -> Plan {
        let mut plan = Plan::default();
        let unlisted = self.running.values().filter(|running| running.mode == Mode::Unlisted).count();
        let mut room = UNLISTED_AT_ONCE.saturating_sub(unlisted);
        for mut start in self.wanted() {
            if self.away && matches!(start.mode, Mode::Read | Mode::Unlisted) {
                // What still runs finds out by itself, and the rest delivers what is sealed.
                if self.running.contains_key(&start.folder) {
                    continue;
                }
                start.mode = Mode::Deliver;
            }
            if self.is_done(&start) {
                continue;
            }
            if let Some(running) = self.running.get(&start.folder) {
                if running.mode != start.mode && !running.stopping {
                    plan.actions.push(Action::Stop(start.folder));
                }
                continue;
            }
            if let Some(&at) = self.retry_at.get(&start.folder)
                && at > now
            {
                plan.retry_at = Some(plan.retry_at.map_or(at, |earliest| earliest.min(at)));
                continue;
            }
            if start.mode == Mode::Unlisted {
                if room == 0 {
                    continue;
                }
                room -= 1;
            }
            plan.actions.push(Action::Start(start));
        }
        plan
    }
}

/// The share of the hash key space that the ranges cover together.
pub fn key_space_covered(mut ranges: Vec<HashKeyRange>) -> f64 {
    ranges.sort_by_key(|range| range.start);
    // The lowest key that no range covers so far; none: all are covered.
    let mut next = Some(0_u128);
    let mut missing = 0_u128;
    for range in ranges {
        let Some(from) = next else { break };
        missing += range.start.saturating_sub(from);
        if range.end >= from {
            next = range.end.checked_add(1);
        }
    }
    let missing = missing as f64 + next.map_or(0.0, |from| (u128::MAX - from) as f64 + 1.0);
    1.0 - missing / 2_f64.powi(128)
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
