//! `cargo fuzz run requests_pop`
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rmq_fuzz_targets::requests_pop(data));
