//! `cargo fuzz run store_snapshot`
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rmq_fuzz_targets::store_snapshot(data));
