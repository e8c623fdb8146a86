//! The public face of blocks, within one process.

#![expect(clippy::unwrap_used, reason = "helpers of tests are not seen as tests")]

extern crate procession_shared as procession;

mod blocks;
mod frozen;
mod named;
mod scope;

use procession_core::{Message, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A name of a test's own; unlinked when it is dropped.
struct Name(String);

impl Name {
    fn new(what: &str) -> Self {
        Self(format!("procession-test-{}-{what}", std::process::id()))
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        drop(std::fs::remove_file(format!("/dev/shm/{}", self.0)));
    }
}

/// The value as a message delivers it.
fn sent<T: Serialize + DeserializeOwned>(value: &T) -> Result<T> {
    Message::encode(value)?.decode()
}
