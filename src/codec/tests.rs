//! The fast writer against a slow and obvious one, and everything back through the reader.

use std::io::{Read, Write};

use flate2::bufread::{GzDecoder, MultiGzDecoder};
use proptest::prelude::*;
use serde::Serialize;

use super::*;
use crate::model::batch::Content;
use crate::model::sequence::SequenceNumber;
use crate::model::timestamp::Timestamp;

const MIB: usize = 1 << 20;

/// A line as `serde_json` writes it.
#[derive(Serialize)]
struct SlowLine<'a> {
    sequence_number: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub_sequence_number: Option<u64>,
    approximate_arrival_timestamp: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    partition_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    explicit_hash_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outside_hash_range: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_base64: Option<String>,
}

fn slow_base64(data: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in data.chunks(3) {
        let word =
            three.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for index in 0..4 {
            let letter = LETTERS[(word >> (18 - 6 * index)) as usize & 63];
            text.push(if index <= three.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

pub(super) fn slow_text(records: &[OwnedRecord]) -> Vec<u8> {
    let mut text = Vec::new();
    for record in records {
        let as_text = std::str::from_utf8(&record.data).ok();
        let line = SlowLine {
            sequence_number: record.sequence_number.as_str(),
            sub_sequence_number: record.sub_sequence_number,
            approximate_arrival_timestamp: jiff::Timestamp::from_millisecond(record.arrival.as_millis())
                .unwrap()
                .strftime("%Y-%m-%dT%H:%M:%S.%3fZ")
                .to_string(),
            partition_key: record.partition_key.as_deref(),
            explicit_hash_key: record.explicit_hash_key.as_deref(),
            outside_hash_range: record.outside_hash_range.then_some(true),
            data: as_text,
            data_base64: as_text.is_none().then(|| slow_base64(&record.data)),
        };
        serde_json::to_writer(&mut text, &line).unwrap();
        text.push(b'\n');
    }
    text
}

pub(super) fn slow_gzip(text: &[u8]) -> Vec<u8> {
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
    gz.write_all(text).unwrap();
    gz.finish().unwrap()
}

fn gunzip(file: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    MultiGzDecoder::new(file).read_to_end(&mut text).unwrap();
    text
}

pub(super) fn write(records: &[OwnedRecord]) -> Finished {
    let mut writer = BatchWriter::new(6);
    records.iter().for_each(|record| writer.append(&record.as_archived()));
    writer.finish().unwrap()
}

fn read(file: &[u8]) -> Vec<OwnedRecord> {
    let mut reader = LineReader::new(file);
    let mut records = Vec::new();
    while let Some(line) = reader.next_line().unwrap() {
        let record = parse_line(line.text).unwrap();
        assert_eq!(line.sequence_number, record.sequence_number);
        assert_eq!(line.arrival, record.arrival);
        records.push(record);
    }
    assert_eq!(reader.lines(), records.len() as u64);
    records
}

pub(super) fn record(number: u64, data: impl Into<Vec<u8>>) -> OwnedRecord {
    OwnedRecord {
        sequence_number: number.to_string().parse().unwrap(),
        sub_sequence_number: None,
        arrival: Timestamp::from_millis(1_795_324_260_123 + number as i64),
        partition_key: Some(format!("user-{number}")),
        explicit_hash_key: None,
        outside_hash_range: false,
        data: data.into(),
    }
}

/// Lines of very different lengths, several MiB together.
pub(super) fn large_batch() -> Vec<OwnedRecord> {
    let mut random = fastrand::Rng::with_seed(7);
    let mut records: Vec<_> = (1..400)
        .map(|number| {
            let len = random.usize(..20_000);
            record(number, (0..len).map(|_| random.u8(b' '..b'~')).collect::<Vec<_>>())
        })
        .collect();
    let binary = std::iter::repeat_with(|| random.u8(..)).take(MIB).collect::<Vec<_>>();
    records.insert(100, record(100, binary));
    records.insert(200, record(200, "\u{1}\"\\😀\n".repeat(MIB / 8)));
    for (number, record) in (1_u64..).zip(&mut records) {
        record.sequence_number = (number * 7).to_string().parse().unwrap();
    }
    records
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    let odd = prop::sample::select(b"\"\\\n\r\t\x00\x08\x0c\x1f\x20\x7fa/".to_vec());
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..300),
        prop::collection::vec(odd, 0..300),
        any::<String>().prop_map(String::into_bytes),
        "(\\{\"a\":\"[ -~]{0,90}\"\\}){0,5}".prop_map(String::into_bytes),
        "[a-z\"]{40,200}[😀é\u{2028}\u{85}\u{0}]{1,3}".prop_map(String::into_bytes),
        // Cut in the middle of a character: nearly text.
        "[ -~]{0,150}é".prop_map(|text| text.as_bytes()[..text.len() - 1].to_vec()),
    ]
}

fn any_record() -> impl Strategy<Value = OwnedRecord> {
    (
        prop::option::of(any::<u64>()),
        // Within the same second, too.
        prop_oneof![0_i64..253_402_300_800_000, 1_795_324_260_000_i64..1_795_324_262_000],
        prop::option::of(any::<String>()),
        prop::option::of(any::<u128>()),
        any::<bool>(),
        payload(),
    )
        .prop_map(|(sub, arrival, key, hash_key, outside, data)| OwnedRecord {
            sequence_number: "0".parse().unwrap(),
            sub_sequence_number: sub,
            arrival: Timestamp::from_millis(arrival),
            partition_key: key,
            explicit_hash_key: hash_key.map(|key| key.to_string()),
            outside_hash_range: outside,
            data,
        })
}

/// Records with growing sequence numbers as long as Kinesis' own.
pub(super) fn batch() -> impl Strategy<Value = Vec<OwnedRecord>> {
    (prop::collection::vec((any_record(), 1_u32..), 1..12), any::<u64>()).prop_map(|(records, from)| {
        let mut number = u128::from(from) << 60;
        let numbered = records.into_iter().map(|(mut record, step)| {
            number += u128::from(step);
            record.sequence_number = format!("4966{number}").parse().unwrap();
            record
        });
        let mut records: Vec<_> = numbered.collect();
        records.sort_by(|a, b| a.sequence_number.cmp(&b.sequence_number));
        records
    })
}

/// Everything that must be true of a finished batch.
fn check(records: &[OwnedRecord], finished: &Finished) {
    let text = slow_text(records);
    let file = finished.parts.concat();
    assert!(gunzip(&file) == text, "the lines are those of the slow writer");
    let (first, last) = (&records[0], &records[records.len() - 1]);
    let expected = Content {
        first_sequence_number: first.sequence_number.clone(),
        last_sequence_number: last.sequence_number.clone(),
        records: records.len() as u64,
        first_arrival: first.arrival,
        last_arrival: last.arrival,
        content_size: text.len() as u64,
        content_sha256: hash::sha256_hex(&text),
        size: file.len() as u64,
        sha256: hash::sha256_hex(&file),
    };
    assert_eq!(finished.content, expected);
    assert_eq!(inspect(file.as_slice()).unwrap(), expected);
    assert!(read(&file) == records, "every byte comes back");
}

proptest! {
    #[test]
    fn lines_are_those_of_the_slow_writer_and_come_back(records in batch()) {
        check(&records, &write(&records));
        let slow = slow_gzip(&slow_text(&records));
        prop_assert_eq!(read(&slow), records);
    }

    #[test]
    fn a_recut_is_as_if_only_those_records_had_come(records in batch(), choice: u64) {
        let chosen = |number: &SequenceNumber| {
            let at = records.iter().position(|record| record.sequence_number == *number).unwrap();
            choice >> at & 1 == 1
        };
        let file = write(&records).parts.concat();
        let kept: Vec<_> =
            records.iter().filter(|record| chosen(&record.sequence_number)).cloned().collect();
        let mut writer = BatchWriter::new(6);
        recut(file.as_slice(), chosen, &mut writer).unwrap();
        prop_assert_eq!(writer.records(), kept.len() as u64);
        match writer.finish() {
            Some(finished) => prop_assert_eq!(finished, write(&kept)),
            None => prop_assert!(kept.is_empty()),
        }
    }
}

#[test]
fn the_line_is_the_contracts() {
    let mut record = record(17, r#"{"a":1}"#);
    record.arrival = Timestamp::from_millis(1_795_324_260_123);
    let line = |record: &OwnedRecord| {
        String::from_utf8(gunzip(&write(std::slice::from_ref(record)).parts[0])).unwrap()
    };
    assert_eq!(
        line(&record),
        "{\"sequence_number\":\"17\",\"approximate_arrival_timestamp\":\"2026-11-22T05:11:00.123Z\",\
         \"partition_key\":\"user-17\",\"data\":\"{\\\"a\\\":1}\"}\n"
    );
    record.sub_sequence_number = Some(0);
    record.partition_key = Some("a\u{1f}\"\u{7f}".into());
    record.explicit_hash_key = Some("340".into());
    record.outside_hash_range = true;
    record.data = vec![0xff, 0xfe];
    assert_eq!(
        line(&record),
        "{\"sequence_number\":\"17\",\"sub_sequence_number\":0,\
         \"approximate_arrival_timestamp\":\"2026-11-22T05:11:00.123Z\",\"partition_key\":\"a\\u001f\\\"\u{7f}\",\
         \"explicit_hash_key\":\"340\",\"outside_hash_range\":true,\"data_base64\":\"//4=\"}\n"
    );
}

#[test]
fn members_hold_whole_lines_of_about_a_mebibyte() {
    let records = large_batch();
    let finished = write(&records);
    check(&records, &finished);
    assert!(finished.parts.len() > 4);
    let mut all = Vec::new();
    for (index, member) in finished.parts.iter().enumerate() {
        let mut text = Vec::new();
        let mut gz = GzDecoder::new(member.as_slice());
        gz.read_to_end(&mut text).unwrap();
        assert!(gz.into_inner().is_empty(), "a part is one member");
        assert_eq!(text.last(), Some(&b'\n'));
        let last_line = memchr::memrchr(b'\n', &text[..text.len() - 1]).map_or(0, |at| at + 1);
        assert!(last_line < MIB, "closed as soon as it was full");
        let least = if index == 0 { MIB / 8 } else { MIB };
        assert!(text.len() >= least || index + 1 == finished.parts.len(), "not closed before");
        all.extend_from_slice(&text);
    }
    assert!(all == gunzip(&finished.parts.concat()));
}

#[test]
fn the_same_records_give_the_same_bytes() {
    let records = large_batch();
    let once = write(&records);
    let mut writer = BatchWriter::new(6);
    writer.append(&record(1, "of a batch that is dropped").as_archived());
    writer.clear();
    for _ in 0..2 {
        assert!(writer.is_empty() && writer.finish().is_none());
        records.iter().for_each(|record| writer.append(&record.as_archived()));
        assert!(writer.finish().as_ref() == Some(&once), "also in a writer that was used before");
    }
    recut(once.parts.concat().as_slice(), |_| true, &mut writer).unwrap();
    assert!(writer.finish().as_ref() == Some(&once), "also from its own lines");
    let mut fast = BatchWriter::new(1);
    records.iter().for_each(|record| fast.append(&record.as_archived()));
    let fast = fast.finish().unwrap();
    assert_ne!(fast.content.sha256, once.content.sha256);
    assert_eq!(fast.content.content_sha256, once.content.content_sha256, "with any compressor");
    writer.set_level(1);
    for record in &records {
        writer.append(&record.as_archived());
        writer.set_level(6);
    }
    assert!(writer.finish().as_ref() == Some(&fast), "a batch keeps the level that it began with");
    writer.set_level(6);
    records.iter().for_each(|record| writer.append(&record.as_archived()));
    assert!(writer.finish().as_ref() == Some(&once), "the next one has its own");
}

#[test]
fn the_open_batch_knows_its_ends_and_sizes() {
    let mut writer = BatchWriter::new(6);
    assert_eq!((writer.first(), writer.last(), writer.first_arrival()), (None, None, None));
    let (a, b) = (record(5, "a"), record(9, "b"));
    writer.append(&a.as_archived());
    writer.append(&b.as_archived());
    assert_eq!(writer.first(), Some(&a.sequence_number));
    assert_eq!(writer.last(), Some(&b.sequence_number));
    assert_eq!(writer.first_arrival(), Some(a.arrival));
    assert_eq!(writer.records(), 2);
    assert_eq!(writer.content_size(), slow_text(&[a, b]).len() as u64);
}

#[test]
fn memory_is_what_it_holds_and_an_empty_batch_holds_none() {
    let mut writer = BatchWriter::new(6);
    assert_eq!(writer.memory(), 0);
    writer.append(&record(1, "small").as_archived());
    let small = writer.memory();
    assert!(small >= writer.content_size() && small <= 64 << 10, "{small}");
    writer.append(&record(2, vec![b'x'; 10 * MIB]).as_archived());
    let settled = writer.memory();
    assert!(settled < MIB as u64 / 8, "room for the huge record was given back: {settled}");
    writer.append(&record(3, vec![b'x'; MIB / 2]).as_archived());
    assert!(writer.memory() > settled + MIB as u64 / 2);
    for number in 4..9 {
        let member = writer.members_size();
        while writer.members_size() == member {
            writer.append(&record(number, vec![b'x'; MIB / 16]).as_archived());
        }
        assert!(writer.memory() > MIB as u64, "room for the next member is kept");
    }
    writer.give_back_room();
    assert!(writer.memory() < MIB as u64 / 4, "and given back when it is not needed soon");
    let finished = writer.finish().unwrap();
    assert_eq!(writer.memory(), 0);
    assert!(finished.parts.iter().all(|part| part.capacity() == part.len()), "no hidden room");
}

#[test]
fn a_file_is_the_same_whether_its_members_stay_or_go_as_they_are_closed() {
    let records = large_batch();
    let whole = write(&records);
    let mut writer = BatchWriter::new(6);
    let (mut file, mut most) = (Vec::new(), 0);
    for record in &records {
        writer.append(&record.as_archived());
        let before = file.len() as u64;
        writer.members().iter().for_each(|member| file.extend_from_slice(member));
        assert_eq!(file.len() as u64 - before, writer.members_size());
        writer.drop_members();
        writer.give_back_room();
        most = most.max(writer.memory());
    }
    let rest = writer.finish().unwrap();
    assert_eq!(rest.content, whole.content);
    rest.parts.iter().for_each(|member| file.extend_from_slice(member));
    assert!(file == whole.parts.concat());
    assert!(most < 3 * MIB as u64, "{most}");
    // All of it went, and the batch then ended with a whole member.
    let mut writer = BatchWriter::new(6).with_members_of(8);
    writer.append(&records[0].as_archived());
    let member = writer.members().concat();
    writer.drop_members();
    let rest = writer.finish().unwrap();
    assert_eq!((rest.parts.len(), rest.content.size), (0, member.len() as u64));
}

#[test]
fn first_members_end_at_many_sizes() {
    let mut sizes = std::collections::BTreeSet::new();
    for batch in 0..40_u64 {
        let mut writer = BatchWriter::new(1);
        for number in 0.. {
            writer.append(&record(1_000_000 * batch + number, vec![b'x'; MIB / 64]).as_archived());
            if writer.members_size() > 0 {
                sizes.insert(writer.content_size() * 8 / MIB as u64);
                break;
            }
        }
    }
    assert_eq!(sizes.into_iter().collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7, 8]);
}
