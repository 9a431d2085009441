//! The hours: each has one manifest, in a chain, with all of its entries; and nothing is added after it.

use std::collections::{BTreeMap, BTreeSet};

use kinesis_keeper::model::hour::{HourManifest, HourObject, HoursStart};
use kinesis_keeper::model::key::Layout;
use kinesis_keeper::model::ledger::Body;
use kinesis_keeper::model::manifest::About;
use kinesis_keeper::model::timestamp::Hour;
use kinesis_keeper::testing::Change;

use crate::archive::{Archive, is_void};
use crate::check::ensure;
use crate::driver::Driver;
use crate::keeper::keys;
use crate::plan::{HOUR, MINUTE};
use crate::reader::sha256;

/// An hour as it was told.
struct Told<'a> {
    manifest: HourManifest,
    change: &'a Change,
    sha256: String,
}

fn all(archive: &Archive) -> Result<Vec<Told<'_>>, String> {
    let mut told = Vec::new();
    for (key, changes) in archive.stored.iter().filter(|(key, _)| key.ends_with("/_hour.json")) {
        let [change] = &changes[..] else { return Err(format!("{key} was put {} times", changes.len())) };
        let bytes = &change.object.bytes;
        let manifest = HourManifest::parse(bytes).map_err(|error| format!("{key}: {error}"))?;
        ensure!(manifest.key == *key, "{key} says that it lies at {}", manifest.key);
        told.push(Told { manifest, change, sha256: sha256(bytes) });
    }
    told.sort_by_key(|told| told.manifest.hour);
    Ok(told)
}

fn is_there(archive: &Archive, hour: Hour, before: u64) -> bool {
    let keys = [Layout::Hive, Layout::Firehose].map(|layout| keys().hour(layout, hour));
    keys.iter().any(|key| archive.first(key).is_some_and(|change| change.event < before))
}

/// The first hour from this on that was open when something happened: none is before the chain's first.
pub fn next_open(archive: &Archive, mut hour: Hour, event: u64) -> Hour {
    let start = archive.first(&keys().hours_start()).filter(|change| change.event < event);
    if let Some(start) =
        start.and_then(|start| serde_json::from_slice::<HoursStart>(&start.object.bytes).ok())
    {
        hour = hour.max(start.hour);
    }
    while is_there(archive, hour, event) {
        hour = hour.next();
    }
    hour
}

/// The hour that should have been told by now, in words.
pub fn untold(driver: &Driver) -> String {
    let archive = Archive::of(&driver.bucket);
    let history = driver.stream.history();
    let mut entries = history.iter().flat_map(|shard| archive.ledger(shard).unwrap_or_default());
    let begun = entries.any(|lain| lain.batch().is_some() || lain.gap().is_some());
    // Nobody need be there to tell it, if the stream has no ledger, or all were read to their ends.
    let alive = driver.keepers.iter().any(|keeper| !keeper.retired);
    let wanted = (driver.calm_since - HOUR - 2 * MINUTE).hour();
    let newest = all(&archive).ok().and_then(|told| told.last().map(|told| told.manifest.hour));
    let first = history.iter().flat_map(|shard| archive.ledger(shard).unwrap_or_default());
    let first = first.filter_map(|lain| lain.batch().map(|batch| batch.hour)).min();
    let due = first.is_some_and(|first| first <= wanted);
    if begun && alive && due && newest.is_none_or(|newest| newest < wanted) {
        return format!("the hour {} is not told, the newest is {newest:?}", wanted.start());
    }
    String::new()
}

/// Checks all manifests; how many there are.
pub fn check(driver: &Driver, archive: &Archive) -> Result<u64, String> {
    let told = all(archive)?;
    chain(archive, &told)?;
    let newest = told.last().map(|told| told.manifest.hour);
    let mut seen: BTreeMap<(i64, String), BTreeSet<u64>> = BTreeMap::new();
    for one in &told {
        contents(archive, one, &mut seen).map_err(|why| format!("{}: {why}", one.manifest.key))?;
    }
    for shard in driver.stream.history() {
        let name = (shard.created.as_seconds(), shard.shard.id.to_string());
        let serials = seen.remove(&name).unwrap_or_default();
        for lain in archive.ledger(&shard)? {
            let Some(batch) = lain.batch() else { continue };
            let due = newest.is_some_and(|newest| batch.hour <= newest);
            // What lands of a deleted stream between a look and its put is told later.
            ensure!(
                !due || serials.contains(&lain.serial) || shard.deleted.is_some(),
                "no hour tells of entry {} of {name:?}, which lies in {}",
                lain.serial,
                batch.hour.start()
            );
        }
        ensure!(
            shard.deleted.is_some() || late(archive, &told, &shard)?.is_none(),
            "{name:?}: {:?}",
            late(archive, &told, &shard)?
        );
    }
    ensure!(seen.is_empty(), "shards are told of that never were: {:?}", seen.keys());
    notices(driver, &told)?;
    Ok(told.len() as u64)
}

/// An entry that came to lie in an hour after its manifest.
fn late(
    archive: &Archive,
    told: &[Told<'_>],
    shard: &kinesis_keeper::testing::ShardHistory,
) -> Result<Option<String>, String> {
    for lain in archive.ledger(shard)? {
        let Some(batch) = lain.batch() else { continue };
        let closed = told.iter().find(|told| told.manifest.hour == batch.hour);
        if closed.is_some_and(|told| told.change.event < lain.event) {
            return Ok(Some(format!(
                "entry {} was put when its hour {} was closed",
                lain.serial,
                batch.hour.start()
            )));
        }
    }
    Ok(None)
}

fn chain(archive: &Archive, told: &[Told<'_>]) -> Result<(), String> {
    let Some(first) = told.first() else { return Ok(()) };
    let start = archive.first(&keys().hours_start()).ok_or("the chain has no start")?;
    let start: HoursStart = serde_json::from_slice(&start.object.bytes).map_err(|error| error.to_string())?;
    let begins = start.hour == first.manifest.hour && start.key == first.manifest.key;
    ensure!(
        begins && first.manifest.previous.is_none(),
        "the chain begins at {}, its start says {}",
        first.manifest.key,
        start.key
    );
    for pair in told.windows(2) {
        let [before, after] = pair else { continue };
        let link = after.manifest.previous.as_ref();
        ensure!(
            after.manifest.hour == before.manifest.hour.next()
                && link.is_some_and(|link| link.sha256 == before.sha256 && link.key == before.manifest.key)
                && before.manifest.next_key == after.manifest.key
                && before.change.event < after.change.event,
            "{} does not follow {}",
            after.manifest.key,
            before.manifest.key
        );
    }
    Ok(())
}

/// All that one manifest says is so, and was when it was put.
fn contents(
    archive: &Archive,
    one: &Told<'_>,
    seen: &mut BTreeMap<(i64, String), BTreeSet<u64>>,
) -> Result<(), String> {
    for shard in &one.manifest.shards {
        let name = (shard.stream_created.as_seconds(), shard.shard.to_string());
        let serials = seen.entry(name).or_default();
        let entry = |serial: u64| {
            let key = keys().entry(&shard.shard, shard.stream_created, serial);
            let change = archive.first(&key).filter(|change| change.event < one.change.event);
            change.ok_or_else(|| format!("{key} was not there"))
        };
        ensure!(
            sha256(&entry(shard.last_serial)?.object.bytes) == shard.last_entry_sha256,
            "the last of {}",
            shard.shard
        );
        for told in &shard.entries {
            let change = entry(told.serial)?;
            let body = serde_json::from_slice::<kinesis_keeper::model::ledger::Entry>(&change.object.bytes);
            let Ok(Body::Batch(batch)) = body.map(|entry| entry.body) else {
                return Err(format!("entry {} is no batch", told.serial));
            };
            ensure!(
                batch.key == told.key
                    && batch.content_sha256 == told.content_sha256
                    && batch.records == told.records,
                "entry {} is told as {told:?}",
                told.serial
            );
            ensure!(batch.hour <= one.manifest.hour, "entry {} is of a later hour", told.serial);
            ensure!(serials.insert(told.serial), "entry {} is told twice", told.serial);
            let object = archive.object_of(&batch).filter(|object| object.event < one.change.event);
            match (object, told.object) {
                (Some(object), HourObject::Void | HourObject::Archived) => ensure!(
                    sha256(&object.object.bytes) == told.sha256
                        && is_void(&object.object) == (told.object == HourObject::Void),
                    "the object of entry {} is told as {told:?}",
                    told.serial
                ),
                (_, HourObject::Expired) if archive.lifecycle => {}
                // Of a stream that was deleted since; nobody could complete it.
                (None, HourObject::Missing) if shard.stream_created < one.manifest.stream_created => {}
                (found, _) => {
                    return Err(format!("entry {} is told as {told:?}, there is {found:?}", told.serial));
                }
            }
        }
        for gap in &shard.gaps {
            ensure!(sha256(&entry(gap.serial)?.object.bytes) == gap.entry_sha256, "gap {}", gap.serial);
            ensure!(serials.insert(gap.serial), "gap {} is told twice", gap.serial);
        }
    }
    Ok(())
}

/// What subscribers heard of hours is so; and whoever put a manifest told of it, while his disk lives.
fn notices(driver: &Driver, told: &[Told<'_>]) -> Result<(), String> {
    for keeper in &driver.keepers {
        let mut heard = BTreeSet::new();
        for recorded in keeper.recorder.arrived() {
            let About::Hour(hour) = &recorded.notice.about else { continue };
            let one = told.iter().find(|one| one.manifest.hour == hour.hour);
            let is_so = one.is_some_and(|one| {
                one.change.event < recorded.event
                    && one.manifest.key == hour.key
                    && one.sha256 == hour.sha256
                    && one.manifest.totals == hour.totals
            });
            ensure!(is_so, "{} told of an hour that is not so: {hour:?}", keeper.plan.name);
            heard.insert(hour.hour);
        }
        // The newest may have been put a moment ago.
        for one in told.iter().rev().skip(1) {
            let own = one.change.object.writer == keeper.trouble.identity();
            let lives = keeper.disk_events.iter().all(|lost| *lost < one.change.event);
            ensure!(
                !own || !lives || keeper.retired || heard.contains(&one.manifest.hour),
                "{} never announced {}",
                keeper.plan.name,
                one.manifest.key
            );
        }
    }
    Ok(())
}
