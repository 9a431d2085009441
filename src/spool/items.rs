//! The sealed items of one shard: batches, gaps and the shard's end that are not yet in the ledger.
//!
//! Owns the files under `spool/{folder}/`; the manifest's rename is the seal. Which item is put
//! when, and what of it is covered by then, is decided in `shard/`.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::refusal::refuse_newer;
use crate::model::sealed::{KnownPosition, Sealed, SealedKind};
use crate::model::sequence::{Position, SequenceNumber};
use crate::ports::{CrashPoint, Disk, Probe};

/// A sealed item and what this process knows of it.
#[derive(Clone, Debug)]
pub struct Item {
    /// Its manifest.
    pub sealed: Sealed,
    /// The position that it follows: as sealed, or later if what lies between was since found empty.
    pub follows: Position,
    /// Whether this process wrote or inspected the spool file: its hashes can be trusted.
    pub inspected: bool,
    stem: String,
}

/// The sealed items of one shard.
pub struct SpoolItems {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    items: Vec<Item>,
}

/// The file of a batch that is to be sealed: bytes that were spilled, then the parts that follow them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnsealedLines {
    /// How many bytes were spilled.
    pub spilled: u64,
    /// What follows them.
    pub parts: Vec<Vec<u8>>,
}

/// What follows a stretch that is missing from the spool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hole {
    /// Records up to this position are missing.
    pub until: Position,
    /// The first sealed record after it, if a batch follows.
    pub first: Option<SequenceNumber>,
}

fn slices(parts: &[Vec<u8>]) -> Vec<&[u8]> {
    parts.iter().map(Vec::as_slice).collect()
}

fn understand(manifest: &[u8], data_len: Option<u64>) -> Result<Sealed, String> {
    let sealed: Sealed = serde_json::from_slice(manifest).map_err(|error| error.to_string())?;
    match sealed.batch() {
        Some(batch) if data_len != Some(batch.content.size) => Err(format!(
            "its lines take {} bytes where the manifest says {}",
            data_len.map_or_else(|| "no".to_owned(), |len| len.to_string()),
            batch.content.size
        )),
        _ => Ok(sealed),
    }
}

impl Item {
    /// Its bytes in the spool.
    pub fn bytes(&self) -> u64 {
        self.sealed.batch().map_or(0, |batch| batch.content.size)
    }

    /// Its first record, if it is a batch.
    pub fn first(&self) -> Option<&SequenceNumber> {
        self.sealed.batch().map(|batch| &batch.content.first_sequence_number)
    }

    /// Whether it is a gap that the next batch ends, and so takes no room.
    pub fn is_open_gap(&self) -> bool {
        matches!(&self.sealed.kind, SealedKind::Gap(gap) if gap.resumes_at.is_none())
    }

    /// Whether all of it lies behind `position`.
    pub fn is_covered_by(&self, position: &Position) -> bool {
        match &self.sealed.kind {
            SealedKind::Batch(batch) => position.covers(&batch.content.last_sequence_number),
            // Without `resumes_at` a gap takes no room: any step past its place ends it.
            SealedKind::Gap(gap) => match &gap.resumes_at {
                Some(_) => self.sealed.end() <= *position,
                None => self.follows < *position,
            },
            // Who read to the end, or found nothing left, knew of nothing behind the place where it stands.
            SealedKind::End(_) => self.follows < *position,
        }
    }

    /// Whether it may be put next at `position`: nothing unread lies between.
    pub fn is_next_at(&self, position: &Position) -> bool {
        self.follows <= *position && !self.is_covered_by(position)
    }
}

impl SpoolItems {
    /// Reads the manifests of a shard's folder. What is damaged, or belongs to another stream, is
    /// set aside under `damaged/` and read again from the stream. One of a newer version is an error, and nothing is
    /// touched then.
    pub fn open(
        disk: Arc<dyn Disk>,
        folder: &str,
        belongs: impl Fn(&Sealed) -> bool,
    ) -> io::Result<(Self, Vec<String>)> {
        let mut spool = Self { disk, folder: Path::new("spool").join(folder), items: vec![] };
        let mut damaged = vec![];
        let files = spool.disk.list(&spool.folder)?;
        let mut loaded = vec![];
        for file in files.iter().filter(|file| !file.is_dir) {
            let Some(stem) = file.name.strip_suffix(".json") else { continue };
            let data = files.iter().find(|other| other.name == format!("{stem}.ndjson.gz"));
            loaded.push((stem, spool.load(stem, data.map(|data| data.len))?));
        }
        for (stem, loaded) in loaded {
            match loaded {
                Ok(sealed) if belongs(&sealed) => spool.items.push(Item {
                    follows: sealed.follows.clone(),
                    sealed,
                    inspected: false,
                    stem: stem.to_owned(),
                }),
                Ok(_) => damaged.push(spool.set_aside(stem, "it belongs to another stream or shard")?),
                Err(reason) => damaged.push(spool.set_aside(stem, &reason)?),
            }
        }
        for file in files.iter().filter(|file| !file.is_dir) {
            // Lines without a manifest were never sealed, and are read again.
            if let Some(stem) = file.name.strip_suffix(".ndjson.gz")
                && !files.iter().any(|other| other.name == format!("{stem}.json"))
            {
                spool.disk.remove(&spool.folder.join(&file.name))?;
            }
        }
        spool.sort();
        Ok((spool, damaged))
    }

    /// What the manifest says, or how it is damaged.
    fn load(&self, stem: &str, data_len: Option<u64>) -> io::Result<Result<Sealed, String>> {
        let path = self.manifest_path(stem);
        let text = match self.disk.read(&path) {
            Ok(Some(text)) => text,
            Ok(None) => return Ok(Err("it is gone".to_owned())),
            Err(error) => return Ok(Err(error.to_string())),
        };
        refuse_newer(&path, &text)?;
        Ok(understand(&text, data_len))
    }

    fn sort(&mut self) {
        self.items.sort_by(|a, b| {
            let of_batch = |item: &Item| item.sealed.batch().is_some();
            // At the same end a gap that takes no room goes before what it precedes.
            a.sealed.end().cmp(&b.sealed.end()).then_with(|| of_batch(a).cmp(&of_batch(b)).reverse())
        });
    }

    /// Writes the next members of the open batch behind the first `spilled` bytes of its file. They are not
    /// sealed, and not durable. `NotFound` if those bytes are gone.
    pub fn spill(&self, spilled: u64, parts: &[Vec<u8>]) -> io::Result<()> {
        self.disk.write_at(&self.open_path(), spilled, &slices(parts))
    }

    /// Drops what was spilled of the open batch.
    pub fn drop_spilled(&self) -> io::Result<()> {
        self.disk.remove(&self.open_path())
    }

    /// Seals an item: lines first, then the manifest, whose rename is the seal. After an error it can be
    /// tried again with the same `lines`, unless the error is that what was spilled is gone (`NotFound`).
    pub fn seal(&mut self, sealed: Sealed, lines: &mut UnsealedLines, probe: &dyn Probe) -> io::Result<()> {
        let stem = self.free_stem(&sealed);
        if sealed.batch().is_some() {
            self.write_lines(&stem, lines)?;
        }
        probe.reached(CrashPoint::DuringSeal);
        let manifest = serde_json::to_vec(&sealed)?;
        self.disk.write(&self.manifest_path(&stem), &[&manifest])?;
        self.items.push(Item { follows: sealed.follows.clone(), sealed, inspected: true, stem });
        self.sort();
        Ok(())
    }

    fn write_lines(&self, stem: &str, lines: &mut UnsealedLines) -> io::Result<()> {
        if lines.spilled == 0 {
            return self.disk.write(&self.lines_path(stem), &slices(&lines.parts));
        }
        if !lines.parts.is_empty() {
            self.spill(lines.spilled, &lines.parts)?;
            // Not written again once the file may have its name.
            lines.spilled += lines.parts.iter().map(|part| part.len() as u64).sum::<u64>();
            lines.parts = vec![];
        }
        self.disk.persist(&self.open_path(), &self.lines_path(stem))
    }

    /// A name by the first record; never that of an item which is still there.
    fn free_stem(&self, sealed: &Sealed) -> String {
        let base = match &sealed.kind {
            SealedKind::Batch(batch) => batch.content.first_sequence_number.to_string(),
            SealedKind::Gap(gap) => {
                let at = gap.resumes_at.as_ref().or(gap.after.as_ref());
                format!("{}-gap", at.map_or("0", SequenceNumber::as_str))
            }
            SealedKind::End(_) => "end".to_owned(),
        };
        let taken = |stem: &str| self.items.iter().any(|item| item.stem == stem);
        let mut stem = base.clone();
        let mut more = 2;
        while taken(&stem) {
            stem = format!("{base}.{more}");
            more += 1;
        }
        stem
    }

    fn manifest_path(&self, stem: &str) -> PathBuf {
        self.folder.join(format!("{stem}.json"))
    }

    fn lines_path(&self, stem: &str) -> PathBuf {
        self.folder.join(format!("{stem}.ndjson.gz"))
    }

    /// Where an item's lines lie.
    pub fn path(&self, item: &Item) -> PathBuf {
        self.lines_path(&item.stem)
    }

    /// Where the first members of the open batch lie.
    fn open_path(&self) -> PathBuf {
        // No manifest ever bears this name, so a start removes what a crash left.
        self.lines_path("open")
    }

    /// Where lines rendered for a put are kept until it is done.
    pub fn rendered_path(&self) -> PathBuf {
        // No manifest ever bears this name, so a start removes what a crash left.
        self.lines_path("rendered")
    }

    /// Where lines rendered for the side object of that put are kept.
    pub fn rendered_side_path(&self) -> PathBuf {
        self.lines_path("rendered-side")
    }

    /// An item's lines.
    pub fn open_lines(&self, item: &Item) -> io::Result<Box<dyn Read + Send>> {
        let path = self.path(item);
        self.disk
            .open(&path)?
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("{} is gone", path.display())))
    }

    /// The items in order of their ends.
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// Bytes of all items.
    pub fn bytes(&self) -> u64 {
        self.items.iter().map(Item::bytes).sum()
    }

    /// The item to be put next at `position`: a gap without room first, else the one that reaches
    /// furthest, so that overlapping items leave the fewest objects.
    pub fn next_at(&self, position: &Position) -> Option<&Item> {
        let fits = || self.items.iter().filter(|item| item.is_next_at(position));
        let roomless = fits().find(|item| item.is_open_gap());
        roomless.or_else(|| {
            // The end comes only when nothing else is left.
            fits()
                .rfind(|item| !matches!(item.sealed.kind, SealedKind::End(_)))
                .or_else(|| fits().next_back())
        })
    }

    /// Where reading goes on from `from`: behind all items that follow without a hole; and the
    /// hole before the next item, if there is one.
    pub fn sealed_end(&self, from: &KnownPosition) -> (KnownPosition, Option<Hole>) {
        let mut known = from.clone();
        loop {
            let reached = &known.position;
            let next =
                self.items.iter().rfind(|item| item.is_next_at(reached) && item.sealed.end() > *reached);
            let Some(item) = next else { break };
            let before = known;
            known = item.sealed.known_end();
            known.last_record = known.last_record.or(before.last_record);
        }
        for item in &self.items {
            // A gap that takes no room vouches for the place where it stands.
            if item.sealed.end() == known.position && item.follows == known.position {
                known.complete_to = known.complete_to.max(item.sealed.complete_to);
            }
        }
        let beyond = self.items.iter().filter(|item| item.follows > known.position);
        let hole = beyond
            .min_by(|a, b| a.follows.cmp(&b.follows))
            .map(|item| Hole { until: item.follows.clone(), first: item.first().cloned() });
        (known, hole)
    }

    /// An item that was read from the shard's start does not follow what another keeper has archived
    /// before its first record: something between may have been trimmed by the time it was read. True
    /// if there was one; what lies between is then a hole.
    pub fn part_from_start(&mut self, position: &Position) -> bool {
        let mut parted = false;
        for item in self.items.iter_mut().filter(|item| item.follows == Position::Start) {
            let Some(first) = item.first().filter(|first| !position.covers(first)).cloned() else { continue };
            if *position > Position::Start && *position < Position::Before(first.clone()) {
                item.follows = Position::Before(first);
                parted = true;
            }
        }
        parted
    }

    /// What lay between `position` and the item after the hole was read, or found empty.
    pub fn close_hole(&mut self, hole: &Hole, position: &Position) {
        for item in self.items.iter_mut().filter(|item| item.follows == hole.until) {
            item.follows = position.clone();
        }
    }

    /// Says that an item's lines are what its manifest says.
    pub fn mark_inspected(&mut self, item: &Item) {
        if let Some(own) = self.items.iter_mut().find(|own| own.stem == item.stem) {
            own.inspected = true;
        }
    }

    /// Removes an item that is in the archive; returns the bytes that went.
    pub fn remove(&mut self, item: &Item) -> io::Result<u64> {
        // The manifest goes first: lines without one are removed at the next start.
        self.disk.remove(&self.manifest_path(&item.stem))?;
        self.disk.remove(&self.lines_path(&item.stem))?;
        self.items.retain(|own| own.stem != item.stem);
        Ok(item.bytes())
    }

    /// Moves a damaged item under `damaged/`; returns what to tell the operator.
    pub fn set_item_aside(&mut self, item: &Item, reason: &str) -> io::Result<String> {
        let told = self.set_aside(&item.stem, reason)?;
        self.items.retain(|own| own.stem != item.stem);
        Ok(told)
    }

    fn set_aside(&self, stem: &str, reason: &str) -> io::Result<String> {
        let mut last = PathBuf::new();
        for path in [self.lines_path(stem), self.manifest_path(stem)] {
            if self.disk.open(&path)?.is_some() {
                last = super::set_aside(&*self.disk, &path)?;
            }
        }
        Ok(format!(
            "spool item {} is damaged ({reason}); it now lies at {} and its records are read again",
            self.manifest_path(stem).display(),
            last.display()
        ))
    }

    /// The lowest ledger serial that was known when an item was sealed.
    pub fn lowest_known_serial(&self) -> Option<u64> {
        self.items.iter().map(|item| item.sealed.known_serial.unwrap_or(0)).min()
    }
}

#[cfg(test)]
mod tests;
