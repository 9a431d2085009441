//! Payload objects, zstd and the other layout: archived, proved, read and recovered from like the default.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Output};

use crate::support::keeper::{LIMIT, Setting, binary, metric};
use crate::support::scene::Scene;
use crate::support::{aws, wait_for};

fn run(setting: &Setting, name: &str, more: &[&str]) -> Output {
    setting.write();
    let mut command = Command::new(binary());
    command.arg(name).arg(setting.file()).args(more).envs(setting.environment());
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn in_form(setting: Setting, format: &str, compression: &str) -> Setting {
    setting.text("archive", "format", format).text("archive", "compression", compression)
}

/// Payloads that can be lines and such that can't.
fn odd(word: &str, count: usize) -> Vec<Vec<u8>> {
    let payload = |n: usize| match n % 9 {
        3 => format!("{word} {n}\nof two lines").into_bytes(),
        5 => vec![0xff, 0xfe, (n % 256) as u8, (n / 256) as u8, word.len() as u8],
        7 => format!("{word} {n} \u{2028}\r").into_bytes(),
        _ => format!("{{\"of\":\"{word}\",\"n\":{n}}}").into_bytes(),
    };
    (0..count).map(payload).collect()
}

/// `verify` finds nothing, and all of the records; so it does in a copy of the archive.
fn prove(scene: &Scene, setting: &Setting) {
    let good = run(setting, "verify", &[]);
    let told = text(&good.stdout);
    assert_eq!(good.status.code(), Some(0), "{told}{}", text(&good.stderr));
    assert!(told.contains(&format!("{} records", scene.put.len())), "{told}");
    let copy = tempfile::tempdir().unwrap();
    for key in aws::keys(&scene.bucket, "") {
        let path = copy.path().join(&key);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, aws::object(&scene.bucket, &key).unwrap().body).unwrap();
    }
    let folder = copy.path().display().to_string();
    let good = run(setting, "verify", &["--dir", &folder]);
    assert_eq!(good.status.code(), Some(0), "{}", text(&good.stdout));
}

/// Every payload comes back through `read --payload`.
fn read_back(scene: &Scene, setting: &Setting) {
    let output = run(setting, "read", &["--payload", "--length-prefixed"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let mut rest = output.stdout.as_slice();
    let mut payloads = Vec::new();
    while let Some((len, after)) = rest.split_first_chunk::<4>() {
        let (payload, after) = after.split_at(u32::from_be_bytes(*len) as usize);
        payloads.push(payload.to_vec());
        rest = after;
    }
    let mut put = scene.put.clone();
    put.sort();
    payloads.sort();
    assert!(payloads == put, "{} payloads of {}", payloads.len(), put.len());
}

fn comes_back(word: &str, format: &str, compression: &str, layout: &str) {
    let mut scene = Scene::new(word, 2);
    let setting = in_form(scene.setting().max_age("1s").max_records(70), format, compression);
    let setting = setting.text("archive", "layout", layout);
    let mut keeper = setting.start();
    scene.put_all(odd(word, 400));
    scene.wait_all_archived(LIMIT);
    keeper.stop();
    let archive = scene.check();
    assert!(archive.entries("batch").all(|entry| entry.text("format") == format));
    let sides = archive.entries("batch").filter(|entry| entry.fields["side"].is_object()).count();
    assert_eq!(sides > 0, format == "payload");
    for (key, object) in &archive.objects {
        let copy = fs::read(setting.state().join("archive").join(key)).unwrap();
        assert!(copy == object.body, "the local copy of {key}");
        assert!(setting.state().join("archive").join(format!("{key}.json")).exists(), "{key}: its sidecar");
    }
    let left: Vec<_> = fs::read_dir(setting.state().join("spool")).unwrap().flatten().collect();
    let files = left.iter().flat_map(|shard| fs::read_dir(shard.path()).into_iter().flatten());
    assert_eq!(files.count(), 0, "nothing is left in the spool");
    prove(&scene, &setting);
    read_back(&scene, &setting);
}

#[test]
fn envelopes_in_zstd_come_back() {
    comes_back("zstd", "envelope", "zstd", "hive");
}

#[test]
fn payloads_in_gzip_come_back_with_what_cannot_be_a_line() {
    comes_back("payload", "payload", "gzip", "firehose");
}

#[test]
fn payloads_in_zstd_come_back_with_what_cannot_be_a_line() {
    comes_back("both", "payload", "zstd", "hive");
}

/// A keeper dies between entry and object; the next one has other settings, and completes the entry in
/// the form that the entry says. Where the disk is lost, from the stream.
fn recovers(word: &str, point: &str, keeps_disk: bool) {
    let mut scene = Scene::new(word, 1);
    let mut setting = scene.setting().max_age("1s").max_records(40);
    let forms = [("payload", "zstd"), ("envelope", "zstd"), ("payload", "gzip"), ("envelope", "gzip")];
    for (round, (format, compression)) in forms.into_iter().enumerate() {
        scene.put_all(odd(&format!("{word}{round}"), 100));
        setting = in_form(setting, format, compression);
        setting.start_to_crash(point, 2).wait_crash();
        if !keeps_disk {
            fs::remove_dir_all(setting.state()).unwrap();
        }
    }
    // Without its disk it is another keeper, that waits for the first one to complete its entry.
    let mut keeper = setting.start();
    scene.wait_all_archived(LIMIT);
    keeper.stop();
    let archive = scene.check();
    let found: BTreeSet<(&str, &str)> =
        archive.entries("batch").map(|entry| (entry.text("format"), entry.text("compression"))).collect();
    assert_eq!(found, BTreeSet::from(forms), "each object in the form of its own entry");
    prove(&scene, &setting);
    read_back(&scene, &setting);
}

#[test]
fn an_entry_without_its_object_is_completed_in_its_own_form_from_the_spool() {
    recovers("respool", "after-entry", true);
}

#[test]
fn an_entry_without_its_object_is_completed_in_its_own_form_from_the_stream() {
    recovers("reread", "after-entry", false);
}

#[test]
fn a_read_of_payloads_by_key_is_refused_and_by_time_gives_whole_objects() {
    let mut scene = Scene::new("nokeys", 1);
    let setting = in_form(scene.setting().max_age("1s"), "payload", "gzip");
    let (setting, http) = setting.with_http();
    let mut keeper = setting.start();
    scene.put_all(odd("nokeys", 30));
    scene.wait_all_archived(LIMIT);
    wait_for("the log's error", LIMIT, || keeper.log().contains("cannot be lines").then_some(()));
    let counted = metric(&http, "kinesis_keeper_errors_total", &["not_a_line"]);
    assert!(counted.is_some_and(|errors| errors > 0.0), "{counted:?}");
    keeper.stop();
    let by_key = run(&setting, "read", &["--partition-key", "key-7"]);
    assert_eq!(by_key.status.code(), Some(1));
    assert!(text(&by_key.stderr).contains("have no partition keys"), "{}", text(&by_key.stderr));
    let lines = run(&setting, "read", &[]).stdout;
    let lines: Vec<serde_json::Value> = lines
        .split_inclusive(|byte| *byte == b'\n')
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 30);
    let alone = lines.iter().filter(|line| line.as_object().unwrap().len() == 1);
    assert!(alone.count() > 20, "lines with nothing but data");
}
