//! `level`: a number, or "auto"; each object says at which it was made.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use crate::support::aws;
use crate::support::keeper::{LIMIT, binary};
use crate::support::scene::Scene;

/// Settings change between runs: every object bears the level of its own.
#[test]
fn every_object_says_its_level_and_auto_is_six_while_caught_up() {
    let mut scene = Scene::new("levels", 2);
    let mut known = BTreeSet::new();
    let cases = [
        ("\"auto\"", "envelope", "gzip", "6"),
        ("\"auto\"", "payload", "zstd", "6"),
        ("12", "envelope", "gzip", "12"),
        ("19", "payload", "zstd", "19"),
        ("1", "payload", "gzip", "1"),
    ];
    for (level, format, compression, expected) in cases {
        let setting = scene.setting().max_age("1s").max_records(20).value("archive", "level", level);
        let setting = setting.text("archive", "format", format).text("archive", "compression", compression);
        let mut keeper = setting.start();
        scene.put(60);
        // These cannot be lines of a payload object.
        scene.put_all((0..4).map(|n| format!("{level} {format}\n{n}").into_bytes()));
        scene.wait_all_archived(LIMIT);
        keeper.stop();
        let objects = aws::keys(&scene.bucket, "");
        let is_data = |key: &&String| key.ends_with(".gz") || key.ends_with(".zst");
        let new: Vec<&String> = objects.iter().filter(is_data).filter(|key| !known.contains(*key)).collect();
        assert!(new.len() > 2, "{level}: {new:?}");
        let sides = new.iter().filter(|key| key.contains(".side.")).count();
        assert_eq!(sides > 0, format == "payload", "{new:?}");
        for key in &new {
            let object = aws::object(&scene.bucket, key).unwrap();
            assert_eq!(object.metadata["keeper-level"], expected, "{level}: {key}");
        }
        known.extend(new.into_iter().cloned());
        scene.check();
        let verified = Command::new(binary())
            .arg("verify")
            .arg(setting.file())
            .envs(setting.environment())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert_eq!(verified.status.code(), Some(0), "{}", String::from_utf8_lossy(&verified.stdout));
    }
}
