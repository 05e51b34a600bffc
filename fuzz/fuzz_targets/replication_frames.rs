//! `cargo fuzz run replication_frames`
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rmq_fuzz_targets::replication_frames(data));
