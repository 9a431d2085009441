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

/// How far it is.
#[derive(Debug, Default)]
pub(super) struct State {
    /// When it began.
    begun: Duration,
    /// The number of the next item, over all sources.
    pub(super) next: u64,
    /// The number of each source's first item, as far as they were begun.
    starts: Vec<u64>,
    pub(super) empty: u64,
    pub(super) skipped: u64,
    /// After a stop: until when what was read from a pipe still goes at its pace.
    last_call: Option<Duration>,
    /// Why the producer takes no more.
    pub(super) fatal: Option<String>,
    /// At the end: what was not put, and why not. It is buried when all of it is known.
    left: Vec<(Record, String)>,
    /// The last item, if its end was never read.
    cut: Option<Bytes>,
    ticked: Duration,
    saved: Duration,
}

impl State {
    /// Nothing was read yet.
    pub(super) fn new(now: Duration) -> Self {
        Self { begun: now, ..Self::default() }
    }
}

impl Feed<'_> {
    /// Feeds until the end; whether the input was read to its end.
    pub(super) fn run(&mut self, input: &Input) -> Result<bool, Failure> {
        loop {
            match input.chunks.recv_timeout(TICK) {
                Ok(chunk) => {
                    if !self.chunk(&chunk?)? {
                        break;
                    }
                }
                Err(RecvTimeoutError::Timeout) if self.stop.reason().is_none() => {}
                Err(RecvTimeoutError::Disconnected) if self.stop.reason().is_none() => return Ok(true),
                Err(_) => break,
            }
            self.tick(false)?;
            if self.state.fatal.is_some() {
                break;
            }
        }
        input.close();
        if self.is_of_a_pipe() {
            // What was read from a pipe can't be read again: it is put, or kept among the dead letters.
            while let Ok(chunk) = input.chunks.recv_timeout(LAST_INPUT) {
                self.chunk(&chunk?)?;
            }
        }
        Ok(false)
    }

    fn is_of_a_pipe(&self) -> bool {
        self.sources == [Source::Stdin]
    }

    /// Puts the items of a chunk; `false` if it was stopped before the last.
    fn chunk(&mut self, chunk: &Chunk) -> Result<bool, Failure> {
        self.begin(chunk)?;
        self.screen.taken(chunk.bytes);
        for item in &chunk.items {
            let number = self.state.next;
            let stopped = self.stop.reason().is_some() || self.state.fatal.is_some();
            if self.before.contains(number) {
                self.state.skipped += 1;
            } else if stopped && !self.is_of_a_pipe() {
                return Ok(false);
            } else if item.is_empty() {
                self.state.empty += 1;
                self.tracker.done(number);
            } else if chunk.cut {
                self.state.cut = Some(item.clone());
            } else if !self.item(item, number)? {
                return Ok(false);
            }
            self.state.next += 1;
        }
        Ok(true)
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

    /// Puts one item, or keeps it for the dead letters; `false` if it could not be put before the end, and can
    /// be read again.
    fn item(&mut self, item: &Bytes, number: u64) -> Result<bool, Failure> {
        let mut record = match self.form.record(item, number) {
            Ok(record) => record,
            Err(error) => {
                let dead = if self.form.envelope && envelope::open(item).is_err() {
                    Dead::Line(item)
                } else {
                    Dead::Payload(item)
                };
                self.bury(dead, &error, number, true)?;
                return Ok(true);
            }
        };
        // With --ordered, nothing passes by what had to be left.
        let stuck = self.state.fatal.is_some() || (self.ordered && !self.state.left.is_empty());
        if stuck || !self.keep_pace()? {
            return Ok(self.leave(record));
        }
        loop {
            record = match self.producer.offer(record) {
                Ok(()) => return Ok(true),
                Err(Refused::Full(record)) => record,
                Err(Refused::Never(undelivered)) => return self.never(*undelivered),
            };
            if self.state.fatal.is_some() || self.stop.reason().is_some() {
                return Ok(self.leave(record));
            }
            // The time-out is for the stop and the screen; whether there is room shows at the next offer.
            let _ = self.runtime.block_on(async { timeout(TICK, self.producer.room()).await });
            self.tick(false)?;
        }
    }

    /// A record that the producer does not take: it is at fault, or the producer has ended.
    fn never(&mut self, undelivered: Undelivered) -> Result<bool, Failure> {
        match undelivered.why {
            Why::TooLarge { .. } | Why::BadKey(_) => {
                if self.ordered {
                    // One of its key may be on its way, and be buried yet.
                    self.flush()?;
                }
                let (record, error) = (undelivered.record, undelivered.why.to_string());
                if self.ordered && (self.stop.reason().is_some() || self.state.fatal.is_some()) {
                    self.state.left.push((record, error));
                } else {
                    self.bury(Dead::Record(&record), &error, record.tag, true)?;
                }
                Ok(true)
            }
            Why::Refused { .. } | Why::Ended { .. } => {
                self.state.fatal.get_or_insert(undelivered.why.to_string());
                Ok(self.leave(undelivered.record))
            }
        }
    }

    /// A record that is not put before the end. From a pipe it is kept; otherwise it is read again (`false`).
    fn leave(&mut self, record: Record) -> bool {
        if self.is_of_a_pipe() {
            let why = self.state.fatal.clone().unwrap_or_else(|| LATE.to_owned());
            self.state.left.push((record, why));
        }
        self.is_of_a_pipe()
    }

    /// Waits until the next record is due; `false` if it is not before the end. A stop is no reason to hurry:
    /// what was read from a pipe goes on at the pace, for a while.
    fn keep_pace(&mut self) -> Result<bool, Failure> {
        loop {
            let (seen, now) = (self.stop.seen(), self.clock.monotonic());
            let wait = self.pace.as_mut().map_or(Duration::ZERO, |pace| pace.take(now));
            if wait.is_zero() {
                return Ok(true);
            }
            if self.stop.reason().is_some() {
                let last_call = *self.state.last_call.get_or_insert(now + LAST_CALL);
                if !self.is_of_a_pipe() || now >= last_call {
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
    pub(super) fn place(&self, number: u64) -> Place {
        let at = self.state.starts.partition_point(|start| *start <= number).saturating_sub(1);
        let start = self.state.starts.get(at).copied().unwrap_or_default();
        let source = self.sources.get(at).map_or_else(String::new, Source::name);
        Place { source, line: number - start + 1 }
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
