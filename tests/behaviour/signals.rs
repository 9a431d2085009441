//! SIGHUP: all is sealed and put, the file is read again, and all starts anew; a bad file is refused.

use std::collections::HashMap;
use std::fs;
use std::net::TcpListener;

use rustix::process::Signal;

use super::exactly_once::wait_read;
use crate::support::aws;
use crate::support::keeper::LIMIT;
use crate::support::scene::Scene;

#[test]
fn sighup_with_a_changed_file_goes_on_with_the_new_settings() {
    let mut scene = Scene::new("hup", 1);
    let (setting, http) = scene.setting().with_http();
    scene.put(100);
    let mut keeper = setting.start();
    wait_read(&http, 100);
    let changed = setting.max_records(20);
    changed.write();
    keeper.signal(Signal::HUP);
    scene.wait_all_archived(LIMIT);
    assert_eq!(scene.check().reasons(), ["shutdown"]);
    scene.put(200);
    scene.wait_all_archived(LIMIT);
    keeper.stop();
    let archive = scene.check();
    assert_eq!(archive.reasons()[1..], ["records"; 10]);
}

#[test]
fn sighup_with_a_broken_file_goes_on_with_the_old_settings() {
    let mut scene = Scene::new("badhup", 1);
    let setting = scene.setting().max_records(50);
    let mut keeper = setting.start();
    scene.put(100);
    scene.wait_all_archived(LIMIT);
    let whole = fs::read_to_string(setting.file()).unwrap();
    fs::write(setting.file(), whole.replace("max_records", "max_recrods")).unwrap();
    keeper.signal(Signal::HUP);
    keeper.wait_for_log("max_recrods", LIMIT);
    scene.put(100);
    scene.wait_all_archived(LIMIT);
    assert!(keeper.is_running());
    keeper.stop();
    assert_eq!(scene.check().reasons(), ["records"; 4]);
}

#[test]
fn sighup_with_settings_that_cannot_be_kept_goes_on_with_the_old_ones() {
    let mut scene = Scene::new("cannot", 1);
    let (setting, _) = scene.setting().max_records(50).with_http();
    let mut keeper = setting.start();
    scene.put(50);
    scene.wait_all_archived(LIMIT);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let foreign = format!(
        r#"{{"version":1,"stream":"{0}","stream_arn":"arn:other","stream_created":"1970-01-01T00:00:05Z","begin":"trim_horizon"}}"#,
        scene.stream
    );
    let key = format!("foreign/{}/_ledger/stream-5.json", scene.stream);
    aws::overwrite(&scene.bucket, &key, foreign.into_bytes(), HashMap::new());
    let folder = setting.folder.path();
    let (no_folder, new_folder) = (setting.file().join("state"), folder.join("new"));
    let whole = fs::read_to_string(setting.file()).unwrap();
    let state = format!("state_dir = \"{}\"", setting.state().display());
    let http = whole.lines().find(|line| line.starts_with("http = ")).unwrap();
    let bucket = format!("bucket = \"{}\"", scene.bucket);
    let at = |place: &std::path::Path| format!("state_dir = \"{}\"", place.display());
    let elsewhere = whole.replace(&state, &at(&new_folder));
    for (file, said) in [
        (whole.replace(http, &format!("http = \"{taken}\"")), "cannot serve metrics on"),
        (whole.replace(&bucket, "bucket = \"another\""), "holds the state of"),
        (whole.replace(&state, &at(&no_folder)), "cannot be used"),
        (elsewhere.replace(&bucket, &format!("{bucket}\nprefix = \"foreign/\"")), "holds the archive of"),
    ] {
        assert_ne!(file, whole, "{said}");
        fs::write(setting.file(), file).unwrap();
        keeper.signal(Signal::HUP);
        keeper.wait_for_log(said, LIMIT);
        scene.put(50);
        scene.wait_all_archived(LIMIT);
    }
    let log = keeper.log();
    assert_eq!(log.matches("the new file is refused; the old one goes on").count(), 1, "{log}");
    assert_eq!(log.matches("the new settings cannot be kept").count(), 3, "{log}");
    keeper.stop();
    assert_eq!(scene.check().reasons(), ["records"; 5]);
}

#[test]
fn sigint_is_as_sigterm() {
    let mut scene = Scene::new("int", 1);
    let (setting, http) = scene.setting().with_http();
    scene.put(100);
    let mut keeper = setting.start();
    wait_read(&http, 100);
    keeper.signal(Signal::INT);
    assert!(keeper.wait_exit(std::time::Duration::from_secs(10)).success());
    assert_eq!(scene.check().reasons(), ["shutdown"]);
}

#[test]
fn a_broken_file_at_the_start_is_exit_2_and_names_the_nearest_key() {
    let scene = Scene::new("broken", 1);
    let mut keeper = scene.setting().value("batch", "max_recrods", "5").start();
    assert_eq!(keeper.wait_exit(LIMIT).code(), Some(2));
    let log = keeper.log();
    assert!(
        log.contains("max_recrods") && log.contains("max_records") && log.contains("keeper.toml"),
        "{log}"
    );
    assert!(!scene.setting().state().exists(), "nothing may be started");
}
