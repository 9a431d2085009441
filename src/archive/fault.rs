//! What can be wrong with an archive.

use serde::Serialize;

/// The kinds of faults that `verify` tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// There is no ledger at all, or none of the shard that was asked for.
    LedgerMissing,
    /// What says where a stream begins is not there, and its ledgers are.
    StartMissing,
    /// What says where a stream begins is not what its ledgers copied.
    StartAltered,
    /// A ledger lacks an entry although later ones are there.
    EntryMissing,
    /// A ledger entry is not what the next one says that it was.
    EntryAltered,
    /// What lies under an entry's key is no entry of this ledger.
    EntryUnreadable,
    /// An entry contradicts those before it: it overlaps them, or follows the shard's end.
    EntryMisplaced,
    /// The ledger ends before an entry that a checkpoint or an hour's manifest knows.
    LedgerCut,
    /// An entry's object is not there.
    ObjectMissing,
    /// An object is not, byte for byte, what was archived.
    ObjectDamaged,
    /// An object's metadata contradict its content or its entry.
    MetadataAltered,
    /// An object lies in the archive that no entry names.
    ObjectUnknown,
    /// An hour's manifest is missing although a later one is there.
    HourMissing,
    /// An hour's manifest is not what it was, or contradicts the ledgers.
    HourAltered,
    /// Shards of the lineage are not in the archive, or their hash keys do not cover the key space.
    LineageBroken,
    /// The stream holds records that no batch claims.
    RecordMissing,
    /// The stream's records are not those that a batch claims.
    RecordsDiffer,
}

impl FaultKind {
    /// Whether a ledger entry is not there, or not what it was.
    pub const fn is_of_an_entry(self) -> bool {
        matches!(self, Self::EntryMissing | Self::EntryAltered | Self::EntryUnreadable | Self::LedgerCut)
    }

    /// In a report, for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LedgerMissing => "ledger missing",
            Self::StartMissing => "start missing",
            Self::StartAltered => "start altered",
            Self::EntryMissing => "entry missing",
            Self::EntryAltered => "entry altered",
            Self::EntryUnreadable => "entry unreadable",
            Self::EntryMisplaced => "entry misplaced",
            Self::LedgerCut => "ledger cut",
            Self::ObjectMissing => "object missing",
            Self::ObjectDamaged => "object damaged",
            Self::MetadataAltered => "metadata altered",
            Self::ObjectUnknown => "object unknown",
            Self::HourMissing => "hour missing",
            Self::HourAltered => "hour altered",
            Self::LineageBroken => "lineage broken",
            Self::RecordMissing => "record missing",
            Self::RecordsDiffer => "records differ",
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Fault {
    /// What kind of thing.
    pub kind: FaultKind,
    /// The key of the entry, object or manifest; of ledgers that are missing, what theirs would begin with.
    pub key: String,
    /// What is wrong with it, in plain words.
    pub reason: String,
}

impl Fault {
    /// A fault of what lies, or should lie, under `key`.
    pub fn new(kind: FaultKind, key: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { kind, key: key.into(), reason: reason.into() }
    }
}
