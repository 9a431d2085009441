//! What must hold of the decoders whatever bytes they are given: none panics, and no byte is lost.
//!
//! The fuzzing targets (`fuzz/`) call these functions and nothing else. The tests below replay their corpus
//! and so much of chance as a test run has time for: cargo-fuzz wants a nightly compiler.
#![allow(clippy::expect_used, reason = "it fails by panicking: that is what a fuzzer sees")]

use std::io::Write;

use base64_simd::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};

use crate::aws::kinesis::canned::Canned;
use crate::aws::kinesis::reply::decode::{Decoder, decode};
use crate::codec::hash::sha256_hex;
use crate::codec::{BatchWriter, LineReader, OwnedRecord, for_each_user_record, inspect, parse_line};
use crate::model::record::{ArchivedRecord, RawRecord};
use crate::model::sequence::SequenceNumber;
use crate::model::shard::HashKeyRange;
use crate::model::timestamp::Timestamp;
use crate::ports::{Reply, StreamError};

mod producer;

/// The decoder of KPL aggregates: `data` as it is, and given the magic and the sum without which nothing
/// would get past the door.
pub fn aggregate(data: &[u8]) {
    hold_aggregate(data);
    hold_aggregate(&producer::seal(data));
    hold_aggregate(&producer::seal(producer::message(data).unwrap_or(data)));
}

fn hold_aggregate(data: &[u8]) {
    let record = RawRecord {
        sequence_number: number(1),
        arrival: Timestamp::from_millis(7),
        partition_key: Some("outer".into()),
        data: Bytes::copy_from_slice(data),
    };
    let mut lines = Vec::new();
    let lower_half = HashKeyRange { start: 0, end: u128::MAX / 2 };
    for_each_user_record(&record, lower_half, true, &mut |line| lines.push(owned(line)));
    if let [line] = lines.as_slice()
        && line.sub_sequence_number.is_none()
    {
        assert_eq!(line.as_archived(), record.as_archived(), "an ordinary record stays as it is");
        return;
    }
    let users = producer::message(data).and_then(producer::users);
    let users = users.expect("a record was split although not all that is in it was understood");
    assert_eq!(lines.len(), users.len());
    for ((index, line), user) in (0..).zip(&lines).zip(users) {
        assert_eq!(line.sub_sequence_number, Some(index));
        assert_eq!(line.partition_key.as_deref(), Some(user.partition_key));
        assert_eq!(line.explicit_hash_key.as_deref(), user.explicit_hash_key);
        assert_eq!(line.data, user.data);
    }
    hold_records(&lines);
}

/// The decoder of replies: `data` as an answer of the service, good or bad, and as what an answer is made of.
pub fn reply(canned: &Canned, data: &[u8]) {
    let _ = canned.records(400, data);
    let read = canned.records(200, data);
    // The place of the damage aside: of an answer that was read in part, the SDK's parser sees the rest.
    let message = |error: StreamError| error.message.replace(|char: char| char.is_ascii_digit(), "");
    let told = |read: &Result<Reply, StreamError>| read.clone().map_err(|error| (error.kind, message(error)));
    assert_eq!(told(&read), told(&canned.parsed(200, data)), "the SDK's parser reads the answer otherwise");
    if let Ok(reply) = read {
        if let Some(payloads) = payloads(data) {
            let read: Vec<&[u8]> = reply.records.iter().map(|record| &record.data[..]).collect();
            assert_eq!(read, payloads, "another reader of JSON sees other payloads");
        }
        let lines: Vec<_> = reply.records.iter().map(|record| owned(&record.as_archived())).collect();
        hold_records(&lines);
    }
    let (body, records) = answer_of(data);
    for answer in [data, &body] {
        hold_pieces(answer, data.len() % 29 + 1);
    }
    let unusual = canned.unusual();
    let reply = canned.records(200, &body).expect("a valid answer");
    assert_eq!(canned.unusual(), unusual, "our decoder reads a plain answer");
    assert_eq!(reply.records, records);
    assert_eq!(reply.next_iterator.as_deref(), Some("next"));
}

/// An answer is the same in pieces of so many bytes.
fn hold_pieces(answer: &[u8], len: usize) {
    let mut decoder = Decoder::new(answer.len());
    for piece in answer.chunks(len) {
        decoder.take(piece);
    }
    assert_eq!(decoder.finish(), decode(answer), "an answer is read otherwise when it is cut");
}

/// The payloads in an answer as another reader of JSON sees them; `None` where it sees no sound records.
fn payloads(body: &[u8]) -> Option<Vec<Vec<u8>>> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    let data = |record: &Value| STANDARD.decode_to_vec(record["Data"].as_str()?).ok();
    answer["Records"].as_array()?.iter().map(data).collect()
}

/// A valid answer that holds all of `data`, and its records.
fn answer_of(mut data: &[u8]) -> (Vec<u8>, Vec<RawRecord>) {
    let mut records = Vec::new();
    while let Some((&len, rest)) = data.split_first() {
        let (payload, rest) = rest.split_at(usize::from(len).min(rest.len()));
        // Without a key where it would be empty, as on a stream that distributes records by itself.
        let (key, rest) = rest.split_at((usize::from(len) % 7).min(rest.len()));
        let key = String::from_utf8_lossy(key).into_owned();
        let millis = 1_700_000_000_000 + records.len() as i64 * 1_037;
        records.push(RawRecord {
            sequence_number: number(records.len() as u64 + 1),
            arrival: Timestamp::from_millis(millis),
            partition_key: (!key.is_empty()).then(|| key.into()),
            data: Bytes::copy_from_slice(payload),
        });
        data = rest;
    }
    let listed = |record: &RawRecord| {
        let mut listed = json!({
            "SequenceNumber": record.sequence_number.as_str(),
            "ApproximateArrivalTimestamp": record.arrival.as_millis() as f64 / 1000.0,
            "Data": STANDARD.encode_to_string(&record.data),
        });
        if let Some(key) = &record.partition_key {
            listed["PartitionKey"] = (**key).into();
        }
        listed
    };
    let listed: Vec<Value> = records.iter().map(listed).collect();
    let body = json!({"Records": listed, "NextShardIterator": "next", "MillisBehindLatest": 0});
    (body.to_string().into_bytes(), records)
}

/// The readers of the archive: `data` as a file, as a file's text, as a line, and as what a line holds.
pub fn line(data: &[u8]) {
    let _ = parse_line(data);
    hold_file(data);
    hold_file(&gzip(data));
    let (key, payload) = data.split_at(data.len().min(data.first().map_or(0, |len| usize::from(len % 16))));
    let key = String::from_utf8_lossy(key).into_owned();
    hold_records(&[OwnedRecord {
        sequence_number: number(data.len() as u64),
        sub_sequence_number: data.last().map(|last| u64::from(*last)),
        arrival: Timestamp::from_millis(data.len() as i64),
        explicit_hash_key: data.is_ascii().then(|| key.clone()),
        partition_key: Some(key),
        outside_hash_range: data.len() % 2 == 1,
        data: payload.to_vec(),
    }]);
}

/// Where every line of a file is read, the file is whole and its lines come back, line by line and all at once.
fn hold_file(file: &[u8]) {
    let mut reader = LineReader::new(file);
    let (mut writer, mut text, mut records) = (BatchWriter::new(1), Vec::new(), Vec::new());
    loop {
        match reader.next_line() {
            Ok(Some(line)) => {
                if let Ok(record) = parse_line(line.text) {
                    assert_eq!(record.sequence_number, line.sequence_number);
                    assert_eq!(record.arrival, line.arrival);
                    records.push(record);
                }
                text.extend_from_slice(line.text);
                writer.append_line(&line);
            }
            Ok(None) => break,
            Err(_) => {
                return assert!(inspect(file).is_err(), "one reader finds it damaged, the other does not");
            }
        }
    }
    hold_records(&records);
    let Some(finished) = writer.finish() else {
        return assert!(inspect(file).is_err(), "a file without a line is no object");
    };
    for file in [file, &finished.parts.concat()] {
        let content = inspect(file).expect("its lines were read");
        assert_eq!(content.content_sha256, sha256_hex(&text));
        assert_eq!(content.records, reader.lines());
    }
}

/// Records that are written come back as they were.
fn hold_records(records: &[OwnedRecord]) {
    let mut writer = BatchWriter::new(1);
    records.iter().for_each(|record| writer.append(&record.as_archived()));
    let Some(finished) = writer.finish() else { return };
    let file = finished.parts.concat();
    let mut reader = LineReader::new(file.as_slice());
    for record in records {
        let line = reader.next_line().expect("a line that was written").expect("a line");
        assert_eq!(parse_line(line.text).expect("a line that was written"), *record);
    }
    assert!(reader.next_line().expect("the end of a whole file").is_none());
}

fn owned(line: &ArchivedRecord<'_>) -> OwnedRecord {
    OwnedRecord {
        sequence_number: line.sequence_number.clone(),
        sub_sequence_number: line.sub_sequence_number,
        arrival: line.arrival,
        partition_key: line.partition_key.map(str::to_owned),
        explicit_hash_key: line.explicit_hash_key.map(str::to_owned),
        outside_hash_range: line.outside_hash_range,
        data: line.data.to_vec(),
    }
}

fn number(n: u64) -> SequenceNumber {
    n.to_string().parse().expect("a number")
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(text).and_then(|()| gz.finish()).expect("memory takes all")
}

#[cfg(test)]
mod tests;
