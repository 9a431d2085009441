//! A stream whose answers are odd, rare or broken: nothing is lost, doubled or ended by them.

use super::staged::{Stage, wait_health, wait_told};
use crate::support::keeper::{LIMIT, metric};
use crate::support::proxy::{self, Action, Request};
use crate::support::scripted::{Record, id};
use crate::support::wait_for;

fn reads_of(shard: usize) -> impl Fn(&Request) -> bool + Send + Sync + 'static {
    let wanted = format!("/{}/", id(shard));
    move |request| request.operation == "GetRecords" && request.message.text().contains(&wanted)
}

#[test]
fn an_end_without_children_is_asked_again_and_ends_nothing() {
    let mut stage = Stage::new("nullend", 1);
    stage.put(0, 200);
    stage.kinesis.with(|state| state.broken_ends = 5);
    let mut keeper = stage.setting().start();
    stage.wait_all_archived();
    wait_for("every fault to be made", LIMIT, || {
        (stage.kinesis.with(|state| state.broken_ends) == 0).then_some(())
    });
    stage.put(0, 100);
    stage.wait_all_archived();
    keeper.stop();
    assert_eq!(stage.check().entries("end").count(), 0);
}

#[test]
fn an_end_without_children_is_none_though_the_listing_knows_the_children() {
    let mut stage = Stage::new("earlynull", 1);
    // Two replies' worth, so that the first broken end comes before the last record.
    let large = stage.kinesis.put(0, vec![b'x'; 6 << 20]);
    stage.expected.push(large);
    let larger = stage.kinesis.put(0, vec![b'y'; 6 << 20]);
    stage.expected.push(larger);
    let child = stage.kinesis.follow(&[0]);
    stage.put(child, 50);
    stage.kinesis.with(|state| state.broken_ends = 1);
    let mut keeper = stage.setting().start();
    stage.wait_all_archived();
    stage.watch().wait_entries("end", 1, LIMIT);
    keeper.stop();
    let archive = stage.check();
    let end = archive.entries("end").next().unwrap();
    assert_eq!((end.text("shard"), &end.fields["children"][0]), (id(0).as_str(), &id(child).into()));
}

#[test]
fn children_beside_a_next_iterator_are_no_end() {
    let mut stage = Stage::new("earlychild", 1);
    stage.put(0, 50);
    stage.kinesis.with(|state| state.early_children = true);
    let mut keeper = stage.setting().start();
    stage.wait_all_archived();
    let child = stage.kinesis.follow(&[0]);
    stage.kinesis.with(|state| state.shards[0].closed = false);
    stage.put(child, 50);
    stage.put(0, 50);
    stage.wait_all_archived();
    assert_eq!(stage.watch().entries("end"), 0);
    stage.kinesis.with(|state| state.shards[0].closed = true);
    stage.watch().wait_entries("end", 1, LIMIT);
    keeper.stop();
    stage.check();
}

#[test]
fn a_child_whose_parents_have_expired_is_read_all_the_same() {
    let mut stage = Stage::new("orphan", 2);
    let child = stage.kinesis.follow(&[0, 1]);
    stage.put(child, 100);
    stage.kinesis.with(|state| (0..2).for_each(|parent| state.shards[parent].listed = false));
    let mut keeper = stage.setting().start();
    stage.wait_all_archived();
    keeper.stop();
    let archive = stage.check();
    assert_eq!(archive.ledgers.len(), 1, "{:?}", archive.ledgers.keys());
    let begin = archive.entries("begin").next().unwrap();
    assert_eq!(begin.fields["parents"], serde_json::json!([id(0), id(1)]));
}

#[test]
fn fifty_empty_replies_while_behind_are_neither_an_end_nor_a_gap() {
    let mut stage = Stage::new("empty", 1);
    stage.put(0, 100);
    stage.kinesis.with(|state| state.empty_replies = 50);
    let mut keeper = stage.setting().start();
    stage.wait_all_archived();
    assert_eq!(stage.kinesis.with(|state| state.empty_replies), 0, "not every fault was made");
    keeper.stop();
    assert_eq!(stage.check().entries("end").count(), 0);
}

#[test]
fn a_shard_that_is_throttled_for_long_is_counted_and_goes_on() {
    let mut stage = Stage::new("throttled", 2);
    stage.put(0, 50);
    let (setting, http) = stage.setting().with_http();
    let throttled = stage.faults.always(reads_of(0), proxy::throttle());
    let mut keeper = setting.start();
    stage.put(1, 50);
    stage.watch().wait_archived(50, LIMIT);
    // Five in a row take the backoff from its first to its fourth second: the rest of a minute is more of it.
    wait_for("five throttled calls", LIMIT, || (throttled.used() >= 5).then_some(()));
    wait_told(&http, "for want of throughput");
    throttled.end();
    stage.wait_all_archived();
    let counted = metric(&http, "kinesis_keeper_throttled_total", &[&id(0)]);
    assert_eq!(counted, Some(throttled.used() as f64));
    assert_eq!(metric(&http, "kinesis_keeper_throttled_total", &[&id(1)]).unwrap_or(0.0), 0.0);
    keeper.stop();
    stage.check();
}

#[test]
fn a_listing_of_many_pages_survives_expired_tokens_and_a_busy_stream() {
    let mut stage = Stage::new("pages", 7);
    (0..7).for_each(|shard| stage.put(shard, 5));
    stage.kinesis.with(|state| {
        state.page = 2;
        state.expire_tokens = 2;
        state.busy_listings = 2;
    });
    let mut keeper = stage.setting().text("stream", "refresh", "1h").start();
    stage.wait_all_archived();
    keeper.stop();
    assert_eq!(stage.check().ledgers.len(), 7);
    let left = stage.kinesis.with(|state| (state.expire_tokens, state.busy_listings));
    assert_eq!(left, (0, 0), "not every fault was made");
}

#[test]
fn an_iterator_that_is_always_expired_makes_no_hot_loop() {
    let mut stage = Stage::new("expired", 1);
    stage.put(0, 50);
    let expired = stage.faults.always(reads_of(0), proxy::expired_iterator());
    let (setting, http) = stage.setting().with_http();
    let mut keeper = setting.start();
    wait_for("four expired iterators", LIMIT, || (expired.used() >= 4).then_some(()));
    let begun = std::time::Instant::now();
    wait_for("two more", LIMIT, || (expired.used() >= 6).then_some(()));
    // The fifth and the sixth each wait for more than two seconds; a hot loop makes hundreds in one.
    assert!(expired.used() < 20, "{} calls in {:?}", expired.used(), begun.elapsed());
    expired.end();
    stage.wait_all_archived();
    let counted = metric(&http, "kinesis_keeper_expired_iterators_total", &[]);
    assert_eq!(counted, Some(expired.used() as f64));
    keeper.stop();
    stage.check();
}

#[test]
fn each_trouble_with_the_streams_key_is_named_with_what_to_do_and_other_shards_go_on() {
    const TROUBLES: [(&str, &str, &str); 5] = [
        ("KMSAccessDeniedException", "kms_access_denied", "kms:Decrypt"),
        ("KMSDisabledException", "kms_disabled", "aws kms enable-key"),
        ("KMSInvalidStateException", "kms_invalid_state", "cancel-key-deletion"),
        ("KMSNotFoundException", "kms_not_found", "does not exist"),
        ("KMSOptInRequired", "kms_opt_in_required", "subscribe"),
    ];
    let mut stage = Stage::new("kms", TROUBLES.len() + 2);
    let rules: Vec<_> = TROUBLES
        .iter()
        .enumerate()
        .map(|(shard, (code, ..))| stage.faults.always(reads_of(shard), proxy::kinesis_error(code)))
        .collect();
    let quick = TROUBLES.len();
    stage.faults.first(2, reads_of(quick), proxy::kinesis_error("KMSThrottlingException"));
    for shard in quick..=quick + 1 {
        stage.put(shard, 50);
    }
    let (setting, http) = stage.setting().with_http();
    let mut keeper = setting.start();
    stage.wait_all_archived();
    for (shard, (code, kind, advice)) in TROUBLES.iter().enumerate() {
        let labels = ["service=\"kinesis\"", &format!("kind=\"{kind}\""), &id(shard)];
        let counted = wait_for(kind, LIMIT, || metric(&http, "kinesis_keeper_errors_total", &labels));
        assert!((1.0..5.0).contains(&counted), "{kind}: {counted} tries in a few seconds");
        let said = keeper.log();
        let line = said.lines().find(|line| line.contains(code) && line.contains("ERROR"));
        let line = line.unwrap_or_else(|| panic!("no error names {code}"));
        assert!(line.contains(advice) && line.contains(&id(shard)), "{line}");
        wait_told(&http, code);
        stage.put(shard, 10);
    }
    rules.iter().for_each(proxy::Rule::end);
    stage.wait_all_archived();
    keeper.stop();
    stage.check();
}

#[test]
fn full_replies_and_a_record_of_ten_mebibytes_are_read_without_asking_too_soon() {
    let mut stage = Stage::new("large", 1);
    let mut payload = |bytes: usize, of: u8| {
        let put = stage.kinesis.put(0, vec![of; bytes]);
        stage.expected.push(put);
    };
    payload(10 << 20, 0xff);
    (0..10).for_each(|n| payload(1 << 20, b'a' + n));
    payload(3, b'z');
    let mut keeper = stage.setting().start();
    stage.wait_all_archived();
    keeper.stop();
    stage.check();
    assert_eq!(stage.kinesis.with(|state| state.too_soon), 0, "AWS refuses calls for 5 s after 10 MiB");
}

#[test]
fn records_without_a_partition_key_have_none_in_their_lines() {
    let mut stage = Stage::new("auto", 1);
    for n in 0..20 {
        let data = format!("record {n}").into_bytes();
        stage.kinesis.with(|state| {
            let arrival = state.now();
            state.shards[0].records.push(Record { arrival, key: None, data: data.clone() });
        });
        stage.expected.push(data);
    }
    let mut keeper = stage.setting().start();
    stage.wait_all_archived();
    keeper.stop();
    let archive = stage.check();
    assert!(archive.records.iter().all(|record| record.partition_key.is_none()));
    assert!(!archive.records.is_empty());
}

#[test]
fn children_are_read_beside_a_parent_that_is_held_up() {
    let mut stage = Stage::new("beside", 1);
    let late = stage.kinesis.put_many(0, 50);
    let child = stage.kinesis.follow(&[0]);
    let grandchild = stage.kinesis.follow(&[child]);
    stage.put(child, 30);
    stage.put(grandchild, 30);
    let held_up = stage.faults.always(reads_of(0), proxy::throttle());
    let mut keeper = stage.setting().start();
    stage.wait_all_archived();
    stage.watch().wait_entries("end", 1, LIMIT);
    assert!(held_up.used() > 0);
    held_up.end();
    stage.expected.extend(late);
    stage.wait_all_archived();
    stage.watch().wait_entries("end", 2, LIMIT);
    keeper.stop();
    stage.check();
}

#[test]
fn children_that_the_listing_lacks_for_a_while_are_looked_for_until_it_has_them() {
    let mut stage = Stage::new("latelisting", 1);
    stage.put(0, 50);
    let mut keeper = stage.setting().text("stream", "refresh", "1h").start();
    stage.wait_all_archived();
    let child = stage.kinesis.follow(&[0]);
    stage.kinesis.with(|state| state.shards[child].listed = false);
    stage.put(child, 50);
    stage.watch().wait_entries("end", 1, LIMIT);
    wait_for("two listings in vain", LIMIT, || (stage.kinesis.calls("ListShards") >= 3).then_some(()));
    stage.kinesis.with(|state| state.shards[child].listed = true);
    stage.wait_all_archived();
    keeper.stop();
    let archive = stage.check();
    assert_eq!(archive.entries("end").next().unwrap().fields["children"], serde_json::json!([id(child)]));
}

#[test]
fn a_shard_without_progress_is_reported_with_since_when_and_so_is_its_recovery() {
    let mut stage = Stage::new("standstill", 2);
    let (setting, http) = stage.setting().with_http();
    let mut keeper = setting.start();
    stage.put(0, 1);
    stage.put(1, 50);
    stage.wait_all_archived();
    let broken = Action::Answer(500, "application/x-amz-json-1.1", "{}".to_owned());
    let stands = stage.faults.always(reads_of(0), broken);
    // What an alarm watches goes on with the clock while no answer comes.
    let lag = |shard| metric(&http, "kinesis_keeper_millis_behind_latest", &[&id(shard)]);
    wait_for("the lag to grow", LIMIT, || lag(0).filter(|lag| *lag > 2000.0));
    assert!(lag(1).is_some_and(|lag| lag < 2000.0));
    wait_health(&http, 503, &format!("{}: no progress while reading", id(0)));
    let about = |keeper: &crate::support::keeper::Keeper, what: &str| {
        let log = keeper.log();
        let lines: Vec<String> = log.lines().filter(|line| line.contains(what)).map(str::to_owned).collect();
        (!lines.is_empty()).then_some(lines)
    };
    let told = wait_for("the log's line", LIMIT, || about(&keeper, "makes no progress"));
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("WARN") && told[0].contains(&id(0)) && told[0].contains("since=20"), "{told:?}");
    stage.put(0, 50);
    stands.end();
    stage.wait_all_archived();
    wait_health(&http, 200, "ok");
    wait_for("the log's line", LIMIT, || about(&keeper, "makes progress again"));
    keeper.stop();
    stage.check();
}
