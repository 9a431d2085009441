//! What lies sealed in the spool: a batch, a gap or the shard's end, each with the position it follows.

use serde::{Deserialize, Serialize};

use super::batch::{Content, SealReason};
use super::ledger::{EndBody, GapBody};
use super::sequence::{Position, SequenceNumber};
use super::shard::ShardId;
use super::timestamp::Timestamp;

/// A position in the shard together with what is known to lie behind it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownPosition {
    /// The position.
    pub position: Position,
    /// The last record before it that was read, if any: what the trimmed test asks for.
    pub last_record: Option<SequenceNumber>,
    /// All that arrived before this instant lies at or before the position; `None`: not known.
    pub complete_to: Option<Timestamp>,
}

/// A sealed item: durable on this disk, not yet (known to be) in the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// The version of this file's format.
    pub version: u32,
    /// The stream's ARN.
    pub stream_arn: String,
    /// The stream's creation time.
    pub stream_created: Timestamp,
    /// The shard.
    pub shard: ShardId,
    /// The position that it follows: nothing lies between that and its first record.
    pub follows: Position,
    /// The last record before it, if one is known.
    pub last_before: Option<SequenceNumber>,
    /// [`KnownPosition::complete_to`] of the position that it leaves.
    pub complete_to: Option<Timestamp>,
    /// The newest ledger serial that the keeper knew when it sealed: entries after it may cover
    /// the item and are looked at before it is dropped.
    pub known_serial: Option<u64>,
    /// When it was sealed.
    pub sealed_at: Timestamp,
    /// What it is.
    #[serde(flatten)]
    pub kind: SealedKind,
}

/// What was sealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum SealedKind {
    /// Records; their lines lie beside the manifest.
    Batch(Box<SealedBatch>),
    /// Records that could not be read.
    Gap(GapBody),
    /// The shard's end.
    End(EndBody),
}

/// A sealed batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedBatch {
    /// What the spool file holds.
    pub content: Content,
    /// Why it was sealed.
    pub sealed_by: SealReason,
    /// Whether KPL aggregates were split.
    pub deaggregate: bool,
    /// MillisBehindLatest of the last reply before the seal.
    pub millis_behind_latest: u64,
    /// The level at which the spool file is compressed; `None`: sealed by a version that did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<u32>,
    /// What [`Level::Auto`](super::batch::Level::Auto) chose for its object when it began, if that was the setting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chosen_level: Option<u32>,
}

impl Sealed {
    /// The position that it leaves behind.
    pub fn end(&self) -> Position {
        match &self.kind {
            SealedKind::Batch(batch) => Position::After(batch.content.last_sequence_number.clone()),
            SealedKind::Gap(gap) => gap.position_after(&self.follows),
            SealedKind::End(_) => Position::End,
        }
    }

    /// The last record at or before its end, if one is known.
    pub fn last_record(&self) -> Option<&SequenceNumber> {
        match &self.kind {
            SealedKind::Batch(batch) => Some(&batch.content.last_sequence_number),
            SealedKind::Gap(_) | SealedKind::End(_) => self.last_before.as_ref(),
        }
    }

    /// Its end with all that is known of it.
    pub fn known_end(&self) -> KnownPosition {
        KnownPosition {
            position: self.end(),
            last_record: self.last_record().cloned(),
            complete_to: self.complete_to,
        }
    }

    /// The batch, if it is one.
    pub fn batch(&self) -> Option<&SealedBatch> {
        match &self.kind {
            SealedKind::Batch(batch) => Some(batch),
            SealedKind::Gap(_) | SealedKind::End(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a version wrote it that knew nothing of levels.
    const OLDER: &str = r#"{"content":{"first_sequence_number":"1","last_sequence_number":"2","records":2,
        "first_arrival":"2026-11-22T05:11:00.000Z","last_arrival":"2026-11-22T05:11:01.000Z","content_size":10,
        "content_sha256":"aa","size":30,"sha256":"bb"},"sealed_by":"age","deaggregate":true,"millis_behind_latest":7}"#;

    #[test]
    fn an_older_manifest_knows_no_level_and_a_new_one_keeps_it() {
        let mut batch: SealedBatch = serde_json::from_str(OLDER).unwrap();
        assert_eq!((batch.level, batch.chosen_level), (None, None));
        assert!(!serde_json::to_string(&batch).unwrap().contains("level"), "nothing is made up");
        (batch.level, batch.chosen_level) = (Some(1), Some(6));
        let text = serde_json::to_string(&batch).unwrap();
        assert_eq!(serde_json::from_str::<SealedBatch>(&text).unwrap(), batch);
    }
}
