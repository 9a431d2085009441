//! What the parts of the path reach on one thread, in MB (10^6 bytes) of payload a CPU second.

use std::hint::black_box;
use std::io::Read;
use std::sync::Barrier;
use std::time::Duration;

use kinesis_keeper::aws::kinesis::canned::Canned;
use kinesis_keeper::codec::hash::Hasher;
use kinesis_keeper::codec::{BatchWriter, inspect};
use libdeflater::{CompressionLvl, Compressor};

use super::cpu::{self, ROUNDS, rate, rate_of_all_threads};
use super::whole::{Outcome, append, records_of, seal, sealed};

/// As much text as a member of an object holds.
const MEMBER: usize = 1 << 20;

/// Reading answers of GetRecords.
pub struct Decoding {
    /// Whole calls, which the SDK parses.
    pub sdk: f64,
    /// Whole calls, which our decoder reads.
    pub own: f64,
    /// Our decoder without the call.
    pub alone: f64,
}

/// From answers to a sealed object.
pub struct Path {
    /// Compressing and hashing the same lines, and nothing else.
    pub floor: f64,
    /// From records to the object.
    pub codec: f64,
    /// From the answers' bytes to the object.
    pub whole: f64,
    /// Payload by object.
    pub smaller: f64,
    /// Reading the object back and checking it.
    pub inspect: f64,
}

/// What all cores did at once.
pub struct Crowded {
    /// Bytes of payload.
    pub payload: u64,
    /// CPU time of all threads.
    pub cpu: Duration,
}

impl Crowded {
    pub fn rate(&self) -> f64 {
        self.payload as f64 / 1e6 / self.cpu.as_secs_f64()
    }
}

pub fn decoding(payload: u64, bodies: &[Vec<u8>]) -> Outcome<Decoding> {
    let canned = Canned::new()?;
    // A call is made on threads of the runtime, and its answer decoded on this one.
    let own = rate_of_all_threads(payload, || {
        for body in bodies {
            black_box(canned.records(200, body)?);
        }
        Ok(())
    })?;
    let sdk = rate_of_all_threads(payload, || {
        for body in bodies {
            black_box(canned.parsed(200, body)?);
        }
        Ok(())
    })?;
    let alone = rate(payload, || {
        bodies.iter().try_for_each(|body| records_of(body).map(|records| drop(black_box(records))))
    })?;
    if canned.unusual() > 0 {
        return Err("the input is not what Kinesis sends".into());
    }
    Ok(Decoding { sdk, own, alone })
}

pub fn path(payload: u64, bodies: &[Vec<u8>], level: u32) -> Outcome<Path> {
    let mut writer = BatchWriter::new(level);
    let records = bodies.iter().map(|body| records_of(body)).collect::<Outcome<Vec<_>>>()?;
    let codec = rate(payload, || {
        records.iter().for_each(|reply| append(reply, &mut writer));
        seal(&mut writer).map(|finished| drop(black_box(finished)))
    })?;
    let whole = rate(payload, || sealed(bodies, &mut writer).map(|finished| drop(black_box(finished))))?;
    let object = sealed(bodies, &mut writer)?;
    let file = object.parts.concat();
    let mut text = Vec::new();
    flate2::bufread::MultiGzDecoder::new(file.as_slice()).read_to_end(&mut text)?;
    let floor = floor(payload, &text, level)?;
    let inspect = rate(payload, || {
        black_box(inspect(file.as_slice())?);
        Ok(())
    })?;
    let smaller = payload as f64 / object.content.size as f64;
    Ok(Path { floor, codec, whole, smaller, inspect })
}

/// The whole path on every core at once, on average: what a daemon that uses the whole machine is held against.
/// Cores that share their inside are slower so.
pub fn path_on_all_cores(payload: u64, bodies: &[Vec<u8>], level: u32) -> Outcome<Crowded> {
    let threads = std::thread::available_parallelism()?.get();
    let begin = Barrier::new(threads);
    let one = || -> Result<Duration, String> {
        let told = |error: Box<dyn std::error::Error>| error.to_string();
        let mut writer = BatchWriter::new(level);
        begin.wait();
        let before = cpu::of_this_thread().map_err(told)?;
        for _ in 0..ROUNDS {
            black_box(sealed(bodies, &mut writer).map_err(told)?);
        }
        Ok(cpu::of_this_thread().map_err(told)?.saturating_sub(before))
    };
    let took: Result<Vec<Duration>, String> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
        all.into_iter().map(|one| one.join().map_err(|_| "a thread died")?).collect()
    });
    Ok(Crowded { payload: payload * u64::from(ROUNDS) * threads as u64, cpu: took?.iter().sum() })
}

fn floor(payload: u64, text: &[u8], level: u32) -> Outcome<f64> {
    let level = CompressionLvl::new(i32::try_from(level)?).map_err(|_| "no such level")?;
    let mut compressor = Compressor::new(level);
    let mut room = vec![0; compressor.gzip_compress_bound(MEMBER)];
    rate(payload, || {
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
