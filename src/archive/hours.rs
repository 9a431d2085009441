//! The hours' manifests, held against the ledgers and against each other.
//!
//! Owns what of an archive shows only there: a manifest that is missing or altered, an entry that an hour
//! knows and its ledger has lost, an entry that came when its hour was closed. Takes what the walk
//! learned of the ledgers ([`Facts`]) and the manifests that a listing found; reads these alone.

mod facts;
mod rows;

use std::collections::{BTreeMap, HashSet};

pub(super) use facts::{EntryFact, Facts};
use facts::{Name, print, print_of_gap};
use rows::{Row, read_rows};

use super::fault::{Fault, FaultKind};
use super::ledgers::LedgerAt;
use super::{Archive, Selection};
use crate::model::expiry::Expiry;
use crate::model::hour::{HourEntry, HourManifest, HourObject, HourShard, HourTotals, HoursStart, to_bytes};
use crate::model::key::Layout;
use crate::model::ledger::FORMAT_VERSION;
use crate::model::timestamp::{Hour, Timestamp};
use crate::ports::StoreError;
use crate::stop::Stop;

/// What there is to be checked.
pub(super) struct Question<'a> {
    pub(super) archive: &'a Archive,
    pub(super) ledgers: &'a [LedgerAt],
    pub(super) facts: &'a Facts,
    /// The keys of all manifests that a listing found.
    pub(super) manifests: Vec<String>,
    pub(super) selection: &'a Selection,
    /// What the bucket deletes by itself.
    pub(super) expiry: &'a Expiry,
    /// The service's time when the run began.
    pub(super) now: Timestamp,
}

/// A key, and the hash of what must lie there: what a repair goes by.
pub(super) type Voucher = (String, String);

/// Checks the manifests; adds to the faults that were found so far, and takes back what a manifest
/// explains. Tells what the manifests know of each other and of the ledgers' ends.
pub(super) fn check(
    question: &Question<'_>,
    faults: &mut Vec<Fault>,
    stop: &Stop,
) -> Result<Vec<Voucher>, StoreError> {
    // A manifest tells of all shards.
    if question.selection.shard.is_some() {
        return Ok(Vec::new());
    }
    let archive = question.archive;
    let key = archive.keys.hours_start();
    let Some(bytes) = archive.store.get(&key, stop)? else {
        if !question.manifests.is_empty() {
            let told = "manifests of hours are there, and what says where they begin is not";
            faults.push(Fault::new(FaultKind::HourMissing, key, told));
        }
        return Ok(Vec::new());
    };
    let start = match read_start(archive, &bytes) {
        Ok(start) => start,
        Err(why) => {
            faults.push(Fault::new(FaultKind::HourAltered, key, why));
            return Ok(Vec::new());
        }
    };
    let mut rows = read_rows(question, &start, faults, stop)?;
    let mut manifests = rows.iter().filter_map(|row| row.manifest.as_ref()).peekable();
    if manifests.peek().is_some() && manifests.all(|manifest| manifest.stream_arn != start.stream_arn) {
        let told = "no manifest is of the stream that it names";
        faults.push(Fault::new(FaultKind::HourAltered, key, told));
        return Ok(Vec::new());
    }
    let known: HashSet<String> = faults.iter().map(|fault| fault.key.clone()).collect();
    let mut check = Check { question, faults, cut: BTreeMap::new(), named: HashSet::new() };
    check.contents(&mut rows, &start, &known);
    check.links(&mut rows);
    check.tell(&rows);
    check.cuts(stop)?;
    check.misplaced(&rows, &known);
    Ok(vouchers(archive, &rows))
}

/// What each manifest knows of the one before it, and the newest of the ends of the ledgers.
fn vouchers(archive: &Archive, rows: &[Row]) -> Vec<Voucher> {
    let manifests = || rows.iter().filter_map(|row| row.manifest.as_ref());
    let links = manifests().filter_map(|manifest| manifest.previous.clone());
    let mut vouchers: Vec<Voucher> = links.map(|link| (link.key, link.sha256)).collect();
    vouchers.extend(manifests().next_back().into_iter().flat_map(|newest| &newest.shards).map(|shard| {
        let key = archive.keys.entry(&shard.shard, shard.stream_created, shard.last_serial);
        (key, shard.last_entry_sha256.clone())
    }));
    vouchers
}

/// Where the chain begins; or why that cannot be.
fn read_start(archive: &Archive, bytes: &[u8]) -> Result<HoursStart, String> {
    let start: HoursStart = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if start.version != FORMAT_VERSION || to_bytes(&start) != bytes {
        return Err("it is not written as a keeper writes it".to_owned());
    }
    let lies = [Layout::Hive, Layout::Firehose].map(|layout| archive.keys.hour(layout, start.hour));
    if !lies.contains(&start.key) || !archive.keys.root().ends_with(&format!("{}/", start.stream)) {
        return Err(format!("the key {} is not the one of the hour and the stream that it names", start.key));
    }
    Ok(start)
}

struct Check<'a, 'b> {
    question: &'a Question<'a>,
    faults: &'b mut Vec<Fault>,
    /// The serials that a manifest knows behind the end of its ledger as it was listed, and who knows them.
    cut: BTreeMap<(Name, u64), String>,
    /// Objects of these entries.
    named: HashSet<String>,
}

impl Check<'_, '_> {
    /// What each manifest says of itself and of the ledgers.
    fn contents(&mut self, rows: &mut [Row], start: &HoursStart, known: &HashSet<String>) {
        let mut before: Option<HourManifest> = None;
        for row in rows {
            let Some(manifest) = row.manifest.clone() else {
                before = None;
                continue;
            };
            if row.problem.is_none() {
                row.problem = self.itself(&manifest, row, start).err();
            }
            if row.problem.is_none() {
                let told = manifest.shards.iter().try_for_each(|shard| {
                    let earlier = before.as_ref().and_then(|before| of_shard(before, shard));
                    self.shard(shard, earlier, row, known)
                });
                row.problem = told.err();
            }
            before = row.problem.is_none().then_some(manifest);
        }
    }

    fn itself(&self, manifest: &HourManifest, row: &Row, start: &HoursStart) -> Result<(), String> {
        let keys = &self.question.archive.keys;
        let lies = [Layout::Hive, Layout::Firehose].map(|layout| keys.hour(layout, row.hour));
        let next = [Layout::Hive, Layout::Firehose].map(|layout| keys.hour(layout, row.hour.next()));
        let totals = HourTotals::of(&manifest.shards);
        let newest = manifest.shards.iter().map(|shard| shard.stream_created).max();
        let same = |one: &HourShard| {
            let other =
                |other: &&HourShard| other.stream_created.as_seconds() == one.stream_created.as_seconds();
            manifest.shards.iter().filter(other).all(|other| other.stream_created == one.stream_created)
        };
        let holds = [
            ("key", manifest.key == row.key && lies.contains(&row.key)),
            ("hour", manifest.hour == row.hour),
            ("stream", manifest.stream == start.stream),
            ("stream_arn", manifest.stream_arn == start.stream_arn),
            ("stream_created", newest == Some(manifest.stream_created) && manifest.shards.iter().all(same)),
            ("next_key", next.contains(&manifest.next_key)),
            ("totals", totals == manifest.totals),
            ("shards", manifest.shards.iter().all(sums_up)),
        ];
        match holds.iter().find(|(_, holds)| !holds) {
            Some((name, _)) => Err(format!("its {name} cannot be")),
            None => Ok(()),
        }
    }

    /// Holds what is told of a shard against its ledger.
    fn shard(
        &mut self,
        shard: &HourShard,
        before: Option<&HourShard>,
        row: &Row,
        known: &HashSet<String>,
    ) -> Result<(), String> {
        let name = (shard.stream_created.as_seconds(), shard.shard.clone());
        let keys = &self.question.archive.keys;
        let key = |serial: u64| keys.entry(&shard.shard, shard.stream_created, serial);
        let ledger =
            self.question.ledgers.iter().find(|ledger| (ledger.created, &ledger.shard) == (name.0, &name.1));
        let end = ledger.and_then(|ledger| ledger.serials.last().copied());
        let none = BTreeMap::new();
        let facts = self.question.facts.by_ledger.get(&name).unwrap_or(&none);
        let told = shard.entries.iter().map(|entry| (entry.serial, &entry.entry_sha256));
        let told = told.chain(shard.gaps.iter().map(|gap| (gap.serial, &gap.entry_sha256)));
        for (serial, sha256) in told.chain([(shard.last_serial, &shard.last_entry_sha256)]) {
            match facts.get(&serial) {
                _ if end.is_none_or(|end| serial > end) => {
                    self.cut.entry((name.clone(), serial)).or_insert_with(|| row.key.clone());
                    let objects = shard.entries.iter().filter(|entry| entry.serial == serial);
                    self.named.extend(objects.map(|entry| entry.key.clone()));
                }
                Some(fact) if fact.sha256 != *sha256 && !known.contains(&key(serial)) => {
                    if Some(serial) == end {
                        let told =
                            format!("its SHA-256 is {}, and {} knows it as {sha256}", fact.sha256, row.key);
                        let fault = Fault::new(FaultKind::EntryAltered, key(serial), told);
                        if !self.faults.iter().any(|other| other.key == fault.key) {
                            self.faults.push(fault);
                        }
                    } else {
                        return Err(format!("it says that {} has the SHA-256 {sha256}", key(serial)));
                    }
                }
                Some(_) | None => {}
            }
        }
        self.prints(shard, facts, end, row, known)?;
        complete(shard, before, facts)
    }

    /// What is repeated of entries and objects.
    fn prints(
        &mut self,
        shard: &HourShard,
        facts: &BTreeMap<u64, EntryFact>,
        end: Option<u64>,
        row: &Row,
        known: &HashSet<String>,
    ) -> Result<(), String> {
        for told in &shard.entries {
            let Some(fact) = facts.get(&told.serial).filter(|fact| fact.sha256 == told.entry_sha256) else {
                continue;
            };
            let ends = (told.first_sequence_number.as_str(), told.last_sequence_number.as_str());
            let side = told.side.as_ref().map(|side| (&side.key, &side.content_sha256, side.records));
            let repeated =
                print((&told.key, &told.content_sha256, told.content_size, told.records, side, ends));
            if repeated != fact.print {
                return Err(format!(
                    "it does not say of entry {} of {} what the ledger does",
                    told.serial, shard.shard
                ));
            }
            let Some(object) = &fact.object else { continue };
            if told.object == HourObject::Archived && *object != told.sha256 && !known.contains(&told.key) {
                if Some(told.serial) != end {
                    return Err(format!("it says that {} has the SHA-256 {}", told.key, told.sha256));
                }
                let told_as = format!("its SHA-256 is {object}, and {} knows it as {}", row.key, told.sha256);
                self.faults.push(Fault::new(FaultKind::ObjectDamaged, &told.key, told_as));
            }
        }
        for gap in &shard.gaps {
            if facts.get(&gap.serial).is_some_and(|fact| fact.print != print_of_gap(&gap.gap)) {
                return Err(format!(
                    "it does not say of gap {} of {} what the ledger does",
                    gap.serial, shard.shard
                ));
            }
        }
        let lineage = print((&shard.parents, &shard.starting_hash_key, &shard.ending_hash_key));
        let begin = facts.get(&0).is_none_or(|fact| fact.print == lineage);
        let ended = !shard.ended
            || facts.get(&shard.last_serial).is_none_or(|fact| fact.print == print(&shard.children));
        if begin && ended {
            Ok(())
        } else {
            Err(format!("it does not say of {} what its ledger does", shard.shard))
        }
    }

    /// Each manifest names the one before it with its SHA-256. Where two disagree, the one is to blame of
    /// which more is known.
    fn links(&self, rows: &mut [Row]) {
        for at in (1..rows.len()).rev() {
            let (before, after) = rows.split_at_mut(at);
            let (Some(before), Some(after)) = (before.last_mut(), after.first_mut()) else { continue };
            let Some(manifest) = after.manifest.as_ref().filter(|_| after.problem.is_none()) else {
                continue;
            };
            if before.hour.next() != after.hour {
                continue;
            }
            let agrees = match (&manifest.previous, &before.sha256) {
                (Some(link), Some(sha256)) => link.sha256 == *sha256 && link.key == before.key,
                // The one before is missing, and that is told.
                (_, None) => true,
                (None, Some(_)) => false,
            };
            if agrees {
                before.vouched = true;
            } else if before.problem.is_some() || after.vouched {
                before.problem.get_or_insert_with(|| format!("{} knows it with another SHA-256", after.key));
            } else {
                after.problem = Some(format!("it does not name {} with its SHA-256", before.key));
            }
        }
    }

    fn tell(&mut self, rows: &[Row]) {
        for row in rows {
            match (&row.problem, &row.sha256) {
                (Some(problem), Some(_)) => {
                    self.faults.push(Fault::new(FaultKind::HourAltered, &row.key, problem));
                }
                (_, None) if !row.expired => self.faults.push(Fault::new(
                    FaultKind::HourMissing,
                    &row.key,
                    "a later hour has its manifest, and this one is not there",
                )),
                (None, _) | (Some(_), None) => {}
            }
        }
    }

    /// Of each ledger the first entry that a manifest knows and that is not there, nor came since the listing.
    fn cuts(&mut self, stop: &Stop) -> Result<(), StoreError> {
        let mut lost: Option<&Name> = None;
        for ((name, serial), witness) in &self.cut {
            let archive = self.question.archive;
            let key = archive.keys.entry(&name.1, Timestamp::from_seconds(name.0), *serial);
            if lost == Some(name) || archive.store.head(&key, stop)?.is_some() {
                continue;
            }
            lost = Some(name);
            if !self.faults.iter().any(|fault| fault.kind == FaultKind::LedgerCut && fault.key == key) {
                let told = format!("{witness} knows it, and it is not there");
                self.faults.push(Fault::new(FaultKind::LedgerCut, key, told));
            }
        }
        // The manifest names them: it is their entry that is missing.
        let named = &self.named;
        self.faults.retain(|fault| fault.kind != FaultKind::ObjectUnknown || !named.contains(&fault.key));
        Ok(())
    }

    /// Entries that lie in an hour whose manifest does not name them, though it is right.
    fn misplaced(&mut self, rows: &[Row], known: &HashSet<String>) {
        let good = |row: &&Row| row.problem.is_none() && row.manifest.is_some();
        let mut told: BTreeMap<Name, HashSet<u64>> = BTreeMap::new();
        let mut right: HashSet<Hour> = HashSet::new();
        for row in rows.iter().filter(good) {
            right.insert(row.hour);
            for shard in row.manifest.iter().flat_map(|manifest| &manifest.shards) {
                let name = (shard.stream_created.as_seconds(), shard.shard.clone());
                told.entry(name).or_default().extend(shard.entries.iter().map(|entry| entry.serial));
            }
        }
        for (name, facts) in &self.question.facts.by_ledger {
            let told = told.get(name);
            let untold = facts.values().filter(|fact| {
                fact.hour.is_some_and(|hour| right.contains(&hour))
                    && !told.is_some_and(|told| told.contains(&fact.serial))
            });
            for fact in untold {
                let created = Timestamp::from_seconds(name.0);
                let key = self.question.archive.keys.entry(&name.1, created, fact.serial);
                if !known.contains(&key) {
                    let why = "the manifest of its hour does not name it: the hour was closed before it came";
                    self.faults.push(Fault::new(FaultKind::EntryMisplaced, key, why));
                }
            }
        }
    }
}

fn of_shard<'a>(manifest: &'a HourManifest, shard: &HourShard) -> Option<&'a HourShard> {
    manifest.shards.iter().find(|other| {
        other.shard == shard.shard && other.stream_created.as_seconds() == shard.stream_created.as_seconds()
    })
}

/// Whether its sums and ends are those of its entries.
fn sums_up(shard: &HourShard) -> bool {
    let with_records = || shard.entries.iter().filter(|entry| entry.holds_records());
    let first = with_records().next().map(|entry| &entry.first_sequence_number);
    let last = with_records().next_back().map(|entry| &entry.last_sequence_number);
    shard.records == with_records().map(HourEntry::all_records).sum::<u64>()
        && shard.first_sequence_number.as_ref() == first
        && shard.last_sequence_number.as_ref() == last
        && (shard.ended || shard.children.is_empty())
}

/// Whether all batches between what the hour before told of last and what this one does are named.
fn complete(
    shard: &HourShard,
    before: Option<&HourShard>,
    facts: &BTreeMap<u64, EntryFact>,
) -> Result<(), String> {
    let Some(before) = before else { return Ok(()) };
    if before.last_serial > shard.last_serial {
        return Err(format!("of {} it tells less than the hour before", shard.shard));
    }
    let named: HashSet<u64> = shard.entries.iter().map(|entry| entry.serial).collect();
    let batches = facts
        .range(..=shard.last_serial)
        .filter(|(serial, fact)| **serial > before.last_serial && fact.hour.is_some());
    match batches.map(|(serial, _)| serial).find(|serial| !named.contains(*serial)) {
        Some(serial) => Err(format!("it passes over entry {serial} of {}", shard.shard)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
