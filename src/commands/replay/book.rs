//! Who is where: which line of the archive each record under way is, and what is noted when it is confirmed.
//!
//! Owns the step from an answer to the state file. A note is written before anything follows from the answer,
//! so what a `kill -9` leaves without a note is at most what was under way.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::progress::{Note, Progress, ranges};
use super::state::{LedgerHead, StateFile};
use crate::archive::read::LineAt;
use crate::error::Failure;
use crate::model::shard::ShardId;
use crate::model::timestamp::Timestamp;
use crate::ports::put::Record;
use crate::producer::Watch;

/// A line of the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) ledger: usize,
    pub(super) entry: u64,
    pub(super) line: u64,
}

/// Keeps the state file.
pub(super) struct Book {
    ledgers: HashMap<ShardId, Vec<(i64, usize)>>,
    pages: Mutex<Pages>,
}

struct Pages {
    progress: Progress,
    state: StateFile,
    /// Records that were taken and are not done.
    open: HashMap<u64, Line>,
    reading: Vec<Reading>,
    next_tag: u64,
    /// The object of some entry was not there: not everything was read.
    awaits: bool,
    /// The state file could not be written.
    failure: Option<Failure>,
}

/// How far the reading of a ledger is.
#[derive(Debug, Default)]
struct Reading {
    /// The entry that is being read.
    at: Option<u64>,
    /// Entries with records that were taken in this run, and how many of these are not done.
    open: BTreeMap<u64, u64>,
}

impl Book {
    pub(super) fn new(heads: &[LedgerHead], progress: Progress, state: StateFile) -> Self {
        let mut ledgers: HashMap<ShardId, Vec<(i64, usize)>> = HashMap::new();
        for (number, head) in heads.iter().enumerate() {
            ledgers.entry(head.shard.clone()).or_default().push((head.created, number));
        }
        let reading = heads.iter().map(|_| Reading::default()).collect();
        let open = HashMap::new();
        let pages = Pages { progress, state, open, reading, next_tag: 0, awaits: false, failure: None };
        Self { ledgers, pages: Mutex::new(pages) }
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a line that was read; gives the tag of its record, or `None` if it is done.
    pub(super) fn enter(&self, at: &LineAt<'_>) -> Option<u64> {
        let line = Line { ledger: self.number(at.shard, at.created)?, entry: at.serial, line: at.line };
        let mut pages = self.pages();
        pages.comes_to(line.ledger, line.entry)?;
        if pages.progress.is_done(line.ledger, line.entry, line.line) {
            return None;
        }
        if let Some(reading) = pages.reading.get_mut(line.ledger) {
            *reading.open.entry(line.entry).or_default() += 1;
        }
        let tag = pages.next_tag;
        pages.next_tag += 1;
        pages.open.insert(tag, line);
        Some(tag)
    }

    /// The object of an entry is not there yet: the entry stays to be done, and so does the replay.
    pub(super) fn awaits(&self, shard: &ShardId, created: i64, serial: u64) {
        let mut pages = self.pages();
        pages.awaits = true;
        let Some(ledger) = self.number(shard, created) else { return };
        // What nobody will call done.
        if let Some(reading) = pages.comes_to(ledger, serial) {
            *reading.open.entry(serial).or_default() += 1;
        }
    }

    /// Which ledger of the state file's head it is.
    fn number(&self, shard: &ShardId, created: i64) -> Option<usize> {
        let of_shard = self.ledgers.get(shard)?;
        of_shard.iter().find(|(of, _)| *of == created).map(|(_, ledger)| *ledger)
    }

    /// These are done: confirmed by the stream, or safe among the dead letters.
    pub(super) fn done(&self, tags: impl IntoIterator<Item = u64>) {
        let mut pages = self.pages();
        let mut by_entry: BTreeMap<(usize, u64), Vec<u64>> = BTreeMap::new();
        for tag in tags {
            let Some(line) = pages.open.remove(&tag) else { continue };
            by_entry.entry((line.ledger, line.entry)).or_default().push(line.line);
        }
        let mut notes = Vec::with_capacity(by_entry.len());
        let mut ledgers: Vec<usize> = by_entry.keys().map(|(ledger, _)| *ledger).collect();
        ledgers.dedup();
        for ((ledger, entry), lines) in by_entry {
            let open = pages.reading.get_mut(ledger).and_then(|reading| reading.open.get_mut(&entry));
            if let Some(open) = open {
                *open = open.saturating_sub(lines.len() as u64);
            }
            notes.push(Note::Lines { ledger, entry, lines: ranges(lines) });
        }
        for ledger in ledgers {
            notes.extend(pages.completed(ledger));
        }
        pages.note(&notes);
    }

    /// Where the record of a tag lies, if it is not done.
    pub(super) fn place(&self, tag: u64) -> Option<Line> {
        self.pages().open.get(&tag).copied()
    }

    /// All that is done is on the disk afterwards; or it tells why that failed, now or before.
    pub(super) fn sync(&self) -> Result<(), Failure> {
        let mut pages = self.pages();
        if let Some(failure) = pages.failure.take() {
            return Err(failure);
        }
        let Pages { progress, state, .. } = &mut *pages;
        state.sync(progress)
    }

    /// Everything was read; if everything is done, too, the state file says so.
    pub(super) fn finish(&self, now: Timestamp) -> Result<bool, Failure> {
        let mut pages = self.pages();
        let whole = pages.open.is_empty() && !pages.awaits && pages.failure.is_none();
        if whole {
            pages.note(&[Note::Finished { finished: now }]);
        }
        drop(pages);
        self.sync().map(|()| whole)
    }

    /// Records that are done, by this run and those before it.
    pub(super) fn records(&self) -> u64 {
        self.pages().progress.records()
    }
}

impl Pages {
    /// Reading has come to this entry, and left those before it; `None` if there is no such ledger.
    fn comes_to(&mut self, ledger: usize, entry: u64) -> Option<&mut Reading> {
        let reading = self.reading.get_mut(ledger)?;
        if reading.at != Some(entry) {
            reading.at = Some(entry);
            let notes = self.completed(ledger);
            self.note(&notes);
        }
        self.reading.get_mut(ledger)
    }

    /// What can be told of entries as wholes: reading has left them, and nothing of them is open.
    fn completed(&mut self, ledger: usize) -> Vec<Note> {
        let before = self.progress.before(ledger);
        let Some(reading) = self.reading.get_mut(ledger) else { return Vec::new() };
        let Some(at) = reading.at else { return Vec::new() };
        let left = |entry: &u64, open: &u64| *entry < at && *open == 0;
        let whole: Vec<u64> =
            reading.open.iter().filter(|(entry, open)| left(entry, open)).map(|(entry, _)| *entry).collect();
        reading.open.retain(|entry, open| !left(entry, open));
        let low = reading.open.keys().next().map_or(at, |entry| at.min(*entry));
        let mut notes = Vec::new();
        if low > before {
            notes.push(Note::Before { ledger, before: low });
        }
        notes.extend(
            whole.into_iter().filter(|entry| *entry >= low).map(|entry| Note::Entry { ledger, entry }),
        );
        notes
    }

    fn note(&mut self, notes: &[Note]) {
        if notes.is_empty() {
            return;
        }
        for note in notes {
            self.progress.take(note);
        }
        if let Err(failure) = self.state.append(notes) {
            self.failure.get_or_insert(failure);
        }
    }
}

impl Watch for Book {
    fn stored(&self, records: &[&Record]) {
        self.done(records.iter().map(|record| record.tag));
    }
}

#[cfg(test)]
mod tests {
    use super::super::state::{Head, Task, find};
    use super::*;

    fn task() -> Task {
        Task {
            archive: "s3://b/s/".into(),
            source: "s".into(),
            target: "t".into(),
            target_created: Timestamp::from_seconds(5),
            from: None,
            to: None,
            shard: None,
            all: false,
        }
    }

    #[test]
    fn notes_follow_answers_and_entries_are_left_when_nothing_of_them_is_open() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.ndjson");
        let shard = ShardId::new("shardId-000000000000");
        let heads = [LedgerHead { shard: shard.clone(), created: 1, newest: 9 }];
        let head =
            Head { ledgers: heads.to_vec(), ..Head::new(task(), Timestamp::from_seconds(7), (None, None)) };
        let state = StateFile::begin(&path, head).unwrap();
        let book = Book::new(&heads, Progress::new(1), state);
        let at = |serial, line| LineAt { shard: &shard, created: 1, serial, line };
        let found = || find(&path, &task()).unwrap().unwrap().progress;
        // Entry 1 holds nothing that is wanted, entry 2 two lines, entry 3 one, entry 4 another.
        let tags: Vec<u64> = [(2, 0), (2, 5), (3, 1), (4, 0)]
            .map(|(entry, line)| book.enter(&at(entry, line)).unwrap())
            .into();
        assert_eq!(book.place(tags[1]), Some(Line { ledger: 0, entry: 2, line: 5 }));
        assert_eq!(found().left(0, 9), [2..=9]);
        book.done([tags[2], tags[0]]);
        assert!(found().is_done(0, 2, 0) && !found().is_done(0, 2, 5));
        assert_eq!((found().records(), found().left(0, 9)), (2, vec![2..=2, 4..=9]));
        assert!(book.enter(&at(4, 0)).is_some(), "it is not done yet");
        book.done([tags[1]]);
        assert_eq!(found().left(0, 9), [4..=9]);
        assert!(!book.finish(Timestamp::from_seconds(9)).unwrap());
        book.done([tags[3], 4]);
        assert_eq!(book.enter(&at(4, 0)), None);
        assert!(book.finish(Timestamp::from_seconds(9)).unwrap());
        assert_eq!((found().finished(), book.records()), (Some(Timestamp::from_seconds(9)), 4));
        let other = ShardId::new("shardId-000000000001");
        assert_eq!(book.enter(&LineAt { shard: &other, ..at(1, 1) }), None);
    }

    #[test]
    fn an_entry_whose_object_is_not_there_yet_stays_to_be_done() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.ndjson");
        let shard = ShardId::new("shardId-000000000000");
        let heads = [LedgerHead { shard: shard.clone(), created: 1, newest: 3 }];
        let head =
            Head { ledgers: heads.to_vec(), ..Head::new(task(), Timestamp::from_seconds(7), (None, None)) };
        let state = StateFile::begin(&path, head).unwrap();
        let book = Book::new(&heads, Progress::new(1), state);
        let tag = book.enter(&LineAt { shard: &shard, created: 1, serial: 2, line: 0 }).unwrap();
        book.awaits(&shard, 1, 3);
        book.done([tag]);
        assert!(!book.finish(Timestamp::from_seconds(9)).unwrap());
        drop(book);
        let (state, found) = StateFile::go_on(&path, &task()).unwrap().unwrap();
        assert_eq!((found.progress.finished(), found.progress.left(0, 3)), (None, vec![3..=3]));
        let book = Book::new(&heads, found.progress, state);
        let tag = book.enter(&LineAt { shard: &shard, created: 1, serial: 3, line: 0 }).unwrap();
        book.done([tag]);
        assert!(book.finish(Timestamp::from_seconds(9)).unwrap());
    }
}
