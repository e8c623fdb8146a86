//! Values, arrays and lists in shared memory, within one process. What needs others is in the workspace's `tests/`.

#![expect(clippy::unwrap_used, reason = "helpers of tests are not seen as tests")]

extern crate procession_shared as procession;

mod array;
mod lie;
mod list;
mod plain;
mod value;
