//! The chain of a ledger: what the entries so far bind the next one to, and what is lost where one is missing.

use super::fault::{Fault, FaultKind};
use super::ledgers::LedgerAt;
use super::terms::Terms;
use crate::codec::void;
use crate::model::ledger::Body;
use crate::model::sequence::{Position, SequenceNumber};
use crate::model::timestamp::Hour;
use crate::ports::StoreError;

/// Records between these were in entries that are missing or unreadable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hole {
    pub(super) after: Position,
    pub(super) before: Option<SequenceNumber>,
}

impl Hole {
    pub(super) fn contains(&self, number: &SequenceNumber) -> bool {
        !self.after.covers(number) && self.before.as_ref().is_none_or(|before| number < before)
    }
}

/// What the entries so far bind the next one to.
pub(super) struct Chain {
    pub(super) serial: Option<u64>,
    /// The last entry's hash; `None` where it could not be read.
    pub(super) entry_sha256: Option<String>,
    pub(super) position: Position,
    /// The position before the last entry, if that is a batch whose object is not there: it may have
    /// been a void that has expired, and then a `lost` gap begins there.
    pub(super) unless_lost: Option<Position>,
    pub(super) hour: Option<Hour>,
    /// The last entry's object is void: a `lost` gap must follow.
    pub(super) void: bool,
    /// The last batch's object, if it was read and is right.
    pub(super) object: Option<(String, String)>,
    /// No batch of this stretch came yet.
    pub(super) first_batch: bool,
    /// Where the records of missing entries began.
    pub(super) hole: Option<Position>,
}

/// The fault of the object before, if entry `serial` remembers another one.
pub(super) fn broken_link(object: Option<&(String, String)>, said: &str, serial: u64) -> Option<Fault> {
    let (key, sha256) = object?;
    // Empty: it was void, or had expired for the writer.
    (!said.is_empty() && said != sha256).then(|| {
        let told = format!("its SHA-256 is {sha256}, and was {said} when entry {serial} was written");
        Fault::new(FaultKind::ObjectDamaged, key, told)
    })
}

/// What the entries before an index bind the stretch to.
pub(super) fn chain_before(terms: &Terms<'_>, ledger: &LedgerAt, index: usize) -> Result<Chain, StoreError> {
    let mut chain = Chain {
        serial: None,
        entry_sha256: Some(String::new()),
        position: Position::Start,
        unless_lost: None,
        hour: None,
        void: false,
        object: None,
        first_batch: index > 0,
        hole: None,
    };
    let Some(mut at) = index.checked_sub(1) else { return Ok(chain) };
    chain.serial = Some(ledger.serials[at]);
    let read = terms.archive.entry(ledger, ledger.serials[at], terms.stop)?.and_then(Result::ok);
    chain.entry_sha256 = read.map(|read| read.sha256);
    // Back to the last entry that leaves a position by itself.
    let mut rows = Vec::new();
    loop {
        let read = terms.archive.entry(ledger, ledger.serials[at], terms.stop)?.and_then(Result::ok);
        if let Some(read) = read {
            let settled = matches!(read.entry.body, Body::Batch(_) | Body::Begin(_));
            rows.push(read.entry);
            if settled {
                break;
            }
        }
        match at.checked_sub(1) {
            Some(before) => at = before,
            None => break,
        }
    }
    for entry in rows.iter().rev() {
        if let Body::Batch(batch) = &entry.body {
            chain.hour = Some(batch.hour);
            let head = terms.archive.store.head(&batch.key, terms.stop)?;
            // What lies before the batch was not walked: any gap may follow it.
            chain.unless_lost = head.is_none().then_some(Position::Start);
            if head.is_some_and(|head| head.is_void() || void::has_its_length(head.size, batch)) {
                chain.void = ledger.serials.get(index.wrapping_sub(1)) == Some(&entry.serial);
                continue;
            }
        }
        chain.position = entry.position_after(&chain.position);
    }
    Ok(chain)
}
