//! The producer on a real runtime, against a stream in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};

use fastrand::Rng;

use super::entry::tests::record;
use super::shard_map::tests::shards;
use super::*;
use crate::codec::aggregate::hash_key_of;
use crate::model::shard::{Shard, ShardId};
use crate::ports::put::Answering;
use crate::supervisor::SystemClock;

/// Stores what it is given, fails what the test says.
struct Memory {
    stored: Mutex<BTreeMap<u64, u32>>,
    order: Mutex<Vec<u64>>,
    random: Mutex<Rng>,
    /// Of a hundred entries, so many are refused.
    failing: u32,
    under_way: AtomicUsize,
    most_under_way: AtomicUsize,
    /// Never answers.
    silent: bool,
    open: u64,
}

impl Memory {
    fn new(failing: u32) -> Self {
        Self {
            stored: Mutex::default(),
            order: Mutex::default(),
            random: Mutex::new(Rng::with_seed(7)),
            failing,
            under_way: AtomicUsize::new(0),
            most_under_way: AtomicUsize::new(0),
            silent: false,
            open: 3,
        }
    }

    fn refuse(&self, record: &Record) -> PutOutcome {
        let map = ShardMap::new(shards(self.open, 0)).unwrap();
        let place = map.place(record.explicit_hash_key.unwrap_or_else(|| hash_key_of(&record.partition_key)));
        let shard = map.open().nth(place).unwrap().clone();
        if self.random.lock().unwrap().u32(0..100) < self.failing {
            let code = "ProvisionedThroughputExceededException".to_owned();
            return PutOutcome::Refused { code, message: "scripted".into() };
        }
        *self.stored.lock().unwrap().entry(record.tag).or_default() += 1;
        let mut order = self.order.lock().unwrap();
        order.push(record.tag);
        PutOutcome::Stored { shard, sequence_number: order.len().to_string().parse().unwrap() }
    }
}

impl RecordSink for Memory {
    fn facts(&self) -> Answering<'_, StreamFacts> {
        Box::pin(async { Ok(StreamFacts { max_record_bytes: 1 << 20, distribution: Distribution::ByKey }) })
    }

    fn shards(&self) -> Answering<'_, Vec<Shard>> {
        let open = self.open;
        Box::pin(async move { Ok(if open == 0 { Vec::new() } else { shards(open, 1) }) })
    }

    fn put<'a>(&'a self, records: &'a [&'a Record]) -> Answering<'a, Vec<PutOutcome>> {
        Box::pin(async move {
            assert!(records.len() <= MOST_RECORDS);
            let now = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
            self.most_under_way.fetch_max(now, Ordering::SeqCst);
            tokio::task::yield_now().await;
            if self.silent {
                std::future::pending::<()>().await;
            }
            let outcomes = records.iter().map(|record| self.refuse(record)).collect();
            self.under_way.fetch_sub(1, Ordering::SeqCst);
            Ok(outcomes)
        })
    }
}

/// Notes every call.
#[derive(Default)]
struct Notes {
    delivered: Mutex<BTreeMap<u64, ShardId>>,
    undelivered: Mutex<BTreeSet<u64>>,
    sent: Mutex<Sent>,
}

impl Watch for Notes {
    fn delivered(&self, record: &Record, stored: &Stored<'_>) {
        let before = self.delivered.lock().unwrap().insert(record.tag, stored.shard.clone());
        assert_eq!(before, None, "acknowledged twice");
    }

    fn undelivered(&self, undelivered: &Undelivered) {
        assert!(self.undelivered.lock().unwrap().insert(undelivered.record.tag));
    }

    fn sent(&self, sent: &Sent) {
        let mut sum = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        sum.delivered += sent.delivered;
        sum.retried += sent.retried;
        sum.bytes += sent.bytes;
    }
}

fn run<T>(test: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async { timeout(Duration::from_secs(120), test).await.expect("it hangs") })
}

fn quick() -> Options {
    let pace = crate::retry::Pace { first: Duration::from_millis(1), longest: Duration::from_millis(10) };
    Options { shard_limits: None, pace, buffer_time: Duration::from_millis(5), ..Options::default() }
}

async fn start(sink: &Arc<Memory>, notes: &Arc<Notes>, options: Options) -> Producer {
    let clock = Arc::new(SystemClock::new());
    Producer::start(Arc::clone(sink) as _, options, clock, Arc::clone(notes) as _).await.unwrap()
}

#[test]
fn every_record_is_stored_and_acknowledged_once_although_a_third_fails() {
    let (sink, notes) = (Arc::new(Memory::new(33)), Arc::new(Notes::default()));
    run(async {
        let producer = start(&sink, &notes, Options { queue_records: 3_000, ..quick() }).await;
        for tag in 0..20_000 {
            producer.put(record(tag, &format!("key-{tag}"), 100)).await.unwrap();
            assert!(producer.pending() <= 3_000);
        }
        assert_eq!(producer.flush().await, []);
        assert_eq!(producer.pending(), 0);
        let totals = producer.totals();
        assert_eq!((totals.delivered, totals.bytes), (20_000, 2_000_000));
        assert!(totals.retried > 5_000 && totals.retried == totals.throttled, "{totals:?}");
        assert_eq!(producer.close().await, []);
    });
    assert!(sink.stored.lock().unwrap().values().all(|times| *times == 1));
    assert_eq!(sink.stored.lock().unwrap().len(), 20_000);
    assert_eq!(notes.delivered.lock().unwrap().len(), 20_000);
    assert_eq!(notes.sent.lock().unwrap().delivered, 20_000);
    assert!(sink.most_under_way.load(Ordering::SeqCst) <= 8);
}

#[test]
fn in_order_each_key_is_stored_as_it_was_put() {
    let (sink, notes) = (Arc::new(Memory::new(20)), Arc::new(Notes::default()));
    run(async {
        let producer = start(&sink, &notes, Options { ordered: true, ..quick() }).await;
        for tag in 0..2_000 {
            producer.put(record(tag, &format!("key-{}", tag % 50), 100)).await.unwrap();
        }
        assert_eq!(producer.close().await, []);
    });
    let mut last = BTreeMap::new();
    for tag in sink.order.lock().unwrap().iter() {
        let before = last.insert(tag % 50, *tag);
        assert!(before.is_none_or(|before| before < *tag), "{tag} after {before:?}");
    }
}

#[test]
fn one_request_at_a_time_where_that_is_asked() {
    let (sink, notes) = (Arc::new(Memory::new(0)), Arc::new(Notes::default()));
    run(async {
        let producer = start(&sink, &notes, Options { in_flight: 1, ..quick() }).await;
        for tag in 0..5_000 {
            producer.put(record(tag, &format!("key-{tag}"), 100)).await.unwrap();
        }
        producer.close().await;
    });
    assert_eq!(sink.most_under_way.load(Ordering::SeqCst), 1);
}

#[test]
fn a_record_that_is_too_large_fails_alone_and_at_once() {
    let (sink, notes) = (Arc::new(Memory::new(0)), Arc::new(Notes::default()));
    run(async {
        let producer = start(&sink, &notes, quick()).await;
        producer.put(record(0, "k", 1 << 20)).await.unwrap();
        let refused = producer.put(record(1, "k", (1 << 20) + 1)).await.unwrap_err();
        assert!(matches!(refused.why, Why::TooLarge { .. }));
        producer.put(record(2, "k", 10)).await.unwrap();
        assert_eq!(producer.close().await, []);
        let after = producer.put(record(3, "k", 10)).await.unwrap_err();
        assert_eq!(after.why, Why::Ended { maybe_stored: false });
    });
    assert_eq!(sink.stored.lock().unwrap().keys().copied().collect::<Vec<_>>(), [0, 2]);
}

#[test]
fn what_is_not_answered_in_time_is_handed_back_and_marked() {
    let sink = Arc::new(Memory { silent: true, ..Memory::new(0) });
    let notes = Arc::new(Notes::default());
    run(async {
        let options = Options { in_flight: 1, ..quick() };
        let producer = start(&sink, &notes, options).await;
        for tag in 0..501 {
            producer.put(record(tag, "k", 10)).await.unwrap();
        }
        while sink.under_way.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        let left = producer.close_within(Duration::from_millis(1)).await;
        assert_eq!(left.len(), 501);
        let marked = |one: &&Undelivered| one.why == Why::Ended { maybe_stored: true };
        assert_eq!(left.iter().filter(marked).count(), 500);
    });
    assert_eq!(notes.undelivered.lock().unwrap().len(), 501);
}

#[test]
fn without_an_open_shard_it_does_not_start() {
    let sink: Arc<dyn RecordSink> = Arc::new(Memory { open: 0, ..Memory::new(0) });
    let clock = Arc::new(SystemClock::new());
    let started = run(Producer::start(sink, quick(), clock, Arc::new(Nobody)));
    let error = started.err().unwrap();
    assert_eq!(error.to_string(), "ListShards failed: the stream has no open shard");
}

/// Holds what was told as stored against what the stream did before and after.
#[derive(Default)]
struct Early {
    sink: Mutex<Option<Arc<Memory>>>,
    told: Mutex<BTreeSet<u64>>,
    most_untold: AtomicUsize,
}

impl Watch for Early {
    fn stored(&self, records: &[&Record]) {
        let sink = self.sink.lock().unwrap();
        let stored = sink.as_ref().unwrap().order.lock().unwrap().clone();
        let mut told = self.told.lock().unwrap();
        for record in records {
            // Nothing of the same key went before this was told.
            let later = stored.iter().filter(|tag| *tag % 600 == record.tag % 600 && **tag > record.tag);
            assert_eq!(later.count(), 0, "of the key of {}", record.tag);
        }
        self.most_untold.fetch_max(stored.len() - told.len(), Ordering::SeqCst);
        told.extend(records.iter().map(|record| record.tag));
    }
}

#[test]
fn what_is_stored_is_told_before_its_request_is_over_and_the_next_of_its_key_goes() {
    let (sink, early) = (Arc::new(Memory::new(10)), Arc::new(Early::default()));
    *early.sink.lock().unwrap() = Some(Arc::clone(&sink));
    run(async {
        let options = Options { ordered: true, in_flight: 2, ..quick() };
        let clock = Arc::new(SystemClock::new());
        let watch = Arc::clone(&early) as Arc<dyn Watch>;
        let producer = Producer::start(Arc::clone(&sink) as _, options, clock, watch).await.unwrap();
        for tag in 0..6_000 {
            producer.put(record(tag, &format!("key-{}", tag % 600), 100)).await.unwrap();
        }
        assert_eq!(producer.close().await, []);
        assert!(producer.has_ended());
    });
    assert_eq!(early.told.lock().unwrap().len(), 6_000);
    assert!(early.most_untold.load(Ordering::SeqCst) <= 2 * MOST_RECORDS);
}

#[test]
fn winding_up_sends_nothing_more_and_waits_for_the_answers() {
    let (sink, notes) = (Arc::new(Memory::new(0)), Arc::new(Notes::default()));
    run(async {
        let producer = start(&sink, &notes, Options { in_flight: 1, ..quick() }).await;
        for tag in 0..5_000 {
            producer.put(record(tag, &format!("key-{tag}"), 100)).await.unwrap();
        }
        let left = producer.wind_up(Duration::from_secs(60)).await;
        let stored = sink.stored.lock().unwrap().len();
        assert_eq!((left.len() + stored, producer.totals().delivered), (5_000, stored as u64));
        assert!(left.iter().all(|one| one.why == Why::Ended { maybe_stored: false }));
    });
}
