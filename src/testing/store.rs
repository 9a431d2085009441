//! One keeper's handle on a [`MemoryBucket`], with its own faults.

use std::io::{Cursor, Read};
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::bucket::{MemoryBucket, StoredObject};
use super::disk::MemoryDisk;
use super::trouble::Trouble;
use crate::model::expiry::{Due, Expiry, ExpiryRule};
use crate::model::timestamp::Timestamp;
use crate::ports::{Attributes, Body, Head, ObjectStore, Put, StoreError, StoreErrorKind, Stored};
use crate::stop::Stop;

/// A keeper's [`ObjectStore`].
#[derive(Debug)]
pub struct MemoryStore {
    bucket: Arc<MemoryBucket>,
    disk: Arc<MemoryDisk>,
    trouble: Arc<Trouble>,
}

impl MemoryStore {
    /// The bucket as the keeper of this trouble sees it; files to be put lie on its disk.
    pub fn new(bucket: Arc<MemoryBucket>, disk: Arc<MemoryDisk>, trouble: Arc<Trouble>) -> Arc<Self> {
        Arc::new(Self { bucket, disk, trouble })
    }

    fn answer<T>(
        &self,
        call: &'static str,
        key: &str,
        make: impl FnOnce() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.trouble.crash.around(|| {
            if self.trouble.faults().store_down {
                return Err(failed(call, key, StoreErrorKind::NoAnswer));
            }
            if self.trouble.happens(|faults| faults.store_error) {
                return Err(self.some_error(call, key));
            }
            make()
        })
    }

    fn some_error(&self, call: &'static str, key: &str) -> StoreError {
        let kinds = [
            StoreErrorKind::Busy,
            StoreErrorKind::NoAnswer,
            StoreErrorKind::Other,
            StoreErrorKind::AccessDenied,
        ];
        failed(call, key, self.trouble.draw(|random| kinds[random.usize(0..kinds.len())]))
    }

    fn object(&self, key: &str, body: Body<'_>, attributes: &Attributes) -> Result<StoredObject, StoreError> {
        let bytes: Arc<[u8]> = match body {
            Body::Bytes(bytes) => bytes.into(),
            Body::File { path, len } => match self.disk.peek(path) {
                Some(bytes) if bytes.len() as u64 == len => bytes,
                _ => return Err(failed("PutObject", key, StoreErrorKind::LocalFile)),
            },
        };
        if hex(&Sha256::digest(&bytes)) != attributes.sha256 {
            return Err(failed("PutObject", key, StoreErrorKind::BadDigest));
        }
        let metadata = attributes.metadata.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        Ok(StoredObject {
            bytes,
            metadata: metadata.collect(),
            content_type: attributes.content_type.to_owned(),
            writer: self.trouble.identity(),
            sent: self.trouble.world.now(),
        })
    }

    fn put(&self, key: &str, object: StoredObject) -> Result<Put, StoreError> {
        let call = "PutObject";
        let delayed = self.trouble.happens(|faults| faults.put_delayed);
        let faults = self.trouble.faults();
        if delayed {
            let most = u64::try_from(faults.longest_delay.as_millis()).unwrap_or(0);
            let delay = self.trouble.draw(|random| random.u64(0..=most));
            self.bucket.put_later(key, object, self.trouble.world.now() + Duration::from_millis(delay));
            return Err(failed(call, key, StoreErrorKind::NoAnswer));
        }
        if faults.store_down {
            return Err(failed(call, key, StoreErrorKind::NoAnswer));
        }
        if self.trouble.happens(|faults| faults.store_error) {
            return Err(self.some_error(call, key));
        }
        let stored = Stored { etag: etag(&object), version_id: None };
        let was_stored = self.bucket.put(key, object);
        if self.trouble.happens(|faults| faults.put_applied_error) {
            return Err(self.some_error(call, key));
        }
        Ok(if was_stored { Put::Stored(stored) } else { Put::Taken })
    }

    fn note<T: std::fmt::Debug>(&self, call: &str, key: &str, result: &Result<T, StoreError>) {
        self.trouble.world.note(|| {
            let said = match result {
                Ok(value) => format!("{value:?}"),
                Err(error) => error.kind.as_str().to_owned(),
            };
            format!("{} store {call} {key}: {said}", self.trouble.identity())
        });
    }
}

impl ObjectStore for MemoryStore {
    fn put_if_absent(
        &self,
        key: &str,
        body: Body<'_>,
        attributes: &Attributes,
        _stop: &Stop,
    ) -> Result<Put, StoreError> {
        self.trouble.crash.around(|| {
            let result = self.object(key, body, attributes).and_then(|object| self.put(key, object));
            self.note("put", key, &result);
            if let Body::Bytes(bytes) = body {
                self.trouble.world.note(|| format!("    of {}", String::from_utf8_lossy(bytes)));
            }
            result
        })
    }

    fn head(&self, key: &str, _stop: &Stop) -> Result<Option<Head>, StoreError> {
        let head = self.answer("HeadObject", key, || {
            Ok(self.bucket.get_with_time(key).map(|(stored_at, object)| Head {
                stored: Stored { etag: etag(&object), version_id: None },
                size: object.bytes.len() as u64,
                modified: Some(stored_at),
                metadata: object.metadata.clone(),
            }))
        });
        self.note("head", key, &head.as_ref().map(Option::is_some).map_err(Clone::clone));
        head
    }

    fn get(&self, key: &str, _stop: &Stop) -> Result<Option<Vec<u8>>, StoreError> {
        let object =
            self.answer("GetObject", key, || Ok(self.bucket.get(key).map(|object| object.bytes.to_vec())));
        self.note("get", key, &object.as_ref().map(Option::is_some).map_err(Clone::clone));
        object
    }

    fn open(&self, key: &str, _stop: &Stop) -> Result<Option<Box<dyn Read + Send>>, StoreError> {
        self.answer("GetObject", key, || {
            let object = self.bucket.get(key);
            Ok(object.map(|object| Box::new(Cursor::new(Arc::clone(&object.bytes))) as Box<dyn Read + Send>))
        })
    }

    fn list(&self, prefix: &str, start_after: Option<&str>, _stop: &Stop) -> Result<Vec<String>, StoreError> {
        let keys = self.answer("ListObjectsV2", prefix, || {
            let mut keys = self.bucket.keys(prefix);
            keys.retain(|key| start_after.is_none_or(|after| key.as_str() > after));
            Ok(keys)
        });
        self.note("list", prefix, &keys.as_ref().map(Vec::len).map_err(Clone::clone));
        keys
    }

    fn folders(&self, prefix: &str, _stop: &Stop) -> Result<Vec<String>, StoreError> {
        self.answer("ListObjectsV2", prefix, || {
            let keys = self.bucket.keys(prefix);
            let below = keys.iter().filter_map(|key| key[prefix.len()..].split_once('/'));
            let mut folders: Vec<_> = below.map(|(folder, _)| format!("{prefix}{folder}/")).collect();
            folders.dedup();
            Ok(folders)
        })
    }

    fn expiry(&self, _stop: &Stop) -> Result<Expiry, StoreError> {
        self.answer("GetBucketLifecycleConfiguration", "", || {
            let of_all = |life| ExpiryRule { prefix: String::new(), due: Due::After(life) };
            Ok(Expiry::new(self.bucket.lifecycle.map(of_all).into_iter().collect()))
        })
    }

    fn service_time(&self, _stop: &Stop) -> Result<Timestamp, StoreError> {
        self.answer("HeadBucket", "", || Ok(self.bucket.world.date()))
    }
}

fn failed(call: &'static str, key: &str, kind: StoreErrorKind) -> StoreError {
    StoreError { call, key: key.to_owned(), kind, message: "simulated".into() }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Differs between bodies, and is no hash that anybody could rely on.
fn etag(object: &StoredObject) -> String {
    format!("etag-{}", object.bytes.len())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::ports::Disk;
    use crate::testing::{Faults, What, World};

    const HOUR: Duration = Duration::from_secs(3600);

    struct Fixture {
        world: Arc<World>,
        trouble: Arc<Trouble>,
        bucket: Arc<MemoryBucket>,
        disk: Arc<MemoryDisk>,
        store: Arc<MemoryStore>,
    }

    fn fixture(lifecycle: Option<Duration>) -> Fixture {
        let world = World::new(Timestamp::from_seconds(0));
        let trouble = Trouble::new(Arc::clone(&world), "a", fastrand::Rng::with_seed(1));
        let bucket = MemoryBucket::new(Arc::clone(&world), lifecycle);
        let disk = MemoryDisk::new(Arc::clone(&trouble));
        let store = MemoryStore::new(Arc::clone(&bucket), Arc::clone(&disk), Arc::clone(&trouble));
        Fixture { world, trouble, bucket, disk, store }
    }

    fn put(store: &MemoryStore, key: &str, text: &str) -> Result<Put, StoreError> {
        let sha256 = hex(&Sha256::digest(text));
        let attributes = Attributes { sha256, ..Attributes::default() };
        store.put_if_absent(key, Body::Bytes(text.as_bytes()), &attributes, &Stop::new())
    }

    #[test]
    fn the_first_put_wins_also_when_it_was_answered_with_an_error() {
        let f = fixture(None);
        f.trouble.set_faults(Faults { put_applied_error: 1.0, ..Faults::default() });
        assert!(put(&f.store, "k", "first").is_err());
        f.trouble.set_faults(Faults::default());
        assert_eq!(put(&f.store, "k", "second").unwrap(), Put::Taken);
        assert_eq!(f.store.get("k", &Stop::new()).unwrap().unwrap(), b"first");
        f.trouble.set_faults(Faults { store_down: true, ..Faults::default() });
        assert!(put(&f.store, "other", "x").is_err() && f.store.head("k", &Stop::new()).is_err());
        assert!(f.bucket.get("other").is_none());
    }

    #[test]
    fn a_delayed_put_lands_later_unless_another_was_first() {
        let f = fixture(None);
        f.trouble.set_faults(Faults { put_delayed: 1.0, longest_delay: HOUR, ..Faults::default() });
        assert!(put(&f.store, "late", "1").is_err() && put(&f.store, "beaten", "1").is_err());
        f.trouble.set_faults(Faults::default());
        assert!(f.bucket.get("late").is_none());
        assert!(matches!(put(&f.store, "beaten", "2").unwrap(), Put::Stored(_)));
        f.world.advance(HOUR);
        assert_eq!(&*f.bucket.get("late").unwrap().bytes, b"1");
        assert_eq!(&*f.bucket.get("beaten").unwrap().bytes, b"2");
        assert_eq!((f.bucket.in_flight(), f.bucket.history().len()), (0, 2));
    }

    #[test]
    fn data_expires_and_ledgers_do_not() {
        let f = fixture(Some(HOUR));
        put(&f.store, "s/data", "1").unwrap();
        put(&f.store, "s/_ledger/x/000000000000.json", "2").unwrap();
        f.world.advance(2 * HOUR);
        assert_eq!(f.bucket.keys("s/"), ["s/_ledger/x/000000000000.json"]);
        assert_eq!(f.bucket.history().last().unwrap().what, What::Expired);
        assert_eq!(f.store.folders("s/_ledger/", &Stop::new()).unwrap(), ["s/_ledger/x/"]);
    }

    #[test]
    fn a_file_is_put_whole_and_as_its_checksum_says() {
        let f = fixture(None);
        let path = Path::new("spool/x.gz");
        f.disk.write(path, &[b"abc"]).unwrap();
        let good = Attributes { sha256: hex(&Sha256::digest(b"abc")), ..Attributes::default() };
        let try_put = |len, attributes: &Attributes| {
            f.store.put_if_absent("k", Body::File { path, len }, attributes, &Stop::new())
        };
        let bad = Attributes { sha256: hex(&Sha256::digest(b"abd")), ..Attributes::default() };
        assert_eq!(try_put(3, &bad).unwrap_err().kind, StoreErrorKind::BadDigest);
        assert_eq!(try_put(4, &good).unwrap_err().kind, StoreErrorKind::LocalFile);
        assert!(matches!(try_put(3, &good).unwrap(), Put::Stored(_)));
    }
}
