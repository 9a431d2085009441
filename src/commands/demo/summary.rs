//! The last words of a demo: what was proved, where it lies, what to do next.

use std::path::Path;

use bytesize::ByteSize;

use super::check::Report;
use super::place::Place;
use super::screen::{Screen, count};
use crate::error::Failure;
use crate::model::ledger::FORMAT_VERSION;

/// Problems that are printed; the rest is counted.
const SHOWN: usize = 8;

/// What the demo itself knows.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// Events put by this demo.
    pub put: u64,
    /// Demos in the folder, this one included.
    pub runs: usize,
    /// Of those, how many were interrupted.
    pub interrupted: usize,
}

/// Prints the summary; fails if anything is wrong.
pub fn conclude(screen: &Screen, place: &Place, facts: Facts, report: &Report) -> Result<(), Failure> {
    screen.line("");
    screen.line(format_args!("put       {} events by this demo", count(facts.put)));
    screen.line(format_args!("archived  {}", archived(report)));
    if facts.runs > 1 {
        screen.line(format_args!("          {}", earlier(facts, report)));
    }
    screen.line(format_args!(
        "checked   {} ledgers, {} entries, format {FORMAT_VERSION}: chains, SHA-256, gzip, lines, order, notices",
        count(report.ledgers),
        count(report.entries)
    ));
    for problem in report.problems.iter().take(SHOWN) {
        screen.line(format_args!("  WRONG   {problem}"));
    }
    if report.problems.len() > SHOWN {
        screen.line(format_args!("  WRONG   … and {} more", report.problems.len() - SHOWN));
    }
    if report.problems.is_empty() {
        screen.line("verdict   exactly once: 0 missing, 0 doubled, every byte as it was put");
        next_steps(screen, place, report);
        return Ok(());
    }
    Err(Failure::failed(format!(
        "the archive is not what was put: {} events missing, {} doubled, {} problems\n\
         all of it lies in {}, the keeper's log in {}",
        count(report.missing),
        count(report.doubled),
        report.problems.len(),
        place.shown(place.folder()),
        place.shown(&place.log())
    )))
}

fn archived(report: &Report) -> String {
    format!(
        "{} records in {} objects: {} of lines as {} of gzip ({}:1)",
        count(report.records),
        count(report.objects),
        ByteSize(report.content_size),
        ByteSize(report.size),
        ratio(report)
    )
}

fn ratio(report: &Report) -> String {
    let tenths = (report.content_size * 10).checked_div(report.size).unwrap_or_default();
    format!("{}.{}", tenths / 10, tenths % 10)
}

fn earlier(facts: Facts, report: &Report) -> String {
    let interrupted = match facts.interrupted {
        0 => String::new(),
        n => format!("; {n} of the demos were interrupted, what they had archived is kept"),
    };
    format!(
        "{} of them by this demo, of {} in this folder{interrupted}",
        count(report.latest_records),
        facts.runs
    )
}

fn next_steps(screen: &Screen, place: &Place, report: &Report) {
    screen.line("");
    if let Some(example) = &report.example {
        screen.line(format_args!(
            "look   zcat {} | head -2",
            quote(&place.shown(&place.bucket().join(example)))
        ));
    }
    screen.line(format_args!(
        "       {} has the local copies, the log is {}",
        shown(place, &place.state()),
        shown(place, &place.log())
    ));
    screen.line("next   your own stream; as my.toml, with AWS credentials and a region in the environment:");
    for line in own_config(place).lines() {
        screen.line(format_args!("         {line}"));
    }
    screen.line(format_args!("       {} run my.toml", quote(&program())));
}

/// The least file for a stream of one's own. Its state lies beside the demo's folder: the demo's own state is
/// another stream's.
fn own_config(place: &Place) -> String {
    let state = place.folder().with_file_name("my-stream-state");
    // A JSON string is a TOML string too.
    let state = serde_json::Value::from(state.to_string_lossy());
    format!(
        "[stream]\nname = \"my-stream\"\n[archive]\nbucket = \"my-bucket\"\n[disk]\nstate_dir = {state}\n"
    )
}

/// The program as it was called: a shell may not find it by its name alone.
fn program() -> String {
    let called = std::env::args_os().next().and_then(|called| called.into_string().ok());
    called.filter(|called| !called.is_empty()).unwrap_or_else(|| "kinesis-keeper".to_owned())
}

fn shown(place: &Place, path: &Path) -> String {
    quote(&place.shown(path))
}

/// As a shell takes it for one word, and a command for a path.
fn quote(path: &str) -> String {
    if path.starts_with('-') {
        return quote(&format!("./{path}"));
    }
    if path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-=+:,".contains(&byte)) {
        return path.to_owned();
    }
    format!("'{}'", path.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::model::timestamp::Timestamp;

    #[test]
    fn a_path_is_one_word_of_the_shell() {
        assert_eq!(quote("a/dt=2026-11-22/b.gz"), "a/dt=2026-11-22/b.gz");
        assert_eq!(quote("my 'demo'"), r"'my '\''demo'\'''");
        assert_eq!(quote("-demo/a.gz"), "./-demo/a.gz");
    }

    #[test]
    fn the_file_for_ones_own_stream_is_taken_wherever_the_demo_was() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["demo", "a \"b\" \\ ü", "."] {
            let place = Place::open(Some(&folder.path().join(name)), Timestamp::default()).unwrap();
            let config = Config::parse(&own_config(&place), Path::new("my.toml")).unwrap();
            assert_eq!(config.disk.state_dir.parent(), place.folder().parent());
            assert_ne!(config.disk.state_dir, place.state());
        }
        let root = Place::open(Some(Path::new("/")), Timestamp::default()).unwrap();
        Config::parse(&own_config(&root), Path::new("my.toml")).unwrap();
    }

    #[test]
    fn the_ratio_has_one_decimal_and_survives_nothing() {
        let report = Report { content_size: 74, size: 10, ..Report::default() };
        assert_eq!(ratio(&report), "7.4");
        assert_eq!(ratio(&Report::default()), "0.0");
    }

    #[test]
    fn a_single_missing_event_is_a_failure() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::open(Some(folder.path()), Timestamp::default()).unwrap();
        let facts = Facts { put: 10, runs: 1, interrupted: 0 };
        let report =
            Report { missing: 1, problems: vec!["1 events are missing".into()], ..Report::default() };
        let failure = conclude(&Screen::new(10), &place, facts, &report).unwrap_err();
        assert_eq!(failure.exit_code(), 1);
        assert!(failure.message.contains("1 events missing, 0 doubled"), "{failure}");
        conclude(&Screen::new(10), &place, facts, &Report::default()).unwrap();
    }
}
