//! `demo [DIR]`: the whole keeper on an embedded AWS, then the proof that nothing is missing.
//!
//! Owns the order of things. The keeper is the real one; what is of the demo's own is what it
//! talks to (`embedded`), what fills the stream (`events`, `put`) and what checks it (`check`).

pub mod check;
pub mod embedded;
pub mod events;
pub mod notifier;
pub mod place;
pub mod put;
pub mod runs;
pub mod screen;
pub mod stream;
pub mod summary;
mod wiring;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use self::check::{Expected, Report};
use self::embedded::{BUCKET, Embedded};
use self::events::Clickstream;
use self::notifier::PrintingNotifier;
use self::place::Place;
use self::put::{Amount, Filler};
use self::runs::{Fingerprint, Runs, sha256_of};
use self::screen::{Screen, count};
use self::stream::{SHARDS, STREAM};
use self::summary::{Facts, conclude};
use self::wiring::{Given, Keeper};
use super::run::runtime;
use crate::config::Config;
use crate::error::Failure;
use crate::model::key::Keys;
use crate::model::timestamp::Timestamp;
use crate::ports::Clock;
use crate::stop::Stop;
use crate::supervisor::SystemClock;
use crate::supervisor::signals::stop_at_signals;

/// What is put: enough for a few objects of each shard, over before one loses patience.
const AMOUNT: Amount = Amount { events: 20_000, over: Duration::from_secs(15) };
/// After the last put, for everything to be archived and announced. It takes two seconds.
const PATIENCE: Duration = Duration::from_secs(60);
/// The keeper has read what was put last after that, and may seal it without waiting for its age.
const READ_BY_THEN: Duration = Duration::from_millis(1_500);
/// Between two looks at the counts.
const LOOK: Duration = Duration::from_millis(250);

/// Puts events into an embedded stream, archives them with the real keeper and checks every byte.
/// A second demo in the same folder adds to its archive.
pub fn demo(dir: Option<&Path>) -> Result<(), Failure> {
    let clock = Arc::new(SystemClock::new());
    let place = Place::open(dir, clock.now())?;
    let mut runs = Runs::load(place.folder())?;
    wiring::log_to_file(&place)?;
    let stop = Stop::new();
    let _signals = stop_at_signals(&stop)?;
    let embedded = Embedded::start(&place.s3()).map_err(|error| {
        Failure::failed(format!("cannot start the embedded AWS on {}: {error}", place.s3().display()))
    })?;
    let runtime = runtime()?;
    let screen = Arc::new(Screen::new(AMOUNT.events));
    let demo = Demo { clock, place: &place, stop: &stop, screen: &screen, runtime: runtime.handle() };
    let outcome = demo.run(&embedded, &mut runs);
    screen.clear();
    outcome
}

/// What every stage of a demo needs.
struct Demo<'a> {
    clock: Arc<SystemClock>,
    place: &'a Place,
    stop: &'a Stop,
    screen: &'a Arc<Screen>,
    runtime: &'a Handle,
}

impl Demo<'_> {
    fn run(&self, embedded: &Embedded, runs: &mut Runs) -> Result<(), Failure> {
        let kinesis = stream::client(&embedded.endpoint_url());
        let created = stream::create(&kinesis, self.runtime, self.stop)?;
        let config = self.place.config();
        let config = Config::parse(&self.place.write_config(&embedded.endpoint_url())?, &config)
            .map_err(|error| Failure::usage(error.to_string()))?;
        runs.begin(AMOUNT.events).stream_created = Some(created);
        runs.save(self.place.folder())?;
        self.introduce(embedded);

        let notifier = Arc::new(PrintingNotifier::new(Arc::clone(self.screen), self.stop.clone()));
        let mut random = fastrand::Rng::new();
        let given = Given {
            credentials: embedded::credentials(),
            runtime: self.runtime,
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            notifier: notifier.clone(),
            demo: self.stop.clone(),
            seed: random.u64(..),
        };
        let keeper = Keeper::start(&config, given)?;
        let put = self.put(embedded, runs, random);
        if let Ok(put) = &put {
            self.wait(&keeper, &notifier, created, put.len() as u64);
        }
        let store = keeper.store();
        // Whatever went wrong, the keeper is stopped in good order before anything is said.
        self.screen.waiting("stopping");
        keeper.stop()?;
        let put = put?;
        self.screen.clear();
        self.interrupted()?;

        let keys = Keys::new(&config.archive.prefix, STREAM);
        let expected = Expected {
            runs: &runs.runs,
            put: &put,
            created,
            notices: &notifier.announced(),
            copies: &self.place.copies(),
        };
        let report = check::check(store.as_ref(), &keys, &expected, &Stop::new())
            .map_err(|error| Failure::failed(format!("the archive cannot be checked: {error}")))?;
        self.conclude(runs, &put, &report)
    }

    fn introduce(&self, embedded: &Embedded) {
        let place = self.place;
        self.screen.line(format_args!(
            "embedded AWS at {}: stream {STREAM}, {SHARDS} shards; bucket {BUCKET}",
            embedded.endpoint_url()
        ));
        self.screen.line(format_args!("archive  {}", place.shown(&place.bucket())));
        self.screen.line(format_args!("state    {}", place.shown(&place.state())));
        self.screen.line(format_args!("config   {}", place.shown(&place.config())));
        self.screen.line(format_args!(
            "putting {} events in {} s; a notice for each object as it is archived:\n",
            count(AMOUNT.events),
            AMOUNT.over.as_secs()
        ));
    }

    /// Fills the stream, and notes down what was put.
    fn put(
        &self,
        embedded: &Embedded,
        runs: &mut Runs,
        mut random: fastrand::Rng,
    ) -> Result<BTreeMap<u64, Fingerprint>, Failure> {
        let Some(run) = runs.runs.last_mut() else { return Ok(BTreeMap::new()) };
        let pace = AMOUNT.over.div_f64(AMOUNT.events as f64);
        let filler = Filler {
            endpoint_url: embedded.endpoint_url(),
            runtime: self.runtime,
            stream: STREAM,
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            stop: self.stop,
            screen: self.screen,
            seed: random.u64(..),
        };
        let mut events = Clickstream::new(random, run.first_event, self.clock.now(), pace);
        let put = filler.put(&mut events, AMOUNT)?;
        if put.len() as u64 == AMOUNT.events {
            run.put_sha256 = Some(sha256_of(&put));
            runs.save(self.place.folder())?;
        }
        Ok(put)
    }

    /// Waits until as many records are announced as were put. Only counts end it: a stream can be
    /// caught up with and a batch still open.
    fn wait(&self, keeper: &Keeper, notifier: &PrintingNotifier, created: Timestamp, put: u64) {
        let begun = self.clock.monotonic();
        let mut sealed = false;
        loop {
            let seen = self.stop.seen();
            let announced = notifier.records(created);
            let waited = self.clock.monotonic().saturating_sub(begun);
            // Out of patience, the check names what is missing.
            if announced >= put || self.stop.reason().is_some() || waited > PATIENCE {
                return;
            }
            if waited > READ_BY_THEN && !sealed {
                keeper.seal_now();
                sealed = true;
            }
            self.screen.waiting(format_args!("{} announced", count(announced)));
            self.stop.wait(seen, LOOK);
        }
    }

    fn interrupted(&self) -> Result<(), Failure> {
        if self.stop.reason().is_none() {
            return Ok(());
        }
        Err(Failure::failed(format!(
            "interrupted: the keeper stopped in good order, what it had read is archived in {}",
            self.place.shown(&self.place.bucket())
        )))
    }

    fn conclude(
        &self,
        runs: &Runs,
        put: &BTreeMap<u64, Fingerprint>,
        report: &Report,
    ) -> Result<(), Failure> {
        let interrupted = runs.runs.iter().filter(|run| run.put_sha256.is_none()).count();
        let facts = Facts { put: put.len() as u64, runs: runs.runs.len(), interrupted };
        conclude(self.screen, self.place, facts, report)
    }
}
