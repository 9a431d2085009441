//! `cargo bench --bench daemon`: the whole daemon against servers that cost it nothing.
//!
//! Prints MB (10^6 bytes) of payload a CPU second of the daemon's own process, user and system, all threads,
//! from its start to its end, and the most memory that it held. Beside it, on the same replies: the SDK's parse,
//! `serde_json`, flate2 and sha2 in a loop, and the same loop in Python with boto3 (which needs Python 3
//! with pip). `-- 1 8 64` chooses the numbers of shards, `--write` draws docs/performance.svg.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a benchmark"
)]
#![allow(clippy::disallowed_methods, reason = "it waits for another process")]

mod chart;
mod input;
#[path = "../put/python.rs"]
mod python;
mod servers;

use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use sha2::{Digest, Sha256};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// What a process of this benchmark is.
const ROLE: &str = "KEEPER_BENCH_ROLE";
/// Replies of 0.9 MB in all shards together, and the most in one: a shard gives two megabytes a second, so a
/// run takes some seconds.
const ALL_REPLIES: u64 = 1024;
const MOST_REPLIES: u64 = 16;
const LOOK: Duration = Duration::from_millis(50);
/// Nothing that is measured takes so long.
const LONGEST: u32 = 20 * 300;

fn main() -> Outcome<()> {
    let role = std::env::var(ROLE).unwrap_or_default();
    match role.split(' ').collect::<Vec<_>>()[..] {
        ["servers", shards] => {
            let shards = shards.parse()?;
            servers::serve(shards, replies(shards)).map_err(Into::into)
        }
        ["naive", endpoint] => naive(endpoint),
        _ => compare(),
    }
}

fn replies(shards: u64) -> u64 {
    (ALL_REPLIES / shards.max(1)).clamp(1, MOST_REPLIES)
}

/// The servers, and how to ask them how far it went.
struct Servers {
    child: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
    endpoint: String,
    /// Bytes in all shards together.
    payload: u64,
}

impl Servers {
    fn start(shards: u64) -> Outcome<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.env(ROLE, format!("servers {shards}")).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let ask = child.stdin.take().ok_or("no standard input")?;
        let mut answers = BufReader::new(child.stdout.take().ok_or("no standard output")?);
        let mut told = String::new();
        answers.read_line(&mut told)?;
        let (port, payload) = told.trim().split_once(' ').ok_or("the servers tell no port")?;
        let payload = payload.parse::<u64>()? * shards;
        Ok(Self { child, ask, answers, endpoint: format!("http://127.0.0.1:{port}"), payload })
    }

    /// Shards that were read to the tip, and records in S3.
    fn state(&mut self) -> Outcome<(u64, u64)> {
        self.ask.write_all(b"\n")?;
        let mut told = String::new();
        self.answers.read_line(&mut told)?;
        let (drained, archived) = told.trim().split_once(' ').ok_or("the servers tell nothing")?;
        Ok((drained.parse()?, archived.parse()?))
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        // A benchmark that fails leaves nothing running.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a run took.
struct Cost {
    cpu_seconds: f64,
    /// Peak resident memory in MiB.
    memory: u64,
}

/// The daemon from its start until all is read and, once told to stop, archived.
fn daemon(shards: u64, level: u32, servers: &mut Servers) -> Outcome<Cost> {
    let folder = tempfile::tempdir()?;
    let config = folder.path().join("keeper.toml");
    let state = folder.path().join("state");
    fs::write(
        &config,
        format!(
            "[stream]\nname = \"bench\"\n[archive]\nbucket = \"bench\"\nlevel = {level}\n\
             [disk]\nstate_dir = \"{}\"\nkeep = \"0s\"\n[log]\nlevel = \"warn\"\n\
             [aws]\nregion = \"us-east-1\"\nendpoint_url = \"{}\"\n",
            state.display(),
            servers.endpoint
        ),
    )?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_kinesis-keeper"));
    command.arg("run").arg(&config).env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test");
    let mut child = command.stdin(Stdio::null()).spawn()?;
    let cost = watch(&mut child, shards, servers);
    // Ended by itself if all went well.
    let _ = child.kill();
    child.wait()?;
    let (_, archived) = servers.state()?;
    if archived != shards * replies(shards) * 1_000 {
        return Err(format!("{archived} records of {} shards were archived", shards).into());
    }
    cost
}

fn watch(child: &mut Child, shards: u64, servers: &mut Servers) -> Outcome<Cost> {
    let pid = i32::try_from(child.id())?;
    let (mut memory, mut told) = (0, false);
    for _ in 0..LONGEST {
        std::thread::sleep(LOOK);
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        if let Some(kib) = peak.and_then(|line| line.split_whitespace().next()) {
            memory = kib.parse::<u64>()? / 1024;
        }
        if !told && servers.state()?.0 == shards {
            kill_process(Pid::from_raw(pid).ok_or("no process")?, Signal::TERM)?;
            told = true;
        }
        // It has ended, and its times are there until somebody waits for it.
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let fields: Vec<_> = stat.rsplit(')').next().ok_or("no statistics")?.split_whitespace().collect();
        if fields.first() == Some(&"Z") {
            let ticks =
                |n: usize| -> Outcome<f64> { Ok(fields.get(n).ok_or("too few statistics")?.parse()?) };
            return Ok(Cost { cpu_seconds: (ticks(11)? + ticks(12)?) / 100.0, memory });
        }
    }
    Err("it takes too long".into())
}

/// What somebody writes in an afternoon: the SDK, `serde_json`, flate2, sha2.
fn naive(endpoint: &str) -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let config = aws_sdk_kinesis::Config::builder()
        .behavior_version(aws_sdk_kinesis::config::BehaviorVersion::latest())
        .region(aws_sdk_kinesis::config::Region::new("us-east-1"))
        .credentials_provider(aws_sdk_kinesis::config::Credentials::new("test", "test", None, None, "test"))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .endpoint_url(endpoint);
    let client = aws_sdk_kinesis::Client::from_conf(config.build());
    let mut file = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    let mut hash = Sha256::new();
    let mut iterator = "0/0".to_owned();
    loop {
        let answer = runtime.block_on(client.get_records().shard_iterator(iterator).send())?;
        let mut lines = Vec::new();
        for record in &answer.records {
            let line = serde_json::json!({
                "sequence_number": record.sequence_number,
                "approximate_arrival_timestamp": record.approximate_arrival_timestamp.map(|at| at.to_string()),
                "partition_key": record.partition_key,
                "data": std::str::from_utf8(record.data.as_ref())?,
            });
            serde_json::to_writer(&mut lines, &line)?;
            lines.push(b'\n');
        }
        hash.update(&lines);
        file.write_all(&lines)?;
        if answer.millis_behind_latest == Some(0) {
            break;
        }
        iterator = answer.next_shard_iterator.ok_or("no iterator")?;
    }
    let file = file.finish()?;
    println!("{} {:?} {:?}", file.len(), hash.finalize()[0], Sha256::digest(&file)[0]);
    println!("{}", cpu_seconds()?);
    Ok(())
}

/// User and system time of this process, all threads: hundredths of a second, as Linux gives them.
fn cpu_seconds() -> Outcome<f64> {
    let text = fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<_> = text.rsplit(')').next().ok_or("no statistics")?.split_whitespace().collect();
    let ticks = |n: usize| -> Outcome<f64> { Ok(fields.get(n).ok_or("too few statistics")?.parse()?) };
    Ok((ticks(11)? + ticks(12)?) / 100.0)
}

/// CPU seconds that another program took over one shard, as it says itself.
fn other(command: &mut Command) -> Outcome<f64> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("{command:?} ended with {}", output.status).into());
    }
    Ok(String::from_utf8(output.stdout)?.lines().last().ok_or("it told nothing")?.trim().parse()?)
}

/// One contender and what it did.
struct Row {
    what: String,
    /// MB of payload a CPU second.
    rate: f64,
}

fn row(rows: &mut Vec<Row>, what: &str, payload: u64, cpu_seconds: f64, more: &str) {
    let rate = payload as f64 / 1e6 / cpu_seconds;
    println!("{what:<44} {rate:>8.1} MB a CPU second {more}");
    rows.push(Row { what: what.to_owned(), rate });
}

fn compare() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let chosen: Vec<u64> = arguments.iter().filter_map(|argument| argument.parse().ok()).collect();
    let chosen = if chosen.is_empty() { vec![1, 8, 64, 1000] } else { chosen };
    let mut rows = Vec::new();
    for shards in chosen {
        for level in [6, 1] {
            let mut servers = Servers::start(shards)?;
            let cost = daemon(shards, level, &mut servers)?;
            let what = format!("daemon, {shards} shards, level {level}");
            let memory = format!("{:>6} MiB at most", cost.memory);
            row(&mut rows, &what, servers.payload, cost.cpu_seconds, &memory);
        }
    }
    let servers = Servers::start(1)?;
    let mut own = Command::new(std::env::current_exe()?);
    let cpu = other(own.env(ROLE, format!("naive {}", servers.endpoint)))?;
    row(&mut rows, "SDK, serde_json, flate2's default, sha2", servers.payload, cpu, "");
    let mut boto3 = Command::new(python::installed()?);
    boto3.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/daemon/with_boto3.py"));
    boto3.env("BENCH_ENDPOINT", &servers.endpoint).env("AWS_DEFAULT_REGION", "us-east-1");
    boto3.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test");
    row(&mut rows, "boto3, json, gzip 6, SHA-256", servers.payload, other(&mut boto3)?, "");
    let [.., naive, boto3] = rows.as_slice() else { return Err("nothing was measured".into()) };
    println!("\n{:<44} {:>8} {:>8}", "times as many MB as", "naive", "boto3");
    for row in &rows[..rows.len() - 2] {
        println!("{:<44} {:>8.1} {:>8.1}", row.what, row.rate / naive.rate, row.rate / boto3.rate);
    }
    if arguments.iter().any(|argument| argument == "--write") {
        fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/performance.svg"), chart::drawn(&rows))?;
    }
    Ok(())
}
