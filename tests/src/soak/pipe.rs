//! The family of pipes: one of the two that use a pipe is killed or stopped, and the other is watched.
//!
//! A *kind* is killed at random moments; an *act* is run one instruction at a time and killed at the n-th. `plan` says what a round is
//! made of, `letter` what goes through the pipe, `ends` how it is sent and received; `killer` kills, and knows how late an answer came. `kill`,
//! `stop` and `travel` have the kinds, `act` the acts; all of it runs in processes of ours, in the program `soak_pipe`. This file starts that.

mod act;
mod ends;
mod kill;
mod killer;
mod letter;
mod plan;
mod point;
pub mod stage;
mod stop;
mod travel;

use super::Options;
use super::kinds::Play;

pub use act::NAMES as ACTS;

/// What is killed at random moments.
pub const KINDS: [&str; 6] = ["sender", "receiver", "stopped", "handles", "moved", "sibling"];

/// Plays so many rounds of each kind and so many points of each act, or of the [only one](Options::only) that is wanted, or of
/// all `kinds` or `acts`; returns the tables of figures.
///
/// # Errors
///
/// As [`Soak`](super::Soak).
pub fn soak(options: &Options) -> Result<String, String> {
    Play { family: "pipe", kinds: &KINDS, acts: &ACTS }.soak(options)
}
