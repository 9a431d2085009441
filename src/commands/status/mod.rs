//! `status CONFIG`: how the keeper of a stream stands, whether it runs or not.
//!
//! Owns what is asked (the state directory, and the running keeper), how often, and where the answer goes. Takes
//! no lock and writes nothing.

mod gather;
mod report;
mod table;

use std::io::{self, IsTerminal, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tokio::runtime::{Builder, Runtime};

use crate::config::{Config, HostPort};
use crate::error::Failure;
use crate::metrics::Status;
use crate::metrics::ask::{Place, ask};
use crate::metrics::local::socket_in;
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

/// What the keeper said.
enum Answer {
    /// How it stands, and where it said so.
    Status(Box<Status>, String),
    /// Why there is no status.
    None(String),
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
    let answer = asked(config, runtime);
    let state_dir = &config.disk.state_dir;
    let place = state_dir.display();
    // A folder that is not there looks like an empty one to a disk.
    let looked = std::fs::read_dir(state_dir)
        .map_err(|error| format!("the state directory {place} cannot be looked at: {error}"))
        .and_then(|_| Look::at(&LocalDisk::new(state_dir.clone())).map_err(|error| error.to_string()));
    let (look, unseen) = match (looked, &answer) {
        (Ok(look), _) => (look, None),
        // What it says of itself is more than half of it.
        (Err(why), Answer::Status(status, _)) if status.stream == config.stream.name => {
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

/// Asks the keeper on the socket in its state directory; if it does not answer there, at `metrics.http`.
fn asked(config: &Config, runtime: &Runtime) -> Answer {
    let socket = Place::Socket(socket_in(&config.disk.state_dir));
    let silent = match answer_at(&socket, runtime) {
        Ok(answer) => return answer,
        Err(why) => why,
    };
    let Some(http) = &config.metrics.http else { return Answer::None(silent) };
    let answer = address(http).and_then(|address| answer_at(&Place::Http(address), runtime));
    answer.unwrap_or_else(|why| Answer::None(format!("{silent}; {why}")))
}

fn answer_at(place: &Place, runtime: &Runtime) -> Result<Answer, String> {
    let status = runtime.block_on(ask(place)).map_err(|none| none.to_string())?;
    Ok(Answer::Status(Box::new(status), place.to_string()))
}

fn address(place: &HostPort) -> Result<SocketAddr, String> {
    let found = (place.host(), place.port()).to_socket_addrs();
    let mut found = found.map_err(|error| format!("{place}: {error}"))?;
    found.next().ok_or_else(|| format!("{place} is no address"))
}
