use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use tracing::subscriber::with_default;
use tracing::{Level, debug, error, info, info_span, trace, warn};

use super::*;
use crate::config::{LogFormat, LogTarget};
use crate::error::ErrorKind;

const SYSLOG: Log = Log { target: LogTarget::Syslog, format: LogFormat::Text, level: LogLevel::Info };

/// A journal of its own for this thread; [`start_at`] finds it as it finds the process's.
fn alone(test: impl FnOnce()) {
    let sink = Sink::new(&Log::default(), "").unwrap();
    let journal = Journal { settings: RwLock::new(Settings { level: LevelFilter::ERROR, sink }) };
    with_default(tracing_subscriber::registry().with(journal), test);
}

struct Daemon(UnixDatagram);

impl Daemon {
    fn at(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self(socket)
    }

    /// Priority and text of the next entry.
    fn next(&self) -> (u8, String) {
        let mut buffer = [0; 4096];
        let len = self.0.recv(&mut buffer).unwrap();
        let entry = String::from_utf8(buffer[..len].to_vec()).unwrap();
        let (priority, rest) = entry.strip_prefix('<').unwrap().split_once('>').unwrap();
        let tag = format!("kinesis-keeper[{}]: ", std::process::id());
        let (_, text) = rest.split_once(&tag).unwrap_or_else(|| panic!("{entry}"));
        (priority.parse().unwrap(), text.to_owned())
    }
}

#[test]
fn syslog_gets_facility_severity_and_one_line_an_entry() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let daemon = Daemon::at(&path);
    alone(|| {
        start_at(&Log { level: LogLevel::Trace, ..SYSLOG }, path.to_str().unwrap()).unwrap();
        info!(key = "a/b.gz", records = 7_u64, why = "two words", "batch sealed");
        assert_eq!(daemon.next(), (30, "batch sealed key=a/b.gz records=7 why=\"two words\"".to_owned()));
        error!("first\nsecond\u{1b}[31m");
        assert_eq!(daemon.next(), (27, "first\\nsecond\\u{1b}[31m".to_owned()));
        warn!(said = "a\n\"b\"", "w");
        assert_eq!(daemon.next(), (28, "w said=\"a\\n\\\"b\\\"\"".to_owned()));
        debug!("d");
        assert_eq!(daemon.next(), (31, "d".to_owned()));
        trace!("t");
        assert_eq!(daemon.next(), (31, "t".to_owned()));
        let span = info_span!("shard", shard = "shardId-0", key = "outer").entered();
        info!(key = "inner", "in a span");
        assert_eq!(daemon.next(), (30, "in a span key=inner shard=shardId-0".to_owned()));
        drop(span);
    });
}

#[test]
fn a_second_start_changes_level_format_and_target() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let daemon = Daemon::at(&path);
    let start = |config: &Log| start_at(config, path.to_str().unwrap()).unwrap();
    alone(|| {
        let entries = || {
            info!(n = 1_u64, "info");
            error!(n = -2_i64, level = "x", "error");
        };
        start(&Log { level: LogLevel::Error, ..SYSLOG });
        entries();
        assert_eq!(daemon.next().1, "error n=-2 level=x");
        start(&Log { format: LogFormat::Json, ..SYSLOG });
        entries();
        let (info, error) = (daemon.next().1, daemon.next().1);
        let parsed = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!((&parsed(&info)["message"], &parsed(&info)["n"]), (&"info".into(), &1.into()));
        assert_eq!(parsed(&error)["level"], "ERROR");
        assert_eq!(parsed(&error)["level_"], "x");
        assert!(
            parsed(&error)["timestamp"]
                .as_str()
                .unwrap()
                .parse::<crate::model::timestamp::Timestamp>()
                .is_ok()
        );
        start(&Log::default());
        entries();
        start(&SYSLOG);
        info!("back");
        assert_eq!(daemon.next().1, "back");
    });
}

#[test]
fn other_peoples_modules_are_heard_from_warnings_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let daemon = Daemon::at(&path);
    alone(|| {
        start_at(&Log { level: LogLevel::Trace, ..SYSLOG }, path.to_str().unwrap()).unwrap();
        tracing::event!(target: "aws_config::profile", Level::INFO, secret = "s3cr3t", "found");
        tracing::event!(target: "hyper::proto", Level::TRACE, "bytes");
        tracing::event!(target: "aws_config::profile", Level::WARN, "no profile");
        assert_eq!(daemon.next(), (28, "aws_config::profile: no profile".to_owned()));
    });
}

#[test]
fn a_syslog_that_was_started_again_is_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let daemon = Daemon::at(&path);
    alone(|| {
        start_at(&SYSLOG, path.to_str().unwrap()).unwrap();
        info!("one");
        assert_eq!(daemon.next().1, "one");
        drop(daemon);
        std::fs::remove_file(&path).unwrap();
        info!("goes to standard error");
        let daemon = Daemon::at(&path);
        info!("three");
        assert_eq!(daemon.next().1, "three");
    });
}

#[test]
fn a_syslog_that_takes_nothing_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let daemon = Daemon::at(&path);
    alone(|| {
        start_at(&SYSLOG, path.to_str().unwrap()).unwrap();
        // Far more than any socket holds: a blocking write would hang here.
        for n in 0..600_u64 {
            info!(n, "entry");
        }
        assert_eq!(daemon.next().1, "entry n=0");
    });
}

#[test]
fn a_syslog_that_is_not_there_is_named_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let daemon = Daemon::at(&path);
    alone(|| {
        start_at(&SYSLOG, path.to_str().unwrap()).unwrap();
        let failure = start_at(&SYSLOG, "/no/such/socket").unwrap_err();
        assert_eq!(failure.kind, ErrorKind::Failed);
        let (what, what_to_do) = failure.message.split_once('\n').unwrap();
        assert!(what.starts_with("cannot reach syslog at /no/such/socket: No such file"), "{what}");
        assert_eq!(what_to_do, "start a syslog daemon or journald, or set [log] target = \"stderr\"");
        info!("still there");
        assert_eq!(daemon.next().1, "still there");
    });
}
