//! `cargo fuzz run bodies_config`
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rmq_fuzz_targets::bodies_config(data));
