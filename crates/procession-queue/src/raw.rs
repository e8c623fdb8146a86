//! The algorithms, over a word that models can stand in for: `stamp` is what a slot is at a moment, `line` the positions and who has
//! them, `bell` how one sleeps and is woken.

#[cfg(all(test, loom))]
mod bell_loom;
pub(crate) mod line;
#[cfg(all(test, loom))]
mod model;
pub(crate) mod stamp;

pub(crate) use procession_core::bell::{self, Word};
