//! What lies in a state directory, as somebody sees it who does not own it.
//!
//! Owns reading all of it beside a keeper that works there: nothing is written, moved or locked, what
//! vanishes meanwhile is passed over, and what cannot be understood is told and left where it is.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::Identity;
use super::outbox::HOURS;
use super::refusal::{newer, refuse_newer};
use crate::model::checkpoint::Checkpoint;
use crate::model::key::serial_of;
use crate::model::manifest::{About, BatchNotice, Notice};
use crate::model::sealed::{KnownPosition, Sealed};
use crate::model::sequence::SequenceNumber;
use crate::model::timestamp::Timestamp;
use crate::ports::{Disk, FileInfo};

/// Folders of local copies that are looked through for each shard's last one, newest first.
const COPY_FOLDERS: usize = 48;

/// Damaged files that are named; the others are counted.
const NAMED: usize = 10;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// Whose state it is.
    pub identity: Option<Identity>,
    /// By folder name: the shard's id, or `{shard}@{creation}` of an earlier creation of the stream.
    pub shards: BTreeMap<String, ShardLook>,
    /// Notices of hours that wait.
    pub hour_notices: u64,
    /// Files that a keeper set aside.
    pub damaged: Damaged,
    /// Files that cannot be understood, and why; the next start sets them aside.
    pub unreadable: Vec<String>,
    /// Files of a newer version, in the words in which the next start refuses the first of them.
    pub newer: Vec<String>,
}

/// One shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardLook {
    /// Its last archived position.
    pub checkpoint: Option<Checkpoint>,
    /// Sealed items that wait for the bucket.
    pub spool_items: u64,
    /// Their bytes.
    pub spool_bytes: u64,
    /// When the oldest of them was sealed.
    pub oldest_sealed: Option<Timestamp>,
    /// The furthest position that is durable: of the spool, else of the checkpoint.
    pub sealed: Option<KnownPosition>,
    /// Notices that wait.
    pub outbox: u64,
    /// The newest local copy, and when it came.
    pub last_copy: Option<(BatchNotice, Timestamp)>,
}

/// Files under `damaged/`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Damaged {
    /// How many.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The first of them.
    pub named: Vec<PathBuf>,
}

impl Look {
    /// Looks at a state directory. An error is a folder that may not be read.
    pub fn at(disk: &dyn Disk) -> io::Result<Self> {
        let mut look = Self::default();
        match Identity::read(disk) {
            Ok(identity) => look.identity = identity,
            Err(error) if newer(&error).is_some() => look.newer.push(error.to_string()),
            Err(error) => return Err(error),
        }
        look.checkpoints(disk)?;
        look.spool(disk)?;
        look.outbox(disk)?;
        look.copies(disk)?;
        look.damaged(disk)?;
        Ok(look)
    }

    fn shard(&mut self, folder: &str) -> &mut ShardLook {
        self.shards.entry(folder.to_owned()).or_default()
    }

    /// A file's content; `None` where it vanished, or is damaged or a newer version's: then that is told.
    fn parse<T: DeserializeOwned>(&mut self, disk: &dyn Disk, path: &Path) -> io::Result<Option<T>> {
        let Some(bytes) = disk.read(path)? else { return Ok(None) };
        // Local copies are no state: no start reads them.
        if !path.starts_with("archive")
            && let Err(error) = refuse_newer(path, &bytes)
        {
            self.newer.push(error.to_string());
            return Ok(None);
        }
        match serde_json::from_slice(&bytes) {
            Ok(value) => Ok(Some(value)),
            Err(error) => {
                self.unreadable.push(format!("{}: {error}", path.display()));
                Ok(None)
            }
        }
    }

    fn checkpoints(&mut self, disk: &dyn Disk) -> io::Result<()> {
        let folder = Path::new("checkpoints");
        for file in disk.list(folder)?.into_iter().filter(|file| !file.is_dir) {
            let Some(name) = file.name.strip_suffix(".json") else { continue };
            let Some(checkpoint) = self.parse::<Checkpoint>(disk, &folder.join(&file.name))? else {
                continue;
            };
            let furthest = checkpoint.sealed.iter().chain([&checkpoint.known]);
            let sealed = furthest.max_by(|a, b| place(a).cmp(&place(b))).cloned();
            *self.shard(name) = ShardLook { sealed, checkpoint: Some(checkpoint), ..ShardLook::default() };
        }
        Ok(())
    }

    fn spool(&mut self, disk: &dyn Disk) -> io::Result<()> {
        for (name, folder) in folders(disk, "spool")? {
            let files = disk.list(&folder)?;
            for file in files.iter().filter(|file| !file.is_dir) {
                // Lines without a manifest are not sealed yet.
                let Some(stem) = file.name.strip_suffix(".json") else { continue };
                let Some(item) = self.parse::<Sealed>(disk, &folder.join(&file.name))? else { continue };
                let lines = files.iter().find(|other| other.name == format!("{stem}.ndjson.gz"));
                let shard = self.shard(&name);
                shard.spool_items += 1;
                shard.spool_bytes += lines.map_or(0, |lines| lines.len);
                let oldest = shard.oldest_sealed.map_or(item.sealed_at, |oldest| oldest.min(item.sealed_at));
                shard.oldest_sealed = Some(oldest);
                let end = item.known_end();
                if shard.sealed.as_ref().is_none_or(|sealed| place(sealed) < place(&end)) {
                    shard.sealed = Some(end);
                }
            }
        }
        Ok(())
    }

    fn outbox(&mut self, disk: &dyn Disk) -> io::Result<()> {
        for (name, folder) in folders(disk, "outbox")? {
            let waiting = disk.list(&folder)?.iter().filter(|file| serial_of(&file.name).is_some()).count();
            match waiting as u64 {
                waiting if name == HOURS => self.hour_notices = waiting,
                0 => {}
                waiting => self.shard(&name).outbox = waiting,
            }
        }
        Ok(())
    }

    /// The newest local copy of each shard, as far as the newest folders have it.
    fn copies(&mut self, disk: &dyn Disk) -> io::Result<()> {
        let mut open = vec![PathBuf::from("archive")];
        let mut looked_through = 0;
        while let Some(folder) = open.pop() {
            let files = disk.list(&folder)?;
            // By name, so that the newest hour lies on top of the pile.
            open.extend(files.iter().filter(|file| file.is_dir).map(|below| folder.join(&below.name)));
            let newest = newest_of_each_shard(&files);
            looked_through += usize::from(!newest.is_empty());
            for (name, file) in newest {
                let missing =
                    |look: &Self| look.shards.get(name).is_none_or(|shard| shard.last_copy.is_none());
                if missing(self)
                    && let Some(Notice { about: About::Batch(batch), .. }) =
                        self.parse(disk, &folder.join(&file.name))?
                {
                    self.shard(name).last_copy = Some((*batch, file.modified));
                }
            }
            if looked_through >= COPY_FOLDERS || self.shards.values().all(|shard| shard.last_copy.is_some()) {
                break;
            }
        }
        Ok(())
    }

    fn damaged(&mut self, disk: &dyn Disk) -> io::Result<()> {
        let mut open = vec![PathBuf::from("damaged")];
        while let Some(folder) = open.pop() {
            for file in disk.list(&folder)? {
                let path = folder.join(&file.name);
                if file.is_dir {
                    open.push(path);
                    continue;
                }
                self.damaged.files += 1;
                self.damaged.bytes += file.len;
                if self.damaged.named.len() < NAMED {
                    self.damaged.named.push(path);
                }
            }
        }
        Ok(())
    }
}

/// Positions in their order; of one position, what is known to be complete for longer.
fn place(known: &KnownPosition) -> (&crate::model::sequence::Position, Option<Timestamp>) {
    (&known.position, known.complete_to)
}

/// The folders of shards.
fn folders(disk: &dyn Disk, kind: &str) -> io::Result<Vec<(String, PathBuf)>> {
    let found = disk.list(Path::new(kind))?.into_iter().filter(|found| found.is_dir);
    Ok(found.map(|found| (found.name.clone(), Path::new(kind).join(found.name))).collect())
}

/// The sidecar `{shard}-{first sequence number}.….json` with the greatest number, of each shard.
fn newest_of_each_shard(files: &[FileInfo]) -> BTreeMap<&str, &FileInfo> {
    let mut newest: BTreeMap<&str, (SequenceNumber, &FileInfo)> = BTreeMap::new();
    for file in files.iter().filter(|file| !file.is_dir && file.name.ends_with(".json")) {
        let stem = file.name.split('.').next().unwrap_or_default();
        let Some((shard, number)) = stem.rsplit_once('-') else { continue };
        let Ok(number) = number.parse::<SequenceNumber>() else { continue };
        if newest.get(shard).is_none_or(|(known, _)| *known < number) {
            newest.insert(shard, (number, file));
        }
    }
    newest.into_iter().map(|(shard, (_, file))| (shard, file)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::LocalDisk;

    fn checkpoint(position: &str) -> String {
        format!(
            r#"{{"version":1,"stream_arn":"a","stream_created":"2026-11-22T00:00:00Z","shard":"shardId-0","serial":41,
                "entry_sha256":"ab","position":{position},"last_record":null,"complete_to":"2026-11-22T05:00:00Z",
                "sealed":null,"saved_at":"2026-11-22T05:00:01Z"}}"#
        )
    }

    fn sealed(first: u64, at: &str) -> String {
        format!(
            r#"{{"version":1,"stream_arn":"a","stream_created":"2026-11-22T00:00:00Z","shard":"shardId-0","follows":"start",
                "last_before":null,"complete_to":"2026-11-22T05:30:00Z","known_serial":null,"sealed_at":"{at}","type":"batch",
                "content":{{"first_sequence_number":"{first}","last_sequence_number":"{}","records":7,"first_arrival":"{at}",
                "last_arrival":"{at}","content_size":9,"content_sha256":"","size":4,"sha256":""}},
                "sealed_by":"age","deaggregate":true,"millis_behind_latest":0}}"#,
            first + 9
        )
    }

    fn sidecar(serial: u64) -> String {
        format!(
            r#"{{"version":1,"type":"batch","stream":"s","stream_arn":"a","stream_created":"2026-11-22T00:00:00Z","shard":"shardId-0",
                "serial":{serial},"bucket":"b","key":"s/{serial}","url":"u","etag":"","version_id":null,"sha256":"","size":1,
                "content_sha256":"","content_size":1,"records":1,"first_sequence_number":"1","last_sequence_number":"2",
                "first_arrival":"2026-11-22T05:00:00Z","last_arrival":"2026-11-22T05:00:00Z","parents":[],"sealed_by":"age",
                "millis_behind_latest":0}}"#
        )
    }

    #[test]
    fn everything_is_found_and_nothing_is_changed() {
        let folder = tempfile::tempdir().unwrap();
        let disk = LocalDisk::new(folder.path());
        let put = |path: &str, text: &str| disk.write(Path::new(path), &[text.as_bytes()]).unwrap();
        put("checkpoints/shardId-0.json", &checkpoint(r#"{"after":"90"}"#));
        put("checkpoints/shardId-1.json", "{\"version\":1");
        put("checkpoints/shardId-2.json", &checkpoint("\"end\""));
        put("spool/shardId-0/100.json", &sealed(100, "2026-11-22T05:20:00Z"));
        put("spool/shardId-0/100.ndjson.gz", "1234");
        put("spool/shardId-0/91.json", &sealed(91, "2026-11-22T05:10:00Z"));
        put("spool/shardId-0/91.ndjson.gz", "123456");
        put("spool/shardId-0/200.ndjson.gz", "not sealed yet");
        put("outbox/shardId-0/000000000041.json", "{}");
        put("outbox/shardId-0@77/000000000003.json", "{}");
        put("outbox/@hours/000000495000.json", "{}");
        put("outbox/@hours/000000495001.json", "{}");
        put("archive/s/dt=2026-11-22/hour=04/shardId-0-99.ndjson.gz.json", &sidecar(39));
        put("archive/s/dt=2026-11-22/hour=05/shardId-0-9.ndjson.gz.json", &sidecar(40));
        put("archive/s/dt=2026-11-22/hour=05/shardId-0-10.ndjson.gz.json", &sidecar(41));
        put("damaged/spool/shardId-0/5.json", "??");
        let look = Look::at(&disk).unwrap();
        let names: Vec<_> = look.shards.keys().map(String::as_str).collect();
        assert_eq!(names, ["shardId-0", "shardId-0@77", "shardId-2"]);
        assert_eq!(look.hour_notices, 2, "of no shard");
        let shard = &look.shards["shardId-0"];
        assert_eq!((shard.spool_items, shard.spool_bytes, shard.outbox), (2, 10, 1));
        assert_eq!(shard.oldest_sealed, Some("2026-11-22T05:10:00Z".parse().unwrap()));
        assert_eq!(shard.sealed.as_ref().unwrap().position.to_string(), "after 109");
        assert_eq!(shard.last_copy.as_ref().unwrap().0.origin.serial, 41);
        assert_eq!(look.shards["shardId-2"].sealed.as_ref().unwrap().position.to_string(), "the shard's end");
        assert_eq!((look.damaged.files, look.damaged.bytes), (1, 2));
        assert_eq!(look.damaged.named, [Path::new("damaged/spool/shardId-0/5.json")]);
        assert_eq!(look.unreadable.len(), 1, "{:?}", look.unreadable);
        assert!(look.unreadable[0].starts_with("checkpoints/shardId-1.json: "));
        assert_eq!(Look::at(&disk).unwrap(), look, "and it is all still there");
    }

    #[test]
    fn files_of_a_newer_version_are_told_and_not_taken_for_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let disk = LocalDisk::new(folder.path());
        for path in ["identity.json", "checkpoints/shardId-0.json", "spool/shardId-0/91.json"] {
            disk.write(Path::new(path), &[br#"{"version":2}"#]).unwrap();
        }
        let look = Look::at(&disk).unwrap();
        assert_eq!((look.newer.len(), look.unreadable.len()), (3, 0), "{look:?}");
        assert!(look.identity.is_none() && look.shards.is_empty(), "{look:?}");
        assert!(
            look.newer[0].starts_with("identity.json in the state directory was written by a newer version")
        );
    }

    #[test]
    fn an_empty_directory_says_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let disk = LocalDisk::new(folder.path().join("none"));
        assert_eq!(Look::at(&disk).unwrap(), Look::default());
        assert!(!folder.path().join("none").exists());
    }
}
