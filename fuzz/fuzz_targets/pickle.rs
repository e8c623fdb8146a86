//! See `procession_fuzz::pickle`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| procession_fuzz::pickle::run(data));
