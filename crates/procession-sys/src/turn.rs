//! A mutex that one can wait for until a deadline.
//!
//! The standard library's has no timed wait, and parking_lot's must not be used behind a fork.
//! The thread that came first, which is often the only one, goes in and out without an exchange (`turn/gate.rs`).

#![expect(unsafe_code, reason = "hands out what a lock protects")]

mod gate;
mod system;

use std::cell::UnsafeCell;
use std::fmt;
use std::ops::{Deref, DerefMut};

use crate::Deadline;
use gate::{Gate, Pass};

/// What a model checker stands in for.
mod model {
    pub(super) use crate::prim::Ordering;
    pub(super) use crate::prim::model::{AtomicU32, AtomicU64};

    /// Keeps the compiler from changing the order; the processor's is seen to by who dismisses a favourite.
    #[inline(always)]
    pub(super) fn light_fence() {
        #[cfg(not(loom))]
        crate::prim::compiler_fence(Ordering::SeqCst);
        #[cfg(loom)]
        crate::prim::model::fence(Ordering::SeqCst);
    }
}

/// A value that one thread of this process uses at a time. It does not become useless when one of them panics.
pub struct Turn<T> {
    gate: Gate,
    value: UnsafeCell<T>,
}

// SAFETY: The value is reached by one thread at a time, so that it goes from thread to thread, which is what `Send` allows.
unsafe impl<T: Send> Sync for Turn<T> {}

/// The use of what a [`Turn`] holds, until it is dropped.
#[must_use = "the turn ends when this is dropped"]
pub struct TurnGuard<'a, T> {
    turn: &'a Turn<T>,
    pass: Pass,
}

impl<T> Turn<T> {
    /// Free.
    pub fn new(value: T) -> Self {
        Self { gate: Gate::new(), value: UnsafeCell::new(value) }
    }

    /// Takes it if it is free.
    #[inline(always)]
    pub fn try_take(&self) -> Option<TurnGuard<'_, T>> {
        self.gate.try_enter().map(|pass| TurnGuard { turn: self, pass })
    }

    /// Takes it, waiting for it; `None` when the deadline has passed first. If it is free it is taken, however late it is.
    #[inline(always)]
    pub fn take(&self, deadline: Deadline) -> Option<TurnGuard<'_, T>> {
        self.gate.enter(deadline).map(|pass| TurnGuard { turn: self, pass })
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
        self.turn.gate.leave(self.pass);
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

#[cfg(all(test, not(loom)))]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

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
        assert!(turn.take(Deadline::PAST).is_some());
    }

    #[test]
    fn who_waits_gets_it() {
        for is_shared_before in [false, true] {
            let turn = Turn::new(false);
            if is_shared_before {
                thread::scope(|scope| {
                    scope.spawn(|| drop(turn.take(Deadline::NEVER).unwrap()));
                });
            }
            let mut guard = turn.try_take().unwrap();
            thread::scope(|scope| {
                let waiter = scope.spawn(|| *turn.take(Deadline::after(LONG)).unwrap());
                while !turn.gate.is_waited_for() {
                    thread::yield_now();
                }
                *guard = true;
                drop(guard);
                assert!(waiter.join().unwrap());
            });
        }
    }

    #[test]
    fn a_thread_that_has_it_does_not_get_it_twice() {
        let turn = Turn::new(());
        let guard = turn.try_take().unwrap();
        for _ in 0..3 {
            assert!(turn.take(Deadline::PAST).is_none());
        }
        drop(guard);
        assert!(turn.try_take().is_some());
    }

    #[test]
    fn a_guard_may_end_in_another_thread() {
        let turn = Turn::new(0u64);
        thread::scope(|scope| {
            for _ in 0..1000 {
                let mut guard = turn.take(Deadline::after(LONG)).unwrap();
                *guard += 1;
                scope.spawn(move || drop(guard));
            }
        });
        assert_eq!(turn.into_inner(), 1000);
    }

    #[test]
    fn others_come_in_beside_the_one_that_came_first() {
        for round in 0..200 {
            let turn = Turn::new(0u64);
            thread::scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(|| {
                        for at in 0..200 {
                            let Some(mut value) = turn.take(Deadline::after(LONG)) else {
                                panic!()
                            };
                            let before = *value;
                            if at % 16 == round % 16 {
                                thread::yield_now();
                            }
                            *value = before + 1;
                        }
                    });
                }
            });
            assert_eq!(turn.into_inner(), 400);
        }
    }
}
