//! How one waits for items, for room, and for the end.

use procession_core::waiting::{Slept, Spin, Wait};
use procession_core::{Deadline, Result};
use procession_sys::prim::AtomicU64;

use super::Attached;
use crate::raw::bell::Bell;

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waited {
    Look,
    TimedOut,
    /// Nobody is left who could end it.
    Alone,
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
