//! From what the disk and the keeper say to one report, with warnings.
//!
//! Decides purely: whoever looked hands in what was seen, and the time.

use std::collections::{BTreeMap, BTreeSet};

use bytesize::ByteSize;

use super::Answer;
use super::report::{DamagedReport, Keeper, LastObject, Report, ShardReport, Totals, VERSION};
use crate::config::Config;
use crate::metrics::Status;
use crate::metrics::status::{BatchStatus, ShardStatus};
use crate::model::sequence::Position;
use crate::model::timestamp::Timestamp;
use crate::spool::look::ShardLook;
use crate::spool::{Holder, Identity, Look};

/// Reading pauses when the spool is full; at this share there is still time to do something.
const SPOOL_WARNING: f64 = 0.8;

/// Puts together what was seen at `now`. `unseen`: why the state directory could not be looked at.
pub fn report(
    config: &Config,
    look: Look,
    unseen: Option<String>,
    holder: Holder,
    answer: Answer,
    now: Timestamp,
) -> Report {
    let archive = format!("s3://{}/{}", config.archive.bucket, config.archive.prefix);
    let mut warnings = Vec::new();
    let said = match &answer {
        Answer::Status(status, place) if status.stream == config.stream.name && status.archive == archive => {
            Some((&**status, place))
        }
        Answer::Status(other, place) => {
            let (stream, archive) = (&other.stream, &other.archive);
            warnings.push(format!("at {place} another keeper answers: {stream} to {archive}"));
            None
        }
        Answer::None(_) => None,
    };
    let live = said.map(|(live, _)| live);
    let mut look = look;
    for shard in live.iter().flat_map(|live| &live.shards).filter(|_| unseen.is_some()) {
        // Else the disk knows better: it counts items, too, and is no second old.
        let seen = look.shards.entry(shard.shard.to_string()).or_default();
        (seen.spool_bytes, seen.outbox) = (shard.spool_bytes, shard.outbox_notices);
    }
    if let Some(live) = live.filter(|_| unseen.is_some()) {
        let of_shards = live.shards.iter().map(|shard| shard.outbox_notices).sum();
        look.hour_notices = live.totals.outbox_notices.saturating_sub(of_shards);
    }
    let keeper = keeper(config, &holder, &answer, said);
    let shards = shards(&look, live, &keeper, now);
    let totals = totals(config, &shards, look.hour_notices, live);
    warnings.extend(unseen);
    warnings.extend(live.iter().flat_map(|live| live.troubles.iter().cloned()));
    warnings.extend(of_the_disk(config, &look, &keeper, &totals));
    Report {
        version: VERSION,
        stream: config.stream.name.clone(),
        archive,
        state_dir: config.disk.state_dir.clone(),
        now,
        keeper,
        totals,
        warnings,
        shards,
        damaged: DamagedReport {
            files: look.damaged.files,
            bytes: look.damaged.bytes,
            named: look.damaged.named,
        },
    }
}

fn keeper(config: &Config, holder: &Holder, answer: &Answer, said: Option<(&Status, &String)>) -> Keeper {
    let live = said.map(|(live, _)| live);
    let (holds, held_by) = match holder {
        Holder::Held(name) => (Some(true), Some(name.clone())),
        Holder::Nobody => (Some(false), None),
        Holder::Unknown => (None, None),
    };
    Keeper {
        // One that answers runs, on whatever machine.
        running: if live.is_some() { Some(true) } else { holds },
        holder: held_by,
        http: config.metrics.http.as_ref().map(ToString::to_string),
        answered: live.is_some(),
        answered_at: said.map(|(_, place)| place.clone()),
        no_answer: match answer {
            Answer::None(why) => Some(why.clone()),
            Answer::Status(_, place) if live.is_none() => Some(format!("another keeper answers at {place}")),
            Answer::Status(..) => None,
        },
        program: live.map(|live| live.program.clone()),
        since: live.map(|live| live.since),
        healthy: live.map(|live| live.healthy),
    }
}

/// Everything that either knows of, in order.
fn shards(look: &Look, live: Option<&Status>, keeper: &Keeper, now: Timestamp) -> Vec<ShardReport> {
    let of_keeper: BTreeMap<&str, &ShardStatus> =
        live.iter().flat_map(|live| &live.shards).map(|shard| (shard.shard.as_str(), shard)).collect();
    let names: BTreeSet<&str> =
        look.shards.keys().map(String::as_str).chain(of_keeper.keys().copied()).collect();
    let nothing = ShardLook::default();
    names
        .into_iter()
        .map(|name| {
            let disk = look.shards.get(name).unwrap_or(&nothing);
            shard(name, disk, of_keeper.get(name).copied(), keeper, now)
        })
        .collect()
}

fn shard(
    name: &str,
    disk: &ShardLook,
    live: Option<&ShardStatus>,
    keeper: &Keeper,
    now: Timestamp,
) -> ShardReport {
    let (sealed, checkpoint) = (disk.sealed.as_ref(), disk.checkpoint.as_ref());
    let ended = sealed.is_some_and(|sealed| sealed.position == Position::End);
    let state = match live {
        Some(live) => live.activity.as_str(),
        None if ended => "ended",
        None if keeper.running == Some(false) => "not running",
        None => "not known",
    };
    let complete_to = sealed.and_then(|sealed| sealed.complete_to).filter(|_| !ended);
    let since_complete = complete_to.map(|then| now.since(then).as_secs_f64());
    let told = live.and_then(|live| live.millis_behind_latest).map(|millis| millis / 1000.0);
    ShardReport {
        shard: name.to_owned(),
        state: state.to_owned(),
        troubles: live.map(|live| live.troubles.clone()).unwrap_or_default(),
        // A running shard that does not know yet is asked again; the disk's view would be far too old.
        lag_seconds: told.or_else(|| since_complete.filter(|_| live.is_none())),
        retention_used: live.and_then(|live| live.retention_used),
        batch: live.and_then(|live| live.batch.clone()),
        spool_items: disk.spool_items,
        spool_bytes: disk.spool_bytes,
        oldest_sealed_at: disk.oldest_sealed,
        outbox_notices: disk.outbox.max(live.map_or(0, |live| live.outbox_notices)),
        restarts: live.map(|live| live.restarts),
        read_to: live
            .and_then(|live| live.read_to.clone())
            .or_else(|| sealed.and_then(|sealed| sealed.last_record.clone())),
        // Checkpoints that are kept in memory lie on no disk.
        archived: checkpoint
            .map(|saved| saved.known.position.clone())
            .or_else(|| live.and_then(|live| live.archived_to.clone()).map(Position::After)),
        serial: checkpoint
            .map(|saved| saved.serial)
            .or_else(|| live.and_then(|live| live.last_batch.as_ref()).map(|batch| batch.serial)),
        saved_at: checkpoint.map(|saved| saved.saved_at),
        last_object: last_object(disk, live.and_then(|live| live.last_batch.as_ref())),
    }
}

fn last_object(disk: &ShardLook, live: Option<&BatchStatus>) -> Option<LastObject> {
    let copy = disk.last_copy.as_ref().map(|(batch, at)| LastObject {
        serial: batch.origin.serial,
        key: batch.key.clone(),
        url: batch.url.clone(),
        records: batch.records,
        size: batch.size,
        archived_at: *at,
    });
    let told = live.map(|batch| LastObject {
        serial: batch.serial,
        key: batch.key.clone(),
        url: batch.url.clone(),
        records: batch.records,
        size: batch.size,
        archived_at: batch.archived_at,
    });
    // The keeper counts from its start, the copies from further back.
    told.into_iter().chain(copy).max_by_key(|object| object.serial)
}

fn totals(config: &Config, shards: &[ShardReport], hour_notices: u64, live: Option<&Status>) -> Totals {
    let largest = |values: &mut dyn Iterator<Item = Option<f64>>| values.flatten().max_by(f64::total_cmp);
    let batches = || shards.iter().filter_map(|shard| shard.batch.as_ref());
    Totals {
        shards: shards.len() as u64,
        running: live.map(|live| live.totals.shards_running),
        lag_seconds: largest(&mut shards.iter().map(|shard| shard.lag_seconds)),
        retention_used: largest(&mut shards.iter().map(|shard| shard.retention_used)),
        batch_records: live.map(|_| batches().map(|batch| batch.records).sum()),
        batch_bytes: live.map(|_| batches().map(|batch| batch.bytes).sum()),
        spool_items: shards.iter().map(|shard| shard.spool_items).sum(),
        spool_bytes: shards.iter().map(|shard| shard.spool_bytes).sum(),
        spool_limit: config.disk.spool_bytes,
        outbox_notices: shards.iter().map(|shard| shard.outbox_notices).sum::<u64>() + hour_notices,
        hour_notices,
        restarts: live.map(|_| shards.iter().filter_map(|shard| shard.restarts).sum()),
    }
}

/// What only the disk tells, and needs somebody's attention.
fn of_the_disk(config: &Config, look: &Look, keeper: &Keeper, totals: &Totals) -> Vec<String> {
    let mut told = Vec::new();
    if let Some(identity) = &look.identity
        && !is_of(config, identity)
    {
        told.push(format!(
            "the state directory holds the state of {} in s3://{}/{}, not of this configuration: run will refuse it",
            identity.stream_arn, identity.bucket, identity.prefix
        ));
    }
    if keeper.running == Some(false) {
        let waits = if totals.spool_items + totals.outbox_notices > 0 {
            format!(
                "; {} sealed items ({}) and {} notices wait on this disk and go first at the next start",
                totals.spool_items,
                ByteSize(totals.spool_bytes),
                totals.outbox_notices
            )
        } else {
            String::new()
        };
        told.push(format!("the keeper is not running{waits}"));
    }
    if totals.spool_limit > 0 && totals.spool_bytes as f64 >= SPOOL_WARNING * totals.spool_limit as f64 {
        told.push(format!(
            "the spool holds {} of {}: when it is full, reading pauses; mend what keeps the batches from the bucket, \
             or raise disk.spool_bytes",
            ByteSize(totals.spool_bytes),
            ByteSize(totals.spool_limit)
        ));
    }
    told.extend(look.newer.iter().map(|file| format!("{file}: run will refuse it")));
    told.extend(look.unreadable.iter().map(|file| {
        format!("damaged file {file}; the next start sets it aside, and its records are read again")
    }));
    if look.damaged.files > 0 {
        let (files, bytes) = (look.damaged.files, ByteSize(look.damaged.bytes));
        told.push(format!(
            "{files} damaged files ({bytes}) lie under {}: see what damaged them; they may be deleted then",
            config.disk.state_dir.join("damaged").display()
        ));
    }
    told
}

/// Whether the state is that of the configured stream, bucket and prefix.
pub fn is_of(config: &Config, identity: &Identity) -> bool {
    identity.stream == config.stream.name
        && config.stream.arn.as_ref().is_none_or(|arn| *arn == identity.stream_arn)
        && identity.bucket == config.archive.bucket
        && identity.prefix == config.archive.prefix.as_str()
}

#[cfg(test)]
mod tests;
