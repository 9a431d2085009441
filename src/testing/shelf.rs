//! Objects on a shelf: a store in memory whose content a test changes as it likes.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::model::expiry::Expiry;
use crate::model::timestamp::Timestamp;
use crate::ports::{
    Attributes, Body, Head, MendableStore, ObjectStore, Put, StoreError, StoreErrorKind, Stored, Version,
};
use crate::stop::Stop;

/// An object with its user metadata.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shelved {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Its metadata.
    pub metadata: Vec<(String, String)>,
}

impl Shelved {
    /// Changes with the content, as S3's does.
    fn etag(&self) -> String {
        crate::codec::hash::sha256_hex(&self.bytes)
    }
}

/// The store.
#[derive(Debug)]
pub struct Shelf {
    objects: Mutex<BTreeMap<String, Shelved>>,
    /// What lay there before; their ids are their places.
    versions: Mutex<BTreeMap<String, Vec<Shelved>>>,
    now: Timestamp,
}

impl Shelf {
    /// Empty, at this time for good.
    pub fn new(now: Timestamp) -> Self {
        Self { objects: Mutex::default(), versions: Mutex::default(), now }
    }

    /// Everything that lies there, to look at or to change.
    pub fn objects(&self) -> MutexGuard<'_, BTreeMap<String, Shelved>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Versions of objects that lie there no more.
    pub fn versions(&self) -> MutexGuard<'_, BTreeMap<String, Vec<Shelved>>> {
        self.versions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shelve(&self, key: &str, body: Body<'_>, attributes: &Attributes) -> Result<Put, StoreError> {
        let Body::Bytes(bytes) = body else {
            let (call, kind) = ("PutObject", StoreErrorKind::LocalFile);
            let (key, message) = (key.to_owned(), "only from memory".to_owned());
            return Err(StoreError { call, key, kind, message });
        };
        let metadata = attributes.metadata.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        let shelved = Shelved { bytes: bytes.to_vec(), metadata: metadata.collect() };
        let etag = shelved.etag();
        self.objects().insert(key.to_owned(), shelved);
        Ok(Put::Stored(Stored { etag, version_id: None }))
    }
}

impl Clone for Shelf {
    fn clone(&self) -> Self {
        let (objects, versions) = (self.objects().clone(), self.versions().clone());
        Self { objects: Mutex::new(objects), versions: Mutex::new(versions), now: self.now }
    }
}

impl ObjectStore for Shelf {
    fn put_if_absent(
        &self,
        key: &str,
        body: Body<'_>,
        attributes: &Attributes,
        _stop: &Stop,
    ) -> Result<Put, StoreError> {
        if self.objects().contains_key(key) {
            return Ok(Put::Taken);
        }
        self.shelve(key, body, attributes)
    }

    fn head(&self, key: &str, _stop: &Stop) -> Result<Option<Head>, StoreError> {
        Ok(self.objects().get(key).map(|object| Head {
            stored: Stored { etag: object.etag(), version_id: None },
            size: object.bytes.len() as u64,
            modified: Some(self.now),
            metadata: object.metadata.clone(),
        }))
    }

    fn get(&self, key: &str, _stop: &Stop) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.objects().get(key).map(|object| object.bytes.clone()))
    }

    fn open(&self, key: &str, _stop: &Stop) -> Result<Option<Box<dyn Read + Send>>, StoreError> {
        let bytes = self.objects().get(key).map(|object| object.bytes.clone());
        Ok(bytes.map(|bytes| Box::new(Cursor::new(bytes)) as Box<dyn Read + Send>))
    }

    fn list(&self, prefix: &str, start_after: Option<&str>, _stop: &Stop) -> Result<Vec<String>, StoreError> {
        let objects = self.objects();
        let from = objects.keys().filter(|key| key.starts_with(prefix));
        Ok(from.filter(|key| start_after.is_none_or(|after| key.as_str() > after)).cloned().collect())
    }

    fn folders(&self, prefix: &str, _stop: &Stop) -> Result<Vec<String>, StoreError> {
        let mut folders: Vec<String> = Vec::new();
        for key in self.objects().keys() {
            if let Some(below) = key.strip_prefix(prefix)
                && let Some((folder, _)) = below.split_once('/')
            {
                let folder = format!("{prefix}{folder}/");
                if folders.last() != Some(&folder) {
                    folders.push(folder);
                }
            }
        }
        Ok(folders)
    }

    fn expiry(&self, _stop: &Stop) -> Result<Expiry, StoreError> {
        Ok(Expiry::default())
    }

    fn service_time(&self, _stop: &Stop) -> Result<Timestamp, StoreError> {
        Ok(self.now)
    }
}

impl MendableStore for Shelf {
    fn put_over(
        &self,
        seen: &Stored,
        key: &str,
        body: Body<'_>,
        attributes: &Attributes,
        _stop: &Stop,
    ) -> Result<Put, StoreError> {
        if self.objects().get(key).is_none_or(|object| object.etag() != seen.etag) {
            return Ok(Put::Taken);
        }
        self.shelve(key, body, attributes)
    }

    fn versions(&self, key: &str, _stop: &Stop) -> Result<Vec<Version>, StoreError> {
        let versions = Self::versions(self);
        let versions = versions.get(key).map(Vec::as_slice).unwrap_or_default();
        let version = |(at, object): (usize, &Shelved)| Version {
            id: at.to_string(),
            size: object.bytes.len() as u64,
            is_latest: false,
        };
        Ok(versions.iter().enumerate().map(version).collect())
    }

    fn open_version(
        &self,
        key: &str,
        version: &str,
        _stop: &Stop,
    ) -> Result<Option<Box<dyn Read + Send>>, StoreError> {
        let versions = Self::versions(self);
        let found = versions.get(key).and_then(|all| all.get(version.parse::<usize>().ok()?));
        Ok(found.map(|object| Box::new(Cursor::new(object.bytes.clone())) as Box<dyn Read + Send>))
    }
}
