//! Reads an object as anybody could: gzip or zstd, lines, JSON. Shares no code with what wrote it.

use std::io::Read;

use flate2::read::MultiGzDecoder;
use kinesis_keeper::model::batch::Compression;
use kinesis_keeper::model::sequence::SequenceNumber;
use kinesis_keeper::model::timestamp::Timestamp;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// A line of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub number: SequenceNumber,
    pub arrival: Timestamp,
    pub partition_key: Option<String>,
    pub data: Vec<u8>,
}

/// An object's content.
pub struct Content {
    pub size: u64,
    pub sha256: String,
    pub lines: Vec<Line>,
}

/// Lower-case hex SHA-256.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a file holds.
fn unpack(object: &[u8], compression: Compression) -> Result<String, String> {
    let mut text = String::new();
    let unpacked = match compression {
        Compression::Gzip => MultiGzDecoder::new(object).read_to_string(&mut text),
        Compression::Zstd => {
            let decoder = zstd::stream::read::Decoder::new(object);
            decoder.and_then(|mut decoder| decoder.read_to_string(&mut text))
        }
    };
    unpacked.map_err(|error| format!("{compression:?}: {error}"))?;
    if !text.is_empty() && !text.ends_with('\n') {
        return Err("the last line has no end".into());
    }
    Ok(text)
}

/// Reads an object of envelope lines.
pub fn read(object: &[u8], compression: Compression) -> Result<Content, String> {
    let text = unpack(object, compression)?;
    let lines = text.lines().map(line).collect::<Result<Vec<_>, _>>()?;
    Ok(Content { size: text.len() as u64, sha256: sha256(text.as_bytes()), lines })
}

/// Reads an object of payloads, and the lines of its side object where they stand among them.
/// `written` are the records of the batch: a line of payload is the one whose turn it is.
pub fn read_payloads(
    object: &[u8],
    side: Option<&[u8]>,
    compression: Compression,
    written: &[Line],
) -> Result<(Content, Option<Content>), String> {
    let text = unpack(object, compression)?;
    let mut rows: Vec<Option<Line>> = text.split_terminator('\n').map(|_| None).collect();
    let mut of_side = None;
    if let Some(side) = side {
        let text = unpack(side, compression)?;
        let mut lines = Vec::new();
        for (before, text) in text.lines().enumerate() {
            let value: Value = serde_json::from_str(text).map_err(|error| format!("{error} in {text}"))?;
            let after = value["after_lines"].as_u64().ok_or(format!("no after_lines in {text}"))?;
            let at = usize::try_from(after).unwrap() + before;
            if at > rows.len() {
                return Err(format!("{text} stands behind the end"));
            }
            rows.insert(at, Some(line(text)?));
            lines.push(line(text)?);
        }
        of_side = Some(Content { size: text.len() as u64, sha256: sha256(text.as_bytes()), lines });
    }
    if rows.len() != written.len() {
        return Err(format!("{} records of {}", rows.len(), written.len()));
    }
    let mut payloads = text.split_terminator('\n');
    let mut lines = Vec::new();
    for (row, written) in rows.into_iter().zip(written) {
        match row {
            Some(row) if row == *written => {}
            Some(row) => return Err(format!("{row:?} in the place of {written:?}")),
            None => {
                let payload = payloads.next().unwrap_or_default();
                if payload.as_bytes() != written.data {
                    return Err(format!("{payload} in the place of {written:?}"));
                }
                lines.push(written.clone());
            }
        }
    }
    Ok((Content { size: text.len() as u64, sha256: sha256(text.as_bytes()), lines }, of_side))
}

fn line(text: &str) -> Result<Line, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| format!("{error} in {text}"))?;
    let field = |name: &str| value.get(name).and_then(Value::as_str);
    let needed = |name: &str| field(name).ok_or_else(|| format!("no {name} in {text}"));
    let data = match (field("data"), field("data_base64")) {
        (Some(data), None) => data.as_bytes().to_vec(),
        (None, Some(data)) => {
            base64_simd::STANDARD.decode_to_vec(data).map_err(|error| format!("{error} in {text}"))?
        }
        _ => return Err(format!("not exactly one of data and data_base64 in {text}")),
    };
    if value.get("sub_sequence_number").is_some() {
        return Err(format!("nobody wrote an aggregate: {text}"));
    }
    Ok(Line {
        number: needed("sequence_number")?.parse().map_err(|error| format!("{error}"))?,
        arrival: needed("approximate_arrival_timestamp")?.parse().map_err(|error| format!("{error}"))?,
        partition_key: field("partition_key").map(str::to_owned),
        data,
    })
}
