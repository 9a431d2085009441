//! An S3 that only gives: objects in memory, each answer after a time that the test sets.
//!
//! For archives of a size that no emulator takes in quickly. It knows GET, HEAD and listings.

use std::sync::Arc;
use std::time::Duration;

use kinesis_keeper::testing::Shelf;

use super::http::Message;
use super::proxy::{Action, Proxy, Request};

/// Keys a page, as S3 has it.
const PAGE: usize = 1000;

/// Serves a shelf as the one bucket that there is.
pub fn serve(shelf: &Arc<Shelf>, latency: Duration) -> Proxy {
    let proxy = Proxy::new("http://127.0.0.1:9");
    let shelf = Arc::clone(shelf);
    let answer = move |request: &Request| {
        std::thread::sleep(latency);
        answer(&shelf, request)
    };
    proxy.always(|_| true, Action::Compute(Arc::new(answer)));
    proxy
}

fn answer(shelf: &Shelf, request: &Request) -> Message {
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    let key = path.trim_start_matches('/').split_once('/').map_or("", |(_, key)| key);
    let query: Vec<(String, String)> = query
        .split('&')
        .filter_map(|pair| pair.split_once('=').or(Some((pair, ""))))
        .map(|(name, value)| (name.to_owned(), decoded(value)))
        .collect();
    if query.iter().any(|(name, _)| name == "list-type") {
        return listing(shelf, &query);
    }
    if key.is_empty() {
        let known = request.method == "HEAD";
        return if known {
            Message::response(200, "", "")
        } else {
            error(404, "NoSuchLifecycleConfiguration")
        };
    }
    let objects = shelf.objects();
    let Some(object) = objects.get(&decoded(key)) else { return error(404, "NoSuchKey") };
    let mut message = Message::response(200, "application/gzip", object.bytes.clone());
    message.set("ETag", "\"etag\"");
    message.set("Content-Length", object.bytes.len().to_string());
    for (name, value) in &object.metadata {
        message.set(&format!("x-amz-meta-{name}"), value.clone());
    }
    message
}

fn listing(shelf: &Shelf, query: &[(String, String)]) -> Message {
    let asked =
        |name: &str| query.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.as_str());
    let (prefix, delimiter) = (asked("prefix"), asked("delimiter"));
    let after = asked("start-after").max(asked("continuation-token")).to_owned();
    let (mut keys, mut folders): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    let mut more = None;
    for key in shelf.objects().range(after.clone()..).map(|(key, _)| key) {
        let Some(below) = key.strip_prefix(prefix).filter(|_| *key > after) else {
            if key.as_str() > prefix && !key.starts_with(prefix) {
                break;
            }
            continue;
        };
        match below.split_once('/').filter(|_| !delimiter.is_empty()) {
            Some((folder, _)) => {
                let folder = format!("{prefix}{folder}/");
                if folders.last() != Some(&folder) {
                    folders.push(folder);
                }
            }
            None if keys.len() == PAGE => {
                more = keys.last().cloned();
                break;
            }
            None => keys.push(key.clone()),
        }
    }
    let keys: String =
        keys.iter().map(|key| format!("<Contents><Key>{key}</Key><Size>1</Size></Contents>")).collect();
    let folders: String = folders
        .iter()
        .map(|folder| format!("<CommonPrefixes><Prefix>{folder}</Prefix></CommonPrefixes>"))
        .collect();
    let (cut, token) = match more {
        Some(last) => (true, format!("<NextContinuationToken>{last}</NextContinuationToken>")),
        None => (false, String::new()),
    };
    let text = format!(
        "<?xml version=\"1.0\"?><ListBucketResult><IsTruncated>{cut}</IsTruncated>{token}{keys}{folders}</ListBucketResult>"
    );
    Message::response(200, "application/xml", text)
}

fn error(status: u16, code: &str) -> Message {
    let text = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>{code}</Message></Error>");
    Message::response(status, "application/xml", text)
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (first, tail) {
            (b'%', [high, low, after @ ..]) => {
                let digits = [*high, *low];
                let digits = std::str::from_utf8(&digits).unwrap();
                bytes.push(u8::from_str_radix(digits, 16).unwrap());
                rest = after;
            }
            (byte, _) => bytes.push(*byte),
        }
    }
    String::from_utf8(bytes).unwrap()
}
