//! One envelope line back to a record.
//!
//! Owns both readings of a line: the quick one of its head, which orders and cuts lines, and the whole one.

use serde::Deserialize;

use crate::model::record::ArchivedRecord;
use crate::model::sequence::SequenceNumber;
use crate::model::timestamp::Timestamp;

/// The text is not an envelope line.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("not an envelope line: {reason}")]
pub struct NotALine {
    /// What is wrong with it.
    pub reason: String,
}

impl NotALine {
    fn because(reason: impl Into<String>) -> Self {
        Self { reason: reason.into() }
    }
}

/// A record read back from the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedRecord {
    /// The sequence number of the Kinesis record.
    pub sequence_number: SequenceNumber,
    /// Its index within the aggregate it came in, if any.
    pub sub_sequence_number: Option<u64>,
    /// When Kinesis took the record.
    pub arrival: Timestamp,
    /// Its key, where it has one.
    pub partition_key: Option<String>,
    /// The hash key that an aggregate gave the user record, decimal.
    pub explicit_hash_key: Option<String>,
    /// Its hash key lies outside the shard: its producer sent the aggregate again elsewhere.
    pub outside_hash_range: bool,
    /// The payload.
    pub data: Vec<u8>,
}

impl OwnedRecord {
    /// A record's own copy.
    pub(super) fn of(record: &ArchivedRecord<'_>) -> Self {
        Self {
            sequence_number: record.sequence_number.clone(),
            sub_sequence_number: record.sub_sequence_number,
            arrival: record.arrival,
            partition_key: record.partition_key.map(str::to_owned),
            explicit_hash_key: record.explicit_hash_key.map(str::to_owned),
            outside_hash_range: record.outside_hash_range,
            data: record.data.to_vec(),
        }
    }

    /// The record as it is written.
    pub fn as_archived(&self) -> ArchivedRecord<'_> {
        ArchivedRecord {
            sequence_number: &self.sequence_number,
            sub_sequence_number: self.sub_sequence_number,
            arrival: self.arrival,
            partition_key: self.partition_key.as_deref(),
            explicit_hash_key: self.explicit_hash_key.as_deref(),
            outside_hash_range: self.outside_hash_range,
            data: &self.data,
        }
    }
}

/// A line's fields as they stand in it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    sequence_number: SequenceNumber,
    sub_sequence_number: Option<u64>,
    approximate_arrival_timestamp: Timestamp,
    partition_key: Option<String>,
    explicit_hash_key: Option<String>,
    #[serde(default)]
    outside_hash_range: bool,
    data: Option<String>,
    data_base64: Option<String>,
}

/// Reads a whole envelope line, with or without its `\n`.
pub fn parse_line(text: &[u8]) -> Result<OwnedRecord, NotALine> {
    let fields: Fields =
        serde_json::from_slice(text).map_err(|cause| NotALine::because(cause.to_string()))?;
    let data = data_of(fields.data, fields.data_base64)?;
    Ok(OwnedRecord {
        sequence_number: fields.sequence_number,
        sub_sequence_number: fields.sub_sequence_number,
        arrival: fields.approximate_arrival_timestamp,
        partition_key: fields.partition_key,
        explicit_hash_key: fields.explicit_hash_key,
        outside_hash_range: fields.outside_hash_range,
        data,
    })
}

/// A line's payload; the other fields may be absent, as they are where only payloads were archived.
#[derive(Deserialize)]
struct Data {
    data: Option<String>,
    data_base64: Option<String>,
}

/// Reads a line's payload alone.
pub fn parse_data(text: &[u8]) -> Result<Vec<u8>, NotALine> {
    let fields: Data = serde_json::from_slice(text).map_err(|cause| NotALine::because(cause.to_string()))?;
    data_of(fields.data, fields.data_base64)
}

fn data_of(data: Option<String>, data_base64: Option<String>) -> Result<Vec<u8>, NotALine> {
    match (data, data_base64) {
        (Some(text), None) => Ok(text.into_bytes()),
        (None, Some(coded)) => base64_simd::STANDARD
            .decode_to_vec(coded)
            .map_err(|_| NotALine::because("`data_base64` is not base64")),
        (Some(_), Some(_)) => Err(NotALine::because("it has both `data` and `data_base64`")),
        (None, None) => Err(NotALine::because("it has neither `data` nor `data_base64`")),
    }
}

/// The head of a line: as much as is needed to order it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head<'a> {
    /// The digits.
    pub(super) sequence_number: &'a str,
    /// The time as text.
    pub(super) arrival: &'a [u8; 24],
}

/// Reads the head of a line that the archive wrote: fields in their order, without spaces.
pub(super) fn parse_head(line: &[u8]) -> Result<Head<'_>, NotALine> {
    let missing = |name: &str| NotALine::because(format!("it has no `{name}` in its place"));
    let rest = line.strip_prefix(b"{\"sequence_number\":\"").ok_or_else(|| missing("sequence_number"))?;
    let (number, rest) = digits(rest);
    let rest = rest.strip_prefix(b"\"").ok_or_else(|| missing("sequence_number"))?;
    let rest = match rest.strip_prefix(b",\"sub_sequence_number\":") {
        Some(rest) => digits(rest).1,
        None => rest,
    };
    let (arrival, rest) = rest
        .strip_prefix(b",\"approximate_arrival_timestamp\":\"")
        .and_then(<[u8]>::split_first_chunk::<24>)
        .ok_or_else(|| missing("approximate_arrival_timestamp"))?;
    if !rest.starts_with(b"\",\"") {
        return Err(missing("approximate_arrival_timestamp"));
    }
    // Every line's last field is its payload, a string.
    if !line.ends_with(b"\"}\n") {
        return Err(NotALine::because("it does not end with its payload"));
    }
    let sequence_number = std::str::from_utf8(number).map_err(|_| missing("sequence_number"))?;
    Ok(Head { sequence_number, arrival })
}

/// Reads a time as the archive writes it: 24 bytes, UTC, milliseconds.
pub(super) fn parse_time(text: &[u8; 24]) -> Result<Timestamp, NotALine> {
    let wrong = || NotALine::because("`approximate_arrival_timestamp` is not a time");
    let time: Timestamp = std::str::from_utf8(text).map_err(|_| wrong())?.parse().map_err(|_| wrong())?;
    let mut again = Vec::with_capacity(text.len());
    time.write_to(&mut again);
    if again == text { Ok(time) } else { Err(wrong()) }
}

fn digits(text: &[u8]) -> (&[u8], &[u8]) {
    let len = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(len)
}
