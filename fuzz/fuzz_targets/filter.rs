//! `cargo fuzz run filter`
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rmq_fuzz_targets::filter(data));
