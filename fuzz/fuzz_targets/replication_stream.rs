//! `cargo fuzz run replication_stream`
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rmq_fuzz_targets::replication_stream(data));
