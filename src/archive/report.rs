//! What `verify` tells: a line a shard, then the faults; or the same as JSON.

use std::io::{self, Write};

use serde::Serialize;

use super::against::Compared;
use super::fault::Fault;
use super::repair::{Outcome, Repair};
use crate::model::shard::ShardId;
use crate::model::timestamp::Timestamp;

/// What was counted on the way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Ledger entries.
    pub entries: u64,
    /// Objects that were read whole and are right.
    pub objects: u64,
    /// Their records.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Their bytes before compression.
    pub content_bytes: u64,
    /// Gaps that the ledgers tell of: no faults, but records that are not in the archive.
    pub gaps: u64,
    /// Those of them that are certain.
    pub certain_gaps: u64,
    /// Objects that were given up; each is followed by its gap.
    pub voids: u64,
    /// Objects that the bucket's lifecycle has deleted.
    pub expired: u64,
    /// Claimed a moment ago; the object is on its way.
    pub pending: u64,
}

impl Tally {
    /// Takes in what was counted elsewhere.
    pub const fn add(&mut self, other: &Self) {
        self.entries += other.entries;
        self.objects += other.objects;
        self.records += other.records;
        self.bytes += other.bytes;
        self.content_bytes += other.content_bytes;
        self.gaps += other.gaps;
        self.certain_gaps += other.certain_gaps;
        self.voids += other.voids;
        self.expired += other.expired;
        self.pending += other.pending;
    }

    /// What came on top of `before`.
    pub const fn since(&self, before: &Self) -> Self {
        Self {
            entries: self.entries - before.entries,
            objects: self.objects - before.objects,
            records: self.records - before.records,
            bytes: self.bytes - before.bytes,
            content_bytes: self.content_bytes - before.content_bytes,
            gaps: self.gaps - before.gaps,
            certain_gaps: self.certain_gaps - before.certain_gaps,
            voids: self.voids - before.voids,
            expired: self.expired - before.expired,
            pending: self.pending - before.pending,
        }
    }
}

/// One shard's ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ShardReport {
    /// The shard.
    pub shard: ShardId,
    /// The creation of its stream.
    pub stream_created: Timestamp,
    /// What was counted.
    #[serde(flatten)]
    pub tally: Tally,
    /// Whether the shard was read to its end.
    pub ended: bool,
    /// Its recorded gaps, in words.
    pub recorded_gaps: Vec<String>,
    /// How many faults were found in it.
    pub faults: u64,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Each ledger that was walked.
    pub shards: Vec<ShardReport>,
    /// All together.
    pub total: Tally,
    /// What is wrong, by key.
    pub faults: Vec<Fault>,
    /// Whether the run was cut short: then what was not looked at is not proved.
    pub interrupted: bool,
    /// What was held against the stream, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against_stream: Option<Compared>,
    /// What became of the faults, if repairing was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repairs: Option<Vec<Repair>>,
    /// The claims on objects that have a fault.
    #[serde(skip)]
    pub(super) broken: Vec<Broken>,
    /// Keys of entries and of manifests, and the hashes that somebody has seen.
    #[serde(skip)]
    pub(super) known: Vec<(String, String)>,
}

/// An object with a fault, and the entry that claims it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Broken {
    pub(super) key: String,
    pub(super) shard: ShardId,
    pub(super) created: Timestamp,
    pub(super) serial: u64,
}

impl Report {
    /// Whether nothing is wrong, or nothing any more.
    pub fn is_good(&self) -> bool {
        let mended = |repairs: &Vec<Repair>| repairs.iter().all(|repair| repair.outcome == Outcome::Mended);
        !self.interrupted && (self.faults.is_empty() || self.repairs.as_ref().is_some_and(mended))
    }

    /// Writes it for people.
    pub fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        for shard in &self.shards {
            let Tally { entries, objects, records, bytes, .. } = shard.tally;
            let state = if shard.ended { "ended" } else { "open" };
            let good = if shard.faults == 0 { "good".to_owned() } else { format!("{} FAULTS", shard.faults) };
            writeln!(
                out,
                "{} (stream of {}): {good}; {entries} entries, {objects} objects, {records} records, {}; {state}{}",
                shard.shard,
                shard.stream_created,
                bytesize::ByteSize(bytes),
                remarks(&shard.tally)
            )?;
            for gap in &shard.recorded_gaps {
                writeln!(out, "  gap: {gap}")?;
            }
        }
        for fault in &self.faults {
            writeln!(out, "FAULT {}: {}: {}", fault.kind.as_str(), fault.key, fault.reason)?;
        }
        for repair in self.repairs.iter().flatten() {
            let outcome = match repair.outcome {
                Outcome::Mended => "REPAIRED",
                Outcome::Approximated => "NOT REPAIRED, what is left is kept",
                Outcome::NotMended => "NOT REPAIRED",
            };
            writeln!(out, "{outcome}: {}: {}", repair.key, repair.told)?;
        }
        if let Some(compared) = &self.against_stream {
            let Compared { records, batches, trimmed, to_come } = compared;
            writeln!(
                out,
                "against the stream: {records} records read, {batches} batches are the same, \
                 {trimmed} partly trimmed, {to_come} records still to be archived"
            )?;
        }
        let Tally { entries, objects, records, content_bytes, .. } = self.total;
        let verdict = match (self.faults.len(), self.interrupted) {
            (0, false) if self.shards.is_empty() => {
                "the stream has begun, and nothing is archived yet".to_owned()
            }
            (0, false) => "the archive is whole".to_owned(),
            (0, true) => "interrupted; what was looked at is whole".to_owned(),
            (faults, _) => match self.repairs.as_ref().filter(|_| self.is_good()) {
                Some(repairs) => format!("{}, and all {} repaired", so_many_faults(faults), repairs.len()),
                None => so_many_faults(faults),
            },
        };
        writeln!(
            out,
            "{verdict}: {} ledgers, {entries} entries, {objects} objects, {records} records, {} of lines{}",
            self.shards.len(),
            bytesize::ByteSize(content_bytes),
            remarks(&self.total)
        )
    }
}

/// `1 fault`, `2 faults`.
pub fn so_many_faults(faults: usize) -> String {
    format!("{faults} fault{}", if faults == 1 { "" } else { "s" })
}

/// What is no fault and should be known.
fn remarks(tally: &Tally) -> String {
    let all = [
        (tally.gaps, "recorded gaps"),
        (tally.voids, "voids"),
        (tally.expired, "expired objects"),
        (tally.pending, "objects on their way"),
    ];
    all.into_iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!(", {count} {what}")).collect()
}
