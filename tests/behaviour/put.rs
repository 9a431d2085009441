//! `put`, the batch dispatcher: the real binary against emulators, and against a proxy that fails entries.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64_simd::STANDARD;
use md5::Digest;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::support::http::Message;
use crate::support::proxy::{Action, Proxy, Request, kinesis_error};
use crate::support::putting::{Done, Put, failing_entries, failing_third};
use crate::support::{aws, fresh, hex, servers, wait_for};

const LIMIT: Duration = Duration::from_secs(120);

fn lines(count: usize) -> (Vec<Vec<u8>>, Vec<u8>) {
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
fn assert_each_once(endpoint: &str, stream: &str, items: &[Vec<u8>]) {
    let counts = counts(endpoint, stream);
    let missing = items.iter().filter(|item| !counts.contains_key(*item)).count();
    let doubled = counts.values().filter(|count| **count > 1).count();
    assert_eq!((counts.len(), missing, doubled), (items.len(), 0, 0), "in the stream, missing, doubled");
}

fn is_put(request: &Request) -> bool {
    request.operation == "PutRecords"
}

fn written(folder: &Path, name: &str, text: impl AsRef<[u8]>) -> std::path::PathBuf {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    path
}

/// A stream out of the can: takes all that it is given, and notes the entries of each request and their bytes.
#[derive(Clone, Default)]
struct Sink {
    requests: Arc<Mutex<Vec<(usize, usize)>>>,
}

fn shard(n: usize, of: usize) -> Value {
    let width = u128::MAX / of as u128;
    let end = if n + 1 == of { u128::MAX } else { width * (n as u128 + 1) - 1 };
    json!({"ShardId": format!("shardId-{n:012}"),
        "HashKeyRange": {"StartingHashKey": (width * n as u128).to_string(), "EndingHashKey": end.to_string()},
        "SequenceNumberRange": {"StartingSequenceNumber": "1"}})
}

impl Sink {
    fn serve(&self, open_shards: usize, max_record_kib: usize) -> Proxy {
        let proxy = Proxy::new("http://127.0.0.1:9");
        let sink = self.clone();
        let answer = move |request: &Request| sink.answer(request, open_shards, max_record_kib);
        proxy.always(|_| true, Action::Compute(Arc::new(answer)));
        proxy
    }

    fn answer(&self, request: &Request, open: usize, kib: usize) -> Message {
        let body = match request.operation.as_str() {
            "DescribeStreamSummary" => {
                json!({"StreamDescriptionSummary": {"StreamName": "s", "StreamARN": "arn",
                "StreamStatus": "ACTIVE", "RetentionPeriodHours": 24, "StreamCreationTimestamp": 1_790_000_000.0,
                "EnhancedMonitoring": [], "OpenShardCount": open, "MaxRecordSizeInKiB": kib}})
            }
            "ListShards" => json!({"Shards": (0..open).map(|n| shard(n, open)).collect::<Vec<_>>()}),
            "PutRecords" => self.take(request),
            other => panic!("no {other} here"),
        };
        Message::response(200, "application/x-amz-json-1.1", body.to_string())
    }

    fn take(&self, request: &Request) -> Value {
        let asked: Value = serde_json::from_slice(&request.message.body).unwrap();
        let records = asked["Records"].as_array().unwrap();
        let size = |record: &Value| {
            STANDARD.decode_to_vec(record["Data"].as_str().unwrap()).unwrap().len()
                + record["PartitionKey"].as_str().unwrap().len()
        };
        self.requests.lock().unwrap().push((records.len(), records.iter().map(size).sum()));
        let stored = json!({"ShardId": "shardId-000000000000", "SequenceNumber": "49"});
        json!({"FailedRecordCount": 0, "Records": vec![stored; records.len()]})
    }

    fn requests(&self) -> Vec<(usize, usize)> {
        let mut requests = self.requests.lock().unwrap().clone();
        requests.sort_unstable_by(|a, b| b.cmp(a));
        requests
    }
}

#[cfg(feature = "demo")]
#[test]
fn a_hundred_thousand_records_through_enforced_limits_are_stored_once_each() {
    let server = crate::support::ferro::Ferro::start(true);
    aws::create_stream_at(server.endpoint(), "limited", 24);
    let (items, text) = lines(100_000);
    let done = Put::new(server.endpoint(), "limited").with("--in-flight 1 --json").input(text).run();
    assert_eq!(done.code, Some(0), "{done:?}");
    let summary = done.summary();
    assert_eq!((&summary["records"], &summary["finished"]), (&json!(100_000), &json!(true)), "{summary}");
    assert_eq!(summary["ambiguous"], 0, "{summary}");
    // The token buckets keep to the limits by themselves.
    assert!(summary["throttled"].as_u64().unwrap() < 10_000, "{summary}");
    assert_each_once(server.endpoint(), "limited", &items);
}

#[cfg(feature = "demo")]
#[test]
fn a_hundred_thousand_records_are_stored_once_each_although_a_third_of_the_entries_fails() {
    let server = crate::support::ferro::Ferro::start(false);
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
fn five_hundred_records_are_one_request_and_one_more_are_two() {
    for (count, requests) in [(500, vec![500]), (501, vec![500, 1])] {
        let sink = Sink::default();
        // So many shards that none of them gets its fill.
        let proxy = sink.serve(32, 1024);
        let done = Put::new(proxy.endpoint(), "s").with("--buffer-time 60s").input(lines(count).1).run();
        assert_eq!(done.code, Some(0), "{done:?}");
        let sent: Vec<_> = sink.requests().into_iter().map(|(entries, _)| entries).collect();
        assert_eq!(sent, requests);
    }
}

#[test]
fn a_record_of_the_streams_most_is_put_and_one_byte_more_is_a_dead_letter_that_hurts_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let dead = folder.path().join("dead.ndjson");
    for kib in [1024, 10_240] {
        let sink = Sink::default();
        let proxy = sink.serve(32, kib);
        // A random key has sixteen bytes.
        let most = (kib << 10) - 16;
        let text = [&b"small\n"[..], &vec![b'x'; most], b"\n", &vec![b'y'; most + 1], b"\nlast\n"].concat();
        let put = Put::new(proxy.endpoint(), "s").with("--dead-letter").path(&dead);
        let done = put.input(text).run();
        assert_eq!(done.code, Some(1), "{done:?}");
        assert!(done.stderr.contains("standard input:3: the record has"), "{}", done.stderr);
        let (count, bytes) = sink.requests().iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        assert_eq!((count, bytes), (3, most + "smalllast".len() + 3 * 16));
        assert!(sink.requests().iter().all(|(_, bytes)| *bytes <= 10 << 20));
        let letter: Value = serde_json::from_slice(&fs::read(&dead).unwrap()).unwrap();
        assert_eq!(letter["data"].as_str().unwrap().len(), most + 1);
        assert_eq!(letter["input"], "standard input:3");
        fs::remove_file(&dead).unwrap();
    }
}

#[test]
fn empty_lines_are_passed_over_and_every_other_byte_is_kept() {
    let (kinesis, stream) = (servers::kinesis().endpoint(), aws::stream("lines", 1));
    let put = |arguments: &str, input: &[u8]| {
        let done = Put::new(kinesis, &stream).with("--json").with(arguments).input(input).run();
        assert_eq!(done.code, Some(0), "{done:?}");
        done.summary()
    };
    let summary = put("--partition-key lines", b"one\n\n two\r\n\xff\xfe\nno end");
    assert_eq!((&summary["records"], &summary["empty"]), (&json!(4), &json!(1)));
    put("--partition-key nul --null", b"a\nb\0c\0");
    put(
        "--envelope --partition-key none",
        b"{\"data\":\"\"}\n{\"data_base64\":\"AP8=\",\"partition_key\":\"own\"}\n",
    );
    let mut keys = BTreeMap::<String, Vec<Vec<u8>>>::new();
    for record in aws::records(kinesis, &stream) {
        keys.entry(record.key).or_default().push(record.data);
    }
    let expected: [(&str, &[&[u8]]); 4] = [
        ("lines", &[b"one", b" two\r", b"\xff\xfe", b"no end"]),
        ("nul", &[b"a\nb", b"c"]),
        ("none", &[b""]),
        ("own", &[&[0, 255]]),
    ];
    let expected = expected
        .iter()
        .map(|(key, items)| (key.to_string(), items.iter().map(|item| item.to_vec()).collect::<Vec<_>>()));
    assert_eq!(keys, expected.collect::<BTreeMap<_, _>>());
}

#[test]
fn records_without_the_key_field_are_told_and_kept_and_the_others_go() {
    let (kinesis, stream) = (servers::kinesis().endpoint(), aws::stream("keys", 1));
    let folder = tempfile::tempdir().unwrap();
    let dead = folder.path().join("dead.ndjson");
    let text = "{\"user\":{\"id\":\"a\"}}\nnot json\n{\"user\":{\"id\":7}}\n{}\n{\"user\":{\"id\":\"b\"}}\n";
    let file = written(folder.path(), "in.ndjson", text);
    let put = Put::new(kinesis, &stream).with("--partition-key-field user.id");
    let done = put.with("--dead-letter").path(&dead).path(&file).run();
    assert_eq!(done.code, Some(1), "{done:?}");
    for said in [
        "in.ndjson:2: not JSON, so that it has no field `user.id`",
        "in.ndjson:3: field `user.id` is a number and not text",
        "in.ndjson:4: it has no field `user.id`",
        "3 could not be put: ",
    ] {
        assert!(done.stderr.contains(said), "{said} in {}", done.stderr);
    }
    let keys: Vec<_> = aws::records(kinesis, &stream).into_iter().map(|record| record.key).collect();
    assert_eq!(keys, ["a", "b"]);
    let letters = fs::read_to_string(&dead).unwrap();
    assert_eq!(letters.lines().count(), 3);
    let again = Put::new(kinesis, &stream).with("--envelope --partition-key k").path(&dead).run();
    assert_eq!(again.code, Some(0), "{again:?}");
    let data: Vec<_> = aws::records(kinesis, &stream).into_iter().map(|record| record.data).collect();
    assert_eq!(data[2..], [&b"not json"[..], b"{\"user\":{\"id\":7}}", b"{}"]);
    // Without a file of dead letters each error is told.
    let done = Put::new(kinesis, &stream).with("--partition-key-field user.id").input(text).run();
    assert_eq!(done.code, Some(1));
    assert!(done.stderr.contains("standard input:4: it has no field"), "{}", done.stderr);
}

#[test]
fn a_stream_that_cant_be_reached_or_takes_nothing_is_said_at_once() {
    let nowhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let done = Put::new(&format!("http://{nowhere}"), "s").input("a\n").run();
    assert_eq!(done.code, Some(1));
    assert!(done.stderr.contains("nothing can be put into s: DescribeStreamSummary failed: "), "{done:?}");
    let proxy = Sink::default().serve(0, 1024);
    let done = Put::new(proxy.endpoint(), "s").input("a\n").run();
    assert_eq!(done.code, Some(1));
    assert!(done.stderr.contains("the stream has no open shard"), "{done:?}");
    let missing = fresh("missing");
    let done = Put::new(servers::kinesis().endpoint(), &missing).input("a\n").run();
    assert_eq!(done.code, Some(1));
    assert!(done.stderr.contains("ResourceNotFoundException"), "{done:?}");
    let made = Put::new(servers::kinesis().endpoint(), &missing).with("--create 2").input("a\n").run();
    assert_eq!(made.code, Some(0), "{made:?}");
    assert_eq!(aws::shards(&missing).len(), 2);
}

#[test]
fn refused_credentials_end_it_and_nothing_is_lost() {
    let (kinesis, stream) = (servers::kinesis().endpoint(), aws::stream("refused", 1));
    let proxy = Proxy::new(kinesis);
    let denied = proxy.always(|_| true, kinesis_error("UnrecognizedClientException"));
    let done = Put::new(proxy.endpoint(), &stream).input("a\n").run();
    assert_eq!(done.code, Some(1));
    assert!(done.stderr.contains("AWS does not know these credentials"), "{done:?}");
    denied.end();

    // In the middle: what was not stored is among the dead letters, or was not read.
    let taken = proxy.first(2, is_put, Action::Pass);
    proxy.always(is_put, kinesis_error("ExpiredTokenException"));
    let folder = tempfile::tempdir().unwrap();
    let (items, text) = lines(1_000);
    let file = written(folder.path(), "in.ndjson", text);
    let dead = folder.path().join("dead.ndjson");
    let put = Put::new(proxy.endpoint(), &stream).with("--json --rate 200 --dead-letter").path(&dead);
    let done = put.path(&file).run();
    assert_eq!((done.code, taken.used()), (Some(1), 2), "{done:?}");
    assert!(done.stderr.contains("the credentials have expired: renew them"), "{done:?}");
    let summary = done.summary();
    let skip = summary["done"].as_u64().unwrap();
    assert!(skip > 0 && skip < 1_000 && summary["finished"] == false, "{summary}");
    let put = Put::new(kinesis, &stream).with("--envelope").path(&dead).run();
    assert_eq!(put.code, Some(0), "{put:?}");
    let put = Put::new(kinesis, &stream).with(&format!("--skip {skip}")).path(&file).run();
    assert_eq!(put.code, Some(0), "{put:?}");
    assert_each_once(kinesis, &stream, &items);
}

#[test]
fn a_stream_resharded_in_the_middle_gets_every_record_once() {
    for arguments in ["--ordered", "--aggregate"] {
        let (kinesis, stream) = (servers::kinesis().endpoint(), aws::stream("resharded", 1));
        let (items, text) = lines(4_000);
        let put = Put::new(kinesis, &stream)
            .with("--json --partition-key-field user --rate 1000 --buffer-time 100ms");
        let child = put.with(arguments).input(text).start();
        wait_for("the first records", LIMIT, || (!aws::records(kinesis, &stream).is_empty()).then_some(()));
        let shard = aws::shards(&stream).remove(0);
        aws::split(&stream, &shard);
        let done = Done::of(child.wait_with_output().unwrap());
        assert_eq!(done.code, Some(0), "{done:?}");
        assert_eq!(done.summary()["records"], 1_500);
        if arguments == "--aggregate" {
            // What came to a shard where it does not belong was sent again; readers pass over the stray ones.
            assert!(done.summary()["aggregates"].as_u64().unwrap() > 0);
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

/// Key and payload of each user record, as AWS's own library for Python takes the records apart.
fn deaggregated(records: &[aws::Read]) -> Vec<(String, Vec<u8>)> {
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
    let lines = text.lines().map(|line| line.split_once(' ').unwrap());
    lines.map(|(key, hex)| (key.to_owned(), hex.as_bytes().chunks(2).map(byte).collect())).collect()
}

#[test]
fn aggregates_are_taken_apart_by_another_library_and_lie_where_their_records_belong() {
    let (kinesis, stream) = (servers::kinesis().endpoint(), aws::stream("aggregates", 3));
    let (items, text) = lines(2_000);
    let put = Put::new(kinesis, &stream).with("--json --aggregate --ordered --partition-key-field user");
    let done = put.input(text).run();
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_eq!(done.summary()["records"], 2_000);
    let shards = aws::shards(&stream);
    let mut all = Vec::new();
    for shard in &shards {
        let mut records = aws::records(kinesis, &stream);
        records.retain(|record| record.shard == shard.shard_id);
        assert!(records.len() < 100, "{} records are no aggregates", records.len());
        let range = shard.hash_key_range.as_ref().unwrap();
        let (start, end): (u128, u128) =
            (range.starting_hash_key.parse().unwrap(), range.ending_hash_key.parse().unwrap());
        let mut last = HashMap::new();
        for (key, data) in deaggregated(&records) {
            let hash_key = u128::from_be_bytes(md5::Md5::digest(key.as_bytes()).into());
            assert!((start..=end).contains(&hash_key), "{key} lies in {}", shard.shard_id);
            let payload: Value = serde_json::from_slice(&data).unwrap();
            assert_eq!(payload["user"], key);
            let before = last.insert(key, payload["n"].as_u64().unwrap());
            assert!(before.is_none_or(|before| before < payload["n"].as_u64().unwrap()));
            all.push(data);
        }
    }
    all.sort_unstable();
    let mut items = items;
    items.sort_unstable();
    assert!(all == items, "{} of {} records", all.len(), items.len());
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

#[test]
fn the_archives_own_files_can_be_put() {
    let (kinesis, stream) = (servers::kinesis().endpoint(), aws::stream("envelopes", 1));
    let folder = tempfile::tempdir().unwrap();
    let text = concat!(
        r#"{"sequence_number":"49","approximate_arrival_timestamp":"2026-11-22T05:11:00.123Z","partition_key":"a","data":"x\n"}"#,
        "\n",
        r#"{"sequence_number":"50","sub_sequence_number":0,"approximate_arrival_timestamp":"2026-11-22T05:11:00.123Z","partition_key":"b","explicit_hash_key":"7","data_base64":"AP8="}"#,
        "\n",
        "{broken\n",
    );
    let path = folder.path().join("shardId-000000000000-49.ndjson.gz");
    let mut gz = flate2::write::GzEncoder::new(fs::File::create(&path).unwrap(), flate2::Compression::fast());
    gz.write_all(text.as_bytes()).unwrap();
    gz.finish().unwrap();
    let dead = folder.path().join("dead.ndjson");
    let done = Put::new(kinesis, &stream).with("--envelope --dead-letter").path(&dead).path(&path).run();
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(done.stderr.contains(".ndjson.gz:3: not an envelope line"), "{}", done.stderr);
    let records: Vec<_> =
        aws::records(kinesis, &stream).into_iter().map(|record| (record.key, record.data)).collect();
    assert_eq!(records, [("a".to_owned(), b"x\n".to_vec()), ("b".to_owned(), vec![0, 255])]);
    let letter: Value = serde_json::from_slice(&fs::read(&dead).unwrap()).unwrap();
    assert_eq!(letter["line"], "{broken");
}

#[test]
fn an_answer_that_never_came_is_counted_and_the_records_are_sent_again() {
    let (kinesis, stream) = (servers::kinesis().endpoint(), aws::stream("ambiguous", 1));
    let proxy = Proxy::new(kinesis);
    proxy.first(1, is_put, Action::ApplyThenClose);
    let counted = proxy.count(is_put);
    let done = Put::new(proxy.endpoint(), &stream).with("--json").input("one\ntwo\n").run();
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_eq!((&done.summary()["ambiguous"], counted.used()), (&json!(2), 1), "{done:?}");
    assert_eq!(aws::records(kinesis, &stream).len(), 4, "at least once, and said so");
}
