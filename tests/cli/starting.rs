//! Starts that end at once, whatever becomes of AWS: nobody answers here.
#![allow(clippy::disallowed_methods, reason = "it waits for another process")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Longer than any start needs that ends by itself.
const LIMIT: Duration = Duration::from_secs(60);

/// A state directory of the stream `clicks`, and the file of a keeper beside it.
struct Stage {
    folder: tempfile::TempDir,
}

impl Stage {
    fn new() -> Self {
        let stage = Self { folder: tempfile::tempdir().unwrap() };
        let text = format!(
            "[stream]\nname = \"clicks\"\n[archive]\nbucket = \"my-archive\"\n[disk]\nstate_dir = \"{}\"\n",
            stage.state().display()
        );
        fs::write(stage.folder.path().join("keeper.toml"), text).unwrap();
        stage.lay("identity.json", &identity("my-archive", 1));
        stage
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn lay(&self, file: &str, text: &str) {
        let path = self.state().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Every file of the state directory but the lock.
    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        collect(&self.state(), &mut files);
        files.remove(&self.state().join("lock"));
        files
    }

    /// `run`, which must end by itself with 1 and leave everything as it is; what it says.
    fn is_refused(&self) -> String {
        let before = self.files();
        let output = self.run();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert_eq!(self.files(), before, "{told}");
        assert!(!told.contains("waiting for stream"), "{told}");
        told
    }

    fn run(&self) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kinesis-keeper"));
        command.arg("run").arg(self.folder.path().join("keeper.toml"));
        for (name, value) in [
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
            ("AWS_CONFIG_FILE", "/dev/null"),
            ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
            // No port that anybody listens on.
            ("AWS_ENDPOINT_URL", "http://127.0.0.1:1"),
        ] {
            command.env(name, value);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let began = Instant::now();
        while child.try_wait().unwrap().is_none() {
            if began.elapsed() > LIMIT {
                child.kill().unwrap();
                panic!("it goes on: {}", String::from_utf8_lossy(&child.wait_with_output().unwrap().stderr));
            }
            thread::sleep(Duration::from_millis(20));
        }
        child.wait_with_output().unwrap()
    }
}

fn collect(folder: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else {
            files.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
}

fn identity(bucket: &str, version: u32) -> String {
    format!(
        r#"{{"version":{version},"keeper":"0a1b2c3d","stream":"clicks","stream_arn":"arn:aws:kinesis:us-east-1:1:stream/clicks",
            "stream_created":"2026-11-22T00:00:00Z","bucket":"{bucket}","prefix":""}}"#
    )
}

#[test]
fn state_of_another_bucket_is_refused_though_the_stream_does_not_answer() {
    let stage = Stage::new();
    stage.lay("identity.json", &identity("other", 1));
    let told = stage.is_refused();
    assert!(
        told.contains(
            "the state directory holds the state of arn:aws:kinesis:us-east-1:1:stream/clicks in s3://other/"
        ),
        "{told}"
    );
}

#[test]
fn state_of_a_newer_version_is_refused_and_left_as_it_is() {
    for file in [
        "identity.json",
        "checkpoints/shardId-000000000000.json",
        "spool/shardId-000000000000/17.json",
        "outbox/shardId-000000000000/000000000003.json",
    ] {
        let stage = Stage::new();
        // Other streams' state is not taken over either, whatever version it is of.
        stage.lay(file, &identity("other", 2));
        let told = stage.is_refused();
        let said = format!("{file} in the state directory was written by a newer version of kinesis-keeper");
        assert!(told.contains(&said), "{told}");
    }
}
