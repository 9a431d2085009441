//! See `kinesis_keeper::testing::fuzz::reply`.
#![no_main]
use std::sync::LazyLock;

use kinesis_keeper::aws::kinesis::canned::Canned;

static CANNED: LazyLock<Canned> = LazyLock::new(|| Canned::new().expect("a runtime"));

libfuzzer_sys::fuzz_target!(|data: &[u8]| kinesis_keeper::testing::fuzz::reply(&CANNED, data));
