//! The one shape in which a batch is told of: notice, sidecar of the local copy, listing; and the other notices.

use serde::{Deserialize, Serialize};

use super::batch::SealReason;
use super::hour::HourTotals;
use super::ledger::{GapBody, SideBody};
use super::sequence::SequenceNumber;
use super::shard::ShardId;
use super::timestamp::{Hour, Timestamp};

/// What is announced of one ledger entry, or of a whole hour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// The version of the archive's format.
    pub version: u32,
    /// What happened; the tag stands second, as `type`.
    #[serde(flatten)]
    pub about: About,
}

/// What a notice is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum About {
    /// A batch was archived.
    Batch(Box<BatchNotice>),
    /// Records are missing from the archive.
    Gap(Box<GapNotice>),
    /// A shard was read to its end.
    End(Box<EndNotice>),
    /// An hour is complete: its manifest was put.
    Hour(Box<HourNotice>),
}

/// Which entry a notice tells of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The stream's name.
    pub stream: String,
    /// The stream's ARN.
    pub stream_arn: String,
    /// The stream's creation time.
    pub stream_created: Timestamp,
    /// The shard.
    pub shard: ShardId,
    /// The entry's serial; subscribers find a missed notice by it.
    pub serial: u64,
    /// The bucket of the archive.
    pub bucket: String,
}

/// A batch in the archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchNotice {
    /// Which entry.
    #[serde(flatten)]
    pub origin: Origin,
    /// The object's key.
    pub key: String,
    /// `s3://bucket/key`.
    pub url: String,
    /// The object's ETag, without quotes.
    pub etag: String,
    /// The object's version, where the bucket keeps versions.
    pub version_id: Option<String>,
    /// Hex SHA-256 of the object.
    pub sha256: String,
    /// Bytes of the object.
    pub size: u64,
    /// Hex SHA-256 of the uncompressed lines.
    pub content_sha256: String,
    /// Bytes of the uncompressed lines.
    pub content_size: u64,
    /// Lines.
    pub records: u64,
    /// First Kinesis sequence number.
    pub first_sequence_number: SequenceNumber,
    /// Last Kinesis sequence number.
    pub last_sequence_number: SequenceNumber,
    /// Arrival of the first record.
    pub first_arrival: Timestamp,
    /// Arrival of the last record.
    pub last_arrival: Timestamp,
    /// The shard's parents.
    pub parents: Vec<ShardId>,
    /// Why the batch was sealed.
    pub sealed_by: SealReason,
    /// The side object, if some of the records can't be lines of the object's format.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub side: Option<SideBody>,
    /// MillisBehindLatest when it was sealed; 0 where another keeper sealed it.
    pub millis_behind_latest: u64,
}

/// A gap in the archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GapNotice {
    /// Which entry.
    #[serde(flatten)]
    pub origin: Origin,
    /// What is missing.
    #[serde(flatten)]
    pub gap: GapBody,
}

/// A shard's end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndNotice {
    /// Which entry.
    #[serde(flatten)]
    pub origin: Origin,
    /// The shards that took over.
    pub children: Vec<ShardId>,
}

/// An hour that is complete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HourNotice {
    /// The stream's name.
    pub stream: String,
    /// The stream's ARN.
    pub stream_arn: String,
    /// The newest creation of the stream that has a ledger.
    pub stream_created: Timestamp,
    /// The bucket of the archive.
    pub bucket: String,
    /// The manifest's key.
    pub key: String,
    /// `s3://bucket/key`.
    pub url: String,
    /// The hour.
    pub hour: Hour,
    /// Hex SHA-256 of the manifest.
    pub sha256: String,
    /// Bytes of the manifest.
    pub size: u64,
    /// What the hour holds.
    pub totals: HourTotals,
}

impl Notice {
    /// Which entry it tells of; `None` for an hour.
    pub fn origin(&self) -> Option<&Origin> {
        match &self.about {
            About::Batch(batch) => Some(&batch.origin),
            About::Gap(gap) => Some(&gap.origin),
            About::End(end) => Some(&end.origin),
            About::Hour(_) => None,
        }
    }

    /// By what its outbox keeps it in order: the entry's serial, or the hour's number since 1970.
    pub fn serial(&self) -> u64 {
        match &self.about {
            About::Hour(hour) => u64::try_from(hour.hour.number()).unwrap_or(0),
            About::Batch(_) | About::Gap(_) | About::End(_) => {
                self.origin().map_or(0, |origin| origin.serial)
            }
        }
    }

    /// The stream's name.
    pub fn stream(&self) -> &str {
        match &self.about {
            About::Hour(hour) => &hour.stream,
            About::Batch(_) | About::Gap(_) | About::End(_) => {
                self.origin().map_or("", |origin| &origin.stream)
            }
        }
    }

    /// Its `type`, as message attribute and in the deduplication id.
    pub const fn type_name(&self) -> &'static str {
        match self.about {
            About::Batch(_) => "batch",
            About::Gap(_) => "gap",
            About::End(_) => "end",
            About::Hour(_) => "hour",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rustfmt::skip]
    const NAMES: [&str; 24] = [
        "version", "type", "stream", "stream_arn", "stream_created", "shard", "serial", "bucket", "key", "url", "etag",
        "version_id", "sha256", "size", "content_sha256", "content_size", "records", "first_sequence_number",
        "last_sequence_number", "first_arrival", "last_arrival", "parents", "sealed_by", "millis_behind_latest",
    ];

    #[test]
    fn a_batch_notice_has_the_contracts_names_in_its_order() {
        let notice = Notice {
            version: 1,
            about: About::Batch(Box::new(BatchNotice {
                origin: Origin {
                    stream: "s".into(),
                    stream_arn: "arn".into(),
                    stream_created: Timestamp::from_seconds(0),
                    shard: ShardId::new("shardId-0"),
                    serial: 41,
                    bucket: "b".into(),
                },
                key: "k".into(),
                url: "s3://b/k".into(),
                etag: "e".into(),
                version_id: None,
                sha256: "x".into(),
                size: 123,
                content_sha256: "y".into(),
                content_size: 456,
                records: 7,
                first_sequence_number: "1".parse().unwrap(),
                last_sequence_number: "2".parse().unwrap(),
                first_arrival: Timestamp::from_seconds(0),
                last_arrival: Timestamp::from_seconds(0),
                parents: vec![],
                sealed_by: SealReason::ShardEnd,
                side: None,
                millis_behind_latest: 0,
            })),
        };
        let text = serde_json::to_string(&notice).unwrap();
        let mut last = 0;
        for name in NAMES {
            let at = text.find(&format!("\"{name}\":")).unwrap_or_else(|| panic!("{name} in {text}"));
            assert!(at >= last, "{name} out of order in {text}");
            last = at;
        }
        assert_eq!(serde_json::from_str::<Notice>(&text).unwrap(), notice);
    }
}
