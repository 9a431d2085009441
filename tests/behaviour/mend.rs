//! `verify --repair` and `verify --against-stream`, by the real binary.

use std::fs;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::support::archive::Archive;
use crate::support::aws;
use crate::support::keeper::{LIMIT, Setting, binary};
use crate::support::scene::Scene;

fn verify(setting: &Setting, more: &[&str]) -> Output {
    setting.write();
    let mut command = Command::new(binary());
    command.arg("verify").arg(setting.file()).args(more).envs(setting.environment()).stdin(Stdio::null());
    command.output().unwrap()
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// A stream of two shards in a bucket that keeps versions, or in one that does not, archived by a
/// keeper that has stopped.
fn archived(word: &str, versions: bool) -> (Scene, Setting, Archive) {
    let mut scene = Scene::new(word, 2);
    if versions {
        scene.bucket = aws::versioned_bucket(word);
    }
    let setting = scene.setting().max_age("1s").max_records(60);
    let mut keeper = setting.start();
    scene.put(500);
    scene.wait_all_archived(LIMIT);
    keeper.stop();
    let archive = scene.check();
    (scene, setting, archive)
}

/// Removes the first object, damages the second, and says another shard number in the third's metadata.
fn damage(scene: &Scene, archive: &Archive) {
    let keys: Vec<&String> = archive.objects.keys().collect();
    aws::remove(&scene.bucket, keys[0]);
    let object = aws::object(&scene.bucket, keys[1]).unwrap();
    let mut damaged = object.body;
    damaged[40] ^= 1;
    aws::overwrite(&scene.bucket, keys[1], damaged, object.metadata);
    let object = aws::object(&scene.bucket, keys[2]).unwrap();
    let mut metadata = object.metadata;
    metadata.insert("keeper-records".to_owned(), "7".to_owned());
    aws::overwrite(&scene.bucket, keys[2], object.body, metadata);
}

/// What was there before is there again: the bytes, and what stands beside them.
fn is_as_before(scene: &Scene, archive: &Archive) {
    for (key, before) in &archive.objects {
        let now = aws::object(&scene.bucket, key).unwrap();
        // The level of bytes that were found is known to nobody.
        let said = |object: &aws::Object| {
            let mut metadata = object.metadata.clone();
            metadata.remove("keeper-level");
            metadata
        };
        assert_eq!((&now.body, said(&now)), (&before.body, said(before)), "{key}");
        assert_eq!(now.content_type, before.content_type, "{key}");
    }
}

fn repairs_from(source: &str, scene: &Scene, setting: &Setting, archive: &Archive) {
    damage(scene, archive);
    let bad = verify(setting, &[]);
    assert_eq!(bad.status.code(), Some(1), "{}", told(&bad));
    let mended = verify(setting, &["--repair"]);
    let told_of = told(&mended);
    assert_eq!(mended.status.code(), Some(0), "{told_of}");
    assert!(told_of.contains("3 faults, and all 3 repaired"), "{told_of}");
    assert!(told_of.contains(&format!("put back from {source}")), "{told_of}");
    let good = verify(setting, &[]);
    assert_eq!(good.status.code(), Some(0), "{}", told(&good));
    is_as_before(scene, archive);
}

#[test]
fn repair_puts_back_the_identical_bytes_from_the_copies_on_disk() {
    let (scene, setting, archive) = archived("copies", false);
    repairs_from("the copy on this disk", &scene, &setting, &archive);
}

#[test]
fn repair_puts_back_the_identical_bytes_from_the_stream() {
    let (scene, setting, archive) = archived("streamed", false);
    fs::remove_dir_all(setting.state().join("archive")).unwrap();
    repairs_from("the stream", &scene, &setting, &archive);
}

#[test]
fn repair_puts_back_entries_and_objects_from_earlier_versions() {
    let (scene, setting, archive) = archived("versions", true);
    let (folder, entries) = archive.ledgers.iter().next().unwrap();
    assert!(entries.len() > 3);
    let key = |serial: usize| format!("{}/_ledger/{folder}/{serial:012}.json", scene.stream);
    aws::remove(&scene.bucket, &key(1));
    let second = aws::object(&scene.bucket, &key(2)).unwrap();
    aws::overwrite(&scene.bucket, &key(2), b"{}".to_vec(), second.metadata);
    let mended = verify(&setting, &["--repair", "--json"]);
    assert_eq!(mended.status.code(), Some(0), "{}", told(&mended));
    let report: Value = serde_json::from_slice(&mended.stdout).unwrap();
    let outcomes: Vec<&str> = report["repairs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|repair| repair["outcome"].as_str().unwrap())
        .collect();
    assert_eq!(outcomes, ["mended", "mended"]);
    repairs_from("an earlier version", &scene, &setting, &archive);
}

#[test]
fn what_cannot_be_proved_is_not_put_and_is_told() {
    let (scene, setting, archive) = archived("unproved", false);
    let folder = archive.ledgers.keys().next().unwrap();
    let entry = format!("{}/_ledger/{folder}/{:012}.json", scene.stream, 1);
    aws::remove(&scene.bucket, &entry);
    let tried = verify(&setting, &["--repair"]);
    assert_eq!(tried.status.code(), Some(1));
    assert!(told(&tried).contains(&format!("NOT REPAIRED: {entry}: ")), "{}", told(&tried));
    assert!(aws::object(&scene.bucket, &entry).is_none());
    let copied = verify(&setting, &["--repair", "--dir", "."]);
    assert_eq!(copied.status.code(), Some(2));
}

#[test]
fn the_archive_is_held_against_what_the_stream_still_holds() {
    let (mut scene, setting, _) = archived("against", false);
    let same = verify(&setting, &["--against-stream"]);
    assert_eq!(same.status.code(), Some(0), "{}", told(&same));
    assert!(told(&same).contains("against the stream: 500 records read"), "{}", told(&same));
    scene.put(20);
    let more = verify(&setting, &["--against-stream", "--json"]);
    assert_eq!(more.status.code(), Some(0), "{}", told(&more));
    let report: Value = serde_json::from_slice(&more.stdout).unwrap();
    assert_eq!(report["against_stream"]["to_come"], 20);
    // A ledger that nobody has: the stream's shard is not archived.
    let gone: Vec<String> =
        aws::keys(&scene.bucket, "").into_iter().filter(|key| key.contains("shardId-000000000001")).collect();
    gone.iter().for_each(|key| aws::remove(&scene.bucket, key));
    let bad = verify(&setting, &["--against-stream", "--json"]);
    assert_eq!(bad.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&bad.stdout).unwrap();
    let kinds = report["faults"].as_array().unwrap().iter().map(|fault| fault["kind"].as_str().unwrap());
    assert!(kinds.clone().any(|kind| kind == "record_missing"), "{}", told(&bad));
}
