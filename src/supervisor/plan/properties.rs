//! Whatever a stream does to its shards and whatever befalls the threads: in the end every shard runs or
//! is done, and the open ones that run cover the key space.

use std::collections::BTreeSet;
use std::ops::Range;

use proptest::prelude::*;

use super::*;

/// What may happen; the numbers pick a shard.
#[derive(Clone, Copy, Debug)]
enum Event {
    Split(usize),
    Merge(usize),
    /// A shard that was closed is not listed any more.
    Expires(usize),
    /// A listing is taken, and is heard of only later.
    Listing,
    Heard,
    ShardEnds(usize),
    ThreadDies(usize),
    /// A thread that was told to stop does.
    ThreadStops(usize),
    Act,
    /// The process is killed and started again; its disk may be lost.
    Restart {
        disk_lost: bool,
    },
    /// The bucket tells which ledgers it has.
    Ledgers,
}

fn event() -> impl Strategy<Value = Event> {
    const ANY: Range<usize> = 0..64;
    prop_oneof![
        3 => ANY.prop_map(Event::Split),
        3 => ANY.prop_map(Event::Merge),
        2 => ANY.prop_map(Event::Expires),
        3 => Just(Event::Listing),
        3 => Just(Event::Heard),
        4 => ANY.prop_map(Event::ShardEnds),
        2 => ANY.prop_map(Event::ThreadDies),
        2 => ANY.prop_map(Event::ThreadStops),
        4 => Just(Event::Act),
        1 => any::<bool>().prop_map(|disk_lost| Event::Restart { disk_lost }),
        1 => Just(Event::Ledgers),
    ]
}

/// A stream, the bucket that keeps it, and a process that comes and goes.
#[derive(Default)]
struct World {
    /// Every shard that there ever was, by number.
    shards: Vec<Shard>,
    /// Those not listed any more.
    expired: BTreeSet<usize>,
    /// Those that have a ledger: a thread was started for them once.
    begun: BTreeSet<usize>,
    /// Those whose ledger has its end.
    ended: BTreeSet<usize>,
    /// A listing on its way.
    listing: Option<Vec<Shard>>,
    view: View,
    now: Duration,
}

fn id(number: usize) -> ShardId {
    ShardId::new(format!("shardId-{number:012}"))
}

fn number(folder: &str) -> usize {
    folder.trim_start_matches("shardId-").parse().unwrap()
}

impl World {
    fn new() -> Self {
        let mut world = Self::default();
        world.make(&[], HashKeyRange::WHOLE);
        world
    }

    fn make(&mut self, parents: &[usize], range: HashKeyRange) {
        let parents = parents.iter().map(|&parent| id(parent)).collect();
        self.shards.push(Shard { id: id(self.shards.len()), parents, range, closed: false });
    }

    /// The open shards by their place in the key space.
    fn open(&self) -> Vec<usize> {
        let mut open: Vec<usize> = (0..self.shards.len()).filter(|&n| !self.shards[n].closed).collect();
        open.sort_by_key(|&n| self.shards[n].range.start);
        open
    }

    fn split(&mut self, parent: usize) {
        let HashKeyRange { start, end } = self.shards[parent].range;
        if end - start > 1 {
            let middle = start + (end - start) / 2;
            self.shards[parent].closed = true;
            self.make(&[parent], HashKeyRange { start, end: middle });
            self.make(&[parent], HashKeyRange { start: middle + 1, end });
        }
    }

    fn merge(&mut self, low: usize, high: usize) {
        let range = HashKeyRange { start: self.shards[low].range.start, end: self.shards[high].range.end };
        self.shards[low].closed = true;
        self.shards[high].closed = true;
        self.make(&[low, high], range);
    }

    fn listed(&self) -> Vec<Shard> {
        let listed = (0..self.shards.len()).filter(|n| !self.expired.contains(n));
        listed.map(|n| self.shards[n].clone()).collect()
    }

    fn act(&mut self) {
        let plan = self.view.plan(self.now);
        for action in plan.actions {
            match action {
                Action::Start(start) => self.start(&start),
                Action::Stop(folder) => {
                    let running = self.view.running.get_mut(&folder).unwrap();
                    assert!(!running.stopping, "{folder} was told to stop already");
                    running.stopping = true;
                }
            }
        }
        assert!(plan.retry_at.is_none_or(|at| at > self.now));
    }

    fn start(&mut self, start: &Start) {
        let number = number(&start.folder);
        if start.mode == Mode::Unlisted {
            // It would be given its end, and that can't be undone.
            assert!(self.expired.contains(&number), "{} is still there", start.folder);
        }
        let thread = Running { mode: start.mode, stopping: false };
        let before = self.view.running.insert(start.folder.clone(), thread);
        assert_eq!(before, None, "{} runs twice", start.folder);
        self.view.retry_at.remove(&start.folder);
        self.begun.insert(number);
    }

    /// The thread has done what it was started for, if that can be.
    fn finish(&mut self, number: usize) {
        let name = id(number).as_str().to_owned();
        let Some(running) = self.view.running.get(&name) else { return };
        let done = match running.mode {
            Mode::Read if !self.shards[number].closed => return,
            Mode::Read | Mode::Unlisted => Done::Ended,
            Mode::Drain | Mode::Deliver => Done::Drained,
        };
        self.view.running.remove(&name);
        self.view.done.insert(name, done);
        if done == Done::Ended {
            self.ended.insert(number);
        }
    }

    fn restart(&mut self, disk_lost: bool) {
        self.view = View::default();
        self.listing = None;
        if !disk_lost {
            self.begun.iter().for_each(|&number| self.view.census.known(id(number)));
            self.view.pending = self.begun.iter().filter(|&n| n % 2 == 0).map(|&n| id(n)).collect();
        }
    }

    fn apply(&mut self, event: Event) {
        let (open, any) = (self.open(), |pick: usize, world: &Self| pick % world.shards.len());
        match event {
            Event::Split(pick) => self.split(open[pick % open.len()]),
            Event::Merge(pick) if open.len() > 1 => {
                let at = pick % (open.len() - 1);
                self.merge(open[at], open[at + 1]);
            }
            Event::Merge(_) => {}
            Event::Expires(pick) => {
                let number = any(pick, self);
                if self.shards[number].closed {
                    self.expired.insert(number);
                }
            }
            Event::Listing => self.listing = Some(self.listed()),
            Event::Heard => {
                if let Some(listing) = self.listing.take() {
                    self.view.census.listing(&listing);
                }
            }
            Event::ShardEnds(pick) => self.finish(any(pick, self)),
            Event::ThreadDies(pick) => {
                let name = id(any(pick, self)).as_str().to_owned();
                if self.view.running.remove(&name).is_some() {
                    self.view.retry_at.insert(name, self.now + Duration::from_secs(3));
                }
            }
            Event::ThreadStops(pick) => {
                let name = id(any(pick, self)).as_str().to_owned();
                if self.view.running.get(&name).is_some_and(|running| running.stopping) {
                    self.view.running.remove(&name);
                }
            }
            Event::Act => self.act(),
            Event::Restart { disk_lost } => self.restart(disk_lost),
            Event::Ledgers => self.begun.iter().for_each(|&number| self.view.census.known(id(number))),
        }
        self.now += Duration::from_secs(1);
    }

    /// Nothing more befalls the stream or the threads; all that is under way comes to its end.
    fn calm_down(&mut self) {
        self.apply(Event::Ledgers);
        // So many rounds as it takes to look at all that are not listed.
        for _ in 0..LISTINGS_WITHOUT as usize + 3 + self.shards.len() / UNLISTED_AT_ONCE {
            self.apply(Event::Listing);
            self.apply(Event::Heard);
            self.now += Duration::from_secs(60);
            self.act();
            (0..self.shards.len()).for_each(|number| self.apply(Event::ThreadStops(number)));
            let running: Vec<String> = self.view.running.keys().cloned().collect();
            for folder in running {
                if self.view.running[&folder].mode != Mode::Read {
                    self.finish(number(&folder));
                }
            }
        }
        self.act();
    }
}

proptest! {
    #[test]
    fn after_any_reshards_every_shard_runs_or_is_done(events in prop::collection::vec(event(), 0..200)) {
        let mut world = World::new();
        events.into_iter().for_each(|event| world.apply(event));
        world.calm_down();
        for (number, shard) in world.shards.iter().enumerate() {
            let name = shard.id.as_str();
            let running = world.view.running.get(name);
            let ended = world.view.done.get(name) == Some(&Done::Ended);
            if !shard.closed {
                prop_assert_eq!(running, Some(&Running { mode: Mode::Read, stopping: false }), "{} is open", name);
            }
            if !world.expired.contains(&number) {
                prop_assert!(running.is_some() != ended, "{name} is listed: it is read, or was to its end");
            } else if world.begun.contains(&number) {
                prop_assert!(running.is_some() || world.ended.contains(&number), "{name} was begun and has no end");
            } else {
                prop_assert!(running.is_none(), "nothing is known of {name}");
            }
        }
        let reads = |id: &ShardId| world.view.running.contains_key(id.as_str());
        prop_assert_eq!(world.view.census.covered(reads), 1.0);
        prop_assert_eq!(world.view.plan(world.now), Plan::default());
    }
}
