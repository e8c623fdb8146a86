//! The family of queues: putters and getters are killed, one after the other or at once, and every item is accounted for.
//!
//! `ledger` is where all of them say what they did, `stage` plays rounds in a process of ours, in the program `soak_queue`. This file
//! starts that.

mod ledger;
pub mod stage;

use super::{Options, kinds};

/// Who is killed: a putter, a getter, one of each in quick succession, all but those who look, so that the last of them is told.
pub const KINDS: [&str; 4] = ["putter", "getter", "both", "alone"];

/// Plays so many rounds of each kind, or of the [only one](Options::only) that is wanted; returns the table of figures.
///
/// # Errors
///
/// As [`Soak`](super::Soak).
pub fn soak(options: &Options) -> Result<String, String> {
    kinds::soak("queue", &KINDS, options)
}
