//! The stream's start: where all shards of one creation of the stream begin, decided once.
//!
//! Owns `_ledger/stream-{creation}.json`, that one prefix holds one stream, and the proof that the
//! store keeps `If-None-Match`. Does not try again: the supervisor does.

use crate::codec::hash::sha256_hex;
use crate::model::key::Keys;
use crate::model::ledger::{Begin, FORMAT_VERSION, StreamStart};
use crate::model::shard::StreamIdentity;
use crate::model::timestamp::Timestamp;
use crate::ports::{Attributes, Body, ObjectStore, Put, StoreError};
use crate::stop::Stop;

/// `stream.start`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfiguredStart {
    /// At the oldest record that the stream holds.
    TrimHorizon,
    /// At what arrives from now on.
    Latest,
    /// At what arrived then or later.
    At(Timestamp),
}

/// What the bucket says about the stream's start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartOutcome {
    /// Shards begin there, and the store keeps conditions: committing is safe.
    Ready(Begin),
    /// The prefix holds another stream's archive: exit 2.
    OtherStream {
        /// The object that says so.
        key: String,
        /// That stream.
        arn: String,
    },
    /// The store overwrites objects in spite of `If-None-Match: *`: nothing may be committed, exit 1.
    ConditionsIgnored,
    /// A start object is there and cannot be read: exit 1.
    Unreadable {
        /// The object.
        key: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// Settles where the stream's shards begin. An error means nothing: the call is made again.
pub fn settle_start(
    store: &dyn ObjectStore,
    keys: &Keys,
    stream: &StreamIdentity,
    configured: ConfiguredStart,
    stop: &Stop,
) -> Result<StartOutcome, StoreError> {
    if let Some(refused) = find_other(store, keys, stream, stop)? {
        return Ok(refused);
    }
    let key = keys.stream_start(stream.created);
    let mut put_by_us = false;
    let stored = loop {
        if let Some(bytes) = store.get(&key, stop)? {
            break bytes;
        }
        let bytes = first_start(store, stream, configured, stop)?;
        // Whether ours or another's was stored: what lies there decides, so it is read again.
        put_by_us |= matches!(put(store, &key, &bytes, stop)?, Put::Stored(_));
    };
    let start = match parse(&stored) {
        Ok(start) => start,
        Err(problem) => return Ok(StartOutcome::Unreadable { key, problem }),
    };
    // Another stream's keeper may have looked at the same time as we did: whoever put looks again.
    if put_by_us && let Some(refused) = find_other(store, keys, stream, stop)? {
        return Ok(refused);
    }
    match put(store, &key, &stored, stop)? {
        Put::Taken => Ok(StartOutcome::Ready(start.begin)),
        Put::Stored(_) => Ok(StartOutcome::ConditionsIgnored),
    }
}

/// Looks for a start object of another ARN.
fn find_other(
    store: &dyn ObjectStore,
    keys: &Keys,
    stream: &StreamIdentity,
    stop: &Stop,
) -> Result<Option<StartOutcome>, StoreError> {
    for key in store.list(&keys.stream_starts(), None, stop)? {
        let Some(bytes) = store.get(&key, stop)? else { continue };
        match parse(&bytes) {
            Ok(start) if start.stream_arn == stream.arn => {}
            Ok(start) => return Ok(Some(StartOutcome::OtherStream { key, arn: start.stream_arn })),
            Err(problem) => return Ok(Some(StartOutcome::Unreadable { key, problem })),
        }
    }
    Ok(None)
}

fn first_start(
    store: &dyn ObjectStore,
    stream: &StreamIdentity,
    configured: ConfiguredStart,
    stop: &Stop,
) -> Result<Vec<u8>, StoreError> {
    let begin = match configured {
        ConfiguredStart::TrimHorizon => Begin::TRIM_HORIZON,
        ConfiguredStart::Latest => Begin::At(store.service_time(stop)?),
        ConfiguredStart::At(time) => Begin::At(time),
    };
    let start = StreamStart {
        version: FORMAT_VERSION,
        stream: stream.name.clone(),
        stream_arn: stream.arn.clone(),
        stream_created: stream.created,
        begin,
    };
    // Strings and numbers only: serialising them cannot fail.
    let mut bytes = serde_json::to_vec(&start).unwrap_or_default();
    bytes.push(b'\n');
    Ok(bytes)
}

fn parse(bytes: &[u8]) -> Result<StreamStart, String> {
    let start: StreamStart = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if start.version == FORMAT_VERSION {
        Ok(start)
    } else {
        Err(format!("its version is {}, and this program knows {FORMAT_VERSION}", start.version))
    }
}

fn put(store: &dyn ObjectStore, key: &str, bytes: &[u8], stop: &Stop) -> Result<Put, StoreError> {
    let sha256 = sha256_hex(bytes);
    let attributes =
        Attributes { content_type: "application/json", sha256, metadata: Vec::new(), data: false };
    store.put_if_absent(key, Body::Bytes(bytes), &attributes, stop)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Read;
    use std::sync::Mutex;

    use super::*;
    use crate::model::expiry::Expiry;
    use crate::model::key::Prefix;
    use crate::ports::{Head, StoreErrorKind, Stored};

    /// A bucket in memory; `ignores` conditions, or `fails` the n-th call from now.
    #[derive(Default)]
    struct Bucket {
        objects: Mutex<BTreeMap<String, Vec<u8>>>,
        ignores: bool,
        fails: Mutex<Option<u32>>,
        hidden: Mutex<u32>,
    }

    impl Bucket {
        fn call(&self, call: &'static str) -> Result<(), StoreError> {
            let mut fails = self.fails.lock().unwrap();
            match *fails {
                Some(0) => {
                    *fails = None;
                    let kind = StoreErrorKind::NoAnswer;
                    Err(StoreError { call, key: String::new(), kind, message: "no answer".into() })
                }
                Some(left) => {
                    *fails = Some(left - 1);
                    Ok(())
                }
                None => Ok(()),
            }
        }
    }

    impl ObjectStore for Bucket {
        fn put_if_absent(
            &self,
            key: &str,
            body: Body<'_>,
            with: &Attributes,
            _: &Stop,
        ) -> Result<Put, StoreError> {
            self.call("PutObject")?;
            let Body::Bytes(bytes) = body else { panic!("a file") };
            assert_eq!(with.content_type, "application/json");
            assert_eq!(with.sha256.len(), 64);
            let mut objects = self.objects.lock().unwrap();
            if objects.contains_key(key) && !self.ignores {
                return Ok(Put::Taken);
            }
            objects.insert(key.to_owned(), bytes.to_vec());
            Ok(Put::Stored(Stored::default()))
        }

        fn head(&self, _: &str, _: &Stop) -> Result<Option<Head>, StoreError> {
            panic!("not asked for")
        }

        fn get(&self, key: &str, _: &Stop) -> Result<Option<Vec<u8>>, StoreError> {
            self.call("GetObject")?;
            Ok(self.objects.lock().unwrap().get(key).cloned())
        }

        fn open(&self, _: &str, _: &Stop) -> Result<Option<Box<dyn Read + Send>>, StoreError> {
            panic!("not asked for")
        }

        fn list(&self, prefix: &str, _: Option<&str>, _: &Stop) -> Result<Vec<String>, StoreError> {
            self.call("ListObjectsV2")?;
            let mut hidden = self.hidden.lock().unwrap();
            if *hidden > 0 {
                *hidden -= 1;
                return Ok(Vec::new());
            }
            let objects = self.objects.lock().unwrap();
            Ok(objects.keys().filter(|key| key.starts_with(prefix)).cloned().collect())
        }

        fn folders(&self, _: &str, _: &Stop) -> Result<Vec<String>, StoreError> {
            panic!("not asked for")
        }

        fn expiry(&self, _: &Stop) -> Result<Expiry, StoreError> {
            panic!("not asked for")
        }

        fn service_time(&self, _: &Stop) -> Result<Timestamp, StoreError> {
            self.call("HeadBucket")?;
            Ok(Timestamp::from_seconds(1_800_000_000))
        }
    }

    fn stream(arn: &str, created: i64) -> StreamIdentity {
        StreamIdentity { name: "clicks".into(), arn: arn.into(), created: Timestamp::from_seconds(created) }
    }

    fn keys() -> Keys {
        Keys::new(&Prefix::new("p/").unwrap(), "clicks")
    }

    fn settle(bucket: &Bucket, arn: &str, created: i64, configured: ConfiguredStart) -> StartOutcome {
        settle_start(bucket, &keys(), &stream(arn, created), configured, &Stop::new()).unwrap()
    }

    #[test]
    fn the_first_decides_for_all_who_come_later() {
        let bucket = Bucket::default();
        let ready = StartOutcome::Ready(Begin::At(Timestamp::from_seconds(1_800_000_000)));
        assert_eq!(settle(&bucket, "arn:a", 7, ConfiguredStart::Latest), ready);
        assert_eq!(settle(&bucket, "arn:a", 7, ConfiguredStart::TrimHorizon), ready);
        let text = bucket.objects.lock().unwrap()["p/clicks/_ledger/stream-7.json"].clone();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "{\"version\":1,\"stream\":\"clicks\",\"stream_arn\":\"arn:a\",\
             \"stream_created\":\"1970-01-01T00:00:07.000Z\",\"begin\":\"2027-01-15T08:00:00.000Z\"}\n"
        );
    }

    #[test]
    fn each_creation_has_a_start_of_its_own() {
        let bucket = Bucket::default();
        let at = Timestamp::from_seconds(5);
        assert_eq!(settle(&bucket, "arn:a", 7, ConfiguredStart::At(at)), StartOutcome::Ready(Begin::At(at)));
        assert_eq!(
            settle(&bucket, "arn:a", 8, ConfiguredStart::TrimHorizon),
            StartOutcome::Ready(Begin::TRIM_HORIZON)
        );
        assert_eq!(bucket.objects.lock().unwrap().len(), 2);
    }

    #[test]
    fn another_stream_is_refused_also_if_it_comes_at_the_same_time() {
        let bucket = Bucket::default();
        settle(&bucket, "arn:a", 7, ConfiguredStart::TrimHorizon);
        let other =
            StartOutcome::OtherStream { key: "p/clicks/_ledger/stream-7.json".into(), arn: "arn:a".into() };
        assert_eq!(settle(&bucket, "arn:b", 7, ConfiguredStart::TrimHorizon), other);
        assert_eq!(settle(&bucket, "arn:b", 9, ConfiguredStart::TrimHorizon), other);
        assert_eq!(bucket.objects.lock().unwrap().len(), 1);
        // It had not put its object yet when we looked first.
        *bucket.hidden.lock().unwrap() = 1;
        assert_eq!(settle(&bucket, "arn:b", 9, ConfiguredStart::TrimHorizon), other);
    }

    #[test]
    fn a_store_that_ignores_conditions_is_found_out() {
        let bucket = Bucket { ignores: true, ..Bucket::default() };
        let outcome = settle(&bucket, "arn:a", 7, ConfiguredStart::TrimHorizon);
        assert_eq!(outcome, StartOutcome::ConditionsIgnored);
    }

    #[test]
    fn an_unreadable_object_is_named() {
        let bucket = Bucket::default();
        let key = keys().stream_start(Timestamp::from_seconds(7));
        for text in [
            "{",
            "{\"version\":2,\"stream\":\"s\",\"stream_arn\":\"arn:a\",\"stream_created\":\"1970-01-01T00:00:07Z\",\"begin\":\"trim_horizon\"}",
        ] {
            bucket.objects.lock().unwrap().insert(key.clone(), text.as_bytes().to_vec());
            let outcome = settle(&bucket, "arn:a", 7, ConfiguredStart::TrimHorizon);
            let StartOutcome::Unreadable { key: named, .. } = outcome else { panic!("{outcome:?}") };
            assert_eq!(named, key);
        }
    }

    #[test]
    fn cut_at_any_call_the_next_try_ends_the_same() {
        for calls in 0..8 {
            let bucket = Bucket { fails: Mutex::new(Some(calls)), ..Bucket::default() };
            let identity = stream("arn:a", 7);
            let first = settle_start(&bucket, &keys(), &identity, ConfiguredStart::Latest, &Stop::new());
            assert!(first.is_err(), "call {calls}");
            let ready = StartOutcome::Ready(Begin::At(Timestamp::from_seconds(1_800_000_000)));
            assert_eq!(settle(&bucket, "arn:a", 7, ConfiguredStart::Latest), ready);
        }
    }
}
