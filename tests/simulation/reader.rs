//! Reads an object as anybody could: gzip, lines, JSON. Shares no code with what wrote it.

use std::io::Read;

use flate2::read::MultiGzDecoder;
use kinesis_keeper::model::sequence::SequenceNumber;
use kinesis_keeper::model::timestamp::Timestamp;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// A line of an object.
#[derive(Debug, PartialEq, Eq)]
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

/// Reads an object.
pub fn read(object: &[u8]) -> Result<Content, String> {
    let mut text = String::new();
    MultiGzDecoder::new(object).read_to_string(&mut text).map_err(|error| format!("gzip: {error}"))?;
    if !text.is_empty() && !text.ends_with('\n') {
        return Err("the last line has no end".into());
    }
    let lines = text.lines().map(line).collect::<Result<Vec<_>, _>>()?;
    Ok(Content { size: text.len() as u64, sha256: sha256(text.as_bytes()), lines })
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
