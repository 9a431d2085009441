//! One data object: its bytes against every hash that anybody wrote down, and its lines.

use std::io::Read;

use flate2::read::MultiGzDecoder;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::super::runs::{fingerprint, hex};
use super::Check;
use crate::model::ledger::{BatchBody, Entry};
use crate::model::sequence::SequenceNumber;
use crate::model::timestamp::Timestamp;
use crate::ports::{Head, StoreError};

/// A line as a stranger reads it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    sequence_number: SequenceNumber,
    approximate_arrival_timestamp: Timestamp,
    partition_key: String,
    data: String,
}

/// The number of a demo's event.
#[derive(Deserialize)]
struct Numbered {
    event: u64,
}

/// Lines that are not as they should be: how many, and the first of them.
#[derive(Default)]
struct Damaged {
    lines: u64,
    first: Option<String>,
}

impl Damaged {
    fn line(&mut self, number: u64, how: &str) {
        self.lines += 1;
        self.first.get_or_insert_with(|| format!("line {number} {how}"));
    }
}

impl Check<'_> {
    /// Reads the object that `batch` claims; gives the SHA-256 of its bytes.
    pub(super) fn object(&mut self, entry: &Entry, batch: &BatchBody) -> Result<String, StoreError> {
        let key = &batch.key;
        let (head, body) = (self.store.head(key, self.stop)?, self.store.open(key, self.stop)?);
        let (Some(head), Some(mut body)) = (head, body) else {
            self.problem(format!("{key}: claimed, but not there"));
            return Ok(String::new());
        };
        let mut bytes = Vec::new();
        if let Err(error) = body.read_to_end(&mut bytes) {
            self.problem(format!("{key}: cannot be read: {error}"));
            return Ok(String::new());
        }
        let sha256 = hex(&Sha256::digest(&bytes));
        let mut content = Vec::new();
        if let Err(error) = MultiGzDecoder::new(bytes.as_slice()).read_to_end(&mut content) {
            self.problem(format!("{key}: not gzip: {error}"));
        }
        self.report.objects += 1;
        self.report.size += bytes.len() as u64;
        self.report.content_size += content.len() as u64;
        if head.size != bytes.len() as u64 {
            self.problem(format!("{key}: {} bytes, where HEAD says {}", bytes.len(), head.size));
        }
        if batch.content_size != content.len() as u64
            || batch.content_sha256 != hex(&Sha256::digest(&content))
        {
            self.problem(format!("{key}: its lines are not those that the ledger tells of"));
        }
        self.metadata(entry, batch, &head, &sha256);
        self.lines(entry, batch, &content);
        if entry.stream_created.as_seconds() == self.expected.created.as_seconds() {
            self.report.latest_records += batch.records;
            self.report.example.get_or_insert_with(|| key.clone());
            self.notice(entry, batch, &sha256, bytes.len() as u64);
            self.copy(key, &bytes);
        }
        Ok(sha256)
    }

    /// The object's metadata says what the ledger and its own bytes say.
    fn metadata(&mut self, entry: &Entry, batch: &BatchBody, head: &Head, sha256: &str) {
        let wanted = [
            ("keeper-version", entry.version.to_string()),
            ("keeper-stream", entry.stream.clone()),
            ("keeper-stream-created", entry.stream_created.to_string()),
            ("keeper-shard", entry.shard.to_string()),
            ("keeper-serial", entry.serial.to_string()),
            ("keeper-first-sequence-number", batch.first_sequence_number.to_string()),
            ("keeper-last-sequence-number", batch.last_sequence_number.to_string()),
            ("keeper-records", batch.records.to_string()),
            ("keeper-content-size", batch.content_size.to_string()),
            ("keeper-content-sha256", batch.content_sha256.clone()),
            ("keeper-sha256", sha256.to_owned()),
            ("keeper-first-arrival", batch.first_arrival.to_string()),
            ("keeper-last-arrival", batch.last_arrival.to_string()),
        ];
        for (name, value) in wanted {
            match head.meta(name) {
                Some(found) if found == value => {}
                found => self.problem(format!(
                    "{}: metadata {name} is {}, not {value}",
                    batch.key,
                    found.unwrap_or("absent")
                )),
            }
        }
    }

    /// Whole lines, in order, as many as claimed, from the first to the last sequence number.
    fn lines(&mut self, entry: &Entry, batch: &BatchBody, content: &[u8]) {
        let key = &batch.key;
        let Some(content) = content.strip_suffix(b"\n") else {
            self.problem(format!("{key}: does not end with a whole line"));
            return;
        };
        let (mut records, mut first, mut last) = (0_u64, None, None::<SequenceNumber>);
        let mut damaged = Damaged::default();
        for text in content.split(|byte| *byte == b'\n') {
            records += 1;
            let line: Line = match serde_json::from_slice(text) {
                Ok(line) => line,
                Err(error) => {
                    damaged.line(records, &format!("is no record: {error}"));
                    continue;
                }
            };
            if last.as_ref().is_some_and(|last| *last >= line.sequence_number) {
                damaged.line(records, "is out of order");
            }
            if first.is_none() {
                first = Some((line.sequence_number.clone(), line.approximate_arrival_timestamp));
            }
            last = Some(line.sequence_number.clone());
            if let Err(error) = self.event(entry, &line) {
                damaged.line(records, &format!("holds no event: {error}"));
            }
        }
        if let Some(first) = damaged.first {
            self.problem(format!("{key}: {} damaged lines, {first}", damaged.lines));
        }
        let ends = first.map(|(number, arrival)| (Some(number), arrival, last));
        let claimed = (
            Some(batch.first_sequence_number.clone()),
            batch.first_arrival,
            Some(batch.last_sequence_number.clone()),
        );
        if records != batch.records || ends != Some(claimed) {
            self.problem(format!("{key}: {records} lines, not the {} of the ledger", batch.records));
        }
        self.report.records += records;
    }

    fn event(&mut self, entry: &Entry, line: &Line) -> serde_json::Result<()> {
        let Numbered { event } = serde_json::from_str(&line.data)?;
        let of_line =
            fingerprint(&entry.shard, &line.sequence_number, &line.partition_key, line.data.as_bytes());
        self.found.entry(event).or_default().push(of_line);
        Ok(())
    }

    /// The copy on this disk is the object. (Those of earlier demos may be too old to be kept.)
    fn copy(&mut self, key: &str, bytes: &[u8]) {
        match std::fs::read(self.expected.copies.join(key)) {
            Ok(copy) if copy == bytes => {}
            Ok(_) => self.problem(format!("{key}: the local copy differs")),
            Err(error) => self.problem(format!("{key}: no local copy: {error}")),
        }
    }

    /// What was announced is what is there.
    fn notice(&mut self, entry: &Entry, batch: &BatchBody, sha256: &str, size: u64) {
        let Some(notice) = self.expected.notices.get(&batch.key) else {
            self.problem(format!("{}: archived, but never announced", batch.key));
            return;
        };
        let same = notice.sha256 == sha256
            && notice.size == size
            && notice.content_sha256 == batch.content_sha256
            && notice.content_size == batch.content_size
            && notice.records == batch.records
            && notice.first_sequence_number == batch.first_sequence_number
            && notice.last_sequence_number == batch.last_sequence_number
            && notice.origin.serial == entry.serial
            && notice.origin.shard == entry.shard;
        if !same {
            self.problem(format!("{}: its notice tells of something else", batch.key));
        }
    }
}
