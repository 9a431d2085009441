//! The path of a shard's records, from the bytes of a reply to the sealed object, on one thread.
//!
//! Prints MB (10^6 bytes) of payload a second of CPU time, the best of several rounds, and the ratios that
//! carry over to other machines: our decoder against the AWS SDK's own parser, both through a whole call of
//! the adapter; and the path against compressing and hashing the same lines alone with the same libraries.
//! Inputs: json1k (clickstream events of about 900 bytes), small100 (100 bytes each), rand10k (10 KiB of random
//! bytes each). Run it with `cargo bench --bench path`, or `cargo bench --bench path -- small100`.

#![allow(clippy::print_stdout, reason = "its table is its result")]

use std::error::Error;
use std::fs;
use std::hint::black_box;
use std::io::Read;

use base64_simd::STANDARD;
use fastrand::Rng;
use kinesis_keeper::aws::kinesis::canned::Canned;
use kinesis_keeper::aws::kinesis::reply::decode::decode;
use kinesis_keeper::codec::hash::Hasher;
use kinesis_keeper::codec::{BatchWriter, Finished, for_each_user_record, inspect};
use kinesis_keeper::model::record::RawRecord;
use kinesis_keeper::model::shard::HashKeyRange;
use libdeflater::{CompressionLvl, Compressor};

#[path = "daemon/input.rs"]
mod input;

use input::event;

type Outcome<T> = Result<T, Box<dyn Error>>;

const ROUNDS: u32 = 9;
/// As much text as a member of an object holds.
const MEMBER: usize = 1 << 20;

/// Replies of about a megabyte, as a shard gives them to a reader that keeps up.
struct Input {
    name: &'static str,
    records: u64,
    /// Bytes of payload.
    payload: u64,
    bodies: Vec<Vec<u8>>,
}

fn records_of(body: &[u8]) -> Outcome<Vec<RawRecord>> {
    Ok(decode(body).map_err(|odd| format!("{odd:?}"))?.records)
}

fn append(records: &[RawRecord], writer: &mut BatchWriter) {
    for record in records {
        for_each_user_record(record, HashKeyRange::WHOLE, true, &mut |user| writer.append(user));
    }
}

fn seal(writer: &mut BatchWriter) -> Outcome<Finished> {
    writer.finish().ok_or_else(|| "the batch is empty".into())
}

/// `records` of them in replies of `reply`, each with the payload that `data` makes of its number.
fn input(
    name: &'static str,
    (records, reply): (u64, usize),
    mut data: impl FnMut(&mut Rng, u64) -> Vec<u8>,
) -> Outcome<Input> {
    let mut random = Rng::with_seed(1);
    let mut payload = 0;
    let mut bodies = Vec::new();
    for from in (0..records).step_by(reply) {
        let mut listed = Vec::new();
        for number in from..from + reply as u64 {
            let data = data(&mut random, number);
            payload += data.len() as u64;
            // As AWS writes it: fields in this order, seconds with an exponent.
            let millis = (1_795_324_260_123 + number).to_string();
            listed.push(format!(
                r#"{{"ApproximateArrivalTimestamp":{}.{}E9,"Data":"{}","PartitionKey":"user-{}","SequenceNumber":"49660{:051}"}}"#,
                &millis[..1],
                &millis[1..],
                STANDARD.encode_to_string(&data),
                random.u32(1..20_000),
                number * 7919 + 5_000_000_000_000,
            ));
        }
        let listed = listed.join(",");
        let body = format!(r#"{{"MillisBehindLatest":0,"NextShardIterator":"AAAA","Records":[{listed}]}}"#);
        bodies.push(body.into_bytes());
    }
    Ok(Input { name, records, payload, bodies })
}

fn inputs() -> Outcome<Vec<Input>> {
    let hundred = |random: &mut Rng, number| {
        let event = event(random, number);
        let from = random.usize(..event.len() / 2);
        event.chars().filter(char::is_ascii).skip(from).take(100).collect::<String>().into_bytes()
    };
    let random = |random: &mut Rng, _| std::iter::repeat_with(|| random.u8(..)).take(10 << 10).collect();
    Ok(vec![
        input("json1k", (10_000, 1_000), |random, number| event(random, number).into_bytes())?,
        input("small100", (50_000, 5_000), hundred)?,
        input("rand10k", (2_000, 100), random)?,
    ])
}

/// CPU time of this thread in nanoseconds.
fn cpu_time() -> Outcome<u64> {
    let text = fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(text.split_whitespace().next().ok_or("no scheduler statistics")?.parse()?)
}

/// MB of payload a CPU second, the best of some rounds.
fn rate(payload: u64, mut work: impl FnMut() -> Outcome<()>) -> Outcome<f64> {
    let mut best = u64::MAX;
    for _ in 0..ROUNDS {
        let before = cpu_time()?;
        work()?;
        best = best.min((cpu_time()? - before).max(1));
    }
    Ok(payload as f64 * 1000.0 / best as f64)
}

fn row(what: &str, rate: f64, more: &str) {
    println!("  {what:<52} {rate:>8.0} {more}");
}

fn decoding(input: &Input) -> Outcome<()> {
    let canned = Canned::new()?;
    let own = rate(input.payload, || {
        for body in &input.bodies {
            black_box(canned.records(200, body)?);
        }
        Ok(())
    })?;
    let sdk = rate(input.payload, || {
        for body in &input.bodies {
            black_box(canned.parsed(200, body)?);
        }
        Ok(())
    })?;
    let alone = rate(input.payload, || {
        input.bodies.iter().try_for_each(|body| records_of(body).map(|records| drop(black_box(records))))
    })?;
    if canned.unusual() > 0 {
        return Err("the input is not what Kinesis sends".into());
    }
    row("a call of GetRecords, the SDK parses", sdk, "");
    row("a call of GetRecords, our decoder", own, &format!("{:.2} of the SDK", own / sdk));
    row("our decoder without the call", alone, &format!("{:.2} of the SDK's call", alone / sdk));
    Ok(())
}

/// Compressing and hashing `text`, and nothing else.
fn floor(input: &Input, text: &[u8], level: u32) -> Outcome<f64> {
    let level = CompressionLvl::new(i32::try_from(level)?).map_err(|_| "no such level")?;
    let mut compressor = Compressor::new(level);
    let mut room = vec![0; compressor.gzip_compress_bound(MEMBER)];
    rate(input.payload, || {
        let (mut content, mut object) = (Hasher::default(), Hasher::default());
        for member in text.chunks(MEMBER) {
            content.update(member);
            let len = compressor.gzip_compress(member, &mut room)?;
            object.update(&room[..len]);
        }
        black_box((content.take_hex(), object.take_hex()));
        Ok(())
    })
}

fn path(input: &Input, level: u32) -> Outcome<()> {
    let mut writer = BatchWriter::new(level);
    let records = input.bodies.iter().map(|body| records_of(body)).collect::<Outcome<Vec<_>>>()?;
    let codec = rate(input.payload, || {
        records.iter().for_each(|reply| append(reply, &mut writer));
        seal(&mut writer).map(|finished| drop(black_box(finished)))
    })?;
    let path = rate(input.payload, || {
        for body in &input.bodies {
            append(&records_of(body)?, &mut writer);
        }
        seal(&mut writer).map(|finished| drop(black_box(finished)))
    })?;
    records.iter().for_each(|reply| append(reply, &mut writer));
    let sealed = seal(&mut writer)?;
    let file = sealed.parts.concat();
    let mut text = Vec::new();
    flate2::bufread::MultiGzDecoder::new(file.as_slice()).read_to_end(&mut text)?;
    let floor = floor(input, &text, level)?;
    let ratio = input.payload as f64 / sealed.content.size as f64;
    row(&format!("level {level}: compress and hash the lines alone"), floor, "");
    row(&format!("level {level}: records to sealed object"), codec, "");
    let told = format!("{:.2} of the lines alone; {ratio:.2} times smaller", path / floor);
    row(&format!("level {level}: reply bytes to sealed object"), path, &told);
    if level == 6 {
        let reading = rate(input.payload, || {
            black_box(inspect(file.as_slice())?);
            Ok(())
        })?;
        row("read back and check", reading, "");
    }
    Ok(())
}

fn main() -> Outcome<()> {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    println!("MB of payload a CPU second, one thread, best of {ROUNDS}");
    for input in inputs()? {
        if !wanted.is_empty() && !wanted.iter().any(|name| name == input.name) {
            continue;
        }
        println!("\n{}: {} records of {} B", input.name, input.records, input.payload / input.records);
        decoding(&input)?;
        path(&input, 6)?;
        path(&input, 1)?;
    }
    Ok(())
}
