//! The runs of the daemon: all that there is as fast as it goes, and a stream written to as time passes.

use std::time::Instant;

use super::Outcome;
use super::keeper::{Keeper, Servers};
use super::servers::{Ask, Content, Plan};
use super::tally::Cost;

/// Megabytes in all shards together, and the most in one: a shard gives two megabytes a second, so a run takes
/// half a minute.
const ALL_MEGABYTES: u64 = 4096;
const MOST_MEGABYTES: u64 = 64;
/// The default of `batch.max_age`, in seconds.
const MAX_AGE: u64 = 300;
/// After all shards were asked, until it is measured: the start is over.
const SETTLED: u64 = 5;
/// The same with shards that nobody writes to: a shard that is silent for so long is asked as rarely as any.
const SILENT: u64 = 45;

/// The daemon from its start until all is read and, once told to stop, archived.
pub fn full(content: Content, shards: u64, level: u32) -> Outcome<Cost> {
    let replies = content.filling((ALL_MEGABYTES / shards.max(1)).min(MOST_MEGABYTES));
    let mut servers = Servers::start(Plan::Full { content, shards, replies })?;
    let mut keeper = Keeper::start(&servers, level, MAX_AGE)?;
    keeper.wait("all is read", || Ok(servers.ask(Ask::State)?.drained == shards))?;
    let (cpu_seconds, memory) = keeper.stop()?;
    let archived = servers.ask(Ask::State)?.archived;
    if archived != shards * servers.opened.records {
        return Err(format!("{archived} records of {shards} shards were archived").into());
    }
    Ok(Cost { memory: Some(memory), ..Cost::new(servers.payload(), cpu_seconds) })
}

/// How a stream is written to, and for how many seconds it is looked at.
#[derive(Clone, Copy)]
pub struct Pace {
    pub shards: u64,
    /// Microseconds between two records of one shard; 0: none come.
    pub every_micros: u64,
    pub seconds: u64,
}

/// What was seen.
pub struct Paced {
    /// CPU seconds a second.
    pub cores: f64,
    /// Of the servers.
    pub servers: f64,
    /// Peak resident memory in MiB, of the whole life.
    pub memory: u64,
    /// Records a second.
    pub records: f64,
    /// How long records waited until GetRecords took them, in milliseconds.
    pub median: u64,
    pub p99: u64,
    pub longest: u64,
    /// Data objects, and the CPU seconds of the daemon's whole life.
    pub objects: u64,
    pub whole_life: f64,
    pub max_age: u64,
}

/// A daemon that keeps up with what is written. Each shard's batch is sealed once while it is looked at, or
/// more often.
pub fn paced(pace: Pace) -> Outcome<Paced> {
    let Pace { shards, every_micros, seconds } = pace;
    let max_age = seconds.clamp(1, MAX_AGE);
    let mut servers = Servers::start(Plan::Paced { shards, every_micros })?;
    let mut keeper = Keeper::start(&servers, 6, max_age)?;
    keeper.wait("all shards are read", || Ok(servers.ask(Ask::State)?.begun == shards))?;
    keeper.watch(if every_micros == 0 { SILENT } else { SETTLED })?;
    let before = servers.ask(Ask::ForgetLags)?;
    let (clock, cpu) = (Instant::now(), keeper.cpu_seconds()?);
    keeper.watch(seconds)?;
    let cpu = keeper.cpu_seconds()? - cpu;
    let took = clock.elapsed().as_secs_f64();
    let after = servers.ask(Ask::EndOfRecords)?;
    keeper.wait("the rest is read", || Ok(servers.ask(Ask::State)?.drained == shards))?;
    let (whole_life, memory) = keeper.stop()?;
    let end = servers.ask(Ask::State)?;
    if end.archived != end.written {
        return Err(format!("{} of {} records were archived", end.archived, end.written).into());
    }
    Ok(Paced {
        cores: cpu / took,
        servers: (after.cpu_seconds - before.cpu_seconds) / took,
        memory,
        records: (after.written - before.written) as f64 / took,
        median: after.median,
        p99: after.p99,
        longest: after.longest,
        objects: end.objects,
        whole_life,
        max_age,
    })
}
