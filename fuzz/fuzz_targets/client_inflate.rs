//! `cargo fuzz run client_inflate`
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rmq_fuzz_targets::client_inflate(data));
