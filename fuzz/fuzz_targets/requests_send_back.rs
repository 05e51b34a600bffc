//! `cargo fuzz run requests_send_back`
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rmq_fuzz_targets::requests_send_back(data));
