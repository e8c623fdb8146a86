//! The family of queues: putters and getters are killed, one after the other or at once, and every item is accounted for.
//!
//! `item` is what goes through a queue, `member` what the members do with it, `ledger` where all of them say what they did; `scene` starts,
//! kills and replaces them, `account` says what must be true in the end, `alone` has the scenes of two. An *act* is run one
//! instruction at a time and killed at the n-th: `act` plays and checks, `props` has what an actor does, `point` where it is killed. `stage` plays all that in a process of ours, in the
//! program `soak_queue`. This file starts that.

mod account;
mod act;
mod alone;
mod item;
mod ledger;
mod member;
mod point;
mod props;
mod scene;
pub mod stage;

use super::Options;
use super::kinds::Play;

pub use act::NAMES as ACTS;

/// Who is killed: a putter, a getter, one of each in quick succession; all but those who look, so that the last of them is told; anybody in queues
/// with leases, and in those with items that are called done; many at once, and those who settle what they left; anybody where
/// items have a bound in bytes, or handles; those who work on what is left when a queue is closed.
pub const KINDS: [&str; 10] = [
    "putter", "getter", "both", "alone", "lease", "tasks", "settler", "bytes", "handles", "closed",
];

/// Plays so many rounds of each kind and so many points of each act, or of the [only one](Options::only) that is wanted, or of
/// all `kinds` or `acts`; returns the tables of figures.
///
/// # Errors
///
/// As [`Soak`](super::Soak).
pub fn soak(options: &Options) -> Result<String, String> {
    Play { family: "queue", kinds: &KINDS, acts: &ACTS }.soak(options)
}
