//! The usual beginning and end of a test: a fresh stream and bucket, records that are known, and the check
//! that exactly these are in the archive.

use std::path::Path;
use std::time::Duration;

use super::archive::{self, Archive};
use super::aws;
use super::keeper::Setting;
use super::unhex;
use super::watch::Watch;

/// A stream, a bucket, and what was put.
pub struct Scene {
    /// The stream's name.
    pub stream: String,
    /// The bucket's name.
    pub bucket: String,
    /// Every payload put so far.
    pub put: Vec<Vec<u8>>,
    word: String,
}

impl Scene {
    /// A fresh stream of so many shards and a fresh bucket, `word` in their names.
    pub fn new(word: &str, shards: i32) -> Self {
        let (stream, bucket) = (aws::stream(word, shards), aws::bucket(word));
        Self { stream, bucket, put: Vec::new(), word: word.to_owned() }
    }

    /// Puts so many more records, each with a payload and a key of its own.
    pub fn put(&mut self, records: usize) {
        self.put_sized(records, 0);
    }

    /// Puts so many more records of at least so many bytes.
    pub fn put_sized(&mut self, records: usize, bytes: usize) {
        let first = self.put.len();
        let new: Vec<_> =
            (first..first + records).map(|n| (format!("key-{n}"), self.payload(n, bytes))).collect();
        aws::put(&self.stream, &new);
        self.put.extend(new.into_iter().map(|(_, data)| data));
    }

    /// Puts these payloads, each under a key of its own.
    pub fn put_all(&mut self, payloads: impl IntoIterator<Item = Vec<u8>>) {
        let first = self.put.len();
        let new: Vec<_> =
            payloads.into_iter().zip(first..).map(|(data, n)| (format!("key-{n}"), data)).collect();
        aws::put(&self.stream, &new);
        self.put.extend(new.into_iter().map(|(_, data)| data));
    }

    fn payload(&self, n: usize, bytes: usize) -> Vec<u8> {
        let mut payload = format!("{{\"of\":\"{}\",\"n\":{n}}}", self.word).into_bytes();
        // Pseudo-random letters: content that gzip cannot make vanish.
        let mut state = n as u32 | 1;
        while payload.len() < bytes {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            payload.push(b'a' + (state >> 24) as u8 % 26);
        }
        payload
    }

    /// A configuration for a keeper of this stream.
    pub fn setting(&self) -> Setting {
        Setting::new(&self.stream, &self.bucket)
    }

    /// Watches the archive grow.
    pub fn watch(&self) -> Watch {
        self.watch_under("")
    }

    /// Watches the archive under a prefix grow.
    pub fn watch_under(&self, prefix: &str) -> Watch {
        Watch::new(&self.bucket, prefix, &self.stream)
    }

    /// Waits until all that was put is archived.
    #[track_caller]
    pub fn wait_all_archived(&self, limit: Duration) {
        self.watch().wait_archived(self.put.len() as u64, limit);
    }

    /// Reads and checks the archive: exactly what was put is in it.
    #[track_caller]
    pub fn check(&self) -> Archive {
        let archive = archive::read(&self.bucket, &self.stream);
        archive.assert_exactly(self.put.iter().map(Vec::as_slice));
        archive
    }

    /// Reads the archive with Python's standard library alone: sequence number and payload of every record.
    #[track_caller]
    pub fn read_by_python(&self, archive: &Archive) -> Vec<(String, Vec<u8>)> {
        let folder = tempfile::tempdir().unwrap();
        let mut command = std::process::Command::new("python3");
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/python/read_archive.py"));
        for (n, object) in archive.objects.values().enumerate() {
            let file = folder.path().join(format!("{n}.ndjson.gz"));
            std::fs::write(&file, &object.body).unwrap();
            command.arg(file);
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines()
            .map(|line| line.split_once(' ').unwrap())
            .map(|(n, hex)| (n.to_owned(), unhex(hex)))
            .collect()
    }
}
