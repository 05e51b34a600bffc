//! `cargo fuzz run broker_rows`
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rmq_fuzz_targets::broker_rows(data));
