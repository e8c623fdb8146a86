//! The condition: who waits, in which order, and who was notified.
//!
//! Two words, and a row of *slots*, one for each waiter. The words: the next ticket; the reach, one more than the highest slot
//! that was ever used. A slot: bits 0 and 1 its state, bits 2 to 31 the ticket, from bit 32 on the waiter's process slot and one.
//!
//! ```text
//!            wait (has the lock)           notify (has the lock), oldest ticket first
//!   FREE -------------------------> WAITING -----------------------------------------> NOTIFIED
//!    ^ <------- timed out, died -----/                                                   |
//!    \ <--------- has the lock again; or died, once another was notified instead --------/
//! ```
//!
//! Waiting is: take a slot; unlock; sleep on the slot while it is `WAITING`; lock; free the slot. So a notification is a
//! waiter's alone: no other takes it, none is spurious, and who times out either was notified or was not.
//!
//! **Death of a waiter.** Its recoverer frees its slot when it is `WAITING`. When it is `NOTIFIED`, the process may not have acted on
//! that, because it did not have the lock again: the recoverer notifies the oldest other waiter, and then frees the slot.
//! (Dying in between, it leaves the slot to the next recoverer, which notifies one more: a wake-up too many, not too few.)
//!
//! **Death of a notifier** between notifying and waking, which it does once it has unlocked: its recoverer wakes all who are
//! notified. **Death of an owner** of the lock at any other point leaves slots that are each in one of the states above.
//!
//! **Orderings.** The lock orders waiters and notifiers; what happens without it (timing out, recovery) is one exchange of one slot.
//!
//! **Who may do what.** Ticket, reach, `FREE` to `WAITING`, `WAITING` to `NOTIFIED`: who has the lock (as exchanges all the same, so that
//! a lock that was released behind its owner's back does no more harm than that). `WAITING` to `FREE`, `NOTIFIED` to `FREE`: the waiter,
//! or its recoverer, who may notify as well.

use procession_core::Result;
use procession_core::waiting::Slept;
use procession_sys::prim::Ordering::Acquire;

use super::Halt;
use crate::word::{Waiter, Word, low, nobody};

const STATE: u32 = 3;
const FREE: u32 = 0;
const WAITING: u32 = 1;
const NOTIFIED: u32 = 2;
const TICKET: u32 = 2;
const TICKETS: u32 = u32::MAX >> TICKET;

/// A condition, over words of any kind.
#[derive(Debug)]
pub(crate) struct RawCondition<'a, W> {
    pub(crate) ticket: &'a W,
    pub(crate) reach: &'a W,
    /// The slots; the second row follows the first, and may not be there yet.
    pub(crate) slots: &'a [W],
    pub(crate) more: &'a [W],
}

impl<'a, W: Word> RawCondition<'a, W> {
    fn used(&self) -> impl Iterator<Item = &'a W> {
        let reach = usize::try_from(self.reach.load(Acquire)).unwrap_or(usize::MAX);
        self.slots.iter().chain(self.more).take(reach)
    }

    /// Takes a slot for a waiter of the process in slot `me`. Nothing when there is none.
    pub(crate) fn enter(&self, me: u16) -> Option<&'a W> {
        let ticket = self.next_ticket();
        let waiting = u64::from(me + 1) << 32 | u64::from(ticket << TICKET | WAITING);
        for (reach, slot) in (1u64..).zip(self.slots.iter().chain(self.more)) {
            // The look first: an exchange takes the line from whoever spins on it.
            if slot.load(Acquire) == 0 {
                // Reached first: dying in between leaves a slot too many to look at, and none that recovery passes over.
                self.extend_to(reach);
                if slot.exchange(0, waiting).is_ok() {
                    return Some(slot);
                }
            }
        }
        None
    }

    fn extend_to(&self, reach: u64) {
        loop {
            let now = self.reach.load(Acquire);
            if now >= reach || self.reach.exchange(now, reach).is_ok() {
                return;
            }
        }
    }

    fn next_ticket(&self) -> u32 {
        loop {
            let now = self.ticket.load(Acquire);
            if self.ticket.exchange(now, now.wrapping_add(1)).is_ok() {
                return low(now) & TICKETS;
            }
        }
    }

    /// Waits in `slot` to be notified. On any error the slot is free again; otherwise it is the caller's to
    /// [leave](Self::leave).
    pub(crate) fn wait(slot: &W, waiter: &mut impl Waiter<W>) -> Result<(), Halt> {
        loop {
            let word = slot.load(Acquire);
            if low(word) & STATE != WAITING {
                return Ok(());
            }
            if waiter.spin() {
                continue;
            }
            let halt = match waiter.sleep(slot, low(word), &nobody) {
                Ok(Slept::Look | Slept::Lost) => continue,
                Ok(Slept::TimedOut) => Halt::TimedOut,
                Ok(Slept::Abandoned) => Halt::Closed,
                Err(error) => Halt::Failed(error),
            };
            // Unless it was notified this moment.
            if slot.exchange(word, 0).is_ok() {
                return Err(halt);
            }
        }
    }

    /// Gives back the slot of a waiter that was notified and has the lock again, or that does not wait after all.
    pub(crate) fn leave(slot: &W) {
        // Who does not wait may be notified this moment.
        while slot.exchange(slot.load(Acquire), 0).is_err() {}
    }

    /// Notifies the waiter that has waited longest; tells its slot's number.
    pub(crate) fn notify_one(&self) -> Option<usize> {
        loop {
            let next = low(self.ticket.load(Acquire));
            let age = |word: u64| next.wrapping_sub(low(word) >> TICKET) & TICKETS;
            let waiting = self.used().enumerate().filter_map(|(number, slot)| {
                let word = slot.load(Acquire);
                (low(word) & STATE == WAITING).then_some((age(word), word, slot, number))
            });
            let (_, word, oldest, number) = waiting.max_by_key(|(age, ..)| *age)?;
            if oldest.exchange(word, notified(word)).is_ok() {
                return Some(number);
            }
        }
    }

    /// Notifies all who wait; tells how many.
    pub(crate) fn notify_all(&self) -> usize {
        self.used()
            .filter(|slot| {
                let word = slot.load(Acquire);
                low(word) & STATE == WAITING && slot.exchange(word, notified(word)).is_ok()
            })
            .count()
    }

    /// The slot with this number.
    fn slot(&self, number: usize) -> Option<&'a W> {
        self.slots.iter().chain(self.more).nth(number)
    }

    /// Wakes who sleeps in the slot with this number.
    pub(crate) fn wake_one(&self, number: usize) {
        if let Some(slot) = self.slot(number) {
            slot.wake(1);
        }
    }

    /// Wakes all who were notified: some may be awake.
    pub(crate) fn wake_notified(&self) {
        for slot in self.used() {
            if low(slot.load(Acquire)) & STATE == NOTIFIED {
                slot.wake(1);
            }
        }
    }

    /// Wakes all who sleep.
    pub(crate) fn wake_all(&self) {
        for slot in self.used() {
            if low(slot.load(Acquire)) & STATE != FREE {
                slot.wake(1);
            }
        }
    }

    /// How many wait and were not notified.
    pub(crate) fn waiting(&self) -> usize {
        self.used().filter(|slot| low(slot.load(Acquire)) & STATE == WAITING).count()
    }

    /// Frees the slots of the process in slot `dead`.
    pub(crate) fn recover(&self, dead: u16) {
        for slot in self.used() {
            loop {
                let word = slot.load(Acquire);
                if word >> 32 != u64::from(dead) + 1 {
                    break;
                }
                let is_waiting = low(word) & STATE == WAITING;
                if is_waiting && slot.exchange(word, 0).is_err() {
                    // Somebody has notified it.
                    continue;
                }
                if !is_waiting {
                    self.notify_instead(dead);
                    let _nobody_else_frees_it = slot.exchange(word, 0);
                }
                break;
            }
        }
    }

    /// Notifies a waiter that does not belong to the process in slot `dead`.
    fn notify_instead(&self, dead: u16) {
        while let Some(slot) = self.notify_one().and_then(|number| self.slot(number)) {
            if slot.load(Acquire) >> 32 != u64::from(dead) + 1 {
                slot.wake(1);
                return;
            }
            // One of the dead as well. Its turn in `recover` would notify another one; this does it.
            let _nobody_else_frees_it = slot.exchange(slot.load(Acquire), 0);
        }
    }
}

fn notified(word: u64) -> u64 {
    word ^ u64::from(WAITING ^ NOTIFIED)
}

#[cfg(all(test, loom))]
mod loom;
#[cfg(all(test, not(loom)))]
mod tests;
