//! Filling streams: with the product's producer, or with the real binary's `put`; and a proxy's faults of
//! PutRecords.

use std::io::Write;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kinesis_keeper::aws::clients::{AwsSettings, Clients};
use kinesis_keeper::aws::kinesis::StreamName;
use kinesis_keeper::aws::put_records::KinesisSink;
use kinesis_keeper::producer::{Nobody, Options, Producer, Record};
use kinesis_keeper::supervisor::SystemClock;
use serde_json::{Value, json};

use super::aws::runtime;
use super::http::Message;
use super::proxy::Action;

/// Puts records (key, payload) in order, each exactly once: one request at a time, as fast as the server goes.
pub fn put(endpoint: &str, stream: &str, records: &[(String, Vec<u8>)]) {
    let clients = Clients::load(runtime().handle(), &AwsSettings::local(endpoint)).unwrap();
    let sink = Arc::new(KinesisSink::new(&clients, StreamName::Name(stream.to_owned())));
    let patience = Duration::from_secs(60);
    let options = Options { in_flight: 1, shard_limits: None, patience, ..Options::default() };
    let clock = Arc::new(SystemClock::new());
    runtime().block_on(async {
        let producer = Producer::start(sink, options, clock, Arc::new(Nobody)).await.unwrap();
        for (tag, (key, data)) in (0..).zip(records) {
            let (data, partition_key) = (data.clone().into(), key.clone());
            producer.put(Record { data, partition_key, explicit_hash_key: None, tag }).await.unwrap();
        }
        assert_eq!(producer.close().await, []);
        assert_eq!(producer.totals().ambiguous, 0, "the test server did not answer in time");
    });
}

/// `kinesis-keeper put` in the making.
pub struct Put {
    command: Command,
    input: Vec<u8>,
}

impl Put {
    /// Into this stream at this endpoint.
    pub fn new(endpoint: &str, stream: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kinesis-keeper"));
        command.args(["put", stream, "--endpoint-url", endpoint]);
        command.envs([
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
            ("AWS_CONFIG_FILE", "/dev/null"),
            ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
        ]);
        for proxy in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"] {
            command.env_remove(proxy);
        }
        Self { command, input: Vec::new() }
    }

    /// More arguments, separated by spaces.
    pub fn with(mut self, arguments: &str) -> Self {
        self.command.args(arguments.split(' '));
        self
    }

    /// A path as the next argument.
    pub fn path(mut self, path: &std::path::Path) -> Self {
        self.command.arg(path);
        self
    }

    /// What it reads from standard input.
    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = input.into();
        self
    }

    /// Starts it; standard input is closed after the input.
    pub fn start(mut self) -> Child {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().unwrap();
        let mut to = child.stdin.take().unwrap();
        // It may end before it has read everything.
        std::thread::spawn(move || to.write_all(&self.input));
        child
    }

    /// Starts it with standard input left open and untouched.
    pub fn start_open(mut self) -> Child {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        self.command.spawn().unwrap()
    }

    /// Runs it to its end.
    pub fn run(self) -> Done {
        Done::of(self.start().wait_with_output().unwrap())
    }
}

/// A `put` that has ended.
#[derive(Debug)]
pub struct Done {
    /// Its exit code.
    pub code: Option<i32>,
    /// What it told on standard output.
    pub stdout: String,
    /// What it told on standard error.
    pub stderr: String,
}

impl Done {
    /// What came out of a process.
    pub fn of(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }

    /// The summary of `--json`.
    #[track_caller]
    pub fn summary(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Of each PutRecords, entries for which `why` gives an error code do not reach the server; the others do.
pub fn failing_entries(why: impl FnMut() -> Option<&'static str> + Send + 'static) -> Action {
    let why = Mutex::new(why);
    Action::Around(Arc::new(move |request, ask| {
        let mut asked: Value = serde_json::from_slice(&request.message.body)?;
        let records = std::mem::take(asked["Records"].as_array_mut().unwrap());
        let fates: Vec<_> = records.iter().map(|_| (why.lock().unwrap())()).collect();
        let through: Vec<_> = records
            .into_iter()
            .zip(&fates)
            .filter(|(_, fate)| fate.is_none())
            .map(|(record, _)| record)
            .collect();
        let mut stored = Vec::new();
        if !through.is_empty() {
            asked["Records"] = Value::Array(through);
            let message = Message { body: asked.to_string().into_bytes(), ..request.message.clone() };
            let answer = ask(&message)?;
            if answer.status() != 200 {
                return Ok(answer);
            }
            let answer: Value = serde_json::from_slice(&answer.body)?;
            stored = answer["Records"].as_array().unwrap().clone();
        }
        let mut stored = stored.into_iter();
        let entries: Vec<_> = fates
            .iter()
            .map(|fate| match fate {
                Some(code) => json!({"ErrorCode": code, "ErrorMessage": "scripted"}),
                None => stored.next().unwrap(),
            })
            .collect();
        let failed = entries.iter().filter(|entry| entry.get("ErrorCode").is_some()).count();
        let body = json!({"FailedRecordCount": failed, "Records": entries}).to_string();
        Ok(Message::response(200, "application/x-amz-json-1.1", body))
    }))
}

/// A random third of the entries fails, half of them as throttled.
pub fn failing_third() -> Action {
    let mut random = fastrand::Rng::with_seed(3);
    failing_entries(move || match random.u8(0..6) {
        0 => Some("ProvisionedThroughputExceededException"),
        1 => Some("InternalFailure"),
        _ => None,
    })
}
