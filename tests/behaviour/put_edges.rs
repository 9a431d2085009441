//! `put` at its edges: sizes, odd input, streams that are not there, credentials that are refused.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64_simd::STANDARD;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::put::{LIMIT, assert_each_once, is_put, lines, written};
use crate::support::http::Message;
use crate::support::proxy::{Action, Proxy, Request, kinesis_error};
use crate::support::putting::{Done, Put, failing_entries};
use crate::support::{aws, fresh, servers, wait_for};

/// A stream out of the can: takes all that it is given, and notes the entries of each request and their bytes.
#[derive(Clone, Default)]
struct Sink {
    requests: Arc<Mutex<Vec<(usize, usize)>>>,
    /// It distributes records by itself.
    auto: bool,
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
                let strategy = if self.auto { "AUTO" } else { "USER_PARTITION_KEY" };
                json!({"StreamDescriptionSummary": {"StreamName": "s", "StreamARN": "arn",
                "RecordDistributionStrategy": strategy, "StreamStatus": "ACTIVE", "RetentionPeriodHours": 24, "StreamCreationTimestamp": 1_790_000_000.0,
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

    /// The entries of all requests.
    fn sent(&self) -> usize {
        self.requests.lock().unwrap().iter().map(|(entries, _)| *entries).sum()
    }

    fn requests(&self) -> Vec<(usize, usize)> {
        let mut requests = self.requests.lock().unwrap().clone();
        requests.sort_unstable_by(|a, b| b.cmp(a));
        requests
    }
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
fn a_stream_that_is_busy_at_the_start_is_waited_for() {
    let (kinesis, stream) = (servers::kinesis().endpoint(), aws::stream("busy", 1));
    let proxy = Proxy::new(kinesis);
    let busy = |operation: &'static str, code| {
        proxy.first(3, move |request: &Request| request.operation == operation, kinesis_error(code))
    };
    let (describing, listing) = (
        busy("DescribeStreamSummary", "LimitExceededException"),
        busy("ListShards", "ResourceInUseException"),
    );
    let done = Put::new(proxy.endpoint(), &stream).input("a\n").run();
    assert_eq!((done.code, describing.used(), listing.used()), (Some(0), 3, 3), "{done:?}");
    assert_eq!(aws::records(kinesis, &stream).len(), 1);
}

#[test]
fn what_a_stream_that_distributes_records_by_itself_cant_do_is_refused_or_told() {
    let sink = Sink { auto: true, ..Sink::default() };
    let proxy = sink.serve(2, 1024);
    for option in ["--aggregate", "--ordered", "--aggregate --ordered"] {
        let done = Put::new(proxy.endpoint(), "s").with(option).input("a\nb\n").run();
        assert_eq!(done.code, Some(2), "{done:?}");
        let option = option.split(' ').next().unwrap();
        assert!(
            done.stderr.contains("s distributes records by itself (record distribution AUTO)"),
            "{done:?}"
        );
        assert!(done.stderr.contains(&format!("leave out {option}, or set")), "{done:?}");
    }
    assert_eq!(sink.requests(), [], "nothing was put");
    for (option, told) in [("--json", 0), ("--partition-key k", 1), ("--partition-key-field user", 1)] {
        let input = "{\"user\":\"a\"}\n{\"user\":\"b\"}\n";
        let done = Put::new(proxy.endpoint(), "s").with(option).input(input).run();
        assert_eq!(done.code, Some(0), "{done:?}");
        assert_eq!(done.stderr.matches("ignores partition keys").count(), told, "{done:?}");
    }
    let done = Put::new(proxy.endpoint(), "s").with("--envelope").input("{\"data\":\"a\"}\n").run();
    assert!(done.code == Some(0) && done.stderr.contains("ignores partition keys"), "{done:?}");
}

#[test]
fn a_stream_switched_to_auto_in_the_middle_gets_each_record_bare_after_one_aggregate_and_says_so() {
    let sink = Sink::default();
    // Whatever the hash key, the first shard has it.
    let proxy = sink.serve(2, 1024);
    let put = Put::new(proxy.endpoint(), "s").with("--json --aggregate --partition-key-field user");
    let text: String = (0..200).map(|n| format!("{{\"user\":\"user-{n}\",\"n\":{n}}}\n")).collect();
    let done = put.input(text).run();
    assert_eq!(done.code, Some(0), "{done:?}");
    let summary = done.summary();
    assert_eq!((&summary["records"], &summary["failed"]), (&json!(200), &json!(0)), "{summary}");
    let retried = summary["retried"].as_u64().unwrap();
    let entries: usize = sink.requests().iter().map(|(entries, _)| *entries).sum();
    assert!(retried > 0 && retried <= 200 && entries < 210, "{entries} entries, {summary}");
    assert!(done.stderr.contains("their records were put again, bare"), "{done:?}");
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
    let packed = folder.path().join("shardId-000000000000-49.ndjson.zst");
    fs::write(&packed, zstd::encode_all(text.split_inclusive('\n').next().unwrap().as_bytes(), 3).unwrap())
        .unwrap();
    let other = aws::stream("envelopes", 1);
    let done = Put::new(kinesis, &other).with("--envelope").path(&packed).run();
    assert_eq!(done.code, Some(0), "{done:?}");
    let first = aws::records(kinesis, &other).remove(0);
    assert_eq!((first.key.as_str(), &first.data[..]), ("a", &b"x\n"[..]));
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

#[test]
fn the_rate_holds_after_a_pause_and_after_a_stop() {
    let sink = Sink::default();
    let proxy = sink.serve(1, 1024);
    let folder = tempfile::tempdir().unwrap();
    let dead = folder.path().join("dead.ndjson");
    let put = Put::new(proxy.endpoint(), "s").with("--json --rate 20 --buffer-time 10ms --dead-letter");
    let mut child = put.path(&dead).start_open();
    let mut to = child.stdin.take().unwrap();
    to.write_all(b"first\n").unwrap();
    wait_for("the first record", LIMIT, || (sink.sent() == 1).then_some(()));
    // Long enough for an average to allow a hundred at once.
    std::thread::sleep(Duration::from_secs(5));
    let begun = Instant::now();
    to.write_all(&b"more\n".repeat(1_000)).unwrap();
    wait_for("some of them", LIMIT, || (sink.sent() > 30).then_some(()));
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let done = Done::of(child.wait_with_output().unwrap());
    let most = 22 + 20 * usize::try_from(begun.elapsed().as_secs() + 1).unwrap();
    assert!(sink.sent() > 30 && sink.sent() <= most, "{} sent, at most {most}: {done:?}", sink.sent());
    assert_eq!(done.code, Some(1), "{done:?}");
    let letters = fs::read_to_string(&dead).unwrap().lines().count();
    assert_eq!(sink.sent() + letters, 1_001, "what was read and not sent is kept");
}

/// The places in the input that the letters name.
fn places(dead: &std::path::Path) -> Vec<String> {
    let letters = fs::read_to_string(dead).unwrap();
    let letter = |line: &str| serde_json::from_str::<Value>(line).unwrap();
    letters.lines().map(|line| letter(line)["input"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_pipe_is_not_swallowed_when_the_stream_refuses_everything() {
    for goes_on in [false, true] {
        let sink = Sink::default();
        let behind = sink.serve(1, 1024);
        let proxy = Proxy::new(behind.endpoint());
        proxy.first(2, is_put, Action::Pass);
        proxy.always(is_put, kinesis_error("AccessDeniedException"));
        let folder = tempfile::tempdir().unwrap();
        let dead = folder.path().join("dead.ndjson");
        let put = Put::new(proxy.endpoint(), "s").with("--json --ordered --partition-key k");
        let put = put.with("--buffer-time 10ms --dead-letter").path(&dead);
        let mut child = put.start_open();
        let mut to = child.stdin.take();
        to.as_mut().unwrap().write_all(&b"line\n".repeat(300)).unwrap();
        // The other end of the pipe stays open: silent, or full of more.
        let writing = to
            .take_if(|_| goes_on)
            .map(|mut to| std::thread::spawn(move || while to.write_all(b"line\n").is_ok() {}));
        wait_for("the end", LIMIT, || child.try_wait().unwrap());
        writing.into_iter().for_each(|thread| thread.join().unwrap());
        drop(to);
        let done = Done::of(child.wait_with_output().unwrap());
        assert_eq!(done.code, Some(1), "{done:?}");
        assert!(
            done.stderr.contains("AccessDeniedException") && done.stderr.contains("nothing more was put")
        );
        let letters = places(&dead);
        assert!(letters.len() >= 298, "{} letters", letters.len());
        let expected: Vec<_> = (3..3 + letters.len()).map(|line| format!("standard input:{line}")).collect();
        assert_eq!((letters == expected, sink.requests().len()), (true, 2), "all that was read, in order");
        assert!(fs::read_to_string(&dead).unwrap().starts_with("{\"partition_key\":\"k\","));
    }
}

/// Lines of a pipe, more than lie in it: whoever has written them all knows that most were read.
const MOST_OF_A_PIPE: usize = 64 << 10;

#[test]
fn what_was_read_of_a_pipe_among_other_sources_is_put_or_kept_after_a_stop() {
    let folder = tempfile::tempdir().unwrap();
    let named = folder.path().join("named.pipe");
    assert!(Command::new("mkfifo").arg(&named).status().unwrap().success());
    for (is_named, signal) in [(false, Signal::INT), (true, Signal::HUP)] {
        let sink = Sink::default();
        let proxy = sink.serve(1, 1024);
        let dead = folder.path().join(format!("dead-{is_named}.ndjson"));
        let put = Put::new(proxy.endpoint(), "s").with("--json --rate 20 --buffer-time 10ms --dead-letter");
        let pipe = if is_named { named.clone() } else { "-".into() };
        let mut child = put.path(&dead).path(&pipe).path("/dev/null".as_ref()).start_open();
        let mut to: Box<dyn Write> = match child.stdin.take() {
            Some(_) if is_named => Box::new(fs::OpenOptions::new().write(true).open(&named).unwrap()),
            stdin => Box::new(stdin.unwrap()),
        };
        // All of them at once, which is one chunk: some are put, and the others wait for their turn.
        to.write_all(&b"line\n".repeat(500)).unwrap();
        wait_for("some of them", LIMIT, || (sink.sent() > 10).then_some(()));
        kill_process(Pid::from_child(&child), signal).unwrap();
        let done = Done::of(child.wait_with_output().unwrap());
        drop(to);
        assert_eq!(done.code, Some(1), "{done:?}");
        let (sent, letters) = (sink.sent(), places(&dead));
        assert_eq!((sent + letters.len(), letters.is_empty()), (500, false), "none is dropped: {done:?}");
        assert!(done.stderr.contains(&format!("{} could not be put", letters.len())), "{done:?}");
        assert_eq!(done.summary()["done"], 500, "all that was read: {done:?}");
    }
}

#[test]
fn what_was_read_of_a_pipe_behind_a_file_is_put_or_kept_and_the_file_is_read_again() {
    let sink = Sink::default();
    let proxy = sink.serve(1, 1024);
    let folder = tempfile::tempdir().unwrap();
    let file = written(folder.path(), "in.ndjson", "of the file\n".repeat(1_000));
    let dead = folder.path().join("dead.ndjson");
    let put = Put::new(proxy.endpoint(), "s").with("--json --rate 20 --buffer-time 10ms --dead-letter");
    let mut child = put.path(&dead).path(&file).path("-".as_ref()).start_open();
    let mut to = child.stdin.take().unwrap();
    let line = [&b"x".repeat(1_023)[..], b"\n"].concat();
    let lines = 4 * MOST_OF_A_PIPE / line.len();
    to.write_all(&line.repeat(lines)).unwrap();
    wait_for("some of the file", LIMIT, || (sink.sent() > 10).then_some(()));
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let done = Done::of(child.wait_with_output().unwrap());
    drop(to);
    assert_eq!(done.code, Some(1), "{done:?}");
    let summary = done.summary();
    let of_file = summary["done"].as_u64().unwrap() as usize;
    assert_eq!(summary["next"], format!("{}:{}", file.display(), of_file + 1));
    assert!(of_file < 1_000 && of_file < sink.sent(), "{done:?}");
    let of_pipe = sink.sent() - of_file;
    let letters = places(&dead);
    let least = lines - MOST_OF_A_PIPE / line.len();
    assert!(of_pipe + letters.len() >= least && !letters.is_empty(), "none is dropped: {done:?}");
    let expected = (of_pipe + 1..).map(|line| format!("standard input:{line}"));
    assert_eq!(letters, expected.take(letters.len()).collect::<Vec<_>>());
    assert_eq!(summary["done_behind"], of_pipe + letters.len(), "{done:?}");
}

#[test]
fn an_interrupted_put_with_a_resume_file_says_that_the_same_command_goes_on_and_it_does() {
    let sink = Sink::default();
    let proxy = sink.serve(1, 1024);
    let folder = tempfile::tempdir().unwrap();
    let file = written(folder.path(), "in.ndjson", "line\n".repeat(1_000));
    let resume = folder.path().join("put.resume");
    let put = || {
        let put = Put::new(proxy.endpoint(), "s").with("--buffer-time 10ms --resume");
        put.path(&resume).path(&file)
    };
    let child = put().with("--rate 100").start();
    wait_for("some of them", LIMIT, || (sink.sent() > 10).then_some(()));
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let done = Done::of(child.wait_with_output().unwrap());
    assert_eq!(done.code, Some(1), "{done:?}");
    let said =
        format!("the same command goes on by itself: what is done is remembered in {}", resume.display());
    assert_eq!(done.stderr.matches(&said).count(), 2, "in the summary and at the end: {done:?}");
    assert!(!done.stderr.contains("--skip"), "{done:?}");
    let done = put().run();
    assert_eq!((done.code, sink.sent()), (Some(0), 1_000), "{done:?}");
}

#[test]
fn dead_letters_of_a_key_keep_its_order() {
    let sink = Sink::default();
    let behind = sink.serve(1, 1024);
    let proxy = Proxy::new(behind.endpoint());
    proxy.always(is_put, failing_entries(|| Some("InvalidArgumentException")));
    let folder = tempfile::tempdir().unwrap();
    let dead = folder.path().join("dead.ndjson");
    let put = Put::new(proxy.endpoint(), "s").with("--ordered --partition-key k --dead-letter").path(&dead);
    // The second can be told at once to be too large, the first only by the service.
    let input = [&b"refused\n"[..], &b"x".repeat(1100 << 10), b"\nrefused\n"].concat();
    let done = put.input(input).run();
    assert_eq!(done.code, Some(1), "{done:?}");
    assert_eq!(places(&dead), ["standard input:1", "standard input:2", "standard input:3"]);
}

#[test]
fn what_was_acknowledged_behind_a_refused_record_is_not_sent_again() {
    let (kinesis, stream) = (servers::kinesis().endpoint(), aws::stream("holes", 2));
    let proxy = Proxy::new(kinesis);
    let mut nth = 0;
    let refusing = proxy.always(
        is_put,
        failing_entries(move || {
            nth += 1;
            (nth == 3 || nth % 100 == 0).then_some("InvalidArgumentException")
        }),
    );
    let folder = tempfile::tempdir().unwrap();
    let (items, text) = lines(1_000);
    let file = written(folder.path(), "in.ndjson", text);
    let resume = folder.path().join("put.resume");
    let put = || Put::new(proxy.endpoint(), &stream).with("--json --resume").path(&resume).path(&file).run();
    let first = put();
    assert_eq!((first.code, &first.summary()["records"]), (Some(1), &json!(989)), "{first:?}");
    refusing.end();
    let second = put();
    assert_eq!(second.code, Some(0), "{second:?}");
    let summary = second.summary();
    assert_eq!(
        (&summary["records"], &summary["skipped"], &summary["done"]),
        (&json!(11), &json!(989), &json!(1_000))
    );
    assert_each_once(kinesis, &stream, &items);
}

#[test]
fn a_resume_file_is_refused_for_another_input_and_taken_for_one_that_has_grown() {
    let sink = Sink::default();
    let behind = sink.serve(1, 1024);
    let folder = tempfile::tempdir().unwrap();
    let resume = folder.path().join("put.resume");
    let (a, b) = (folder.path().join("a"), folder.path().join("b"));
    let put = |files: &[&std::path::Path], input: &str| {
        let put = Put::new(behind.endpoint(), "s").with("--json --resume").path(&resume).input(input);
        files.iter().fold(put, |put, file| put.path(file)).run()
    };
    let is_put = |files: &[&std::path::Path], records: usize| {
        let done = put(files, "");
        assert_eq!((done.code, &done.summary()["records"]), (Some(0), &json!(records)), "{done:?}");
    };
    let is_refused = |done: Done, source: &str| {
        let before = fs::read(&resume).unwrap();
        assert_eq!((done.code, &done.summary()["records"]), (Some(2), &json!(0)), "{done:?}");
        let said = format!("{source} is not what it was when the resume file was written");
        assert!(done.stderr.contains(&said), "{done:?}");
        assert_eq!(fs::read(&resume).unwrap(), before);
    };
    fs::write(&a, "a1\na2\na3\n").unwrap();
    is_put(&[&a], 3);
    fs::write(&a, "a1\na2\na3\na4\n").unwrap();
    is_put(&[&a], 1);
    fs::write(&b, "b1\nb2\n").unwrap();
    is_put(&[&a, &b], 2);
    fs::write(&b, "b1\nb2\nb3\n").unwrap();
    is_put(&[&a, &b], 1);
    // Another order, another file, a file that others follow and that has grown, a shorter one, another pipe.
    let (name_a, name_b) = (a.display().to_string(), b.display().to_string());
    is_refused(put(&[&b, &a], ""), &name_b);
    is_refused(put(&[], "x1\nx2\nx3\nx4\nx5\nx6\nx7\nx8\n"), "standard input");
    for other in ["a1\na2\na3\na4\na5\n", "a1\na2\na3\n", "A1\na2\na3\na4\n"] {
        fs::write(&a, other).unwrap();
        is_refused(put(&[&a, &b], ""), &name_a);
    }
    fs::write(&a, "a1\na2\na3\na4\n").unwrap();
    is_put(&[&a, &b], 0);
    // An early file, which does not say of which input it is.
    fs::write(&resume, "{\"stream\":\"s\",\"done\":3}").unwrap();
    let done = put(&[], "c1\nc2\nc3\nc4\n");
    assert_eq!((done.code, &done.summary()["records"]), (Some(0), &json!(1)), "{done:?}");
    assert!(done.stderr.contains("does not say of which input it is"), "{done:?}");
}
