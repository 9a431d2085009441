//! Watches an archive grow from its ledgers and its listing, without reading its objects.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use serde_json::Value;

use super::{aws, wait_for};

/// Watches an archive grow without reading its objects.
pub struct Watch {
    bucket: String,
    root: String,
    entries: HashMap<String, Value>,
}

impl Watch {
    /// Of what lies under `{prefix}{stream}/`.
    pub fn new(bucket: &str, prefix: &str, stream: &str) -> Self {
        Self { bucket: bucket.to_owned(), root: format!("{prefix}{stream}/"), entries: HashMap::new() }
    }

    /// Records in objects that are there and named by an entry.
    pub fn archived(&mut self) -> u64 {
        let keys: BTreeSet<String> = aws::keys(&self.bucket, &self.root).into_iter().collect();
        self.read_entries(&keys);
        let batches = self.entries.values().filter(|entry| entry["type"] == "batch");
        let there = batches.filter(|batch| batch["key"].as_str().is_some_and(|key| keys.contains(key)));
        let records = |batch: &Value| {
            batch["records"].as_u64().unwrap_or(0) + batch["side"]["records"].as_u64().unwrap_or(0)
        };
        there.map(records).sum()
    }

    /// How many entries of a type there are.
    pub fn entries(&mut self, kind: &str) -> usize {
        let keys = aws::keys(&self.bucket, &format!("{}_ledger/", self.root)).into_iter().collect();
        self.read_entries(&keys);
        self.entries.values().filter(|entry| entry["type"] == kind).count()
    }

    fn read_entries(&mut self, keys: &BTreeSet<String>) {
        let ledger = format!("{}_ledger/shardId-", self.root);
        for key in keys.iter().filter(|key| key.starts_with(&ledger)) {
            if !self.entries.contains_key(key) {
                let object = aws::object(&self.bucket, key).unwrap_or_else(|| panic!("{key} is gone"));
                self.entries.insert(key.clone(), serde_json::from_slice(&object.body).unwrap());
            }
        }
    }

    /// Waits until so many records are archived.
    #[track_caller]
    pub fn wait_archived(&mut self, records: u64, limit: Duration) {
        let mut last = 0;
        wait_for(&format!("{records} records in the archive of {}", self.root), limit, || {
            last = self.archived();
            (last >= records).then_some(())
        });
    }

    /// Waits until there are so many entries of a type.
    #[track_caller]
    pub fn wait_entries(&mut self, kind: &str, count: usize, limit: Duration) {
        wait_for(&format!("{count} {kind} entries of {}", self.root), limit, || {
            (self.entries(kind) >= count).then_some(())
        });
    }
}
