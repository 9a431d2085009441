//! Objects in every form back to text and records: gzip and zstd, envelopes and payloads.

use std::io::Read;

use serde_json::Value;

use super::{Archive, Entry, Record, record};
use crate::support::{aws, sha256};

/// The media type and the end of the key that an entry's object has.
pub fn names(entry: &Entry) -> (&'static str, String) {
    let lines = match entry.text("format") {
        "envelope" => "ndjson",
        "payload" => "payload",
        other => panic!("{}: format {other}", entry.at),
    };
    match entry.text("compression") {
        "gzip" => ("application/gzip", format!("{lines}.gz")),
        "zstd" => ("application/zstd", format!("{lines}.zst")),
        other => panic!("{}: compression {other}", entry.at),
    }
}

/// Unpacks an object, each part of which must hold whole lines.
pub fn unpack(key: &str, object: &aws::Object) -> Vec<u8> {
    if object.content_type.as_deref() == Some("application/zstd") {
        return unpack_zstd(key, &object.body);
    }
    let (mut text, mut packed) = (Vec::new(), object.body.as_slice());
    while !packed.is_empty() {
        assert_eq!(packed.get(3..8), Some(&[0; 5][..]), "{key}: a member with a name or a time");
        let mut member = flate2::bufread::GzDecoder::new(packed);
        member.read_to_end(&mut text).unwrap_or_else(|error| panic!("{key}: {error}"));
        assert!(matches!(text.last(), None | Some(&b'\n')), "{key}: a member ends within a line");
        packed = member.into_inner();
    }
    text
}

fn unpack_zstd(key: &str, mut packed: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    while !packed.is_empty() {
        let frame = zstd::stream::read::Decoder::with_buffer(packed);
        let mut frame = frame.unwrap_or_else(|error| panic!("{key}: {error}")).single_frame();
        frame.read_to_end(&mut text).unwrap_or_else(|error| panic!("{key}: {error}"));
        assert!(matches!(text.last(), None | Some(&b'\n')), "{key}: a frame ends within a line");
        packed = frame.finish();
    }
    text
}

/// The records of a payload object among those of its side object. Of a line nothing else is known.
pub fn payloads(archive: &Archive, entry: &Entry, text: &[u8]) -> Vec<Record> {
    let shard = entry.text("shard");
    let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
    assert_eq!(lines.len() as u64, entry.number("records"), "{}: lines", entry.at);
    let of_line = |line: &&[u8]| {
        let data = line.strip_suffix(b"\n").unwrap().to_vec();
        assert!(std::str::from_utf8(&data).is_ok(), "{}: a line that is no text", entry.at);
        Record { shard: shard.to_owned(), data, ..Record::default() }
    };
    let mut records: Vec<Record> = lines.iter().map(of_line).collect();
    let Some(key) = entry.fields["side"]["key"].as_str() else { return records };
    let object = &archive.objects[key];
    let side = unpack(key, object);
    assert_eq!(sha256(&side), entry.fields["side"]["content_sha256"].as_str().unwrap(), "{key}: content");
    assert_eq!(object.metadata["keeper-sha256"], sha256(&object.body), "{key}: its hash");
    let mut count = 0;
    for line in side.split_inclusive(|byte| *byte == b'\n') {
        let fields: Value = serde_json::from_slice(line).unwrap();
        let at = fields["after_lines"].as_u64().unwrap() as usize + count;
        let record = record(line, shard).unwrap_or_else(|why| panic!("{key}: {why}"));
        let is_text = std::str::from_utf8(&record.data).is_ok();
        assert!(!is_text || record.data.contains(&b'\n') || record.sub_sequence_number.is_some(), "{key}");
        records.insert(at, record);
        count += 1;
    }
    assert_eq!(count as u64, entry.fields["side"]["records"].as_u64().unwrap(), "{key}: records");
    records
}
