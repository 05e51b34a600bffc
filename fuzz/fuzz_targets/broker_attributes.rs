//! `cargo fuzz run broker_attributes`
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rmq_fuzz_targets::broker_attributes(data));
