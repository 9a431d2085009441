//! `cargo bench --bench daemon`: the whole daemon against servers that cost it nothing.
//!
//! Prints MB (10^6 bytes) of payload a CPU second of the daemon's own process, user and system, all threads,
//! from its start to its end, and the most memory that it held; beside it, on the same replies, the path alone,
//! the SDK's parse, `serde_json`, flate2 and sha2 in a loop, and the same loop in Python with boto3 (which needs
//! Python 3 with pip). Then daemons that keep up with a stream: many shards, idle ones, and how long a record
//! waits. docs/PERFORMANCE.md has the arguments.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a benchmark"
)]
#![allow(clippy::disallowed_methods, reason = "it waits for another process, and takes its time")]

mod chart;
mod contenders;
#[path = "../measure/cpu.rs"]
mod cpu;
#[path = "../measure/events.rs"]
mod events;
#[path = "../measure/input.rs"]
#[allow(dead_code, reason = "the bench of the path uses all of it")]
mod input;
mod keeper;
mod process;
#[path = "../put/python.rs"]
mod python;
#[path = "../measure/rates.rs"]
#[allow(dead_code, reason = "the bench of the path uses all of it")]
mod rates;
mod report;
mod runs;
mod servers;
mod tally;
#[path = "../measure/whole.rs"]
mod whole;

use std::error::Error;

use report::{Report, Row};
use runs::{Pace, Paced};
use servers::Content;
use tally::{Cost, Tally};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// What a process of this benchmark is.
const ROLE: &str = "KEEPER_BENCH_ROLE";

/// 1,000 shards at 20 KB/s: records of 921 bytes.
const SCALE: Pace = Pace { shards: 1000, every_micros: 46_000, seconds: 60 };
const IDLE: Pace = Pace { shards: 100, every_micros: 0, seconds: 30 };
/// A record a second in each.
const LATENCY: Pace = Pace { shards: 50, every_micros: 1_000_000, seconds: 30 };

const LEVELS: [u32; 2] = [6, 1];
/// Each with both levels, and the contenders after either.
const ROUNDS: u32 = 3;

/// What is to be measured.
enum Wanted {
    /// All of it; and whether it is written into docs/.
    All {
        write: bool,
    },
    /// So many shards at full speed, and the contenders.
    Shards(Vec<u64>),
    /// One way of keeping up.
    Scale(Pace),
    Idle(Pace),
    Latency(Pace),
}

fn main() -> Outcome<()> {
    let role = std::env::var(ROLE).unwrap_or_default();
    match role.splitn(3, ' ').collect::<Vec<_>>()[..] {
        ["servers", plan] => return servers::serve(serde_json::from_str(plan)?),
        ["naive", endpoint, gzip] => return contenders::naive(endpoint, gzip),
        _ => {}
    }
    let mut report = Report::default();
    match wanted()? {
        Wanted::All { write } => {
            full(&mut report, &[1, 8, 64, 1000])?;
            scale(&mut report, SCALE)?;
            idle(&mut report, IDLE)?;
            latency(&mut report, LATENCY)?;
            report.print();
            if write {
                report.write()?;
            }
        }
        Wanted::Shards(shards) => {
            full(&mut report, &shards)?;
            report.print();
        }
        Wanted::Scale(pace) => scale(&mut report, pace)?,
        Wanted::Idle(pace) => idle(&mut report, pace)?,
        Wanted::Latency(pace) => latency(&mut report, pace)?,
    }
    Ok(())
}

fn wanted() -> Outcome<Wanted> {
    // cargo adds `--bench`.
    let given: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let given: Vec<&str> = given.iter().map(String::as_str).collect();
    let during = |pace: Pace, rest: &[&str]| -> Outcome<Pace> {
        match rest {
            [] => Ok(pace),
            [seconds] => Ok(Pace { seconds: seconds.parse()?, ..pace }),
            _ => Err("only a number of seconds may follow".into()),
        }
    };
    Ok(match given.as_slice() {
        [] => Wanted::All { write: false },
        ["--write"] => Wanted::All { write: true },
        ["scale", rest @ ..] => Wanted::Scale(during(SCALE, rest)?),
        ["idle", rest @ ..] => Wanted::Idle(during(IDLE, rest)?),
        ["latency", rest @ ..] => Wanted::Latency(during(LATENCY, rest)?),
        shards => {
            let shards: Result<Vec<u64>, _> = shards.iter().map(|number| number.parse()).collect();
            Wanted::Shards(shards.map_err(|_| "it takes numbers of shards, scale, idle, latency or --write")?)
        }
    })
}

/// The path, the daemon at full speed, and the contenders.
fn full(report: &mut Report, shards: &[u64]) -> Outcome<()> {
    let compared = shards.contains(&report::COMPARED);
    // The second input is for comparison alone.
    for content in if compared { &[Content::Backlog, Content::Small][..] } else { &[Content::Backlog] } {
        let (name, input) = (content.name(), content.replies(content.filling(9), input::ARRIVED)?);
        let bodies: Vec<_> = input.replies.iter().map(|records| input::answer(records)).collect();
        let decoding = rates::decoding(input.payload, &bodies)?;
        report.decoded(name, decoding.alone / decoding.sdk);
        for level in LEVELS {
            let path = rates::path(input.payload, &bodies, level)?;
            report.path(name, level, path.whole / path.floor);
            report.row(Row::new(name, report::PATH, Some(level), path.whole));
        }
        for shards in shards.iter().filter(|shards| name == "json1k" && **shards != report::COMPARED) {
            for level in LEVELS {
                let mut tally = Tally::default();
                tally.add(&report::daemon(*shards), Some(level), runs::full(*content, *shards, level)?);
                tally.tell(name, report);
            }
        }
        if compared {
            in_rounds(*content, input.payload, &bodies)?.tell(name, report);
        }
    }
    Ok(())
}

/// What is compared, in turns: a machine that others share is faster in one minute than in the next.
fn in_rounds(content: Content, payload: u64, bodies: &[Vec<u8>]) -> Outcome<Tally> {
    let mut tally = Tally::default();
    let daemon = report::daemon(report::COMPARED);
    for _ in 0..ROUNDS {
        for level in LEVELS {
            let path = rates::path_on_all_cores(payload, bodies, level)?;
            tally.add(report::CROWDED, Some(level), Cost::new(path.payload, path.cpu.as_secs_f64()));
            tally.add(&daemon, Some(level), runs::full(content, report::COMPARED, level)?);
            if matches!(content, Content::Backlog) {
                let cost = runs::full(Content::InMegabytes, report::COMPARED, level)?;
                tally.add(&format!("{daemon}, replies of a megabyte"), Some(level), cost);
            }
            for (contender, cost) in contenders::all(content)? {
                tally.add(contender, None, cost);
            }
        }
    }
    Ok(tally)
}

fn scale(report: &mut Report, pace: Pace) -> Outcome<()> {
    let found = runs::paced(pace)?;
    let cores = std::thread::available_parallelism()?.get();
    println!(
        "{} shards, {:.0} records of about 900 bytes a second, {} s, batches of {} s, level 6:",
        pace.shards, found.records, pace.seconds, found.max_age
    );
    told(&found);
    let share = found.cores / cores as f64;
    println!("  {:.1} % of the machine's {cores} cores\n", share * 100.0);
    report.scale(pace, &found, share);
    Ok(())
}

fn idle(report: &mut Report, pace: Pace) -> Outcome<()> {
    let found = runs::paced(pace)?;
    println!("{} idle shards, {} s:", pace.shards, pace.seconds);
    told(&found);
    println!();
    report.idle(pace, &found);
    Ok(())
}

fn latency(report: &mut Report, pace: Pace) -> Outcome<()> {
    let found = runs::paced(pace)?;
    println!("{} shards, {:.0} records a second, {} s:", pace.shards, found.records, pace.seconds);
    told(&found);
    println!();
    report.latency(pace, &found);
    Ok(())
}

fn told(found: &Paced) {
    println!("  {:.3} of a core; {} MiB at most", found.cores, found.memory);
    println!("  {:.2} CPU seconds from start to end, {} data objects", found.whole_life, found.objects);
    println!("  the servers themselves: {:.3} of a core", found.servers);
    if found.records > 0.0 {
        println!(
            "  a record is taken after {} ms (median), {} ms (99 of 100), {} ms (longest)",
            found.median, found.p99, found.longest
        );
    }
}
