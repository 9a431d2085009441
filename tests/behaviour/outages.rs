//! S3, SNS and Kinesis refuse, err and lie; nothing is lost, nothing doubles, and all drains by itself.

use std::time::Duration;

use super::staged::wait_health;
use super::state::{is_sealed, spooled};
use crate::support::keeper::{LIMIT, metric};
use crate::support::proxy::{self, Action, Proxy, Request};
use crate::support::scene::Scene;
use crate::support::{aws, http, servers, topics, wait_for};

fn writes(request: &Request) -> bool {
    request.puts_object() || request.puts_entry()
}

#[test]
fn while_s3_is_away_reading_goes_on_into_the_spool_and_drains_afterwards() {
    let mut scene = Scene::new("s3away", 2);
    let proxy = Proxy::new(servers::ministack().endpoint());
    let (mut setting, http) = scene.setting().max_age("1s").max_records(50).with_http();
    proxy.endpoint().clone_into(&mut setting.s3);
    let mut keeper = setting.start();
    scene.put(100);
    scene.wait_all_archived(LIMIT);
    let away = proxy.always(|_| true, proxy::s3_error(503, "SlowDown"));
    scene.put(500);
    wait_for("sealed batches to pile up in the spool", LIMIT, || {
        let bytes = metric(&http, "kinesis_keeper_spool_bytes", &[]).unwrap_or(0.0);
        (bytes > 0.0 && spooled(&setting.state()) >= 16).then_some(())
    });
    let read = metric(&http, "kinesis_keeper_records_read_total", &[]).unwrap();
    assert!(read >= 400.0, "reading should go on: {read} records");
    away.end();
    scene.wait_all_archived(LIMIT);
    keeper.stop();
    scene.check();
    assert_eq!(spooled(&setting.state()), 0);
}

#[test]
fn a_stop_while_s3_is_away_leaves_the_records_sealed_and_they_go_first_next_time() {
    let mut scene = Scene::new("stopaway", 1);
    let proxy = Proxy::new(servers::ministack().endpoint());
    let (mut setting, http) = scene.setting().with_http();
    proxy.endpoint().clone_into(&mut setting.s3);
    let away = proxy.always(writes, proxy::s3_error(503, "SlowDown"));
    scene.put(300);
    let mut keeper = setting.start();
    super::exactly_once::wait_read(&http, 300);
    keeper.signal(rustix::process::Signal::TERM);
    wait_for("the batch to be sealed", LIMIT, || is_sealed(&setting.state()).then_some(()));
    // A second one says: now.
    if keeper.is_running() {
        keeper.signal(rustix::process::Signal::TERM);
    }
    keeper.wait_exit(Duration::from_secs(10));
    assert_eq!(scene.watch().archived(), 0);
    away.end();
    let mut keeper = setting.start();
    scene.wait_all_archived(LIMIT);
    keeper.stop();
    scene.check();
}

#[test]
fn when_the_spool_is_full_reading_pauses_and_goes_on_by_itself() {
    let mut scene = Scene::new("spoolfull", 1);
    let proxy = Proxy::new(servers::ministack().endpoint());
    let (mut setting, http) = scene.setting().max_age("1s").with_http();
    setting = setting.text("disk", "spool_bytes", "1 MiB").text("batch", "max_bytes", "256 KiB");
    proxy.endpoint().clone_into(&mut setting.s3);
    let mut keeper = setting.start();
    scene.put(10);
    scene.wait_all_archived(LIMIT);
    let away = proxy.always(writes, proxy::s3_error(503, "SlowDown"));
    for _ in 0..8 {
        scene.put_sized(50, 10_000);
    }
    let spool = || metric(&http, "kinesis_keeper_spool_bytes", &[]).unwrap_or(0.0);
    wait_for("the spool to be full", LIMIT, || (spool() >= f64::from(1 << 20)).then_some(()));
    away.end();
    scene.wait_all_archived(LIMIT);
    keeper.stop();
    scene.check();
}

#[test]
fn while_the_disk_takes_no_write_reading_pauses_and_goes_on_by_itself() {
    let mut scene = Scene::new("nowrite", 2);
    let (setting, http) = scene.setting().max_age("1s").with_http();
    let mut keeper = setting.start_with_writes_that_fail();
    scene.put(100);
    scene.wait_all_archived(LIMIT);
    keeper.limit_files(Some(0));
    scene.put(500);
    keeper.wait_for_log("sealing a batch failed on this disk", LIMIT);
    let health = || http::get(&http, "/healthz");
    let told = wait_for("both shards to pause", LIMIT, || {
        health()
            .map(|answer| (answer.status(), answer.text()))
            .filter(|(_, text)| text.matches("paused").count() == 2)
    });
    assert!(told.0 == 503 && told.1.contains("failed on this disk"), "{told:?}");
    scene.put(100);
    assert_eq!(scene.watch().archived(), 100, "nothing goes to S3 that this disk did not take");
    assert!(metric(&http, "kinesis_keeper_errors_total", &["disk"]).is_some_and(|errors| errors > 0.0));
    keeper.limit_files(None);
    scene.wait_all_archived(LIMIT);
    wait_for("health", LIMIT, || health().filter(|answer| answer.status() == 200));
    keeper.stop();
    scene.check();
}

#[test]
fn a_first_start_without_room_on_the_disk_waits_and_goes_on_by_itself() {
    let mut scene = Scene::new("noroom", 1);
    scene.put(100);
    let setting = scene.setting().max_age("1s");
    let mut keeper = setting.start_without_room();
    keeper.wait_for_log("the lock file does not say who has the state directory", LIMIT);
    keeper.wait_for_log("the state directory does not take writes; trying again", LIMIT);
    keeper.limit_files(None);
    scene.wait_all_archived(LIMIT);
    keeper.stop();
    scene.check();
}

#[test]
fn a_put_that_was_applied_and_reported_as_failed_does_not_double() {
    let mut scene = Scene::new("applied", 2);
    scene.put(300);
    let proxy = Proxy::new(servers::ministack().endpoint());
    let rules = [
        proxy.first(2, Request::puts_entry, proxy::applied_but_failed(500, "InternalError")),
        proxy.first(2, Request::puts_object, proxy::applied_but_failed(500, "InternalError")),
        proxy.first(2, Request::puts_entry, Action::ApplyThenClose),
        proxy.first(2, Request::puts_object, Action::ApplyThenClose),
        // Not among what the SDK tries again by itself.
        proxy.first(2, Request::puts_entry, proxy::applied_but_failed(409, "ConditionalRequestConflict")),
        proxy.first(2, Request::puts_object, proxy::applied_but_failed(409, "ConditionalRequestConflict")),
    ];
    let mut setting = scene.setting().max_age("1s").max_records(40);
    proxy.endpoint().clone_into(&mut setting.s3);
    let mut keeper = setting.start();
    scene.wait_all_archived(LIMIT);
    keeper.stop();
    scene.check();
    assert!(rules.iter().all(|rule| rule.used() == 2), "not every fault was made");
}

#[test]
fn a_body_that_was_damaged_on_its_way_is_refused_and_put_again() {
    let mut scene = Scene::new("digest", 1);
    scene.put(100);
    let proxy = Proxy::new(servers::ministack().endpoint());
    let objects = proxy.first(4, Request::puts_object, Action::CorruptBody);
    let entries = proxy.first(4, Request::puts_entry, Action::CorruptBody);
    let mut setting = scene.setting().max_age("1s");
    proxy.endpoint().clone_into(&mut setting.s3);
    let mut keeper = setting.start();
    scene.wait_all_archived(LIMIT);
    keeper.stop();
    scene.check();
    assert_eq!((objects.used(), entries.used()), (4, 4), "not every fault was made");
}

#[test]
fn while_sns_is_away_archiving_goes_on_and_the_notices_follow_in_order() {
    let mut scene = Scene::new("snsaway", 1);
    let topic = topics::topic("snsaway");
    let proxy = Proxy::new(servers::ministack().endpoint());
    let error = "<ErrorResponse><Error><Type>Receiver</Type><Code>InternalError</Code>\
                 <Message>scripted</Message></Error></ErrorResponse>";
    let away = proxy.always(|_| true, Action::Answer(500, "text/xml", error.to_owned()));
    let (mut setting, http) = scene.setting().max_age("1s").max_records(50).with_http();
    setting = setting.text("notice", "topic_arn", &topic.arn);
    proxy.endpoint().clone_into(&mut setting.sns);
    let mut keeper = setting.start();
    scene.put(400);
    scene.wait_all_archived(LIMIT);
    wait_for("notices to wait in the outbox", LIMIT, || {
        metric(&http, "kinesis_keeper_outbox_notices", &[]).filter(|waiting| *waiting > 0.0)
    });
    assert!(topic.take().is_empty());
    away.end();
    let batches = scene.watch().entries("batch");
    let mut messages = Vec::new();
    wait_for("the notices", LIMIT, || {
        messages.extend(topic.take());
        (messages.len() >= batches).then_some(())
    });
    keeper.stop();
    scene.check();
    let serials: Vec<u64> = messages.iter().filter_map(|message| message.body["serial"].as_u64()).collect();
    assert!(serials.is_sorted(), "in the order of their serials: {serials:?}");
}

#[test]
fn throttled_reads_expired_iterators_and_broken_answers_lose_nothing() {
    let mut scene = Scene::new("reads", 2);
    let proxy = Proxy::new(servers::kinesis().endpoint());
    let reads = |request: &Request| request.operation == "GetRecords";
    let rules = [
        proxy.first(2, reads, proxy::throttle()),
        proxy.first(2, reads, proxy::expired_iterator()),
        proxy.first(1, reads, proxy::kinesis_error("KMSThrottlingException")),
        proxy.first(1, reads, Action::Answer(500, "application/x-amz-json-1.1", "{}".to_owned())),
        proxy.first(1, reads, Action::Close),
        proxy.first(1, reads, Action::CutAnswer(100)),
        proxy.first(2, |request| request.operation == "GetShardIterator", proxy::throttle()),
        proxy.first(
            1,
            |request| request.operation == "ListShards",
            proxy::kinesis_error("LimitExceededException"),
        ),
    ];
    let (mut setting, http) = scene.setting().max_age("1s").with_http();
    proxy.endpoint().clone_into(&mut setting.kinesis);
    scene.put(600);
    let mut keeper = setting.start();
    scene.wait_all_archived(LIMIT);
    let counted = |name: &str| metric(&http, name, &[]).unwrap_or(0.0);
    assert!(counted("kinesis_keeper_throttled_total") >= 2.0);
    assert!(counted("kinesis_keeper_expired_iterators_total") >= 2.0);
    keeper.stop();
    scene.check();
    assert!(rules.iter().all(|rule| rule.used() >= 1), "not every fault was made");
}

#[test]
fn a_store_that_ignores_conditions_is_refused() {
    let mut scene = Scene::new("ignores", 1);
    scene.put(10);
    let proxy = Proxy::new(servers::ministack().endpoint());
    proxy.always(|request| request.method == "PUT", Action::StripHeader("if-none-match"));
    let mut setting = scene.setting().max_age("1s");
    proxy.endpoint().clone_into(&mut setting.s3);
    let mut keeper = setting.start();
    assert_eq!(keeper.wait_exit(LIMIT).code(), Some(1), "{}", keeper.log());
    assert_eq!(scene.watch().entries("batch"), 0, "nothing may be committed there");
}

#[test]
fn a_missing_bucket_is_an_outage_and_no_loss() {
    let mut scene = Scene::new("nobucket", 1);
    scene.put(50);
    let late = crate::support::fresh("late");
    let (setting, http) = scene.setting().max_age("1s").text("archive", "bucket", &late).with_http();
    let mut keeper = setting.start();
    keeper.wait_for_log(&late, LIMIT);
    wait_for("further tries", LIMIT, || {
        metric(&http, "kinesis_keeper_errors_total", &["s3"]).filter(|errors| *errors >= 4.0)
    });
    // Where the shard begins is for the bucket to say: nothing is read, and that is no health.
    wait_health(&http, 503, "paused: nothing is archived until the bucket answers");
    wait_for("the lag to grow with the clock", LIMIT, || {
        metric(&http, "kinesis_keeper_millis_behind_latest", &[]).filter(|lag| *lag > 0.0)
    });
    let log = keeper.log();
    assert!(log.contains("(request id "), "{log}");
    for told in ["the bucket does not answer as it should", "nothing is lost, it is tried again"] {
        // Each answer has another request id; the same trouble is said once a minute at most.
        assert!(log.matches(told).count() <= 1, "{log}");
    }
    aws::create_bucket(&late);
    scene.bucket = late;
    scene.wait_all_archived(LIMIT);
    wait_health(&http, 200, "ok");
    keeper.stop();
    scene.check();
}
