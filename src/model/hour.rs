//! An hour of the archive, told as a whole: its manifest, and where the chain of manifests begins.
//!
//! Owns their shapes. A manifest says nothing of who wrote it or when: the same ledgers give the same
//! bytes, so that a put whose answer was lost is repeated as it was. When an hour may be told is
//! `supervisor::hours`' to decide.

use serde::{Deserialize, Serialize};

use super::ledger::{BeginBody, FORMAT_VERSION, GapBody, SideBody};
use super::sequence::{SequenceNumber, or_empty};
use super::shard::ShardId;
use super::timestamp::{Hour, Timestamp};

/// The text `hour`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HourType {
    /// Its only value.
    #[serde(rename = "hour")]
    Hour,
}

/// `_hour.json`: all that the archive holds of one hour. Nothing is added to the hour after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HourManifest {
    /// [`FORMAT_VERSION`].
    pub version: u32,
    /// `hour`.
    #[serde(rename = "type")]
    pub kind: HourType,
    /// The stream's name.
    pub stream: String,
    /// The stream's ARN.
    pub stream_arn: String,
    /// The newest creation of the stream that has a ledger.
    pub stream_created: Timestamp,
    /// The bucket of the archive.
    pub bucket: String,
    /// The manifest's own key.
    pub key: String,
    /// The hour.
    pub hour: Hour,
    /// The hour before; `None` for the first.
    pub previous: Option<HourLink>,
    /// Where the next hour's manifest will lie, whoever writes it.
    pub next_key: String,
    /// All shards together.
    pub totals: HourTotals,
    /// By creation of the stream, then by shard.
    pub shards: Vec<HourShard>,
}

/// The manifest before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HourLink {
    /// Its key.
    pub key: String,
    /// Hex SHA-256 of its bytes as stored.
    pub sha256: String,
}

/// Sums over an hour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HourTotals {
    /// Shards told of.
    pub shards: u64,
    /// Objects with records.
    pub objects: u64,
    /// Records in them, and in their side objects.
    pub records: u64,
    /// Bytes of the objects.
    pub size: u64,
    /// Bytes of the lines.
    pub content_size: u64,
    /// Entries whose object is void.
    pub voids: u64,
    /// Entries whose object had expired when the hour was told.
    pub expired: u64,
    /// Entries whose object never came, and never will.
    pub missing: u64,
    /// Recorded gaps.
    pub gaps: u64,
}

/// One shard's part in an hour. Each entry of a ledger is told of in one hour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HourShard {
    /// The shard.
    pub shard: ShardId,
    /// The creation of its stream.
    pub stream_created: Timestamp,
    /// Its parents.
    pub parents: Vec<ShardId>,
    /// Lowest hash key, decimal.
    pub starting_hash_key: String,
    /// Highest hash key, decimal.
    pub ending_hash_key: String,
    /// Whether its ledger has its end by now.
    pub ended: bool,
    /// The shards that took over, if it has.
    pub children: Vec<ShardId>,
    /// Records of the hour's objects, and of their side objects.
    pub records: u64,
    /// The first record of the hour; empty if it has none.
    #[serde(with = "or_empty")]
    pub first_sequence_number: Option<SequenceNumber>,
    /// The last record of the hour; empty if it has none.
    #[serde(with = "or_empty")]
    pub last_sequence_number: Option<SequenceNumber>,
    /// The last ledger entry that this hour, or one before it, tells of.
    pub last_serial: u64,
    /// Hex SHA-256 of that entry as stored.
    pub last_entry_sha256: String,
    /// The hour's batches.
    pub entries: Vec<HourEntry>,
    /// The gaps that were recorded among them.
    pub gaps: Vec<HourGap>,
}

/// What lies under a batch entry's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HourObject {
    /// The records.
    Archived,
    /// A void: the records are lost, and a gap tells so.
    Void,
    /// It was there, and its lifetime was over when the hour was told.
    Expired,
    /// It never came: the stream was deleted since, and its writer has not been seen again.
    Missing,
}

/// A batch of the hour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HourEntry {
    /// Its serial in the shard's ledger.
    pub serial: u64,
    /// Hex SHA-256 of the entry as stored.
    pub entry_sha256: String,
    /// The key of its object.
    pub key: String,
    /// What lies there.
    pub object: HourObject,
    /// Hex SHA-256 of the object; empty where it had expired.
    pub sha256: String,
    /// Bytes of the object; 0 where it had expired.
    pub size: u64,
    /// Hex SHA-256 of the lines that the entry claims.
    pub content_sha256: String,
    /// Bytes of these lines.
    pub content_size: u64,
    /// How many lines the entry claims.
    pub records: u64,
    /// The side object that it claims, if some of its records can't be lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub side: Option<SideBody>,
    /// The first record that it claims.
    pub first_sequence_number: SequenceNumber,
    /// The last record that it claims.
    pub last_sequence_number: SequenceNumber,
}

impl HourEntry {
    /// Whether its records are, or were, in the archive.
    pub fn holds_records(&self) -> bool {
        matches!(self.object, HourObject::Archived | HourObject::Expired)
    }

    /// Its records, those of its side object among them.
    pub fn all_records(&self) -> u64 {
        self.records + self.side.as_ref().map_or(0, |side| side.records)
    }
}

/// A gap of the hour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HourGap {
    /// Its serial in the shard's ledger.
    pub serial: u64,
    /// Hex SHA-256 of the entry as stored.
    pub entry_sha256: String,
    /// What is missing.
    #[serde(flatten)]
    pub gap: GapBody,
}

impl HourShard {
    /// A shard of which the hour tells nothing yet.
    pub fn new(shard: ShardId, stream_created: Timestamp, lineage: &BeginBody) -> Self {
        Self {
            shard,
            stream_created,
            parents: lineage.parents.clone(),
            starting_hash_key: lineage.starting_hash_key.clone(),
            ending_hash_key: lineage.ending_hash_key.clone(),
            ended: false,
            children: Vec::new(),
            records: 0,
            first_sequence_number: None,
            last_sequence_number: None,
            last_serial: 0,
            last_entry_sha256: String::new(),
            entries: Vec::new(),
            gaps: Vec::new(),
        }
    }

    /// Adds a batch, after those before it.
    pub fn add(&mut self, entry: HourEntry) {
        if entry.holds_records() {
            self.records += entry.all_records();
            self.first_sequence_number.get_or_insert_with(|| entry.first_sequence_number.clone());
            self.last_sequence_number = Some(entry.last_sequence_number.clone());
        }
        self.entries.push(entry);
    }
}

impl HourTotals {
    /// Of these shards.
    pub fn of(shards: &[HourShard]) -> Self {
        let mut totals = Self { shards: shards.len() as u64, ..Self::default() };
        for shard in shards {
            totals.gaps += shard.gaps.len() as u64;
            totals.records += shard.records;
            for entry in &shard.entries {
                match entry.object {
                    HourObject::Archived => {
                        totals.objects += 1;
                        totals.size += entry.size;
                        totals.content_size += entry.content_size;
                    }
                    HourObject::Void => totals.voids += 1,
                    HourObject::Expired => totals.expired += 1,
                    HourObject::Missing => totals.missing += 1,
                }
            }
        }
        totals
    }
}

/// `_ledger/hours.json`: the first hour that has a manifest, decided once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoursStart {
    /// [`FORMAT_VERSION`].
    pub version: u32,
    /// The stream's name.
    pub stream: String,
    /// The stream's ARN.
    pub stream_arn: String,
    /// The hour.
    pub hour: Hour,
    /// Where its manifest lies, or will lie.
    pub key: String,
}

/// As it is stored: one line of JSON.
pub fn to_bytes<T: Serialize>(value: &T) -> Vec<u8> {
    // Strings and numbers only: serialising them cannot fail.
    let mut bytes = serde_json::to_vec(value).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

impl HourManifest {
    /// Reads one; says why it is none.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let manifest: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if manifest.version == FORMAT_VERSION {
            Ok(manifest)
        } else {
            Err(format!("its version is {}, and this program knows {FORMAT_VERSION}", manifest.version))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ledger::Begin;

    fn entry(serial: u64, object: HourObject) -> HourEntry {
        HourEntry {
            serial,
            entry_sha256: "e".into(),
            key: "k".into(),
            object,
            sha256: "o".into(),
            size: 100,
            content_sha256: "c".into(),
            content_size: 300,
            records: 7,
            side: None,
            first_sequence_number: format!("{serial}0").parse().unwrap(),
            last_sequence_number: format!("{serial}9").parse().unwrap(),
        }
    }

    #[test]
    fn a_void_counts_as_such_and_its_records_do_not() {
        let lineage = BeginBody {
            parents: vec![],
            starting_hash_key: "0".into(),
            ending_hash_key: "9".into(),
            begin: Begin::TRIM_HORIZON,
        };
        let mut shard = HourShard::new(ShardId::new("s"), Timestamp::EPOCH, &lineage);
        for entry in
            [entry(1, HourObject::Void), entry(3, HourObject::Archived), entry(4, HourObject::Expired)]
        {
            shard.add(entry);
        }
        assert_eq!((shard.records, shard.first_sequence_number.clone()), (14, "30".parse().ok()));
        assert_eq!(shard.last_sequence_number, "49".parse().ok());
        let totals = HourTotals::of(&[shard]);
        let expected = HourTotals {
            shards: 1,
            objects: 1,
            records: 14,
            size: 100,
            content_size: 300,
            voids: 1,
            expired: 1,
            missing: 0,
            gaps: 0,
        };
        assert_eq!(totals, expected);
    }
}
