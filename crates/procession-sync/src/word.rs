//! A word that processes share and sleep on; the algorithms are written over it, so that models can stand in.

use procession_core::Result;
use procession_core::waiting::{Slept, Spin, Wait};
use procession_sys::futex;
use procession_sys::prim::AtomicU64;
use procession_sys::prim::Ordering::{self, Acquire, SeqCst};

/// A word of 64 bits, on whose lower half one can sleep.
pub(crate) trait Word {
    fn load(&self, ordering: Ordering) -> u64;
    fn store(&self, value: u64, ordering: Ordering);
    /// ORDERING: SeqCst on success: a change publishes what its maker did before to whoever makes the next one, or loads it with
    /// Acquire; and it comes before the maker's SeqCst loads of other words. Acquire on failure, for the value that was found.
    fn exchange(&self, from: u64, to: u64) -> Result<(), u64>;
    /// Wakes at most `most` of those who sleep on the word; tells how many.
    fn wake(&self, most: u32) -> usize;
}

/// How the caller waits.
pub(crate) trait Waiter<W> {
    /// Spins a little; `false` when it has spun enough.
    fn spin(&mut self) -> bool;
    /// Sleeps while the lower half of `word` is `expected`. `owners` are the slots of processes whose death ends the wait.
    fn sleep(&mut self, word: &W, expected: u32, owners: &dyn Fn() -> Vec<u16>) -> Result<Slept>;
    /// Whether it observes those it waits for.
    fn is_armed(&self) -> bool;
}

impl Word for AtomicU64 {
    #[inline]
    fn load(&self, ordering: Ordering) -> u64 {
        self.load(ordering)
    }

    #[inline]
    fn store(&self, value: u64, ordering: Ordering) {
        self.store(value, ordering);
    }

    #[inline]
    fn exchange(&self, from: u64, to: u64) -> Result<(), u64> {
        self.compare_exchange(from, to, SeqCst, Acquire).map(drop)
    }

    fn wake(&self, most: u32) -> usize {
        // There is no way for this to fail on a word that is mapped.
        futex::wake_low(self, most).unwrap_or_default()
    }
}

/// Spinning, then sleeping.
#[derive(Debug)]
pub(crate) struct Patient<'a> {
    spin: Spin,
    wait: Wait<'a>,
}

impl<'a> Patient<'a> {
    pub(crate) fn new(spin: Spin, wait: Wait<'a>) -> Self {
        Self { spin, wait }
    }
}

impl Waiter<AtomicU64> for Patient<'_> {
    #[inline]
    fn spin(&mut self) -> bool {
        self.spin.turn()
    }

    fn sleep(
        &mut self,
        word: &AtomicU64,
        expected: u32,
        owners: &dyn Fn() -> Vec<u16>,
    ) -> Result<Slept> {
        self.wait.sleep(word, expected, owners)
    }

    fn is_armed(&self) -> bool {
        self.wait.is_armed()
    }
}

/// The lower half of a word.
pub(crate) fn low(word: u64) -> u32 {
    u32::try_from(word & u64::from(u32::MAX)).unwrap_or_default()
}

/// For waits that no one process in particular ends.
pub(crate) fn nobody() -> Vec<u16> {
    Vec::new()
}
