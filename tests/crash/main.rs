//! The real binary is killed at every named point of the flow, twice in a row, and started again: every
//! record is in the archive exactly once, what was sealed is archived byte for byte as it was sealed, and
//! every object is announced at least once.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "this is all test code: it fails by panicking and waits on the real clock, with deadlines"
)]

#[path = "../support/mod.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use kinesis_keeper::ports::CrashPoint;
use support::archive::Archive;
use support::aws;
use support::keeper::LIMIT;
use support::scene::Scene;
use support::topics::{self, Topic};
use support::{sha256, wait_for};

/// A test for each point, and the list of those that have one.
macro_rules! killed {
    ($($test:ident $point:literal)*) => {
        $(#[test] fn $test() { survives($point); })*
        const TESTED: &[&str] = &[$($point),*];
    };
}

killed! {
    killed_after_a_spill "after-spill"
    killed_before_a_seal "before-seal"
    killed_during_a_seal "during-seal"
    killed_after_a_seal "after-seal"
    killed_before_an_entry "before-entry"
    killed_after_an_entry "after-entry"
    killed_after_a_side_object "after-side"
    killed_after_a_put "after-put"
    killed_after_the_outbox "after-outbox"
    killed_after_the_checkpoint "after-checkpoint"
    killed_after_publishing "after-publish"
    killed_after_the_local_copy "after-local-copy"
    killed_after_the_spool_file_went "after-spool-removed"
}

#[test]
fn every_named_point_has_its_test() {
    assert_eq!(CrashPoint::ALL.map(CrashPoint::as_str), TESTED);
}

fn survives(point: &str) {
    let mut scene = Scene::new("crash", 2);
    let topic = topics::topic("crash");
    let setting = scene.setting().max_age("1s").text("notice", "topic_arn", &topic.arn);
    let (payloads, spills) = (point == "after-side", point == "after-spill");
    // A batch is spilled member by member, which are a mebibyte each.
    let setting = if spills { setting } else { setting.max_records(40) };
    let setting = if payloads { setting.text("archive", "format", "payload") } else { setting };
    if payloads {
        scene.put_all((0..300).map(|n| format!("{n}{}", if n % 5 == 0 { "\n" } else { "" }).into_bytes()));
    } else if spills {
        scene.put_all(large(100));
    } else {
        scene.put(300);
    }
    let mut sealed = BTreeSet::new();
    let mut archived = BTreeMap::new();
    // All that is there comes in one reply, which is spilled once.
    for nth in if spills { [1, 1] } else { [3, 1] } {
        setting.start_to_crash(point, nth).wait_crash();
        sealed.extend(sealed_files(&setting.state().join("spool")));
        for key in aws::keys(&scene.bucket, "") {
            let body = aws::object(&scene.bucket, &key).unwrap().body;
            archived.entry(key).or_insert(body);
        }
        if payloads {
            scene.put_all((0..100).map(|n| format!("{nth}\n{n}").into_bytes()));
        } else if spills {
            scene.put_all(large(100));
        } else {
            scene.put(100);
        }
    }
    let mut keeper = setting.start();
    scene.wait_all_archived(LIMIT);
    keeper.stop();
    let archive = scene.check();
    for (key, body) in &archived {
        assert!(aws::object(&scene.bucket, key).unwrap().body == *body, "{key} was changed");
    }
    let objects: BTreeSet<String> = archive.objects.values().map(|object| sha256(&object.body)).collect();
    // Payloads are rendered from what was sealed; that all are there was checked.
    for file in sealed.iter().filter(|_| !payloads) {
        assert!(objects.contains(file), "a sealed batch, {file}, was not archived as it was sealed");
    }
    if matches!(point, "after-seal" | "before-entry" | "after-entry" | "after-put") {
        assert!(!sealed.is_empty(), "something was sealed when it died at {point}");
    }
    check_notices(&topic, &archive);
}

/// Payloads that do not become smaller.
fn large(count: usize) -> impl Iterator<Item = Vec<u8>> {
    (0..count).map(|_| std::iter::repeat_with(|| fastrand::u8(..)).take(30_000).collect())
}

/// Hex SHA-256 of every batch in the spool that has its manifest, and so is sealed.
fn sealed_files(folder: &Path) -> Vec<String> {
    let mut sealed = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            sealed.extend(sealed_files(&path));
        } else if let Some(stem) = path.to_str().and_then(|text| text.strip_suffix(".ndjson.gz")) {
            let manifests =
                [format!("{stem}.json"), format!("{stem}.ndjson.gz.json"), format!("{stem}.ndjson.json")];
            if manifests.iter().any(|manifest| Path::new(manifest).exists()) {
                sealed.push(sha256(&fs::read(&path).unwrap()));
            }
        }
    }
    sealed
}

/// At least one notice for each object, and none of anything else.
fn check_notices(topic: &Topic, archive: &Archive) {
    let expected: BTreeSet<(String, String)> = archive
        .entries("batch")
        .map(|entry| (entry.text("key").to_owned(), sha256(&archive.objects[entry.text("key")].body)))
        .collect();
    let mut announced = BTreeSet::new();
    wait_for("a notice for each object", LIMIT, || {
        for message in topic.take() {
            let text = |name: &str| message.body[name].as_str().unwrap_or("").to_owned();
            if text("type") == "batch" {
                announced.insert((text("key"), text("sha256")));
            }
        }
        (announced.len() >= expected.len()).then_some(())
    });
    assert_eq!(announced, expected);
}
