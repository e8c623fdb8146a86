//! Who may go in: the words of a [`Turn`](super::Turn), apart from what it protects.
//!
//! ```text
//!   favourite: 0 ---first thread---> that thread ---another thread, a barrier in all threads---> NOBODY
//! ```
//!
//! **The favourite** is the thread that came first. It goes in and out by a store to `is_in` and a load of `favourite`, in this
//! order, with nothing between that a processor would notice: no exchange, so that what it wrote before need not have arrived
//! anywhere. (An exchange waits until it has; when the line that it wrote to is at another processor, that takes longer than
//! all else that a pipe does with a short message: `docs/pipes.md`.)
//!
//! **Anybody else** takes `state`, an ordinary mutex, then dismisses the favourite if there is one: writes [`NOBODY`] and has the
//! system make a full barrier in all threads of the process. Whoever is the favourite then either has seen that, or its `is_in`
//! is seen here (Dekker's argument, with both barriers on one side). Then waits until `is_in` is zero. There is no favourite after
//! that, and the mutex is all there is; but a dismissed favourite that has not noticed may set `is_in` once more, sees that it is
//! none, and takes it back. So everybody who has the mutex looks at `is_in`, and who takes it back wakes.
//!
//! A thread is named by the address of a variable of its own. One that ended may be followed by another of the same name, which
//! is the favourite then; the first is not inside any more.

use super::model::{self, AtomicU32, AtomicU64, Ordering};
use super::system;
use crate::Deadline;
use Ordering::{Acquire, Relaxed, Release};

const FREE: u32 = 0;
const TAKEN: u32 = 1;
/// Taken, with others waiting (Drepper, "Futexes Are Tricky", 2011, the second mutex); it is left set by who waited, because it
/// cannot know whether it was alone.
const WANTED: u32 = 2;

/// Nobody is the favourite any more.
const NOBODY: u64 = u64::MAX;

/// See above.
pub(super) struct Gate {
    favourite: AtomicU64,
    is_in: AtomicU32,
    state: AtomicU32,
}

/// How one went in, and so has to go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pass {
    Favourite,
    Anybody,
}

impl Gate {
    pub(super) fn new() -> Self {
        Self { favourite: AtomicU64::new(0), is_in: AtomicU32::new(0), state: AtomicU32::new(FREE) }
    }

    /// Goes in if nobody is in.
    #[inline(always)]
    pub(super) fn try_enter(&self) -> Option<Pass> {
        let me = system::this_thread();
        match self.enter_as_favourite(me) {
            Some(pass) => Some(pass),
            None => self.try_enter_slowly(me),
        }
    }

    /// Goes in, waiting for it.
    #[inline(always)]
    pub(super) fn enter(&self, deadline: Deadline) -> Option<Pass> {
        let me = system::this_thread();
        match self.enter_as_favourite(me) {
            Some(pass) => Some(pass),
            None => self.wait(me, deadline),
        }
    }

    #[inline(always)]
    fn enter_as_favourite(&self, me: u64) -> Option<Pass> {
        // It is in already when it comes again before it has gone. ORDERING: Acquire: the guard may have ended in another thread.
        if self.favourite.load(Relaxed) != me || self.is_in.load(Acquire) != 0 {
            return None;
        }
        self.is_in.store(1, Relaxed);
        model::light_fence();
        if self.favourite.load(Relaxed) == me {
            return Some(Pass::Favourite);
        }
        self.take_back();
        None
    }

    /// Goes out.
    #[inline(always)]
    pub(super) fn leave(&self, pass: Pass) {
        match pass {
            Pass::Favourite => {
                // ORDERING: Release: the next one sees what was done here.
                self.is_in.store(0, Release);
                model::light_fence();
                if self.favourite.load(Relaxed) == NOBODY {
                    self.take_back();
                }
            }
            Pass::Anybody => self.unlock(),
        }
    }

    /// A favourite that was dismissed is not inside, or not any more.
    #[cold]
    fn take_back(&self) {
        self.is_in.store(0, Release);
        system::wake(&self.is_in);
    }

    /// Becomes the favourite, if nobody ever was.
    fn try_become_favourite(&self, me: u64) -> Option<Pass> {
        if self.favourite.load(Relaxed) != 0 || !system::can_dismiss() {
            return None;
        }
        // Who holds the mutex then was inside before there was a favourite, or is about to dismiss this one.
        if self.state.compare_exchange(FREE, TAKEN, Acquire, Relaxed).is_err() {
            return None;
        }
        let is_first = self.favourite.compare_exchange(0, me, Relaxed, Relaxed).is_ok();
        self.unlock();
        is_first.then(|| self.enter_as_favourite(me)).flatten()
    }

    #[cold]
    fn try_enter_slowly(&self, me: u64) -> Option<Pass> {
        if let Some(pass) = self.try_become_favourite(me) {
            return Some(pass);
        }
        // ORDERING: Acquire: what the last one did is seen.
        if self.state.compare_exchange(FREE, TAKEN, Acquire, Relaxed).is_err() {
            return None;
        }
        self.has_favourite_gone(Deadline::PAST)
    }

    #[cold]
    fn wait(&self, me: u64, deadline: Deadline) -> Option<Pass> {
        if let Some(pass) = self.try_enter_slowly(me) {
            return Some(pass);
        }
        // ORDERING: Acquire: what the last one did is seen.
        while self.state.swap(WANTED, Acquire) != FREE {
            if !system::sleep(&self.state, WANTED, deadline) {
                return None;
            }
        }
        self.has_favourite_gone(deadline)
    }

    /// With the mutex taken: dismisses the favourite and waits until it has gone, or gives the mutex back.
    fn has_favourite_gone(&self, deadline: Deadline) -> Option<Pass> {
        if self.favourite.load(Relaxed) != NOBODY {
            // ORDERING: Relaxed: the barrier follows, here and in all other threads.
            self.favourite.store(NOBODY, Relaxed);
            system::heavy_fence();
        }
        // ORDERING: Acquire: what the favourite did is seen.
        while self.is_in.load(Acquire) != 0 {
            if !system::sleep(&self.is_in, 1, deadline) {
                self.unlock();
                return None;
            }
        }
        Some(Pass::Anybody)
    }

    /// Whether somebody waits, or has waited.
    #[cfg(all(test, not(loom)))]
    pub(super) fn is_waited_for(&self) -> bool {
        let is_favourite_waited_for =
            self.favourite.load(Relaxed) == NOBODY && self.is_in.load(Relaxed) != 0;
        self.state.load(Relaxed) == WANTED || is_favourite_waited_for
    }

    #[inline(always)]
    fn unlock(&self) {
        // ORDERING: Release: the next one sees what was done here.
        if self.state.swap(FREE, Release) == WANTED {
            system::wake(&self.state);
        }
    }
}

#[cfg(all(test, loom))]
mod loom;
