//! Envelope lines in and out: records as the archive has them, and dead letters, which are the same with
//! the reason added.
//!
//! Reading passes over fields that it does not know, so that lines of the archive, dead letters and what
//! users write by hand are all taken.

use std::borrow::Cow;

use base64_simd::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::ports::put::Record;

/// A line as far as it matters.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    data: Option<Cow<'a, str>>,
    #[serde(borrow)]
    data_base64: Option<Cow<'a, str>>,
    partition_key: Option<String>,
    explicit_hash_key: Option<String>,
    /// A dead letter of input that was no envelope line: that input.
    line: Option<String>,
    line_base64: Option<String>,
}

/// A record out of an envelope line.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::commands) struct Opened {
    pub(in crate::commands) data: Bytes,
    pub(in crate::commands) partition_key: Option<String>,
    pub(in crate::commands) explicit_hash_key: Option<u128>,
}

/// Reads one envelope line, or says what is wrong with it.
pub(in crate::commands) fn open(text: &[u8]) -> Result<Opened, String> {
    let wrong = |what: &str| format!("not an envelope line: {what}");
    let line: Line<'_> = serde_json::from_slice(text).map_err(|error| wrong(&error.to_string()))?;
    let decode = |coded: &[u8]| STANDARD.decode_to_vec(coded).map(Bytes::from);
    match (&line.line, &line.line_base64) {
        (Some(inner), None) if line.data.is_none() => return open(inner.as_bytes()),
        (None, Some(coded)) if line.data.is_none() => {
            let inner = decode(coded.as_bytes()).map_err(|_| wrong("`line_base64` is not base64"))?;
            return open(&inner);
        }
        _ => {}
    }
    let data = match (line.data, line.data_base64) {
        (Some(text), None) => Bytes::from(text.into_owned()),
        (None, Some(coded)) => decode(coded.as_bytes()).map_err(|_| wrong("`data_base64` is not base64"))?,
        (Some(_), Some(_)) => return Err(wrong("it has both `data` and `data_base64`")),
        (None, None) => return Err(wrong("it has neither `data` nor `data_base64`")),
    };
    let explicit_hash_key = match line.explicit_hash_key {
        Some(text) => {
            let parsed = text.parse().map_err(|_| wrong("`explicit_hash_key` is not a hash key"))?;
            Some(parsed)
        }
        None => None,
    };
    Ok(Opened { data, partition_key: line.partition_key, explicit_hash_key })
}

/// A dead letter.
#[derive(Serialize)]
struct Letter<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    partition_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    explicit_hash_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line_base64: Option<String>,
    error: &'a str,
    input: &'a str,
}

/// What a dead letter holds.
#[derive(Clone, Copy, Debug)]
pub(in crate::commands) enum Dead<'a> {
    /// A record with its keys.
    Record(&'a Record),
    /// A payload that got no key.
    Payload(&'a [u8]),
    /// Input that was no envelope line.
    Line(&'a [u8]),
}

/// Writes a dead letter as a line, its `\n` included.
pub(in crate::commands) fn seal(dead: Dead<'_>, error: &str, input: &str) -> serde_json::Result<Vec<u8>> {
    let bytes: &[u8] = match dead {
        Dead::Record(record) => &record.data,
        Dead::Payload(bytes) | Dead::Line(bytes) => bytes,
    };
    let text = simdutf8::basic::from_utf8(bytes).ok();
    let coded = if text.is_some() { None } else { Some(STANDARD.encode_to_string(bytes)) };
    let record = if let Dead::Record(record) = dead { Some(record) } else { None };
    let is_line = matches!(dead, Dead::Line(_));
    let (line, data) = if is_line { (text, None) } else { (None, text) };
    let (line_base64, data_base64) = if is_line { (coded, None) } else { (None, coded) };
    let letter = Letter {
        partition_key: record.map(|record| record.partition_key.as_str()),
        explicit_hash_key: record.and_then(|record| record.explicit_hash_key).map(|key| key.to_string()),
        data,
        data_base64,
        line,
        line_base64,
        error,
        input,
    };
    let mut out = serde_json::to_vec(&letter)?;
    out.push(b'\n');
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_archive_are_taken_and_unknown_fields_passed_over() {
        let line = br#"{"sequence_number":"49","approximate_arrival_timestamp":"2026-11-22T05:11:00.123Z","partition_key":"k","explicit_hash_key":"7","data":"a\nb","more":{"x":1}}"#;
        let opened = open(line).unwrap();
        assert_eq!((&opened.data[..], opened.explicit_hash_key), (&b"a\nb"[..], Some(7)));
        assert_eq!(opened.partition_key.as_deref(), Some("k"));
        let bare = open(br#"{"data_base64":"AP8="}"#).unwrap();
        assert_eq!((&bare.data[..], bare.partition_key), (&[0, 255][..], None));
        assert_eq!(open(br#"{"data":""}"#).unwrap().data, "");
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (line, said) in [
            (&b"x"[..], "expected value"),
            (b"{}", "it has neither `data` nor `data_base64`"),
            (br#"{"data":"a","data_base64":"YQ=="}"#, "it has both"),
            (br#"{"data_base64":"?"}"#, "`data_base64` is not base64"),
            (br#"{"data":"","explicit_hash_key":"x"}"#, "`explicit_hash_key` is not a hash key"),
            (
                br#"{"data":"","explicit_hash_key":"340282366920938463463374607431768211456"}"#,
                "is not a hash key",
            ),
        ] {
            let error = open(line).unwrap_err();
            assert!(error.starts_with("not an envelope line: ") && error.contains(said), "{error}");
        }
    }

    #[test]
    fn a_dead_letter_can_be_put_again() {
        let record = |data: &'static [u8], hash_key| Record {
            data: Bytes::from_static(data),
            partition_key: "k\"1".into(),
            explicit_hash_key: hash_key,
            tag: 9,
        };
        for record in [record(b"text", None), record(b"\xff\x00", Some(u128::MAX)), record(b"", None)] {
            let letter = seal(Dead::Record(&record), "why", "in:1").unwrap();
            assert!(letter.ends_with(b"\"error\":\"why\",\"input\":\"in:1\"}\n"));
            let opened = open(&letter).unwrap();
            assert_eq!(opened.data, record.data);
            assert_eq!(opened.partition_key, Some(record.partition_key));
            assert_eq!(opened.explicit_hash_key, record.explicit_hash_key);
        }
        let payload = open(&seal(Dead::Payload(b"{"), "why", "in:1").unwrap()).unwrap();
        assert_eq!((payload.data, payload.partition_key), ("{".into(), None));
    }

    #[test]
    fn input_that_was_no_envelope_line_stays_what_it_was() {
        for broken in [&b"{\"data\":1}"[..], b"\xff"] {
            let once = seal(Dead::Line(broken), "why", "in:1").unwrap();
            let twice = open(&once).unwrap_err();
            assert!(twice.starts_with("not an envelope line"), "{twice}");
            assert_eq!(open(broken).unwrap_err(), twice);
        }
    }
}
