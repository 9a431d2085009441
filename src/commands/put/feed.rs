//! From the input into the producer, item by item, until the input's end or a stop.
//!
//! Owns the numbering of items, and what happens to an item that can't be
//! put. An item is done once it is delivered, passed over or safe among the dead letters. Dead letters of
//! one key keep their order; those of the end, when all that is left is given up, are in the input's order.

use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::beginning::Begun;
use super::envelope::{self, Dead};
use super::input::{Chunk, Input, Source, another_input};
use super::keys::Keys;
use super::letters::{DeadLetters, Place};
use super::resume::ResumeFile;
use super::screen::Screen;
use super::state::State;
use super::tracker::{Items, Tracker};
use crate::commands::pace::Pace;
use crate::error::Failure;
use crate::ports::Clock;
use crate::producer::{Producer, Record, Refused, Stored, Undelivered, Watch, Why};
use crate::stop::Stop;

/// After a stop, for what was taken to be delivered.
const DRAIN: Duration = Duration::from_secs(10);
/// After a stop, for what was read from a pipe and must wait for its turn at the pace.
const LAST_CALL: Duration = Duration::from_secs(5);
/// Between two looks at the screen, the stop and what was given up.
const TICK: Duration = Duration::from_millis(100);
/// Between two writes of the resume file.
const SAVE: Duration = Duration::from_secs(1);
/// Once reading is over, for the reading thread to hand on what it has taken from standard input.
const LAST_INPUT: Duration = Duration::from_secs(1);
/// Why an item is not put whose end was never read.
const CUT: &str = "cut: reading ended before its end came";
/// Why an item is not put that came too late.
const LATE: &str = "not sent before the end";

/// Marks acknowledged items as done.
pub(super) struct Acknowledge(pub(super) Arc<Tracker>);

impl Watch for Acknowledge {
    fn delivered(&self, record: &Record, _stored: &Stored<'_>) {
        self.0.done(record.tag);
    }
}

/// How items become records.
pub(super) struct Form {
    pub(super) envelope: bool,
    pub(super) keys: Keys,
}

impl Form {
    fn record(&mut self, item: &Bytes, tag: u64) -> Result<Record, String> {
        if !self.envelope {
            let partition_key = self.keys.of(item)?;
            return Ok(Record { data: item.clone(), partition_key, explicit_hash_key: None, tag });
        }
        let opened = envelope::open(item)?;
        let partition_key = match opened.partition_key {
            Some(key) => key,
            None => self.keys.of(&opened.data)?,
        };
        Ok(Record { data: opened.data, partition_key, explicit_hash_key: opened.explicit_hash_key, tag })
    }
}

/// Everything that feeding needs.
pub(super) struct Feed<'a> {
    pub(super) producer: &'a Producer,
    pub(super) runtime: &'a Handle,
    pub(super) clock: &'a dyn Clock,
    pub(super) stop: &'a Stop,
    pub(super) screen: &'a Screen,
    pub(super) sources: &'a [Source],
    /// Which of them are pipes.
    pub(super) pipes: Vec<bool>,
    pub(super) tracker: Arc<Tracker>,
    pub(super) form: Form,
    pub(super) letters: DeadLetters,
    pub(super) resume: Option<ResumeFile>,
    pub(super) pace: Option<Pace>,
    /// Whether records of one key keep their order.
    pub(super) ordered: bool,
    /// Items that are passed over: an earlier run has done them.
    pub(super) before: Items,
    /// The sources, as far as they were begun, by an earlier run or by this one.
    pub(super) begun: Vec<Begun>,
    pub(super) state: State,
}

impl Feed<'_> {
    /// Feeds until the end; whether the input was read to its end.
    pub(super) fn run(&mut self, input: &Input) -> Result<bool, Failure> {
        loop {
            match input.chunks.recv_timeout(TICK) {
                Ok(chunk) => self.chunk(&chunk?)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) if !self.is_over() => return Ok(true),
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.tick(false)?;
            if self.is_over() {
                break;
            }
        }
        input.close();
        if self.pipes.contains(&true) {
            // What was read from a pipe can't be read again: it is put, or kept among the dead letters, also
            // where it lies behind what was read from a file.
            while let Ok(chunk) = input.chunks.recv_timeout(LAST_INPUT) {
                self.chunk(&chunk?)?;
            }
        }
        Ok(self.state.is_through(self.sources.len()))
    }

    /// Whether nothing more is begun.
    fn is_over(&self) -> bool {
        self.stop.reason().is_some() || self.state.fatal.is_some()
    }

    /// Puts the items of a chunk. When it is over, those of a file are only counted: they can be read again.
    fn chunk(&mut self, chunk: &Chunk) -> Result<(), Failure> {
        self.begin(chunk)?;
        self.screen.taken(chunk.bytes);
        let of_pipe = self.pipes.get(chunk.source).copied().unwrap_or_default();
        for item in &chunk.items {
            let number = self.state.next;
            if self.before.contains(number) {
                self.state.skipped += 1;
            } else if !of_pipe && self.is_over() {
                self.state.again.get_or_insert(number);
            } else if item.is_empty() {
                self.state.empty += 1;
                self.tracker.done(number);
            } else if chunk.cut {
                self.state.cut = Some(item.clone());
            } else if let Some(record) = self.item(item, number, of_pipe)? {
                self.leave(record, of_pipe);
            }
            self.state.next += 1;
        }
        if chunk.last {
            self.state.ended = chunk.source + 1;
        }
        Ok(())
    }

    /// Notes where the sources begin, and how. A source of an earlier run must have its place: its items are
    /// known by their numbers.
    fn begin(&mut self, chunk: &Chunk) -> Result<(), Failure> {
        let first = self.state.next;
        while self.state.starts.len() <= chunk.source {
            let at = self.state.starts.len();
            match self.begun.get(at) {
                Some(begun) if begun.first != first => {
                    return Err(self.another_input(at.saturating_sub(1)));
                }
                Some(_) => {}
                None => self.begun.push(Begun { first, ..Begun::default() }),
            }
            self.state.starts.push(first);
        }
        // Where the next source began in an earlier run, this one ended.
        let over = self.begun.get(chunk.source + 1).map(|next| next.first);
        if over.is_some_and(|over| first + chunk.items.len() as u64 > over) {
            return Err(self.another_input(chunk.source));
        }
        if let (Some(beginning), Some(begun)) = (&chunk.beginning, self.begun.get_mut(chunk.source)) {
            begun.beginning = beginning.clone();
        }
        Ok(())
    }

    fn another_input(&self, source: usize) -> Failure {
        another_input(self.sources.get(source).unwrap_or(&Source::Stdin))
    }

    /// Puts one item, or keeps it for the dead letters; gives back what could not be put before the end.
    fn item(&mut self, item: &Bytes, number: u64, of_pipe: bool) -> Result<Option<Record>, Failure> {
        let mut record = match self.form.record(item, number) {
            Ok(record) => record,
            Err(error) => {
                let dead = if self.form.envelope && envelope::open(item).is_err() {
                    Dead::Line(item)
                } else {
                    Dead::Payload(item)
                };
                self.bury(dead, &error, number, true)?;
                return Ok(None);
            }
        };
        // With --ordered, nothing passes by what had to be left.
        let is_behind = self.ordered && (!self.state.left.is_empty() || self.state.again.is_some());
        if self.state.fatal.is_some() || is_behind || !self.keep_pace(of_pipe)? {
            return Ok(Some(record));
        }
        loop {
            record = match self.producer.offer(record) {
                Ok(()) => return Ok(None),
                Err(Refused::Full(record)) => record,
                Err(Refused::Never(undelivered)) => return self.never(*undelivered),
            };
            if self.is_over() {
                return Ok(Some(record));
            }
            // The time-out is for the stop and the screen; whether there is room shows at the next offer.
            let _ = self.runtime.block_on(async { timeout(TICK, self.producer.room()).await });
            self.tick(false)?;
        }
    }

    /// A record that the producer does not take: it is at fault, or the producer has ended.
    fn never(&mut self, undelivered: Undelivered) -> Result<Option<Record>, Failure> {
        match undelivered.why {
            Why::TooLarge { .. } | Why::BadKey(_) => {
                if self.ordered {
                    // One of its key may be on its way, and be buried yet.
                    self.flush()?;
                }
                let (record, error) = (undelivered.record, undelivered.why.to_string());
                if self.ordered && self.is_over() {
                    self.state.left.push((record, error));
                } else {
                    self.bury(Dead::Record(&record), &error, record.tag, true)?;
                }
                Ok(None)
            }
            Why::Refused { .. } | Why::Ended { .. } => {
                self.state.fatal.get_or_insert(undelivered.why.to_string());
                Ok(Some(undelivered.record))
            }
        }
    }

    /// A record that is not put before the end. From a pipe it is kept; otherwise it is read again.
    fn leave(&mut self, record: Record, of_pipe: bool) {
        if !of_pipe {
            self.state.again.get_or_insert(record.tag);
            return;
        }
        let why = self.state.fatal.clone().unwrap_or_else(|| LATE.to_owned());
        self.state.left.push((record, why));
    }

    /// Waits until the next record is due; `false` if it is not before the end. A stop is no reason to hurry:
    /// what was read from a pipe goes on at the pace, for a while.
    fn keep_pace(&mut self, of_pipe: bool) -> Result<bool, Failure> {
        loop {
            let (seen, now) = (self.stop.seen(), self.clock.monotonic());
            let wait = self.pace.as_mut().map_or(Duration::ZERO, |pace| pace.take(now));
            if wait.is_zero() {
                return Ok(true);
            }
            if self.stop.reason().is_some() {
                let last_call = *self.state.last_call.get_or_insert(now + LAST_CALL);
                if !of_pipe || now >= last_call {
                    return Ok(false);
                }
            }
            self.stop.wait(seen, wait.min(TICK));
            self.tick(false)?;
        }
    }

    /// How long it has taken.
    pub(super) fn took(&self) -> Duration {
        self.clock.monotonic().saturating_sub(self.state.begun)
    }

    /// Where an item stands in the input.
    fn place(&self, number: u64) -> Place {
        self.place_in(self.state.source_of(number), self.state.line(number))
    }

    fn place_in(&self, source: usize, line: u64) -> Place {
        let source = self.sources.get(source).map_or_else(String::new, Source::name);
        Place { source, line }
    }

    /// Where it is to go on, and whether anything is there to be read again, or at all, but pipes.
    pub(super) fn rest(&self) -> (Place, bool) {
        let (source, line) = self.state.goes_on_at();
        let has_files = self.pipes.iter().skip(source).any(|is_pipe| !is_pipe);
        (self.place_in(source, line), has_files)
    }

    fn bury(&mut self, dead: Dead<'_>, error: &str, number: u64, done: bool) -> Result<(), Failure> {
        let place = self.place(number);
        self.letters.take(dead, error, &place, self.screen)?;
        if done {
            self.tracker.done(number);
        }
        Ok(())
    }

    /// Buries what the producer gave up. Once the stream refuses everything that waits until all of it is
    /// known: answers to what is under way still come.
    fn given_up(&mut self, mut undelivered: Vec<Undelivered>) -> Result<(), Failure> {
        if let Some(why @ Why::Refused { .. }) = self.producer.ended() {
            self.state.fatal.get_or_insert(why.to_string());
            self.state.left.extend(undelivered.into_iter().map(|one| (one.record, one.why.to_string())));
            return Ok(());
        }
        undelivered.sort_unstable_by_key(|one| one.record.tag);
        undelivered.iter().try_for_each(|one| self.bury_record(&one.record, &one.why.to_string()))
    }

    /// Without a file of dead letters it is not done: a later run with the resume file tries it again.
    fn bury_record(&mut self, record: &Record, why: &str) -> Result<(), Failure> {
        self.bury(Dead::Record(record), why, record.tag, self.letters.keeps())
    }

    /// Looks after everything but the input, now and then, or now.
    pub(super) fn tick(&mut self, now_at_once: bool) -> Result<(), Failure> {
        let now = self.clock.monotonic();
        if !now_at_once && now < self.state.ticked + TICK {
            return Ok(());
        }
        self.state.ticked = now;
        self.given_up(self.producer.take_undelivered())?;
        self.screen.show(&self.producer.totals(), now.saturating_sub(self.state.begun));
        if now_at_once || now >= self.state.saved + SAVE {
            self.state.saved = now;
            // Only what is safe on disk may count as done.
            let done = self.tracker.with(|items| ResumeFile::extract(items));
            self.letters.save()?;
            if let Some(resume) = &mut self.resume {
                resume.save(done, &self.begun)?;
            }
        }
        Ok(())
    }

    /// Waits until everything is delivered or given up, or until a stop.
    fn flush(&mut self) -> Result<(), Failure> {
        while self.stop.reason().is_none() {
            let flushed = self.runtime.block_on(async { timeout(TICK, self.producer.flush()).await });
            if let Ok(undelivered) = flushed {
                return self.given_up(undelivered);
            }
            self.tick(false)?;
        }
        Ok(())
    }

    /// Waits until everything is delivered or given up; not for long after a stop.
    pub(super) fn finish(&mut self) -> Result<(), Failure> {
        self.flush()?;
        let mut left = std::mem::take(&mut self.state.left);
        let given_up = self.runtime.block_on(self.producer.close_within(DRAIN));
        left.extend(given_up.into_iter().map(|one| (one.record, one.why.to_string())));
        left.sort_by_key(|(record, _)| record.tag);
        left.iter().try_for_each(|(record, why)| self.bury_record(record, why))?;
        if let Some(item) = self.state.cut.take() {
            let dead = if self.form.envelope { Dead::Line(&item) } else { Dead::Payload(&item) };
            self.bury(dead, CUT, self.state.next - 1, self.letters.keeps())?;
        }
        self.letters.tell(self.screen);
        self.tick(true)
    }
}
