//! What must be true after every run: the ledgers, their objects, and every record that was ever written.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kinesis_keeper::model::batch::{Compression, Format};
use kinesis_keeper::model::key::Layout;
use kinesis_keeper::model::ledger::{BatchBody, Body, GapCause};
use kinesis_keeper::model::sequence::{Position, SequenceNumber};
use kinesis_keeper::testing::{Change, ShardHistory, StoredObject};

use crate::archive::{Archive, Lain, is_void};
use crate::driver::Driver;
use crate::keeper::{STREAM, keys};
use crate::reader::{self, sha256};

/// How often the things happened that a simulation is for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub records: u64,
    pub batches: u64,
    pub trimmed_gaps: u64,
    pub certain_gaps: u64,
    pub lost_gaps: u64,
    pub ends: u64,
    pub completed_by_another: u64,
    pub repaired: u64,
    pub expired: u64,
    pub missing: u64,
    pub hours: u64,
    pub moved: u64,
}

/// One shard with its ledger, and which of its records were found where.
pub struct Checked<'a> {
    pub shard: &'a ShardHistory,
    pub ledger: Vec<Lain>,
    pub archived: BTreeMap<SequenceNumber, u64>,
    /// Ranges of entries whose object never came before its lifetime was over.
    pub expired_unseen: Vec<(SequenceNumber, SequenceNumber)>,
    pub repaired: BTreeSet<SequenceNumber>,
}

macro_rules! ensure {
    ($holds:expr, $($told:tt)+) => {
        if !$holds {
            return Err(format!($($told)+));
        }
    };
}
pub(crate) use ensure;

/// Checks a run that has settled.
pub fn check(driver: &Driver) -> Result<Tally, String> {
    let archive = Archive::of(&driver.bucket);
    let history = driver.stream.history();
    let mut tally = Tally::default();
    let mut claimed = BTreeSet::new();
    let mut followed = BTreeMap::new();
    for shard in &history {
        let checked = check_shard(driver, &archive, shard, &mut tally)
            .map_err(|told| format!("{}@{}: {told}", shard.shard.id, shard.created.as_seconds()))?;
        for batch in checked.ledger.iter().filter_map(Lain::batch) {
            claimed.insert(batch.key.clone());
            claimed.extend(batch.side.iter().map(|side| side.key.clone()));
        }
        for pair in checked.ledger.windows(2) {
            followed.extend(pair[0].batch().map(|batch| (batch.key.clone(), pair[1].at)));
        }
        crate::notices::check(driver, &archive, &checked)
            .map_err(|told| format!("{}@{}: {told}", shard.shard.id, shard.created.as_seconds()))?;
    }
    for (key, changes) in &archive.stored {
        let data =
            !key.contains("/_ledger/") && !key.contains("/_repaired/") && !key.ends_with("/_hour.json");
        ensure!(!data || claimed.contains(key), "no entry claims {key}");
        let gone = archive.expired.get(key).and_then(|gone| gone.first());
        // Where no entry follows, a writer who holds its records yet cannot know that it was there.
        let seen = |gone: &&Change| followed.get(key).is_some_and(|at| *at <= gone.at);
        let again =
            gone.filter(seen).is_some_and(|gone| changes.iter().any(|change| change.object.sent > gone.at));
        ensure!(!data || !again, "{key} was seen, expired and was put again");
    }
    tally.expired = archive.expired.len() as u64;
    tally.hours = crate::hours::check(driver, &archive)?;
    Ok(tally)
}

fn check_shard<'a>(
    driver: &Driver,
    archive: &Archive,
    shard: &'a ShardHistory,
    tally: &mut Tally,
) -> Result<Checked<'a>, String> {
    let mut checked = Checked {
        shard,
        ledger: archive.ledger(shard)?,
        archived: BTreeMap::new(),
        expired_unseen: Vec::new(),
        repaired: repaired(archive, shard)?,
    };
    if archive.void_passed_for_expired(&checked.ledger) {
        return Ok(checked);
    }
    checked.chain(archive)?;
    checked.objects(driver, archive, tally)?;
    checked.gaps(driver, archive, tally)?;
    checked.every_record(driver, tally)?;
    checked.everything_sealed(driver)?;
    tally.repaired += checked.repaired.len() as u64;
    let ended = checked.ledger.iter().filter(|lain| matches!(lain.entry.body, Body::End(_)));
    tally.ends += ended.count() as u64;
    Ok(checked)
}

fn repaired(archive: &Archive, shard: &ShardHistory) -> Result<BTreeSet<SequenceNumber>, String> {
    let folder = format!("{}_repaired/{}-{}/", keys().root(), shard.shard.id, shard.created.as_seconds());
    let mut found = BTreeSet::new();
    for (key, changes) in archive.stored.range(folder.clone()..) {
        if !key.starts_with(&folder) {
            break;
        }
        for change in changes {
            let content = reader::read(&change.object.bytes, Compression::Gzip)
                .map_err(|told| format!("{key}: {told}"))?;
            for line in content.lines {
                is_as_written(shard, &line).map_err(|told| format!("{key}: {told}"))?;
                found.insert(line.number);
            }
        }
    }
    Ok(found)
}

fn is_as_written(shard: &ShardHistory, line: &reader::Line) -> Result<(), String> {
    let number = &line.number;
    let at = shard.records.binary_search_by(|logged| logged.record.sequence_number.cmp(number));
    let Ok(at) = at else { return Err(format!("nobody wrote {number}")) };
    let record = &shard.records[at].record;
    ensure!(
        record.arrival == line.arrival
            && record.partition_key.as_deref() == line.partition_key.as_deref()
            && record.data[..] == line.data[..],
        "{number} was written as {record:?} and archived as {line:?}"
    );
    Ok(())
}

impl Checked<'_> {
    /// Serials, hashes, types and positions.
    fn chain(&self, archive: &Archive) -> Result<(), String> {
        let (mut position, mut last_archived) = (Position::Start, None);
        for (index, lain) in self.ledger.iter().enumerate() {
            let (serial, entry) = (lain.serial, &lain.entry);
            let before = index.checked_sub(1).map(|index| &self.ledger[index]);
            ensure!(
                entry.version == 1
                    && entry.serial == serial
                    && entry.stream == STREAM
                    && entry.shard == self.shard.shard.id
                    && entry.stream_created.as_seconds() == self.shard.created.as_seconds(),
                "entry {serial} belongs elsewhere: {entry:?}"
            );
            let hash = before.map_or("", |before| before.sha256.as_str());
            ensure!(entry.previous_entry_sha256 == hash, "entry {serial} breaks the chain");
            ensure!(matches!(entry.body, Body::Begin(_)) == (serial == 0), "entry {serial} is {entry:?}");
            ensure!(
                before.is_none_or(|before| !matches!(before.entry.body, Body::End(_))),
                "entry {serial} follows the end"
            );
            let void_before = before.and_then(Lain::batch).is_some_and(|batch| archive.is_void(batch));
            let lost = lain.gap().is_some_and(|gap| gap.why == GapCause::Lost);
            ensure!(void_before == lost, "entry {serial}: a void before it {void_before}, lost gap {lost}");
            match &entry.body {
                Body::Begin(_) => {}
                Body::Batch(batch) => {
                    let (first, last) = (&batch.first_sequence_number, &batch.last_sequence_number);
                    ensure!(first <= last, "entry {serial} ends before it begins");
                    ensure!(
                        !position.covers(first),
                        "entry {serial} begins at {first}, {position} or before"
                    );
                    if !archive.is_void(batch) {
                        position = Position::After(last.clone());
                        last_archived = Some(last.clone());
                    }
                }
                Body::Gap(gap) => {
                    ensure!(
                        gap.after == last_archived,
                        "the gap at {serial} follows {:?}, the ledger {last_archived:?}",
                        gap.after
                    );
                    let after = || gap.after.clone().map_or(Position::Start, Position::After);
                    position = gap.resumes_at.clone().map_or_else(after, Position::Before);
                }
                Body::End(end) => {
                    let named = end.children.iter().all(|child| child != &self.shard.shard.id);
                    ensure!(named && self.shard.closed.is_some(), "the end at {serial} of an open shard");
                }
            }
        }
        Ok(())
    }

    /// Each batch entry has the object that it says.
    fn objects(&mut self, driver: &Driver, archive: &Archive, tally: &mut Tally) -> Result<(), String> {
        let mut before: Option<&BatchBody> = None;
        let mut archived = BTreeMap::new();
        for (index, lain) in self.ledger.iter().enumerate() {
            let Some(batch) = lain.batch() else { continue };
            let serial = lain.serial;
            let own = batch.first_arrival.hour();
            let hour = before.map_or(own, |before| own.max(before.hour));
            // The key of a void is its own for good.
            let taken = before.is_some_and(|before| {
                archive.is_void(before) && before.first_sequence_number == batch.first_sequence_number
            });
            let hour = if taken { hour.next() } else { hour };
            ensure!(
                batch.hour == crate::hours::next_open(archive, hour, lain.event),
                "entry {serial} lies in {:?}, not in {hour:?}, the next open",
                batch.hour
            );
            tally.moved += u64::from(batch.hour > hour);
            let hour = batch.hour;
            let form = batch.form();
            let key = |layout| {
                keys().object(layout, hour, &self.shard.shard.id, &batch.first_sequence_number, form)
            };
            let right_key = [Layout::Hive, Layout::Firehose].map(key).contains(&batch.key);
            ensure!(right_key, "entry {serial} has the key {}", batch.key);
            let expected = before.filter(|before| !archive.is_void(before));
            let expected = expected.map(|before| archive.hashes_of(before)).unwrap_or_default();
            let previous = &batch.previous_object_sha256;
            let none = previous.is_empty() && (archive.lifecycle || expected.is_empty());
            ensure!(
                none || expected.contains(previous),
                "entry {serial} says that the object before it is {previous}, it is {expected:?}"
            );
            before = Some(batch);
            tally.batches += 1;
            let Some(change) = archive.object_of(batch) else {
                let now = driver.world.now();
                let old = driver.bucket.lifecycle.is_some_and(|life| lain.at + life < now);
                // Of a deleted stream only the writer's own spool can complete it.
                let forgotten = self.shard.deleted.is_some() && !still_has_it(driver, lain);
                ensure!(old || forgotten, "entry {serial} has no object");
                if old {
                    let range = (batch.first_sequence_number.clone(), batch.last_sequence_number.clone());
                    self.expired_unseen.push(range);
                }
                continue;
            };
            let next = self.ledger.get(index + 1);
            ensure!(
                next.is_none_or(|next| change.event < next.event) || archive.lifecycle,
                "the entry after {serial} was put before its object"
            );
            self.waited(driver, lain, change, tally)?;
            if !is_void(&change.object) {
                let told = |told| format!("the object of entry {serial}: {told}");
                for number in self.object(archive, lain, batch, change).map_err(told)? {
                    *archived.entry(number).or_insert(0) += 1;
                }
            }
        }
        self.archived = archived;
        Ok(())
    }

    /// Whoever completes another's entry has waited for him.
    fn waited(&self, driver: &Driver, lain: &Lain, change: &Change, tally: &mut Tally) -> Result<(), String> {
        let writer = &change.object.writer;
        if *writer == lain.entry.host {
            return Ok(());
        }
        tally.completed_by_another += 1;
        let keeper = driver.keepers.iter().find(|keeper| writer.starts_with(keeper.plan.name));
        let max_age = keeper.map_or(Duration::ZERO, |keeper| keeper.plan.limits.max_age);
        let waited = change.object.sent.since(lain.at);
        ensure!(
            waited >= max_age,
            "{writer} put the object of entry {} of {} after {waited:?}, not {max_age:?}",
            lain.serial,
            lain.entry.host
        );
        Ok(())
    }

    fn object(
        &self,
        archive: &Archive,
        lain: &Lain,
        batch: &BatchBody,
        put: &Change,
    ) -> Result<Vec<SequenceNumber>, String> {
        let object = &put.object;
        let (content, side) = if batch.format == Format::Envelope {
            ensure!(batch.side.is_none(), "envelopes with a side object");
            (reader::read(&object.bytes, batch.compression)?, None)
        } else {
            let side = batch.side.as_ref().map(|side| {
                archive.first(&side.key).filter(|change| change.event < put.event).ok_or("no side object")
            });
            let side = side.transpose()?.map(|change| &change.object.bytes[..]);
            reader::read_payloads(&object.bytes, side, batch.compression, &self.written(batch))?
        };
        ensure!(content.sha256 == batch.content_sha256, "content {}", content.sha256);
        ensure!(content.size == batch.content_size, "size {}", content.size);
        ensure!(content.lines.len() as u64 == batch.records, "records {}", content.lines.len());
        let mut lines = content.lines;
        if let (Some(content), Some(side)) = (side, &batch.side) {
            ensure!(content.sha256 == side.content_sha256, "side content {}", content.sha256);
            ensure!(content.size == side.content_size, "side size {}", content.size);
            ensure!(content.lines.len() as u64 == side.records, "side records {}", content.lines.len());
            let line = |line: &reader::Line| line.data.contains(&b'\n') || line.data.contains(&0xff);
            ensure!(content.lines.iter().all(line), "what can be a line lies aside");
            lines.extend(content.lines);
            lines.sort_by(|a, b| a.number.cmp(&b.number));
        }
        ensure!(lines.is_sorted_by(|a, b| a.number < b.number), "not in order");
        let (Some(first), Some(last)) = (lines.first(), lines.last()) else {
            return Err("no records".into());
        };
        ensure!(
            first.number == batch.first_sequence_number && first.arrival == batch.first_arrival,
            "begins with {first:?}"
        );
        ensure!(
            last.number == batch.last_sequence_number && last.arrival == batch.last_arrival,
            "ends with {last:?}"
        );
        for line in &lines {
            is_as_written(self.shard, line)?;
            ensure!(line.arrival.hour() <= batch.hour, "{} arrived after {:?}", line.number, batch.hour);
        }
        metadata(lain, batch, object)?;
        Ok(lines.into_iter().map(|line| line.number).collect())
    }

    /// The records from a batch's first to its last, as they were written.
    fn written(&self, batch: &BatchBody) -> Vec<reader::Line> {
        let (first, last) = (&batch.first_sequence_number, &batch.last_sequence_number);
        let records = self.shard.records.iter().map(|logged| &logged.record);
        let of_it =
            records.filter(|record| *first <= record.sequence_number && record.sequence_number <= *last);
        let as_line = |record: &kinesis_keeper::model::record::RawRecord| reader::Line {
            number: record.sequence_number.clone(),
            arrival: record.arrival,
            partition_key: record.partition_key.as_deref().map(str::to_owned),
            data: record.data.to_vec(),
        };
        of_it.map(as_line).collect()
    }
}

/// Whether the disk that an entry was put from still lives.
fn still_has_it(driver: &Driver, lain: &Lain) -> bool {
    let mut writers = driver.keepers.iter();
    let writer = writers.find(|keeper| keeper.trouble.identity() == lain.object.writer);
    writer.is_some_and(|keeper| keeper.disk_events.iter().all(|lost| *lost < lain.event))
}

fn metadata(lain: &Lain, batch: &BatchBody, object: &StoredObject) -> Result<(), String> {
    let expected = match batch.compression {
        Compression::Gzip => "application/gzip",
        Compression::Zstd => "application/zstd",
    };
    ensure!(object.content_type == expected, "content type {}", object.content_type);
    let expected = [
        ("keeper-version", "1".to_owned()),
        ("keeper-stream", STREAM.to_owned()),
        ("keeper-stream-created", lain.entry.stream_created.to_string()),
        ("keeper-shard", lain.entry.shard.to_string()),
        ("keeper-serial", lain.serial.to_string()),
        ("keeper-first-sequence-number", batch.first_sequence_number.to_string()),
        ("keeper-last-sequence-number", batch.last_sequence_number.to_string()),
        ("keeper-records", batch.records.to_string()),
        ("keeper-content-size", batch.content_size.to_string()),
        ("keeper-content-sha256", batch.content_sha256.clone()),
        ("keeper-sha256", sha256(&object.bytes)),
        ("keeper-first-arrival", batch.first_arrival.to_string()),
        ("keeper-last-arrival", batch.last_arrival.to_string()),
    ];
    for (name, value) in expected {
        ensure!(object.meta(name) == Some(&value), "metadata {name} is {:?}, not {value}", object.meta(name));
    }
    Ok(())
}
