//! Writes entries to standard error or to syslog.
//!
//! Owns the connection to syslog: an entry that it does not take goes to standard error instead, and
//! is never waited for.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use syslog::{Facility, Formatter3164, LogFormat as _, Logger, LoggerBackend};
use tracing::Level;

use super::entry::Entry;
use crate::config::{Log, LogFormat, LogTarget};
use crate::error::Failure;
use crate::model::timestamp::Timestamp;

/// The socket of the local syslog daemon, or of systemd's journal.
pub(super) const SYSLOG: &str = "/dev/log";

/// How long an old daemon with a stream socket may keep a writer waiting. (Datagrams are never waited for.)
const LONGEST_WRITE: Duration = Duration::from_millis(100);

/// Where entries go; clones share one connection.
#[derive(Clone)]
pub(super) struct Sink {
    format: LogFormat,
    syslog: Option<Arc<Mutex<Syslog>>>,
}

struct Syslog {
    path: String,
    logger: Option<Logger<LoggerBackend, Formatter3164>>,
    /// It was said on standard error that syslog takes nothing.
    said: bool,
}

impl Sink {
    /// Connects to the syslog at `path` if `config` wants one.
    pub(super) fn new(config: &Log, path: &str) -> Result<Self, Failure> {
        let syslog = match config.target {
            LogTarget::Stderr => None,
            LogTarget::Syslog => {
                let logger = connect(path).map_err(|error| {
                    Failure::failed(format!(
                        "cannot reach syslog at {path}: {error}\n\
                         start a syslog daemon or journald, or set [log] target = \"stderr\""
                    ))
                })?;
                Some(Syslog { path: path.to_owned(), logger: Some(logger), said: false })
            }
        };
        Ok(Self { format: config.format, syslog: syslog.map(|syslog| Arc::new(Mutex::new(syslog))) })
    }

    /// Writes one entry; if nobody takes it, it is lost.
    pub(super) fn write(&self, entry: &Entry) {
        let now = now();
        let refused = match &self.syslog {
            None => None,
            Some(syslog) => {
                let line = match self.format {
                    LogFormat::Text => entry.text(),
                    LogFormat::Json => entry.json(now),
                };
                match syslog.lock().unwrap_or_else(PoisonError::into_inner).send(entry.level, &line) {
                    Ok(()) => return,
                    Err(notice) => notice,
                }
            }
        };
        let line = match self.format {
            LogFormat::Text => format!("{now} {:<5} {}", entry.level.as_str(), entry.text()),
            LogFormat::Json => entry.json(now),
        };
        let mut stderr = io::stderr().lock();
        // Nobody is left who could be told that standard error is gone.
        if let Some(notice) = refused {
            let _ = writeln!(stderr, "kinesis-keeper: {notice}");
        }
        let _ = writeln!(stderr, "{line}");
    }
}

impl Syslog {
    /// Sends one line, to a daemon that was started again if need be. The error is what is still to be
    /// said about it on standard error.
    fn send(&mut self, level: Level, line: &str) -> Result<(), Option<String>> {
        let tried = match &mut self.logger {
            Some(logger) => send(logger, level, line),
            None => Err("not connected".to_owned()),
        };
        let outcome = tried.or_else(|_| {
            let mut logger = connect(&self.path)?;
            send(&mut logger, level, line)?;
            self.logger = Some(logger);
            Ok(())
        });
        match outcome {
            Ok(()) => {
                self.said = false;
                Ok(())
            }
            Err(_) if self.said => Err(None),
            Err::<(), String>(error) => {
                self.said = true;
                let path = &self.path;
                Err(Some(format!(
                    "syslog at {path} takes no entries ({error}): they go to standard error until it does"
                )))
            }
        }
    }
}

fn connect(path: &str) -> Result<Logger<LoggerBackend, Formatter3164>, String> {
    let formatter = Formatter3164 {
        facility: Facility::LOG_DAEMON,
        hostname: None,
        process: "kinesis-keeper".to_owned(),
        pid: std::process::id(),
    };
    let logger = syslog::unix_custom(formatter, path).map_err(|error| cause(&error))?;
    let bounded = match &logger.backend {
        LoggerBackend::Unix(socket) => socket.set_nonblocking(true),
        LoggerBackend::UnixStream(socket) => socket.get_ref().set_write_timeout(Some(LONGEST_WRITE)),
        LoggerBackend::Udp(..) | LoggerBackend::Tcp(_) => Ok(()),
    };
    bounded.map_err(|error| error.to_string())?;
    Ok(logger)
}

fn send(logger: &mut Logger<LoggerBackend, Formatter3164>, level: Level, line: &str) -> Result<(), String> {
    let severity = match level {
        Level::ERROR => syslog::Severity::LOG_ERR,
        Level::WARN => syslog::Severity::LOG_WARNING,
        Level::INFO => syslog::Severity::LOG_INFO,
        Level::DEBUG | Level::TRACE => syslog::Severity::LOG_DEBUG,
    };
    logger.formatter.format(&mut logger.backend, severity, line).map_err(|error| cause(&error))
}

/// The innermost cause: what the system said. (The crate's errors wrap each other without being sources.)
fn cause(error: &syslog::Error) -> String {
    match error {
        syslog::Error::Initialization(inner) => inner.downcast_ref().map_or_else(|| inner.to_string(), cause),
        syslog::Error::Io(inner) | syslog::Error::Write(inner) => inner.to_string(),
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "an entry is stamped when it is written, wherever it comes from"
)]
fn now() -> Timestamp {
    Timestamp::from_seconds(0) + std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default()
}
