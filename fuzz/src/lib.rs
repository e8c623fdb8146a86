//! What the fuzz targets do with their input, apart from the fuzzer.
//!
//! Each target is a module with a function `run`, which panics where a property does not hold. The fuzzer's programs call it
//! (`fuzz_targets/`), and so does a test of the main workspace, which takes these files in as a module and runs the stored corpus.
//! [`input`] takes inputs apart, [`memory`] counts what is allocated, [`wire`] makes connections whose other end is in our hands.

#![expect(
    clippy::unwrap_used,
    reason = "what fails here is a finding, or the machine is too small"
)]

pub mod address;
pub mod codec;
pub mod frames;
pub mod handshake;
pub mod input;
pub mod memory;
pub mod pickle;
pub mod python_handshake;
pub mod wire;
