//! Whose state the directory holds: one keeper, one stream, one place in one bucket.
//!
//! Owns `identity.json`, and what becomes of the files of a stream that was deleted and made again:
//! they move to folders that bear the old creation time, so that nothing of one creation is ever
//! taken for the other's. Does not deliver what lies there: a shard that drains does.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::refusal::{STATE_VERSION, refusal, refuse_newer};
use super::set_aside;
use crate::error::Failure;
use crate::model::shard::{ShardId, StreamIdentity};
use crate::model::timestamp::Timestamp;
use crate::ports::Disk;

const FILE: &str = "identity.json";

/// What `identity.json` holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The version of the file's format.
    pub version: u32,
    /// Made once, at random: tells this state directory from others on the same host.
    pub keeper: String,
    /// The stream's name.
    pub stream: String,
    /// The stream's ARN.
    pub stream_arn: String,
    /// The creation whose files lie in the plain folders.
    pub stream_created: Timestamp,
    /// The archive's bucket.
    pub bucket: String,
    /// The archive's prefix.
    pub prefix: String,
}

/// The state of an earlier creation of the stream that is still to be delivered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OldFolder {
    /// Its name under `spool/` and `outbox/`: `{shard}@{creation, epoch seconds}`.
    pub folder: String,
    /// The shard.
    pub shard: ShardId,
    /// That creation.
    pub created: Timestamp,
}

/// The directory is this stream's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// What `identity.json` holds now.
    pub identity: Identity,
    /// Folders of earlier creations that still hold sealed items or notices.
    pub old: Vec<OldFolder>,
}

/// Why the directory is not settled.
#[derive(Debug, thiserror::Error)]
pub enum Unsettled {
    /// It holds something else's state, or cannot be used: nothing was changed.
    #[error(transparent)]
    Refused(#[from] Failure),
    /// The disk failed, or is full; trying again goes on where it stopped.
    #[error(transparent)]
    Disk(io::Error),
}

impl From<io::Error> for Unsettled {
    fn from(error: io::Error) -> Self {
        refusal(&error).map_or(Self::Disk(error), Self::Refused)
    }
}

impl Identity {
    /// Of a keeper that has none yet; `random` makes its identifier.
    pub fn new(stream: &StreamIdentity, bucket: &str, prefix: &str, random: &mut fastrand::Rng) -> Self {
        Self {
            version: STATE_VERSION,
            keeper: format!("{:08x}", random.u32(..)),
            stream: stream.name.clone(),
            stream_arn: stream.arn.clone(),
            stream_created: stream.created,
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
        }
    }

    /// What the directory holds; `None` where there is nothing, or nothing readable. What a newer version wrote
    /// is an error: see [`refusal`].
    pub fn read(disk: &dyn Disk) -> io::Result<Option<Self>> {
        let bytes = disk.read(Path::new(FILE))?.unwrap_or_default();
        refuse_newer(Path::new(FILE), &bytes)?;
        Ok(serde_json::from_slice::<Self>(&bytes).ok().filter(|identity| identity.version == STATE_VERSION))
    }

    fn write(&self, disk: &dyn Disk) -> io::Result<()> {
        let mut bytes = serde_json::to_vec_pretty(self)?;
        bytes.push(b'\n');
        disk.write(Path::new(FILE), &[&bytes])
    }

    fn refuse_other(&self, wanted: &Self) -> Result<(), Failure> {
        let place = |of: &Self| format!("{} in s3://{}/{}", of.stream_arn, of.bucket, of.prefix);
        let same = self.stream_arn == wanted.stream_arn
            && self.bucket == wanted.bucket
            && self.prefix == wanted.prefix;
        if same {
            return Ok(());
        }
        Err(Failure::failed(format!(
            "the state directory holds the state of {}, not of {}\n\
             set disk.state_dir to a directory of its own for each stream, bucket and prefix",
            place(self),
            place(wanted)
        )))
    }
}

/// Makes the directory `wanted`'s, or refuses. The keeper that it already has stays. Cut short
/// anywhere, the next call goes on: files move first, `identity.json` is written last.
pub fn settle(disk: &dyn Disk, wanted: Identity) -> Result<Settled, Unsettled> {
    let found = Identity::read(disk)?;
    if let Some(found) = &found {
        found.refuse_other(&wanted)?;
        if found.stream_created.as_seconds() == wanted.stream_created.as_seconds() {
            return Ok(Settled { identity: found.clone(), old: old_folders(disk)? });
        }
        tracing::warn!(
            stream = wanted.stream, before = %found.stream_created, now = %wanted.stream_created,
            "the stream was deleted and made again: it gets new ledgers; what is sealed of the old one is delivered to the old ones"
        );
    }
    // Before anything is touched: files of another stream, or of a newer version, are refused here.
    let moves = plan_moves(disk, found.as_ref(), &wanted)?;
    if found.is_none() && disk.read(Path::new(FILE))?.is_some() {
        let kept = set_aside(disk, Path::new(FILE))?;
        tracing::warn!(kept = %kept.display(), "a damaged identity.json was set aside and is written anew");
    }
    for (from, to) in &moves {
        if disk.read(to)?.is_some() {
            set_aside(disk, to)?;
        }
        disk.rename(from, to)?;
    }
    for kind in ["spool", "outbox"] {
        for shard in disk.list(Path::new(kind))?.into_iter().filter(|found| found.is_dir) {
            // Those that are empty now, or were when an earlier try was cut short.
            disk.remove_folder(&Path::new(kind).join(shard.name))?;
        }
    }
    let keeper = found.map_or_else(|| wanted.keeper.clone(), |found| found.keeper);
    let identity = Identity { keeper, ..wanted };
    identity.write(disk)?;
    Ok(Settled { identity, old: old_folders(disk)? })
}

/// The stream that a checkpoint, a manifest or a notice belongs to; they all name it alike.
#[derive(Deserialize)]
struct Origin {
    stream_arn: String,
    stream_created: Timestamp,
}

fn origin(disk: &dyn Disk, path: &Path) -> io::Result<Option<Origin>> {
    let bytes = disk.read(path)?.unwrap_or_default();
    refuse_newer(path, &bytes)?;
    Ok(serde_json::from_slice(&bytes).ok())
}

/// Which files of the plain folders belong to an earlier creation, and where they go. Known from
/// `identity.json`, all of them; without one, each file says it itself.
fn plan_moves(
    disk: &dyn Disk,
    found: Option<&Identity>,
    wanted: &Identity,
) -> Result<Vec<(PathBuf, PathBuf)>, Unsettled> {
    let mut moves = Vec::new();
    for item in items(disk)? {
        let created = match (found, &item.described_by) {
            (Some(found), _) => found.stream_created,
            (None, None) => continue,
            (None, Some(description)) => match origin(disk, description)? {
                None => continue,
                Some(origin) => {
                    let theirs = Identity { stream_arn: origin.stream_arn, ..wanted.clone() };
                    theirs.refuse_other(wanted)?;
                    origin.stream_created
                }
            },
        };
        if created.as_seconds() != wanted.stream_created.as_seconds() {
            let seconds = created.as_seconds();
            moves.extend(item.files.iter().map(|file| (file.clone(), item.moved(file, seconds))));
        }
    }
    Ok(moves)
}

/// Files that belong together: a checkpoint, a notice, or a sealed batch with its manifest.
#[derive(Default)]
struct Item {
    /// The shard's folder in which they lie; `None`: a checkpoint, which bears its name itself.
    folder: Option<PathBuf>,
    files: Vec<PathBuf>,
    described_by: Option<PathBuf>,
}

impl Item {
    fn moved(&self, file: &Path, seconds: i64) -> PathBuf {
        let name = file.file_name().unwrap_or_default();
        match &self.folder {
            Some(folder) => PathBuf::from(format!("{}@{seconds}", folder.display())).join(name),
            None => {
                let shard = file.file_stem().unwrap_or_default().to_string_lossy();
                file.with_file_name(format!("{shard}@{seconds}.json"))
            }
        }
    }
}

/// Everything in the plain folders, that is, of no named creation.
fn items(disk: &dyn Disk) -> io::Result<Vec<Item>> {
    let mut items = Vec::new();
    for file in disk.list(Path::new("checkpoints"))? {
        if !file.is_dir && file.name.ends_with(".json") && !file.name.contains('@') {
            let path = Path::new("checkpoints").join(&file.name);
            items.push(Item { folder: None, files: vec![path.clone()], described_by: Some(path) });
        }
    }
    for kind in ["spool", "outbox"] {
        for shard in disk.list(Path::new(kind))? {
            if shard.is_dir && !shard.name.contains('@') {
                items.extend(items_of(disk, &Path::new(kind).join(&shard.name))?);
            }
        }
    }
    Ok(items)
}

fn items_of(disk: &dyn Disk, folder: &Path) -> io::Result<Vec<Item>> {
    let mut by_stem: BTreeMap<String, Item> = BTreeMap::new();
    for file in disk.list(folder)?.into_iter().filter(|file| !file.is_dir) {
        let stem = file.name.split('.').next().unwrap_or_default().to_owned();
        let path = folder.join(&file.name);
        let item = by_stem.entry(stem).or_default();
        item.folder = Some(folder.to_owned());
        if file.name.ends_with(".json") {
            item.described_by = Some(path.clone());
        }
        item.files.push(path);
    }
    Ok(by_stem.into_values().collect())
}

/// The folders of earlier creations that still hold something; empty ones go.
fn old_folders(disk: &dyn Disk) -> io::Result<Vec<OldFolder>> {
    let mut old = BTreeSet::new();
    for kind in ["spool", "outbox"] {
        for found in disk.list(Path::new(kind))?.into_iter().filter(|found| found.is_dir) {
            let Some((shard, seconds)) = found.name.rsplit_once('@') else { continue };
            let Ok(seconds) = seconds.parse::<i64>() else { continue };
            let folder = Path::new(kind).join(&found.name);
            let files = disk.list(&folder)?;
            if files.is_empty() {
                disk.remove_folder(&folder)?;
                continue;
            }
            // The name has whole seconds; entries of that ledger bear the exact time.
            let mut created = Timestamp::from_seconds(seconds);
            if let Some(file) = files.iter().find(|file| file.name.ends_with(".json"))
                && let Some(origin) = origin(disk, &folder.join(&file.name))?
                && origin.stream_created.as_seconds() == seconds
            {
                created = origin.stream_created;
            }
            old.insert((found.name.clone(), ShardId::new(shard), created));
        }
    }
    let mut folders: Vec<OldFolder> = Vec::new();
    for (folder, shard, created) in old {
        match folders.last_mut() {
            // Spool and outbox of one shard; the later time is the exact one.
            Some(last) if last.folder == folder => last.created = last.created.max(created),
            _ => folders.push(OldFolder { folder, shard, created }),
        }
    }
    Ok(folders)
}

#[cfg(test)]
mod tests;
