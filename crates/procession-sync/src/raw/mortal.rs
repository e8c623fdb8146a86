//! Words of processes that die after so many changes, for tests in one thread: they stop between two steps of an algorithm.
//! (`model.rs` has the same for the models.)

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use procession_core::Result;
use procession_core::waiting::Slept;
use procession_sys::prim::{AtomicU64, Ordering};

use crate::word::{Waiter, Word};

/// How many changes a process makes before it dies.
#[derive(Debug)]
pub(super) struct Life(Cell<u32>);

/// What a process dies by.
struct Death;

impl Life {
    pub(super) fn of(changes: u32) -> Self {
        Self(Cell::new(changes))
    }

    /// It does not die.
    pub(super) fn long() -> Self {
        Self::of(u32::MAX)
    }

    /// Lives, and returns what it does; nothing if it dies over it.
    pub(super) fn live<T>(&self, doing: impl FnOnce() -> T) -> Option<T> {
        match catch_unwind(AssertUnwindSafe(doing)) {
            Ok(done) => Some(done),
            Err(death) if death.is::<Death>() => None,
            Err(failure) => resume_unwind(failure),
        }
    }
}

/// A word as a process sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) word: &'a AtomicU64,
    pub(super) life: &'a Life,
}

impl View<'_> {
    /// Before a change, so that a process may also die right after its last one.
    fn spend(&self) {
        match self.life.0.get().checked_sub(1) {
            Some(left) => self.life.0.set(left),
            None => resume_unwind(Box::new(Death)),
        }
    }
}

impl Word for View<'_> {
    fn load(&self, ordering: Ordering) -> u64 {
        self.word.load(ordering)
    }

    fn store(&self, value: u64, ordering: Ordering) {
        self.spend();
        self.word.store(value, ordering);
    }

    fn exchange(&self, from: u64, to: u64) -> Result<(), u64> {
        self.spend();
        Word::exchange(self.word, from, to)
    }

    fn wake(&self, _most: u32) -> usize {
        self.spend();
        0
    }
}

/// Who has no time: its deadline has passed when it would sleep.
#[derive(Debug)]
pub(super) struct Hasty;

impl Waiter<View<'_>> for Hasty {
    fn spin(&mut self) -> bool {
        false
    }

    fn sleep(
        &mut self,
        _word: &View<'_>,
        _expected: u32,
        _owners: &dyn Fn() -> Vec<u16>,
    ) -> Result<Slept> {
        Ok(Slept::TimedOut)
    }

    fn is_armed(&self) -> bool {
        false
    }
}

#[test]
fn a_process_dies_after_its_last_change() {
    let word = AtomicU64::new(0);
    for changes in 0..4 {
        word.store(0, Ordering::Relaxed);
        let life = Life::of(changes);
        let view = View { word: &word, life: &life };
        let lived = life.live(|| {
            for value in 0..3 {
                view.exchange(value, value + 1).unwrap();
            }
        });
        assert_eq!(lived.is_some(), changes == 3);
        assert_eq!(word.load(Ordering::Relaxed), changes.into());
    }
}
