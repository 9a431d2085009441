//! SIGHUP: all is sealed and put, the file is read again, and all starts anew; a bad file is refused.

use std::fs;

use rustix::process::Signal;

use super::exactly_once::wait_read;
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
