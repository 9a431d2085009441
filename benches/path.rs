//! The path of a shard's records, from the bytes of a reply to the sealed object, on one thread.
//!
//! Prints MB (10^6 bytes) of payload a second of CPU time, the best of several rounds, and the ratios that
//! carry over to other machines: our decoder against the AWS SDK's own parser, both through a whole call of
//! the adapter; and the path against compressing and hashing the same lines alone with the same libraries.
//! Inputs: json1k (clickstream events of about 900 bytes), small100 (100 bytes each), rand10k (10 KiB of random
//! bytes each). Run it with `cargo bench --bench path`, or `cargo bench --bench path -- small100`.

#![allow(clippy::print_stdout, reason = "its table is its result")]

#[path = "measure/cpu.rs"]
mod cpu;
#[path = "measure/events.rs"]
mod events;
#[path = "measure/input.rs"]
mod input;
#[path = "measure/rates.rs"]
mod rates;
#[path = "measure/whole.rs"]
mod whole;

use input::{ARRIVED, Input};
use whole::Outcome;

/// Of each input so many replies, and records in each: of a megabyte, and of half of one where records are small.
const REPLIES: [[u64; 2]; 3] = [[10, 1_000], [10, 5_000], [20, 100]];

fn row(what: &str, rate: f64, more: &str) {
    println!("  {what:<52} {rate:>8.0} {more}");
}

fn decoding(payload: u64, bodies: &[Vec<u8>]) -> Outcome<()> {
    let found = rates::decoding(payload, bodies)?;
    let of_sdk = |rate: f64| format!("{:.2} of the SDK", rate / found.sdk);
    row("a call of GetRecords, the SDK parses", found.sdk, "");
    row("a call of GetRecords, our decoder", found.own, &of_sdk(found.own));
    row("our decoder without the call", found.alone, &of_sdk(found.alone));
    Ok(())
}

fn path(payload: u64, bodies: &[Vec<u8>], level: u32) -> Outcome<()> {
    let found = rates::path(payload, bodies, level)?;
    row(&format!("level {level}: compress and hash the lines alone"), found.floor, "");
    row(&format!("level {level}: records to sealed object"), found.codec, "");
    let ratio = found.whole / found.floor;
    let told = format!("{ratio:.2} of the lines alone; {:.2} times smaller", found.smaller);
    row(&format!("level {level}: reply bytes to sealed object"), found.whole, &told);
    let crowded = rates::path_on_all_cores(payload, bodies, level)?.rate();
    row(&format!("level {level}: the same on all cores at once, on average"), crowded, "");
    row(&format!("level {level}: read back and check"), found.inspect, "");
    Ok(())
}

fn main() -> Outcome<()> {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    println!("MB of payload a CPU second, one thread, best of {}", cpu::ROUNDS);
    for (name, replies) in Input::NAMES.into_iter().zip(REPLIES) {
        if !wanted.is_empty() && !wanted.iter().any(|wanted| wanted == name) {
            continue;
        }
        let Input { records, payload, replies, name } = Input::named(name, replies, ARRIVED)?;
        let bodies: Vec<_> = replies.iter().map(|records| input::answer(records)).collect();
        println!("\n{name}: {records} records of {} B", payload / records);
        decoding(payload, &bodies)?;
        path(payload, &bodies, 6)?;
        path(payload, &bodies, 1)?;
    }
    Ok(())
}
