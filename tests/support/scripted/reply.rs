//! A reply of GetRecords as text.

use base64_simd::STANDARD;
use serde_json::Value;

use super::Record;

/// Written by hand: a reply is up to 14 MiB.
pub fn reply(records: &[(String, &Record)], next: Option<&str>, behind: i64, children: &[Value]) -> String {
    let mut out = String::from(r#"{"Records":["#);
    for (at, (number, record)) in records.iter().enumerate() {
        let comma = if at > 0 { "," } else { "" };
        let key = record.key.as_ref().map_or(String::new(), |key| format!(r#""PartitionKey":"{key}","#));
        let (seconds, millis) = (record.arrival / 1000, record.arrival % 1000);
        let data = STANDARD.encode_to_string(&record.data);
        out.push_str(&format!(
            r#"{comma}{{{key}"SequenceNumber":"{number}","ApproximateArrivalTimestamp":{seconds}.{millis:03},"Data":"{data}"}}"#
        ));
    }
    out.push_str(&format!(r#"],"MillisBehindLatest":{behind}"#));
    if let Some(next) = next {
        out.push_str(&format!(r#","NextShardIterator":"{next}""#));
    }
    if !children.is_empty() {
        out.push_str(&format!(r#","ChildShards":{}"#, Value::from(children.to_vec())));
    }
    out.push('}');
    out
}
