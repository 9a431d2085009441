//! Records: as Kinesis delivers them, and as the archive keeps them.

use bytes::Bytes;

use super::sequence::SequenceNumber;
use super::text::Text;
use super::timestamp::Timestamp;

/// A record as Kinesis delivered it; its data may be a KPL aggregate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawRecord {
    /// Its place in the shard.
    pub sequence_number: SequenceNumber,
    /// When Kinesis took it; the epoch where the reply had no time (AWS always sends one), so that
    /// whoever renders the record renders the same bytes.
    pub arrival: Timestamp,
    /// Absent where the stream distributes records by itself (`AUTO`).
    pub partition_key: Option<Text>,
    /// The payload.
    pub data: Bytes,
}

/// What lies in the archive as one line: a record, or a user record out of an aggregate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArchivedRecord<'a> {
    /// The sequence number of the Kinesis record.
    pub sequence_number: &'a SequenceNumber,
    /// Its index within the aggregate it came in, if any.
    pub sub_sequence_number: Option<u64>,
    /// When Kinesis took the record.
    pub arrival: Timestamp,
    /// Its key, where it has one.
    pub partition_key: Option<&'a str>,
    /// The hash key that an aggregate gave the user record, decimal.
    pub explicit_hash_key: Option<&'a str>,
    /// Its hash key lies outside the shard: its producer sent the aggregate again elsewhere.
    pub outside_hash_range: bool,
    /// The payload.
    pub data: &'a [u8],
}

impl RawRecord {
    /// The record as it is archived when it is no aggregate, or aggregates are kept whole.
    pub fn as_archived(&self) -> ArchivedRecord<'_> {
        ArchivedRecord {
            sequence_number: &self.sequence_number,
            sub_sequence_number: None,
            arrival: self.arrival,
            partition_key: self.partition_key.as_deref(),
            explicit_hash_key: None,
            outside_hash_range: false,
            data: &self.data,
        }
    }
}
