//! `cargo fuzz run store_files`
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rmq_fuzz_targets::store_files(data));
