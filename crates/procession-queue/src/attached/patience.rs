//! How one waits for items, for room, and for the end.

use procession_core::waiting::{Slept, Spin, Wait};
use procession_core::{Deadline, Result};
use procession_sys::prim::Ordering::Relaxed;
use procession_sys::prim::{AtomicU32, AtomicU64};

use super::Attached;
use crate::raw::bell::Bell;
use crate::raw::stamp::Position;

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waited {
    Look,
    TimedOut,
    /// Nobody is left who could end it.
    Alone,
}

/// How a process waits for items when they come one after the other.
///
/// Who looks all the time takes each item as soon as it is there, and the line of the cache that the putter writes with it: both go at the pace of
/// the cache. Who lets some come together takes them at full speed. So now and then one waits longer before the first look, and does so
/// from then on if several items were there; an answer that is alone is worth nothing to wait for.
#[derive(Debug, Default)]
pub(super) struct Rhythm {
    /// The position at which the last wait began.
    last: AtomicU64,
    /// How many pauses there are before the first look.
    pauses: AtomicU32,
    waits: AtomicU32,
}

impl Rhythm {
    /// So many pauses are tried, about three microseconds.
    const LONG: u32 = 64;
    /// One of so many waits tries them.
    const TRY: u32 = 256;
    /// From so many items on it was worth it.
    const MANY: u64 = 8;

    /// How many pauses a wait begins with, at this position.
    // ORDERING: Relaxed: all of this is for speed. Threads share one rhythm.
    fn begin(&self, at: Position) -> u32 {
        let came = at.since(Position::new(self.last.load(Relaxed)));
        self.last.store(at.bits(), Relaxed);
        let waits = self.waits.load(Relaxed).wrapping_add(1);
        self.waits.store(waits, Relaxed);
        let pauses = match self.pauses.load(Relaxed) {
            _ if waits.is_multiple_of(Self::TRY) => Self::LONG,
            pauses if came >= Self::MANY => pauses,
            pauses => pauses / 8,
        };
        self.pauses.store(pauses, Relaxed);
        pauses
    }
}

/// One wait.
pub(super) struct Patience<'a> {
    queue: &'a Attached,
    spin: Spin,
    wait: Wait<'a>,
    deadline: Deadline,
}

impl<'a> Patience<'a> {
    pub(super) fn new(queue: &'a Attached, deadline: Deadline) -> Self {
        let (spin, wait) = (Spin::new(1), Wait::new(&queue.object, deadline));
        Self { queue, spin, wait, deadline }
    }

    /// For who gets.
    pub(super) fn of_getter(queue: &'a Attached, deadline: Deadline) -> Self {
        let this = Self::new(queue, deadline);
        let pauses = queue.rhythm.begin(queue.memory.taken());
        Self { spin: this.spin.beginning_with(pauses), ..this }
    }

    /// For who has time, and does not spin.
    pub(super) fn sleeping(queue: &'a Attached) -> Self {
        Self { spin: Spin::none(), ..Self::new(queue, Deadline::NEVER) }
    }

    /// Waits while it `is_waiting`, or longer than necessary, or not long enough.
    pub(super) fn wait(
        &mut self,
        bell: Bell<'_, AtomicU64>,
        owners: &dyn Fn() -> Vec<u16>,
        is_waiting: &dyn Fn() -> bool,
    ) -> Result<Waited> {
        if self.queue.settle(self.deadline)? {
            return Ok(Waited::Look);
        }
        if self.deadline == Deadline::PAST {
            return Ok(Waited::TimedOut);
        }
        while self.spin.turn() {
            if !is_waiting() {
                return Ok(Waited::Look);
            }
        }
        let expected = bell.announce();
        self.queue.memory.fence_for_sleep()?;
        if !is_waiting() {
            return Ok(Waited::Look);
        }
        // Who rings for a death has noted it before: it is seen now, or it rings after the announcement.
        if self.wait.is_armed() && self.queue.object.is_abandoned() {
            return self.alone(is_waiting);
        }
        match self.wait.sleep(bell.0, expected, owners)? {
            Slept::Look | Slept::Lost => Ok(Waited::Look),
            Slept::TimedOut => Ok(Waited::TimedOut),
            Slept::Abandoned => self.alone(is_waiting),
        }
    }

    /// Nobody else has the queue any more. What the last of them did before is seen now.
    fn alone(&self, is_waiting: &dyn Fn() -> bool) -> Result<Waited> {
        self.queue.settle(self.deadline)?;
        Ok(if is_waiting() { Waited::Alone } else { Waited::Look })
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn longer_waits_stay_while_items_come_together() {
        let rhythm = Rhythm::default();
        let mut at = 0;
        let mut wait = |came: u64| {
            at += came;
            rhythm.begin(Position::new(at))
        };
        // One by one, as answers come.
        let long = (1..=512).filter(|_| wait(1) == Rhythm::LONG).count();
        assert_eq!(long, 2);
        // The last one was long: many were there.
        assert!((0..1000).all(|_| wait(8) == Rhythm::LONG));
        assert_eq!([wait(2), wait(2), wait(2)], [8, 1, 0]);
    }
}
