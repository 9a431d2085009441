//! What the integration tests share: servers that come up by themselves, a proxy that makes faults, the
//! real binary as a child, and readers of the archive that know nothing of the product's code.
//!
//! Every test binary includes it with `#[path = "../support/mod.rs"] mod support;`.
#![allow(dead_code, reason = "no test binary uses all of it")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "this is all test code: it fails by panicking and waits on the real clock, with deadlines"
)]

pub mod archive;
pub mod aws;
pub mod canned;
#[cfg(feature = "demo")]
pub mod ferrokinesis;
pub mod http;
pub mod keeper;
pub mod kpl;
pub mod proxy;
pub mod putting;
pub mod scene;
pub mod scripted;
pub mod servers;
pub mod shelf;
pub mod topics;
pub mod watch;

use std::time::{Duration, Instant};

/// Asks `condition` until it gives a value; panics with `what` when `limit` is over, or when
/// a keeper of this test ended by itself.
#[track_caller]
pub fn wait_for<T>(what: &str, limit: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(
            !keeper::one_ended_by_itself(),
            "the keeper ended by itself while the test waited for {what}"
        );
        assert!(Instant::now() < end, "waited {limit:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A name that no other test uses, with `word` in it.
pub fn fresh(word: &str) -> String {
    format!("{word}-{:010x}", fastrand::u64(..) & 0xff_ffff_ffff)
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes out of hex.
pub fn unhex(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// Hex SHA-256.
pub fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    hex(&sha2::Sha256::digest(bytes))
}
