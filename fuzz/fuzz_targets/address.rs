//! See `procession_fuzz::address`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| procession_fuzz::address::run(data));
