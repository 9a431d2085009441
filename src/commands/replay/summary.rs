//! What came of a replay, or would come of it: for people on standard error, for programs on standard output.

use std::fmt::Write as _;
use std::io::{Write as _, stderr, stdout};
use std::time::Duration;

use serde::Serialize;

use crate::commands::put::screen::bytes;
use crate::error::Failure;
use crate::model::timestamp::Timestamp;
use crate::producer::{ShardLimits, Totals};

/// Everything that is told at the end.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Summary {
    /// Of this shape.
    pub(super) version: u32,
    /// Where the archive is.
    pub(super) archive: String,
    /// The stream that gets the records.
    pub(super) stream: String,
    /// The range in times, as far as there is one.
    pub(super) from: Option<Timestamp>,
    pub(super) to: Option<Timestamp>,
    /// Nothing was put.
    pub(super) dry_run: bool,
    /// Records that the stream has now by this run; that it would get, in a dry run.
    pub(super) records: u64,
    /// Their bytes, keys included.
    pub(super) bytes: u64,
    /// How long it took; would take, in a dry run.
    pub(super) seconds: f64,
    /// PutRecords that were answered.
    pub(super) requests: u64,
    /// Times that a record was sent again.
    pub(super) retried: u64,
    /// Of these: because a shard took no more.
    pub(super) throttled: u64,
    /// Of these: because there was no answer; each may have doubled a record.
    pub(super) ambiguous: u64,
    /// Records that could not be put.
    pub(super) failed: u64,
    /// Where they are.
    pub(super) dead_letters: Option<String>,
    /// Records without a partition key: their sequence numbers took its place.
    pub(super) without_key: u64,
    /// Gaps of the archive, and objects that have expired.
    pub(super) missing: u64,
    /// Objects of newest entries that were not there yet.
    pub(super) on_their_way: u64,
    /// Records that earlier runs had put.
    pub(super) done_before: u64,
    /// Whether nothing of the range is left.
    pub(super) finished: bool,
    /// The state file.
    pub(super) state: String,
}

impl Summary {
    /// Takes the producer's numbers over.
    pub(super) fn count(&mut self, totals: &Totals, took: Duration) {
        self.records = totals.delivered;
        self.bytes = totals.bytes;
        self.seconds = rounded(took.as_secs_f64());
        self.requests = totals.requests;
        self.retried = totals.retried;
        self.throttled = totals.throttled;
        self.ambiguous = totals.ambiguous;
    }

    /// What a dry run counted, and how long it would take: by the rate that was asked for and, if the keys
    /// spread evenly, by what so many shards take.
    pub(super) fn estimate(&mut self, records: u64, bytes: u64, rate: Option<u32>, shards: usize) {
        (self.records, self.bytes) = (records, bytes);
        let shards = shards.max(1) as f64;
        let by_shards = (records as f64 / ShardLimits::KINESIS.records)
            .max(bytes as f64 / ShardLimits::KINESIS.bytes)
            / shards;
        let by_rate = rate.map_or(0.0, |rate| records as f64 / f64::from(rate));
        self.seconds = rounded(by_shards.max(by_rate));
    }

    /// Tells it; a closed standard output changes nothing about what was put.
    pub(super) fn tell(&self, json: bool) -> Result<(), Failure> {
        if json {
            let text = serde_json::to_string(self)
                .map_err(|error| Failure::failed(format!("the summary can't be written: {error}")))?;
            let _ = writeln!(stdout(), "{text}");
        } else if self.dry_run {
            let _ = write!(stdout(), "{}", self.text());
        } else {
            let _ = write!(stderr(), "{}", self.text());
        }
        Ok(())
    }

    fn text(&self) -> String {
        let Self { records, stream, archive, failed, .. } = self;
        let size = bytes(self.bytes);
        let mut text = if self.dry_run {
            let time = humantime::format_duration(Duration::from_secs(self.seconds.ceil() as u64));
            format!("would put {records} records ({size}) of {archive} into {stream}: at least {time}\n")
        } else {
            let rate = *records as f64 / self.seconds.max(0.001);
            let (seconds, requests) = (self.seconds, self.requests);
            format!(
                "put      {records} records ({size}) of {archive} into {stream} in {seconds:.1} s: {rate:.0}/s, {requests} requests\n"
            )
        };
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
        if *failed > 0 {
            let told = match (&self.dead_letters, self.dry_run) {
                (_, true) => "larger than the stream takes, or with a key that it refuses".to_owned(),
                (Some(file), false) => {
                    format!("not put; put them again with: put --envelope {stream} {file}")
                }
                (None, false) => "not put, named above; the same command tries them again".to_owned(),
            };
            let _ = writeln!(text, "failed   {failed} {told}");
        }
        if self.without_key > 0 {
            let _ = writeln!(
                text,
                "keyless  {} go by their sequence numbers as partition keys",
                self.without_key
            );
        }
        if self.missing > 0 {
            let _ = writeln!(text, "missing  {} gaps or expired objects, told above", self.missing);
        }
        if self.on_their_way > 0 {
            let _ = writeln!(
                text,
                "to come  {} objects of newest entries that were not there yet, told above",
                self.on_their_way
            );
        }
        if self.done_before > 0 {
            let _ = writeln!(text, "before   {} were put by earlier runs", self.done_before);
        }
        if !self.finished && !self.dry_run {
            let _ = writeln!(text, "stopped  the same command goes on; its state is {}", self.state);
        }
        text
    }
}

fn rounded(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dry_run_tells_the_time_by_the_rate_or_by_the_shards() {
        let mut summary = Summary { dry_run: true, ..Summary::default() };
        for (rate, shards, seconds) in
            [(None, 1, 20.0), (None, 4, 5.0), (Some(100), 4, 200.0), (Some(9_000), 4, 5.0)]
        {
            summary.estimate(20_000, 5 << 20, rate, shards);
            assert!(
                (summary.seconds - seconds).abs() < 1e-9,
                "{} at {rate:?} into {shards}",
                summary.seconds
            );
        }
        summary.estimate(1, 100 << 20, None, 2);
        assert!((summary.seconds - 50.0).abs() < 1e-9);
        assert!(summary.text().starts_with("would put 1 records (100.00 MiB)"), "{}", summary.text());
        assert!(summary.text().contains("at least 50s"));
    }

    #[test]
    fn all_is_told_and_nothing_that_did_not_happen() {
        let summary =
            Summary { stream: "t".into(), archive: "s3://b/s/".into(), finished: true, ..Summary::default() };
        let plain = summary.text();
        assert_eq!(plain, "put      0 records (0 B) of s3://b/s/ into t in 0.0 s: 0/s, 0 requests\n");
        let summary = Summary {
            retried: 5,
            ambiguous: 2,
            failed: 1,
            without_key: 3,
            missing: 1,
            on_their_way: 2,
            done_before: 9,
            finished: false,
            state: "t.ndjson".into(),
            ..summary
        };
        let text = summary.text();
        for part in [
            "5 sent again, 0 of them throttled, 2 of them without an answer: these may be stored twice\n",
            "failed   1 not put, named above; the same command tries them again\n",
            "keyless  3 go by",
            "missing  1 gaps",
            "to come  2 objects of newest entries",
            "before   9 were put by earlier runs\n",
            "stopped  the same command goes on; its state is t.ndjson\n",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
