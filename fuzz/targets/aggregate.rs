//! See `kinesis_keeper::testing::fuzz::aggregate`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| kinesis_keeper::testing::fuzz::aggregate(data));
