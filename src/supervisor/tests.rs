//! The loop with a stream, a bucket and state machines that the test holds in its hands.

mod fakes;
mod remote;

use std::path::Path;
use std::thread;
use std::time::Duration;

use fakes::{Bench, Does, Seen};

use super::*;
use crate::error::{ErrorKind, Failure};
use crate::model::metric::Gauge;
use crate::model::shard::{ShardId, StreamStatus};
use crate::ports::{Disk, StreamErrorKind};
use crate::spool::{Identity, StateLock};

/// Runs the supervisor while `test` looks on, then stops it.
fn while_running(bench: &Bench, test: impl FnOnce(&Control)) -> Result<End, Failure> {
    let control = Control::new();
    let supervisor = bench.supervisor();
    thread::scope(|scope| {
        let running = scope.spawn(|| supervisor.run(&control));
        // A failed assertion must not leave the supervisor running, or the scope would never end.
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| test(&control)));
        if control.requested().is_none() {
            control.stop();
        }
        let end = running.join().unwrap();
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
        end
    })
}

#[test]
fn every_shard_runs_until_the_stop_and_is_joined() {
    let bench = Bench::new(2);
    let end = while_running(&bench, |control| {
        bench.wait("s-0 opened Read");
        bench.wait("s-1 opened Read");
        bench.wait_until("healthy", || bench.meters.registry.health().is_good());
        bench.wait("s-0 begun");
        control.seal_now();
        bench.wait("s-0 seal 1");
        bench.wait("s-1 seal 1");
        let whole = Seen { restarts: 0, running: 2, covered: 1.0 };
        bench.wait_until("gauges", || bench.meters.seen() == whole);
    });
    assert_eq!(end.unwrap(), End::Stopped);
    assert!(bench.saw("s-0 closed Requested") && bench.saw("s-1 closed Requested"));
    assert_eq!(bench.count("s-0 opened Read"), 1);
    StateLock::acquire(bench.state_dir()).unwrap();
}

#[test]
fn a_reload_ends_the_run_and_the_next_begins_anew() {
    let bench = Bench::new(1);
    let end = while_running(&bench, |control| {
        bench.wait("s-0 opened Read");
        control.reload();
    });
    assert_eq!(end.unwrap(), End::Reload);
    let keeper = Identity::read(&*bench.disk).unwrap();
    assert_eq!(while_running(&bench, |_| bench.wait_count("s-0 opened Read", 2)).unwrap(), End::Stopped);
    assert_eq!(Identity::read(&*bench.disk).unwrap(), keeper);
}

#[test]
fn a_thread_that_dies_is_started_again_and_counted() {
    let bench = Bench::new(1);
    bench.script("s-0", &[Does::Panic, Does::FailToOpen, Does::Run]);
    while_running(&bench, |_| {
        bench.wait("s-0 opened Read");
        assert_eq!(bench.meters.seen().restarts, 1);
    })
    .unwrap();
    assert!(bench.saw("s-0 panics") && bench.saw("s-0 fails to open"));
}

#[test]
fn a_reshard_starts_children_and_ends_parents() {
    let bench = Bench::new(1);
    while_running(&bench, |_| {
        bench.wait("s-0 opened Read");
        bench.stream.split("s-0", ["s-1", "s-2"]);
        bench.wait("s-1 opened Read");
        bench.wait("s-2 opened Read");
        bench.script("s-0", &[Does::End]);
        bench.wait("s-0 closed end");
        let looks = bench.stream.looks();
        bench.wait_until("three more looks", || bench.stream.looks() >= looks + 3);
        bench.stream.forget("s-0");
        let looks = bench.stream.looks();
        bench.wait_until("five more looks", || bench.stream.looks() >= looks + 5);
    })
    .unwrap();
    assert_eq!(bench.count("s-0 opened Read"), 1, "an ended shard is not started again");
    assert_eq!(bench.count("s-0 opened Unlisted"), 0);
}

#[test]
fn a_shard_known_to_disk_or_bucket_alone_is_given_its_end() {
    let bench = Bench::new(1);
    bench.disk.write(Path::new("spool/s-8/1.json"), &[b"{}"]).unwrap();
    bench.store.lay_folder("stream/_ledger/s-9-1000/");
    bench.store.lay_folder("stream/_ledger/s-0-1000/");
    bench.store.lay_folder("stream/_ledger/s-7-999/");
    bench.script("s-9", &[Does::End]);
    while_running(&bench, |_| {
        bench.wait("s-8 opened Unlisted");
        bench.wait("s-9 closed end");
    })
    .unwrap();
    assert!(bench.stream.looks() >= plan::LISTINGS_WITHOUT as usize);
    assert_eq!((bench.count("s-9 opened"), bench.count("s-7 opened")), (1, 0));
}

#[test]
fn a_stream_made_again_gets_new_threads_and_the_old_ones_drain() {
    let bench = Bench::new(1);
    while_running(&bench, |_| {
        bench.wait("s-0 opened Read");
        let manifest = bench.manifest("s-0");
        bench.disk.write(Path::new("spool/s-0/1.json"), &[manifest.as_bytes()]).unwrap();
        bench.script("s-0@1000", &[Does::Drain]);
        bench.stream.make_again();
        bench.wait("s-0 closed StreamReplaced");
        bench.wait_count("s-0 opened Read", 2);
        bench.wait("s-0@1000 opened Drain 1000");
    })
    .unwrap();
    let identity = Identity::read(&*bench.disk).unwrap().unwrap();
    assert_eq!(identity.stream_created.as_seconds(), 2000);
    assert_eq!(bench.count("s-0@1000 opened"), 1);
    assert!(bench.disk.read(Path::new("spool/s-0@1000/1.json")).unwrap().is_some());
}

#[test]
fn shards_that_a_stream_made_again_does_not_have_keep_no_gauges() {
    let bench = Bench::new(2);
    let used = || bench.meters.registry.snapshot().gauge(Gauge::RetentionUsed);
    while_running(&bench, |_| {
        bench.wait("s-1 opened Read");
        bench.meters.registry.shard(&ShardId::new("s-1")).set(Gauge::RetentionUsed, 0.9);
        assert_eq!(used(), Some(0.9));
        bench.stream.make_again_without("s-1");
        bench.wait_count("s-0 opened Read", 2);
        assert_eq!(used(), None);
        bench.meters.registry.shard(&ShardId::new("s-0")).set(Gauge::RetentionUsed, 0.1);
        assert_eq!(used(), Some(0.1), "what goes on is shown");
    })
    .unwrap();
    assert_eq!(bench.count("s-1 opened"), 1);
}

#[test]
fn a_missing_stream_is_waited_for() {
    let bench = Bench::new(1);
    bench.stream.fail(Some(StreamErrorKind::NotFound));
    while_running(&bench, |_| {
        bench.wait_until("it waits", || {
            bench.meters.registry.health().to_string().contains("waiting for stream: it does not exist")
        });
        bench.stream.set_status(StreamStatus::Creating);
        bench.stream.fail(None);
        bench.wait_until("it waits for the status", || {
            bench.meters.registry.health().to_string().contains("it is Creating")
        });
        assert!(!bench.saw("opened"));
        bench.stream.set_status(StreamStatus::Updating);
        bench.wait("s-0 opened Read");
        bench.wait_until("healthy", || bench.meters.registry.health().is_good());
    })
    .unwrap();
}

#[test]
fn what_is_sealed_is_delivered_though_the_stream_does_not_answer() {
    let bench = Bench::new(1);
    while_running(&bench, |_| bench.wait("s-0 opened Read")).unwrap();
    let manifest = bench.manifest("s-0");
    bench.disk.write(Path::new("spool/s-0/1.json"), &[manifest.as_bytes()]).unwrap();
    bench.script("s-0", &[Does::Drain, Does::Run]);
    bench.stream.fail(Some(StreamErrorKind::NoAnswer));
    while_running(&bench, |_| {
        bench.wait("s-0 opened Deliver 1000");
        bench.wait("s-0 drained");
        assert_eq!(bench.count("s-0 opened Read"), 1);
        bench.stream.fail(None);
        bench.wait_count("s-0 opened Read", 2);
    })
    .unwrap();
}

#[test]
fn an_outage_of_the_bucket_delays_the_start_and_shards_run_meanwhile() {
    let bench = Bench::new(1);
    bench.store.set_away(true);
    while_running(&bench, |_| {
        bench.wait("s-0 opened Read");
        assert!(!bench.saw("s-0 begun"));
        bench.store.set_away(false);
        bench.wait("s-0 begun");
    })
    .unwrap();
}

#[test]
fn what_only_the_operator_can_mend_ends_the_run() {
    let bench = Bench::new(1);
    bench.store.ignore_conditions();
    let failure = bench.supervisor().run(&Control::new()).unwrap_err();
    assert_eq!(failure.kind, ErrorKind::Failed);
    assert!(failure.message.contains("If-None-Match"), "{failure}");
    assert_eq!(bench.count("opened"), bench.count("closed"), "every thread was joined");

    let bench = Bench::new(1);
    bench.store.lay(
        "stream/_ledger/stream-5.json",
        r#"{"version":1,"stream":"s","stream_arn":"arn:other","stream_created":"1970-01-01T00:00:05Z","begin":"trim_horizon"}"#,
    );
    let failure = bench.supervisor().run(&Control::new()).unwrap_err();
    assert_eq!((failure.kind, failure.exit_code()), (ErrorKind::Usage, 2));
    assert!(failure.message.contains("arn:other"), "{failure}");
}

#[test]
fn a_state_directory_in_use_is_refused() {
    let bench = Bench::new(1);
    let _lock = StateLock::acquire(bench.state_dir()).unwrap();
    let failure = bench.supervisor().run(&Control::new()).unwrap_err();
    assert!(failure.message.contains("in use by process"), "{failure}");
}

#[test]
fn a_state_directory_that_cannot_be_used_ends_the_run() {
    let bench = Bench::new(1);
    std::fs::write(bench.state_dir().join("spool"), "no folder").unwrap();
    let failure = bench.supervisor().run(&Control::new()).unwrap_err();
    assert_eq!(failure.exit_code(), 1);
    assert!(failure.message.starts_with("the state directory cannot be used: "), "{failure}");
}

#[test]
fn state_of_a_newer_version_ends_the_run_before_anything_is_touched() {
    let bench = Bench::new(1);
    // Whatever becomes of the stream.
    bench.stream.fail(Some(StreamErrorKind::NoAnswer));
    bench.disk.write(Path::new("spool/s-0/1.json"), &[br#"{"version":2}"#]).unwrap();
    std::fs::write(bench.state_dir().join("spool/.tmp-1-1"), "its write was cut short").unwrap();
    let failure = bench.supervisor().run(&Control::new()).unwrap_err();
    assert_eq!(failure.exit_code(), 1);
    assert!(failure.message.contains("was written by a newer version of kinesis-keeper"), "{failure}");
    assert_eq!(std::fs::read_dir(bench.state_dir().join("spool")).unwrap().count(), 2);
    assert!(!bench.state_dir().join("damaged").exists());
}

#[test]
fn a_shard_that_meets_a_file_of_a_newer_version_ends_the_run() {
    let bench = Bench::new(2);
    bench.script("s-1", &[Does::MeetNewer]);
    let failure = bench.supervisor().run(&Control::new()).unwrap_err();
    assert!(failure.message.contains("was written by a newer version of kinesis-keeper"), "{failure}");
    assert_eq!(bench.count("opened"), bench.count("closed"), "every thread was joined");
}

#[test]
fn what_hangs_beyond_the_time_to_drain_is_abandoned() {
    let mut bench = Bench::new(2);
    bench.options.drain = Duration::from_millis(20);
    bench.script("s-0", &[Does::Hang]);
    while_running(&bench, |_| {
        bench.wait("s-0 opened Read");
        bench.wait("s-1 opened Read");
    })
    .unwrap();
    assert!(bench.saw("s-0 closed Abandoned") && bench.saw("s-1 closed"));
}
