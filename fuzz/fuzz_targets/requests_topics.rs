//! `cargo fuzz run requests_topics`
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rmq_fuzz_targets::requests_topics(data));
