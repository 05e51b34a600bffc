//! `cargo fuzz run broker_conf`
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rmq_fuzz_targets::broker_conf(data));
