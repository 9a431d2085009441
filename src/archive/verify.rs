//! Proof of an archive: every selected ledger walked, every object read, and what no ledger knows.
//!
//! Owns how the work is divided, where stretches meet, and what can only be seen of the whole.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::chain::{Hole, broken_link};
use super::fault::{Fault, FaultKind};
use super::hours;
use super::ledgers::LedgerAt;
use super::report::{Broken, Report, ShardReport, Tally};
use super::starts::{self, Copied};
use super::strays::{Claimed, Claims};
use super::stretch::{Walk, Walked};
use super::terms::Terms;
use super::{Archive, Selection};
use crate::model::expiry::Expiry;
use crate::model::sequence::SequenceNumber;
use crate::model::shard::ShardId;
use crate::model::timestamp::Timestamp;
use crate::ports::{StoreError, StoreErrorKind};
use crate::stop::Stop;

mod lineage;

/// Entries that are walked in one go. Enough that looking back at a stretch's beginning does not
/// count, few enough that one shard's ledger keeps all threads busy.
const STRETCH: usize = 64;

/// What is to be proved, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which part.
    pub selection: Selection,
    /// Objects that are read at the same time.
    pub at_once: usize,
    /// Entries that somebody else has seen, such as this disk's checkpoints.
    pub known: Vec<KnownEntry>,
    /// So long an object may be on its way after its entry was put.
    pub on_its_way: Duration,
}

/// An entry that was there once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownEntry {
    /// Its shard.
    pub shard: ShardId,
    /// The creation of its stream.
    pub created: Timestamp,
    /// Its serial.
    pub serial: u64,
    /// Hex SHA-256 of the entry as stored.
    pub entry_sha256: String,
    /// Who knows it, in words.
    pub witness: String,
}

/// A stretch to be walked: the index of its ledger, and of its entries.
type Job = (usize, Range<usize>);

/// Proves the archive. `planned` is told how many entries there are, `progress` what each added.
pub fn verify(
    archive: &Archive,
    options: &Options,
    planned: impl FnOnce(u64),
    progress: &(dyn Fn(&Tally) + Sync),
    stop: &Stop,
) -> Result<Report, StoreError> {
    let now = archive.store.service_time(stop)?;
    let terms = Terms {
        archive,
        stop,
        now,
        expiry: expiry(archive, stop)?,
        on_its_way: options.on_its_way,
        progress,
    };
    let (ledgers, faults) = archive.ledgers(&options.selection, stop)?;
    let mut jobs = VecDeque::new();
    let mut entries = 0;
    for (index, ledger) in ledgers.iter().enumerate() {
        let indices = selected(archive, ledger, &options.selection, stop)?;
        entries += indices.len() as u64;
        jobs.extend(cut(index, indices));
    }
    planned(entries);
    let walked = walk_all(&terms, &ledgers, jobs, options.at_once.max(1))?;
    let mut whole = Whole { report: Report { faults, ..Report::default() }, ..Whole::default() };
    for (index, stretches) in walked {
        whole.ledger((index, &ledgers[index]), stretches);
    }
    match whole.beside_the_ledgers(&terms, &ledgers, options) {
        Err(error) if stop.reason().is_none() => return Err(error),
        Ok(()) | Err(_) => {}
    }
    whole.report.broken = whole.broken(&ledgers);
    let mut report = whole.report;
    report.known.extend(options.known.iter().map(|known| {
        (archive.keys.entry(&known.shard, known.created, known.serial), known.entry_sha256.clone())
    }));
    report.faults.sort_unstable_by(|a, b| (&a.key, a.kind, &a.reason).cmp(&(&b.key, b.kind, &b.reason)));
    report.faults.dedup();
    report.interrupted = stop.reason().is_some();
    Ok(report)
}

/// What the bucket deletes after some time; without the permission to ask, nothing.
fn expiry(archive: &Archive, stop: &Stop) -> Result<Expiry, StoreError> {
    match archive.store.expiry(stop) {
        Err(error) if error.kind == StoreErrorKind::AccessDenied => Ok(Expiry::default()),
        answer => answer,
    }
}

/// The entries of a ledger that can hold what is selected, or tell that it is missing. Arrivals go back a
/// little, never an hour: what arrived in an hour lies under it or under the next.
pub(super) fn selected(
    archive: &Archive,
    ledger: &LedgerAt,
    selection: &Selection,
    stop: &Stop,
) -> Result<Range<usize>, StoreError> {
    let first = match selection.from {
        Some(from) => {
            let first = archive.first_from(ledger, from.hour(), stop)?;
            archive.with_gaps_before(ledger, first, selection, stop)?
        }
        None => 0,
    };
    let end = match selection.to {
        Some(to) => archive.first_from(ledger, to.hour().next().next(), stop)?,
        None => ledger.serials.len(),
    };
    Ok(first..end.max(first))
}

fn cut(index: usize, indices: Range<usize>) -> impl Iterator<Item = Job> {
    let end = indices.end;
    indices.step_by(STRETCH).map(move |first| (index, first..(first + STRETCH).min(end)))
}

/// Walks all stretches on so many threads; by ledger, in order.
fn walk_all(
    terms: &Terms<'_>,
    ledgers: &[LedgerAt],
    jobs: VecDeque<Job>,
    threads: usize,
) -> Result<BTreeMap<usize, Vec<Walked>>, StoreError> {
    let jobs = Mutex::new(jobs);
    let done: Mutex<BTreeMap<(usize, usize), Walked>> = Mutex::default();
    let failed: Mutex<Option<StoreError>> = Mutex::default();
    let work = || {
        loop {
            let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let Some((index, indices)) = job else { return };
            let first = indices.start;
            let walked = match Walk::stretch(terms, &ledgers[index], indices) {
                // Cut short: in its place stands that nothing is known of it.
                Err(_) if terms.stop.reason().is_some() => Walked::default(),
                Ok(walked) => walked,
                Err(error) => {
                    failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                    jobs.lock().unwrap_or_else(PoisonError::into_inner).clear();
                    return;
                }
            };
            done.lock().unwrap_or_else(PoisonError::into_inner).insert((index, first), walked);
        }
    };
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    if let Some(error) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    let mut by_ledger: BTreeMap<usize, Vec<Walked>> = BTreeMap::new();
    for ((index, _), walked) in done.into_inner().unwrap_or_else(PoisonError::into_inner) {
        by_ledger.entry(index).or_default().push(walked);
    }
    Ok(by_ledger)
}

/// What is gathered from all stretches.
#[derive(Default)]
struct Whole {
    report: Report,
    claimed: HashMap<String, Claimed>,
    holes: BTreeMap<ShardId, Vec<Hole>>,
    lineage: lineage::Lineage,
    copied: Vec<Copied>,
    facts: hours::Facts,
}

impl Whole {
    /// What shows only in the whole: nothing of it is known while a part was not walked.
    fn beside_the_ledgers(
        &mut self,
        terms: &Terms<'_>,
        ledgers: &[LedgerAt],
        options: &Options,
    ) -> Result<(), StoreError> {
        let Terms { archive, stop, .. } = *terms;
        if stop.reason().is_some() {
            return Ok(());
        }
        self.known(archive, ledgers, options, stop)?;
        let question = starts::Question {
            archive,
            selection: &options.selection,
            ledgers,
            copied: &self.copied,
            now: terms.now,
            fresh: terms.on_its_way,
        };
        self.report.known.append(&mut starts::check(&question, &mut self.report.faults, stop)?);
        if options.selection == Selection::default() {
            self.report.faults.append(&mut lineage::faults(&self.lineage, terms.now, terms.on_its_way));
        }
        let claims = Claims {
            ledgers,
            keys: &self.claimed,
            holes: std::mem::take(&mut self.holes),
            selection: &options.selection,
        };
        let mut beside = claims.strays(archive, stop)?;
        self.report.faults.append(&mut beside.faults);
        let question = hours::Question {
            archive,
            ledgers,
            facts: &self.facts,
            manifests: beside.manifests,
            selection: &options.selection,
            expiry: &terms.expiry,
            now: terms.now,
        };
        self.report.known.append(&mut hours::check(&question, &mut self.report.faults, stop)?);
        Ok(())
    }

    /// Joins the stretches of a ledger.
    fn ledger(&mut self, (index, ledger): (usize, &LedgerAt), stretches: Vec<Walked>) {
        let created = Timestamp::from_seconds(ledger.created);
        let mut shard = ShardReport {
            shard: ledger.shard.clone(),
            stream_created: created,
            tally: Tally::default(),
            ended: false,
            recorded_gaps: Vec::new(),
            faults: 0,
        };
        let mut object: Option<(String, String)> = None;
        let mut faults = Vec::new();
        let mut unconfirmed = Vec::new();
        for walked in stretches {
            shard.tally.add(&walked.tally);
            if walked.predecessor_altered {
                // What its object was held against cannot be believed.
                unconfirmed.clear();
                object = None;
            }
            faults.append(&mut unconfirmed);
            faults.extend(walked.faults);
            unconfirmed = walked.unconfirmed;
            if let Some(link) = &walked.first_link {
                let serial = walked.newest.as_ref().map_or(0, |(serial, _)| *serial);
                faults.extend(broken_link(object.as_ref(), link, serial));
            }
            object = walked.last_object;
            for (_, gap) in &walked.gaps {
                let number = |number: &Option<SequenceNumber>, none: &str| {
                    number.as_ref().map_or_else(|| none.to_owned(), ToString::to_string)
                };
                shard.recorded_gaps.push(format!(
                    "{} ({}) after {} until {}, arrived {} to {}",
                    gap.why.as_str(),
                    if gap.certain { "certain" } else { "perhaps" },
                    number(&gap.after, "the shard's start"),
                    number(&gap.resumes_at, "the next batch"),
                    gap.from,
                    gap.to
                ));
            }
            shard.ended |= walked.end.is_some();
            self.copied.extend(walked.begin.as_ref().and_then(|first| Copied::by(ledger, first)));
            self.lineage.take(ledger, walked.begin.as_ref(), walked.end);
            self.holes.entry(ledger.shard.clone()).or_default().extend(walked.holes);
            self.claimed.extend(walked.claimed.into_iter().map(|(key, serial)| (key, (index, serial))));
            self.facts.take(ledger, walked.facts);
        }
        faults.append(&mut unconfirmed);
        shard.faults = faults.len() as u64;
        self.report.total.add(&shard.tally);
        self.report.faults.append(&mut faults);
        self.report.shards.push(shard);
    }

    /// Holds the ledgers against entries that somebody has seen.
    fn known(
        &mut self,
        archive: &Archive,
        ledgers: &[LedgerAt],
        options: &Options,
        stop: &Stop,
    ) -> Result<(), StoreError> {
        for known in &options.known {
            if options.selection.shard.as_ref().is_some_and(|wanted| *wanted != known.shard) {
                continue;
            }
            let key = archive.keys.entry(&known.shard, known.created, known.serial);
            let of_it = |ledger: &&LedgerAt| {
                ledger.shard == known.shard && ledger.created == known.created.as_seconds()
            };
            let ledger = ledgers.iter().find(of_it);
            let there = match ledger {
                Some(ledger) => archive.entry(ledger, known.serial, stop)?,
                None => None,
            };
            match there {
                None if ledger.is_some_and(|ledger| ledger.serials.last() > Some(&known.serial)) => {}
                None => self.report.faults.push(Fault::new(
                    FaultKind::LedgerCut,
                    key,
                    format!("{} knows it, and it is not there", known.witness),
                )),
                Some(Ok(read)) if read.sha256 != known.entry_sha256 => {
                    self.note_altered(&key, &known.entry_sha256, &read.sha256, &known.witness);
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Which entries claim the objects that have a fault.
    fn broken(&self, ledgers: &[LedgerAt]) -> Vec<Broken> {
        let claimed = |key: &String| {
            let (index, serial) = *self.claimed.get(key)?;
            let ledger = ledgers.get(index)?;
            let created = Timestamp::from_seconds(ledger.created);
            Some(Broken { key: key.clone(), shard: ledger.shard.clone(), created, serial })
        };
        self.report.faults.iter().filter_map(|fault| claimed(&fault.key)).collect()
    }

    fn note_altered(&mut self, key: &str, was: &str, is: &str, witness: &str) {
        let told = format!("its SHA-256 is {is}, and {witness} knows it as {was}");
        if !self.report.faults.iter().any(|fault| fault.key == key) {
            self.report.faults.push(Fault::new(FaultKind::EntryAltered, key, told));
        }
    }
}

#[cfg(test)]
mod tests;
