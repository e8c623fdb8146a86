//! See `procession_fuzz::codec`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| procession_fuzz::codec::run(data));
