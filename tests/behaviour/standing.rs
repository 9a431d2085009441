//! `status`, by the real binary: beside a keeper that runs, and after it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::SystemTime;

use rustix::process::{Pid, kill_process};
use serde_json::Value;

use crate::support::keeper::{LIMIT, Setting, Signal, binary};
use crate::support::proxy::{Proxy, s3_error};
use crate::support::scene::Scene;
use crate::support::{aws, servers, wait_for};

fn command(setting: &Setting, more: &[&str]) -> Command {
    setting.write();
    let mut command = Command::new(binary());
    command.arg("status").arg(setting.file()).args(more).envs(setting.environment()).stdin(Stdio::null());
    command
}

fn run(setting: &Setting, more: &[&str]) -> Output {
    command(setting, more).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// `--json`, which must succeed.
fn report(setting: &Setting) -> Value {
    let output = run(setting, &["--json"]);
    assert_eq!(output.status.code(), Some(0), "{}{}", text(&output.stdout), text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn told(report: &Value) -> String {
    let warnings = report["warnings"].as_array().unwrap();
    warnings.iter().map(|warning| format!("{}\n", warning.as_str().unwrap())).collect()
}

fn socket(setting: &Setting) -> PathBuf {
    setting.state().join("status.sock")
}

/// Every file with its length and the time of its last change.
fn everything(folder: &Path) -> BTreeMap<PathBuf, (u64, SystemTime)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let (path, about) = entry.map(|entry| (entry.path(), entry.metadata().unwrap())).unwrap();
        found.insert(path.clone(), (about.len(), about.modified().unwrap()));
        if about.is_dir() {
            found.extend(everything(&path));
        }
    }
    found
}

#[test]
fn status_tells_of_a_keeper_that_runs_and_of_what_it_left() {
    let mut scene = Scene::new("standing", 2);
    scene.put(200);
    let (setting, _) = scene.setting().max_age("1s").with_http();
    let mut keeper = setting.start();
    scene.wait_all_archived(LIMIT);
    let live = wait_for("both shards' last objects", LIMIT, || {
        Some(report(&setting)).filter(|report| {
            let shards = report["shards"].as_array().unwrap();
            shards.len() == 2 && shards.iter().all(|shard| shard["last_object"].is_object())
        })
    });
    assert_eq!((&live["keeper"]["running"], &live["keeper"]["answered"]), (&true.into(), &true.into()));
    assert_eq!(live["keeper"]["healthy"], true, "{live}");
    let holder = live["keeper"]["holder"].as_str().unwrap();
    assert!(holder.starts_with(&format!("process {} on ", keeper.id())), "{holder}");
    for shard in live["shards"].as_array().unwrap() {
        assert_eq!((&shard["state"], &shard["restarts"]), (&"reading".into(), &0.into()), "{shard}");
        assert!(shard["lag_seconds"].is_number() && shard["retention_used"].is_number(), "{shard}");
        let key = shard["last_object"]["key"].as_str().unwrap();
        assert!(aws::object(&scene.bucket, key).is_some(), "{key}");
    }
    let screen = run(&setting, &[]);
    assert_eq!(screen.status.code(), Some(0));
    let screen = text(&screen.stdout);
    assert!(screen.contains("running since ") && screen.contains("every shard makes progress"), "{screen}");
    assert!(screen.contains("shardId-000000000001  reading"), "{screen}");
    assert!(screen.contains("\ntotal 2 ") && screen.contains("2 running"), "{screen}");

    keeper.stop();
    let before = everything(&setting.state());
    let left = report(&setting);
    assert_eq!(left["keeper"]["running"], false);
    assert!(told(&left).contains("the keeper is not running"), "{left}");
    for shard in left["shards"].as_array().unwrap() {
        assert_eq!(shard["state"], "not running");
        assert_eq!(shard["serial"], shard["last_object"]["serial"], "the local copies know it: {shard}");
        assert_eq!((&shard["spool_items"], &shard["outbox_notices"]), (&0.into(), &0.into()));
        assert!(shard["archived"]["after"].is_string() && shard["lag_seconds"].is_number(), "{shard}");
    }
    assert!(text(&run(&setting, &[]).stdout).contains("not running; this is what "));
    assert_eq!(everything(&setting.state()), before, "status changed something");
}

#[test]
fn status_tells_what_waits_on_the_disk_and_what_is_damaged() {
    let mut scene = Scene::new("waiting", 1);
    let proxy = Proxy::new(servers::ministack().endpoint());
    proxy.always(|request| request.puts_entry(), s3_error(503, "SlowDown"));
    let mut setting = scene.setting().max_records(10).text("disk", "spool_bytes", "1 MiB");
    setting.s3 = proxy.endpoint().to_owned();
    let mut keeper = setting.start();
    scene.put(50);
    let running = wait_for("sealed items", LIMIT, || {
        Some(report_once(&setting)?).filter(|report| report["totals"]["spool_items"].as_u64() >= Some(5))
    });
    assert_eq!((&running["keeper"]["running"], &running["keeper"]["answered"]), (&true.into(), &true.into()));
    // Without a socket and metrics.http the disk and the lock are all there is to ask.
    fs::remove_file(socket(&setting)).unwrap();
    let silent = report(&setting);
    assert_eq!((&silent["keeper"]["running"], &silent["keeper"]["answered"]), (&true.into(), &false.into()));
    assert!(silent["totals"]["spool_items"].as_u64() >= Some(5), "{silent}");
    let nobody = format!("nobody answers at {}, so this is what the disk knows", socket(&setting).display());
    let screen = text(&run(&setting, &[]).stdout);
    assert!(screen.contains(&nobody), "{screen}");
    keeper.kill();
    let damaged = setting.state().join("damaged/spool/x.json");
    fs::create_dir_all(damaged.parent().unwrap()).unwrap();
    fs::write(&damaged, "half").unwrap();
    fs::write(setting.state().join("checkpoints.tmp"), "").unwrap();
    fs::create_dir_all(setting.state().join("checkpoints")).unwrap();
    fs::write(setting.state().join("checkpoints/shardId-000000000007.json"), "{\"version\":").unwrap();
    let left = report(&setting);
    assert_eq!(left["keeper"]["running"], false);
    assert!(left["totals"]["spool_items"].as_u64() >= Some(5), "{left}");
    assert!(left["shards"][0]["oldest_sealed_at"].is_string(), "{left}");
    let told = told(&left);
    assert!(told.contains("wait on this disk and go first at the next start"), "{told}");
    assert!(told.contains("1 damaged files (4 B) lie under "), "{told}");
    assert!(told.contains("damaged file checkpoints/shardId-000000000007.json: "), "{told}");
}

/// What is in memory is on no disk, and `metrics.http` is not set by default.
#[test]
fn status_shows_the_batch_in_memory_without_metrics_http() {
    let mut scene = Scene::new("insight", 1);
    let setting = scene.setting().max_age("1h");
    let mut keeper = setting.start();
    let read = |records: u64| {
        wait_for("the records in memory", LIMIT, || {
            Some(report_once(&setting)?)
                .filter(|report| report["totals"]["batch_records"].as_u64() == Some(records))
        })
    };
    scene.put(30);
    let live = read(30);
    let shard = &live["shards"][0];
    assert!(
        shard["batch"]["bytes"].as_u64() > Some(0) && shard["batch"]["age_seconds"].is_number(),
        "{live}"
    );
    assert!(shard["retention_used"].is_number(), "{live}");
    assert_eq!(live["keeper"]["answered_at"], socket(&setting).display().to_string());
    assert_eq!(live["keeper"]["http"], Value::Null);
    wait_for("the shard's beginning", LIMIT, || {
        (report(&setting)["shards"][0]["archived"] == "start").then_some(())
    });
    let screen = text(&run(&setting, &[]).stdout);
    let line = screen.lines().find(|line| line.starts_with("shardId-")).unwrap();
    let words: Vec<_> = line.split_whitespace().collect();
    assert_eq!((words[1], words[2]), ("reading", "start"), "{screen}");
    assert!(screen.contains("30 / "), "{screen}");

    // A new run after a reload answers where the old one did; so does the one after a kill, which leaves its socket.
    keeper.signal(Signal::HUP);
    keeper.wait_for_log("starting anew with the file as it is now", LIMIT);
    scene.wait_all_archived(LIMIT);
    scene.put(10);
    let live = read(10);
    let number = live["shards"][0]["archived"]["after"].as_str().unwrap();
    let position = format!("#{} …{}", live["shards"][0]["serial"], &number[number.len() - 12..]);
    let screen = text(&run(&setting, &[]).stdout);
    assert!(screen.contains(&position), "{position} in {screen}");
    keeper.kill();
    let left = report(&setting);
    assert_eq!((&left["keeper"]["running"], &left["keeper"]["answered"]), (&false.into(), &false.into()));
    assert!(socket(&setting).exists());
    let mut keeper = setting.start();
    read(10);
    keeper.stop();
    assert!(!socket(&setting).exists(), "an orderly end takes it away");
    scene.check();
}

/// As [`report`], while the directory need not be there yet.
fn report_once(setting: &Setting) -> Option<Value> {
    let output = run(setting, &["--json"]);
    output.status.success().then(|| serde_json::from_slice(&output.stdout).unwrap())
}

#[test]
fn a_state_directory_that_is_not_there_is_explained() {
    let setting = Setting::new("nobody", "nowhere");
    let output = run(&setting, &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let said = text(&output.stderr);
    assert!(
        said.contains(&setting.state().display().to_string()) && said.contains("no keeper has run"),
        "{said}"
    );
    assert_eq!(said.lines().count(), 2, "{said}");
    assert!(!setting.state().exists(), "nothing is made");
    assert_eq!(run(&setting, &["--watch", "never"]).status.code(), Some(2));
}

fn ends_well(mut child: Child) {
    let status = wait_for("status to end", LIMIT, || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(0), "{status}");
}

#[test]
fn status_watches_until_it_is_interrupted_or_nobody_reads() {
    let setting = Setting::new("watched", "nowhere");
    fs::create_dir_all(setting.state()).unwrap();
    let start = || {
        let mut child = command(&setting, &["--json", "--watch", "100ms"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        for _ in 0..3 {
            let line = lines.next().unwrap().unwrap();
            let report: Value = serde_json::from_str(&line).unwrap();
            assert_eq!(report["keeper"]["running"], false);
        }
        (child, lines)
    };
    let (child, lines) = start();
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    ends_well(child);
    drop(lines);
    let (child, lines) = start();
    drop(lines);
    ends_well(child);
}
