//! `cargo fuzz run header_reader`
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rmq_fuzz_targets::header_reader(data));
