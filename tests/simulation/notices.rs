//! What subscribers must have heard: everything, only what is true, and in order.

use std::collections::BTreeSet;

use kinesis_keeper::model::ledger::Body;
use kinesis_keeper::model::manifest::About;
use kinesis_keeper::testing::Recorded;

use crate::archive::{Archive, Lain, is_void};
use crate::check::{Checked, ensure};
use crate::driver::Driver;
use crate::keeper::Keeper;
use crate::reader::sha256;

/// Checks the notices of one shard.
pub fn check(driver: &Driver, archive: &Archive, checked: &Checked<'_>) -> Result<(), String> {
    let mut heard = BTreeSet::new();
    let mut by_keeper = Vec::new();
    for keeper in &driver.keepers {
        let notices: Vec<_> =
            keeper.recorder.arrived().into_iter().filter(|notice| is_of(checked, notice)).collect();
        for notice in &notices {
            is_true(archive, checked, notice)?;
            heard.insert(notice.notice.serial());
        }
        if !keeper.damaged {
            in_order(keeper, &notices)?;
        }
        by_keeper.push(notices);
    }
    for lain in checked.ledger.iter().skip(1) {
        // A put that landed when the bucket had long since deleted what was put with it: by then its
        // entry counted as one whose object has expired.
        let landed_late = |batch| {
            let object = archive.object_of(batch);
            driver
                .bucket
                .lifecycle
                .is_some_and(|life| object.is_some_and(|object| object.at >= lain.at + life))
        };
        let excused = |batch| never_seen(archive, batch) || landed_late(batch);
        if heard.contains(&lain.serial) || lain.batch().is_some_and(excused) {
            continue;
        }
        for (keeper, notices) in driver.keepers.iter().zip(&by_keeper) {
            ensure!(
                !must_announce(checked, keeper, notices, lain),
                "{} never announced entry {}",
                keeper.plan.name,
                lain.serial
            );
        }
    }
    Ok(())
}

/// A void is not announced as a batch; an object may have expired before anybody saw it.
fn never_seen(archive: &Archive, batch: &kinesis_keeper::model::ledger::BatchBody) -> bool {
    archive.is_void(batch) || archive.object_of(batch).is_none() || archive.expired.contains_key(&batch.key)
}

fn is_of(checked: &Checked<'_>, notice: &Recorded) -> bool {
    notice.notice.origin().is_some_and(|origin| {
        origin.shard == checked.shard.shard.id
            && origin.stream_created.as_seconds() == checked.shard.created.as_seconds()
    })
}

/// The keeper put the entry, or had announced an earlier one; and its disk has lived since.
fn must_announce(checked: &Checked<'_>, keeper: &Keeper, notices: &[Recorded], lain: &Lain) -> bool {
    let lived_since = |event: u64| keeper.disk_events.iter().all(|lost| *lost < event);
    // A disk that was restored as it was before the put does not know of it.
    if lain.object.writer.starts_with(keeper.plan.name)
        && lived_since(lain.event)
        && lain.object.writer == keeper.trouble.identity()
    {
        return true;
    }
    checked.shard.deleted.is_none()
        && notices.iter().any(|notice| {
            notice.notice.serial() < lain.serial && notice.event < lain.event && lived_since(notice.event)
        })
}

fn is_true(archive: &Archive, checked: &Checked<'_>, notice: &Recorded) -> Result<(), String> {
    let (event, notice) = (notice.event, &notice.notice);
    let serial = notice.serial();
    let lain = usize::try_from(serial).ok().and_then(|serial| checked.ledger.get(serial));
    let Some(lain) = lain.filter(|lain| lain.event < event) else {
        return Err(format!("entry {serial} was announced before it was there"));
    };
    match (&notice.about, &lain.entry.body) {
        (About::Batch(told), Body::Batch(batch)) => {
            // The latest: what expired before any entry followed may have been put again by its writer.
            let mut objects = archive.stored.get(&batch.key).into_iter().flatten();
            let object = objects.rfind(|change| change.event < event);
            let Some(object) = object.filter(|change| !is_void(&change.object)) else {
                return Err(format!("entry {serial} was announced before its object was there"));
            };
            ensure!(
                told.key == batch.key
                    && told.sha256 == sha256(&object.object.bytes)
                    && told.size == object.object.bytes.len() as u64
                    && told.content_sha256 == batch.content_sha256
                    && told.content_size == batch.content_size
                    && told.records == batch.records
                    && told.first_sequence_number == batch.first_sequence_number
                    && told.last_sequence_number == batch.last_sequence_number
                    && told.sealed_by == batch.sealed_by,
                "the notice of entry {serial} is not right: {told:?}"
            );
        }
        (About::Gap(told), Body::Gap(gap)) => ensure!(told.gap == *gap, "the notice of gap {serial}"),
        (About::End(told), Body::End(end)) => {
            ensure!(told.children == end.children, "the notice of the end {serial}");
        }
        (told, body) => return Err(format!("entry {serial} {body:?} was announced as {told:?}")),
    }
    Ok(())
}

/// While its disk lives, a keeper announces each serial after all that it announced before. (With a
/// damaged checkpoint the ledger is walked once more, behind what waits in the outbox.)
fn in_order(keeper: &Keeper, notices: &[Recorded]) -> Result<(), String> {
    let mut known: BTreeSet<u64> = BTreeSet::new();
    let mut last_event = 0;
    for notice in notices {
        if keeper.disk_events.iter().any(|lost| last_event <= *lost && *lost <= notice.event) {
            known.clear();
        }
        last_event = notice.event;
        let serial = notice.notice.serial();
        let first_time = known.insert(serial);
        ensure!(
            !first_time || known.last() == Some(&serial),
            "{} announced {serial} after a later one",
            keeper.plan.name
        );
    }
    Ok(())
}
