//! What of a replay is confirmed: pure, and made again from the notes of its state file.
//!
//! Owns the count of confirmed records and where they lie: ledger, entry, line. Does no I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::model::timestamp::Timestamp;

/// What happened, as a line of the state file. Ledgers are numbered as the file's head lists them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Note {
    /// These lines of an entry's object are done: ranges, both ends included.
    Lines { ledger: usize, entry: u64, lines: Vec<(u64, u64)> },
    /// Nothing is left of this entry.
    Entry { ledger: usize, entry: u64 },
    /// Nothing is left of the entries before this one.
    Before { ledger: usize, before: u64 },
    /// So many records are done in all.
    Done { records: u64 },
    /// All of it is done.
    Finished { finished: Timestamp },
}

/// What is done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    ledgers: Vec<Ledger>,
    records: u64,
    finished: Option<Timestamp>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Ledger {
    /// Nothing is left of the entries before it.
    before: u64,
    /// Nor of these.
    entries: BTreeSet<u64>,
    /// Of these, lines are done: the first of each range, and its last.
    lines: BTreeMap<u64, BTreeMap<u64, u64>>,
}

impl Progress {
    /// Nothing is done of so many ledgers.
    pub(super) fn new(ledgers: usize) -> Self {
        Self { ledgers: vec![Ledger::default(); ledgers], ..Self::default() }
    }

    /// Takes note; false if there is no such ledger, or the lines are none.
    pub(super) fn take(&mut self, note: &Note) -> bool {
        match note {
            Note::Lines { ledger, entry, lines } => {
                let Some(ledger) = self.ledgers.get_mut(*ledger) else { return false };
                if lines.iter().any(|(first, last)| first > last) {
                    return false;
                }
                let done = ledger.lines.entry(*entry).or_default();
                for (first, last) in lines {
                    self.records += add(done, *first, *last);
                }
            }
            Note::Entry { ledger, entry } => {
                let Some(ledger) = self.ledgers.get_mut(*ledger) else { return false };
                ledger.entries.insert(*entry);
                ledger.lines.remove(entry);
                while ledger.entries.remove(&ledger.before) {
                    ledger.before += 1;
                }
            }
            Note::Before { ledger, before } => {
                let Some(ledger) = self.ledgers.get_mut(*ledger) else { return false };
                ledger.before = ledger.before.max(*before);
                ledger.lines = ledger.lines.split_off(before);
                ledger.entries = ledger.entries.split_off(before);
                while ledger.entries.remove(&ledger.before) {
                    ledger.before += 1;
                }
            }
            Note::Done { records } => self.records = *records,
            Note::Finished { finished } => self.finished = Some(*finished),
        }
        true
    }

    /// The fewest notes that tell all of it.
    pub(super) fn notes(&self) -> Vec<Note> {
        let mut notes = Vec::new();
        for (number, ledger) in self.ledgers.iter().enumerate() {
            if ledger.before > 0 {
                notes.push(Note::Before { ledger: number, before: ledger.before });
            }
            notes.extend(ledger.entries.iter().map(|entry| Note::Entry { ledger: number, entry: *entry }));
            notes.extend(ledger.lines.iter().map(|(entry, lines)| Note::Lines {
                ledger: number,
                entry: *entry,
                lines: lines.iter().map(|(first, last)| (*first, *last)).collect(),
            }));
        }
        // Behind the lines, whose records it counts as well.
        notes.push(Note::Done { records: self.records });
        notes.extend(self.finished.map(|finished| Note::Finished { finished }));
        notes
    }

    /// Whether a line is done.
    pub(super) fn is_done(&self, ledger: usize, entry: u64, line: u64) -> bool {
        self.ledgers.get(ledger).is_some_and(|ledger| {
            let lines = ledger.lines.get(&entry);
            let range = lines.and_then(|lines| lines.range(..=line).next_back());
            ledger.is_whole(entry) || range.is_some_and(|(_, last)| line <= *last)
        })
    }

    /// The entries up to `newest` of which something may be left.
    pub(super) fn left(&self, ledger: usize, newest: u64) -> Vec<RangeInclusive<u64>> {
        let Some(ledger) = self.ledgers.get(ledger) else { return Vec::new() };
        let mut left = Vec::new();
        let mut from = ledger.before;
        for whole in &ledger.entries {
            if from < *whole {
                left.push(from..=(*whole - 1).min(newest));
            }
            from = *whole + 1;
        }
        if from <= newest {
            left.push(from..=newest);
        }
        left
    }

    /// The entries before this one are done.
    pub(super) fn before(&self, ledger: usize) -> u64 {
        self.ledgers.get(ledger).map_or(0, |ledger| ledger.before)
    }

    /// How many records are done.
    pub(super) const fn records(&self) -> u64 {
        self.records
    }

    /// Since when nothing is left.
    pub(super) const fn finished(&self) -> Option<Timestamp> {
        self.finished
    }
}

impl Ledger {
    fn is_whole(&self, entry: u64) -> bool {
        entry < self.before || self.entries.contains(&entry)
    }
}

/// Adds a range to ranges that neither meet nor touch; how many lines are new.
fn add(ranges: &mut BTreeMap<u64, u64>, first: u64, last: u64) -> u64 {
    let (mut from, mut to, mut known) = (first, last, 0);
    while let Some((start, end)) = ranges.range(..=last.saturating_add(1)).next_back() {
        let (start, end) = (*start, *end);
        if end.saturating_add(1) < first {
            break;
        }
        known += (end.min(last) + 1).saturating_sub(start.max(first));
        (from, to) = (from.min(start), to.max(end));
        ranges.remove(&start);
    }
    ranges.insert(from, to);
    last - first + 1 - known
}

/// Lines, in any order, as ranges.
pub(super) fn ranges(mut lines: Vec<u64>) -> Vec<(u64, u64)> {
    lines.sort_unstable();
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for line in lines {
        match ranges.last_mut() {
            Some((_, last)) if line <= last.saturating_add(1) => *last = line,
            Some(_) | None => ranges.push((line, line)),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(entry: u64, lines: &[(u64, u64)]) -> Note {
        Note::Lines { ledger: 0, entry, lines: lines.to_vec() }
    }

    fn again(progress: &Progress) -> Progress {
        let mut again = Progress::new(progress.ledgers.len());
        for note in progress.notes() {
            let text = serde_json::to_string(&note).unwrap();
            assert_eq!(serde_json::from_str::<Note>(&text).unwrap(), note, "{text}");
            assert!(again.take(&note));
        }
        again
    }

    #[test]
    fn ranges_grow_together_and_each_line_counts_once() {
        let mut done = BTreeMap::new();
        for (first, last, new) in [(5, 9, 5), (20, 20, 1), (10, 10, 1), (0, 3, 4), (2, 25, 15), (2, 25, 0)] {
            assert_eq!(add(&mut done, first, last), new, "{first} to {last}");
        }
        assert_eq!(done, BTreeMap::from([(0, 25)]));
        assert_eq!(ranges(vec![7, 3, 4, 9, 5]), [(3, 5), (7, 7), (9, 9)]);
    }

    #[test]
    fn random_ranges_are_what_a_set_of_lines_is() {
        let mut random = fastrand::Rng::with_seed(5);
        for _ in 0..200 {
            let (mut progress, mut set) = (Progress::new(1), BTreeSet::new());
            for _ in 0..random.usize(1..40) {
                let first = random.u64(0..100);
                let last = first + random.u64(0..12);
                assert!(progress.take(&lines(3, &[(first, last)])));
                set.extend(first..=last);
            }
            assert_eq!(progress.records(), set.len() as u64);
            assert!((0..120).all(|line| progress.is_done(0, 3, line) == set.contains(&line)));
            assert_eq!(again(&progress), progress);
        }
    }

    #[test]
    fn what_is_left_shrinks_entry_by_entry() {
        let mut progress = Progress::new(1);
        assert_eq!(progress.left(0, 9), [0..=9]);
        assert!(progress.take(&lines(4, &[(0, 99)])));
        for entry in [5, 7] {
            assert!(progress.take(&Note::Entry { ledger: 0, entry }));
        }
        assert_eq!(progress.left(0, 9), [0..=4, 6..=6, 8..=9]);
        assert!(progress.take(&Note::Before { ledger: 0, before: 5 }));
        assert_eq!((progress.before(0), progress.left(0, 9)), (6, vec![6..=6, 8..=9]));
        assert_eq!(progress.left(0, 6), [6..=6]);
        assert!(progress.is_done(0, 4, 1000) && !progress.is_done(0, 6, 0));
        assert!(progress.take(&Note::Before { ledger: 0, before: 10 }));
        assert!(progress.left(0, 9).is_empty());
        assert!(progress.take(&Note::Finished { finished: Timestamp::from_seconds(1) }));
        let again = again(&progress);
        assert_eq!((again.records(), again.finished()), (100, Some(Timestamp::from_seconds(1))));
    }

    #[test]
    fn what_cannot_be_is_not_taken() {
        let mut progress = Progress::new(1);
        assert!(!progress.take(&Note::Entry { ledger: 1, entry: 0 }));
        assert!(!progress.take(&lines(0, &[(2, 1)])));
    }
}
