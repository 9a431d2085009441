use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::*;
use crate::archive::Selection;
use crate::archive::canned::Canned;
use crate::archive::scribe::{HOUR, archive_of, but_levels, keys, stream};
use crate::archive::verify::{Options, verify};
use crate::model::shard::ShardId;
use crate::ports::{FileInfo, ObjectStore};
use crate::testing::{Shelf, Shelved};

/// Copies by key, and nothing else of a disk.
struct Copies(BTreeMap<PathBuf, Vec<u8>>);

impl Disk for Copies {
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        Ok(self.0.get(path).cloned())
    }
    fn open(&self, path: &Path) -> io::Result<Option<Box<dyn io::Read + Send>>> {
        let found = self.0.get(path).cloned();
        Ok(found.map(|bytes| Box::new(io::Cursor::new(bytes)) as Box<dyn io::Read + Send>))
    }
    fn write(&self, _: &Path, _: &[&[u8]]) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
    fn write_at(&self, _: &Path, _: u64, _: &[&[u8]]) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
    fn persist(&self, _: &Path, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
    fn link(&self, _: &Path, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
    fn remove(&self, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
    fn list(&self, _: &Path) -> io::Result<Vec<FileInfo>> {
        Ok(Vec::new())
    }
    fn full_path(&self, path: &Path) -> PathBuf {
        path.to_owned()
    }
}

/// An archive, what it was, and what a repair may draw on.
struct Scene {
    shelf: Arc<Shelf>,
    good: BTreeMap<String, Shelved>,
    copies: Option<Copies>,
    stream: Option<Canned>,
    level: u32,
}

impl Scene {
    fn new() -> Self {
        let shelf = archive_of(8, 3);
        let good = shelf.objects().clone();
        Self { shelf, good, copies: None, stream: None, level: 6 }
    }

    fn with_copies(mut self) -> Self {
        let objects = self.good.iter().filter(|(key, _)| key.ends_with(".gz"));
        let copy =
            |(key, object): (&String, &Shelved)| (Path::new("archive").join(key), object.bytes.clone());
        self.copies = Some(Copies(objects.map(copy).collect()));
        self
    }

    fn with_stream(mut self) -> Self {
        self.stream = Some(Canned::of(&self.shelf));
        self
    }

    fn with_versions(self) -> Self {
        let old =
            self.good.iter().map(|(key, object)| (key.clone(), vec![Shelved::default(), object.clone()]));
        *self.shelf.versions() = old.collect();
        self
    }

    fn archive(&self) -> Archive {
        let store: Arc<dyn ObjectStore> = Arc::clone(&self.shelf) as Arc<dyn ObjectStore>;
        Archive { store, keys: keys(), has_metadata: true }
    }

    fn options(&self) -> Options {
        Options { selection: Selection::default(), at_once: 2, known: Vec::new(), on_its_way: HOUR }
    }

    fn report(&self) -> Report {
        verify(&self.archive(), &self.options(), |_| (), &|_| (), &Stop::new()).unwrap()
    }

    fn repair(&self) -> Vec<Repair> {
        let mut report = self.report();
        assert!(!report.faults.is_empty());
        let tools = Tools {
            store: &*self.shelf,
            copies: self.copies.as_ref().map(|copies| copies as &dyn Disk),
            stream: self.stream.as_ref().map(|stream| stream as &dyn Stream),
            level: self.level,
        };
        repair(&self.archive(), &self.options(), &mut report, &tools, &Stop::new()).unwrap();
        report.repairs.unwrap()
    }

    /// Everything is mended, and byte for byte what it was.
    fn mends(&self) {
        let repairs = self.repair();
        assert!(repairs.iter().all(|repair| repair.outcome == Outcome::Mended), "{repairs:?}");
        assert_eq!(self.report().faults, []);
        assert!(but_levels(&self.shelf.objects()) == but_levels(&self.good));
    }

    fn data_key(&self, index: usize) -> String {
        self.good.keys().filter(|key| key.ends_with(".gz")).nth(index).unwrap().clone()
    }

    fn change(&self, key: &str, change: impl FnOnce(&mut Shelved)) {
        change(self.shelf.objects().get_mut(key).unwrap());
    }

    fn remove(&self, key: &str) {
        self.shelf.objects().remove(key).unwrap();
    }
}

fn entry_key(serial: u64) -> String {
    keys().entry(&ShardId::new("shardId-000000000000"), stream().created, serial)
}

#[test]
fn objects_come_back_from_local_copies() {
    let scene = Scene::new().with_copies();
    scene.remove(&scene.data_key(2));
    scene.change(&scene.data_key(4), |object| object.bytes[30] ^= 1);
    scene.mends();
}

#[test]
fn objects_come_back_from_the_stream_at_whatever_level_they_were_written() {
    let mut scene = Scene::new().with_stream();
    scene.level = 1;
    scene.remove(&scene.data_key(2));
    scene.change(&scene.data_key(4), |object| object.bytes.truncate(40));
    scene.mends();
    assert!(*scene.shelf.objects() == scene.good, "with the level that gave the bytes");
}

#[test]
fn objects_and_entries_come_back_from_versions() {
    let scene = Scene::new().with_versions();
    scene.remove(&scene.data_key(2));
    scene.change(&scene.data_key(4), |object| object.bytes[30] ^= 1);
    for serial in [3, 4] {
        scene.remove(&entry_key(serial));
    }
    // Entry 5's only witness is itself unreadable at first.
    scene.remove(&entry_key(5));
    scene.change(&entry_key(6), |object| object.bytes.truncate(9));
    scene.change(&entry_key(8), |object| {
        let text = String::from_utf8(object.bytes.clone()).unwrap();
        object.bytes = text.replace("\"records\":10", "\"records\":11").into_bytes();
    });
    scene.mends();
}

#[test]
fn metadata_are_mended_from_the_object_itself() {
    let scene = Scene::new();
    let key = scene.data_key(2);
    scene.change(&key, |object| object.metadata[7].1 = "11".into());
    scene.mends();
    let mended = &scene.shelf.objects()[&key];
    assert!(mended.metadata.iter().all(|(name, _)| name != metadata::LEVEL), "nobody knows it any more");
}

/// A copy that is damaged as well is never put, and says so.
#[test]
fn what_is_not_proved_is_not_put() {
    let mut scene = Scene::new().with_copies();
    let key = scene.data_key(2);
    for copy in scene.copies.as_mut().unwrap().0.values_mut() {
        copy[30] ^= 1;
    }
    scene.remove(&key);
    let before = scene.shelf.objects().clone();
    let repairs = scene.repair();
    assert_eq!((repairs[0].outcome, &repairs[0].key), (Outcome::NotMended, &key));
    assert!(repairs[0].told.contains("the copy on this disk: "), "{}", repairs[0].told);
    assert!(*scene.shelf.objects() == before);
}

#[test]
fn what_the_stream_has_in_part_goes_aside() {
    let mut scene = Scene::new().with_stream();
    let parent = ShardId::new("shardId-000000000000");
    scene.stream.as_mut().unwrap().shards.get_mut(&parent).unwrap().drain(..25);
    let key = scene.data_key(2);
    scene.remove(&key);
    let repairs = scene.repair();
    assert_eq!((repairs[0].outcome, &repairs[0].key), (Outcome::Approximated, &key));
    let aside: Vec<String> =
        scene.shelf.objects().keys().filter(|key| key.contains("_repaired/")).cloned().collect();
    assert_eq!(aside.len(), 1);
    assert!(!scene.shelf.objects().contains_key(&key));
}

#[test]
fn an_entry_of_which_no_version_is_left_is_told() {
    let scene = Scene::new().with_copies();
    scene.remove(&entry_key(3));
    let repairs = scene.repair();
    assert_eq!((repairs[0].outcome, &repairs[0].key), (Outcome::NotMended, &entry_key(3)));
}
