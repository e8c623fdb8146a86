//! What a gate asks of the system.

use super::model::AtomicU32;
use crate::Deadline;

#[cfg(not(loom))]
pub(super) use real::*;

#[cfg(not(loom))]
mod real {
    use std::time::Duration;

    use super::{AtomicU32, Deadline};
    use crate::backend::barrier;
    use crate::backend::futex::{self, Woken};
    use crate::backend::poll;
    use crate::prim::Ordering::SeqCst;
    use crate::prim::fence;

    thread_local! {
        static HERE: u8 = const { 0 };
    }

    /// A number that no other thread of this process has; not zero, and not the greatest.
    #[inline(always)]
    pub(in super::super) fn this_thread() -> u64 {
        HERE.with(|here| std::ptr::from_ref(here).addr() as u64)
    }

    /// Whether there can be a [`heavy_fence`].
    pub(in super::super) fn can_dismiss() -> bool {
        barrier::take_part_with_threads().is_ok()
    }

    /// A full barrier here, and in all threads of this process.
    pub(in super::super) fn heavy_fence() {
        fence(SeqCst);
        // A fork has what its parent's threads began, and may not take part itself yet.
        if barrier::take_part_with_threads().and_then(|()| barrier::all_threads()).is_err() {
            // The process was forbidden the call after it had asked whether there is one. What a processor has written is seen
            // by others in far less than a microsecond; there is no way to know, so this waits for ten thousand of those.
            drop(poll::wait(&mut [], Deadline::after(Duration::from_millis(10))));
            fence(SeqCst);
        }
    }

    /// Sleeps while `word` is `expected`; `false` when the deadline has passed.
    pub(in super::super) fn sleep(word: &AtomicU32, expected: u32, deadline: Deadline) -> bool {
        // There is no way for this to fail on a word that is mapped.
        !matches!(futex::wait(word, expected, deadline), Ok(Woken::TimedOut))
    }

    /// Wakes one that sleeps on `word`.
    pub(in super::super) fn wake(word: &AtomicU32) {
        // As in `sleep`.
        drop(futex::wake(word, 1));
    }
}

/// What the model checker has instead: every look at the words may be the last one before something else runs.
#[cfg(loom)]
mod modelled {
    use loom::sync::atomic::Ordering::{Acquire, SeqCst};

    use super::{AtomicU32, Deadline};

    loom::thread_local! {
        static HERE: u64 = fresh();
    }

    fn fresh() -> u64 {
        // A model has few threads, and loom says which is which in no other way.
        let name = format!("{:?}", loom::thread::current().id());
        let digits: String = name.chars().filter(char::is_ascii_digit).collect();
        digits.parse::<u64>().unwrap_or_default() + 1
    }

    pub(in super::super) fn this_thread() -> u64 {
        HERE.with(|here| *here)
    }

    pub(in super::super) fn can_dismiss() -> bool {
        true
    }

    pub(in super::super) fn heavy_fence() {
        loom::sync::atomic::fence(SeqCst);
    }

    pub(in super::super) fn sleep(word: &AtomicU32, expected: u32, deadline: Deadline) -> bool {
        if word.load(Acquire) == expected {
            if deadline.has_passed() {
                return false;
            }
            loom::thread::yield_now();
        }
        true
    }

    pub(in super::super) fn wake(_word: &AtomicU32) {}
}
#[cfg(loom)]
pub(super) use modelled::*;
