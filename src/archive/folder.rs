//! A copy of the archive in a folder, read as if it were the bucket.
//!
//! Owns how keys become paths. Metadata, versions and conditions do not exist here, and nothing is written.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::model::expiry::Expiry;
use crate::model::timestamp::Timestamp;
use crate::ports::{Attributes, Body, Clock, Head, ObjectStore, Put, StoreError, StoreErrorKind};
use crate::stop::Stop;

/// A folder that holds what lies in a bucket, under the same names.
pub struct Folder {
    root: PathBuf,
    clock: Arc<dyn Clock>,
}

impl Folder {
    /// `root` stands for the bucket: a key is a path below it.
    pub const fn new(root: PathBuf, clock: Arc<dyn Clock>) -> Self {
        Self { root, clock }
    }

    fn path(&self, key: &str) -> PathBuf {
        self.root.join(key)
    }

    /// All files below the folder in which `prefix` ends, as keys.
    fn walk(&self, prefix: &str, found: &mut Vec<String>) -> io::Result<()> {
        let folder = prefix.rsplit_once('/').map_or("", |(folder, _)| folder);
        let mut folders = vec![self.path(folder)];
        while let Some(folder) = folders.pop() {
            for entry in read_folder(&folder)? {
                let entry = entry?;
                let kind = entry.file_type()?;
                let path = entry.path();
                let Some(key) = self.key_of(&path) else { continue };
                if kind.is_dir() && (key.starts_with(prefix) || prefix.starts_with(&format!("{key}/"))) {
                    folders.push(path);
                } else if kind.is_file() && key.starts_with(prefix) {
                    found.push(key);
                }
            }
        }
        found.sort_unstable();
        Ok(())
    }

    fn key_of(&self, path: &Path) -> Option<String> {
        let below = path.strip_prefix(&self.root).ok()?;
        let parts: Option<Vec<&str>> = below.iter().map(|part| part.to_str()).collect();
        Some(parts?.join("/"))
    }
}

/// What lies in a folder; nothing where there is none.
fn read_folder(folder: &Path) -> io::Result<impl Iterator<Item = io::Result<fs::DirEntry>>> {
    match fs::read_dir(folder) {
        Ok(entries) => Ok(Some(entries).into_iter().flatten()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None.into_iter().flatten()),
        Err(error) => Err(error),
    }
}

fn failed(call: &'static str, key: &str, error: &io::Error) -> StoreError {
    StoreError { call, key: key.to_owned(), kind: StoreErrorKind::LocalFile, message: error.to_string() }
}

/// `None` where nothing is.
fn found<T>(call: &'static str, key: &str, result: io::Result<T>) -> Result<Option<T>, StoreError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(failed(call, key, &error)),
    }
}

impl ObjectStore for Folder {
    fn put_if_absent(&self, key: &str, _: Body<'_>, _: &Attributes, _: &Stop) -> Result<Put, StoreError> {
        let why = io::Error::new(io::ErrorKind::PermissionDenied, "a copied archive is only read");
        Err(failed("PutObject", key, &why))
    }

    fn head(&self, key: &str, _: &Stop) -> Result<Option<Head>, StoreError> {
        let file = found("HeadObject", key, fs::metadata(self.path(key)))?;
        let file = file.filter(fs::Metadata::is_file);
        Ok(file.map(|file| Head { size: file.len(), ..Head::default() }))
    }

    fn get(&self, key: &str, _: &Stop) -> Result<Option<Vec<u8>>, StoreError> {
        found("GetObject", key, fs::read(self.path(key)))
    }

    fn open(&self, key: &str, _: &Stop) -> Result<Option<Box<dyn Read + Send>>, StoreError> {
        let file = found("GetObject", key, File::open(self.path(key)))?;
        Ok(file.map(|file| Box::new(file) as Box<dyn Read + Send>))
    }

    fn list(&self, prefix: &str, start_after: Option<&str>, _: &Stop) -> Result<Vec<String>, StoreError> {
        let mut keys = Vec::new();
        self.walk(prefix, &mut keys).map_err(|error| failed("ListObjectsV2", prefix, &error))?;
        if let Some(after) = start_after {
            keys.retain(|key| key.as_str() > after);
        }
        Ok(keys)
    }

    fn folders(&self, prefix: &str, _: &Stop) -> Result<Vec<String>, StoreError> {
        let folder = self.path(prefix.trim_end_matches('/'));
        let error = |error: io::Error| failed("ListObjectsV2", prefix, &error);
        let mut folders = Vec::new();
        for entry in read_folder(&folder).map_err(error)? {
            let entry = entry.map_err(error)?;
            if entry.file_type().map_err(error)?.is_dir()
                && let Some(key) = self.key_of(&entry.path())
            {
                folders.push(format!("{key}/"));
            }
        }
        folders.sort_unstable();
        Ok(folders)
    }

    fn expiry(&self, _: &Stop) -> Result<Expiry, StoreError> {
        Ok(Expiry::default())
    }

    fn service_time(&self, _: &Stop) -> Result<Timestamp, StoreError> {
        Ok(self.clock.now())
    }
}
