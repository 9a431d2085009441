use std::path::Path;

use super::*;
use crate::commands::status::table::text;
use crate::model::checkpoint::Checkpoint;
use crate::model::sealed::KnownPosition;
use crate::model::shard::ShardId;
use crate::spool::look::Damaged;

const NOW: &str = "2026-11-22T06:00:00Z";
const PLACE: &str = "/var/lib/kinesis-keeper/clicks/status.sock";

fn config(more: &str) -> Config {
    let text = format!("[stream]\nname = \"clicks\"\n[archive]\nbucket = \"buc\"\nprefix = \"raw/\"\n{more}");
    Config::parse(&text, Path::new("keeper.toml")).unwrap()
}

fn known(position: Position) -> KnownPosition {
    KnownPosition { position, last_record: None, complete_to: Some("2026-11-22T05:30:00Z".parse().unwrap()) }
}

fn look() -> Look {
    let after = known(Position::After("77".parse().unwrap()));
    let checkpoint = Checkpoint {
        version: 1,
        stream_arn: "arn".into(),
        stream_created: Timestamp::from_seconds(1),
        shard: ShardId::new("shardId-0"),
        serial: 41,
        entry_sha256: String::new(),
        known: after.clone(),
        sealed: None,
        saved_at: "2026-11-22T05:30:00Z".parse().unwrap(),
        retention_ms: None,
        trimmed_to: None,
    };
    let first = ShardLook {
        checkpoint: Some(checkpoint),
        sealed: Some(after),
        spool_items: 2,
        spool_bytes: 900_000,
        outbox: 1,
        ..ShardLook::default()
    };
    let ended = ShardLook { sealed: Some(known(Position::End)), ..ShardLook::default() };
    let shards = [("shardId-0".to_owned(), first), ("shardId-1".to_owned(), ended)].into();
    Look { shards, ..Look::default() }
}

fn status(stream: &str) -> Answer {
    let status = serde_json::json!({
        "version": 1, "program": "0.1.0", "stream": stream, "archive": "s3://buc/raw/", "now": NOW,
        "since": "2026-11-22T05:00:00Z", "healthy": false, "troubles": ["shardId-0: stopped: two things disagree"],
        "totals": {"shards_running": 1, "key_space_covered": 1.0, "records_read": 5, "bytes_read": 5, "objects_archived": 1,
            "bytes_archived": 1, "gaps": 0, "conflicts": 0, "throttled": 0, "shard_restarts": 3, "errors": 0,
            "millis_behind_latest": 1500.0, "retention_used": 0.1, "data_freshness_seconds": null, "spool_bytes": 0,
            "outbox_notices": 0, "batch_memory_bytes": 0},
        "shards": [{"shard": "shardId-0", "activity": "stopped", "troubles": ["two things disagree"], "read_to": "99",
            "archived_to": "77", "millis_behind_latest": 1500.0, "retention_used": 0.1, "data_freshness_seconds": null,
            "batch": {"records": 10, "bytes": 2048, "age_seconds": 30.0}, "spool_bytes": 0, "outbox_notices": 0,
            "records_read": 5, "objects_archived": 1, "gaps": 0, "restarts": 3,
            "last_batch": {"shard": "shardId-0", "serial": 41, "bucket": "b", "key": "raw/clicks/dt=x/o.gz", "url": "u",
                "records": 1, "size": 1, "content_size": 1, "sealed_by": "age", "last_arrival": NOW,
                "archived_at": "2026-11-22T05:58:00Z"}}],
        "last_batches": [], "last_hour": [],
    });
    Answer::Status(Box::new(serde_json::from_value(status).unwrap()), PLACE.to_owned())
}

fn silent() -> Answer {
    Answer::None(format!("nobody answers at {PLACE}"))
}

fn at(config: &Config, holder: Holder, answer: Answer) -> Report {
    report(config, look(), None, holder, answer, NOW.parse().unwrap())
}

#[test]
fn without_a_keeper_the_disk_says_what_it_knows() {
    let report = at(&config("[disk]\nspool_bytes = \"1 MiB\"\n"), Holder::Nobody, silent());
    assert_eq!(report.keeper.running, Some(false));
    let [first, ended] = &report.shards[..] else { panic!("{:?}", report.shards) };
    assert_eq!((first.state.as_str(), first.lag_seconds), ("not running", Some(1800.0)));
    assert_eq!((first.retention_used, first.serial), (None, Some(41)));
    assert_eq!((ended.state.as_str(), ended.lag_seconds), ("ended", None));
    let warnings = report.warnings.join("\n");
    assert!(
        warnings.contains("the keeper is not running; 2 sealed items (878.9 KiB) and 1 notices wait"),
        "{warnings}"
    );
    assert!(warnings.contains("the spool holds 878.9 KiB of 1.0 MiB"), "{warnings}");
    let text = text(&report, None);
    assert!(text.contains("not running; this is what "), "{text}");
    let line = text.lines().find(|line| line.starts_with("shardId-0")).unwrap();
    assert_eq!(
        line.split_whitespace().collect::<Vec<_>>(),
        [
            "shardId-0",
            "not",
            "running",
            "#41",
            "77",
            "30m00s",
            "-",
            "-",
            "2",
            "/",
            "878.9",
            "KiB",
            "1",
            "-",
            "#41"
        ]
    );
}

#[test]
fn a_running_keeper_says_more_and_its_troubles_come_first() {
    let config = config("[metrics]\nhttp = \":9464\"\n");
    let report = at(&config, Holder::Held("process 7 on h".into()), status("clicks"));
    assert_eq!((report.keeper.running, report.keeper.healthy), (Some(true), Some(false)));
    let first = &report.shards[0];
    assert_eq!((first.state.as_str(), first.lag_seconds, first.restarts), ("stopped", Some(1.5), Some(3)));
    assert_eq!(first.read_to, Some("99".parse().unwrap()));
    assert_eq!((report.keeper.answered, report.keeper.answered_at.as_deref()), (true, Some(PLACE)));
    assert_eq!(report.warnings, ["shardId-0: stopped: two things disagree"]);
    let text = text(&report, None);
    assert!(text.contains("running since 1h00m (process 7 on h), version 0.1.0: NOT WELL"), "{text}");
    assert!(text.contains("10 / 2.0 KiB / 30s"), "{text}");
    assert!(text.contains("#41 2m00s ago dt=x/o.gz"), "{text}");
    assert!(text.contains("\n\n! shardId-0: stopped: two things disagree\n"), "{text}");
}

#[test]
fn a_silent_keeper_and_another_one_are_told() {
    let config = config("[metrics]\nhttp = \":9464\"\n");
    let report = at(&config, Holder::Held("process 7 on h".into()), silent());
    assert_eq!((report.keeper.running, report.shards[0].state.as_str()), (Some(true), "not known"));
    assert!(
        text(&report, None).contains(&format!("running (process 7 on h); nobody answers at {PLACE}, so"))
    );
    let report = at(&config, Holder::Unknown, silent());
    assert_eq!(report.keeper.running, None);
    let report = at(&config, Holder::Nobody, status("sensors"));
    assert_eq!((report.keeper.running, report.keeper.answered), (Some(false), false));
    assert!(
        report.warnings[0].contains(&format!("at {PLACE} another keeper answers: sensors to s3://buc/raw/")),
        "{:?}",
        report.warnings
    );
}

#[test]
fn damage_and_foreign_state_need_attention() {
    let config = config("");
    let identity = serde_json::json!({"version": 1, "keeper": "k", "stream": "clicks", "stream_arn": "arn:x",
        "stream_created": NOW, "bucket": "other", "prefix": "raw/"});
    let look = Look {
        identity: Some(serde_json::from_value(identity).unwrap()),
        damaged: Damaged { files: 2, bytes: 10, named: vec!["damaged/a".into()] },
        unreadable: vec!["checkpoints/s.json: EOF".into()],
        newer: vec!["hours.json was written by a newer version".into()],
        ..look()
    };
    let held = Holder::Held("p".into());
    let report = report(&config, look, None, held, silent(), NOW.parse().unwrap());
    let told = report.warnings.join("\n");
    assert!(
        told.contains("holds the state of arn:x in s3://other/raw/, not of this configuration"),
        "{told}"
    );
    assert!(told.contains("hours.json was written by a newer version: run will refuse it"), "{told}");
    assert!(told.contains("damaged file checkpoints/s.json: EOF; the next start sets it aside"), "{told}");
    assert!(
        told.contains("2 damaged files (10 B) lie under /var/lib/kinesis-keeper/clicks/damaged"),
        "{told}"
    );
    assert_eq!(report.damaged.files, 2);
}

#[test]
fn notices_of_hours_count_and_are_of_no_shard() {
    let look = Look { hour_notices: 3, ..look() };
    let (config, now) = (config(""), NOW.parse().unwrap());
    let report = report(&config, look, None, Holder::Nobody, silent(), now);
    assert_eq!((report.totals.shards, report.totals.outbox_notices, report.totals.hour_notices), (2, 4, 3));
    assert!(report.warnings[0].contains(" and 4 notices wait on this disk"), "{:?}", report.warnings);
    let text = text(&report, None);
    assert!(
        text.lines().any(|line| line.starts_with("total 2 ") && line.contains("4 (3 of hours)")),
        "{text}"
    );
}

#[test]
fn where_the_disk_is_not_seen_the_keeper_says_how_many_notices_of_hours_wait() {
    let Answer::Status(mut live, place) = status("clicks") else { panic!("no status") };
    live.totals.outbox_notices = 7;
    live.shards[0].outbox_notices = 5;
    let (config, now) = (config(""), NOW.parse().unwrap());
    let unseen = Some("not for this user".to_owned());
    let report = report(&config, Look::default(), unseen, Holder::Unknown, Answer::Status(live, place), now);
    assert_eq!((report.totals.outbox_notices, report.totals.hour_notices), (7, 2));
}

/// The cell of the first shard under POSITION.
fn position(report: &Report) -> String {
    let text = text(report, None);
    let mut lines = text.lines().skip_while(|line| !line.starts_with("SHARD"));
    let (header, row) = (lines.next().unwrap(), lines.next().unwrap());
    let (from, to) = (header.find("POSITION").unwrap(), header.find("BEHIND").unwrap());
    row.chars().skip(from).take(to - from).collect::<String>().trim().to_owned()
}

#[test]
fn the_position_stays_readable() {
    let number = "49590338271490256608559692538361571095921575989136588898";
    let at_position = |position: Option<Position>, read_to: Option<&str>| {
        let mut report = at(&config(""), Holder::Nobody, silent());
        report.shards.truncate(1);
        report.shards[0].state = "reading".into();
        report.shards[0].archived = position;
        report.shards[0].read_to = read_to.map(|number| number.parse().unwrap());
        report
    };
    let told = |at: Option<Position>, read_to| position(&at_position(at, read_to));
    assert_eq!(told(Some(Position::After(number.parse().unwrap())), None), "#41 …989136588898");
    assert_eq!(told(Some(Position::Before(number.parse().unwrap())), None), "#41 before …989136588898");
    assert_eq!(told(Some(Position::Start), Some("5")), "start");
    assert_eq!(told(Some(Position::End), Some("5")), "end");
    let report = at_position(None, Some(number));
    assert_eq!(position(&report), "read …989136588898", "nothing is archived yet");
    assert_eq!(position(&at_position(None, None)), "-");
    let json = serde_json::to_string(&report).unwrap();
    assert!(json.contains(number), "the whole number stays in --json: {json}");
}

#[test]
fn where_no_checkpoint_lies_on_the_disk_the_keeper_says_the_position() {
    let mut look = look();
    look.shards.clear();
    let held = Holder::Held("process 7 on h".into());
    let report = report(&config(""), look, None, held, status("clicks"), NOW.parse().unwrap());
    let first = &report.shards[0];
    assert_eq!(
        (first.archived.clone(), first.serial),
        (Some(Position::After("77".parse().unwrap())), Some(41))
    );
    assert_eq!(position(&report), "#41 77");
}
