//! The barrier: which generation it is in, how many have arrived, what became of the generations before.
//!
//! One word. Lower half: bits 0 to 12 the *epoch*, the number of the generation; 13 to 28 the *history*, a bit for each of the
//! last 16 generations, one if it was reset or broken; 29 `SLEEPER`; 30 `BROKEN`; 31 `ACTING`. Upper half: bits 32 to 47 how many
//! have arrived; 48 to 63 the slot and one of the process that acts.
//!
//! ```text
//!                                        the last arrives, with an action
//!    arrive        the last arrives      ---------------> acting ---- it is done ---\
//!   +------+      -------------------------------------------------------------------v
//!   v      |     /                                                    the next epoch, nobody has arrived
//!   filling -----                                                                    ^
//!     |            abort, a deadline, a death, an action that fails                  |
//!     \---------------------------------------> broken ------- reset ---------------/   history + 1
//! ```
//!
//! A waiter remembers its epoch. While the word has that epoch it waits, or learns that it is broken; when the word has a
//! later one, the history says how its own ended. (More than 16 generations later that is forgotten, and it counts as passed:
//! it takes more callers than parties for a barrier to go on without one that waits.)
//!
//! **Sleeping.** A waiter sets `SLEEPER` and sleeps while the lower half stays as it is, which arrivals do not change. Whoever ends the
//! epoch, or breaks it, clears the bit and wakes all.
//!
//! **Death.** A process that had the barrier and dies will not arrive, or has not learned that it may pass: its recoverer breaks
//! the barrier, and wakes all. Who left in order breaks it only if it was acting. Who was killed before it had received the barrier
//! is missed by a sleeper, which sees that the message is gone.
//!
//! **Orderings.** Every change is a SeqCst exchange of the one word, loads are Acquire: what parties did before they arrived is
//! seen by all who pass.
//!
//! **Who may do what.** Everybody everything, but the end of an action: who acts.

use procession_core::Result;
use procession_core::waiting::Slept;
use procession_sys::prim::Ordering::Acquire;

use crate::word::{Waiter, Word, low, nobody};

const EPOCHS: u32 = (1 << 13) - 1;
const HISTORY: u32 = 13;
const HISTORIES: u32 = (1 << 16) - 1;
const SLEEPER: u32 = 1 << 29;
const BROKEN: u32 = 1 << 30;
const ACTING: u32 = 1 << 31;

/// The most parties.
pub(crate) const MOST: u16 = u16::MAX;

/// Why a barrier was not passed.
#[derive(Debug)]
pub(crate) enum Stopped {
    Broken,
    Failed(procession_core::Error),
}

/// How the caller has arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// As the last, and all may pass.
    Passed,
    /// As the last, and must act before all may pass.
    MustAct { epoch: u32 },
    /// As the one with this index, in this epoch.
    Waits { index: u16, epoch: u32 },
}

/// A barrier, over a word of any kind.
#[derive(Debug)]
pub(crate) struct RawBarrier<'a, W> {
    pub(crate) word: &'a W,
    pub(crate) parties: u16,
}

/// The word, apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fields {
    lower: u32,
    arrived: u16,
    actor: u16,
}

impl Fields {
    fn of(word: u64) -> Self {
        let field = |at: u32| u16::try_from(word >> at & 0xffff).unwrap_or_default();
        Self { lower: low(word), arrived: field(32), actor: field(48) }
    }

    fn to_bits(self) -> u64 {
        u64::from(self.lower) | u64::from(self.arrived) << 32 | u64::from(self.actor) << 48
    }

    fn epoch(self) -> u32 {
        self.lower & EPOCHS
    }

    fn has(self, flag: u32) -> bool {
        self.lower & flag != 0
    }

    /// The next epoch; `is_bad` says that nobody has passed in this one.
    fn next(self, is_bad: bool) -> Self {
        let epoch = (self.lower + 1) & EPOCHS;
        let history = (self.lower >> HISTORY << 1 | u32::from(is_bad)) & HISTORIES;
        Self { lower: epoch | history << HISTORY, arrived: 0, actor: 0 }
    }

    fn broken(self) -> Self {
        Self { lower: self.lower & !(ACTING | SLEEPER) | BROKEN, actor: 0, ..self }
    }
}

impl<W: Word> RawBarrier<'_, W> {
    fn load(&self) -> Fields {
        Fields::of(self.word.load(Acquire))
    }

    fn change(&self, from: Fields, to: Fields) -> bool {
        self.word.exchange(from.to_bits(), to.to_bits()).is_ok()
    }

    /// As [`change`](Self::change), to something that those who sleep wait for.
    fn change_and_wake(&self, from: Fields, to: Fields) -> bool {
        let is_changed = self.change(from, to);
        if is_changed && from.has(SLEEPER) {
            self.word.wake(u32::MAX);
        }
        is_changed
    }

    /// Arrives. The last one, in slot `me`, has to act first if `acts`.
    pub(crate) fn arrive(
        &self,
        me: u16,
        acts: bool,
        waiter: &mut impl Waiter<W>,
    ) -> Result<Arrival, Stopped> {
        loop {
            let now = self.load();
            if now.has(BROKEN) {
                return Err(Stopped::Broken);
            }
            if now.has(ACTING) {
                // More callers than parties: this is the next generation's.
                match self.pause(now, waiter)? {
                    Slept::TimedOut => return Err(Stopped::Broken),
                    _ => continue,
                }
            }
            let index = now.arrived;
            let epoch = now.epoch();
            if index + 1 < self.parties {
                if self.change(now, Fields { arrived: index + 1, ..now }) {
                    return Ok(Arrival::Waits { index, epoch });
                }
            } else if acts {
                let acting =
                    Fields { lower: now.lower | ACTING, arrived: self.parties, actor: me + 1 };
                if self.change(now, acting) {
                    return Ok(Arrival::MustAct { epoch });
                }
            } else if self.change_and_wake(now, now.next(false)) {
                return Ok(Arrival::Passed);
            }
        }
    }

    /// Lets all pass once the caller has acted.
    pub(crate) fn finish(&self, epoch: u32) -> Result<(), Stopped> {
        loop {
            let now = self.load();
            if now.epoch() != epoch || !now.has(ACTING) {
                return Err(Stopped::Broken);
            }
            if self.change_and_wake(now, now.next(false)) {
                return Ok(());
            }
        }
    }

    /// Waits for the others of `epoch`.
    pub(crate) fn wait(&self, epoch: u32, waiter: &mut impl Waiter<W>) -> Result<(), Stopped> {
        loop {
            let now = self.load();
            if now.epoch() != epoch {
                let later = now.epoch().wrapping_sub(epoch) & EPOCHS;
                let was_bad = later <= 16 && now.lower >> (HISTORY + later - 1) & 1 == 1;
                return if was_bad { Err(Stopped::Broken) } else { Ok(()) };
            }
            if now.has(BROKEN) {
                return Err(Stopped::Broken);
            }
            match self.pause(now, waiter)? {
                // Those who died have broken it.
                Slept::Look | Slept::Abandoned => {}
                // One will not come.
                Slept::TimedOut | Slept::Lost => self.break_epoch(epoch),
            }
        }
    }

    /// Spins or sleeps while nothing happens.
    fn pause(&self, now: Fields, waiter: &mut impl Waiter<W>) -> Result<Slept, Stopped> {
        let sleeping = Fields { lower: now.lower | SLEEPER, ..now };
        if waiter.spin() || now != sleeping && !self.change(now, sleeping) {
            return Ok(Slept::Look);
        }
        waiter.sleep(self.word, sleeping.lower, &nobody).map_err(Stopped::Failed)
    }

    /// Breaks it, if it is in `epoch` still.
    pub(crate) fn break_epoch(&self, epoch: u32) {
        loop {
            let now = self.load();
            let is_over = now.epoch() != epoch || now.has(BROKEN);
            if is_over || self.change_and_wake(now, now.broken()) {
                return;
            }
        }
    }

    /// Breaks it, in whichever epoch it is: it is broken when this returns, until somebody resets it.
    pub(crate) fn abort(&self) {
        loop {
            let now = self.load();
            if now.has(BROKEN) || self.change_and_wake(now, now.broken()) {
                return;
            }
        }
    }

    /// Begins anew; those who wait learn that it was broken.
    pub(crate) fn reset(&self) {
        loop {
            let now = self.load();
            let is_new = now.arrived == 0 && !now.has(BROKEN | ACTING);
            if is_new || self.change_and_wake(now, now.next(true)) {
                return;
            }
        }
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.load().has(BROKEN)
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> u16 {
        let now = self.load();
        if now.has(BROKEN | ACTING) { 0 } else { now.arrived }
    }

    /// For the recoverer of the process in slot `dead`, which had the barrier.
    pub(crate) fn recover(&self, dead: u16, has_left: bool) {
        loop {
            let now = self.load();
            let acted = now.has(ACTING) && now.actor == dead + 1;
            let is_over = now.has(BROKEN) || has_left && !acted;
            if is_over || self.change_and_wake(now, now.broken()) {
                return;
            }
        }
    }

    pub(crate) fn wake_all(&self) {
        self.word.wake(u32::MAX);
    }
}

#[cfg(all(test, loom))]
mod loom;
#[cfg(all(test, not(loom)))]
mod tests;
