//! The bucket: metadata of all objects, bodies of the keeper's own small ones.
//!
//! A second put of a key is refused, as `If-None-Match: *` demands.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::{Request, State};

#[derive(Default)]
pub struct Bucket(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    objects: BTreeMap<String, Object>,
    /// Records in data objects, and such objects.
    archived: u64,
    data_objects: u64,
}

struct Object {
    headers: Vec<(String, String)>,
    size: u64,
    body: Vec<u8>,
}

/// Whether the body of what is put there is read again: ledger entries, manifests, the stream's start.
pub fn is_kept(target: &str) -> bool {
    target.contains("/_")
}

impl Bucket {
    pub fn tell(&self, state: &mut State) {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (state.archived, state.objects) = (kept.archived, kept.data_objects);
    }

    pub fn answer(&self, request: &Request) -> (&'static str, String, Vec<u8>) {
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        let key = path.trim_start_matches('/').split_once('/').map_or("", |(_, key)| key).replace("%3D", "=");
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match request.method.as_str() {
            "PUT" => kept.put(key, request),
            _ if query.starts_with("lifecycle") => {
                let body = "<Error><Code>NoSuchLifecycleConfiguration</Code></Error>";
                ("404 Not Found", String::new(), body.into())
            }
            _ if key.is_empty() => ("200 OK", String::new(), kept.list(query).into_bytes()),
            method => kept.get(&key, method == "HEAD"),
        }
    }
}

impl Kept {
    fn put(&mut self, key: String, request: &Request) -> (&'static str, String, Vec<u8>) {
        if self.objects.contains_key(&key) {
            let body = "<Error><Code>PreconditionFailed</Code><Message>there is one</Message></Error>";
            return ("412 Precondition Failed", String::new(), body.into());
        }
        if !is_kept(&request.target) {
            self.data_objects += 1;
            self.archived += request.header("x-amz-meta-keeper-records").parse().unwrap_or(0);
        }
        let headers = request.headers.iter().filter(|(name, _)| name.starts_with("x-amz-meta-")).cloned();
        let object = Object { headers: headers.collect(), size: request.size, body: request.body.clone() };
        self.objects.insert(key, object);
        ("200 OK", "ETag: \"1\"\r\n".to_owned(), Vec::new())
    }

    fn get(&self, key: &str, head: bool) -> (&'static str, String, Vec<u8>) {
        let Some(object) = self.objects.get(key) else {
            let body: &[u8] = if head { b"" } else { b"<Error><Code>NoSuchKey</Code></Error>" };
            return ("404 Not Found", String::new(), body.to_vec());
        };
        let mut headers = "ETag: \"1\"\r\n".to_owned();
        for (name, value) in &object.headers {
            headers += &format!("{name}: {value}\r\n");
        }
        if head {
            headers += &format!("Content-Length: {}\r\n", object.size);
        }
        ("200 OK", headers, if head { Vec::new() } else { object.body.clone() })
    }

    /// ListObjectsV2, all on one page.
    fn list(&self, query: &str) -> String {
        let given = |name: &str| {
            let value = query.split('&').find_map(|part| part.strip_prefix(name)).unwrap_or_default();
            value.replace("%2F", "/").replace("%3D", "=")
        };
        let (prefix, after) = (given("prefix="), given("start-after="));
        let from = self.objects.range(prefix.clone()..);
        let keys = from.take_while(|(key, _)| key.starts_with(&prefix)).filter(|(key, _)| **key > after);
        let listed: String = keys
            .map(|(key, object)| {
                format!("<Contents><Key>{key}</Key><Size>{}</Size><ETag>\"1\"</ETag></Contents>", object.size)
            })
            .collect();
        format!(
            "<?xml version=\"1.0\"?><ListBucketResult><IsTruncated>false</IsTruncated>{listed}</ListBucketResult>"
        )
    }
}
