//! A mutex that one can wait for until a deadline.
//!
//! The standard library's has no timed wait, and parking_lot's must not be used behind a fork. One word: free, taken, or taken
//! with others waiting (Drepper, "Futexes Are Tricky", 2011, the second mutex); the last is left set by who waited, because it
//! cannot know whether it was alone.

#![expect(unsafe_code, reason = "hands out what a lock protects")]

use std::cell::UnsafeCell;
use std::fmt;
use std::ops::{Deref, DerefMut};

use crate::Deadline;
use crate::backend::futex::{self, Woken};
use crate::prim::AtomicU32;
use crate::prim::Ordering::{Acquire, Relaxed, Release};

const FREE: u32 = 0;
const TAKEN: u32 = 1;
const WANTED: u32 = 2;

/// A value that one thread of this process uses at a time. It does not become useless when one of them panics.
pub struct Turn<T> {
    state: AtomicU32,
    value: UnsafeCell<T>,
}

// SAFETY: The value is reached by one thread at a time, so that it goes from thread to thread, which is what `Send` allows.
unsafe impl<T: Send> Sync for Turn<T> {}

/// The use of what a [`Turn`] holds, until it is dropped.
#[must_use = "the turn ends when this is dropped"]
pub struct TurnGuard<'a, T> {
    turn: &'a Turn<T>,
}

impl<T> Turn<T> {
    /// Free.
    pub const fn new(value: T) -> Self {
        Self { state: AtomicU32::new(FREE), value: UnsafeCell::new(value) }
    }

    /// Takes it if it is free.
    #[inline(always)]
    pub fn try_take(&self) -> Option<TurnGuard<'_, T>> {
        // ORDERING: Acquire: what the last one did is seen.
        match self.state.compare_exchange(FREE, TAKEN, Acquire, Relaxed) {
            Ok(_free) => Some(TurnGuard { turn: self }),
            Err(_taken) => None,
        }
    }

    /// Takes it, waiting for it; `None` when the deadline has passed first. If it is free it is taken, however late it is.
    #[inline(always)]
    pub fn take(&self, deadline: Deadline) -> Option<TurnGuard<'_, T>> {
        self.try_take().or_else(|| self.wait(deadline))
    }

    #[cold]
    fn wait(&self, deadline: Deadline) -> Option<TurnGuard<'_, T>> {
        loop {
            // ORDERING: Acquire: what the last one did is seen.
            if self.state.swap(WANTED, Acquire) == FREE {
                return Some(TurnGuard { turn: self });
            }
            // There is no way for this to fail on a word that is mapped.
            if let Ok(Woken::TimedOut) = futex::wait(&self.state, WANTED, deadline) {
                return None;
            }
        }
    }

    /// The value, which nobody else can reach.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }

    /// The value.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T> Drop for TurnGuard<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        // ORDERING: Release: the next one sees what was done here.
        if self.turn.state.swap(FREE, Release) == WANTED {
            // As in `wait`.
            drop(futex::wake(&self.turn.state, 1));
        }
    }
}

impl<T> Deref for TurnGuard<'_, T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: The turn is this guard's, so nobody else has a reference; it lives as long as the guard is borrowed.
        unsafe { &*self.turn.value.get() }
    }
}

impl<T> DerefMut for TurnGuard<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: As in `deref`, and the guard is borrowed mutably.
        unsafe { &mut *self.turn.value.get() }
    }
}

impl<T> fmt::Debug for Turn<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turn").finish_non_exhaustive()
    }
}

impl<T: fmt::Debug> fmt::Debug for TurnGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn one_thread_has_it_at_a_time() {
        let turn = Turn::new(0u64);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        let mut value = turn.take(Deadline::NEVER).unwrap();
                        let before = *value;
                        std::hint::spin_loop();
                        *value = before + 1;
                    }
                });
            }
        });
        assert_eq!(turn.into_inner(), 80_000);
    }

    #[test]
    fn a_wait_for_it_ends_at_the_deadline() {
        let turn = Turn::new(());
        let guard = turn.try_take().unwrap();
        assert!(turn.try_take().is_none());
        assert!(turn.take(Deadline::after(Duration::from_millis(5))).is_none());
        drop(guard);
        assert!(turn.take(Deadline::after(Duration::ZERO)).is_some());
    }

    #[test]
    fn who_waits_gets_it() {
        let turn = Turn::new(false);
        let mut guard = turn.try_take().unwrap();
        thread::scope(|scope| {
            scope.spawn(|| assert!(*turn.take(Deadline::after(Duration::from_secs(20))).unwrap()));
            while turn.state.load(Relaxed) != WANTED {
                thread::yield_now();
            }
            *guard = true;
            drop(guard);
        });
    }
}
