//! Where a table lies: shared memory, or plain memory for models and fakes.

use procession_sys::memory::SharedWords;
use procession_sys::prim::{AtomicU64, Ordering};

/// A row of atomic words that are zero to begin with.
pub(super) trait Words {
    /// The system's atomic, or the model checker's.
    type Word: Word;

    /// How many there are.
    fn count(&self) -> usize;

    /// The word at `index`, which is below [`count`](Self::count).
    fn at(&self, index: usize) -> &Self::Word;
}

/// The ordering of [`Word::exchange`].
///
/// ORDERING: AcqRel: a transition publishes what its maker did before, to whoever sees it or makes the next one
/// (`Table::stamp`, `Word::exchange`).
pub(super) const TRANSITION: Ordering = Ordering::AcqRel;

/// What the table does with a word.
pub(super) trait Word {
    fn load(&self, ordering: Ordering) -> u64;
    fn store(&self, value: u64, ordering: Ordering);
    fn fetch_or(&self, bits: u64, ordering: Ordering) -> u64;
    fn fetch_and(&self, bits: u64, ordering: Ordering) -> u64;
    /// Tells whether the word was `from`, and is `to` now.
    fn exchange(&self, from: u64, to: u64) -> bool;
}

impl Word for AtomicU64 {
    fn load(&self, ordering: Ordering) -> u64 {
        self.load(ordering)
    }

    fn store(&self, value: u64, ordering: Ordering) {
        self.store(value, ordering);
    }

    fn fetch_or(&self, bits: u64, ordering: Ordering) -> u64 {
        self.fetch_or(bits, ordering)
    }

    fn fetch_and(&self, bits: u64, ordering: Ordering) -> u64 {
        self.fetch_and(bits, ordering)
    }

    fn exchange(&self, from: u64, to: u64) -> bool {
        self.compare_exchange(from, to, TRANSITION, Ordering::Relaxed).is_ok()
    }
}

impl Words for SharedWords {
    type Word = AtomicU64;

    fn count(&self) -> usize {
        self.len()
    }

    fn at(&self, index: usize) -> &AtomicU64 {
        self.word(index)
    }
}

impl<A: Word> Words for Box<[A]> {
    type Word = A;

    fn count(&self) -> usize {
        self.len()
    }

    fn at(&self, index: usize) -> &A {
        &self[index]
    }
}

/// Words in plain memory.
#[cfg(all(test, not(loom)))]
pub(super) fn local(count: usize) -> Box<[AtomicU64]> {
    (0..count).map(|_| AtomicU64::new(0)).collect()
}
