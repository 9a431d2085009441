//! The archive does not depend on the state directory: lost, older or damaged, nothing doubles or goes missing.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::support::keeper::LIMIT;
use crate::support::scene::Scene;

#[test]
fn with_the_state_directory_deleted_between_runs_nothing_doubles_and_nothing_is_missing() {
    let mut scene = Scene::new("lost", 2);
    let setting = scene.setting().max_age("1s").max_records(60);
    for _ in 0..3 {
        setting.lose_disk();
        scene.put(200);
        let mut keeper = setting.start();
        scene.wait_all_archived(LIMIT);
        keeper.stop();
    }
    scene.check();
}

#[test]
fn with_an_older_copy_of_the_state_directory_put_back_nothing_doubles_and_nothing_is_missing() {
    let mut scene = Scene::new("older", 2);
    let setting = scene.setting().max_age("1s").max_records(60);
    let run = |scene: &mut Scene| {
        scene.put(200);
        let mut keeper = setting.start();
        scene.wait_all_archived(LIMIT);
        keeper.stop();
    };
    run(&mut scene);
    let copy = setting.copy_state();
    run(&mut scene);
    run(&mut scene);
    setting.put_back(&copy);
    run(&mut scene);
    scene.check();
}

#[test]
fn sealed_batches_in_an_older_copy_of_the_state_directory_are_not_put_twice() {
    let mut scene = Scene::new("olderspool", 1);
    let setting = scene.setting().max_age("1s").max_records(60);
    scene.put(300);
    setting.start_to_crash("after-seal", 2).wait_crash();
    let copy = setting.copy_state();
    let mut keeper = setting.start();
    scene.wait_all_archived(LIMIT);
    keeper.stop();
    setting.put_back(&copy);
    scene.put(100);
    let mut keeper = setting.start();
    scene.wait_all_archived(LIMIT);
    keeper.stop();
    scene.check();
}

#[test]
fn damaged_files_are_set_aside_and_the_records_are_read_again() {
    let mut scene = Scene::new("damaged", 1);
    let setting = scene.setting().max_age("1s").max_records(60);
    scene.put(200);
    setting.start_to_crash("before-entry", 2).wait_crash();
    let damaged = damage(&setting.state().join("checkpoints")) + damage(&setting.state().join("spool"));
    assert!(damaged >= 2, "a checkpoint and a spool file were there to be damaged");
    let mut keeper = setting.start();
    scene.wait_all_archived(LIMIT);
    keeper.stop();
    scene.check();
    assert!(count(&setting.state().join("damaged")) > 0, "nothing was set aside");
}

/// Overwrites the middle of every file; gives their number.
fn damage(folder: &Path) -> usize {
    let mut damaged = 0;
    for entry in fs::read_dir(folder).unwrap().flatten() {
        if entry.path().is_dir() {
            damaged += damage(&entry.path());
        } else {
            let mut bytes = fs::read(entry.path()).unwrap();
            let middle = bytes.len() / 2;
            bytes.truncate(middle);
            bytes.extend_from_slice(b"\0\xff damaged");
            fs::write(entry.path(), bytes).unwrap();
            damaged += 1;
        }
    }
    damaged
}

fn count(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| if entry.path().is_dir() { count(&entry.path()) } else { 1 }).sum()
}

#[test]
fn a_second_run_on_the_same_state_is_refused() {
    let scene = Scene::new("second", 1);
    let (setting, http) = scene.setting().with_http();
    let mut first = setting.start();
    crate::support::wait_for("the first to be at work", LIMIT, || {
        crate::support::http::get(&http, "/healthz").filter(|answer| answer.status() == 200)
    });
    let mut second = setting.start();
    let status = second.wait_exit(Duration::from_secs(10));
    assert_eq!(status.code(), Some(1), "{}", second.log());
    assert!(first.is_running());
    first.stop();
}

#[test]
fn state_of_another_bucket_is_refused() {
    let mut scene = Scene::new("another", 1);
    let setting = scene.setting().max_age("1s");
    scene.put(10);
    let mut keeper = setting.start();
    scene.wait_all_archived(LIMIT);
    keeper.stop();
    let other = setting.text("archive", "bucket", &crate::support::aws::bucket("another"));
    let mut keeper = other.start();
    assert_eq!(keeper.wait_exit(LIMIT).code(), Some(1), "{}", keeper.log());
}

#[test]
fn archived_batches_stay_on_disk_as_well() {
    let mut scene = Scene::new("copies", 1);
    scene.put(100);
    let setting = scene.setting().max_age("1s");
    let mut keeper = setting.start();
    scene.wait_all_archived(LIMIT);
    keeper.stop();
    for (key, object) in &scene.check().objects {
        let copy = setting.state().join("archive").join(key);
        let bytes = fs::read(&copy).unwrap_or_else(|error| panic!("{}: {error}", copy.display()));
        assert!(bytes == object.body, "{key}: the local copy differs");
    }
    assert_eq!(spooled(&setting.state()), 0, "the spool should be empty");
}

#[test]
fn a_copy_that_cannot_be_kept_holds_nothing_up() {
    let mut scene = Scene::new("nocopies", 1);
    let setting = scene.setting().max_age("1s");
    fs::create_dir_all(setting.state()).unwrap();
    fs::write(setting.state().join("archive"), "no folder").unwrap();
    let mut keeper = setting.start();
    for _ in 0..2 {
        scene.put(100);
        scene.wait_all_archived(LIMIT);
    }
    keeper.stop();
    scene.check();
    assert_eq!(spooled(&setting.state()), 0, "the spool should be empty");
    let log = keeper.log();
    assert_eq!(log.matches("no local copy is kept").count(), 1, "{log}");
    let (archived, batches) = (log.matches("archived key").count(), scene.check().objects.len());
    assert!(archived <= batches, "each batch is archived and announced once: {log}");
}

/// Files in the spool.
pub fn spooled(state: &Path) -> usize {
    count(&state.join("spool"))
}

/// Whether a batch is sealed: its manifest bears its name.
pub fn is_sealed(state: &Path) -> bool {
    let folders = fs::read_dir(state.join("spool")).into_iter().flatten().flatten();
    let files = folders.flat_map(|folder| fs::read_dir(folder.path()).into_iter().flatten().flatten());
    let names: Vec<_> = files.map(|file| file.file_name().to_string_lossy().into_owned()).collect();
    names.iter().any(|name| name.starts_with(|first: char| first.is_ascii_digit()) && name.ends_with(".json"))
}
