//! The family of shared memory: whoever makes blocks, uses them, or writes under a lock is killed, and the other is watched.
//!
//! `stage` plays rounds in a process of ours, in the program `soak_shared`; `creator`, `attacher` and `writer` are the kinds.
//! This file starts that.

mod attacher;
mod creator;
mod killer;
pub mod stage;
mod writer;

use super::{Options, kinds};

/// Who is killed.
pub const KINDS: [&str; 3] = ["creator", "attacher", "writer"];

/// Plays so many rounds of each kind, or of the [only one](Options::only) that is wanted; returns the table of figures.
///
/// # Errors
///
/// As [`Soak`](super::Soak).
pub fn soak(options: &Options) -> Result<String, String> {
    kinds::soak("shared", &KINDS, options)
}
