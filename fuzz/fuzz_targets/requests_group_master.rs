//! `cargo fuzz run requests_group_master`
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rmq_fuzz_targets::requests_group_master(data));
