//! The lock word: who owns it, whether somebody sleeps for it.
//!
//! ```text
//!            take                               the owner dies, its recoverer finds it
//!   free -----------------> owned by (process, thread) ------------------> dead
//!    ^ <---- unlock ------/       ^ \                                       |
//!                                 |  \--- unlock by an owner that was told -> |
//!                                 \--------- take, and be told -------------/
//! ```
//!
//! Upper half: the generation of the object; it never changes, so that a handle to an object that is gone fails in the same
//! exchange that takes the lock. Lower half: bit 31 says that somebody may sleep; the rest is the owner's [`Stamp`], nobody's
//! or [`Stamp::DEAD`]. A second word, `armed`, is not zero when a sleeper observes the owner.
//!
//! **Sleeping.** A waiter sets bit 31, sleeps as long as the word stays as it is, and takes the lock, once it has slept, with the
//! bit set, because it does not know whether it was the only one. Whoever unlocks a word with the bit clears it and wakes one.
//!
//! **Death of the owner.** Its recoverer exchanges its stamp for `DEAD` and wakes one; which bit 31 had is not needed then.
//!
//! **Death of a waiter** that was woken: the wake-up is lost with it, and others may sleep. Its recoverer wakes one more of
//! every lock that it had a handle to, whatever the word says.
//!
//! **Who observes whom.** A sleeper that is armed observes the owner that it saw. The owner can change while it sleeps:
//! * by way of a waiter, which was woken or was spinning and did not take the fast path: it sees `armed`, clears it and wakes one
//!   more, which sees the new owner and observes that;
//! * by the fast path: that needs a word without bit 31, so somebody has unlocked it and woken one, and that one will see
//!   the new owner, set the bit, and observe.
//!
//! A waiter that goes without the lock, at its deadline or over an error, may be the only one that observes the owner, or the one
//! that was to: it does what a waiter does that takes it, so another looks in its place.
//!
//! **Orderings.** Every change is AcqRel, or Acquire on taking and Release on unlocking: taking reads what unlocking wrote.
//! `armed` is SeqCst on both sides: the waiter sets it and then looks at the word; who takes the lock changes the word and then
//! looks at `armed`; one of them sees the other.
//!
//! **Who may do what.** Take: anybody. Unlock: the owner, or whoever asks for it in so many words
//! ([`release`](RawLock::release)). `DEAD`: the recoverer of the dead owner, and an owner that was told and does not repair.

use procession_core::Result;
use procession_core::waiting::Slept;
use procession_sys::prim::Ordering::{Acquire, SeqCst};

use crate::owner::Stamp;
use crate::word::{Waiter, Word, low};

/// Somebody may sleep.
const SLEEPER: u32 = 1 << 31;

/// How a lock was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    Clean,
    /// Its owner before died.
    AfterDeath,
}

/// Why a lock was not taken.
#[derive(Debug)]
pub(crate) enum Refused {
    TimedOut,
    /// The object is not there any more.
    Gone,
    Failed(procession_core::Error),
}

/// A lock, over words of any kind.
#[derive(Debug)]
pub(crate) struct RawLock<'a, W> {
    pub(crate) word: &'a W,
    pub(crate) armed: &'a W,
    pub(crate) generation: u32,
}

impl<W: Word> RawLock<'_, W> {
    /// The value of the word when it is free and nobody sleeps.
    #[inline]
    pub(crate) fn free(generation: u32) -> u64 {
        u64::from(generation) << 32
    }

    #[inline]
    fn with(&self, stamp: Stamp) -> u64 {
        Self::free(self.generation) | u64::from(stamp.bits())
    }

    fn is_ours(&self, word: u64) -> bool {
        word >> 32 == u64::from(self.generation)
    }

    /// Takes it for `me` if nobody has it or wants it.
    #[inline]
    pub(crate) fn take_free(&self, me: Stamp) -> bool {
        self.word.exchange(Self::free(self.generation), self.with(me)).is_ok()
    }

    /// Takes it for `me` if nobody has it.
    pub(crate) fn try_take(&self, me: Stamp) -> Result<Taken, Refused> {
        let mut word = self.word.load(Acquire);
        loop {
            if !self.is_ours(word) {
                return Err(Refused::Gone);
            }
            let Some(taken) = can_take(word) else { return Err(Refused::TimedOut) };
            let sleeper = u64::from(low(word) & SLEEPER);
            match self.word.exchange(word, self.with(me) | sleeper) {
                Ok(()) => {
                    self.hand_on_the_watch();
                    return Ok(taken);
                }
                Err(now) => word = now,
            }
        }
    }

    /// Takes it for `me`, waiting as `waiter` does.
    pub(crate) fn take(&self, me: Stamp, waiter: &mut impl Waiter<W>) -> Result<Taken, Refused> {
        let mut has_slept = false;
        loop {
            let word = self.word.load(Acquire);
            if !self.is_ours(word) {
                return Err(Refused::Gone);
            }
            if let Some(taken) = can_take(word) {
                let sleeper = if has_slept { SLEEPER } else { low(word) & SLEEPER };
                if self.word.exchange(word, self.with(me) | u64::from(sleeper)).is_ok() {
                    self.hand_on_the_watch();
                    return Ok(taken);
                }
                continue;
            }
            if !has_slept && waiter.spin() {
                continue;
            }
            let sleeping = word | u64::from(SLEEPER);
            if word != sleeping && self.word.exchange(word, sleeping).is_err() {
                continue;
            }
            let owner = || Stamp::from_bits(low(word)).slot().into_iter().collect();
            if waiter.is_armed() {
                self.armed.store(1, SeqCst);
                if self.word.load(SeqCst) != sleeping {
                    continue;
                }
            }
            let refused = match waiter.sleep(self.word, low(sleeping), &owner) {
                // Threads of this process may have it when all others are gone.
                Ok(Slept::Look | Slept::Abandoned | Slept::Lost) => {
                    has_slept = true;
                    continue;
                }
                Ok(Slept::TimedOut) => Refused::TimedOut,
                Err(error) => Refused::Failed(error),
            };
            self.hand_on_the_watch();
            return Err(refused);
        }
    }

    /// Called by who has taken the lock otherwise than by the fast path, and by who has slept and goes without it: those that
    /// sleep may observe an owner before this one.
    fn hand_on_the_watch(&self) {
        if self.armed.load(SeqCst) != 0 {
            self.armed.store(0, SeqCst);
            self.word.wake(1);
        }
    }

    /// Unlocks it if `me` owns it and nobody sleeps.
    #[inline]
    pub(crate) fn unlock_quiet(&self, me: Stamp) -> bool {
        self.word.exchange(self.with(me), Self::free(self.generation)).is_ok()
    }

    /// Unlocks it if `me` owns it; as `after`, which is nobody or dead. Tells whether it did.
    pub(crate) fn unlock(&self, me: Stamp, after: Stamp) -> bool {
        self.change_owner(|owner| owner == me, after)
    }

    /// Unlocks it whoever owns it; `false` when nobody does.
    pub(crate) fn release(&self) -> bool {
        self.change_owner(|owner| owner.slot().is_some(), Stamp::NOBODY)
    }

    /// Notes that the process in slot `dead` is dead. For its recoverer, who wakes one after that.
    pub(crate) fn recover(&self, dead: u16) {
        self.change_owner(|owner| owner.slot() == Some(dead), Stamp::DEAD);
    }

    fn change_owner(&self, from: impl Fn(Stamp) -> bool, to: Stamp) -> bool {
        let mut word = self.word.load(Acquire);
        loop {
            if !self.is_ours(word) || !from(Stamp::from_bits(low(word))) {
                return false;
            }
            match self.word.exchange(word, self.with(to)) {
                Ok(()) => {
                    if low(word) & SLEEPER != 0 {
                        self.word.wake(1);
                    }
                    return true;
                }
                Err(now) => word = now,
            }
        }
    }

    /// Who owns it.
    pub(crate) fn owner(&self) -> Stamp {
        Stamp::from_bits(low(self.word.load(Acquire)))
    }
}

/// How the lock can be taken when its word is this; not at all while somebody owns it.
fn can_take(word: u64) -> Option<Taken> {
    match Stamp::from_bits(low(word)) {
        Stamp::NOBODY => Some(Taken::Clean),
        Stamp::DEAD => Some(Taken::AfterDeath),
        _ => None,
    }
}

#[cfg(all(test, loom))]
mod loom;
#[cfg(all(test, not(loom)))]
mod tests;
