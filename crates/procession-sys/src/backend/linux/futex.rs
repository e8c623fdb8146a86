//! Sleeping on a word of shared memory.

#![expect(unsafe_code, reason = "names half of a word to the kernel")]

use rustix::io::Errno;
use rustix::thread::futex::{self, Flags};
use rustix::time::Timespec;

use super::{call, fail};
use crate::prim::{AtomicU32, AtomicU64};
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

/// As [`wait`], on the lower half of a word: the upper half may change meanwhile, and a change there wakes nobody.
///
/// # Errors
///
/// As [`wait`].
///
/// # Source
///
/// As [`wait`].
pub fn wait_low(word: &AtomicU64, expected: u32, deadline: Deadline) -> Result<Woken> {
    wait(low_half(word), expected, deadline)
}

/// As [`wake`], for those who sleep by [`wait_low`].
///
/// # Errors
///
/// As [`wake`].
///
/// # Source
///
/// As [`wake`].
pub fn wake_low(word: &AtomicU64, most: u32) -> Result<usize> {
    wake(low_half(word), most)
}

/// The lower half of a word, to name it to the kernel: nobody here reads or writes it as a half.
fn low_half(word: &AtomicU64) -> &AtomicU32 {
    let halves: *const AtomicU32 = std::ptr::from_ref(word).cast();
    let at = if cfg!(target_endian = "big") { 1 } else { 0 };
    // SAFETY: Both halves lie inside the word.
    let half = unsafe { halves.add(at) };
    // SAFETY: 1. Half of an aligned word is aligned for its size. 2. The word outlives the reference, which has its
    // lifetime. 3. It is memory of an atomic, and used by atomic instructions only.
    unsafe { &*half }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::prim::Ordering::Relaxed;

    #[test]
    fn a_change_of_the_upper_half_wakes_nobody() {
        let word = AtomicU64::new(7 << 32 | 3);
        let soon = Deadline::after(Duration::from_millis(1));
        assert_eq!(wait_low(&word, 3, soon).unwrap(), Woken::TimedOut);
        assert_eq!(wait_low(&word, 7, Deadline::NEVER).unwrap(), Woken::Maybe);
        word.store(8 << 32 | 4, Relaxed);
        assert_eq!(wait_low(&word, 3, Deadline::NEVER).unwrap(), Woken::Maybe);
        assert_eq!(wake_low(&word, 1).unwrap(), 0);
    }
}
