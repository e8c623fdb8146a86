//! The public face of `procession-connection`, within one process.

#![expect(clippy::unwrap_used, reason = "helpers of tests are not seen as tests")]

mod broken;
mod decoding;
mod local;
mod pipe;
mod threads;
