//! From the archive into the producer, record by record, until the end of the range or a stop.
//!
//! Owns what happens to a record that can't be put. What is confirmed is the
//! book's business.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::timeout;

use super::book::Book;
use super::form::{Formed, form};
use super::state::LedgerHead;
use crate::archive::read::{LineAt, Remark, Taker};
use crate::commands::pace::Pace;
use crate::commands::put::envelope::Dead;
use crate::commands::put::letters::{DeadLetters, Place};
use crate::commands::put::screen::Screen;
use crate::error::Failure;
use crate::model::timestamp::Timestamp;
use crate::ports::Clock;
use crate::producer::{Producer, Refused, Undelivered, Why};
use crate::stop::Stop;

/// Between two looks at the screen, the stop and what was given up.
const TICK: Duration = Duration::from_millis(100);
/// Between two syncs of the state file.
const SYNC: Duration = Duration::from_secs(1);
/// After a stop, for the answers to what is under way: longer than any request may take.
const WIND_UP: Duration = Duration::from_secs(35);

/// Everything that feeding needs.
pub(super) struct Feed<'a> {
    pub(super) producer: &'a Producer,
    pub(super) runtime: &'a Handle,
    pub(super) clock: &'a dyn Clock,
    pub(super) stop: &'a Stop,
    pub(super) screen: &'a Screen,
    pub(super) book: Arc<Book>,
    pub(super) ledgers: &'a [LedgerHead],
    pub(super) letters: DeadLetters,
    pub(super) pace: Option<Pace>,
    pub(super) state: State,
}

/// How far it is.
#[derive(Debug, Default)]
pub(super) struct State {
    begun: Duration,
    /// Records without a partition key.
    pub(super) without_key: u64,
    /// Gaps that were met, and objects that have expired.
    pub(super) remarks: u64,
    /// Objects that were not there yet: the next run sends what they hold.
    pub(super) on_their_way: u64,
    /// Why the producer takes no more.
    pub(super) fatal: Option<String>,
    /// Why this program can't go on.
    pub(super) failure: Option<Failure>,
    /// Dead letters that are not yet on the disk.
    letters: Vec<u64>,
    arrival: Option<Timestamp>,
    ticked: Duration,
    synced: Duration,
}

impl State {
    /// Nothing was read yet.
    pub(super) fn new(now: Duration) -> Self {
        Self { begun: now, ..Self::default() }
    }
}

impl Taker for Feed<'_> {
    fn lines(&mut self, _lines: &[u8]) -> io::Result<()> {
        // Where a line lies must be known, and is only told where lines are merged.
        Err(io::ErrorKind::Unsupported.into())
    }

    fn line(&mut self, at: &LineAt<'_>, line: &[u8]) -> io::Result<()> {
        match self.one(at, line) {
            Ok(true) => Ok(()),
            Ok(false) => Err(io::ErrorKind::Interrupted.into()),
            Err(failure) => {
                self.state.failure = Some(failure);
                Err(io::ErrorKind::Other.into())
            }
        }
    }

    fn remark(&mut self, remark: Remark) {
        match &remark {
            Remark::OnItsWay { shard, created, serial, .. } => {
                self.book.awaits(shard, *created, *serial);
                self.state.on_their_way += 1;
            }
            Remark::Gap { .. } | Remark::Expired { .. } | Remark::Untimed { .. } => self.state.remarks += 1,
        }
        self.screen.aside(|| crate::commands::read::tell(&remark));
    }
}

impl Feed<'_> {
    /// Puts one record; `false` if it could not be taken before a stop, or the producer has ended.
    fn one(&mut self, at: &LineAt<'_>, line: &[u8]) -> Result<bool, Failure> {
        self.tick(false)?;
        let Some(tag) = self.book.enter(at) else { return Ok(true) };
        let Formed { mut record, arrival, without_key } = form(line, tag).map_err(|error| {
            Failure::failed(format!("{}, entry {}, line {}: {error}", at.shard, at.serial, at.line + 1))
        })?;
        self.state.without_key += u64::from(without_key);
        self.state.arrival = Some(arrival);
        self.screen.taken(line.len() as u64);
        self.keep_pace()?;
        loop {
            if self.state.fatal.is_some() || self.stop.reason().is_some() {
                return Ok(false);
            }
            record = match self.producer.offer(record) {
                Ok(()) => return Ok(true),
                Err(Refused::Full(record)) => record,
                Err(Refused::Never(undelivered)) => return self.never(*undelivered),
            };
            // The time-out is for the stop and the screen; whether there is room shows at the next offer.
            let _ = self.runtime.block_on(async { timeout(TICK, self.producer.room()).await });
            self.tick(false)?;
        }
    }

    /// A record that the producer does not take: it is at fault, or the producer has ended.
    fn never(&mut self, undelivered: Undelivered) -> Result<bool, Failure> {
        match undelivered.why {
            Why::TooLarge { .. } | Why::BadKey(_) => {
                self.bury(&undelivered)?;
                Ok(true)
            }
            Why::Refused { .. } | Why::Ended { .. } => {
                self.state.fatal = Some(undelivered.why.to_string());
                Ok(false)
            }
        }
    }

    /// Waits until the next record is due.
    fn keep_pace(&mut self) -> Result<(), Failure> {
        loop {
            let seen = self.stop.seen();
            let now = self.clock.monotonic();
            let wait = self.pace.as_mut().map_or(Duration::ZERO, |pace| pace.take(now));
            if wait.is_zero() || self.stop.reason().is_some() {
                return Ok(());
            }
            self.stop.wait(seen, wait.min(TICK));
            self.tick(false)?;
        }
    }

    /// Keeps a record that can't be put. Among the dead letters it is done; without them the same command
    /// tries it again.
    fn bury(&mut self, undelivered: &Undelivered) -> Result<(), Failure> {
        let Undelivered { record, why } = undelivered;
        let place = self.book.place(record.tag).and_then(|line| {
            let shard = &self.ledgers.get(line.ledger)?.shard;
            Some(Place { source: format!("{shard}, entry {}", line.entry), line: line.line + 1 })
        });
        let place = place.unwrap_or_else(|| Place { source: "the archive".to_owned(), line: 0 });
        self.letters.take(Dead::Record(record), &why.to_string(), &place, self.screen)?;
        if self.letters.keeps() {
            self.state.letters.push(record.tag);
        }
        Ok(())
    }

    /// Buries what the producer gave up. Once it has ended that says nothing of a record (all were given up,
    /// because of a stop or because the stream refuses everything): they stay to be done.
    fn bury_all(&mut self, undelivered: &[Undelivered]) -> Result<(), Failure> {
        if self.producer.has_ended() {
            let why = undelivered.iter().map(|one| &one.why).find(|why| matches!(why, Why::Refused { .. }));
            if let Some(why) = why {
                self.state.fatal.get_or_insert_with(|| why.to_string());
            }
            return Ok(());
        }
        undelivered.iter().try_for_each(|one| self.bury(one))
    }

    /// Looks after everything but the archive, now and then, or now.
    pub(super) fn tick(&mut self, now_at_once: bool) -> Result<(), Failure> {
        let now = self.clock.monotonic();
        if !now_at_once && now < self.state.ticked + TICK {
            return Ok(());
        }
        self.state.ticked = now;
        self.bury_all(&self.producer.take_undelivered())?;
        let (totals, passed) = (self.producer.totals(), now.saturating_sub(self.state.begun));
        self.screen.say(|| {
            let rate = totals.delivered as f64 / passed.as_secs_f64().max(0.001);
            let at = self.state.arrival.map_or_else(String::new, |at| format!(", at {at}"));
            format!("{} records, {rate:.0}/s{at}", totals.delivered)
        });
        if now_at_once || now >= self.state.synced + SYNC {
            self.state.synced = now;
            // Only what is safe on the disk may count as done.
            self.letters.save()?;
            self.book.done(self.state.letters.drain(..));
            self.book.sync()?;
        }
        Ok(())
    }

    /// Waits until everything that was taken is delivered or given up; after a stop, or when it can't be
    /// helped, only for what is under way.
    pub(super) fn finish(&mut self) -> Result<(), Failure> {
        while self.stop.reason().is_none() && self.state.failure.is_none() {
            let flushed = self.runtime.block_on(async { timeout(TICK, self.producer.flush()).await });
            if let Ok(undelivered) = flushed {
                self.bury_all(&undelivered)?;
                break;
            }
            self.tick(false)?;
        }
        let left = self.runtime.block_on(self.producer.wind_up(WIND_UP));
        self.bury_all(&left)?;
        self.letters.tell(self.screen);
        self.tick(true)
    }

    /// How long it has taken.
    pub(super) fn took(&self) -> Duration {
        self.clock.monotonic().saturating_sub(self.state.begun)
    }
}
