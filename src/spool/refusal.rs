//! What only the operator can mend in a state directory: it ends the keeper; all else is tried again.
//!
//! Owns which errors those are, and how a file of a newer version is told from a damaged one: damage is set
//! aside and written anew, a newer file is refused and left as it is.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::error::Failure;
use crate::model::ledger::FORMAT_VERSION;
use crate::ports::Disk;

/// The version of the files of the state directory. Notices are none of them: they have the archive's.
pub const STATE_VERSION: u32 = 1;

/// A file that a newer version of the program wrote.
#[derive(Debug, thiserror::Error)]
#[error(
    "{} in the state directory was written by a newer version of kinesis-keeper: its format is {version}, and this program knows {known}",
    file.display()
)]
struct Newer {
    file: PathBuf,
    version: u64,
    known: u32,
}

/// Refuses a file of a newer version. Asked before anything else of it is read: the rest may mean something else by
/// now. A file that says no version is its reader's to judge.
pub fn refuse_newer(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let known = if file.starts_with("outbox") { FORMAT_VERSION } else { STATE_VERSION };
    let content = serde_json::from_slice::<Value>(bytes).unwrap_or_default();
    match content.get("version").and_then(Value::as_u64) {
        Some(version) if version > u64::from(known) => {
            let newer = Newer { file: file.to_owned(), version, known };
            Err(io::Error::new(ErrorKind::Unsupported, newer))
        }
        _ => Ok(()),
    }
}

/// Looks, at the start, whether a newer version has worked here; nothing is changed.
///
/// `identity.json` decides it for nearly all: a version that writes any of these files in another form raises
/// [`STATE_VERSION`], and writes `identity.json` before the others. For one that is missing, or was copied from
/// elsewhere, the newest file of each folder stands in: whoever wrote last wrote that. So a start reads a file a
/// folder and not the thousands that may wait after an outage; whoever reads those asks each of them again: the
/// keeper ends with what a shard finds then, too, and a notice stays where it is.
pub fn look_for_newer(disk: &dyn Disk) -> io::Result<()> {
    for file in ["identity.json", "hours.json"] {
        look_at(disk, Path::new(file))?;
    }
    look_at_newest(disk, Path::new("checkpoints"))?;
    for kind in ["spool", "outbox"] {
        for folder in disk.list(Path::new(kind))?.into_iter().filter(|found| found.is_dir) {
            look_at_newest(disk, &Path::new(kind).join(folder.name))?;
        }
    }
    Ok(())
}

fn look_at(disk: &dyn Disk, file: &Path) -> io::Result<()> {
    let bytes = disk.read(file)?.unwrap_or_default();
    refuse_newer(file, &bytes)
}

fn look_at_newest(disk: &dyn Disk, folder: &Path) -> io::Result<()> {
    let files = disk.list(folder)?.into_iter();
    let files = files.filter(|file| !file.is_dir && file.name.ends_with(".json"));
    match files.max_by(|a, b| (a.modified, &a.name).cmp(&(b.modified, &b.name))) {
        Some(newest) => look_at(disk, &folder.join(newest.name)),
        None => Ok(()),
    }
}

/// What ends the keeper, if the error is that a file is a newer version's.
pub fn newer(error: &io::Error) -> Option<Failure> {
    let newer = error.get_ref()?.downcast_ref::<Newer>()?;
    Some(Failure::failed(format!(
        "{newer}\nrun that version, or give this one a disk.state_dir of its own: it goes on where the archive in the bucket \
         ends; what lies sealed here alone is read again from the stream"
    )))
}

/// What ends the keeper, if the error is one that no waiting mends.
pub fn refusal(error: &io::Error) -> Option<Failure> {
    let unusable = matches!(
        error.kind(),
        // The last is a file where a folder should be.
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem | ErrorKind::NotADirectory
    );
    newer(error).or_else(|| unusable.then(|| cannot_be_used("the state directory", error)))
}

pub(super) fn cannot_be_used(what: &str, error: &io::Error) -> Failure {
    Failure::failed(format!(
        "{what} cannot be used: {error}\n\
         make it a directory that this user may write to, or set disk.state_dir to one"
    ))
}

/// Whether the disk, a quota or a limit on the size of files leaves no room: what can change by itself.
pub(super) fn is_no_room(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::LocalDisk;

    fn disk() -> (tempfile::TempDir, LocalDisk) {
        let folder = tempfile::tempdir().unwrap();
        let disk = LocalDisk::new(folder.path());
        (folder, disk)
    }

    #[test]
    fn only_a_greater_version_is_newer() {
        let file = Path::new("spool/s/1.json");
        for fine in ["", "{", "[2]", "{}", r#"{"version":1}"#, r#"{"version":0}"#, r#"{"version":2"#] {
            refuse_newer(file, fine.as_bytes()).unwrap();
        }
        let error = refuse_newer(file, br#"{"other":[],"version":2}"#).unwrap_err();
        let failure = newer(&error).unwrap();
        assert_eq!(failure.exit_code(), 1);
        let said = "spool/s/1.json in the state directory was written by a newer version of kinesis-keeper: its format is 2";
        assert!(failure.message.starts_with(said), "{failure}");
        assert!(newer(&io::Error::other("no")).is_none() && newer(&ErrorKind::Unsupported.into()).is_none());
    }

    #[test]
    fn what_waiting_may_mend_is_not_refused() {
        use ErrorKind::*;
        for kind in [PermissionDenied, ReadOnlyFilesystem, NotADirectory] {
            let failure = refusal(&io::Error::new(kind, "cannot write /s/identity.json: no")).unwrap();
            assert_eq!(failure.exit_code(), 1);
            let said = "the state directory cannot be used: cannot write /s/identity.json: no\n";
            assert!(failure.message.starts_with(said), "{failure}");
            assert!(!is_no_room(&kind.into()), "{kind}");
        }
        for kind in [StorageFull, QuotaExceeded, FileTooLarge] {
            assert!(is_no_room(&kind.into()) && refusal(&kind.into()).is_none(), "{kind}");
        }
        // EIO, as a failing disk has it: tried again, and told.
        assert!(refusal(&io::Error::from_raw_os_error(5)).is_none());
    }

    #[test]
    fn a_newer_file_anywhere_is_found_at_the_start() {
        for file in [
            "identity.json",
            "hours.json",
            "checkpoints/s.json",
            "spool/s/17.json",
            "spool/s@1000/17.json",
            "outbox/s/000000000003.json",
            "outbox/hours/000000000003.json",
        ] {
            let (_folder, disk) = disk();
            look_for_newer(&disk).unwrap();
            disk.write(Path::new(file), &[br#"{"version":1}"#]).unwrap();
            disk.write(Path::new("checkpoints/a.json"), &[b"{"]).unwrap();
            look_for_newer(&disk).unwrap();
            disk.write(Path::new(file), &[br#"{"version":2}"#]).unwrap();
            let error = look_for_newer(&disk).unwrap_err();
            assert!(newer(&error).unwrap().message.starts_with(file), "{error}");
        }
    }

    #[test]
    fn of_a_folder_the_newest_file_is_read() {
        let (folder, disk) = disk();
        let lay = |name: &str, version: u32, seconds: u64| {
            let path = format!("spool/s/{name}.json");
            disk.write(Path::new(&path), &[format!("{{\"version\":{version}}}").as_bytes()]).unwrap();
            let file = std::fs::File::options().write(true).open(folder.path().join(path)).unwrap();
            file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds)).unwrap();
        };
        lay("5", 1, 1000);
        lay("3", 1, 1000);
        lay("4", 2, 999);
        look_for_newer(&disk).unwrap();
        lay("4", 2, 1001);
        look_for_newer(&disk).unwrap_err();
    }
}
