//! A Kinesis out of the can: closed to writers, as fast as loopback, every record made from its number.
//!
//! For load alone. What Kinesis does and how it errs is tested against a server that somebody else wrote.

use std::sync::Arc;

use base64_simd::STANDARD;
use serde_json::{Value, json};

use super::http::Message;
use super::proxy::{Action, Proxy, Request};

/// How many shards with how many records of how many bytes.
#[derive(Clone, Copy, Debug)]
pub struct Backlog {
    /// Open shards.
    pub shards: u64,
    /// Records in each.
    pub records: u64,
    /// Bytes of each record's payload.
    pub bytes: usize,
}

/// The most that a reply of Kinesis holds.
const MOST_BYTES: usize = 10 << 20;
const MOST_RECORDS: u64 = 10_000;
const CREATED: f64 = 1_790_000_000.0;
const ARRIVAL: f64 = 1_790_003_600.5;

impl Backlog {
    /// Serves it as the stream of that name until the proxy is dropped.
    pub fn serve(self, stream: &str) -> Proxy {
        // Nothing is ever forwarded.
        let proxy = Proxy::new("http://127.0.0.1:9");
        let stream = stream.to_owned();
        proxy.always(|_| true, Action::Compute(Arc::new(move |request| self.answer(&stream, request))));
        proxy
    }

    /// The payload of a record.
    pub fn payload(&self, shard: u64, record: u64) -> Vec<u8> {
        let mut payload = format!("{shard}/{record} ").into_bytes();
        let mut random = fastrand::Rng::with_seed(shard << 32 | record);
        payload.resize_with(self.bytes.max(payload.len()), || random.alphanumeric() as u8);
        payload
    }

    fn answer(self, stream: &str, request: &Request) -> Message {
        let asked: Value = serde_json::from_slice(&request.message.body).unwrap_or(Value::Null);
        let body = match request.operation.as_str() {
            "DescribeStreamSummary" => self.summary(stream).to_string(),
            "ListShards" => self.shard_list().to_string(),
            "GetShardIterator" => json!({"ShardIterator": iterator(&asked)}).to_string(),
            "GetRecords" => self.records(asked["ShardIterator"].as_str().unwrap_or("")),
            other => panic!("the canned Kinesis knows no {other}"),
        };
        let mut answer = Message::response(200, "application/x-amz-json-1.1", body);
        let date = jiff::fmt::rfc2822::DateTimePrinter::new()
            .timestamp_to_rfc9110_string(&jiff::Timestamp::now())
            .unwrap_or_default();
        answer.set("Date", date);
        answer
    }

    fn summary(self, stream: &str) -> Value {
        json!({"StreamDescriptionSummary": {
            "StreamName": stream, "StreamARN": format!("arn:aws:kinesis:us-east-1:000000000000:stream/{stream}"),
            "StreamStatus": "ACTIVE", "RetentionPeriodHours": 8760, "StreamCreationTimestamp": CREATED,
            "EnhancedMonitoring": [], "OpenShardCount": self.shards}})
    }

    fn shard_list(self) -> Value {
        let width = u128::MAX / u128::from(self.shards);
        let shard = |n: u64| {
            let start = width * u128::from(n);
            let end = if n + 1 == self.shards { u128::MAX } else { start + width - 1 };
            json!({"ShardId": format!("shardId-{n:012}"),
                "HashKeyRange": {"StartingHashKey": start.to_string(), "EndingHashKey": end.to_string()},
                "SequenceNumberRange": {"StartingSequenceNumber": sequence_number(n, 0)}})
        };
        json!({"Shards": (0..self.shards).map(shard).collect::<Vec<_>>()})
    }

    /// Written by hand: a reply is up to 14 MiB.
    fn records(self, iterator: &str) -> String {
        let (shard, first) = iterator.split_once('/').unwrap_or(("0", "0"));
        let (shard, first): (u64, u64) = (shard.parse().unwrap_or(0), first.parse().unwrap_or(0));
        let fits = (MOST_BYTES / self.bytes.max(1)) as u64;
        let end = self.records.min(first + fits.clamp(1, MOST_RECORDS));
        let mut out = String::from(r#"{"Records":["#);
        for record in first..end {
            let comma = if record > first { "," } else { "" };
            let data = STANDARD.encode_to_string(self.payload(shard, record));
            let number = sequence_number(shard, record);
            out.push_str(&format!(
                r#"{comma}{{"SequenceNumber":"{number}","ApproximateArrivalTimestamp":{ARRIVAL},"PartitionKey":"{record}","Data":"{data}"}}"#
            ));
        }
        let behind = if end < self.records { 60_000 } else { 0 };
        out.push_str(&format!(r#"],"NextShardIterator":"{shard}/{end}","MillisBehindLatest":{behind}}}"#));
        out
    }
}

fn sequence_number(shard: u64, record: u64) -> String {
    format!("49{:020}{:034}", shard, record + 1)
}

/// `shard/next record`.
fn iterator(asked: &Value) -> String {
    let shard = asked["ShardId"].as_str().unwrap_or("").trim_start_matches("shardId-");
    let shard: u64 = shard.parse().unwrap_or(0);
    let record = |more: u64| {
        let number = asked["StartingSequenceNumber"].as_str().unwrap_or("");
        number.get(22..).and_then(|digits| digits.parse::<u64>().ok()).map_or(0, |n| n - 1 + more)
    };
    let next = match asked["ShardIteratorType"].as_str() {
        Some("AT_SEQUENCE_NUMBER") => record(0),
        Some("AFTER_SEQUENCE_NUMBER") => record(1),
        _ => 0,
    };
    format!("{shard}/{next}")
}
