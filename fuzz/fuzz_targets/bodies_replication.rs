//! `cargo fuzz run bodies_replication`
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rmq_fuzz_targets::bodies_replication(data));
