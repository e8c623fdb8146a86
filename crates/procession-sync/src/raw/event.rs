//! The event word: whether it is set, how often it was, whether somebody sleeps.
//!
//! Upper half: the generation of the object. Lower half: bit 0 `SET`, bit 1 `SLEEPER`, bits 2 to 31 the epoch, which goes up by
//! one whenever the event is set.
//!
//! ```text
//!                  set: epoch + 1, wake all that slept
//!   clear (epoch n) --------------------------------> set (epoch n + 1)
//!         ^ <------------------ clear ---------------------/
//! ```
//!
//! A waiter remembers the epoch that it came in; it may go when the event is set, or when the epoch is another. So an event
//! that is set and cleared at once lets everybody go who was waiting, whether or not they have run in between.
//!
//! **Sleeping.** A waiter sets `SLEEPER` in a word that is clear, and sleeps as long as the word stays as it is. Setting clears the
//! bit and wakes all.
//!
//! **Death.** The state is one word, so nobody leaves it half changed. Who dies between setting and waking leaves sleepers: its
//! recoverer wakes all. A sleeper that dies takes nothing with it.
//!
//! **Orderings.** Setting is SeqCst (at least Release), looking is Acquire: who sees the event set sees what was done before.
//!
//! **Who may do what.** Everybody everything.

use procession_core::Result;
use procession_core::waiting::Slept;
use procession_sys::prim::Ordering::Acquire;

use super::Halt;
use crate::word::{Waiter, Word, low, nobody};

const SET: u32 = 1;
const SLEEPER: u32 = 2;
const EPOCH: u32 = 4;

/// An event, over a word of any kind.
#[derive(Debug)]
pub(crate) struct RawEvent<'a, W> {
    pub(crate) word: &'a W,
    pub(crate) generation: u32,
}

impl<W: Word> RawEvent<'_, W> {
    /// The value of the word of an event that was never set.
    pub(crate) fn clear_word(generation: u32) -> u64 {
        u64::from(generation) << 32
    }

    fn load(&self) -> Result<u64, Halt> {
        let word = self.word.load(Acquire);
        if word >> 32 == u64::from(self.generation) { Ok(word) } else { Err(Halt::Gone) }
    }

    fn with(word: u64, lower: u32) -> u64 {
        word & !u64::from(u32::MAX) | u64::from(lower)
    }

    pub(crate) fn is_set(&self) -> Result<bool, Halt> {
        Ok(low(self.load()?) & SET != 0)
    }

    /// Sets it; tells whether it was clear.
    pub(crate) fn set(&self) -> Result<bool, Halt> {
        loop {
            let word = self.load()?;
            let state = low(word);
            if state & SET != 0 {
                return Ok(false);
            }
            let set = (state & !SLEEPER).wrapping_add(EPOCH) | SET;
            if self.word.exchange(word, Self::with(word, set)).is_ok() {
                if state & SLEEPER != 0 {
                    self.word.wake(u32::MAX);
                }
                return Ok(true);
            }
        }
    }

    /// Clears it; tells whether it was set.
    pub(crate) fn clear(&self) -> Result<bool, Halt> {
        loop {
            let word = self.load()?;
            if low(word) & SET == 0 {
                return Ok(false);
            }
            if self.word.exchange(word, Self::with(word, low(word) & !SET)).is_ok() {
                return Ok(true);
            }
        }
    }

    /// Waits until it is set, or was in between.
    pub(crate) fn wait(&self, waiter: &mut impl Waiter<W>) -> Result<(), Halt> {
        let mut word = self.load()?;
        let epoch = low(word) / EPOCH;
        let may_go = |word: u64| low(word) & SET != 0 || low(word) / EPOCH != epoch;
        loop {
            if may_go(word) {
                return Ok(());
            }
            if !waiter.spin() {
                let sleeping = Self::with(word, low(word) | SLEEPER);
                if word == sleeping || self.word.exchange(word, sleeping).is_ok() {
                    let slept = waiter.sleep(self.word, low(sleeping), &nobody);
                    match slept.map_err(Halt::Failed)? {
                        Slept::Look | Slept::Lost => {}
                        _ if may_go(self.load()?) => {}
                        Slept::TimedOut => return Err(Halt::TimedOut),
                        Slept::Abandoned => return Err(Halt::Closed),
                    }
                }
            }
            word = self.load()?;
        }
    }
}

#[cfg(all(test, loom))]
mod loom;
#[cfg(all(test, not(loom)))]
mod tests;
