//! KPL aggregates made by an implementation that somebody else wrote: PyPI `aws_kinesis_agg`.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::{hex, servers, unhex};

/// A user record, as a producer hands it to its aggregator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Its key.
    pub partition_key: String,
    /// Its hash key, where the producer gives one.
    pub explicit_hash_key: Option<String>,
    /// Its payload.
    pub data: Vec<u8>,
}

impl User {
    /// One without a hash key of its own.
    pub fn new(partition_key: &str, data: impl Into<Vec<u8>>) -> Self {
        Self { partition_key: partition_key.to_owned(), explicit_hash_key: None, data: data.into() }
    }

    /// The same with a hash key of its own.
    pub fn at(self, hash_key: u128) -> Self {
        Self { explicit_hash_key: Some(hash_key.to_string()), ..self }
    }
}

/// An aggregate.
#[derive(Clone, Debug)]
pub struct Aggregate {
    /// What its maker would put it with.
    pub partition_key: String,
    /// Likewise.
    pub explicit_hash_key: Option<String>,
    /// The record's payload.
    pub data: Vec<u8>,
    /// What is in it.
    pub users: Vec<User>,
    /// By which each user record's shard would be chosen, had it been put alone.
    pub hash_keys: Vec<u128>,
}

/// Makes an aggregate of each of the lists.
pub fn aggregates(lists: Vec<Vec<User>>) -> Vec<Aggregate> {
    let user = |user: &User| {
        json!({"partition_key": user.partition_key, "explicit_hash_key": user.explicit_hash_key,
            "data": hex(&user.data)})
    };
    let asked: Vec<Vec<Value>> = lists.iter().map(|users| users.iter().map(user).collect()).collect();
    let made: Vec<Value> = serde_json::from_slice(&run(&json!(asked).to_string())).unwrap();
    assert_eq!(made.len(), lists.len());
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let made = made.into_iter().zip(lists).map(|(made, users)| Aggregate {
        partition_key: text(&made["partition_key"]).unwrap(),
        explicit_hash_key: text(&made["explicit_hash_key"]),
        data: unhex(made["data"].as_str().unwrap()),
        hash_keys: made["hash_keys"]
            .as_array()
            .unwrap()
            .iter()
            .map(|key| key.as_str().unwrap().parse().unwrap())
            .collect(),
        users,
    });
    made.collect()
}

fn run(asked: &str) -> Vec<u8> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/python/aggregate.py");
    let mut command = Command::new(servers::python());
    command.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // It reads all before it writes anything.
    child.stdin.take().unwrap().write_all(asked.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "aggregate.py ended with {}", output.status);
    output.stdout
}
