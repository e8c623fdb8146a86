//! See `procession_fuzz::handshake`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| procession_fuzz::handshake::run(data));
