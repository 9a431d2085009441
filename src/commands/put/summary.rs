//! What came of it: the summary for people on standard error, or for programs on standard output.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use super::screen::bytes;
use crate::producer::Totals;

/// Everything that is told at the end.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Summary {
    /// Of this shape.
    pub(super) version: u32,
    /// The stream.
    pub(super) stream: String,
    /// Records that the stream has now.
    pub(super) records: u64,
    /// Their bytes, keys included.
    pub(super) bytes: u64,
    /// From the first byte of input to the last answer.
    pub(super) seconds: f64,
    /// PutRecords that were answered.
    pub(super) requests: u64,
    /// Times that a record was sent again.
    pub(super) retried: u64,
    /// Of these: because a shard took no more.
    pub(super) throttled: u64,
    /// Of these: because there was no answer; each may have doubled a record.
    pub(super) ambiguous: u64,
    /// KPL aggregates.
    pub(super) aggregates: u64,
    /// Items that could not be put.
    pub(super) failed: u64,
    /// Where they are.
    pub(super) dead_letters: Option<String>,
    /// Empty items, which were passed over.
    pub(super) empty: u64,
    /// Items passed over at the beginning, because they were done before.
    pub(super) skipped: u64,
    /// `--skip` with this goes on where this run ended: all items before are done.
    pub(super) done: u64,
    /// Items behind these that are done, too: `--skip` puts them again, a resume file does not.
    pub(super) done_behind: u64,
    /// The file of `--resume`.
    pub(super) resume: Option<String>,
    /// Whether the input was read to its end.
    pub(super) finished: bool,
    /// Where the next item is, as file and line; nothing if it was finished.
    pub(super) next: Option<String>,
}

impl Summary {
    /// Takes the producer's numbers over.
    pub(super) fn count(&mut self, totals: &Totals, took: Duration) {
        self.records = totals.delivered;
        self.bytes = totals.bytes;
        self.seconds = (took.as_secs_f64() * 1000.0).round() / 1000.0;
        self.requests = totals.requests;
        self.retried = totals.retried;
        self.throttled = totals.throttled;
        self.ambiguous = totals.ambiguous;
        self.aggregates = totals.aggregates;
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let rate = self.records as f64 / self.seconds.max(0.001);
        let mut text = format!(
            "put      {} records ({}) into {} in {:.1} s: {rate:.0}/s, {} requests\n",
            self.records,
            bytes(self.bytes),
            self.stream,
            self.seconds,
            self.requests
        );
        // Writing to a String cannot fail.
        if self.retried > 0 {
            let _ =
                write!(text, "again    {} sent again, {} of them throttled", self.retried, self.throttled);
            if self.ambiguous > 0 {
                let _ =
                    write!(text, ", {} of them without an answer: these may be stored twice", self.ambiguous);
            }
            text.push('\n');
        }
        if self.failed > 0 {
            let place = self.dead_letters.as_deref();
            let place = place.map_or("named above".to_owned(), |file| {
                format!("put them again with: put --envelope {} {file}", self.stream)
            });
            let _ = writeln!(text, "failed   {} not put; {place}", self.failed);
        }
        if self.empty > 0 {
            let _ = writeln!(text, "empty    {} passed over", self.empty);
        }
        if self.skipped > 0 {
            let _ = writeln!(text, "skipped  {} that were done before", self.skipped);
        }
        if let Some(next) = &self.next {
            let _ = writeln!(text, "stopped  before {next}; {}", self.going_on());
        }
        text
    }

    /// How to go on with what was not put.
    pub(super) fn going_on(&self) -> String {
        let Self { done, done_behind, .. } = self;
        match &self.resume {
            Some(file) => format!("the same command goes on by itself: what is done is remembered in {file}"),
            None if *done_behind == 0 => format!("go on with --skip {done}"),
            None => format!("go on with --skip {done}, which puts {done_behind} again that are done"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_told_and_nothing_that_did_not_happen() {
        let mut summary = Summary { stream: "clicks".into(), finished: true, ..Summary::default() };
        let totals = Totals { delivered: 1000, bytes: 2048, requests: 2, ..Totals::default() };
        summary.count(&totals, Duration::from_millis(500));
        assert_eq!(
            summary.text(),
            "put      1000 records (2.00 KiB) into clicks in 0.5 s: 2000/s, 2 requests\n"
        );
        let summary = Summary {
            retried: 5,
            throttled: 3,
            ambiguous: 2,
            failed: 1,
            dead_letters: Some("dead.ndjson".into()),
            empty: 4,
            skipped: 6,
            done: 7,
            next: Some("in.txt:8".into()),
            ..summary
        };
        let text = summary.text();
        for part in [
            "5 sent again, 3 of them throttled, 2 of them without an answer: these may be stored twice\n",
            "1 not put; put them again with: put --envelope clicks dead.ndjson\n",
            "4 passed over\n",
            "skipped  6 that were done before\n",
            "stopped  before in.txt:8; go on with --skip 7\n",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        let summary = Summary { done_behind: 2, ..summary };
        assert_eq!(summary.going_on(), "go on with --skip 7, which puts 2 again that are done");
        let summary = Summary { resume: Some("put.resume".into()), ..summary };
        assert_eq!(
            summary.going_on(),
            "the same command goes on by itself: what is done is remembered in put.resume"
        );
    }
}
