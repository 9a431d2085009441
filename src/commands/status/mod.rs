//! `status CONFIG`: how the keeper of a stream stands, whether it runs or not.
//!
//! Owns what is asked (the state directory, and the running keeper where it serves HTTP), how often, and where
//! the answer goes. Takes no lock and writes nothing.

mod gather;
mod report;
mod table;

use std::io::{self, IsTerminal, Write};
use std::net::ToSocketAddrs;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tokio::runtime::{Builder, Runtime};

use crate::config::{Config, HostPort};
use crate::error::Failure;
use crate::metrics::Status;
use crate::metrics::ask::{NoStatus, ask};
use crate::ports::Clock;
use crate::spool::{Holder, LocalDisk, Look, holder};
use crate::stop::Stop;
use crate::supervisor::SystemClock;
use crate::supervisor::signals::stop_at_signals;
use report::Report;

pub(super) use gather::is_of;

/// Clears a terminal and goes to its top left corner.
const CLEAR: &str = "\x1b[2J\x1b[H";

/// What can be asked of `status`.
#[derive(Clone, Debug, Args)]
pub struct StatusArgs {
    /// The configuration file of the stream
    pub config: PathBuf,
    /// Everything as JSON; with --watch a line each time
    #[arg(long)]
    pub json: bool,
    /// Look again, every two seconds or so often, until Ctrl-C
    #[arg(long, value_name = "INTERVAL", num_args = 0..=1, default_missing_value = "2s", value_parser = interval)]
    pub watch: Option<Duration>,
}

fn interval(text: &str) -> Result<Duration, String> {
    let said = "not an interval such as 2s; allowed: 100ms to 1h";
    let given = humantime::parse_duration(text).map_err(|_| said.to_owned())?;
    let allowed = Duration::from_millis(100)..=Duration::from_secs(3600);
    if allowed.contains(&given) { Ok(given) } else { Err(said.to_owned()) }
}

/// What the HTTP server of the keeper said.
enum Answer {
    /// `metrics.http` is not configured.
    NotServed,
    /// How it stands.
    Status(Box<Status>),
    /// Why there is no status.
    None(NoStatus),
    /// The address cannot be asked.
    Unusable(String),
}

/// Tells how the keeper stands, once or until it is stopped.
pub fn run(args: &StatusArgs) -> Result<(), Failure> {
    let config = Config::load(&args.config)?;
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("cannot start the I/O threads: {error}")))?;
    let Some(interval) = args.watch else {
        return written(print(&look(&config, &runtime)?, args, false)).map(|_| ());
    };
    let stop = Stop::new();
    let _watch = stop_at_signals(&stop)?;
    loop {
        let seen = stop.seen();
        if stop.reason().is_some() || !written(print(&look(&config, &runtime)?, args, true))? {
            return Ok(());
        }
        stop.wait(seen, interval);
    }
}

/// Whether anybody still reads what is written; a closed pipe is no failure.
fn written(result: io::Result<()>) -> Result<bool, Failure> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::failed(format!("the status could not be written: {error}"))),
    }
}

fn print(report: &Report, args: &StatusArgs, again: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if args.json {
        let text = if again { serde_json::to_string(report)? } else { serde_json::to_string_pretty(report)? };
        writeln!(out, "{text}")?;
        return out.flush();
    }
    let terminal = out.is_terminal();
    let width = terminal.then(|| rustix::termios::tcgetwinsize(&out).ok()).flatten();
    let width = width.map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0);
    let mut text = table::text(report, width);
    match (again, terminal) {
        // At once, so that nothing flickers.
        (true, true) => text.insert_str(0, CLEAR),
        (true, false) => text.push('\n'),
        (false, _) => {}
    }
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Asks all there is to ask.
fn look(config: &Config, runtime: &Runtime) -> Result<Report, Failure> {
    let answer = match &config.metrics.http {
        None => Answer::NotServed,
        Some(place) => asked(place, runtime),
    };
    let state_dir = &config.disk.state_dir;
    let place = state_dir.display();
    // A folder that is not there looks like an empty one to a disk.
    let looked = std::fs::read_dir(state_dir)
        .map_err(|error| format!("the state directory {place} cannot be looked at: {error}"))
        .and_then(|_| Look::at(&LocalDisk::new(state_dir.clone())).map_err(|error| error.to_string()));
    let (look, unseen) = match (looked, &answer) {
        (Ok(look), _) => (look, None),
        // What it says of itself is more than half of it.
        (Err(why), Answer::Status(status)) if status.stream == config.stream.name => {
            (Look::default(), Some(why))
        }
        (Err(why), _) => {
            return Err(Failure::failed(format!(
                "{why}\nno keeper has run with disk.state_dir = {place} on this machine, or this user may not look there"
            )));
        }
    };
    let holder = if unseen.is_some() { Holder::Unknown } else { holder(state_dir) };
    Ok(gather::report(config, look, unseen, holder, answer, SystemClock::new().now()))
}

fn asked(place: &HostPort, runtime: &Runtime) -> Answer {
    let address = match (place.host(), place.port()).to_socket_addrs().map(|mut all| all.next()) {
        Ok(Some(address)) => address,
        Ok(None) => return Answer::Unusable(format!("{place} is no address")),
        Err(error) => return Answer::Unusable(format!("{place}: {error}")),
    };
    match runtime.block_on(ask(address)) {
        Ok(status) => Answer::Status(Box::new(status)),
        Err(none) => Answer::None(none),
    }
}
