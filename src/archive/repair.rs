//! Repair: what is missing or damaged is put back under its key, if the ledger's hashes prove that it
//! is the same; what can only be approximated goes under `_repaired/`.
//!
//! Owns what is tried, in which order, and what is told of it. Never a new serial, never a guess: a
//! candidate that is not proved is not put. Where it may come from is `candidates`' to know.

use serde::Serialize;

use super::fault::FaultKind;
use super::ledgers::LedgerAt;
use super::object::against_metadata;
use super::report::{Broken, Report};
use super::verify::{Options, verify};
use super::{Archive, against};
use crate::codec::void;
use crate::model::batch::{Compression, Content};
use crate::model::key::serial_of;
use crate::model::ledger::{BatchBody, Body, Entry, GapCause};
use crate::model::metadata::{self, Source};
use crate::ports::{Attributes, Body as PutBody, Disk, MendableStore, Put, StoreError, Stream};
use crate::stop::Stop;

mod candidates;
mod entries;

use candidates::{Candidate, Candidates};

/// What a repair works with.
pub struct Tools<'a> {
    /// The bucket, writable.
    pub store: &'a dyn MendableStore,
    /// The state directory with its local copies, if it is of this archive.
    pub copies: Option<&'a dyn Disk>,
    /// The stream, as long as it holds the records.
    pub stream: Option<&'a dyn Stream>,
    /// The level at which objects are compressed, tried first.
    pub level: u32,
}

/// How a repair went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is back, byte for byte.
    Mended,
    /// What is left of it lies under `_repaired/`.
    Approximated,
    /// Nothing was put.
    NotMended,
}

/// What became of one fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Repair {
    /// The key of what was missing or damaged.
    pub key: String,
    /// How it went.
    pub outcome: Outcome,
    /// Where it came from, or why it could not be had.
    pub told: String,
}

impl Repair {
    fn mended(key: &str, told: impl Into<String>) -> Self {
        Self { key: key.to_owned(), outcome: Outcome::Mended, told: told.into() }
    }

    fn not(key: &str, told: impl Into<String>) -> Self {
        Self { key: key.to_owned(), outcome: Outcome::NotMended, told: told.into() }
    }
}

/// Tries to mend every fault of the report, and what shows only once a ledger is mended; the report
/// tells of it then.
pub fn repair(
    archive: &Archive,
    options: &Options,
    report: &mut Report,
    tools: &Tools<'_>,
    stop: &Stop,
) -> Result<(), StoreError> {
    let mut round = once(archive, report, tools, stop)?;
    let mut repairs: Vec<Repair> = Vec::new();
    loop {
        // Each entry once: a store that takes a put and gives what was there before ends this, too.
        let ledger_mended = |repair: &Repair| {
            repair.outcome == Outcome::Mended
                && serial_of(&repair.key).is_some()
                && repairs.iter().all(|earlier| earlier.key != repair.key)
        };
        let look_again = round.iter().any(ledger_mended) && stop.reason().is_none();
        repairs.append(&mut round);
        if !look_again {
            break;
        }
        let mut again = verify(archive, options, |_| (), &|_| (), stop)?;
        // What an entry that is back vouches for is tried again.
        repairs.retain(|repair| repair.outcome == Outcome::Mended);
        round = once(archive, &again, tools, stop)?;
        again.faults.retain(|fault| report.faults.iter().all(|told| told.key != fault.key));
        report.faults.append(&mut again.faults);
    }
    report.repairs = Some(repairs);
    Ok(())
}

/// Tries to mend every fault of the report, once a key.
fn once(
    archive: &Archive,
    report: &Report,
    tools: &Tools<'_>,
    stop: &Stop,
) -> Result<Vec<Repair>, StoreError> {
    let mender = Mender { archive, tools, stop };
    let mut repairs: Vec<Repair> = Vec::new();
    // Ledgers first: their objects are proved by them.
    let (of_ledgers, others): (Vec<_>, Vec<_>) =
        report.faults.iter().partition(|fault| fault.kind.is_of_an_entry());
    for fault in of_ledgers.into_iter().chain(others) {
        if stop.reason().is_some() {
            break;
        }
        if repairs.iter().any(|repair| repair.key == fault.key) {
            continue;
        }
        let broken = report.broken.iter().find(|broken| broken.key == fault.key);
        match fault.kind {
            FaultKind::EntryMissing
            | FaultKind::EntryAltered
            | FaultKind::EntryUnreadable
            | FaultKind::LedgerCut => {
                repairs.append(&mut mender.entries(&fault.key, report)?);
            }
            FaultKind::ObjectMissing | FaultKind::ObjectDamaged | FaultKind::MetadataAltered => {
                repairs.push(match broken {
                    Some(broken) => mender.object(fault.kind, broken)?,
                    None => Repair::not(&fault.key, "the entry that claims it is not known"),
                });
            }
            FaultKind::ObjectUnknown => repairs.push(Repair::not(
                &fault.key,
                "it is none of the archive's, and nothing is ever deleted: look at it, and remove it by hand",
            )),
            FaultKind::EntryMisplaced | FaultKind::LineageBroken => {
                repairs.push(Repair::not(&fault.key, "what the entries should have said is not known"));
            }
            FaultKind::LedgerMissing => repairs.push(Repair::not(
                &fault.key,
                "without a ledger nothing tells what was archived: restore its entries from the bucket's versions",
            )),
            FaultKind::HourMissing
            | FaultKind::HourAltered
            | FaultKind::StartMissing
            | FaultKind::StartAltered => {
                repairs.push(mender.manifest(&fault.key, report)?);
            }
            FaultKind::RecordMissing | FaultKind::RecordsDiffer => repairs.push(Repair::not(
                &fault.key,
                "a batch that was archived is never changed; `read` the stream itself before it forgets",
            )),
        }
    }
    Ok(repairs)
}

/// One run of repairing.
struct Mender<'a> {
    archive: &'a Archive,
    tools: &'a Tools<'a>,
    stop: &'a Stop,
}

/// What an entry claims, and what is known of the object besides.
struct Claim {
    ledger: LedgerAt,
    entry: Entry,
    batch: Box<BatchBody>,
    /// The key of the object that is meant: the batch's, or that of its side object.
    key: String,
    is_side: bool,
    /// The object's hash, as the next batch's entry has it.
    sha256: Option<String>,
    /// The next entry gives the batch's records up.
    given_up: bool,
}

impl Mender<'_> {
    fn object(&self, kind: FaultKind, broken: &Broken) -> Result<Repair, StoreError> {
        let key = &broken.key;
        let Some(claim) = self.claim(broken)? else {
            return Ok(Repair::not(key, "the entry that claims it cannot be read"));
        };
        if claim.given_up && !claim.is_side {
            return self.void(&claim);
        }
        let mut tried = Vec::new();
        let candidates = Candidates { mender: self, claim: &claim };
        let current = kind == FaultKind::MetadataAltered;
        let sources: [(&str, &dyn Fn() -> candidates::Found); 4] = [
            ("the object itself", &|| if current { candidates.current() } else { Ok(Vec::new()) }),
            ("an earlier version", &|| candidates.versions()),
            ("the copy on this disk", &|| candidates.copy()),
            ("the stream", &|| candidates.stream()),
        ];
        for (source, find) in sources {
            let found = match find() {
                Ok(found) => found,
                Err(why) => {
                    tried.push(format!("{source}: {why}"));
                    continue;
                }
            };
            for candidate in found {
                match candidate {
                    Candidate::Proved { bytes, content, level } => {
                        return self.put_back(&claim, (&bytes, &content, level), source);
                    }
                    Candidate::Other { why, rest } => {
                        tried.push(format!("{source}: {why}"));
                        if let Some((bytes, content)) = rest {
                            return self.approximate(&claim, (&bytes, &content), &tried);
                        }
                    }
                }
            }
        }
        if tried.is_empty() {
            tried.push(
                "neither an earlier version, nor a copy on this disk, nor the stream has it".to_owned(),
            );
        }
        Ok(Repair::not(key, tried.join("; ")))
    }

    fn claim(&self, broken: &Broken) -> Result<Option<Claim>, StoreError> {
        let ledger = LedgerAt {
            folder: self.archive.keys.ledger(&broken.shard, broken.created),
            shard: broken.shard.clone(),
            created: broken.created.as_seconds(),
            serials: Vec::new(),
        };
        let Some(Ok(read)) = self.archive.entry(&ledger, broken.serial, self.stop)? else { return Ok(None) };
        let Body::Batch(batch) = read.entry.body.clone() else { return Ok(None) };
        let (mut sha256, mut given_up, mut serial) = (None, false, broken.serial);
        loop {
            serial += 1;
            let Some(Ok(next)) = self.archive.entry(&ledger, serial, self.stop)? else { break };
            match next.entry.body {
                Body::Batch(next) => {
                    sha256 = Some(next.previous_object_sha256).filter(|sha256| !sha256.is_empty());
                    break;
                }
                Body::Gap(gap) => given_up |= serial == broken.serial + 1 && gap.why == GapCause::Lost,
                Body::Begin(_) | Body::End(_) => {}
            }
        }
        let (key, is_side) = (broken.key.clone(), broken.key != batch.key);
        let sha256 = sha256.filter(|_| !is_side);
        Ok(Some(Claim { key, is_side, ledger, entry: read.entry, batch, sha256, given_up }))
    }

    /// Puts a proved object where it belongs.
    fn put_back(
        &self,
        claim: &Claim,
        (bytes, content, level): (&[u8], &Content, Option<u32>),
        source: &str,
    ) -> Result<Repair, StoreError> {
        let attributes = attributes(claim, content, level, Some(claim.entry.serial));
        self.put(&claim.key, bytes, &attributes, source, &|| {
            let candidates = Candidates { mender: self, claim };
            let whole = candidates.current().is_ok_and(|found| {
                found.iter().any(|candidate| matches!(candidate, Candidate::Proved { .. }))
            });
            let head = self.tools.store.head(&claim.key, self.stop)?;
            Ok(whole && head.is_some_and(|head| against_metadata(&head, content, &claim.entry).is_ok()))
        })
    }

    /// Puts bytes under a key whatever damaged thing lies there; `is_there` tells, after a put whose
    /// outcome is not certain, whether it is what was wanted.
    fn put(
        &self,
        key: &str,
        bytes: &[u8],
        attributes: &Attributes,
        source: &str,
        is_there: &dyn Fn() -> Result<bool, StoreError>,
    ) -> Result<Repair, StoreError> {
        let store = self.tools.store;
        let body = PutBody::Bytes(bytes);
        let put = match store.head(key, self.stop)? {
            Some(head) => store.put_over(&head.stored, key, body, attributes, self.stop)?,
            None => store.put_if_absent(key, body, attributes, self.stop)?,
        };
        // Our own earlier try may have come through.
        if put == Put::Taken && !is_there()? {
            return Ok(Repair::not(key, "something else was put there meanwhile; verify again"));
        }
        Ok(Repair::mended(key, format!("put back from {source}")))
    }

    /// What is left of the records of a batch, where nobody takes it for the batch.
    fn approximate(
        &self,
        claim: &Claim,
        (bytes, content): (&[u8], &Content),
        tried: &[String],
    ) -> Result<Repair, StoreError> {
        let proof = (&content.first_sequence_number, content.content_sha256.as_str());
        let key = self.archive.keys.repaired(&claim.entry.shard, claim.entry.stream_created, proof);
        let level = Some(Compression::Gzip.nearest_level(self.tools.level));
        let attributes = attributes(claim, content, level, None);
        let attributes = Attributes { content_type: Compression::Gzip.media_type(), ..attributes };
        self.tools.store.put_if_absent(&key, PutBody::Bytes(bytes), &attributes, self.stop)?;
        Ok(Repair {
            key: claim.key.clone(),
            outcome: Outcome::Approximated,
            told: format!("{}; {} records lie under {key}", tried.join("; "), content.records),
        })
    }

    /// The void of a batch that was given up.
    fn void(&self, claim: &Claim) -> Result<Repair, StoreError> {
        let bytes = void::of(&claim.batch);
        let key = &claim.batch.key;
        let mut attributes = attributes(claim, &void::content(&claim.batch), None, Some(claim.entry.serial));
        attributes.metadata.push((metadata::VOID, "1".to_owned()));
        self.put(key, bytes, &attributes, "the gap that follows: it is a void", &|| {
            Ok(self.tools.store.head(key, self.stop)?.is_some_and(|head| head.is_void()))
        })
    }
}

fn source(claim: &Claim, serial: Option<u64>) -> Source<'_> {
    Source {
        stream: &claim.entry.stream,
        created: claim.entry.stream_created,
        shard: &claim.entry.shard,
        serial,
    }
}

fn attributes(claim: &Claim, content: &Content, level: Option<u32>, serial: Option<u64>) -> Attributes {
    Attributes {
        content_type: claim.batch.compression.media_type(),
        sha256: content.sha256.clone(),
        metadata: metadata::of(&source(claim, serial), content, level),
        data: true,
    }
}

#[cfg(test)]
mod tests;
