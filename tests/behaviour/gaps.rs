//! Records that the stream trimmed before they were read: recorded, announced, counted, logged; and no gap
//! where nothing is missing.

use super::staged::Stage;
use crate::support::archive::Entry;
use crate::support::keeper::{LIMIT, metric};
use crate::support::proxy;
use crate::support::scene::Scene;
use crate::support::scripted::{Trimmed, id, number};
use crate::support::{aws, topics, wait_for};

const A_DAY_AND_AN_HOUR: i64 = 25 * 3_600_000;

/// Reads a hundred records, is away for a day and an hour, and finds the next thirty trimmed. Records are kept for so
/// many hours by now, and were kept for a day.
fn away_for_longer_than_retention(gone: Trimmed, retention_hours: i64) {
    let mut stage = Stage::new("gap", 1);
    let topic = topics::topic("gap");
    stage.kinesis.with(|state| {
        state.gone = gone;
        state.clock = -A_DAY_AND_AN_HOUR;
    });
    stage.put(0, 100);
    let (setting, http) = stage.setting().text("notice", "topic_arn", &topic.arn).with_http();
    let mut keeper = setting.start();
    stage.wait_all_archived();
    keeper.stop();
    drop(topic.take());
    stage.kinesis.put_many(0, 30);
    stage.kinesis.with(|state| {
        state.clock = 0;
        state.shards[0].trimmed = 130;
        state.retention_hours = retention_hours;
    });
    stage.put(0, 50);
    let mut keeper = setting.start();
    stage.wait_all_archived();
    stage.put(0, 50);
    stage.wait_all_archived();
    assert_eq!(metric(&http, "kinesis_keeper_gaps_total", &[]), Some(1.0));
    keeper.stop();

    let archive = stage.check_beside_gaps();
    let gaps: Vec<_> = archive.entries("gap").collect();
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    let gap = gaps[0];
    assert_eq!((gap.text("after"), gap.text("resumes_at")), (&*number(0, 99), &*number(0, 130)));
    assert_eq!((gap.text("why"), &gap.fields["certain"]), ("trimmed", &false.into()));
    assert!(gap.text("from") < gap.text("to"), "{}", gap.fields);
    let log = keeper.log();
    let line = log.lines().find(|line| line.contains("ERROR") && line.contains("a gap was recorded"));
    let line = line.unwrap_or_else(|| panic!("no error tells of the gap"));
    assert!(line.contains(gap.text("from")) && line.contains(gap.text("to")), "{line}");
    let mut messages = Vec::new();
    let notice = wait_for("the gap's notice", LIMIT, || {
        messages.extend(topic.take());
        messages.iter().find(|message| message.attributes["type"] == "gap").cloned()
    });
    for field in ["serial", "after", "resumes_at", "why", "certain", "from", "to"] {
        assert_eq!(notice.body[field], gap.fields[field], "{field} of {}", notice.body);
    }
}

#[test]
fn a_position_that_is_refused_after_retention_is_a_gap() {
    away_for_longer_than_retention(Trimmed::Refused, 24);
}

#[test]
fn a_position_with_endless_empty_replies_after_retention_is_a_gap() {
    away_for_longer_than_retention(Trimmed::Empty, 24);
}

#[test]
fn a_position_from_which_reading_silently_resumes_later_is_a_gap() {
    away_for_longer_than_retention(Trimmed::Silent, 24);
}

#[test]
fn what_was_trimmed_before_the_retention_was_raised_is_a_gap() {
    away_for_longer_than_retention(Trimmed::Refused, 168);
    away_for_longer_than_retention(Trimmed::Silent, 168);
}

#[test]
fn a_keeper_that_is_throttled_for_longer_than_retention_records_the_gap_while_it_runs() {
    let mut stage = Stage::new("gaprun", 1);
    stage.kinesis.with(|state| {
        state.gone = Trimmed::Silent;
        state.clock = -A_DAY_AND_AN_HOUR;
    });
    stage.put(0, 100);
    let mut keeper = stage.setting().start();
    stage.wait_all_archived();
    let throttled = stage.faults.always(|request| request.operation == "GetRecords", proxy::throttle());
    wait_for("a throttled call", LIMIT, || (throttled.used() > 0).then_some(()));
    stage.kinesis.put_many(0, 30);
    stage.kinesis.with(|state| {
        state.clock = 0;
        state.shards[0].trimmed = 130;
    });
    stage.put(0, 50);
    throttled.end();
    stage.wait_all_archived();
    keeper.stop();
    let archive = stage.check_beside_gaps();
    let gaps: Vec<_> = archive.entries("gap").collect();
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    assert_eq!((gaps[0].text("after"), gaps[0].text("resumes_at")), (&*number(0, 99), &*number(0, 130)));
}

#[test]
fn away_for_longer_than_retention_with_nothing_missed_is_no_gap() {
    for gone in [Trimmed::Refused, Trimmed::Silent] {
        let mut stage = Stage::new("nogap", 1);
        stage.kinesis.with(|state| {
            state.gone = gone;
            state.clock = -A_DAY_AND_AN_HOUR;
        });
        stage.put(0, 100);
        let setting = stage.setting();
        let mut keeper = setting.start();
        stage.wait_all_archived();
        keeper.stop();
        // The last record read can still be read, so nothing after it was trimmed.
        stage.kinesis.with(|state| {
            state.clock = 0;
            state.shards[0].trimmed = 99;
        });
        stage.put(0, 50);
        let mut keeper = setting.start();
        stage.wait_all_archived();
        keeper.stop();
        stage.check();
    }
}

#[test]
fn a_shard_that_expired_before_it_was_read_to_its_end_gets_a_gap_and_its_end() {
    let mut stage = Stage::new("expiredshard", 1);
    stage.put(0, 100);
    let (setting, http) = stage.setting().with_http();
    let mut keeper = setting.start();
    stage.wait_all_archived();
    keeper.stop();
    stage.kinesis.put_many(0, 30);
    let child = stage.kinesis.follow(&[0]);
    stage.put(child, 50);
    stage.kinesis.with(|state| state.shards[0].listed = false);
    let mut keeper = setting.start();
    stage.wait_all_archived();
    stage.watch().wait_entries("end", 1, LIMIT);
    wait_for("one shard to run", LIMIT, || {
        metric(&http, "kinesis_keeper_shards_running", &[]).filter(|running| *running == 1.0)
    });
    keeper.stop();
    let archive = stage.check_beside_gaps();
    let kinds: Vec<&str> = archive.ledgers.values().next().unwrap().iter().map(Entry::kind).collect();
    assert_eq!(kinds, ["begin", "batch", "gap", "end"]);
    let gap = archive.entries("gap").next().unwrap();
    assert_eq!((gap.text("after"), gap.text("resumes_at")), (&*number(0, 99), ""));
    assert_eq!(gap.fields["certain"], false);
    assert_eq!(archive.entries("end").next().unwrap().fields["children"], serde_json::json!([id(child)]));
}

#[test]
fn a_longer_retention_counts_from_the_next_look_on() {
    let mut stage = Stage::new("retention", 1);
    stage.kinesis.with(|state| state.clock = -A_DAY_AND_AN_HOUR);
    stage.put(0, 100);
    let (setting, http) = stage.setting().with_http();
    let mut keeper = setting.start();
    stage.wait_all_archived();
    stage.kinesis.with(|state| state.lag = Some(6 * 3_600_000));
    let used = |share: f64| {
        wait_for(&format!("a share of {share}"), LIMIT, || {
            let said = metric(&http, "kinesis_keeper_retention_used_ratio", &[])?;
            ((said - share).abs() < 1e-9).then_some(())
        });
    };
    used(6.0 / 24.0);
    stage.kinesis.with(|state| state.retention_hours = 48);
    used(6.0 / 48.0);
    stage.kinesis.with(|state| {
        state.lag = None;
        state.clock = 0;
        state.iterators.clear();
    });
    stage.put(0, 50);
    stage.wait_all_archived();
    keeper.stop();
    stage.check();
    let asked = stage.kinesis.with(|state| state.iterators.clone());
    assert!(asked.iter().all(|(_, kind, _)| kind != "AT_SEQUENCE_NUMBER"), "nothing is too old: {asked:?}");
}

#[test]
fn a_stream_made_again_between_two_looks_has_new_ledgers_and_no_gap() {
    let mut scene = Scene::new("unseen", 1);
    scene.put(100);
    let mut keeper = scene.setting().max_age("1s").text("stream", "refresh", "1h").start();
    scene.wait_all_archived(LIMIT);
    aws::delete_stream(&scene.stream);
    aws::create_stream(&scene.stream, 1);
    scene.put(100);
    scene.wait_all_archived(LIMIT);
    keeper.stop();
    let archive = scene.check();
    assert_eq!(archive.ledgers.len(), 2);
}
