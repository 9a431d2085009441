//! A stream and a bucket that do as the test says.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::sync::Mutex;
use std::time::Duration;

use crate::model::expiry::Expiry;
use crate::model::shard::{HashKeyRange, Shard, ShardId, StreamDescription, StreamIdentity, StreamStatus};
use crate::model::timestamp::Timestamp;
use crate::ports::{
    Attributes, Body, Head, IteratorStart, ObjectStore, Put, Reply, Served, StoreError, StoreErrorKind,
    Stored, Stream, StreamError, StreamErrorKind,
};
use crate::stop::Stop;

/// The stream's, before and after it was made again.
pub const ARN: &str = "arn:aws:kinesis:eu-central-1:1:stream/stream";

pub struct FakeStream {
    state: Mutex<StreamState>,
}

struct StreamState {
    created: i64,
    status: StreamStatus,
    shards: Vec<Shard>,
    fails: Option<StreamErrorKind>,
    looks: usize,
}

impl FakeStream {
    pub fn new(shards: u128) -> Self {
        let width = u128::MAX / shards;
        let shard = |number| {
            let end = if number + 1 == shards { u128::MAX } else { (number + 1) * width - 1 };
            Shard {
                id: ShardId::new(format!("s-{number}")),
                parents: vec![],
                range: HashKeyRange { start: number * width, end },
                closed: false,
            }
        };
        let shards = (0..shards).map(shard).collect();
        let status = StreamStatus::Active;
        Self { state: Mutex::new(StreamState { created: 1000, status, shards, fails: None, looks: 0 }) }
    }

    pub fn fail(&self, kind: Option<StreamErrorKind>) {
        self.state.lock().unwrap().fails = kind;
    }

    pub fn set_status(&self, status: StreamStatus) {
        self.state.lock().unwrap().status = status;
    }

    pub fn make_again(&self) {
        self.state.lock().unwrap().created = 2000;
    }

    pub fn make_again_without(&self, shard: &str) {
        let mut state = self.state.lock().unwrap();
        state.created = 2000;
        state.shards.retain(|listed| listed.id.as_str() != shard);
    }

    pub fn looks(&self) -> usize {
        self.state.lock().unwrap().looks
    }

    pub fn split(&self, parent: &str, children: [&str; 2]) {
        let mut state = self.state.lock().unwrap();
        let parent = state.shards.iter_mut().find(|shard| shard.id.as_str() == parent).unwrap();
        parent.closed = true;
        let HashKeyRange { start, end } = parent.range;
        let middle = start + (end - start) / 2;
        let ranges = [HashKeyRange { start, end: middle }, HashKeyRange { start: middle + 1, end }];
        let parents = vec![parent.id.clone()];
        for (child, range) in children.into_iter().zip(ranges) {
            let (id, parents) = (ShardId::new(child), parents.clone());
            state.shards.push(Shard { id, parents, range, closed: false });
        }
    }

    pub fn forget(&self, shard: &str) {
        self.state.lock().unwrap().shards.retain(|listed| listed.id.as_str() != shard);
    }

    fn check(&self, call: &'static str) -> Result<(), StreamError> {
        match self.state.lock().unwrap().fails {
            Some(kind) => Err(StreamError { call, kind, message: "as told".into() }),
            None => Ok(()),
        }
    }
}

impl Stream for FakeStream {
    fn describe(&self, _: &Stop) -> Result<Served<StreamDescription>, StreamError> {
        self.check("DescribeStreamSummary")?;
        let state = self.state.lock().unwrap();
        let identity = StreamIdentity {
            name: "stream".into(),
            arn: ARN.into(),
            created: Timestamp::from_seconds(state.created),
        };
        let retention = Duration::from_secs(24 * 3600);
        let value = StreamDescription { identity, status: state.status, retention };
        Ok(Served { at: Timestamp::from_seconds(5000), value })
    }

    fn list_shards(&self, _: &Stop) -> Result<Vec<Shard>, StreamError> {
        self.check("ListShards")?;
        let mut state = self.state.lock().unwrap();
        state.looks += 1;
        Ok(state.shards.clone())
    }

    fn iterator(&self, _: &ShardId, _: &IteratorStart, _: &Stop) -> Result<Served<String>, StreamError> {
        panic!("only shards read")
    }

    fn records(&self, _: &ShardId, _: &str, _: &Stop) -> Result<Served<Reply>, StreamError> {
        panic!("only shards read")
    }
}

#[derive(Default)]
pub struct FakeStore {
    state: Mutex<StoreState>,
}

#[derive(Default)]
struct StoreState {
    objects: BTreeMap<String, Vec<u8>>,
    folders: BTreeSet<String>,
    ignores_conditions: bool,
    away: bool,
}

impl FakeStore {
    pub fn lay(&self, key: &str, text: &str) {
        self.state.lock().unwrap().objects.insert(key.to_owned(), text.as_bytes().to_vec());
    }

    pub fn lay_folder(&self, folder: &str) {
        self.state.lock().unwrap().folders.insert(folder.to_owned());
    }

    pub fn ignore_conditions(&self) {
        self.state.lock().unwrap().ignores_conditions = true;
    }

    pub fn set_away(&self, away: bool) {
        self.state.lock().unwrap().away = away;
    }

    fn check(&self, call: &'static str) -> Result<(), StoreError> {
        if self.state.lock().unwrap().away {
            let (key, kind) = (String::new(), StoreErrorKind::NoAnswer);
            return Err(StoreError { call, key, kind, message: "away".into() });
        }
        Ok(())
    }
}

impl ObjectStore for FakeStore {
    fn put_if_absent(&self, key: &str, body: Body<'_>, _: &Attributes, _: &Stop) -> Result<Put, StoreError> {
        self.check("PutObject")?;
        let Body::Bytes(bytes) = body else { panic!("a file") };
        let mut state = self.state.lock().unwrap();
        if state.objects.contains_key(key) && !state.ignores_conditions {
            return Ok(Put::Taken);
        }
        state.objects.insert(key.to_owned(), bytes.to_vec());
        Ok(Put::Stored(Stored::default()))
    }

    fn head(&self, _: &str, _: &Stop) -> Result<Option<Head>, StoreError> {
        panic!("not asked for")
    }

    fn get(&self, key: &str, _: &Stop) -> Result<Option<Vec<u8>>, StoreError> {
        self.check("GetObject")?;
        Ok(self.state.lock().unwrap().objects.get(key).cloned())
    }

    fn open(&self, _: &str, _: &Stop) -> Result<Option<Box<dyn Read + Send>>, StoreError> {
        panic!("not asked for")
    }

    fn list(&self, prefix: &str, _: Option<&str>, _: &Stop) -> Result<Vec<String>, StoreError> {
        self.check("ListObjectsV2")?;
        let state = self.state.lock().unwrap();
        Ok(state.objects.keys().filter(|key| key.starts_with(prefix)).cloned().collect())
    }

    fn folders(&self, prefix: &str, _: &Stop) -> Result<Vec<String>, StoreError> {
        self.check("ListObjectsV2")?;
        let state = self.state.lock().unwrap();
        Ok(state.folders.iter().filter(|folder| folder.starts_with(prefix)).cloned().collect())
    }

    fn expiry(&self, _: &Stop) -> Result<Expiry, StoreError> {
        self.check("GetBucketLifecycleConfiguration")?;
        Ok(Expiry::default())
    }

    fn service_time(&self, _: &Stop) -> Result<Timestamp, StoreError> {
        self.check("HeadBucket")?;
        Ok(Timestamp::from_seconds(5000))
    }
}
