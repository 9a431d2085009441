//! `replay CONFIG --to-stream NAME`: archived records back into a stream.
//!
//! Owns the command line, the order of things and the exit code. What is read, and in which order, is
//! `archive::read`'s; how records are batched, paced and tried again is the [`crate::producer`]'s.

mod book;
mod dry;
mod feed;
mod form;
mod progress;
mod state;
mod summary;
mod target;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::runtime::Handle;

use self::book::Book;
use self::dry::Count;
use self::feed::{Feed, State};
use self::progress::Progress;
use self::state::{Head, LedgerHead, StateFile, Task};
use self::summary::Summary;
use self::target::Target;
use super::opened::Opened;
use super::pace::Pace;
use super::put::letters::DeadLetters;
use super::put::screen::Screen;
use super::range::{Range, When};
use super::run::runtime;
use crate::archive::Selection;
use crate::archive::read::{Query, ReadFailure, Wanted};
use crate::config::{Log, LogLevel};
use crate::error::Failure;
use crate::logging;
use crate::ports::Clock;
use crate::producer::{Options, Producer, Watch};
use crate::supervisor::SystemClock;

/// What `--help` shows below the options.
pub const HELP: &str = "Examples:
  kinesis-keeper replay clickstream.toml --to-stream restored --from 2026-11-22T05:00:00Z --to 2026-11-22T06:00:00Z
  kinesis-keeper replay clickstream.toml --to-stream restored --from 2h --rate 5000 --dry-run

Records go back with their partition keys (and explicit hash keys, where the archive knows them). Those of one
key keep their order: one of a key is under way at a time, and a shard's come before its children's. A record
without a partition key goes by its sequence number.

The state file remembers what the stream has confirmed: after a stop, a kill or a failure the same command goes
on, and sends no confirmed record again. What had no answer yet, at most --in-flight requests, may be there
twice. What is archived when a replay first begins is what it replays; an age (2h) is counted from then, too.";

/// What can be asked of `replay`.
#[derive(Clone, Debug, Args)]
pub struct ReplayArgs {
    /// The configuration file of the stream whose archive is read
    config: PathBuf,
    /// The stream that gets the records, by its name or ARN
    #[arg(long, value_name = "NAME")]
    to_stream: String,
    #[command(flatten)]
    range: Range,
    /// The most records a second
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// Read everything, put nothing, and tell how much it is and how long it would take
    #[arg(long)]
    dry_run: bool,
    /// Also into the stream that the archive is of, or into one that drops partition keys (record distribution AUTO)
    #[arg(long)]
    force: bool,
    /// Also KPL aggregates of which a part lies outside its shard: their producer sent them again elsewhere
    #[arg(long)]
    all: bool,
    /// Where to remember what is done, in place of a file in the folder `replay` of the state directory
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Append records that can't be put to this file, which `put --envelope` takes
    #[arg(long, value_name = "FILE")]
    dead_letter: Option<PathBuf>,
    /// Read a copy of the archive in this folder, in place of the bucket; keys are paths below it
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
    /// Requests under way at once
    #[arg(long, value_name = "REQUESTS", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    in_flight: u16,
    /// How long a record is tried before it is given up
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = humantime::parse_duration)]
    give_up_after: Duration,
    /// The region of the stream that gets the records; otherwise the configuration's
    #[arg(long, value_name = "REGION")]
    to_region: Option<String>,
    /// Its Kinesis, if that is not AWS's
    #[arg(long, value_name = "URL")]
    to_endpoint_url: Option<String>,
    /// A profile of the shared AWS configuration to put with
    #[arg(long, value_name = "PROFILE")]
    to_profile: Option<String>,
    /// A role to take on to put with
    #[arg(long, value_name = "ARN")]
    to_role_arn: Option<String>,
    /// The summary as JSON on standard output
    #[arg(long)]
    json: bool,
}

impl ReplayArgs {
    fn task(&self, archive: String, source: String, target: &Target) -> Task {
        let text = |when: Option<When>| {
            when.map(|when| match when {
                When::At(time) => time.to_string(),
                When::Ago(age) => humantime::format_duration(age).to_string(),
            })
        };
        Task {
            archive,
            source,
            target: target.identity.arn.clone(),
            target_created: target.identity.created,
            from: text(self.range.from),
            to: text(self.range.to),
            shard: self.range.shard.clone(),
            all: self.all,
        }
    }

    /// Whether the range moves with the clock: the same command is another replay once the first is finished.
    const fn is_relative(&self) -> bool {
        matches!(self.range.from, Some(When::Ago(_))) || matches!(self.range.to, Some(When::Ago(_)))
    }

    fn query(&self, head: &Head, progress: &Progress, opened: &Opened, selection: Selection) -> Query {
        let left = head.ledgers.iter().enumerate();
        let left = left.map(|(number, ledger)| {
            ((ledger.created, ledger.shard.clone()), progress.left(number, ledger.newest))
        });
        Query {
            selection: Selection { from: head.from, to: head.to, ..selection },
            // What was archived as payloads alone has no keys to be put with.
            wanted: Wanted { partition_key: None, all: self.all, keyed: true },
            merged: true,
            at_once: 1,
            only: Some(left.collect()),
            on_its_way: opened.on_its_way(),
        }
    }

    fn options(&self, seed: u64) -> Options {
        Options {
            in_flight: usize::from(self.in_flight),
            ordered: true,
            patience: self.give_up_after,
            seed,
            ..Options::default()
        }
    }
}

/// Puts the range into the stream, or goes on with it.
pub fn run(args: &ReplayArgs) -> Result<(), Failure> {
    let opened = Opened::new(&args.config, args.dir.as_deref())?;
    logging::start(&Log { level: LogLevel::Error, ..Log::default() })?;
    let runtime = runtime()?;
    let outcome = run_with(args, &opened, runtime.handle());
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}

fn run_with(args: &ReplayArgs, opened: &Opened, runtime: &Handle) -> Result<(), Failure> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let selection = args.range.selection(opened.now())?;
    let unread =
        |failure| Failure::failed(format!("the archive {} can't be read: {failure}", opened.place()));
    let (extents, source) = opened.archive.extents(&selection, &opened.stop).map_err(unread)?;
    let Some(source) = source else {
        return Err(opened.no_archive(args.range.shard.as_deref()));
    };
    let target = Target::find(args, &opened.config, runtime, &clock, &opened.stop)?;
    target.must_suit(&source, args.force)?;

    let task = args.task(opened.place(), source, &target);
    let path = match &args.state {
        Some(path) => path.clone(),
        None => opened.config.disk.state_dir.join("replay").join(task.file_name()?),
    };
    let head = Head {
        ledgers: extents
            .into_iter()
            .map(|extent| LedgerHead { shard: extent.shard, created: extent.created, newest: extent.newest })
            .collect(),
        ..Head::new(task, opened.now(), (selection.from, selection.to))
    };
    let replay = Replay { args, opened, runtime, clock, target, selection, path };
    if args.dry_run { replay.dry(head) } else { replay.go(head) }
}

/// A replay that is about to begin, or to go on.
struct Replay<'a> {
    args: &'a ReplayArgs,
    opened: &'a Opened,
    runtime: &'a Handle,
    clock: Arc<dyn Clock>,
    target: Target,
    selection: Selection,
    path: PathBuf,
}

impl Replay<'_> {
    /// What is told in any case.
    fn summary(&self, head: &Head, done_before: u64) -> Summary {
        Summary {
            version: 1,
            archive: self.opened.place(),
            stream: self.target.identity.name.clone(),
            from: head.from,
            to: head.to,
            done_before,
            state: self.path.display().to_string(),
            dead_letters: self.args.dead_letter.as_ref().map(|path| path.display().to_string()),
            ..Summary::default()
        }
    }

    /// Whether a state file that was found is to be gone on with.
    fn goes_on(&self, progress: &Progress) -> bool {
        progress.finished().is_none() || !self.args.is_relative()
    }

    fn dry(&self, fresh: Head) -> Result<(), Failure> {
        let found = state::find(&self.path, &fresh.task)?.filter(|found| self.goes_on(&found.progress));
        let (head, progress) = match found {
            Some(found) => (found.head, found.progress),
            None => {
                let nothing = Progress::new(fresh.ledgers.len());
                (fresh, nothing)
            }
        };
        let mut summary = Summary { dry_run: true, ..self.summary(&head, progress.records()) };
        summary.finished = progress.finished().is_some();
        let screen = Screen::new(None);
        let query = self.args.query(&head, &progress, self.opened, self.selection.clone());
        let mut count = Count::new(&screen, &head.ledgers, progress, self.target.most_record_bytes);
        if !summary.finished {
            let read = self.opened.archive.read(&query, &mut count, &self.opened.stop);
            screen.clear();
            read.map_err(|failure| {
                Failure::failed(format!("reading {} ended early: {failure}", self.opened.place()))
            })?;
        }
        summary.estimate(count.records, count.bytes, self.args.rate, self.target.open_shards);
        (summary.failed, summary.without_key) = (count.refused, count.without_key);
        (summary.missing, summary.on_their_way) = (count.remarks, count.on_their_way);
        summary.tell(self.args.json)
    }

    /// The state file, and what it says: found, or begun.
    fn state(&self, fresh: Head) -> Result<(StateFile, Head, Progress), Failure> {
        if let Some((file, found)) = StateFile::go_on(&self.path, &fresh.task)?
            && self.goes_on(&found.progress)
        {
            return Ok((file, found.head, found.progress));
        }
        let file = StateFile::begin(&self.path, fresh.clone())?;
        let nothing = Progress::new(fresh.ledgers.len());
        Ok((file, fresh, nothing))
    }

    fn go(&self, fresh: Head) -> Result<(), Failure> {
        let (file, head, progress) = self.state(fresh)?;
        let mut summary = self.summary(&head, progress.records());
        if let Some(finished) = progress.finished() {
            summary.finished = true;
            summary.tell(self.args.json)?;
            eprint(&format!(
                "nothing is left: this replay was finished at {finished}; to send it all again, delete {}",
                file.path().display()
            ));
            return Ok(());
        }
        let query = self.args.query(&head, &progress, self.opened, self.selection.clone());
        let book = Arc::new(Book::new(&head.ledgers, progress, file));
        let letters = DeadLetters::open(self.args.dead_letter.as_deref())?;
        let producer = self.producer(Arc::clone(&book))?;
        let screen = Screen::new(None);
        let now = self.clock.monotonic();
        let mut feed = Feed {
            producer: &producer,
            runtime: self.runtime,
            clock: self.clock.as_ref(),
            stop: &self.opened.stop,
            screen: &screen,
            book,
            ledgers: &head.ledgers,
            letters,
            pace: self.args.rate.map(|rate| Pace::new(rate, now)),
            state: State::new(now),
        };
        let read = self.opened.archive.read(&query, &mut feed, &self.opened.stop);
        // Whatever went wrong: what was taken is delivered, and what was confirmed is remembered.
        let finished = feed.finish();
        screen.clear();
        let whole = match (&read, &finished) {
            (Ok(()), Ok(())) => feed.book.finish(self.clock.now()),
            _ => Ok(false),
        };
        summary.count(&producer.totals(), feed.took());
        (summary.failed, summary.without_key) = (feed.letters.count(), feed.state.without_key);
        (summary.missing, summary.on_their_way) = (feed.state.remarks, feed.state.on_their_way);
        summary.finished = whole.as_ref().is_ok_and(|whole| *whole);
        summary.tell(self.args.json)?;
        if let Some(failure) = feed.state.failure.take() {
            return Err(failure);
        }
        finished?;
        whole?;
        self.verdict(&feed, read, &summary)
    }

    fn producer(&self, book: Arc<Book>) -> Result<Producer, Failure> {
        let options = self.args.options(fastrand::Rng::new().u64(..));
        let sink = Arc::new(self.target.sink.clone());
        let starting = Producer::start(sink, options, Arc::clone(&self.clock), book as Arc<dyn Watch>);
        let unreachable = |error| {
            Failure::failed(format!("nothing can be put into {}: {error}", self.target.identity.name))
        };
        self.runtime.block_on(starting).map_err(unreachable)
    }

    /// What the exit code tells.
    fn verdict(
        &self,
        feed: &Feed<'_>,
        read: Result<(), ReadFailure>,
        summary: &Summary,
    ) -> Result<(), Failure> {
        if let Some(why) = &feed.state.fatal {
            return Err(Failure::failed(format!("{why}; the same command goes on when that is mended")));
        }
        if self.opened.stop.reason().is_some() && !summary.finished {
            let done = feed.book.records();
            return Err(Failure::failed(format!(
                "interrupted: {done} records are put and remembered in {}; the same command goes on",
                summary.state
            )));
        }
        if let Err(failure) = read {
            return Err(Failure::failed(format!(
                "reading {} ended early: {failure}; the same command goes on",
                self.opened.place()
            )));
        }
        if summary.failed > 0 {
            let place = summary.dead_letters.as_deref().unwrap_or("named above");
            return Err(Failure::failed(format!("{} could not be put: {place}", summary.failed)));
        }
        if summary.on_their_way > 0 {
            return Err(Failure::failed(format!(
                "objects of {} newest entries were not there yet, told above; the same command sends them when they are",
                summary.on_their_way
            )));
        }
        Ok(())
    }
}

fn eprint(text: &str) {
    use std::io::Write;
    // With standard error gone there is nobody to tell.
    let _ = writeln!(std::io::stderr().lock(), "kinesis-keeper: {text}");
}
