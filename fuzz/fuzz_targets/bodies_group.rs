//! `cargo fuzz run bodies_group`
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rmq_fuzz_targets::bodies_group(data));
