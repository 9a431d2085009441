//! `put STREAM [FILE…]`: lines of files or standard input into a stream.
//!
//! Owns the command line, the order of things and the exit code. How records are batched, paced and tried
//! again is the [`crate::producer`]'s.

mod beginning;
mod distribution;
pub(super) mod envelope;
mod feed;
mod input;
mod keys;
pub(super) mod letters;
mod resume;
pub(super) mod screen;
mod state;
mod summary;
mod tracker;

use std::io::{Write, stderr, stdout};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::runtime::Handle;

use self::feed::{Acknowledge, Feed, Form};
use self::input::{Source, read};
use self::keys::Keys;
use self::letters::DeadLetters;
use self::resume::ResumeFile;
use self::screen::Screen;
use self::state::State;
use self::summary::Summary;
use self::tracker::{Items, Tracker};
use super::pace::Pace;
use super::run::runtime;
use crate::aws::clients::{AwsSettings, Clients, ClientsError};
use crate::aws::kinesis::StreamName;
use crate::aws::put_records::KinesisSink;
use crate::config::{Log, LogLevel};
use crate::error::Failure;
use crate::logging;
use crate::ports::Clock;
use crate::producer::{Options, Producer};
use crate::stop::Stop;
use crate::supervisor::SystemClock;
use crate::supervisor::signals::stop_at_signals;

/// What `--help` shows below the options.
pub const HELP: &str = "Example:
  kinesis-keeper put clickstream --partition-key-field user.id events.ndjson

Each line is a record, byte for byte without its line feed. An empty line is no record: it is passed over
and counted (an empty payload is put with --envelope). Without a key option each record gets a random key.

With --envelope each line is a record as the archive has it: {\"partition_key\":\"k\",\"data\":\"text\"}, or
data_base64 in the place of data, and explicit_hash_key where there is one; other fields are passed over.
Dead letters have this form. A line without a partition_key gets one as the key options say.

SIGINT, SIGTERM and a closed terminal stop reading and deliver what was taken. A record whose request had
no answer is sent again and may be stored twice; the summary counts these.";

/// The longest wait for a stream that is being made.
const CREATION: Duration = Duration::from_secs(120);
/// Between two looks at it.
const LOOK: Duration = Duration::from_millis(250);

/// What can be typed after `put`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The stream, by its name or ARN
    stream: String,
    /// Files to read, one after the other (`.gz` and `.zst` ones are decompressed); standard input if there is none
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Records end with a NUL byte in place of a line feed
    #[arg(long, conflicts_with = "envelope")]
    null: bool,
    /// Each line is a record in the archive's form, with its own key
    #[arg(long)]
    envelope: bool,
    /// The partition key is a text field of the record, which is JSON; `user.id` is a field below a field
    #[arg(long, value_name = "FIELD", conflicts_with = "partition_key")]
    partition_key_field: Option<String>,
    /// The partition key of every record
    #[arg(long, value_name = "KEY")]
    partition_key: Option<String>,
    /// Keep the order of records with one partition key (one of a key is under way at a time)
    #[arg(long)]
    ordered: bool,
    /// Pack small records into KPL aggregates
    #[arg(long)]
    aggregate: bool,
    /// Append records that can't be put to this file, which `put --envelope` takes again
    #[arg(long, value_name = "FILE")]
    dead_letter: Option<PathBuf>,
    /// Remember in this file what of the input is done, and go on there; another input is refused
    #[arg(long, value_name = "FILE")]
    resume: Option<PathBuf>,
    /// Pass over the first lines of the input
    #[arg(long, value_name = "LINES", conflicts_with = "resume", default_value_t = 0)]
    skip: u64,
    /// The most records a second, over all shards; of a wait at most a second is made up for
    #[arg(long, value_name = "RECORDS", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// How long a record may wait for others to share its request
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = humantime::parse_duration)]
    buffer_time: Duration,
    /// Requests under way at once
    #[arg(long, value_name = "REQUESTS", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    in_flight: u16,
    /// How long a record is tried before it is given up
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = humantime::parse_duration)]
    give_up_after: Duration,
    /// Make the stream with so many shards if there is none
    #[arg(long, value_name = "SHARDS", value_parser = clap::value_parser!(u32).range(1..))]
    create: Option<u32>,
    /// The summary as JSON on standard output
    #[arg(long)]
    json: bool,
    /// The region; otherwise as the environment or the profile says
    #[arg(long)]
    region: Option<String>,
    /// Another Kinesis than AWS's
    #[arg(long, value_name = "URL")]
    endpoint_url: Option<String>,
    /// A profile of the shared AWS configuration
    #[arg(long)]
    profile: Option<String>,
}

impl Arguments {
    fn sources(&self) -> Vec<Source> {
        let source =
            |path: &PathBuf| if path.as_os_str() == "-" { Source::Stdin } else { Source::File(path.clone()) };
        if self.files.is_empty() { vec![Source::Stdin] } else { self.files.iter().map(source).collect() }
    }

    fn stream_name(&self) -> StreamName {
        if self.stream.starts_with("arn:") {
            StreamName::Arn(self.stream.clone())
        } else {
            StreamName::Name(self.stream.clone())
        }
    }

    fn keys(&self, random: fastrand::Rng) -> Keys {
        match (&self.partition_key_field, &self.partition_key) {
            (Some(path), _) => Keys::field(path),
            (None, Some(key)) => Keys::Constant(key.clone()),
            (None, None) => Keys::Random(random),
        }
    }

    fn clients(&self, runtime: &Handle) -> Result<Clients, Failure> {
        let settings = AwsSettings {
            region: self.region.clone(),
            endpoint_url: self.endpoint_url.clone(),
            profile: self.profile.clone(),
            ..AwsSettings::default()
        };
        Clients::load(runtime, &settings).map_err(|error| match error {
            ClientsError::NoRegion => Failure::failed(
                "no AWS region was found: give --region, set AWS_REGION, or set region in the profile",
            ),
            ClientsError::Deadline | ClientsError::Proxy(_) => Failure::failed(error.to_string()),
        })
    }

    fn options(&self, seed: u64) -> Options {
        Options {
            buffer_time: self.buffer_time,
            in_flight: usize::from(self.in_flight),
            ordered: self.ordered,
            aggregate: self.aggregate,
            patience: self.give_up_after,
            seed,
            ..Options::default()
        }
    }
}

/// Puts the input into the stream.
pub fn put(arguments: &Arguments) -> Result<(), Failure> {
    let stop = Stop::new();
    let _signals = stop_at_signals(&stop)?;
    logging::start(&Log { level: LogLevel::Error, ..Log::default() })?;
    let resume = match &arguments.resume {
        Some(path) => Some(ResumeFile::open(path, &arguments.stream)?),
        None => None,
    };
    if let (Some(path), true) =
        (&arguments.resume, resume.as_ref().is_some_and(ResumeFile::is_of_unknown_input))
    {
        let path = path.display();
        // With standard error gone there is nobody to be told.
        let _ = writeln!(
            stderr(),
            "kinesis-keeper: {path} does not say of which input it is: whether this is the same can't be checked"
        );
    }
    let letters = DeadLetters::open(arguments.dead_letter.as_deref())?;
    let runtime = runtime()?;
    let outcome = put_with(arguments, runtime.handle(), &stop, resume, letters);
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}

fn put_with(
    arguments: &Arguments,
    runtime: &Handle,
    stop: &Stop,
    resume: Option<ResumeFile>,
    letters: DeadLetters,
) -> Result<(), Failure> {
    let clock = Arc::new(SystemClock::new());
    let mut random = fastrand::Rng::new();
    let sink = KinesisSink::new(&arguments.clients(runtime)?, arguments.stream_name());
    if let Some(shards) = arguments.create {
        make(&sink, shards, runtime, stop, clock.as_ref())?;
    }
    let skipped = || Items::new(arguments.skip, &[]).unwrap_or_default();
    let before = resume.as_ref().map_or_else(skipped, ResumeFile::items);
    let tracker = Arc::new(Tracker::new(before.clone()));
    let watch = Arc::new(Acknowledge(Arc::clone(&tracker)));
    let options = arguments.options(random.u64(..));
    let starting = Producer::start(Arc::new(sink), options, Arc::clone(&clock) as Arc<dyn Clock>, watch);
    let producer = runtime
        .block_on(starting)
        .map_err(|error| Failure::failed(format!("nothing can be put into {}: {error}", arguments.stream)))?;
    distribution::check(arguments, &producer)?;
    let sources = arguments.sources();
    let screen = Screen::new(sources.iter().map(Source::len).sum());
    let end = if arguments.null { 0 } else { b'\n' };
    let begun = resume.as_ref().map(|resume| resume.sources().to_vec()).unwrap_or_default();
    let input = read(sources.clone(), end, begun.clone(), stop.clone())?;
    let mut feed = Feed {
        producer: &producer,
        runtime,
        clock: clock.as_ref(),
        stop,
        screen: &screen,
        sources: &sources,
        pipes: sources.iter().map(Source::is_pipe).collect(),
        tracker,
        form: Form { envelope: arguments.envelope, keys: arguments.keys(random) },
        letters,
        resume,
        pace: arguments.rate.map(|rate| Pace::new(rate, clock.monotonic())),
        ordered: arguments.ordered,
        before,
        begun,
        state: State::new(clock.monotonic()),
    };
    let read = feed.run(&input);
    input.close();
    // Whatever went wrong with the input: what was taken is delivered, and what isn't is kept.
    let finished = feed.finish();
    screen.clear();
    let summary = feed.summary(arguments, read.as_ref().is_ok_and(|whole| *whole));
    told(arguments, &summary)?;
    if read.as_ref().is_ok_and(|whole| *whole) {
        // Its last chunk was taken, so it has ended.
        let _ = input.thread.join();
    }
    finished?;
    read?;
    verdict(&feed, &summary)
}

impl Feed<'_> {
    fn summary(&self, arguments: &Arguments, finished: bool) -> Summary {
        let mut summary = Summary {
            version: 1,
            stream: arguments.stream.clone(),
            failed: self.letters.count(),
            dead_letters: arguments.dead_letter.as_ref().map(|path| path.display().to_string()),
            empty: self.state.empty,
            skipped: self.state.skipped,
            done: self.tracker.first_open(),
            done_behind: self.tracker.with(|items| items.done_behind()),
            resume: arguments.resume.as_ref().map(|path| path.display().to_string()),
            finished,
            next: (!finished).then(|| self.rest().0.to_string()),
            ..Summary::default()
        };
        summary.count(&self.producer.totals(), self.took());
        summary
    }
}

fn told(arguments: &Arguments, summary: &Summary) -> Result<(), Failure> {
    if arguments.json {
        let text = serde_json::to_string(summary)
            .map_err(|error| Failure::failed(format!("the summary can't be written: {error}")))?;
        // A closed standard output changes nothing about what was put.
        let _ = writeln!(stdout(), "{text}");
    } else {
        let _ = write!(stderr(), "{}", summary.text());
    }
    Ok(())
}

/// What the exit code tells.
fn verdict(feed: &Feed<'_>, summary: &Summary) -> Result<(), Failure> {
    let failed = summary.failed;
    distribution::tell_if_switched(summary.aggregates, feed.producer);
    if let Some(why) = &feed.state.fatal {
        return Err(Failure::failed(format!("{why}; nothing more was put")));
    }
    if failed > 0 {
        let place = summary.dead_letters.as_deref().unwrap_or("named above");
        return Err(Failure::failed(format!("{failed} could not be put: {place}")));
    }
    match &summary.next {
        Some(next) if feed.rest().1 => Err(Failure::failed(format!(
            "interrupted before {next}: what was taken is delivered; {}",
            summary.going_on()
        ))),
        _ => Ok(()),
    }
}

/// Makes the stream if there is none, and waits until it takes records.
fn make(
    sink: &KinesisSink,
    shards: u32,
    runtime: &Handle,
    stop: &Stop,
    clock: &dyn Clock,
) -> Result<(), Failure> {
    let failed = |error: crate::producer::PutError| Failure::failed(error.to_string());
    let mut made = false;
    let begun = clock.monotonic();
    while clock.monotonic().saturating_sub(begun) < CREATION && stop.reason().is_none() {
        match runtime.block_on(sink.is_active()).map_err(failed)? {
            Some(true) => return Ok(()),
            None if !made => {
                runtime.block_on(sink.create(shards)).map_err(failed)?;
                made = true;
            }
            Some(false) | None => stop.wait(stop.seen(), LOOK),
        }
    }
    Err(Failure::failed("the stream did not become active in time"))
}
