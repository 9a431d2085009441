//! Every record that was ever written is archived once, or lies in a gap that is right, or is kept aside.

use std::time::Duration;

use kinesis_keeper::model::ledger::{BatchBody, GapBody, GapCause};
use kinesis_keeper::model::sequence::SequenceNumber;
use kinesis_keeper::model::timestamp::Timestamp;
use kinesis_keeper::testing::{Logged, SealedRange};

use crate::archive::{Archive, Lain};
use crate::check::{Checked, Tally, ensure};
use crate::driver::Driver;
use crate::plan::{HOUR, SECOND};

/// Whether a record may be missing because it was trimmed before anybody could know: before the
/// `begin` entry was put, or within the hour in which its first read counts as prompt.
pub fn is_before_the_beginning(retention: Duration, begin: &Lain, logged: &Logged) -> bool {
    logged.written + retention < begin.at + HOUR + 10 * SECOND
}

impl Checked<'_> {
    /// The gaps that cover a record, as indices in the ledger.
    fn gaps_over(&self, number: &SequenceNumber) -> Vec<usize> {
        let covers = |index: &usize| {
            self.ledger[*index].gap().is_some_and(|gap| {
                let end = gap.resumes_at.as_ref().or_else(|| self.next_first(*index));
                gap.after.as_ref().is_none_or(|after| number > after) && end.is_none_or(|end| number < end)
            })
        };
        (0..self.ledger.len()).filter(covers).collect()
    }

    /// The first record of the next batch that was archived.
    fn next_first(&self, index: usize) -> Option<&SequenceNumber> {
        let mut later = self.ledger[index + 1..].iter().filter_map(Lain::batch);
        later
            .find(|batch| self.archived.contains_key(&batch.first_sequence_number))
            .map(|batch| &batch.first_sequence_number)
    }

    fn is_archived(&self, number: &SequenceNumber) -> bool {
        self.archived.contains_key(number)
            || self.expired_unseen.iter().any(|(first, last)| first <= number && number <= last)
    }

    /// Gaps are only where records are missing that could not be read.
    pub fn gaps(&self, driver: &Driver, archive: &Archive, tally: &mut Tally) -> Result<(), String> {
        for (index, lain) in self.ledger.iter().enumerate() {
            if let Some(batch) = lain.batch().filter(|batch| archive.is_void(batch)) {
                self.void_is_right(driver, archive, batch)?;
            }
            let Some(gap) = lain.gap() else { continue };
            match gap.why {
                GapCause::Trimmed => tally.trimmed_gaps += 1,
                GapCause::Lost => tally.lost_gaps += 1,
            }
            tally.certain_gaps += u64::from(gap.certain);
            let end = gap.resumes_at.as_ref().or_else(|| self.next_first(index));
            let within = |number: &SequenceNumber| {
                gap.after.as_ref().is_none_or(|after| number > after) && end.is_none_or(|end| number < end)
            };
            let missing = self.shard.records.iter().filter(|logged| {
                let number = &logged.record.sequence_number;
                within(number) && !self.is_archived(number)
            });
            ensure!(
                !gap.certain || missing.count() > 0,
                "the gap at {} is certain, and nothing is missing: {gap:?}",
                lain.serial
            );
            let untrimmed = !driver.plan.trims() && self.shard.deleted.is_none();
            ensure!(
                !untrimmed || self.is_late_first_read(lain, gap),
                "nothing was ever trimmed, and a gap lies at {}",
                lain.serial
            );
        }
        Ok(())
    }

    /// A first read more than an hour after the `begin` entry may have missed something.
    fn is_late_first_read(&self, lain: &Lain, gap: &GapBody) -> bool {
        let begun = self.ledger[0].entry.written_at;
        gap.after.is_none()
            && !gap.certain
            && gap.why == GapCause::Trimmed
            && lain.at > begun + 59 * 60 * SECOND
    }

    fn void_is_right(&self, driver: &Driver, archive: &Archive, batch: &BatchBody) -> Result<(), String> {
        let Some(void) = archive.object_of(batch) else { return Ok(()) };
        let (first, last) = (&batch.first_sequence_number, &batch.last_sequence_number);
        let gone = self.shard.records.iter().any(|logged| {
            let number = &logged.record.sequence_number;
            first <= number && number <= last && self.is_gone(driver, logged, void.at)
        });
        ensure!(gone, "a void lies under {} though all its records could be read", batch.key);
        Ok(())
    }

    fn is_gone(&self, driver: &Driver, logged: &Logged, when: Timestamp) -> bool {
        logged.written + driver.plan.stream.retention < when
            || self.shard.deleted.is_some_and(|deleted| deleted <= when)
    }

    /// Every record that was ever written is archived once, or lies in a gap that is right.
    pub fn every_record(&self, driver: &Driver, tally: &mut Tally) -> Result<(), String> {
        tally.records += self.shard.records.len() as u64;
        if let Some((number, times)) = self.archived.iter().find(|(_, times)| **times > 1) {
            return Err(format!("{number} is archived {times} times"));
        }
        let Some(begin) = self.ledger.first() else { return Ok(()) };
        let mut begun = begin.begins_at().is_none();
        for logged in &self.shard.records {
            begun |= begin.begins_at().is_some_and(|time| logged.record.arrival >= time);
            let number = &logged.record.sequence_number;
            if self.is_archived(number) || !begun {
                continue;
            }
            tally.missing += 1;
            let gaps = self.gaps_over(number);
            if !gaps.is_empty() {
                self.gap_is_right(driver, &gaps, logged)?;
            } else if self.shard.deleted.is_none() {
                let first = self.archived.keys().next();
                let early = first.is_none_or(|first| number < first)
                    && is_before_the_beginning(driver.plan.stream.retention, begin, logged);
                ensure!(early, "{number} of {} is lost without a gap", logged.written);
            }
        }
        Ok(())
    }

    /// The missing record could not be read when one of its gaps was decided, and who put that one
    /// did not hold it.
    fn gap_is_right(&self, driver: &Driver, gaps: &[usize], logged: &Logged) -> Result<(), String> {
        let number = &logged.record.sequence_number;
        let Some(index) =
            gaps.iter().find(|index| self.is_gone(driver, logged, self.decided(driver, **index)))
        else {
            return Err(format!("the gaps at {gaps:?} cover {number}, which could be read"));
        };
        let lain = &self.ledger[*index];
        let Some(gap) = lain.gap() else { return Ok(()) };
        if gap.why == GapCause::Lost {
            return Ok(());
        }
        let writer = driver.keepers.iter().find(|keeper| lain.entry.host.starts_with(keeper.plan.name));
        let held = writer.is_some_and(|keeper| {
            keeper.disk.sealed().iter().any(|sealed| self.holds(sealed, number) && sealed.event < lain.event)
        });
        ensure!(
            !held,
            "{} put the gap at {} over {number}, which it held sealed",
            lain.entry.host,
            lain.serial
        );
        Ok(())
    }

    /// When a gap was decided. What is trimmed while the batch that ends it is awaited lies in it too.
    fn decided(&self, driver: &Driver, index: usize) -> Timestamp {
        let lain = &self.ledger[index];
        match lain.gap() {
            Some(gap) if gap.resumes_at.is_none() => {
                self.ledger.get(index + 1).map_or_else(|| driver.world.now(), |next| next.at)
            }
            _ => lain.at,
        }
    }

    fn holds(&self, sealed: &SealedRange, number: &SequenceNumber) -> bool {
        sealed.shard == self.shard.shard.id
            && sealed.created.as_seconds() == self.shard.created.as_seconds()
            && sealed.first <= *number
            && *number <= sealed.last
    }

    /// What was ever sealed on a disk that still lives is in the archive, or kept beside it.
    pub fn everything_sealed(&self, driver: &Driver) -> Result<(), String> {
        if self.ledger.is_empty() {
            return Ok(());
        }
        for keeper in &driver.keepers {
            for sealed in keeper.disk.sealed() {
                for logged in &self.shard.records {
                    let number = &logged.record.sequence_number;
                    ensure!(
                        !self.holds(&sealed, number)
                            || self.is_archived(number)
                            || self.repaired.contains(number),
                        "{} sealed {number}, and it is neither archived nor under _repaired/",
                        keeper.plan.name
                    );
                }
            }
        }
        Ok(())
    }
}
