//! The algorithms, over a word that models can stand in for: `stamp` is what a slot is at a moment, `line` the positions and who has
//! them, `bell` how one sleeps and is woken.

pub(crate) mod bell;
pub(crate) mod line;
#[cfg(all(test, loom))]
mod model;
pub(crate) mod stamp;

use procession_sys::futex;
use procession_sys::prim::AtomicU64;
use procession_sys::prim::Ordering::{self, Acquire, SeqCst};

/// A word of 64 bits that processes share, on whose lower half one can sleep.
pub(crate) trait Word {
    fn load(&self, ordering: Ordering) -> u64;
    fn store(&self, value: u64, ordering: Ordering);
    /// ORDERING: SeqCst on success: a change publishes what its maker did before to whoever makes the next one, or loads it with
    /// Acquire; and it comes before the maker's SeqCst loads of other words.
    fn exchange(&self, from: u64, to: u64) -> bool;
    /// Wakes at most `most` of those who sleep on the word; tells how many.
    fn wake(&self, most: u32) -> usize;
}

impl Word for AtomicU64 {
    #[inline(always)]
    fn load(&self, ordering: Ordering) -> u64 {
        self.load(ordering)
    }

    #[inline(always)]
    fn store(&self, value: u64, ordering: Ordering) {
        self.store(value, ordering);
    }

    #[inline(always)]
    fn exchange(&self, from: u64, to: u64) -> bool {
        self.compare_exchange(from, to, SeqCst, Acquire).is_ok()
    }

    fn wake(&self, most: u32) -> usize {
        // There is no way for this to fail on a word that is mapped.
        futex::wake_low(self, most).unwrap_or_default()
    }
}
