//! Whether there is an archive at all, and whether a stream begins where its ledgers say that it does.
//!
//! Owns what the lack of every ledger means, and the streams' start objects held against the first entries that copy
//! them. Ledgers themselves are `stretch`'s.

use std::collections::BTreeSet;
use std::time::Duration;

use super::fault::{Fault, FaultKind};
use super::ledgers::LedgerAt;
use super::{Archive, Selection};
use crate::codec::hash::sha256_hex;
use crate::model::hour::to_bytes;
use crate::model::ledger::{Begin, Body, Entry, FORMAT_VERSION, StreamStart};
use crate::model::timestamp::Timestamp;
use crate::ports::StoreError;
use crate::stop::Stop;

/// What a ledger's first entry says of the stream.
#[derive(Debug)]
pub(super) struct Copied {
    /// The entry.
    key: String,
    written_at: Timestamp,
    start: StreamStart,
}

impl Copied {
    /// Of a `begin` entry.
    pub(super) fn by(ledger: &LedgerAt, entry: &Entry) -> Option<Self> {
        let Body::Begin(begin) = &entry.body else { return None };
        let start = StreamStart {
            version: FORMAT_VERSION,
            stream: entry.stream.clone(),
            stream_arn: entry.stream_arn.clone(),
            stream_created: entry.stream_created,
            begin: begin.begin,
        };
        Some(Self { key: ledger.key(entry.serial), written_at: entry.written_at, start })
    }
}

/// What there is to be checked.
pub(super) struct Question<'a> {
    pub(super) archive: &'a Archive,
    pub(super) selection: &'a Selection,
    pub(super) ledgers: &'a [LedgerAt],
    pub(super) copied: &'a [Copied],
    pub(super) now: Timestamp,
    /// So long after its start a stream may have no ledger; more than a clock is ever wrong.
    pub(super) fresh: Duration,
}

/// Checks the start objects of the streams that have ledgers, or says that there are none. Tells what must lie there:
/// keys and hashes.
pub(super) fn check(
    question: &Question<'_>,
    faults: &mut Vec<Fault>,
    stop: &Stop,
) -> Result<Vec<(String, String)>, StoreError> {
    let Question { archive, ledgers, .. } = question;
    let prefix = archive.keys.stream_starts();
    let there = archive.store.list(&prefix, None, stop)?;
    if ledgers.is_empty() {
        faults.extend(question.absent(&there, stop)?);
        return Ok(Vec::new());
    }
    let of_key = |key: &String| key.strip_prefix(&prefix)?.strip_suffix(".json")?.parse::<i64>().ok();
    let streams: BTreeSet<i64> = ledgers.iter().map(|ledger| ledger.created).collect();
    let all: BTreeSet<i64> = there.iter().filter_map(of_key).chain(streams.iter().copied()).collect();
    let mut vouchers = Vec::new();
    for created in streams {
        let next = all.range(created + 1..).next().copied();
        let copies = question.copies(created, next, faults);
        if copies.is_empty() && next.is_some() {
            continue;
        }
        let key = archive.keys.stream_start(Timestamp::from_seconds(created));
        if let Some((first, others)) = copies.split_first()
            && others.iter().all(|other| other.start == first.start)
        {
            vouchers.push((key.clone(), sha256_hex(&to_bytes(&first.start))));
        }
        faults.extend(match archive.store.get(&key, stop)? {
            Some(bytes) => problem(&bytes, &copies).map(|why| Fault::new(FaultKind::StartAltered, key, why)),
            None => {
                let told = "ledgers of the stream are there, and what says where they begin is not";
                Some(Fault::new(FaultKind::StartMissing, key, told))
            }
        });
    }
    Ok(vouchers)
}

impl Question<'_> {
    /// What the first entries of a stream's ledgers copied. Those that have a fault vouch for nothing; nor do those that
    /// were put when the stream's successor was there, by a clock that may be slow: a keeper that still held records of
    /// the old one put them, and knew only where the new one begins.
    fn copies(&self, created: i64, next: Option<i64>, faults: &[Fault]) -> Vec<&Copied> {
        let of_it = |copied: &&Copied| {
            copied.start.stream_created.as_seconds() == created
                && next.is_none_or(|next| (copied.written_at + self.fresh).as_seconds() < next)
                && faults.iter().all(|fault| fault.key != copied.key)
        };
        self.copied.iter().filter(of_it).collect()
    }

    /// No selected ledger is there: what that means, given the start objects that are.
    fn absent(&self, starts: &[String], stop: &Stop) -> Result<Option<Fault>, StoreError> {
        let root = self.archive.keys.ledgers();
        if let Some(shard) = &self.selection.shard {
            let told = "no ledger of this shard is there: is that its name, and are bucket, prefix and stream right?";
            return Ok(Some(Fault::new(FaultKind::LedgerMissing, format!("{root}{shard}-"), told)));
        }
        let Some(start) = starts.last() else {
            let told = "neither a ledger nor a stream's start is there: nothing was ever archived here, or all of it was \
                 removed; are bucket, prefix and stream right?";
            return Ok(Some(Fault::new(FaultKind::LedgerMissing, root, told)));
        };
        let put = self.archive.store.head(start, stop)?.and_then(|head| head.modified);
        if put.is_some_and(|put| self.now.since(put) < self.fresh) {
            return Ok(None);
        }
        let told = "it says where the stream begins, and no shard has a ledger: nothing is archived, or the ledgers were \
             removed";
        Ok(Some(Fault::new(FaultKind::LedgerMissing, start, told)))
    }
}

/// Why a start object cannot be what the ledgers' first entries copied.
fn problem(bytes: &[u8], copies: &[&Copied]) -> Option<String> {
    let start = match serde_json::from_slice::<StreamStart>(bytes) {
        Ok(start) if to_bytes(&start) == bytes => start,
        Ok(_) => return Some("it is not written as a keeper writes it".to_owned()),
        Err(error) => return Some(format!("it cannot be read: {error}")),
    };
    let other = copies.iter().find(|copied| copied.start != start)?;
    let (is, was) = (place(&start.begin), place(&other.start.begin));
    Some(if is == was {
        format!("what it says of the stream is not what {} copied", other.key)
    } else {
        format!("it says that the stream begins at {is}, and {} copied {was}", other.key)
    })
}

fn place(begin: &Begin) -> String {
    match begin {
        Begin::TrimHorizon(_) => "trim_horizon".to_owned(),
        Begin::At(time) => time.to_string(),
    }
}

#[cfg(test)]
mod tests;
