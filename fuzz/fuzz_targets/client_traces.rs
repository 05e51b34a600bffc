//! `cargo fuzz run client_traces`
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rmq_fuzz_targets::client_traces(data));
