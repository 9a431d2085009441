//! The stream's states and its start: what they change for whoever reads it.

use super::staged::{Stage, wait_health};
use crate::support::keeper::{LIMIT, metric};
use crate::support::proxy::{self, Action, Gate, Proxy};
use crate::support::scene::Scene;
use crate::support::{aws, servers, wait_for};

#[test]
fn while_the_stream_is_updating_reading_goes_on() {
    let mut stage = Stage::new("updating", 1);
    stage.kinesis.with(|state| state.status = "UPDATING");
    stage.put(0, 100);
    let (setting, http) = stage.setting().with_http();
    let mut keeper = setting.start();
    stage.wait_all_archived();
    let looks = stage.kinesis.calls("DescribeStreamSummary");
    wait_for("two more looks", LIMIT, || {
        (stage.kinesis.calls("DescribeStreamSummary") >= looks + 2).then_some(())
    });
    stage.put(0, 100);
    stage.wait_all_archived();
    wait_health(&http, 200, "ok");
    keeper.stop();
    stage.check();
}

#[test]
fn a_stream_that_is_deleted_is_waited_for_and_gone_on_with_when_it_comes_back() {
    let mut stage = Stage::new("deleted", 2);
    let s3 = Proxy::new(servers::ministack().endpoint());
    let (mut setting, http) = stage.setting().with_http();
    s3.endpoint().clone_into(&mut setting.s3);
    let mut keeper = setting.start();
    stage.put(0, 50);
    stage.wait_all_archived();

    let begun = std::time::Instant::now();
    stage.kinesis.with(|state| state.status = "DELETING");
    wait_health(&http, 503, "waiting for stream: it is Deleting");
    stage.put(0, 50);
    stage.put(1, 50);
    stage.wait_all_archived();

    // What is sealed by the time that it is gone is delivered although it is gone.
    let away = s3.always(|request| request.method == "PUT", proxy::s3_error(503, "SlowDown"));
    stage.put(0, 50);
    stage.put(1, 50);
    let read = stage.expected.len() as f64;
    wait_for("all to be read", LIMIT, || {
        metric(&http, "kinesis_keeper_records_read_total", &[]).filter(|now| *now >= read)
    });
    stage.kinesis.with(|state| state.missing = true);
    wait_health(&http, 503, "waiting for stream: it does not exist");
    away.end();
    stage.wait_all_archived();
    wait_for("no shard to run", LIMIT, || {
        metric(&http, "kinesis_keeper_shards_running", &[]).filter(|running| *running == 0.0)
    });
    let said = keeper.log().matches("waiting for stream").count() as u64;
    let minutes = begun.elapsed().as_secs() / 60;
    assert!((2..=2 + minutes).contains(&said), "{said} lines: once a minute for each reason");

    stage.kinesis.with(|state| {
        state.missing = false;
        state.status = "ACTIVE";
    });
    wait_health(&http, 200, "ok");
    stage.put(0, 50);
    stage.put(1, 50);
    stage.wait_all_archived();
    keeper.stop();
    stage.check();
}

#[test]
fn two_streams_of_one_name_are_told_apart_by_their_creation_time_between_two_looks() {
    let mut stage = Stage::new("recreated", 1);
    stage.put(0, 60);
    let mut keeper = stage.setting().text("stream", "refresh", "1h").start();
    stage.wait_all_archived();
    stage.kinesis.with(|state| {
        state.created += 1000;
        state.era += 1;
        state.shards[0].records.clear();
    });
    stage.put(0, 40);
    stage.wait_all_archived();
    keeper.stop();
    let archive = stage.check();
    let folders: Vec<&String> = archive.ledgers.keys().collect();
    assert_eq!(folders, ["shardId-000000000000-1790000000", "shardId-000000000000-1790001000"]);
}

#[test]
fn a_latest_start_is_written_down_before_anything_is_skipped_and_children_begin_there() {
    let mut scene = Scene::new("latest", 1);
    scene.put(50);
    scene.put.clear();
    let put_at = jiff::Timestamp::now().as_second();
    wait_for("the next second: S3's clock has no finer hand", LIMIT, || {
        (jiff::Timestamp::now().as_second() > put_at).then_some(())
    });
    let (kinesis, s3) =
        (Proxy::new(servers::kinesis().endpoint()), Proxy::new(servers::ministack().endpoint()));
    let gate = Gate::default();
    let start = s3.always(|request| request.is("PUT", "_ledger/stream-"), Action::Hold(gate.clone()));
    let iterators = kinesis.count(|request| request.operation == "GetShardIterator");
    let listings = kinesis.count(|request| request.operation == "ListShards");
    let mut setting = scene.setting().max_age("1s").text("stream", "start", "latest");
    kinesis.endpoint().clone_into(&mut setting.kinesis);
    s3.endpoint().clone_into(&mut setting.s3);
    let mut keeper = setting.start();
    wait_for("the start to be put, and some looks", LIMIT, || {
        (start.used() >= 1 && listings.used() >= 2).then_some(())
    });
    assert_eq!(iterators.used(), 0, "nothing is read before the start is written down");
    // Arrives after the start was decided and before it is stored.
    scene.put(25);
    gate.open();
    scene.put(25);
    scene.wait_all_archived(LIMIT);
    keeper.kill();
    aws::split(&scene.stream, &aws::shards(&scene.stream)[0]);
    scene.put(100);
    let mut keeper = setting.start();
    scene.wait_all_archived(LIMIT);
    scene.watch().wait_entries("end", 1, LIMIT);
    keeper.stop();
    let archive = scene.check();
    let begins: Vec<&str> = archive.entries("begin").map(|entry| entry.text("begin")).collect();
    assert_eq!(begins.len(), 3);
    assert!(begins[0].ends_with('Z') && begins.iter().all(|begin| *begin == begins[0]), "{begins:?}");
}

#[test]
fn a_start_at_a_time_leaves_what_is_older_and_counts_for_children_too() {
    let mut stage = Stage::new("attime", 1);
    let at = |hours: i64| -hours * 3_600_000;
    stage.kinesis.with(|state| state.clock = at(3));
    stage.kinesis.put_many(0, 40);
    let child = stage.kinesis.follow(&[0]);
    stage.kinesis.put_many(child, 40);
    stage.kinesis.with(|state| state.clock = at(1));
    stage.put(child, 40);
    stage.kinesis.with(|state| state.clock = 0);
    let start = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(2);
    let start = start.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let mut keeper = stage.setting().text("stream", "start", &start).start();
    stage.wait_all_archived();
    stage.watch().wait_entries("end", 1, LIMIT);
    keeper.stop();
    let archive = stage.check();
    assert_eq!(archive.entries("begin").count(), 2);
    for begin in archive.entries("begin") {
        assert_eq!(begin.text("begin")[..19], start[..19], "{}", begin.fields);
    }
}
