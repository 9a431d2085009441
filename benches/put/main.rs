//! `cargo bench --bench put`: records put a CPU second, side by side with what people use from Python.
//!
//! All put the same lines with the same keys into the same server, which takes everything and runs in a process
//! of its own. What is measured is the contender's own CPU time, user and system, all threads, from the
//! first record to the last answer; its start and imports don't count. Needs Python 3 with pip: the two
//! packages are installed, pinned, under `target/bench-put`. Not a test, and never run by one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a benchmark"
)]

mod python;
mod sink;

use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;

use kinesis_keeper::aws::clients::{AwsSettings, Clients};
use kinesis_keeper::aws::kinesis::StreamName;
use kinesis_keeper::aws::put_records::KinesisSink;
use kinesis_keeper::producer::{Nobody, Options, Producer, Record};
use kinesis_keeper::supervisor::SystemClock;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// What a process of this benchmark is.
const ROLE: &str = "KEEPER_BENCH_ROLE";
/// Rounds of each contender; the best counts.
const ROUNDS: usize = 3;
const SIZES: [(usize, usize); 2] = [(250, 100_000), (1_000, 50_000)];

fn main() -> Outcome<()> {
    match std::env::var(ROLE).as_deref() {
        Ok("sink") => Ok(sink::serve()?),
        Ok("ours") => ours(),
        _ => compare(),
    }
}

/// The server, and how to ask it what came.
struct Sink {
    child: Child,
    ask: ChildStdin,
    answers: BufReader<std::process::ChildStdout>,
    endpoint: String,
}

impl Sink {
    fn start() -> Outcome<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.env(ROLE, "sink").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let ask = child.stdin.take().ok_or("no standard input")?;
        let mut answers = BufReader::new(child.stdout.take().ok_or("no standard output")?);
        let mut port = String::new();
        answers.read_line(&mut port)?;
        let endpoint = format!("http://127.0.0.1:{}", port.trim());
        Ok(Self { child, ask, answers, endpoint })
    }

    /// Records that came since it was last asked.
    fn came(&mut self) -> Outcome<u64> {
        self.ask.write_all(b"\n")?;
        let mut count = String::new();
        self.answers.read_line(&mut count)?;
        Ok(count.trim().parse()?)
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        // A benchmark that fails leaves nothing running.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn compare() -> Outcome<()> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("bench-put");
    let python = python::installed()?;
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/put");
    let contenders = [
        ("kinesis-keeper", std::env::current_exe()?, None),
        ("async-kinesis 3.0.1", python.clone(), Some(scripts.join("with_async_kinesis.py"))),
        ("boto3 put_records loop", python, Some(scripts.join("with_boto3.py"))),
    ];
    let mut sink = Sink::start()?;
    println!("records put a CPU second of the contender's own process; best of {ROUNDS}\n");
    for (bytes, count) in SIZES {
        let file = folder.join(format!("{bytes}.ndjson"));
        fs::write(&file, data(bytes, count))?;
        println!("{count} records of {bytes} B");
        let mut rates = Vec::new();
        for (name, program, script) in &contenders {
            let mut best: f64 = 0.0;
            for _ in 0..ROUNDS {
                let cpu = run(program, script.as_deref(), &file, &sink.endpoint)?;
                let came = sink.came()?;
                if came != count as u64 {
                    return Err(format!("{name} put {came} records of {count}").into());
                }
                best = best.max(count as f64 / cpu);
            }
            println!("  {name:<24} {best:>10.0} records a CPU second");
            rates.push(best);
        }
        let other = rates[1..].iter().copied().fold(0.0, f64::max);
        println!("  ratio to the faster of the two: {:.1}\n", rates[0] / other);
    }
    Ok(())
}

/// CPU seconds that one run took, as it says itself.
fn run(program: &Path, script: Option<&Path>, file: &Path, endpoint: &str) -> Outcome<f64> {
    let mut command = Command::new(program);
    command.args(script).env(ROLE, "ours").env("BENCH_FILE", file).env("BENCH_ENDPOINT", endpoint);
    command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test");
    command.env("AWS_REGION", "us-east-1").env("AWS_DEFAULT_REGION", "us-east-1");
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("{} ended with {}", program.display(), output.status).into());
    }
    let text = String::from_utf8(output.stdout)?;
    Ok(text.lines().last().ok_or("it told nothing")?.trim().parse()?)
}

/// Lines of JSON of about so many bytes.
fn data(bytes: usize, count: usize) -> String {
    let mut random = fastrand::Rng::with_seed(11);
    let mut text = String::with_capacity((bytes + 1) * count);
    for n in 0..count {
        let start = text.len();
        text.push_str(&format!(r#"{{"event":{n},"user":"user-{:05}","trace":"#, random.u32(..20_000)));
        text.push('"');
        while text.len() - start < bytes - 2 {
            text.push(random.alphanumeric());
        }
        text.push_str("\"}\n");
    }
    text
}

/// Our own run, in a process of its own.
fn ours() -> Outcome<()> {
    let endpoint = std::env::var("BENCH_ENDPOINT")?;
    let text = bytes::Bytes::from(fs::read(std::env::var("BENCH_FILE")?)?);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let clients = Clients::load(runtime.handle(), &AwsSettings::local(endpoint))?;
    let sink = Arc::new(KinesisSink::new(&clients, StreamName::Name("bench".to_owned())));
    let clock = Arc::new(SystemClock::new());
    let before = cpu_seconds()?;
    runtime
        .block_on(async {
            let producer = Producer::start(sink, Options::default(), clock, Arc::new(Nobody)).await?;
            let mut from = 0;
            for (tag, at) in (0..).zip(memchr::memchr_iter(b'\n', &text)) {
                let partition_key = u64::to_string(&tag);
                let data = text.slice(from..at);
                from = at + 1;
                let record = Record { data, partition_key, explicit_hash_key: None, tag };
                producer.put(record).await.map_err(|lost| lost.why)?;
            }
            let lost = producer.close().await;
            if lost.is_empty() { Ok(()) } else { Err(format!("{} records were lost", lost.len()).into()) }
        })
        .map_err(|error: Box<dyn Error>| error)?;
    println!("{}", cpu_seconds()? - before);
    Ok(())
}

/// User and system time of this process, all threads: hundredths of a second, as Linux gives them.
fn cpu_seconds() -> Outcome<f64> {
    let text = fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<_> = text.rsplit(')').next().ok_or("no statistics")?.split_whitespace().collect();
    let ticks = |n: usize| -> Outcome<f64> { Ok(fields.get(n).ok_or("too few statistics")?.parse()?) };
    Ok((ticks(11)? + ticks(12)?) / 100.0)
}
