//! Checkpoints: on this disk, or in memory only.
//!
//! A checkpoint is a hint where to look in the ledger. A lost one costs a search, never a record.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::refusal::{STATE_VERSION, refuse_newer};
use super::set_aside;
use crate::model::checkpoint::Checkpoint;
use crate::ports::{CheckpointStore, Disk};

/// `checkpoint.store = "disk"`: `checkpoints/{name}.json` in the state directory.
pub struct DiskCheckpoints {
    disk: Arc<dyn Disk>,
}

impl DiskCheckpoints {
    /// On this disk.
    pub fn new(disk: Arc<dyn Disk>) -> Self {
        Self { disk }
    }
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(format!("checkpoints/{name}.json"))
}

impl CheckpointStore for DiskCheckpoints {
    fn load(&self, name: &str) -> io::Result<Option<Checkpoint>> {
        let path = path(name);
        let Some(bytes) = self.disk.read(&path)? else { return Ok(None) };
        refuse_newer(&path, &bytes)?;
        let problem = match serde_json::from_slice::<Checkpoint>(&bytes) {
            Ok(checkpoint) if checkpoint.version == STATE_VERSION => return Ok(Some(checkpoint)),
            Ok(checkpoint) => format!("its version {} is not known", checkpoint.version),
            Err(error) => error.to_string(),
        };
        let kept = set_aside(&*self.disk, &path)?;
        tracing::warn!(
            file = %path.display(), kept = %kept.display(), problem,
            "a damaged checkpoint was set aside; the position is the ledger's"
        );
        Ok(None)
    }

    fn save(&self, name: &str, checkpoint: &Checkpoint) -> io::Result<()> {
        let mut bytes = serde_json::to_vec(checkpoint)?;
        bytes.push(b'\n');
        self.disk.write(&path(name), &[&bytes])
    }
}

/// `checkpoint.store = "memory"`: forgotten at the end; every start searches the ledger.
#[derive(Debug, Default)]
pub struct MemoryCheckpoints {
    by_name: Mutex<HashMap<String, Checkpoint>>,
}

impl CheckpointStore for MemoryCheckpoints {
    fn load(&self, name: &str) -> io::Result<Option<Checkpoint>> {
        Ok(self.by_name.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned())
    }

    fn save(&self, name: &str, checkpoint: &Checkpoint) -> io::Result<()> {
        let mut by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        by_name.insert(name.to_owned(), checkpoint.clone());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::sealed::KnownPosition;
    use crate::model::sequence::Position;
    use crate::model::shard::ShardId;
    use crate::model::timestamp::Timestamp;
    use crate::spool::LocalDisk;
    use crate::spool::refusal::newer;

    fn checkpoint() -> Checkpoint {
        Checkpoint {
            version: 1,
            stream_arn: "arn".into(),
            stream_created: Timestamp::from_millis(1_700_000_000_123),
            shard: ShardId::new("shardId-000000000000"),
            serial: 41,
            entry_sha256: "ab".into(),
            known: KnownPosition {
                position: Position::After("77".parse().unwrap()),
                last_record: Some("77".parse().unwrap()),
                complete_to: Some(Timestamp::from_seconds(5)),
            },
            sealed: None,
            saved_at: Timestamp::from_seconds(9),
            retention_ms: None,
            trimmed_to: None,
        }
    }

    #[test]
    fn both_give_back_what_was_saved() {
        let folder = tempfile::tempdir().unwrap();
        let on_disk = DiskCheckpoints::new(Arc::new(LocalDisk::new(folder.path())));
        let in_memory = MemoryCheckpoints::default();
        for store in [&on_disk as &dyn CheckpointStore, &in_memory] {
            assert_eq!(store.load("s").unwrap(), None);
            store.save("s", &checkpoint()).unwrap();
            assert_eq!(store.load("s").unwrap(), Some(checkpoint()));
            assert_eq!(store.load("s@1").unwrap(), None);
        }
    }

    #[test]
    fn a_damaged_one_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Arc::new(LocalDisk::new(folder.path()));
        let store = DiskCheckpoints::new(disk.clone());
        let unknown = serde_json::to_string(&Checkpoint { version: 0, ..checkpoint() }).unwrap();
        for text in ["", "{\"version\":1", unknown.as_str()] {
            disk.write(&path("s"), &[text.as_bytes()]).unwrap();
            assert_eq!(store.load("s").unwrap(), None);
            assert_eq!(disk.read(&path("s")).unwrap(), None);
        }
        assert_eq!(disk.list("damaged/checkpoints".as_ref()).unwrap().len(), 3);
    }

    #[test]
    fn one_of_a_newer_version_is_refused_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Arc::new(LocalDisk::new(folder.path()));
        let store = DiskCheckpoints::new(disk.clone());
        store.save("s", &Checkpoint { version: 2, ..checkpoint() }).unwrap();
        assert!(newer(&store.load("s").unwrap_err()).is_some());
        assert!(disk.read(&path("s")).unwrap().is_some());
        assert!(disk.list("damaged".as_ref()).unwrap().is_empty());
    }
}
