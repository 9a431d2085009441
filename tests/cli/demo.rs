//! `demo`, as a newcomer runs it: twice in one folder, and once on an archive that somebody damaged.

use std::fs;
use std::path::{Path, PathBuf};

use kinesis_keeper::config::Config;

use super::{keeper, stderr, stdout};

/// Every file below `folder` whose name ends with `end`.
fn files(folder: &Path, end: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, end));
        } else if path.to_str().unwrap().ends_with(end) {
            found.push(path);
        }
    }
    found
}

#[test]
fn demos_in_one_folder_add_up_exactly_once_and_damage_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("my demo");
    let dir = dir.to_str().unwrap();

    let first = keeper(&["demo", dir]);
    assert_eq!(first.status.code(), Some(0), "{}{}", stdout(&first), stderr(&first));
    let text = stdout(&first);
    assert!(text.contains("put       20,000 events by this demo\n"), "{text}");
    assert!(text.contains("archived  20,000 records in "), "{text}");
    assert!(text.contains("verdict   exactly once: 0 missing, 0 doubled"), "{text}");
    assert!(text.lines().count() <= 45, "{text}");
    let (_, own) = text.split_once("next   your own stream;").unwrap();
    let own: Vec<_> = own.lines().filter_map(|line| line.strip_prefix("         ")).collect();
    let config = Config::parse(&own.join("\n"), Path::new("my.toml")).unwrap();
    assert_ne!(config.disk.state_dir, Path::new(dir).join("state"), "that is the demo's");
    assert!(
        text.ends_with(&format!("       {} run my.toml\n", env!("CARGO_BIN_EXE_kinesis-keeper"))),
        "{text}"
    );
    assert!(stderr(&first).is_empty(), "no bar without a terminal: {}", stderr(&first));

    let second = keeper(&["demo", dir]);
    assert_eq!(second.status.code(), Some(0), "{}{}", stdout(&second), stderr(&second));
    assert!(stdout(&second).contains("archived  40,000 records in "), "{}", stdout(&second));

    let objects = files(&Path::new(dir).join("s3/kinesis-keeper-demo/clickstream"), ".ndjson.gz");
    fs::remove_file(&objects[0]).unwrap();
    let third = keeper(&["demo", dir]);
    assert_eq!(third.status.code(), Some(1), "{}", stdout(&third));
    assert!(stdout(&third).contains("claimed, but not there"), "{}", stdout(&third));
    assert!(stderr(&third).contains("events missing, 0 doubled"), "{}", stderr(&third));
}

#[test]
fn a_folder_that_cannot_be_used_is_said() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let output = keeper(&["demo", file.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("cannot use the folder"), "{}", stderr(&output));
}
