//! `cargo fuzz run bodies_registration_compressed`
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rmq_fuzz_targets::bodies_registration_compressed(data));
