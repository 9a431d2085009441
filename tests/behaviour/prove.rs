//! The archive proves itself and gives back: `verify` and `read`, by the real binary.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::support::archive::Archive;
use crate::support::keeper::{LIMIT, Setting, binary};
use crate::support::scene::Scene;
use crate::support::{aws, servers};

/// Runs a command of the binary with the keeper's configuration.
fn command(setting: &Setting, name: &str, more: &[&str]) -> Command {
    setting.write();
    let mut command = Command::new(binary());
    command.arg(name).arg(setting.file()).args(more).envs(setting.environment()).stdin(Stdio::null());
    command
}

fn run(setting: &Setting, name: &str, more: &[&str]) -> Output {
    command(setting, name, more).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A stream of two shards, archived by a keeper that has stopped.
fn archived(word: &str) -> (Scene, Setting, Archive) {
    let mut scene = Scene::new(word, 2);
    let setting = scene.setting().max_age("1s").max_records(60);
    let mut keeper = setting.start();
    scene.put(500);
    scene.wait_all_archived(LIMIT);
    keeper.stop();
    let archive = scene.check();
    (scene, setting, archive)
}

#[test]
fn verify_proves_a_good_archive_and_names_each_damage() {
    let (scene, setting, archive) = archived("verify");
    let good = run(&setting, "verify", &[]);
    assert_eq!(good.status.code(), Some(0), "{}{}", text(&good.stdout), text(&good.stderr));
    assert!(text(&good.stdout).contains("the archive is whole: 2 ledgers"), "{}", text(&good.stdout));
    assert!(text(&good.stdout).contains("500 records"), "{}", text(&good.stdout));

    let keys: Vec<&String> = archive.objects.keys().collect();
    let (gone, swapped) = (keys[0], keys[1]);
    aws::remove(&scene.bucket, gone);
    let object = aws::object(&scene.bucket, swapped).unwrap();
    let mut damaged = object.body.clone();
    damaged[40] ^= 1;
    aws::overwrite(&scene.bucket, swapped, damaged, object.metadata);
    let bad = run(&setting, "verify", &["--json"]);
    assert_eq!(bad.status.code(), Some(1));
    assert!(text(&bad.stderr).contains("2 faults in s3://"), "{}", text(&bad.stderr));
    let report: Value = serde_json::from_slice(&bad.stdout).unwrap();
    let faults: BTreeSet<(&str, &str)> = report["faults"]
        .as_array()
        .unwrap()
        .iter()
        .map(|fault| (fault["kind"].as_str().unwrap(), fault["key"].as_str().unwrap()))
        .collect();
    assert_eq!(
        faults,
        BTreeSet::from([("object_missing", gone.as_str()), ("object_damaged", swapped.as_str())])
    );
}

#[test]
fn a_copied_folder_is_proved_and_read_like_the_bucket() {
    let (scene, setting, _) = archived("copied");
    let copy = tempfile::tempdir().unwrap();
    for key in aws::keys(&scene.bucket, "") {
        let file = copy.path().join(&key);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, aws::object(&scene.bucket, &key).unwrap().body).unwrap();
    }
    let dir = copy.path().to_str().unwrap();
    let good = run(&setting, "verify", &["--dir", dir]);
    assert_eq!(good.status.code(), Some(0), "{}{}", text(&good.stdout), text(&good.stderr));
    let here = run(&setting, "read", &["--dir", dir]);
    assert_eq!(text(&here.stdout), text(&run(&setting, "read", &[]).stdout));
    let folder = copy.path().join(format!("{}/dt=2026-11-22/hour=05", scene.stream));
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("notes.txt"), "mine").unwrap();
    let bad = run(&setting, "verify", &["--dir", dir]);
    assert_eq!(bad.status.code(), Some(1));
    assert!(text(&bad.stdout).contains("FAULT object unknown: "), "{}", text(&bad.stdout));
    let nowhere = run(&setting, "verify", &["--dir", "/nowhere"]);
    assert_eq!(nowhere.status.code(), Some(2));
}

#[test]
fn a_ledger_that_was_cut_at_its_end_is_known_to_the_checkpoint() {
    let (scene, setting, archive) = archived("cut");
    let folder = archive.ledgers.keys().next().unwrap().clone();
    let of_it = format!("_ledger/{folder}/");
    let newest = aws::keys(&scene.bucket, "").into_iter().rfind(|key| key.contains(&of_it));
    let newest = newest.expect("a ledger");
    aws::remove(&scene.bucket, &newest);
    let bad = run(&setting, "verify", &[]);
    assert_eq!(bad.status.code(), Some(1));
    assert!(text(&bad.stdout).contains(&format!("FAULT ledger cut: {newest}")), "{}", text(&bad.stdout));
}

#[test]
fn read_gives_back_every_record_in_order_by_shard_merged_and_by_key() {
    let (scene, setting, archive) = archived("read");
    let lines = |more: &[&str]| -> Vec<Value> {
        let output = run(&setting, "read", more);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        output
            .stdout
            .split_inclusive(|byte| *byte == b'\n')
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect()
    };
    let payloads = |lines: &[Value]| -> BTreeSet<Vec<u8>> {
        lines.iter().map(|line| line["data"].as_str().unwrap().as_bytes().to_vec()).collect()
    };
    let put: BTreeSet<Vec<u8>> = scene.put.iter().cloned().collect();
    let all = lines(&[]);
    assert_eq!((all.len(), payloads(&all)), (500, put.clone()));
    let merged = lines(&["--merge"]);
    assert_eq!(payloads(&merged), put);
    let arrivals: Vec<&str> =
        merged.iter().map(|line| line["approximate_arrival_timestamp"].as_str().unwrap()).collect();
    assert!(arrivals.is_sorted());
    let shard = archive.ledgers.keys().next().unwrap().rsplit_once('-').unwrap().0.to_owned();
    let of_shard = archive.records.iter().filter(|record| record.shard == shard).count();
    assert_eq!(lines(&["--shard", &shard]).len(), of_shard);
    let one = lines(&["--partition-key", "key-7"]);
    assert_eq!(payloads(&one), BTreeSet::from([scene.put[7].clone()]));
    assert_eq!(lines(&["--from", "1h"]).len(), 500);
    assert_eq!(lines(&["--to", "1h"]).len(), 0);
    let payload = run(&setting, "read", &["--payload", "--null", "--partition-key", "key-7"]);
    assert_eq!(payload.stdout, [scene.put[7].as_slice(), b"\0"].concat());
    let wrong = run(&setting, "read", &["--from", "yesterday"]);
    assert_eq!(wrong.status.code(), Some(2), "{}", text(&wrong.stderr));
}

#[test]
fn read_stops_quietly_when_the_pipe_closes() {
    let (_scene, setting, _) = archived("pipe");
    let mut reading =
        command(&setting, "read", &[]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut out = reading.stdout.take().unwrap();
    let mut first = [0; 1];
    out.read_exact(&mut first).unwrap();
    drop(out);
    let output = reading.wait_with_output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
}

#[test]
fn what_read_gives_put_takes() {
    let (scene, setting, _) = archived("back");
    let lines = run(&setting, "read", &[]).stdout;
    let target = aws::stream("target", 2);
    let mut put = Command::new(binary());
    put.args(["put", &target, "--envelope"])
        .envs(setting.environment())
        .stdin(Stdio::piped())
        .stderr(Stdio::piped());
    let mut put = put.spawn().unwrap();
    put.stdin.take().unwrap().write_all(&lines).unwrap();
    let output = put.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let there = aws::records(servers::kinesis().endpoint(), &target);
    assert_eq!(there.len(), scene.put.len());
    let payloads: BTreeSet<Vec<u8>> = there.into_iter().map(|read| read.data).collect();
    assert_eq!(payloads, scene.put.into_iter().collect());
}
