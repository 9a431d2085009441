//! `put`, the batch dispatcher: the real binary against emulators, and against a proxy that fails entries.

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use md5::Digest;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::support::proxy::{Proxy, Request};
use crate::support::putting::{Done, Put, failing_entries, failing_third};
use crate::support::{aws, hex, servers, wait_for};

pub const LIMIT: Duration = Duration::from_secs(120);

pub fn lines(count: usize) -> (Vec<Vec<u8>>, Vec<u8>) {
    let items: Vec<_> =
        (0..count).map(|n| format!("{{\"n\":{n},\"user\":\"u{}\"}}", n % 997).into_bytes()).collect();
    let text = items.iter().flat_map(|item| [item.as_slice(), b"\n"].concat()).collect();
    (items, text)
}

/// How often each payload is in the stream.
fn counts(endpoint: &str, stream: &str) -> HashMap<Vec<u8>, usize> {
    let mut counts = HashMap::new();
    for record in aws::records(endpoint, stream) {
        *counts.entry(record.data).or_default() += 1;
    }
    counts
}

#[track_caller]
pub fn assert_each_once(endpoint: &str, stream: &str, items: &[Vec<u8>]) {
    let counts = counts(endpoint, stream);
    let missing = items.iter().filter(|item| !counts.contains_key(*item)).count();
    let doubled = counts.values().filter(|count| **count > 1).count();
    assert_eq!((counts.len(), missing, doubled), (items.len(), 0, 0), "in the stream, missing, doubled");
}

pub fn is_put(request: &Request) -> bool {
    request.operation == "PutRecords"
}

pub fn written(folder: &Path, name: &str, text: impl AsRef<[u8]>) -> std::path::PathBuf {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    path
}

#[cfg(feature = "demo")]
#[test]
fn a_hundred_thousand_records_through_enforced_limits_are_stored_once_each() {
    let server = crate::support::ferrokinesis::Ferrokinesis::to_fill(true);
    // So few that their limits are what takes the time.
    aws::create_stream_at(server.endpoint(), "limited", 6);
    let (items, text) = lines(100_000);
    let done = Put::new(server.endpoint(), "limited").with("--in-flight 1 --json").input(text).run();
    assert_eq!(done.code, Some(0), "{done:?}");
    let summary = done.summary();
    assert_eq!((&summary["records"], &summary["finished"]), (&json!(100_000), &json!(true)), "{summary}");
    assert_eq!(summary["ambiguous"], 0, "{summary}");
    // The token buckets keep to the limits by themselves.
    assert!(summary["throttled"].as_u64().unwrap() < 5_000, "{summary}");
    assert_each_once(server.endpoint(), "limited", &items);
}

#[cfg(feature = "demo")]
#[test]
fn a_hundred_thousand_records_are_stored_once_each_although_a_third_of_the_entries_fails() {
    let server = crate::support::ferrokinesis::Ferrokinesis::to_fill(false);
    aws::create_stream_at(server.endpoint(), "failing", 100);
    let proxy = Proxy::new(server.endpoint());
    proxy.always(is_put, failing_third());
    let (items, text) = lines(100_000);
    let put = Put::new(proxy.endpoint(), "failing").with("--in-flight 1 --json --partition-key-field user");
    let done = put.input(text).run();
    assert_eq!(done.code, Some(0), "{done:?}");
    let summary = done.summary();
    assert!(summary["retried"].as_u64().unwrap() > 30_000, "{summary}");
    assert_eq!((&summary["records"], &summary["ambiguous"]), (&json!(100_000), &json!(0)), "{summary}");
    assert_each_once(server.endpoint(), "failing", &items);
}

#[test]
fn a_killed_put_goes_on_where_it_was_and_its_dead_letters_can_be_put() {
    let (kinesis, stream) = (servers::kinesis().endpoint(), aws::stream("killed", 2));
    let proxy = Proxy::new(kinesis);
    // Every hundredth entry is refused for good, until the rule is ended.
    let mut nth = 0;
    let refusing = proxy.always(
        is_put,
        failing_entries(move || {
            nth += 1;
            (nth % 100 == 0).then_some("AccessDeniedException")
        }),
    );
    let folder = tempfile::tempdir().unwrap();
    let (items, text) = lines(1_500);
    let file = written(folder.path(), "events.ndjson", text);
    let (resume, dead) = (folder.path().join("put.resume"), folder.path().join("dead.ndjson"));
    let put = || {
        let put = Put::new(proxy.endpoint(), &stream).with("--json --resume").path(&resume);
        put.with("--dead-letter").path(&dead).path(&file)
    };
    let done_so_far = || {
        let text = fs::read_to_string(&resume).unwrap_or_default();
        serde_json::from_str::<Value>(&text).ok().and_then(|file| file["done"].as_u64()).unwrap_or(0)
    };
    // Slow enough to be killed in the middle, and to be seen to remember.
    let mut child = put().with("--rate 200").start();
    let before = wait_for("the resume file", LIMIT, || Some(done_so_far()).filter(|done| *done > 200));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(before < 1_500);

    let second = put().run();
    assert_eq!(second.code, Some(1), "some are among the dead letters: {second:?}");
    let summary = second.summary();
    assert!(summary["skipped"].as_u64().unwrap() >= before, "{summary}");
    assert_eq!((&summary["finished"], &summary["done"]), (&json!(true), &json!(1_500)), "{summary}");
    let letters = fs::read_to_string(&dead).unwrap().lines().count();
    assert!(letters >= 10, "{letters} dead letters");

    refusing.end();
    let third = Put::new(proxy.endpoint(), &stream).with("--json --envelope").path(&dead).run();
    assert_eq!(third.code, Some(0), "{third:?}");
    assert_eq!(third.summary()["records"], letters);
    let counts = counts(kinesis, &stream);
    let missing = items.iter().filter(|item| !counts.contains_key(*item)).count();
    assert_eq!((missing, counts.len()), (0, 1_500));
    // What was acknowledged and not yet remembered when it was killed is there twice: a second's worth or so.
    let doubled = counts.values().filter(|count| **count > 1).count();
    assert!(doubled < 1_000, "{doubled} doubled");
}

#[test]
fn a_stream_resharded_in_the_middle_gets_every_record_once() {
    for arguments in ["--ordered", "--aggregate"] {
        let (kinesis, stream) = (servers::kinesis().endpoint(), aws::stream("resharded", 1));
        let (items, text) = lines(1_500);
        let put = Put::new(kinesis, &stream)
            .with("--json --partition-key-field user --rate 200 --buffer-time 100ms");
        let child = put.with(arguments).input(text).start();
        wait_for("the first records", LIMIT, || (!aws::records(kinesis, &stream).is_empty()).then_some(()));
        let shard = aws::shards(&stream).remove(0);
        aws::split(&stream, &shard);
        let done = Done::of(child.wait_with_output().unwrap());
        assert_eq!(done.code, Some(0), "{done:?}");
        assert_eq!(done.summary()["records"], 1_500);
        if arguments == "--aggregate" {
            assert!(done.summary()["aggregates"].as_u64().unwrap() > 0);
            assert_same(items, seen_by_readers(kinesis, &stream).0);
            continue;
        }
        assert_each_once(kinesis, &stream, &items);
        let records = aws::records(kinesis, &stream);
        assert!(records.iter().any(|record| record.shard != shard.shard_id), "the children got some");
        let mut last = HashMap::new();
        for record in &records {
            let payload: Value = serde_json::from_slice(&record.data).unwrap();
            let n = payload["n"].as_u64().unwrap();
            let before = last.insert(record.key.clone(), n);
            assert!(before.is_none_or(|before| before < n), "{}: {n} after {before:?}", record.key);
        }
    }
}

/// The user records of each record, key and payload, as AWS's own library for Python takes them apart.
fn deaggregated(records: &[aws::Read]) -> Vec<Vec<(String, Vec<u8>)>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/python/deaggregate.py");
    let mut command = Command::new(servers::python());
    command.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut to = child.stdin.take().unwrap();
    let text: String =
        records.iter().map(|record| format!("{} {}\n", record.key, hex(&record.data))).collect();
    let writing = std::thread::spawn(move || to.write_all(text.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writing.join().unwrap().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    let mut users = vec![Vec::new(); records.len()];
    for line in text.lines() {
        let fields: Vec<_> = line.split(' ').collect();
        let payload = fields[2].as_bytes().chunks(2).map(byte).collect();
        users[fields[0].parse::<usize>().unwrap()].push((fields[1].to_owned(), payload));
    }
    users
}

/// The user records that readers of the stream see: all but those of an aggregate that came to a shard where
/// not all of them belong. And how many such aggregates there were.
fn seen_by_readers(endpoint: &str, stream: &str) -> (Vec<(String, Vec<u8>)>, usize) {
    let ranges: HashMap<_, _> = aws::shards(stream)
        .into_iter()
        .map(|shard| {
            let range = shard.hash_key_range.unwrap();
            let bound = |text: &str| text.parse::<u128>().unwrap();
            (shard.shard_id, bound(&range.starting_hash_key)..=bound(&range.ending_hash_key))
        })
        .collect();
    let records = aws::records(endpoint, stream);
    let (mut seen, mut astray) = (Vec::new(), 0);
    for (record, users) in records.iter().zip(deaggregated(&records)) {
        let range = &ranges[&record.shard];
        let hash_key = |key: &str| u128::from_be_bytes(md5::Md5::digest(key.as_bytes()).into());
        if users.iter().all(|(key, _)| range.contains(&hash_key(key))) {
            seen.extend(users);
        } else {
            astray += 1;
        }
    }
    (seen, astray)
}

#[test]
fn aggregates_are_taken_apart_by_another_library_and_lie_where_their_records_belong() {
    let (kinesis, stream) = (servers::kinesis().endpoint(), aws::stream("aggregates", 3));
    let (items, text) = lines(2_000);
    let put = Put::new(kinesis, &stream).with("--json --aggregate --ordered --partition-key-field user");
    let done = put.input(text).run();
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_eq!(done.summary()["records"], 2_000);
    assert!(aws::records(kinesis, &stream).len() < 200, "they are aggregates");
    let (seen, astray) = seen_by_readers(kinesis, &stream);
    assert_eq!(astray, 0);
    let mut last = HashMap::new();
    for (key, data) in &seen {
        let payload: Value = serde_json::from_slice(data).unwrap();
        assert_eq!(payload["user"], **key);
        let n = payload["n"].as_u64().unwrap();
        let before = last.insert(key.clone(), n);
        assert!(before.is_none_or(|before| before < n), "{key}: {n} after {before:?}");
    }
    assert_same(items, seen);
}

/// Each payload was seen once.
#[track_caller]
fn assert_same(mut items: Vec<Vec<u8>>, seen: Vec<(String, Vec<u8>)>) {
    let mut seen: Vec<_> = seen.into_iter().map(|(_, data)| data).collect();
    seen.sort_unstable();
    items.sort_unstable();
    assert!(seen == items, "{} were put and {} seen", items.len(), seen.len());
}

#[test]
fn a_stop_delivers_what_was_taken_and_tells_where_to_go_on() {
    let (kinesis, stream) = (servers::kinesis().endpoint(), aws::stream("stopped", 1));
    let folder = tempfile::tempdir().unwrap();
    let (items, text) = lines(2_000);
    let file = written(folder.path(), "in.ndjson", text);
    let child = Put::new(kinesis, &stream).with("--json --rate 200").path(&file).start();
    wait_for("the first records", LIMIT, || (!aws::records(kinesis, &stream).is_empty()).then_some(()));
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let done = Done::of(child.wait_with_output().unwrap());
    assert_eq!(done.code, Some(1), "{done:?}");
    let summary = done.summary();
    let skip = summary["done"].as_u64().unwrap();
    assert_eq!(summary["records"], skip, "{summary}");
    assert!(skip > 0 && skip < 2_000, "{summary}");
    assert_eq!(summary["next"], format!("{}:{}", file.display(), skip + 1));
    assert!(done.stderr.contains(&format!("go on with --skip {skip}")), "{done:?}");
    let done = Put::new(kinesis, &stream).with(&format!("--skip {skip}")).path(&file).run();
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_each_once(kinesis, &stream, &items);
}

#[test]
fn a_stop_on_a_pipe_puts_what_was_read_and_is_no_failure() {
    let (kinesis, stream) = (servers::kinesis().endpoint(), aws::stream("pipe", 1));
    let mut child = Put::new(kinesis, &stream).with("--json").start_open();
    let mut to = child.stdin.take().unwrap();
    to.write_all(b"one\ntwo\n").unwrap();
    wait_for("both records", LIMIT, || (aws::records(kinesis, &stream).len() == 2).then_some(()));
    to.write_all(b"three\n").unwrap();
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let done = Done::of(child.wait_with_output().unwrap());
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_eq!(aws::records(kinesis, &stream).len() as u64, done.summary()["records"].as_u64().unwrap());
}
