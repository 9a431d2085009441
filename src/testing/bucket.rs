//! A bucket in memory, shared by all keepers: first writer wins, lifecycle, puts that land late.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::world::World;
use crate::model::timestamp::Timestamp;

/// An object as it lies in the bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredObject {
    /// Its bytes.
    pub bytes: Arc<[u8]>,
    /// Its user metadata.
    pub metadata: Vec<(String, String)>,
    /// Its media type.
    pub content_type: String,
    /// Who put it.
    pub writer: String,
    /// When the put was sent; it may have landed later.
    pub sent: Timestamp,
}

impl StoredObject {
    /// One value of the user metadata.
    pub fn meta(&self, name: &str) -> Option<&str> {
        self.metadata.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// An object came to lie there.
    Stored,
    /// The lifecycle took it away.
    Expired,
}

/// One change of the bucket.
#[derive(Clone, Debug)]
pub struct Change {
    /// When, among all events of the run.
    pub event: u64,
    /// When.
    pub at: Timestamp,
    /// The key.
    pub key: String,
    /// What happened.
    pub what: What,
    /// The object.
    pub object: Arc<StoredObject>,
}

/// One bucket.
#[derive(Debug)]
pub struct MemoryBucket {
    pub(super) world: Arc<World>,
    /// After how long the lifecycle deletes data objects; ledgers and hour manifests never expire.
    pub lifecycle: Option<Duration>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<String, (Timestamp, Arc<StoredObject>)>,
    history: Vec<Change>,
    delayed: Vec<(Timestamp, String, Arc<StoredObject>)>,
}

impl MemoryBucket {
    /// An empty bucket.
    pub fn new(world: Arc<World>, lifecycle: Option<Duration>) -> Arc<Self> {
        Arc::new(Self { world, lifecycle, state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an object where none is; whether it was stored.
    pub fn put(&self, key: &str, object: StoredObject) -> bool {
        self.settle();
        self.store(&mut self.state(), self.world.now(), key, Arc::new(object))
    }

    /// Puts an object where none will be, when its time has come: a request that hung in the network.
    pub fn put_later(&self, key: &str, object: StoredObject, when: Timestamp) {
        self.settle();
        self.state().delayed.push((when, key.to_owned(), Arc::new(object)));
    }

    /// Puts that have not landed yet.
    pub fn in_flight(&self) -> usize {
        self.settle();
        self.state().delayed.len()
    }

    /// An object; `None` where nothing is.
    pub fn get(&self, key: &str) -> Option<Arc<StoredObject>> {
        self.settle();
        self.state().objects.get(key).map(|(_, object)| Arc::clone(object))
    }

    /// An object and when it came to lie there.
    pub fn get_with_time(&self, key: &str) -> Option<(Timestamp, Arc<StoredObject>)> {
        self.settle();
        self.state().objects.get(key).map(|(at, object)| (*at, Arc::clone(object)))
    }

    /// All keys that begin with `prefix`, in order.
    pub fn keys(&self, prefix: &str) -> Vec<String> {
        self.settle();
        let state = self.state();
        let from = state.objects.range(prefix.to_owned()..);
        from.take_while(|(key, _)| key.starts_with(prefix)).map(|(key, _)| key.clone()).collect()
    }

    /// What happened last.
    pub fn newest(&self) -> Option<Change> {
        self.settle();
        self.state().history.last().cloned()
    }

    /// Everything that ever happened.
    pub fn history(&self) -> Vec<Change> {
        self.settle();
        self.state().history.clone()
    }

    /// Lands what was to land by now and expires what was to expire, in the order of time.
    fn settle(&self) {
        let now = self.world.now();
        let mut state = self.state();
        loop {
            let landing = state.delayed.iter().map(|(when, ..)| *when).min().filter(|when| *when <= now);
            self.expire(&mut state, landing.unwrap_or(now));
            let Some(when) = landing else { return };
            let index = state.delayed.iter().position(|(due, ..)| *due == when).unwrap_or(0);
            let (_, key, object) = state.delayed.remove(index);
            // No put is on its way for as long as a lifecycle lets the same object live.
            let over = |change: &Change| change.key == key && matches!(change.what, What::Expired);
            if state.history.iter().any(over) {
                continue;
            }
            let stored = self.store(&mut state, when, &key, object);
            self.world.note(|| format!("a delayed put of {key} landed: stored {stored}"));
        }
    }

    fn expire(&self, state: &mut State, now: Timestamp) {
        let Some(life) = self.lifecycle else { return };
        let due = |(key, (put, _)): (&String, &(Timestamp, Arc<StoredObject>))| {
            // A rule for the data need not name the manifests; without them the chain begins anew.
            let kept = key.contains("/_ledger/") || key.ends_with("/_hour.json");
            (!kept && *put + life < now).then(|| (*put + life, key.clone()))
        };
        let mut gone: Vec<_> = state.objects.iter().filter_map(due).collect();
        gone.sort();
        for (at, key) in gone {
            if let Some((_, object)) = state.objects.remove(&key) {
                self.world.note(|| format!("expired {key}"));
                state.change(self.world.event(), at, key, What::Expired, object);
            }
        }
    }

    fn store(&self, state: &mut State, at: Timestamp, key: &str, object: Arc<StoredObject>) -> bool {
        if state.objects.contains_key(key) {
            return false;
        }
        state.objects.insert(key.to_owned(), (at, Arc::clone(&object)));
        state.change(self.world.event(), at, key.to_owned(), What::Stored, object);
        true
    }
}

impl State {
    fn change(&mut self, event: u64, at: Timestamp, key: String, what: What, object: Arc<StoredObject>) {
        self.history.push(Change { event, at, key, what, object });
    }
}
