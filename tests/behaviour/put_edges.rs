//! `put` at its edges: sizes, odd input, streams that are not there, credentials that are refused.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::sync::{Arc, Mutex};

use base64_simd::STANDARD;
use serde_json::{Value, json};

use super::put::{assert_each_once, is_put, lines, written};
use crate::support::http::Message;
use crate::support::proxy::{Action, Proxy, Request, kinesis_error};
use crate::support::putting::Put;
use crate::support::{aws, fresh, servers};

/// A stream out of the can: takes all that it is given, and notes the entries of each request and their bytes.
#[derive(Clone, Default)]
pub struct Sink {
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
    pub fn serve(&self, open_shards: usize, max_record_kib: usize) -> Proxy {
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
                    "RecordDistributionStrategy": strategy, "StreamStatus": "ACTIVE", "RetentionPeriodHours": 24,
                    "StreamCreationTimestamp": 1_790_000_000.0, "EnhancedMonitoring": [], "OpenShardCount": open,
                    "MaxRecordSizeInKiB": kib}})
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
    pub fn sent(&self) -> usize {
        self.requests.lock().unwrap().iter().map(|(entries, _)| *entries).sum()
    }

    pub fn requests(&self) -> Vec<(usize, usize)> {
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
