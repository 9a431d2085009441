//! The usual beginning and end of a test on a scripted stream.

use std::time::Instant;

use crate::support::archive::{self, Archive};
use crate::support::keeper::{LIMIT, Setting};
use crate::support::proxy::Proxy;
use crate::support::scripted::Scripted;
use crate::support::watch::Watch;
use crate::support::{aws, http, wait_for};

/// A scripted stream with a proxy for faults in front, a bucket, and what must be archived.
pub struct Stage {
    pub kinesis: Scripted,
    pub faults: Proxy,
    pub bucket: String,
    pub expected: Vec<Vec<u8>>,
}

impl Stage {
    pub fn new(word: &str, shards: usize) -> Self {
        let kinesis = Scripted::new(word, shards);
        let faults = Proxy::new(kinesis.endpoint());
        Self { faults, bucket: aws::bucket(word), kinesis, expected: Vec::new() }
    }

    /// Small records that must be archived.
    pub fn put(&mut self, shard: usize, records: usize) {
        let put = self.kinesis.put_many(shard, records);
        self.expected.extend(put);
    }

    pub fn setting(&self) -> Setting {
        let mut setting = Setting::new(&self.kinesis.stream, &self.bucket).max_age("1s");
        self.faults.endpoint().clone_into(&mut setting.kinesis);
        setting
    }

    pub fn watch(&self) -> Watch {
        Watch::new(&self.bucket, "", &self.kinesis.stream)
    }

    #[track_caller]
    pub fn wait_all_archived(&self) {
        self.watch().wait_archived(self.expected.len() as u64, LIMIT);
    }

    #[track_caller]
    pub fn read(&self) -> Archive {
        archive::read(&self.bucket, &self.kinesis.stream)
    }

    /// Exactly what was expected is in the archive, without a gap.
    #[track_caller]
    pub fn check(&self) -> Archive {
        let archive = self.read();
        archive.assert_exactly(self.expected.iter().map(Vec::as_slice));
        archive
    }

    /// Exactly what was expected is in the archive, gaps or not.
    #[track_caller]
    pub fn check_beside_gaps(&self) -> Archive {
        let archive = self.read();
        let mut found: Vec<&[u8]> = archive.records.iter().map(|record| record.data.as_slice()).collect();
        let mut expected: Vec<&[u8]> = self.expected.iter().map(Vec::as_slice).collect();
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found.len(), expected.len(), "records in the archive");
        assert!(found == expected, "other records are in the archive than should be");
        archive
    }
}

/// Waits until `/healthz` answers with this status and a text that contains `part`.
#[track_caller]
pub fn wait_health(address: &str, status: u16, part: &str) {
    wait_answer(address, &format!("{status} with {part}"), |answer| {
        answer.status() == status && answer.text().contains(part)
    });
}

/// Waits until `/healthz` tells of `part`, whether that is bad yet or not.
#[track_caller]
pub fn wait_told(address: &str, part: &str) {
    wait_answer(address, part, |answer| answer.text().contains(part));
}

#[track_caller]
fn wait_answer(address: &str, what: &str, fits: impl Fn(&http::Message) -> bool) {
    let last = std::cell::RefCell::new(String::new());
    let end = Instant::now() + LIMIT;
    wait_for(&format!("/healthz to answer {what}"), 2 * LIMIT, || {
        if let Some(answer) = http::get(address, "/healthz") {
            if fits(&answer) {
                return Some(());
            }
            last.replace(format!("{} {}", answer.status(), answer.text()));
        }
        assert!(Instant::now() < end, "/healthz should answer {what}, and says {}", last.borrow());
        None
    });
}
