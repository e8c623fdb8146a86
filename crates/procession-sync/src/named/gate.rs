//! The threads that share one opening of a file, one at a time: the system's lock does not tell them apart.

use procession_core::Deadline;
use procession_sys::prim::{Condvar, Mutex, PoisonError, lock};

/// Lets one thread in at a time.
#[derive(Debug, Default)]
pub(super) struct Gate {
    turn: Mutex<Turn>,
    left: Condvar,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Turn {
    #[default]
    Nobody,
    /// A thread is in, and waits for the lock of the file.
    Waits,
    /// A thread is in, and has the lock of the file.
    Has,
}

impl Gate {
    /// Waits until nobody is in, and enters; tells whether that came before the deadline.
    pub(super) fn enter(&self, deadline: Deadline) -> bool {
        let mut turn = lock(&self.turn);
        while *turn != Turn::Nobody {
            turn = match deadline.remaining() {
                None => self.left.wait(turn).unwrap_or_else(PoisonError::into_inner),
                Some(left) if left.is_zero() => return false,
                Some(left) => {
                    let waited = self.left.wait_timeout(turn, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        *turn = Turn::Waits;
        true
    }

    /// Notes that whoever is in has the lock of the file.
    pub(super) fn note_lock(&self) {
        *lock(&self.turn) = Turn::Has;
    }

    /// Whether somebody is in, and has the lock of the file.
    pub(super) fn has_lock(&self) -> bool {
        *lock(&self.turn) == Turn::Has
    }

    /// Lets the next one in.
    pub(super) fn leave(&self) {
        *lock(&self.turn) = Turn::Nobody;
        self.left.notify_one();
    }
}
