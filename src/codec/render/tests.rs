use super::*;
use crate::codec::tests::{large_batch, record, slow_text};
use crate::codec::{LineReader, ReadError, TextLines};
use crate::model::batch::Compression;

const FORMS: [Form; 4] = [
    Form::SPOOLED,
    Form { format: Format::Envelope, compression: Compression::Zstd },
    Form { format: Format::Payload, compression: Compression::Gzip },
    Form { format: Format::Payload, compression: Compression::Zstd },
];

fn rendered(form: Form, level: u32, records: &[OwnedRecord]) -> Finished {
    let mut renderer = Renderer::new(form, level);
    records.iter().for_each(|record| renderer.append(&record.as_archived()));
    let finished = renderer.finish().unwrap();
    assert!(renderer.is_empty() && renderer.finish().is_none());
    assert_eq!(renderer.memory(), 0);
    finished
}

fn lines(compression: Compression, parts: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let file = parts.concat();
    let mut lines = TextLines::new(compression, file.as_slice());
    let mut all = Vec::new();
    while let Some(line) = lines.next_line().unwrap() {
        all.push(line.to_vec());
    }
    assert_eq!(lines.split_member(), None);
    all
}

/// Every record that a payload object and its side object hold, as its payload, in order.
fn payloads(form: Form, finished: &Finished) -> Vec<Vec<u8>> {
    let mut payloads = lines(form.compression, &finished.parts);
    for line in &mut payloads {
        assert_eq!(line.pop(), Some(b'\n'));
    }
    let side = finished.side.iter().flat_map(|side| lines(form.compression, &side.parts));
    for (at, line) in side.enumerate() {
        let (after, envelope) = parse_side_line(&line).unwrap();
        payloads.insert(after as usize + at, parse_line(&envelope).unwrap().data);
    }
    payloads
}

#[test]
fn every_form_holds_every_record_in_order_and_the_same_records_give_the_same_bytes() {
    let records = large_batch();
    for form in FORMS {
        let once = rendered(form, 6, &records);
        let mut renderer = Renderer::new(form, 6);
        renderer.append(&record(1, "dropped").as_archived());
        renderer.clear();
        let spooled = rendered(Form::SPOOLED, 1, &records).parts.concat();
        crate::codec::recut(spooled.as_slice(), |_| true, &mut renderer).unwrap();
        assert!(renderer.finish().as_ref() == Some(&once), "{form:?}: from the spool's lines");
        let fast = rendered(form, 1, &records);
        assert_eq!(fast.content.content_sha256, once.content.content_sha256, "{form:?}: at any level");
        assert!(once.parts.len() > 3, "{form:?}: parts of about a mebibyte");
        let side = once.side.as_ref().map_or(0, |side| side.content.records);
        assert_eq!(once.content.records + side, records.len() as u64);
        assert_eq!(once.content.last_sequence_number, records.last().unwrap().sequence_number);
        match form.format {
            Format::Envelope => {
                let text = lines(form.compression, &once.parts).concat();
                assert!(text == slow_text(&records), "{form:?}");
                let file = once.parts.concat();
                let read = crate::codec::reader::inspect_packed(form.compression, file.as_slice());
                assert_eq!(read.unwrap(), once.content);
            }
            Format::Payload => {
                assert_eq!(side, 2, "the binary one and the one with line feeds");
                let data: Vec<Vec<u8>> = records.iter().map(|record| record.data.clone()).collect();
                assert!(payloads(form, &once) == data, "{form:?}");
            }
        }
    }
}

#[test]
fn the_content_is_the_same_with_either_compressor() {
    let records = large_batch();
    let hash = |form: &Form| {
        let finished = rendered(*form, 6, &records);
        (finished.content.content_sha256, finished.side.map(|side| side.content.content_sha256))
    };
    let hashes: Vec<_> = FORMS.iter().map(hash).collect();
    assert_eq!((&hashes[0], &hashes[2]), (&hashes[1], &hashes[3]));
}

#[test]
fn what_cannot_be_a_line_goes_to_the_side_and_an_empty_payload_is_a_line() {
    let aggregate = |number, sub, outside, data: &str| OwnedRecord {
        sub_sequence_number: Some(sub),
        outside_hash_range: outside,
        ..record(number, data)
    };
    let records = [
        record(1, ""),
        record(2, "a\nb"),
        record(3, vec![0xff]),
        record(4, "c\r"),
        aggregate(5, 0, false, "own"),
        aggregate(5, 1, true, "another shard's"),
        aggregate(6, 0, false, "whole"),
        aggregate(6, 1, false, "again\n"),
    ];
    let form = FORMS[2];
    let finished = rendered(form, 6, &records);
    assert_eq!(lines(form.compression, &finished.parts).concat(), b"\nc\r\nwhole\n");
    let side = finished.side.as_ref().unwrap();
    let placed: Vec<(u64, OwnedRecord)> = lines(form.compression, &side.parts)
        .iter()
        .map(|line| parse_side_line(line).unwrap())
        .map(|(after, envelope)| (after, parse_line(&envelope).unwrap()))
        .collect();
    let [_, b, ff, _, own, other, _, again] = records.clone();
    assert_eq!(placed, [(1, b), (1, ff), (2, own), (2, other), (3, again)]);
    assert_eq!((finished.content.records, side.content.records), (3, 5));
    assert_eq!(side.content.first_sequence_number.as_str(), "2");
    assert_eq!(payloads(form, &finished), records.map(|record| record.data));
}

#[test]
fn an_object_without_a_line_is_an_empty_file_with_the_ends_of_its_batch() {
    for form in [FORMS[2], FORMS[3]] {
        let finished = rendered(form, 6, &[record(1, "\n"), record(9, "\n")]);
        assert_eq!(finished.parts.concat(), crate::codec::void::packed(form.compression));
        let content = &finished.content;
        assert_eq!((content.records, content.content_size), (0, 0));
        assert_eq!(content.sha256, crate::codec::hash::sha256_hex(&finished.parts.concat()));
        assert_eq!(content.last_sequence_number.as_str(), "9");
        assert!(lines(form.compression, &finished.parts).is_empty());
        assert_eq!(finished.side.unwrap().content.records, 2);
    }
}

#[test]
fn damaged_frames_and_lines_are_refused() {
    let file = rendered(FORMS[1], 6, &large_batch()).parts.concat();
    let read = |file: &[u8]| crate::codec::reader::inspect_packed(Compression::Zstd, file).map(drop);
    read(&file).unwrap();
    for cut in [0, 3, 1000, file.len() / 2, file.len() - 1] {
        assert!(read(&file[..cut]).unwrap_err().is_damage(), "cut at {cut}");
    }
    let told = read(&file[..file.len() - 1]).unwrap_err().to_string();
    assert!(told.contains("zstd frame") && told.contains("it is cut"), "{told}");
    assert!(read(&[&file[..], b"x"].concat()).unwrap_err().is_damage());
    let mut flipped = file.clone();
    flipped[file.len() / 2] ^= 1;
    assert!(read(&flipped).unwrap_err().is_damage());
    assert!(
        matches!(LineReader::new(file.as_slice()).next_line(), Err(ReadError::Damaged { .. })),
        "no gzip"
    );
    for wrong in ["", "{}", "{\"after_lines\":x,", "{\"after_lines\":1}", "{\"after_lines\":"] {
        assert!(parse_side_line(wrong.as_bytes()).is_err(), "{wrong}");
    }
}
