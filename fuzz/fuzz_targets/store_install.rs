//! `cargo fuzz run store_install`
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rmq_fuzz_targets::store_install(data));
