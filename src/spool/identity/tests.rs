use super::*;
use crate::spool::LocalDisk;

const ARN: &str = "arn:aws:kinesis:eu-central-1:1:stream/clicks";

fn wanted(created_millis: i64) -> Identity {
    let stream = StreamIdentity {
        name: "clicks".into(),
        arn: ARN.into(),
        created: Timestamp::from_millis(created_millis),
    };
    Identity::new(&stream, "bucket", "p/", &mut fastrand::Rng::with_seed(3))
}

fn disk() -> (tempfile::TempDir, LocalDisk) {
    let folder = tempfile::tempdir().unwrap();
    let disk = LocalDisk::new(folder.path());
    (folder, disk)
}

fn lay(disk: &LocalDisk, path: &str, created_millis: i64) {
    let created = Timestamp::from_millis(created_millis);
    let text = format!(r#"{{"type":"x","stream_arn":"{ARN}","stream_created":"{created}"}}"#);
    disk.write(Path::new(path), &[text.as_bytes()]).unwrap();
}

fn lay_state(disk: &LocalDisk, created_millis: i64) {
    lay(disk, "checkpoints/s-0.json", created_millis);
    lay(disk, "spool/s-0/17.json", created_millis);
    disk.write(Path::new("spool/s-0/17.ndjson.gz"), &[b"lines"]).unwrap();
    lay(disk, "outbox/s-0/000000000003.json", created_millis);
    lay(disk, "outbox/s-1/000000000000.json", created_millis);
}

fn there(disk: &LocalDisk, path: &str) -> bool {
    disk.read(Path::new(path)).unwrap().is_some()
}

fn assert_moved(disk: &LocalDisk, settled: &Settled) {
    for path in [
        "checkpoints/s-0@1000.json",
        "spool/s-0@1000/17.json",
        "spool/s-0@1000/17.ndjson.gz",
        "outbox/s-0@1000/000000000003.json",
        "outbox/s-1@1000/000000000000.json",
    ] {
        assert!(there(disk, path), "{path}");
    }
    let created = Timestamp::from_millis(1_000_123);
    let old =
        |shard: &str| OldFolder { folder: format!("{shard}@1000"), shard: ShardId::new(shard), created };
    assert_eq!(settled.old, [old("s-0"), old("s-1")]);
    assert_eq!(disk.list(Path::new("spool")).unwrap().len(), 1);
    assert_eq!(Identity::read(disk).unwrap().unwrap().stream_created, Timestamp::from_seconds(2000));
}

#[test]
fn the_keeper_is_made_once() {
    let (_folder, disk) = disk();
    let first = settle(&disk, wanted(1_000_000)).unwrap();
    assert_eq!(first.identity.keeper.len(), 8);
    let again = Identity { keeper: "ffffffff".into(), ..wanted(1_000_000) };
    let second = settle(&disk, again).unwrap();
    assert_eq!(second, first);
    assert!(second.old.is_empty());
}

#[test]
fn another_stream_bucket_or_prefix_is_refused() {
    let (_folder, disk) = disk();
    settle(&disk, wanted(1_000_000)).unwrap();
    for other in [
        Identity { stream_arn: "arn:other".into(), ..wanted(1_000_000) },
        Identity { bucket: "other".into(), ..wanted(1_000_000) },
        Identity { prefix: String::new(), ..wanted(2_000_000) },
    ] {
        let Err(Unsettled::Refused(failure)) = settle(&disk, other) else { panic!("settled") };
        assert_eq!(failure.exit_code(), 1);
        assert!(failure.message.contains("holds the state of"), "{failure}");
    }
}

#[test]
fn a_stream_made_again_gets_folders_of_its_own() {
    let (_folder, disk) = disk();
    settle(&disk, wanted(1_000_123)).unwrap();
    lay_state(&disk, 1_000_123);
    let settled = settle(&disk, wanted(2_000_000)).unwrap();
    assert_moved(&disk, &settled);
    assert_eq!(settle(&disk, wanted(2_000_000)).unwrap(), settled);
    disk.remove(Path::new("outbox/s-1@1000/000000000000.json")).unwrap();
    assert_eq!(settle(&disk, wanted(2_000_000)).unwrap().old, settled.old[..1]);
}

#[test]
fn a_migration_cut_after_any_move_is_completed() {
    for cut in 0..5 {
        let (_folder, disk) = disk();
        let before = settle(&disk, wanted(1_000_123)).unwrap().identity;
        lay_state(&disk, 1_000_123);
        let moves = plan_moves(&disk, Some(&before), &wanted(2_000_000)).unwrap();
        for (from, to) in &moves[..cut] {
            disk.rename(from, to).unwrap();
        }
        let settled = settle(&disk, wanted(2_000_000)).unwrap();
        assert_moved(&disk, &settled);
    }
}

#[test]
fn a_damaged_identity_is_set_aside_and_files_tell_their_creation() {
    let (_folder, disk) = disk();
    disk.write(Path::new(FILE), &[b"{\"version\":1,"]).unwrap();
    lay_state(&disk, 1_000_123);
    lay(&disk, "spool/s-0/20.json", 2_000_000);
    let settled = settle(&disk, wanted(2_000_000)).unwrap();
    assert!(there(&disk, "damaged/identity.json") && there(&disk, "spool/s-0/20.json"));
    disk.remove(Path::new("spool/s-0/20.json")).unwrap();
    disk.remove_folder(Path::new("spool/s-0")).unwrap();
    assert_moved(&disk, &settled);

    disk.write(Path::new(FILE), &[b"?"]).unwrap();
    lay(&disk, "spool/s-2/1.json", 2_000_000);
    let other = Identity { stream_arn: "arn:other".into(), ..wanted(2_000_000) };
    assert!(matches!(settle(&disk, other), Err(Unsettled::Refused(_))));
}

#[test]
fn state_of_a_newer_version_is_refused_and_left_as_it_is() {
    let newer = |file: &str| {
        let (folder, disk) = disk();
        lay_state(&disk, 1_000_000);
        let text =
            serde_json::to_string(&wanted(1_000_000)).unwrap().replace("\"version\":1", "\"version\":2");
        disk.write(Path::new(file), &[text.as_bytes()]).unwrap();
        let Err(Unsettled::Refused(failure)) = settle(&disk, wanted(1_000_000)) else { panic!("settled") };
        assert_eq!(failure.exit_code(), 1);
        let said = format!("{file} in the state directory was written by a newer version of kinesis-keeper");
        assert!(failure.message.starts_with(&said), "{failure}");
        assert_eq!(disk.read(Path::new(file)).unwrap().unwrap(), text.as_bytes());
        assert!(disk.list(Path::new("damaged")).unwrap().is_empty());
        (folder, disk)
    };
    newer(FILE);
    // Where no identity.json says whose they are, the files do.
    let (_folder, disk) = newer("spool/s-0/17.json");
    disk.write(Path::new(FILE), &[b"?"]).unwrap();
    assert!(matches!(settle(&disk, wanted(1_000_000)), Err(Unsettled::Refused(_))));
    assert!(there(&disk, FILE), "what is refused is not touched");
}

#[test]
fn a_directory_that_cannot_be_used_is_refused_and_a_full_one_is_not() {
    let (_folder, local) = disk();
    std::fs::write(local.full_path(Path::new("outbox")), "no folder").unwrap();
    let Err(Unsettled::Refused(failure)) = settle(&local, wanted(1_000_000)) else { panic!("settled") };
    assert!(failure.message.starts_with("the state directory cannot be used: "), "{failure}");
    for (kind, is_refused) in [
        (io::ErrorKind::PermissionDenied, true),
        (io::ErrorKind::ReadOnlyFilesystem, true),
        (io::ErrorKind::StorageFull, false),
        (io::ErrorKind::FileTooLarge, false),
        (io::ErrorKind::Other, false),
    ] {
        let unsettled = Unsettled::from(io::Error::from(kind));
        assert_eq!(matches!(unsettled, Unsettled::Refused(_)), is_refused, "{kind}");
    }
}
