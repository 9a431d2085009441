//! Ledger entries: the numbered, hash-chained log of a shard in the bucket.
//!
//! Owns their shape and what position each leaves behind. Does not put or fetch them: `ledger/` does.

use serde::{Deserialize, Serialize};

use super::batch::{Compression, Content, Form, Format, SealReason};
use super::sequence::{Position, SequenceNumber, or_empty};
use super::shard::{ShardId, StreamIdentity};
use super::timestamp::{Hour, Timestamp};

/// The version of the archive's format, in every entry, manifest and notice.
pub const FORMAT_VERSION: u32 = 1;

/// One entry of a shard's ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// [`FORMAT_VERSION`].
    pub version: u32,
    /// What it records, with the fields of that type.
    #[serde(flatten)]
    pub body: Body,
    /// The stream's name.
    pub stream: String,
    /// The stream's ARN.
    pub stream_arn: String,
    /// The stream's creation time.
    pub stream_created: Timestamp,
    /// The shard.
    pub shard: ShardId,
    /// Its number: 0, 1, 2 … without a hole.
    pub serial: u64,
    /// Hex SHA-256 of the entry before it, as stored; empty at serial 0.
    pub previous_entry_sha256: String,
    /// Who wrote it: the host's name and the state directory's identifier.
    pub host: String,
    /// When it was written, by the writer's clock.
    pub written_at: Timestamp,
}

/// What an entry records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Body {
    /// Serial 0: the shard was first seen and is about to be read.
    Begin(BeginBody),
    /// A batch was claimed; its object lies, or will lie, under its key.
    Batch(Box<BatchBody>),
    /// Records are not in the archive and cannot be read any more.
    Gap(GapBody),
    /// The shard was read to its end; nothing follows.
    End(EndBody),
}

/// Where a shard's reading begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Begin {
    /// At the oldest record that the stream still holds.
    TrimHorizon(TrimHorizon),
    /// At the first record that arrived at or after this instant.
    At(Timestamp),
}

/// The text `trim_horizon`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TrimHorizon {
    /// Its only value.
    #[serde(rename = "trim_horizon")]
    TrimHorizon,
}

impl Begin {
    /// The oldest record that the stream still holds.
    pub const TRIM_HORIZON: Self = Self::TrimHorizon(TrimHorizon::TrimHorizon);
}

/// Fields of a `begin` entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BeginBody {
    /// The shard's parents.
    pub parents: Vec<ShardId>,
    /// Lowest hash key, decimal.
    pub starting_hash_key: String,
    /// Highest hash key, decimal.
    pub ending_hash_key: String,
    /// Where reading begins.
    pub begin: Begin,
}

/// Fields of a `batch` entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchBody {
    /// The key of its object.
    pub key: String,
    /// The hour under which it lies.
    pub hour: Hour,
    /// How its records are written.
    pub format: Format,
    /// How its object is compressed.
    pub compression: Compression,
    /// Whether KPL aggregates were split.
    pub deaggregate: bool,
    /// First Kinesis sequence number.
    pub first_sequence_number: SequenceNumber,
    /// Last Kinesis sequence number.
    pub last_sequence_number: SequenceNumber,
    /// Lines.
    pub records: u64,
    /// Uncompressed bytes.
    pub content_size: u64,
    /// Hex SHA-256 of the uncompressed bytes.
    pub content_sha256: String,
    /// Arrival of the first record.
    pub first_arrival: Timestamp,
    /// Arrival of the last record.
    pub last_arrival: Timestamp,
    /// Why it was sealed.
    pub sealed_by: SealReason,
    /// Hex SHA-256 of the object of the batch entry before it, as it lies in S3; empty for the
    /// first, and where that one was void or has expired.
    pub previous_object_sha256: String,
    /// The side object, if some of the records can't be lines of the format: they are records of
    /// the batch as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub side: Option<SideBody>,
}

/// A batch's records that can't be lines of its format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SideBody {
    /// The key of their object.
    pub key: String,
    /// Lines.
    pub records: u64,
    /// Uncompressed bytes.
    pub content_size: u64,
    /// Hex SHA-256 of the uncompressed bytes.
    pub content_sha256: String,
}

impl BatchBody {
    /// The form of its object, and of its side object's compression.
    pub const fn form(&self) -> Form {
        Form { format: self.format, compression: self.compression }
    }

    /// Whether these are its records, in its form.
    pub fn is(&self, content: &Content, side: Option<&Content>) -> bool {
        self.content_sha256 == content.content_sha256
            && self.records == content.records
            && self.side_claim() == side.map(|side| (side.content_sha256.as_str(), side.records))
    }

    fn side_claim(&self) -> Option<(&str, u64)> {
        self.side.as_ref().map(|side| (side.content_sha256.as_str(), side.records))
    }

    /// Whether `other` claims the same records in the same form.
    pub fn claims_same_content(&self, other: &Self) -> bool {
        self.content_sha256 == other.content_sha256
            && self.records == other.records
            && self.first_sequence_number == other.first_sequence_number
            && self.last_sequence_number == other.last_sequence_number
            && self.side_claim() == other.side_claim()
    }
}

/// Why records are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GapCause {
    /// The stream trimmed them before they were read.
    Trimmed,
    /// They were claimed by a batch whose object never came and which nobody can render any more.
    Lost,
}

impl GapCause {
    /// As the archive writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trimmed => "trimmed",
            Self::Lost => "lost",
        }
    }
}

/// Fields of a `gap` entry; both sequence numbers may be empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GapBody {
    /// The last archived record before it.
    #[serde(with = "or_empty")]
    pub after: Option<SequenceNumber>,
    /// The first record that can still be read; without it the next batch ends the gap.
    #[serde(with = "or_empty")]
    pub resumes_at: Option<SequenceNumber>,
    /// Why.
    pub why: GapCause,
    /// Whether records are known to be missing, or only may be.
    pub certain: bool,
    /// When the missing records arrived, at the earliest.
    pub from: Timestamp,
    /// When the missing records arrived, at the latest.
    pub to: Timestamp,
}

/// Fields of an `end` entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndBody {
    /// The shards that took over its key space.
    pub children: Vec<ShardId>,
}

impl Entry {
    /// Whether the entry belongs to this ledger and place.
    pub fn belongs_to(&self, stream: &StreamIdentity, shard: &ShardId, serial: u64) -> bool {
        self.version == FORMAT_VERSION
            && self.serial == serial
            && &self.shard == shard
            && self.stream_arn == stream.arn
            && self.stream_created.as_seconds() == stream.created.as_seconds()
    }

    /// The position that it leaves, given the one before it.
    pub fn position_after(&self, before: &Position) -> Position {
        match &self.body {
            Body::Begin(_) => Position::Start,
            Body::Batch(batch) => Position::After(batch.last_sequence_number.clone()),
            Body::Gap(gap) => gap.position_after(before),
            Body::End(_) => Position::End,
        }
    }
}

impl GapBody {
    /// Just before `resumes_at`; without it, where the position was.
    pub fn position_after(&self, before: &Position) -> Position {
        self.resumes_at.clone().map_or_else(|| before.clone(), Position::Before)
    }
}

/// `_ledger/stream-{creation}.json`: where a stream's shards begin, decided once per creation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamStart {
    /// [`FORMAT_VERSION`].
    pub version: u32,
    /// The stream's name.
    pub stream: String,
    /// The stream's ARN.
    pub stream_arn: String,
    /// The stream's creation time.
    pub stream_created: Timestamp,
    /// Where reading begins; `latest` is the service's own time at that moment.
    pub begin: Begin,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_written_as_the_contract_says() {
        let entry = Entry {
            version: 1,
            body: Body::Gap(GapBody {
                after: Some("7".parse().unwrap()),
                resumes_at: None,
                why: GapCause::Trimmed,
                certain: false,
                from: Timestamp::from_millis(0),
                to: Timestamp::from_millis(1),
            }),
            stream: "clickstream".into(),
            stream_arn: "arn".into(),
            stream_created: Timestamp::from_seconds(1),
            shard: ShardId::new("shardId-0"),
            serial: 3,
            previous_entry_sha256: "ab".into(),
            host: "h".into(),
            written_at: Timestamp::from_seconds(2),
        };
        let text = serde_json::to_string(&entry).unwrap();
        assert!(
            text.starts_with(
                r#"{"version":1,"type":"gap","after":"7","resumes_at":"","why":"trimmed","certain":false"#
            ),
            "{text}"
        );
        assert_eq!(serde_json::from_str::<Entry>(&text).unwrap(), entry);
    }

    #[test]
    fn begin_is_the_word_or_a_time() {
        assert_eq!(serde_json::to_string(&Begin::TRIM_HORIZON).unwrap(), r#""trim_horizon""#);
        let at = Begin::At(Timestamp::from_seconds(0));
        let text = serde_json::to_string(&at).unwrap();
        assert_eq!(text, r#""1970-01-01T00:00:00.000Z""#);
        assert_eq!(serde_json::from_str::<Begin>(&text).unwrap(), at);
    }
}
