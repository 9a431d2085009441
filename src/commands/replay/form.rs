//! An archived line as a record to be put.
//!
//! Owns what stands in for a key that the archive does not have. Puts nothing.

use bytes::Bytes;

use crate::codec::aggregate::hash_key_within;
use crate::codec::{NotALine, parse_line};
use crate::model::timestamp::Timestamp;
use crate::ports::put::Record;

/// A record, and what is not sent along with it.
#[derive(Debug)]
pub(super) struct Formed {
    pub(super) record: Record,
    pub(super) arrival: Timestamp,
    /// The archive has no partition key; the record's sequence number took its place.
    pub(super) without_key: bool,
}

/// Reads an envelope line.
pub(super) fn form(line: &[u8], tag: u64) -> Result<Formed, NotALine> {
    let read = parse_line(line)?;
    let data = Bytes::from(read.data);
    let explicit_hash_key = match read.explicit_hash_key {
        // What is no hash key has decided nothing: the archive takes no such aggregate apart.
        Some(decimal) => decimal.parse().ok(),
        None if read.sub_sequence_number.is_none() => hash_key_within(&data),
        None => None,
    };
    let without_key = read.partition_key.is_none();
    // The same for each try, so that a record that is sent again comes to the same shard, beside the first.
    let partition_key = read.partition_key.unwrap_or_else(|| read.sequence_number.as_str().to_owned());
    let record = Record { data, partition_key, explicit_hash_key, tag };
    Ok(Formed { record, arrival: read.arrival, without_key })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn formed(fields: &str) -> Formed {
        let line = format!(
            "{{\"sequence_number\":\"4966\",{}\"approximate_arrival_timestamp\":\"2026-11-22T05:00:00.000Z\",{fields}}}\n",
            if fields.contains("explicit") { "\"sub_sequence_number\":0," } else { "" }
        );
        form(line.as_bytes(), 7).unwrap()
    }

    #[test]
    fn a_record_goes_back_with_its_keys() {
        let one = formed(r#""partition_key":"k\u0000ü","data":"a\nb""#);
        assert_eq!((one.record.partition_key.as_str(), &one.record.data[..]), ("k\0ü", &b"a\nb"[..]));
        assert_eq!((one.record.explicit_hash_key, one.record.tag, one.without_key), (None, 7, false));
        let two = formed(r#""partition_key":"k","explicit_hash_key":"17","data_base64":"/w==""#);
        assert_eq!((two.record.explicit_hash_key, &two.record.data[..]), (Some(17), &b"\xff"[..]));
    }

    #[test]
    fn a_record_without_a_key_goes_by_its_sequence_number() {
        let formed = formed(r#""data":"""#);
        assert!(formed.without_key);
        assert_eq!((formed.record.partition_key.as_str(), formed.record.data.len()), ("4966", 0));
    }
}
