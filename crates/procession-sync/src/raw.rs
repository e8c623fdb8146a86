//! The algorithms, over words of any kind: each file has one, with its states, its orderings and who may do what. Beside
//! each are its loom models, and its tests against a model in plain memory.

pub(crate) mod barrier;
pub(crate) mod condition;
pub(crate) mod event;
pub(crate) mod lock;
pub(crate) mod semaphore;

#[cfg(all(test, loom))]
mod model;
#[cfg(all(test, not(loom)))]
mod mortal;

use procession_core::Error;

/// Why a wait did not end well.
#[derive(Debug)]
pub(crate) enum Halt {
    TimedOut,
    /// All others are dead.
    Closed,
    /// The object is not there any more.
    Gone,
    Failed(Error),
}
