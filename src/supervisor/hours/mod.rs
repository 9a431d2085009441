//! Telling the hours: for each hour in order one manifest, once, when nothing of it can come any more.
//!
//! The invariant. Each hour from the first on has one manifest; each is put after the one before it was
//! seen, names its SHA-256, and is never changed. When it is put, every ledger is past the hour (see [`due`]),
//! so every entry of it is there and named, with its object. Whatever entry comes later lies in a later
//! hour: along a ledger hours do not go back, and a batch whose hour is over looks for its manifest first.
//! (What another keeper holds of a stream deleted since, or read at a shard's start before it was trimmed, may
//! land in the moment between such a look and its put; it is then told in the next hour: each entry of a ledger
//! is told in exactly one.)
//!
//! Time is the services' own: an hour is over when a listing was made 60 s after its end by their `Date`.
//! Nothing here holds up a shard: it is a thread of its own, that reads the bucket and what shards promise.
//!
//! ```text
//! Locating ──▶ Waiting ──due──▶ Putting ──stored or taken──▶ Recording ──▶ Waiting
//!                  └───────── another has put it ─────────────────▲
//! ```
//!
//! `hours.json` in the state directory is a hint: the newest manifest that was announced from this disk.
//! Without it the newest is searched in the bucket, and announced again.

mod books;
mod compose;
pub mod due;
mod hint;
mod ports;
mod telling;
mod thread;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use books::Books;
use compose::{Missing, Patience, Place, Seen, compose, look_at_objects};
use due::{NotDue, View, is_over};
use hint::Hint;

pub use ports::{CountError, HourPorts, HourSettings, TellWaiting};
pub(in crate::supervisor) use thread::HourThread;

use super::reminder::Reminder;
use crate::ledger::LedgerError;
use crate::ledger::hours::{Hours, StoredHour};
use crate::model::hour::{HoursStart, to_bytes};
use crate::model::ledger::FORMAT_VERSION;
use crate::model::rules::Rule;
use crate::model::timestamp::Hour;
use crate::ports::{Put, StoreError, StoreErrorKind};
use crate::retry::{Backoff, Pace};
use crate::shard::board::Listing;
use crate::shard::closing::GRACE;
use crate::shard::setup::{Next, Shared};
use crate::spool::Outbox;
use crate::spool::outbox::HOURS;
use crate::stop::Stop;

/// Looks at the clock, and at what holds an hour up.
const SOON: Duration = Duration::from_secs(15);
const SELDOM: Duration = Duration::from_secs(300);

/// An hour that is so late is worth a line in the log.
const LATE: Duration = Duration::from_secs(900);

/// So long the writer of an entry of an earlier stream may take to come back and put its object:
/// nobody else can, and the hours after it wait.
const GIVEN_UP: Duration = Duration::from_secs(6 * 3600);

/// Where the telling stands.
enum Stage {
    /// The newest manifest is not known yet.
    Locating,
    /// For the next hour to be due.
    Waiting,
    /// A manifest is being put; its bytes stay the same until it is stored or taken.
    Putting { key: String, bytes: Vec<u8> },
    /// A manifest is in the bucket: it is written down here, and announced.
    Recording(Box<StoredHour>),
}

/// Why a turn failed; it is tried again.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Disk(#[from] io::Error),
}

/// What a turn led to.
enum Turn {
    Again,
    Wait(Duration),
}

/// Tells the hours of one stream, step by step.
pub struct HourTeller {
    ports: HourPorts,
    settings: HourSettings,
    shared: Arc<Shared>,
    stop: Stop,
    random: fastrand::Rng,
    hours: Hours,
    outbox: Option<Outbox>,
    stage: Stage,
    previous: Option<Box<StoredHour>>,
    /// Where the chain begins, once that is decided.
    start: Option<HoursStart>,
    /// The next hour and its key, while there is none before it.
    first: Option<(Hour, String)>,
    books: Books,
    seen: Seen,
    backoff: Backoff,
    due: Duration,
    publish_backoff: Backoff,
    publish_due: Duration,
    /// Why notices do not go out, in plain words.
    publish_trouble: Option<String>,
    reminder: Reminder,
    publish_reminder: Reminder,
}

impl HourTeller {
    /// Nothing is asked yet.
    pub fn new(
        ports: HourPorts,
        settings: HourSettings,
        shared: Arc<Shared>,
        stop: Stop,
        random: fastrand::Rng,
    ) -> Self {
        let (keys, store) = (settings.keys.clone(), Arc::clone(&ports.store));
        Self {
            hours: Hours::new(Arc::clone(&store), keys.clone(), settings.layout),
            books: Books::new(store, keys, settings.stream.clone(), Default::default()),
            outbox: None,
            stage: Stage::Locating,
            previous: None,
            start: None,
            first: None,
            seen: Seen::new(),
            backoff: Backoff::new(Pace::REMOTE),
            due: Duration::ZERO,
            publish_backoff: Backoff::new(Pace::REMOTE),
            publish_due: Duration::ZERO,
            publish_trouble: None,
            reminder: Reminder::default(),
            publish_reminder: Reminder::default(),
            ports,
            settings,
            shared,
            stop,
            random,
        }
    }

    fn now(&self) -> Duration {
        self.ports.clock.monotonic()
    }

    /// One step: a turn of the telling, or a notice sent. It never ends by itself.
    pub fn step(&mut self) -> Next {
        let next = self.take_step();
        self.tell_waiting();
        next
    }

    fn take_step(&mut self) -> Next {
        let mut soonest = self.now() + SELDOM;
        if self.now() >= self.due {
            match self.turn() {
                Ok(Turn::Again) => {
                    self.backoff.reset();
                    return Next::Again;
                }
                Ok(Turn::Wait(wait)) => {
                    self.backoff.reset();
                    self.due = self.now() + wait;
                }
                Err(trouble) => self.failed(&trouble),
            }
        }
        soonest = soonest.min(self.due);
        match self.announce() {
            Some(due) if due <= self.now() => return Next::Again,
            Some(due) => soonest = soonest.min(due),
            None => {}
        }
        Next::Wait(soonest.saturating_sub(self.now()))
    }

    fn turn(&mut self) -> Result<Turn, Trouble> {
        if self.shared.begin.get().is_none() {
            return Ok(Turn::Wait(SOON));
        }
        if self.outbox.is_none() {
            self.outbox = Some(Outbox::open(Arc::clone(&self.ports.disk), HOURS)?);
        }
        match std::mem::replace(&mut self.stage, Stage::Waiting) {
            Stage::Locating => {
                self.stage = Stage::Locating;
                self.locate()
            }
            Stage::Waiting => self.wait_and_compose(),
            Stage::Putting { key, bytes } => {
                self.stage = Stage::Putting { key: key.clone(), bytes: bytes.clone() };
                self.put(&key, &bytes)
            }
            Stage::Recording(stored) => {
                self.stage = Stage::Recording(stored.clone());
                self.record(*stored)
            }
        }
    }

    /// Finds the newest manifest: by the hint, or in the bucket.
    fn locate(&mut self) -> Result<Turn, Trouble> {
        let Some(listing) = self.shared.board.listing() else { return Ok(Turn::Wait(SOON)) };
        let hint = Hint::read(&*self.ports.disk)?;
        if let Some(hint) = hint
            && let Some(stored) = self.hours.fetch(&hint.key, &self.stop)?
            && (stored.sha256 == hint.sha256 || hint.sha256.is_empty())
        {
            if hint.sha256.is_empty() {
                self.stage = Stage::Recording(Box::new(stored));
                return Ok(Turn::Again);
            }
            self.books.finished = hint.finished;
            self.go_on_from(stored);
            return Ok(Turn::Again);
        }
        self.start = self.hours.start(&self.stop)?;
        let Some(start) = self.start.clone() else {
            self.stage = Stage::Waiting;
            return Ok(Turn::Again);
        };
        if let Some(key) = self.hours.newest(start.hour, listing.at.hour(), &self.stop)?
            && let Some(stored) = self.hours.fetch(&key, &self.stop)?
        {
            self.stage = Stage::Recording(Box::new(stored));
            return Ok(Turn::Again);
        }
        // None was put yet; or all have expired, and are told again: ledgers never expire.
        self.first = Some((start.hour, start.key));
        self.stage = Stage::Waiting;
        Ok(Turn::Again)
    }

    fn go_on_from(&mut self, stored: StoredHour) {
        self.books.told(&stored.manifest);
        self.first = None;
        self.previous = Some(Box::new(stored));
        self.stage = Stage::Waiting;
    }

    /// The next hour to be told and the key of its manifest; `None` while there is no entry at all.
    fn next_hour(&mut self) -> Result<Option<(Hour, String)>, Trouble> {
        if let Some(previous) = &self.previous {
            let manifest = &previous.manifest;
            return Ok(Some((manifest.hour.next(), manifest.next_key.clone())));
        }
        if let Some((hour, key)) = self.first.clone().filter(|_| self.start.is_some()) {
            return Ok(Some((hour, key)));
        }
        // Decided by the first entry of all: final only once every shard is past it.
        self.books.read(None, true, &self.stop)?;
        Ok(self.books.first_hour().map(|hour| (hour, self.hours.key(hour))))
    }

    fn wait_and_compose(&mut self) -> Result<Turn, Trouble> {
        let Some(listing) = self.shared.board.listing() else { return Ok(Turn::Wait(SOON)) };
        let Some((hour, key)) = self.next_hour()? else { return Ok(Turn::Wait(4 * SOON)) };
        if !is_over(hour, &listing) {
            let left = (hour.end() + GRACE).since(listing.at);
            return Ok(Turn::Wait(left.clamp(SOON, SELDOM)));
        }
        if let Some(stored) = self.hours.fetch(&key, &self.stop)? {
            self.stage = Stage::Recording(Box::new(stored));
            return Ok(Turn::Again);
        }
        if let Some(why) = self.not_due(hour, &listing)? {
            self.remind(hour, &listing, &why);
            return Ok(Turn::Wait(SOON));
        }
        if !self.has_begun(hour, &key)? {
            return Ok(Turn::Again);
        }
        if self.previous.is_none() {
            // A crash between the put and the notice is found by this: nothing was announced yet.
            Hint::new(&key, "", &self.books.finished).write(&*self.ports.disk)?;
        }
        let next_key = self.hours.key(hour.next());
        let place = Place {
            stream: &self.settings.stream,
            bucket: &self.settings.bucket,
            hour,
            key: &key,
            next_key,
            previous: self.previous.as_deref(),
        };
        let bytes = to_bytes(&compose(&self.books, &self.seen, place));
        self.stage = Stage::Putting { key, bytes };
        Ok(Turn::Again)
    }

    /// What the hour waits for, in words; `None`: it can be told.
    fn not_due(&mut self, hour: Hour, listing: &Listing) -> Result<Option<String>, Trouble> {
        // What is promised is asked before the ledgers: a promise about an entry that is not read yet
        // is worth nothing, and one about an earlier entry all.
        let promises = self.shared.board.promises();
        self.books.read(Some(hour), self.previous.is_none(), &self.stop)?;
        let ledgers = self.books.standings();
        let draining = self.shared.board.draining();
        let view = View { listing, promises: &promises, draining, ledgers: &ledgers };
        match view.judge(hour) {
            Ok(()) => {}
            Err(NotDue::Shard(_) | NotDue::Draining(_) | NotDue::NoLedger(_))
                if !self.settings.rules.hold(Rule::HourWaitsForEveryShard) => {}
            Err(why) => return Ok(Some(why.to_string())),
        }
        let store = &*self.ports.store;
        let patience = Patience {
            expiry: self.shared.expiry.get(),
            now: listing.at,
            stream_created: self.settings.stream.created,
            given_up_before: listing.at - GIVEN_UP,
        };
        let missing = look_at_objects(store, &self.books, hour, &patience, &mut self.seen, &self.stop)?;
        Ok(missing.map(|Missing(key)| format!("the object {key} is not there yet")))
    }

    /// Decides where the chain begins, before its first manifest; `false`: elsewhere.
    fn has_begun(&mut self, hour: Hour, key: &str) -> Result<bool, Trouble> {
        if self.start.is_some() || self.previous.is_some() {
            return Ok(true);
        }
        let start = HoursStart {
            version: FORMAT_VERSION,
            stream: self.settings.stream.name.clone(),
            stream_arn: self.settings.stream.arn.clone(),
            hour,
            key: key.to_owned(),
        };
        self.hours.put_start(&start, &self.stop)?;
        // Whether ours or another's was stored: what lies there decides.
        let found = self.hours.start(&self.stop)?;
        self.first = found.as_ref().map(|found| (found.hour, found.key.clone()));
        self.start = found;
        Ok(self.start.as_ref() == Some(&start))
    }

    fn put(&mut self, key: &str, bytes: &[u8]) -> Result<Turn, Trouble> {
        let stored = match self.hours.put(key, bytes, &self.stop)? {
            Put::Stored(_) => StoredHour::parse(bytes)
                .map_err(|reason| LedgerError::Broken { key: key.to_owned(), reason })?,
            // By our own earlier try, or by another keeper: what lies there counts.
            Put::Taken => self.hours.fetch(key, &self.stop)?.ok_or_else(|| StoreError {
                call: "looking",
                key: key.to_owned(),
                kind: StoreErrorKind::Busy,
                message: "the manifest is taken and cannot be read".to_owned(),
            })?,
        };
        self.stage = Stage::Recording(Box::new(stored));
        Ok(Turn::Again)
    }
}
