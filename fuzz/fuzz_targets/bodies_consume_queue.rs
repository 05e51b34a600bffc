//! `cargo fuzz run bodies_consume_queue`
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rmq_fuzz_targets::bodies_consume_queue(data));
