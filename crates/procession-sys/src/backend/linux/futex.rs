//! Sleeping on a word of shared memory.

use rustix::io::Errno;
use rustix::thread::futex::{self, Flags};
use rustix::time::Timespec;

use super::{call, fail};
use crate::prim::AtomicU32;
use crate::{Deadline, Result};

/// Why a wait on a word ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Woken {
    /// Somebody woke this waiter, or the word had another value to begin with, or a signal came: look at the word again.
    Maybe,
    /// The deadline passed.
    TimedOut,
}

/// Sleeps while `word` is `expected`, until somebody wakes this waiter or the deadline passes.
///
/// The word may lie in memory that processes share: waiters and wakers meet by the page, not by the address.
///
/// # Errors
///
/// None in practice: an aligned word that is mapped is always accepted.
///
/// # Source
///
/// `futex(2)`, `FUTEX_WAIT` without `FUTEX_PRIVATE_FLAG`; the timeout is on the monotonic clock.
pub fn wait(word: &AtomicU32, expected: u32, deadline: Deadline) -> Result<Woken> {
    let timeout = deadline.remaining().and_then(|left| Timespec::try_from(left).ok());
    match futex::wait(word, Flags::empty(), expected, timeout.as_ref()) {
        Ok(()) | Err(Errno::AGAIN | Errno::INTR) => Ok(Woken::Maybe),
        Err(Errno::TIMEDOUT) => Ok(Woken::TimedOut),
        Err(code) => Err(fail("sleep on a word", String::new(), code)),
    }
}

/// Wakes at most `most` waiters of `word`, in whatever process they are; tells how many.
///
/// # Errors
///
/// None in practice: an aligned word that is mapped is always accepted.
///
/// # Source
///
/// `futex(2)`, `FUTEX_WAKE` without `FUTEX_PRIVATE_FLAG`.
pub fn wake(word: &AtomicU32, most: u32) -> Result<usize> {
    // The kernel reads the count as a signed number.
    let most = most.min(i32::MAX.cast_unsigned());
    call("wake the waiters of a word", String::new, || futex::wake(word, Flags::empty(), most))
}
