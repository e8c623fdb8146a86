//! See `procession_fuzz::python_handshake`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| procession_fuzz::python_handshake::run(data));
