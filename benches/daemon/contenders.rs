//! What somebody writes in an afternoon, on the same replies: in Rust, and in Python with boto3.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use miniz_oxide::deflate::core::{CompressorOxide, create_comp_flags_from_zip_params};
use miniz_oxide::{MZFlush, MZStatus};
use sha2::{Digest, Sha256};

use super::keeper::Servers;
use super::servers::{Content, Plan};
use super::tally::Cost;
use super::{Outcome, ROLE, process, python};

/// Enough for some seconds of the fastest: a machine that others share is not the same from one to the next.
const MEGABYTES: u64 = 108;
/// Of small records, which take longer.
const SMALL_MEGABYTES: u64 = 24;

/// A contender's name, and what it took.
pub type Found = (&'static str, Cost);

pub const NAIVE: &str = "SDK, serde_json, flate2 with miniz_oxide, sha2";
pub const NAIVE_ZLIB_RS: &str = "SDK, serde_json, flate2 with zlib-rs, sha2";
pub const BOTO3: &str = "boto3, json, gzip 6, SHA-256";

/// Each as often at once as the machine has cores, all of which the daemon uses, too; each on one shard.
pub fn all(content: Content) -> Outcome<Vec<Found>> {
    let megabytes = if matches!(content, Content::Small) { SMALL_MEGABYTES } else { MEGABYTES };
    let servers = Servers::start(Plan::Full { content, shards: 1, replies: content.filling(megabytes) })?;
    let own = |gzip: &str| -> Outcome<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.env(ROLE, format!("naive {} {gzip}", servers.endpoint()));
        Ok(command)
    };
    let mut boto3 = Command::new(python::installed()?);
    boto3.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/daemon/with_boto3.py"));
    boto3.env("BENCH_ENDPOINT", servers.endpoint()).env("AWS_DEFAULT_REGION", "us-east-1");
    boto3.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test");
    Ok(vec![
        (NAIVE, run(servers.payload(), own("miniz_oxide")?)?),
        (NAIVE_ZLIB_RS, run(servers.payload(), own("zlib-rs")?)?),
        (BOTO3, run(servers.payload(), boto3)?),
    ])
}

/// A program that archives one shard, and says itself what it took.
fn run(payload: u64, mut command: Command) -> Outcome<Cost> {
    let cores = std::thread::available_parallelism()?.get();
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut running = Vec::new();
    for _ in 0..cores {
        running.push(command.spawn()?);
    }
    let mut cpu_seconds = 0.0;
    for child in running {
        let output = child.wait_with_output()?;
        if !output.status.success() {
            return Err(format!("{command:?} ended with {}", output.status).into());
        }
        let told = String::from_utf8(output.stdout)?;
        cpu_seconds += told.lines().last().ok_or("it told nothing")?.trim().parse::<f64>()?;
    }
    Ok(Cost::new(payload * cores as u64, cpu_seconds))
}

/// The process of [`NAIVE`] and [`NAIVE_ZLIB_RS`].
pub fn naive(endpoint: &str, gzip: &str) -> Outcome<()> {
    let (file, hash) = match gzip {
        "miniz_oxide" => {
            let (gzip, hash) = archive(endpoint, Miniz::new())?;
            (gzip.finish()?, hash)
        }
        _ => {
            let gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            let (gzip, hash) = archive(endpoint, gzip)?;
            (gzip.finish()?, hash)
        }
    };
    let mut text = Vec::new();
    println!("{} {:?}", hash.finalize()[0], Sha256::digest(&file)[0]);
    let cpu = process::cpu_seconds("self")?;
    io::Read::read_to_end(&mut flate2::bufread::GzDecoder::new(file.as_slice()), &mut text)?;
    fs::write("/dev/null", &text)?;
    println!("{cpu}");
    Ok(())
}

/// Each answer's lines in one buffer, hashed and compressed at once.
fn archive<W: Write>(endpoint: &str, mut file: W) -> Outcome<(W, Sha256)> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let config = aws_sdk_kinesis::Config::builder()
        .behavior_version(aws_sdk_kinesis::config::BehaviorVersion::latest())
        .region(aws_sdk_kinesis::config::Region::new("us-east-1"))
        .credentials_provider(aws_sdk_kinesis::config::Credentials::new("test", "test", None, None, "test"))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .endpoint_url(endpoint);
    let client = aws_sdk_kinesis::Client::from_conf(config.build());
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
            return Ok((file, hash));
        }
        iterator = answer.next_shard_iterator.ok_or("no iterator")?;
    }
}

/// A gzip member as flate2 makes it with its default features, which this package does not turn on.
struct Miniz {
    compressor: Box<CompressorOxide>,
    sum: libdeflater::Crc,
    length: u32,
    file: Vec<u8>,
}

impl Miniz {
    fn new() -> Self {
        // Level 6, no header of zlib's.
        let compressor = Box::new(CompressorOxide::new(create_comp_flags_from_zip_params(6, -15, 0)));
        let file = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
        Self { compressor, sum: libdeflater::Crc::new(), length: 0, file }
    }

    fn deflate(&mut self, mut text: &[u8], flush: MZFlush) -> io::Result<()> {
        let mut room = vec![0; 32 << 10];
        loop {
            let done = miniz_oxide::deflate::stream::deflate(&mut self.compressor, text, &mut room, flush);
            self.file.extend_from_slice(&room[..done.bytes_written]);
            text = &text[done.bytes_consumed..];
            match done.status {
                Ok(MZStatus::StreamEnd) => return Ok(()),
                Ok(_) if text.is_empty() && flush == MZFlush::None && done.bytes_written < room.len() => {
                    return Ok(());
                }
                Ok(_) => {}
                Err(error) => return Err(io::Error::other(format!("{error:?}"))),
            }
        }
    }

    fn finish(mut self) -> io::Result<Vec<u8>> {
        self.deflate(b"", MZFlush::Finish)?;
        self.file.extend_from_slice(&self.sum.sum().to_le_bytes());
        self.file.extend_from_slice(&self.length.to_le_bytes());
        Ok(self.file)
    }
}

impl Write for Miniz {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.sum.update(text);
        self.length = self.length.wrapping_add(text.len() as u32);
        self.deflate(text, MZFlush::None)?;
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
