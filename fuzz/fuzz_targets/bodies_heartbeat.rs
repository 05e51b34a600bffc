//! `cargo fuzz run bodies_heartbeat`
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rmq_fuzz_targets::bodies_heartbeat(data));
