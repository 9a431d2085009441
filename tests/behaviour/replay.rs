//! `replay`: what was archived goes back into a stream, by the real binary; also killed in the middle.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::support::archive::Archive;
use crate::support::keeper::{LIMIT, Setting, binary};
use crate::support::putting::Done;
use crate::support::scene::Scene;
use crate::support::{aws, servers, wait_for};

fn command(setting: &Setting, target: &str, more: &[&str]) -> Command {
    setting.write();
    let mut command = Command::new(binary());
    command.arg("replay").arg(setting.file()).args(["--to-stream", target]).args(more);
    command.envs(setting.environment());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Starts `replay` with the keeper's configuration, into a stream on the same server.
pub fn start(setting: &Setting, target: &str, more: &[&str]) -> Child {
    command(setting, target, more).spawn().unwrap()
}

/// Runs it to its end in this folder.
pub fn replay_in(folder: &Path, setting: &Setting, target: &str, more: &[&str]) -> Done {
    Done::of(command(setting, target, more).current_dir(folder).output().unwrap())
}

/// Runs it to its end.
pub fn replay(setting: &Setting, target: &str, more: &[&str]) -> Done {
    Done::of(start(setting, target, more).wait_with_output().unwrap())
}

/// The state file that it makes by itself; there is one.
pub fn state_file(setting: &Setting) -> std::path::PathBuf {
    let files = fs::read_dir(setting.state().join("replay")).unwrap();
    let files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].clone()
}

/// How many records a state file says are done, read without the product's code.
fn done_in(file: &Path) -> u64 {
    let text = fs::read_to_string(file).unwrap_or_default();
    let whole = text.split_inclusive('\n').skip(1).filter(|line| line.ends_with('\n'));
    whole.fold(0, |done, line| {
        let note: Value = serde_json::from_str(line).unwrap();
        let lines = note["lines"].as_array().map_or(0, |ranges| {
            let ends = |range: &Value| (range[0].as_u64().unwrap(), range[1].as_u64().unwrap());
            ranges.iter().map(ends).map(|(first, last)| last - first + 1).sum()
        });
        note["records"].as_u64().unwrap_or(done + lines)
    })
}

/// Every key's payloads, in order.
type ByKey = BTreeMap<String, Vec<Vec<u8>>>;

fn archived(archive: &Archive) -> ByKey {
    let mut by_key = ByKey::new();
    for record in &archive.records {
        by_key.entry(record.partition_key.clone().unwrap()).or_default().push(record.data.clone());
    }
    by_key
}

/// A record of an earlier key comes again only right behind itself; how many do.
#[track_caller]
fn assert_order_but_for_repeats(expected: &ByKey, found: &ByKey) -> u64 {
    assert_eq!(expected.len(), found.len(), "keys");
    let mut repeats = 0;
    for (key, expected) in expected {
        let mut next = 0;
        for data in &found[key] {
            if expected.get(next) == Some(data) {
                next += 1;
            } else {
                let before = next.checked_sub(1).and_then(|before| expected.get(before));
                assert_eq!(before, Some(data), "{key}: not in order after {next} records");
                repeats += 1;
            }
        }
        assert_eq!(next, expected.len(), "{key}: records are missing");
    }
    repeats
}

/// All that a payload can be, small things most often, over keys of all sorts.
#[cfg(feature = "demo")]
fn every_odd_payload(count: usize) -> Vec<(String, Vec<u8>)> {
    let every_byte: Vec<u8> = (0..=255).collect();
    let odd: Vec<Vec<u8>> = vec![
        vec![],
        vec![0],
        vec![0xff],
        b"\n".to_vec(),
        b"\r\nlines\n\n".to_vec(),
        b"\"\\ \"\"".to_vec(),
        "\u{1f980}\u{2028}\u{feff}\u{0}\u{1b}".as_bytes().to_vec(),
        every_byte.clone(),
        vec![0xed, 0xa0, 0x80],
        "cut \u{1f980}".as_bytes()[..6].to_vec(),
        [&[0xf3, 0x89, 0x9a, 0xc2][..], &[7; 40]].concat(),
    ];
    let mut random = fastrand::Rng::with_seed(11);
    let key = |n: usize| match n % 4 {
        0 => format!("\u{30ad}\u{30fc} \"{n}\"\n"),
        1 => format!("\u{1f980}\\{n}\u{0}"),
        2 => format!("{n:0200}"),
        _ => format!("key-{n}"),
    };
    (0..count)
        .map(|n| {
            let data = match random.u32(0..100) {
                0..10 => random.choice(&odd).unwrap().clone(),
                10..20 => (0..random.usize(1..200)).map(|_| random.u8(..)).collect(),
                _ => format!("{{\"n\":{n},\"text\":\"\u{e9}\\n{}\"}}", random.u64(..)).into_bytes(),
            };
            let data = match n {
                // As large as a record may be with its key.
                1_000 | 30_000 => every_byte.repeat((1 << 20) / 256 - 2),
                n if n % 5_000 == 0 => "large \u{e9}\n".repeat(20_000).into_bytes(),
                _ => data,
            };
            (key(random.usize(0..3_000)), data)
        })
        .collect()
}

/// Archives all of a stream with a keeper of its own.
#[cfg(feature = "demo")]
fn archive_of(server: &str, stream: &str, records: u64) -> (Setting, Archive) {
    let bucket = aws::bucket("round");
    let mut setting = Setting::new(stream, &bucket).max_age("2s").max_records(4_000);
    setting.kinesis = server.to_owned();
    let mut keeper = setting.start();
    crate::support::watch::Watch::new(&bucket, "", stream).wait_archived(records, 2 * LIMIT);
    keeper.stop();
    let archive = crate::support::archive::read(&bucket, stream);
    assert_eq!(archive.records.len() as u64, records);
    (setting, archive)
}

#[cfg(feature = "demo")]
#[test]
fn fifty_thousand_odd_records_come_round_also_when_replay_is_killed_twice() {
    const RECORDS: u64 = 50_000;
    let server = crate::support::ferrokinesis::Ferrokinesis::to_fill(false);
    let endpoint = server.endpoint();
    for (stream, shards) in [("source", 3), ("round", 16), ("killed", 16)] {
        aws::create_stream_at(endpoint, stream, shards);
    }

    crate::support::putting::put(endpoint, "source", &every_odd_payload(RECORDS as usize));
    let (setting, archive) = archive_of(endpoint, "source", RECORDS);
    let expected = archived(&archive);

    // The server takes one request at a time.
    let done = replay(&setting, "round", &["--in-flight", "1", "--json"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    let summary = done.summary();
    assert_eq!((&summary["records"], &summary["finished"]), (&json!(RECORDS), &json!(true)), "{summary}");
    assert_eq!((&summary["ambiguous"], &summary["missing"]), (&json!(0), &json!(0)), "{summary}");
    let (_, round) = archive_of(endpoint, "round", RECORDS);
    assert!(archived(&round) == expected, "what comes round is not what was archived");
    fs::remove_file(state_file(&setting)).unwrap();

    for enough in [10_000, 25_000] {
        let mut child = start(&setting, "killed", &["--in-flight", "1", "--rate", "8000"]);
        let done = || setting.state().join("replay").read_dir().is_ok_and(|mut files| files.next().is_some());
        wait_for("the state file", LIMIT, || done().then_some(()));
        wait_for("enough to be done", LIMIT, || (done_in(&state_file(&setting)) > enough).then_some(()));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let before = done_in(&state_file(&setting));
    assert!(before < RECORDS, "it was killed in the middle");
    let done = replay(&setting, "killed", &["--in-flight", "1", "--json"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    let summary = done.summary();
    // Exactly what was not confirmed is sent: so nothing that was is sent again.
    assert_eq!(
        (&summary["done_before"], &summary["records"], &summary["ambiguous"]),
        (&json!(before), &json!(RECORDS - before), &json!(0)),
        "{summary}"
    );
    let mut found = ByKey::new();
    for record in aws::records(endpoint, "killed") {
        found.entry(record.key).or_default().push(record.data);
    }
    let repeats = assert_order_but_for_repeats(&expected, &found);
    eprintln!("{repeats} records are there twice after two kills");
    assert!(repeats <= 2 * 500, "{repeats} repeats: more than one request a kill");
}

#[test]
fn order_within_a_key_holds_over_reshards_of_the_source() {
    const EACH: usize = 400;
    let mut scene = Scene::new("lineage", 1);
    let setting = scene.setting().max_age("1s").max_records(150);
    let mut keeper = setting.start();
    for round in 0..3 {
        let new: Vec<_> = (0..EACH)
            .map(|n| round * EACH + n)
            .map(|n| (format!("key-{}", n % 37), format!("{{\"n\":{n}}}").into_bytes()))
            .collect();
        aws::put(&scene.stream, &new);
        scene.put.extend(new.into_iter().map(|(_, data)| data));
        let shards = aws::shards(&scene.stream);
        match round {
            0 => aws::split(&scene.stream, &shards[0]),
            1 => aws::merge(&scene.stream, &shards[1].shard_id, &shards[2].shard_id),
            _ => {}
        }
    }
    scene.wait_all_archived(LIMIT);
    keeper.stop();
    let target = aws::stream("target", 3);
    let done = replay(&setting, &target, &["--json", "--rate", "5000"]);
    assert_eq!((done.code, done.summary()["records"].as_u64()), (Some(0), Some(1_200)), "{done:?}");
    let mut last: BTreeMap<String, u64> = BTreeMap::new();
    let records = aws::records(servers::kinesis().endpoint(), &target);
    assert_eq!(records.len(), 1_200);
    for record in records {
        let n = serde_json::from_slice::<Value>(&record.data).unwrap()["n"].as_u64().unwrap();
        let before = last.insert(record.key.clone(), n);
        assert!(before.is_none_or(|before| before < n), "{}: {n} after {before:?}", record.key);
    }
}

#[test]
fn a_stop_waits_for_answers_and_the_same_command_goes_on_without_a_repeat() {
    let mut scene = Scene::new("stopped", 2);
    let setting = scene.setting().max_age("1s").max_records(100);
    let mut keeper = setting.start();
    scene.put(1_000);
    scene.wait_all_archived(LIMIT);
    keeper.stop();
    let target = aws::stream("target", 2);
    let endpoint = servers::kinesis().endpoint();
    for signal in [Signal::INT, Signal::TERM] {
        let before = aws::records(endpoint, &target).len();
        let child = start(&setting, &target, &["--json", "--rate", "40"]);
        let grew = || (aws::records(endpoint, &target).len() > before).then_some(());
        wait_for("the first records", LIMIT, grew);
        kill_process(Pid::from_child(&child), signal).unwrap();
        let done = Done::of(child.wait_with_output().unwrap());
        assert_eq!(done.code, Some(1), "{done:?}");
        assert!(done.stderr.contains("the same command goes on"), "{done:?}");
        let summary = done.summary();
        let there = aws::records(endpoint, &target).len() as u64;
        assert_eq!(
            (&summary["finished"], there),
            (&json!(false), done_in(&state_file(&setting))),
            "{summary}"
        );
        assert_eq!(there, before as u64 + summary["records"].as_u64().unwrap());
    }
    let done = replay(&setting, &target, &["--json"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    let mut found: Vec<_> = aws::records(endpoint, &target).into_iter().map(|record| record.data).collect();
    found.sort_unstable();
    scene.put.sort_unstable();
    assert!(found == scene.put, "each record once");
    let again = replay(&setting, &target, &["--json"]);
    assert_eq!((again.code, again.summary()["records"].as_u64()), (Some(0), Some(0)), "{again:?}");
    assert!(again.stderr.contains("nothing is left"), "{again:?}");
}
