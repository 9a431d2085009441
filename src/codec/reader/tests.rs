//! Damaged files: each is an error that says where, never a panic, never other records.

use std::io::{self, Read};

use proptest::prelude::*;

use super::*;
use crate::codec::parse_line;
use crate::codec::tests::{batch, large_batch, record, slow_gzip, slow_text, write};

proptest! {
    #[test]
    fn a_flipped_bit_is_an_error_or_changes_nothing(records in batch(), at: prop::sample::Index, bit in 0_u8..8) {
        let finished = write(&records);
        let mut file = finished.parts.concat();
        let at = at.index(file.len());
        file[at] ^= 1_u8 << bit;
        match inspect(file.as_slice()) {
            // The header's spare fields and the bits that fill up the last byte hold nothing.
            Ok(content) => {
                prop_assert_eq!(content.content_sha256, finished.content.content_sha256);
                prop_assert_ne!(content.sha256, finished.content.sha256);
            }
            Err(error) => prop_assert!(error.is_damage()),
        }
    }

    #[test]
    fn a_cut_file_is_an_error(records in batch(), at: prop::sample::Index) {
        let file = write(&records).parts.concat();
        let cut = &file[..at.index(file.len())];
        let error = inspect(cut).unwrap_err();
        prop_assert!(matches!(error, ReadError::Damaged { member: 1, at: 0, .. }), "{}", error);
    }

    #[test]
    fn garbage_is_an_error(garbage in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(inspect(garbage.as_slice()).is_err());
        prop_assert!(inspect(slow_gzip(&garbage).as_slice()).is_err());
        let _ = parse_line(&garbage);
        let mut file = write(&[record(1, "x")]).parts.concat();
        file.extend_from_slice(&garbage);
        prop_assert_eq!(inspect(file.as_slice()).is_ok(), garbage.is_empty());
    }

    #[test]
    fn a_line_with_a_byte_changed_never_panics(records in batch(), at: prop::sample::Index, byte: u8) {
        let mut text = slow_text(&records);
        let at = at.index(text.len());
        text[at] = byte;
        let gz = slow_gzip(&text);
        let mut reader = LineReader::new(gz.as_slice());
        while let Ok(Some(line)) = reader.next_line() {
            let _ = parse_line(line.text);
        }
    }
}

#[test]
fn damage_is_told_with_its_place() {
    let text = slow_text(&[record(1, "a"), record(2, "b")]);
    let second = memchr::memchr(b'\n', &text).unwrap() + 1;
    let fails = |gz: &[u8]| inspect(gz).unwrap_err();

    let mut wrong = text[..second].to_vec();
    wrong.extend_from_slice(b"{\"event\":1}\n");
    assert!(matches!(fails(&slow_gzip(&wrong)), ReadError::Line { line: 2, .. }));

    assert!(matches!(fails(&slow_gzip(&text[..text.len() - 1])), ReadError::Unended { line: 2 }));
    assert!(matches!(fails(&slow_gzip(b"")), ReadError::Empty));
    assert!(matches!(fails(b""), ReadError::Damaged { member: 1, at: 0, lines: 0, .. }));

    let whole = slow_gzip(&text);
    let mut two = [whole.clone(), whole.clone()].concat();
    let at = two.len() - 6;
    two[at] ^= 1;
    let error = fails(&two);
    let place = whole.len() as u64;
    let told = matches!(error, ReadError::Damaged { member: 2, at, lines: 4, .. } if at == place);
    assert!(told, "a wrong checksum: {error}");
    for tail in [&b"\0"[..], b"garbage", &whole[..9], &whole[..whole.len() - 1]] {
        let error = fails(&[&whole, tail].concat());
        let told = matches!(error, ReadError::Damaged { member: 2, at, .. } if at == place);
        assert!(told, "{tail:?} behind the last member: {error}");
    }
}

#[test]
fn a_line_longer_than_any_record_is_refused_before_it_fills_the_memory() {
    let gz = flate2::read::GzEncoder::new(io::repeat(b'x'), flate2::Compression::fast());
    assert!(matches!(LineReader::new(gz).next_line(), Err(ReadError::TooLong { line: 1 })));
}

#[test]
fn lines_that_are_not_the_archives_are_refused() {
    let good =
        r#"{"sequence_number":"1","approximate_arrival_timestamp":"2026-11-22T05:11:00.123Z","data":"x"}"#;
    assert_eq!(parse_line(good.as_bytes()).unwrap().data, b"x");
    let both = [
        ("\"1\"", "\"01\""),
        ("\"1\"", "1"),
        ("\"1\"", "\"\""),
        ("\"1\"", "\"1\",\"sub_sequence_number\":\"0\""),
        ("2026-11-22T05", "2026-13-22T05"),
        (".123Z", ".123"),
        ("\"sequence_number\":\"1\",", ""),
        (",\"data\":\"x\"", ""),
        ("}", ""),
    ];
    let whole_only = [
        ("\"data\":\"x\"", "\"data\":\"x\",\"data_base64\":\"eA==\""),
        ("\"data\":\"x\"", "\"data_base64\":\"e\""),
        ("\"data\":\"x\"", "\"data\":\"x\",\"data\":\"x\""),
        ("\"data\":\"x\"", "\"more\":\"x\""),
        ("\"data\":\"x\"", "\"data\":\"\u{1}\""),
    ];
    for (part, instead) in both.iter().chain(&whole_only) {
        let bad = good.replacen(part, instead, 1);
        assert_ne!(bad, good);
        assert!(parse_line(bad.as_bytes()).is_err(), "{bad}");
    }
    for (part, instead) in both {
        let bad = format!("{}\n", good.replacen(part, instead, 1));
        let gz = slow_gzip(bad.as_bytes());
        let error = LineReader::new(gz.as_slice()).next_line().unwrap_err();
        assert!(matches!(error, ReadError::Line { line: 1, .. }), "{bad}: {error}");
    }
}

/// Gives some bytes, then fails.
struct Failing<'a>(&'a [u8]);

impl Read for Failing<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.0.is_empty() { Err(io::Error::other("the network is gone")) } else { self.0.read(into) }
    }
}

#[test]
fn a_failing_source_is_not_a_damaged_file() {
    let file = write(&large_batch()).parts.concat();
    for given in [0, 5, 10, 100_000, file.len() - 4, file.len()] {
        let error = inspect(Failing(&file[..given])).unwrap_err();
        assert!(!error.is_damage(), "{error}");
        assert!(matches!(error, ReadError::Source { at, .. } if at == given as u64), "{error}");
        assert!(error.to_string().contains("the network is gone"));
    }
    let mut reader = LineReader::new(Failing(b""));
    assert!(matches!(reader.next_line(), Err(ReadError::Source { .. })));
    assert!(matches!(reader.next_line(), Err(ReadError::Broken)), "an error is never passed over");
}
