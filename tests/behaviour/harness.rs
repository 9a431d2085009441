//! The harness itself: what it says of others counts only as far as it was seen to see.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use crate::support::canned::Backlog;
use crate::support::proxy::{self, Action, Gate, Proxy};
use crate::support::{aws, http, servers, topics};

const LIMIT: Duration = Duration::from_secs(10);

fn upstream() -> &'static str {
    servers::ministack().endpoint()
}

/// A bucket reached by hand: a put and a get without any SDK.
fn put(endpoint: &str, bucket: &str, key: &str, headers: &[(&str, &str)], body: &[u8]) -> http::Message {
    http::ask(endpoint, &format!("PUT /{bucket}/{key}"), headers, body, LIMIT).unwrap()
}

#[test]
fn the_servers_listen_on_loopback_only_and_answer() {
    let stream = aws::stream("servers", 3);
    assert_eq!(aws::shards(&stream).len(), 3);
    let bucket = aws::bucket("servers");
    assert!(aws::keys(&bucket, "").is_empty());
    for server in [servers::kinesis(), servers::ministack()] {
        assert!(server.endpoint().starts_with("http://127.0.0.1:"));
    }
}

#[test]
fn a_stream_can_be_split_and_merged() {
    let stream = aws::stream("reshard", 1);
    aws::split(&stream, &aws::shards(&stream)[0]);
    let shards = aws::shards(&stream);
    assert_eq!(shards.len(), 3);
    aws::merge(&stream, &shards[1].shard_id, &shards[2].shard_id);
    assert_eq!(aws::shards(&stream).len(), 4);
}

#[test]
fn the_bucket_keeps_conditions_and_digests() {
    let bucket = aws::bucket("bucket");
    let condition = [("If-None-Match", "*")];
    assert_eq!(put(upstream(), &bucket, "k", &condition, b"one").status(), 200);
    assert_eq!(put(upstream(), &bucket, "k", &condition, b"two").status(), 412);
    assert_eq!(aws::object(&bucket, "k").unwrap().body, b"one");
    let wrong = [("x-amz-checksum-sha256", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")];
    let refused = put(upstream(), &bucket, "l", &wrong, b"one");
    assert_eq!(refused.status(), 400, "{}", refused.text());
    assert!(aws::object(&bucket, "l").is_none());
}

#[test]
fn a_topic_reaches_its_queue() {
    for topic in [topics::topic("topic"), topics::fifo_topic("topic")] {
        assert!(topic.take().is_empty());
        let fifo =
            if topic.arn.ends_with(".fifo") { "&MessageGroupId=g&MessageDeduplicationId=d" } else { "" };
        let form = format!(
            "Action=Publish&Version=2010-03-31&TopicArn={}&Message=%7B%22a%22%3A1%7D{fifo}\
             &MessageAttributes.entry.1.Name=type&MessageAttributes.entry.1.Value.DataType=String\
             &MessageAttributes.entry.1.Value.StringValue=batch",
            topic.arn
        );
        let headers = [("Content-Type", "application/x-www-form-urlencoded")];
        let answer = http::ask(upstream(), "POST /", &headers, form.as_bytes(), LIMIT).unwrap();
        assert_eq!(answer.status(), 200, "{}", answer.text());
        let messages = topic.take();
        assert_eq!(messages.len(), 1);
        assert_eq!(messages[0].body["a"], 1);
        assert_eq!(messages[0].attributes["type"], "batch");
        assert!(topic.take().is_empty());
    }
}

#[test]
fn the_proxy_lets_everything_through_that_no_rule_wants() {
    let bucket = aws::bucket("pass");
    let proxy = Proxy::new(upstream());
    let puts = proxy.count(|request| request.is("PUT", "/k"));
    let body = vec![7; 3 << 20];
    assert_eq!(put(proxy.endpoint(), &bucket, "k", &[], &body).status(), 200);
    assert_eq!(aws::object(&bucket, "k").unwrap().body, body);
    let got = http::ask(proxy.endpoint(), &format!("GET /{bucket}/k"), &[], b"", LIMIT).unwrap();
    assert_eq!(got.body, body);
    let head = http::ask(proxy.endpoint(), &format!("HEAD /{bucket}/k"), &[], b"", LIMIT).unwrap();
    assert_eq!(head.header("content-length"), Some(body.len().to_string().as_str()));
    assert_eq!(puts.used(), 1);
}

#[test]
fn the_proxy_answers_in_the_servers_stead_so_many_times() {
    let bucket = aws::bucket("instead");
    let proxy = Proxy::new(upstream());
    let rule = proxy.first(2, |request| request.method == "PUT", proxy::s3_error(503, "SlowDown"));
    for expected in [503, 503, 200] {
        assert_eq!(put(proxy.endpoint(), &bucket, "k", &[], b"x").status(), expected);
    }
    assert_eq!(rule.used(), 2);
    let rule = proxy.always(|request| request.method == "PUT", Action::Close);
    assert!(http::ask(proxy.endpoint(), &format!("PUT /{bucket}/l"), &[], b"x", LIMIT).is_err());
    rule.end();
    assert_eq!(put(proxy.endpoint(), &bucket, "l", &[], b"x").status(), 200);
}

#[test]
fn the_proxy_applies_and_reports_failure() {
    let bucket = aws::bucket("applied");
    let proxy = Proxy::new(upstream());
    proxy.first(1, |request| request.method == "PUT", proxy::applied_but_failed(500, "InternalError"));
    proxy.first(1, |request| request.method == "PUT", Action::ApplyThenClose);
    assert_eq!(put(proxy.endpoint(), &bucket, "a", &[], b"x").status(), 500);
    assert!(http::ask(proxy.endpoint(), &format!("PUT /{bucket}/b"), &[], b"x", LIMIT).is_err());
    assert_eq!(aws::keys(&bucket, ""), ["a", "b"]);
}

#[test]
fn the_proxy_changes_what_passes() {
    let bucket = aws::bucket("changed");
    let proxy = Proxy::new(upstream());
    proxy.always(|request| request.is("PUT", "/corrupt"), Action::CorruptBody);
    proxy.always(|request| request.is("PUT", "/twice"), Action::StripHeader("if-none-match"));
    proxy.always(|request| request.is("GET", "/twice"), Action::CutAnswer(1));
    assert_eq!(put(proxy.endpoint(), &bucket, "corrupt", &[], b"xy").status(), 200);
    assert_ne!(aws::object(&bucket, "corrupt").unwrap().body, b"xy");
    for body in [b"one", b"two"] {
        assert_eq!(put(proxy.endpoint(), &bucket, "twice", &[("If-None-Match", "*")], body).status(), 200);
    }
    assert_eq!(aws::object(&bucket, "twice").unwrap().body, b"two");
    assert!(http::ask(proxy.endpoint(), &format!("GET /{bucket}/twice"), &[], b"", LIMIT).is_err());
}

#[test]
fn the_proxy_holds_a_request_until_the_gate_opens() {
    let bucket = aws::bucket("held");
    let proxy = Proxy::new(upstream());
    let gate = Gate::default();
    let rule = proxy.first(1, |request| request.method == "PUT", Action::Hold(gate.clone()));
    std::thread::scope(|scope| {
        let held = scope.spawn(|| put(proxy.endpoint(), &bucket, "k", &[], b"x").status());
        crate::support::wait_for("the put to be held", LIMIT, || (rule.used() == 1).then_some(()));
        assert!(aws::object(&bucket, "k").is_none());
        gate.open();
        assert_eq!(held.join().unwrap(), 200);
    });
    proxy.first(1, |request| request.method == "PUT", Action::Delay(Duration::from_millis(300)));
    let before = Instant::now();
    assert_eq!(put(proxy.endpoint(), &bucket, "l", &[], b"x").status(), 200);
    assert!(before.elapsed() >= Duration::from_millis(300));
}

#[test]
fn the_proxy_knows_the_operation() {
    let proxy = Proxy::new(servers::kinesis().endpoint());
    let rule = proxy.always(|request| request.operation == "GetRecords", proxy::throttle());
    let headers = [("X-Amz-Target", "Kinesis_20131202.GetRecords")];
    let answer = http::ask(proxy.endpoint(), "POST /", &headers, b"{}", LIMIT).unwrap();
    assert_eq!(answer.status(), 400);
    assert!(answer.text().contains("ProvisionedThroughputExceededException"));
    assert_eq!(rule.used(), 1);
}

#[test]
fn the_proxy_understands_chunks_and_kept_connections() {
    let bucket = aws::bucket("chunks");
    let proxy = Proxy::new(upstream());
    let host = proxy.endpoint().trim_start_matches("http://");
    let mut stream = std::net::TcpStream::connect(host).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    for key in ["a", "b"] {
        let head =
            format!("PUT /{bucket}/{key} HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n").unwrap();
        let mut first = [0; 12];
        stream.read_exact(&mut first).unwrap();
        assert_eq!(&first, b"HTTP/1.1 200");
        let mut reader = std::io::BufReader::new(&stream);
        let mut rest = http::read_head(&mut reader).unwrap().unwrap();
        http::read_body(&mut reader, &mut rest, false).unwrap();
        assert_eq!(aws::object(&bucket, key).unwrap().body, b"abcde");
    }
}

#[test]
fn the_canned_kinesis_gives_every_record_once() {
    let backlog = Backlog { shards: 2, records: 50, bytes: 1 << 20 };
    let proxy = backlog.serve("canned");
    let ask = |operation: &str, body: serde_json::Value| -> serde_json::Value {
        let target = format!("Kinesis_20131202.{operation}");
        let headers = [("X-Amz-Target", target.as_str())];
        let answer =
            http::ask(proxy.endpoint(), "POST /", &headers, body.to_string().as_bytes(), LIMIT).unwrap();
        assert!(answer.header("date").is_some_and(|date| date.ends_with(" GMT")));
        serde_json::from_slice(&answer.body).unwrap()
    };
    let shards = ask("ListShards", serde_json::json!({}));
    assert_eq!(shards["Shards"][1]["HashKeyRange"]["EndingHashKey"], u128::MAX.to_string());
    let start = serde_json::json!({"ShardId": "shardId-000000000001", "ShardIteratorType": "TRIM_HORIZON"});
    let mut iterator = ask("GetShardIterator", start)["ShardIterator"].clone();
    let mut numbers = Vec::new();
    while numbers.len() < 50 {
        let reply = ask("GetRecords", serde_json::json!({"ShardIterator": iterator}));
        let records = reply["Records"].as_array().unwrap();
        assert!((1..=10).contains(&records.len()), "a reply has up to 10 MiB");
        numbers.extend(records.iter().map(|record| record["SequenceNumber"].as_str().unwrap().to_owned()));
        iterator = reply["NextShardIterator"].clone();
    }
    assert!(numbers.is_sorted() && numbers.len() == 50);
    let after = serde_json::json!({"ShardId": "shardId-000000000001", "StartingSequenceNumber": numbers[48],
        "ShardIteratorType": "AFTER_SEQUENCE_NUMBER"});
    let iterator = ask("GetShardIterator", after)["ShardIterator"].clone();
    let last = ask("GetRecords", serde_json::json!({"ShardIterator": iterator}));
    assert_eq!(last["Records"][0]["SequenceNumber"], numbers[49].as_str());
}
