//! Whichever limit is reached first seals the batch.

use rustix::process::Signal;

use super::exactly_once::wait_read;
use crate::support::keeper::LIMIT;
use crate::support::scene::Scene;

#[test]
fn max_records_seals() {
    let mut scene = Scene::new("records", 1);
    scene.put(1_000);
    let mut keeper = scene.setting().max_records(100).start();
    scene.wait_all_archived(LIMIT);
    keeper.stop();
    let archive = scene.check();
    for batch in archive.entries("batch") {
        assert_eq!((batch.text("sealed_by"), batch.number("records")), ("records", 100));
    }
}

#[test]
fn max_bytes_seals() {
    let mut scene = Scene::new("bytes", 1);
    scene.put_sized(400, 1_000);
    let setting = scene.setting().text("batch", "max_bytes", "64 KiB");
    let mut keeper = setting.start();
    scene.watch().wait_entries("batch", 5, LIMIT);
    keeper.stop();
    let archive = scene.check();
    let full = archive.entries("batch").filter(|batch| batch.text("sealed_by") == "bytes");
    let sizes: Vec<u64> = full.map(|batch| batch.number("content_size")).collect();
    assert!(sizes.len() >= 5, "{sizes:?}");
    assert!(sizes.iter().all(|size| (60 << 10..=67 << 10).contains(size)), "{sizes:?}");
}

#[test]
fn max_age_seals() {
    let mut scene = Scene::new("age", 1);
    scene.put(10);
    let mut keeper = scene.setting().max_age("1s").start();
    scene.wait_all_archived(LIMIT);
    let archive = scene.check();
    assert_eq!(archive.reasons(), ["age"]);
    keeper.stop();
}

#[test]
fn sigusr1_seals_now() {
    let mut scene = Scene::new("usr1", 2);
    scene.put(100);
    let (setting, http) = scene.setting().with_http();
    let mut keeper = setting.start();
    wait_read(&http, 100);
    assert_eq!(scene.watch().archived(), 0, "nothing is due for five minutes");
    keeper.signal(Signal::USR1);
    scene.wait_all_archived(LIMIT);
    assert_eq!(scene.check().reasons(), ["request", "request"]);
    keeper.stop();
}
