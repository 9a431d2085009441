//! The outbox of one shard, or of the hours: notices that are still to be sent, in the order of their serials.
//!
//! Owns the files under `outbox/{folder}/`. Does not send: the shard does, or who tells the hours.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::refusal::refuse_newer;
use super::set_aside;
use crate::model::key::serial_of;
use crate::model::manifest::Notice;
use crate::ports::Disk;

/// The folder of the hours' notices in the outbox; no shard's, nor an earlier creation's.
pub const HOURS: &str = "@hours";

/// Notices waiting on this disk; a notice leaves only when it was sent.
pub struct Outbox {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    waiting: BTreeSet<u64>,
}

impl Outbox {
    /// Of the folder `outbox/{folder}`, with whatever waits in it.
    pub fn open(disk: Arc<dyn Disk>, folder: &str) -> io::Result<Self> {
        let folder = Path::new("outbox").join(folder);
        let mut waiting = BTreeSet::new();
        for file in disk.list(&folder)?.into_iter().filter(|file| !file.is_dir) {
            match serial_of(&file.name) {
                Some(serial) => {
                    waiting.insert(serial);
                }
                None => damaged(&*disk, &folder.join(&file.name), "its name is not a serial")?,
            }
        }
        Ok(Self { disk, folder, waiting })
    }

    fn path(&self, serial: u64) -> PathBuf {
        self.folder.join(format!("{serial:012}.json"))
    }

    /// Adds a notice durably; the same one again changes nothing.
    pub fn add(&mut self, notice: &Notice) -> io::Result<()> {
        let serial = notice.serial();
        let mut bytes = serde_json::to_vec(notice)?;
        bytes.push(b'\n');
        self.disk.write(&self.path(serial), &[&bytes])?;
        self.waiting.insert(serial);
        Ok(())
    }

    /// The serial of the notice that is to be sent next.
    pub fn next(&self) -> Option<u64> {
        self.waiting.first().copied()
    }

    /// The notice that is to be sent next. A damaged one is set aside, and the one after it is next; one of a newer
    /// version is an error, and stays.
    pub fn front(&mut self) -> io::Result<Option<Notice>> {
        while let Some(serial) = self.next() {
            let path = self.path(serial);
            if let Some(bytes) = self.disk.read(&path)? {
                refuse_newer(&path, &bytes)?;
                match serde_json::from_slice::<Notice>(&bytes) {
                    Ok(notice) if notice.serial() == serial => return Ok(Some(notice)),
                    Ok(_) => damaged(&*self.disk, &path, "it holds another serial than its name says")?,
                    Err(error) => damaged(&*self.disk, &path, &error.to_string())?,
                }
            }
            self.waiting.remove(&serial);
        }
        Ok(None)
    }

    /// The notice was sent: it leaves.
    pub fn sent(&mut self, serial: u64) -> io::Result<()> {
        self.disk.remove(&self.path(serial))?;
        self.waiting.remove(&serial);
        Ok(())
    }

    /// How many notices wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

fn damaged(disk: &dyn Disk, path: &Path, problem: &str) -> io::Result<()> {
    let kept = set_aside(disk, path)?;
    tracing::warn!(
        file = %path.display(), kept = %kept.display(), problem,
        "a damaged notice was set aside; subscribers find it by its serial"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::manifest::{About, EndNotice, Origin};
    use crate::model::shard::ShardId;
    use crate::model::timestamp::Timestamp;
    use crate::spool::LocalDisk;
    use crate::spool::refusal::newer;

    fn notice(serial: u64) -> Notice {
        let origin = Origin {
            stream: "s".into(),
            stream_arn: "arn".into(),
            stream_created: Timestamp::from_seconds(1),
            shard: ShardId::new("shardId-000000000000"),
            serial,
            bucket: "b".into(),
        };
        Notice { version: 1, about: About::End(Box::new(EndNotice { origin, children: vec![] })) }
    }

    #[test]
    fn notices_leave_in_order_and_survive_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Arc::new(LocalDisk::new(folder.path()));
        let mut outbox = Outbox::open(disk.clone(), "s").unwrap();
        assert!(outbox.is_empty() && outbox.front().unwrap().is_none());
        for serial in [10, 9, 100_000, 9] {
            outbox.add(&notice(serial)).unwrap();
        }
        drop(outbox);
        let mut outbox = Outbox::open(disk.clone(), "s").unwrap();
        assert_eq!(outbox.len(), 3);
        for serial in [9, 10, 100_000] {
            assert_eq!(outbox.next(), Some(serial));
            assert_eq!(outbox.front().unwrap(), Some(notice(serial)));
            outbox.sent(serial).unwrap();
        }
        assert_eq!(Outbox::open(disk, "s").unwrap().len(), 0);
    }

    #[test]
    fn damaged_notices_are_set_aside_and_the_rest_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Arc::new(LocalDisk::new(folder.path()));
        let mut outbox = Outbox::open(disk.clone(), "s").unwrap();
        outbox.add(&notice(3)).unwrap();
        disk.write("outbox/s/000000000001.json".as_ref(), &[b"{"]).unwrap();
        let misnamed = serde_json::to_vec(&notice(7)).unwrap();
        disk.write("outbox/s/000000000002.json".as_ref(), &[&misnamed]).unwrap();
        disk.write("outbox/s/notes.txt".as_ref(), &[b"?"]).unwrap();
        let mut outbox = Outbox::open(disk.clone(), "s").unwrap();
        assert_eq!(outbox.front().unwrap(), Some(notice(3)));
        assert_eq!(outbox.len(), 1);
        assert_eq!(disk.list("damaged/outbox/s".as_ref()).unwrap().len(), 3);
    }

    #[test]
    fn a_notice_of_a_newer_version_is_refused_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Arc::new(LocalDisk::new(folder.path()));
        let mut outbox = Outbox::open(disk.clone(), "s").unwrap();
        outbox.add(&Notice { version: 2, ..notice(3) }).unwrap();
        assert!(newer(&outbox.front().unwrap_err()).is_some());
        assert_eq!((outbox.len(), disk.list("outbox/s".as_ref()).unwrap().len()), (1, 1));
        assert!(disk.list("damaged".as_ref()).unwrap().is_empty());
    }
}
