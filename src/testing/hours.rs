//! The hours of an archive in memory, told by the real teller.

use std::sync::Arc;
use std::time::Duration;

use super::disk::MemoryDisk;
use super::trouble::Trouble;
use super::world::{ManualClock, World};
use crate::model::key::{Keys, Layout};
use crate::model::ledger::Begin;
use crate::model::rules::Rules;
use crate::model::shard::{Shard, StreamIdentity};
use crate::model::timestamp::Timestamp;
use crate::ports::ObjectStore;
use crate::shard::board::Promise;
use crate::shard::budget::{Budget, SpoolQuota};
use crate::shard::setup::{Next, Shared};
use crate::stop::Stop;
use crate::supervisor::hours::{HourPorts, HourSettings, HourTeller};

/// Tells all hours that are due by `now`, with what open shards promise and a listing made then.
pub fn tell_hours(
    store: &Arc<dyn ObjectStore>,
    keys: &Keys,
    stream: &StreamIdentity,
    now: Timestamp,
    shards: &[(Shard, Promise)],
) {
    let world = World::new(now);
    let trouble = Trouble::new(Arc::clone(&world), "teller", fastrand::Rng::with_seed(1));
    let shared = Shared::new(Budget::new(1, 2), SpoolQuota::new(1), Duration::from_secs(86_400));
    let _ = shared.begin.set(Begin::TRIM_HORIZON);
    let listed: Vec<Shard> = shards.iter().map(|(shard, _)| shard.clone()).collect();
    shared.board.listed(now, &listed);
    for (shard, promise) in shards {
        shared.board.promise(&shard.id, *promise);
    }
    let ports = HourPorts {
        clock: Arc::new(ManualClock::new(world, 0)),
        store: Arc::clone(store),
        disk: MemoryDisk::new(trouble),
        notifier: None,
        errors: Arc::new(|_, _| ()),
        waiting: Arc::new(|_, _| ()),
    };
    let settings = HourSettings {
        stream: stream.clone(),
        bucket: "b".to_owned(),
        keys: keys.clone(),
        layout: Layout::Hive,
        rules: Rules::default(),
    };
    let random = fastrand::Rng::with_seed(1);
    let mut teller = HourTeller::new(ports, settings, Arc::new(shared), Stop::new(), random);
    while teller.step() == Next::Again {}
}
