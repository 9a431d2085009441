//! What the ledger is known to say of the shard, up to the last entry that was dealt with.

use crate::model::ledger::{BatchBody, Begin, Body, Entry};
use crate::model::sealed::KnownPosition;
use crate::model::sequence::{Position, SequenceNumber};
use crate::model::timestamp::{Hour, Timestamp};

/// The archived position and what the next entry needs from those before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Archived {
    /// The serial of the last entry that was dealt with.
    pub(super) serial: u64,
    /// Hex SHA-256 of that entry as stored.
    pub(super) entry_sha256: String,
    /// The position that it leaves.
    pub(super) known: KnownPosition,
    /// The hour of the last batch entry, if there was one.
    pub(super) hour: Option<Hour>,
    /// Hex SHA-256 of the last batch entry's object; empty where there is none.
    pub(super) last_object_sha256: String,
    /// The first record of the last batch entry, if its object is void: the void has its key.
    pub(super) void_first: Option<SequenceNumber>,
    /// The last entry is a gap without `resumes_at`: a sealed one at the same place is told already.
    pub(super) ends_in_open_gap: bool,
    /// The last entry's object is void: a `lost` gap must come next.
    pub(super) void: Option<Box<BatchBody>>,
    /// Where the shard begins; known while the position is its start.
    pub(super) start: Option<Start>,
}

/// What the `begin` entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Start {
    /// Where.
    pub(super) begin: Begin,
    /// When that was written down.
    pub(super) written_at: Timestamp,
}

impl Start {
    /// The start that an entry records, if it is a `begin`.
    pub(super) fn of(entry: &Entry) -> Option<Self> {
        match &entry.body {
            Body::Begin(body) => Some(Self { begin: body.begin, written_at: entry.written_at }),
            Body::Batch(_) | Body::Gap(_) | Body::End(_) => None,
        }
    }
}

/// The position that an entry leaves when nothing is known of those before it.
pub(super) fn position_left_by(entry: &Entry) -> KnownPosition {
    let (position, last_record) = match &entry.body {
        Body::Begin(_) => (Position::Start, None),
        Body::Batch(batch) => {
            let last = batch.last_sequence_number.clone();
            (Position::After(last.clone()), Some(last))
        }
        Body::Gap(gap) => {
            let after = || gap.after.clone().map_or(Position::Start, Position::After);
            (gap.resumes_at.clone().map_or_else(after, Position::Before), gap.after.clone())
        }
        Body::End(_) => (Position::End, None),
    };
    KnownPosition { position, last_record, complete_to: None }
}

/// Whether the entry is a gap that the next batch ends.
pub(super) fn is_open_gap(entry: &Entry) -> bool {
    matches!(&entry.body, Body::Gap(gap) if gap.resumes_at.is_none())
}
