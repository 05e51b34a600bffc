//! `cargo fuzz run client_messages`
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rmq_fuzz_targets::client_messages(data));
