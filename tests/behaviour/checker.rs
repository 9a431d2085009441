//! The checker of archives itself: it passes one made by hand after docs/FORMAT.md, and sees each thing
//! that can be wrong with one.

use std::collections::BTreeMap;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde_json::{Value, json};

use crate::support::archive::{Archive, check};
use crate::support::aws::Object;
use crate::support::sha256;

const ROOT: &str = "s/";
const LEDGER: &str = "s/_ledger/shardId-000000000000-1790000000/";
const CREATED: &str = "2026-09-21T14:13:20.000Z";
const ARRIVAL: &str = "2026-11-22T05:11:00.123Z";
const HOUR: &str = "2026-11-22T05:00:00.000Z";

/// An archive in the making: one shard, one ledger.
#[derive(Clone, Default)]
struct Made {
    found: BTreeMap<String, Object>,
    serial: u64,
    previous_entry: String,
    previous_object: String,
}

impl Made {
    fn new() -> Self {
        let mut made = Self::default();
        let start = json!({"version": 1, "stream": "s", "stream_arn": "arn", "stream_created": CREATED,
            "begin": "trim_horizon"});
        made.put("s/_ledger/stream-1790000000.json", start.to_string().into_bytes());
        made.entry("begin", json!({"parents": [], "begin": "trim_horizon"}));
        made
    }

    fn put(&mut self, key: &str, body: Vec<u8>) {
        self.found.insert(key.to_owned(), Object { body, ..Object::default() });
    }

    fn entry(&mut self, kind: &str, fields: Value) {
        let mut entry = json!({"version": 1, "type": kind, "stream": "s", "stream_arn": "arn",
            "stream_created": CREATED, "shard": "shardId-000000000000", "serial": self.serial,
            "previous_entry_sha256": self.previous_entry});
        entry.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let bytes = entry.to_string().into_bytes();
        self.previous_entry = sha256(&bytes);
        self.put(&format!("{LEDGER}{:012}.json", self.serial), bytes);
        self.serial += 1;
    }

    /// A batch of lines with these numbers, its entry changed as the test likes.
    fn batch_with(&mut self, numbers: &[u64], change: impl FnOnce(&mut Value)) {
        let lines = numbers.iter().map(|n| line(*n)).collect::<String>();
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        packed.write_all(lines.as_bytes()).unwrap();
        let body = packed.finish().unwrap();
        let (first, last) = (numbers[0].to_string(), numbers[numbers.len() - 1].to_string());
        let key = format!("{ROOT}dt=2026-11-22/hour=05/shardId-000000000000-{first}.ndjson.gz");
        let mut fields = json!({"key": key, "hour": HOUR, "format": "envelope", "compression": "gzip", "first_sequence_number": first,
            "last_sequence_number": last, "records": numbers.len(), "content_size": lines.len(),
            "content_sha256": sha256(lines.as_bytes()), "first_arrival": ARRIVAL, "last_arrival": ARRIVAL,
            "sealed_by": "age", "previous_object_sha256": self.previous_object});
        let object = self.object(body, &fields);
        self.previous_object = sha256(&object.body);
        self.found.insert(key, object);
        change(&mut fields);
        self.entry("batch", fields);
    }

    fn batch(&mut self, numbers: &[u64]) {
        self.batch_with(numbers, |_| {});
    }

    fn object(&self, body: Vec<u8>, fields: &Value) -> Object {
        let text = |name: &str| fields[name].as_str().map_or_else(|| fields[name].to_string(), str::to_owned);
        let metadata = [
            ("version", "1".to_owned()),
            ("stream", "s".to_owned()),
            ("stream-created", CREATED.to_owned()),
            ("shard", "shardId-000000000000".to_owned()),
            ("serial", self.serial.to_string()),
            ("first-sequence-number", text("first_sequence_number")),
            ("last-sequence-number", text("last_sequence_number")),
            ("records", text("records")),
            ("content-size", text("content_size")),
            ("content-sha256", text("content_sha256")),
            ("sha256", sha256(&body)),
            ("first-arrival", text("first_arrival")),
            ("last-arrival", text("last_arrival")),
        ];
        let metadata = metadata.into_iter().map(|(name, value)| (format!("keeper-{name}"), value)).collect();
        Object { body, metadata, content_type: Some("application/gzip".into()), ..Object::default() }
    }

    fn check(self) -> Archive {
        check(ROOT, "s", self.found)
    }

    /// The words with which the checker refuses it.
    fn complaint(self) -> String {
        let refused = catch_unwind(AssertUnwindSafe(|| self.check())).expect_err("it should be refused");
        let text = refused.downcast_ref::<String>().cloned();
        text.or_else(|| refused.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap()
    }

    fn first_object(&mut self) -> &mut Object {
        self.found.iter_mut().find(|(key, _)| key.contains("/dt=")).unwrap().1
    }
}

fn line(n: u64) -> String {
    let record = json!({"sequence_number": n.to_string(), "approximate_arrival_timestamp": ARRIVAL,
        "partition_key": "k", "data": format!("payload {n}")});
    format!("{record}\n")
}

fn good() -> Made {
    let mut made = Made::new();
    made.batch(&[5, 7, 9]);
    made.batch(&[10, 100]);
    made
}

#[track_caller]
fn assert_refused(word: &str, break_it: impl FnOnce(&mut Made)) {
    let mut made = good();
    break_it(&mut made);
    let complaint = made.complaint();
    assert!(complaint.contains(word), "it should complain of {word}: {complaint}");
}

#[test]
fn a_good_archive_passes_and_gives_its_records() {
    let mut made = good();
    made.entry("gap", json!({"after": "100", "resumes_at": "200", "why": "trimmed", "certain": true}));
    made.batch(&[200, 201]);
    made.entry("end", json!({"children": []}));
    let archive = made.check();
    let numbers: Vec<_> = archive.records.iter().map(|record| record.sequence_number.as_str()).collect();
    assert_eq!(numbers, ["5", "7", "9", "10", "100", "200", "201"]);
    assert_eq!(archive.records[0].data, b"payload 5");
    let gap = catch_unwind(AssertUnwindSafe(|| archive.assert_exactly([])));
    assert!(gap.is_err(), "a gap is no exact archive");
}

#[test]
fn a_missing_doubled_or_foreign_payload_is_seen() {
    let archive = good().check();
    let payloads: Vec<Vec<u8>> = archive.records.iter().map(|record| record.data.clone()).collect();
    archive.assert_exactly(payloads.iter().map(Vec::as_slice));
    let refused =
        |wanted: Vec<&[u8]>| catch_unwind(AssertUnwindSafe(|| archive.assert_exactly(wanted))).is_err();
    assert!(refused(payloads[1..].iter().map(Vec::as_slice).collect()), "one is foreign");
    assert!(refused(payloads.iter().chain(&payloads[..1]).map(Vec::as_slice).collect()), "one is missing");
}

#[test]
fn a_broken_ledger_is_seen() {
    assert_refused("a hole", |made| {
        made.found.remove(&format!("{LEDGER}000000000001.json"));
    });
    assert_refused("the chain is broken", |made| {
        let entry = made.found.get_mut(&format!("{LEDGER}000000000001.json")).unwrap();
        entry.body.push(b' ');
    });
    assert_refused("begin stands first", |made| made.entry("begin", json!({"parents": []})));
    assert_refused("follows the end", |made| {
        made.entry("end", json!({"children": []}));
        made.batch(&[300]);
    });
    assert_refused("no start object", |made| {
        made.found.remove("s/_ledger/stream-1790000000.json");
    });
    assert_refused("of type strange", |made| made.entry("strange", json!({})));
}

#[test]
fn an_object_that_is_not_as_its_entry_says_is_seen() {
    assert_refused("is missing", |made| {
        made.found.retain(|key, _| !key.contains("-10.ndjson"));
    });
    assert_refused("named by no entry", |made| {
        let copy = made.first_object().clone();
        made.found.insert("s/dt=2026-11-22/hour=05/shardId-000000000000-6.ndjson.gz".into(), copy);
    });
    assert_refused("x-amz-meta-keeper-sha256", |made| {
        made.first_object().metadata.insert("keeper-sha256".into(), "00".into());
    });
    assert_refused("metadata", |made| {
        made.first_object().metadata.insert("keeper-void".into(), "true".into());
    });
    assert_refused("content encoding", |made| {
        made.first_object().content_encoding = Some("gzip".into());
    });
    assert_refused("content", |made| {
        made.batch_with(&[300], |fields| fields["content_sha256"] = "00".into());
    });
    for (field, wrong) in [("records", json!(2)), ("first_arrival", json!("")), ("content_size", json!(1))] {
        let mut made = good();
        made.batch_with(&[300], |fields| fields[field] = wrong);
        made.complaint();
    }
    assert_refused("neither", |made| {
        made.batch_with(&[300], |fields| fields["hour"] = "2026-11-22T06:00:00.000Z".into());
    });
    assert_refused("the object before it", |made| {
        made.batch_with(&[300], |fields| fields["previous_object_sha256"] = "".into());
    });
}

#[test]
fn doubled_and_disordered_records_are_seen() {
    assert_refused("and should not", |made| made.batch(&[50]));
    assert_refused("twice", |made| made.batch(&[100]));
    assert_refused("and should not", |made| made.batch(&[300, 299, 301]));
    assert_refused("twice", |made| made.batch(&[300, 300]));
    assert_refused("a closed hour", |made| {
        made.batch_with(&[300], |fields| fields["hour"] = "2026-11-22T04:00:00.000Z".into());
    });
}

#[test]
fn a_line_that_is_not_after_the_format_is_seen() {
    for (line, word) in [
        (
            r#"{"sequence_number":"300","approximate_arrival_timestamp":"2026-11-22T05:11:00.123Z"}"#,
            "not exactly one",
        ),
        (
            r#"{"sequence_number":"300","approximate_arrival_timestamp":"2026-11-22T05:11:00.123Z","data_base64":"YQ=="}"#,
            "though it is text",
        ),
        (
            r#"{"sequence_number":"300","approximate_arrival_timestamp":"2026-11-22T05:11:00Z","data":"a"}"#,
            "not an arrival",
        ),
        ("{\"sequence_number\":\"300\"", "EOF"),
    ] {
        let mut made = good();
        let text = format!("{line}\n");
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        packed.write_all(text.as_bytes()).unwrap();
        let body = packed.finish().unwrap();
        let key = "s/dt=2026-11-22/hour=05/shardId-000000000000-300.ndjson.gz";
        let fields = json!({"key": key, "hour": HOUR, "format": "envelope", "compression": "gzip", "first_sequence_number": "300",
            "last_sequence_number": "300", "records": 1, "content_size": text.len(),
            "content_sha256": sha256(text.as_bytes()), "first_arrival": ARRIVAL, "last_arrival": ARRIVAL,
            "sealed_by": "age", "previous_object_sha256": made.previous_object});
        let object = made.object(body, &fields);
        made.found.insert(key.into(), object);
        made.entry("batch", fields);
        let complaint = made.complaint();
        assert!(complaint.contains(word), "it should complain of {word}: {complaint}");
    }
}
