use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::*;
use crate::model::hour::HourTotals;
use crate::model::key::{Keys, Layout, Prefix};
use crate::model::ledger::Begin;
use crate::model::manifest::{About, HourNotice, Notice};
use crate::model::rules::Rules;
use crate::model::shard::StreamIdentity;
use crate::model::timestamp::Timestamp;
use crate::ports::{Notifier, NotifyError};
use crate::shard::budget::{Budget, SpoolQuota};
use crate::shard::setup::{Next, Shared};
use crate::spool::Outbox;
use crate::spool::outbox::HOURS;
use crate::stop::Stop;
use crate::supervisor::hours::{HourPorts, HourSettings};
use crate::testing::{ManualClock, MemoryBucket, MemoryDisk, MemoryStore, Trouble as Faulty, World};

/// Refuses every notice until it is told not to.
#[derive(Default)]
struct Topic {
    takes: AtomicBool,
}

impl Notifier for Topic {
    fn publish(&self, _: &Notice, _: &Stop) -> Result<(), NotifyError> {
        if self.takes.load(Ordering::Relaxed) {
            return Ok(());
        }
        Err(NotifyError { kind: "not_found", message: "no such topic".into() })
    }
}

fn stream() -> StreamIdentity {
    StreamIdentity { name: "clicks".into(), arn: "arn".into(), created: Timestamp::from_seconds(1) }
}

fn notice(hour: i64) -> Notice {
    let about = About::Hour(Box::new(HourNotice {
        stream: "clicks".into(),
        stream_arn: "arn".into(),
        stream_created: Timestamp::from_seconds(1),
        bucket: "b".into(),
        key: "k".into(),
        url: "s3://b/k".into(),
        hour: Timestamp::from_seconds(0).hour().plus(hour),
        sha256: String::new(),
        size: 1,
        totals: HourTotals::default(),
    }));
    Notice { version: 1, about }
}

#[test]
fn notices_that_are_refused_are_counted_and_told() {
    let world = World::new(Timestamp::from_seconds(1_000_000));
    let faulty = Faulty::new(Arc::clone(&world), "keeper", fastrand::Rng::with_seed(1));
    let clock = Arc::new(ManualClock::new(Arc::clone(&world), 0));
    let disk = MemoryDisk::new(Arc::clone(&faulty));
    let store = MemoryStore::new(MemoryBucket::new(Arc::clone(&world), None), Arc::clone(&disk), faulty);
    let mut outbox = Outbox::open(disk.clone(), HOURS).unwrap();
    (7..9).for_each(|hour| outbox.add(&notice(hour)).unwrap());
    let (topic, heard) = (Arc::new(Topic::default()), Arc::new(Mutex::new(Vec::new())));
    let told = Arc::clone(&heard);
    let ports = HourPorts {
        clock,
        store,
        disk,
        notifier: Some(topic.clone()),
        errors: Arc::new(|_, _| ()),
        waiting: Arc::new(move |waiting, trouble| {
            told.lock().unwrap().push((waiting, trouble.map(str::to_owned)));
        }),
    };
    let settings = HourSettings {
        stream: stream(),
        bucket: "b".into(),
        keys: Keys::new(&Prefix::default(), "clicks"),
        layout: Layout::Hive,
        rules: Rules::default(),
    };
    let shared = Shared::new(Budget::new(1, 2), SpoolQuota::new(1), Duration::from_secs(86_400));
    let _ = shared.begin.set(Begin::TRIM_HORIZON);
    let random = fastrand::Rng::with_seed(1);
    let mut teller = HourTeller::new(ports, settings, Arc::new(shared), Stop::new(), random);
    let last = || heard.lock().unwrap().last().cloned();

    assert!(matches!(teller.step(), Next::Wait(_)));
    let refused = "publishing the notice failed: no such topic".to_owned();
    assert_eq!(last(), Some((2, Some(refused))));
    topic.takes.store(true, Ordering::Relaxed);
    for _ in 0..100 {
        if let Next::Wait(wait) = teller.step() {
            // The world's time has whole milliseconds.
            world.advance(wait + Duration::from_millis(1));
        }
    }
    assert_eq!(last(), Some((0, None)));
}
