//! `cargo fuzz run bodies_group_status`
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rmq_fuzz_targets::bodies_group_status(data));
