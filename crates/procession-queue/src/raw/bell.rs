//! A bell: some sleep until it rings, and whoever has news rings it, if anybody may sleep.
//!
//! The word: in its upper half how often somebody came to sleep, in its lower half whether anybody may (bit 0) and how often it was
//! rung. One sleeps on the lower half. *Announce, look for news, sleep while the lower half is unchanged*; *make news, full fence,
//! look at the bit, count on, wake*: so no news is slept through. The bit stays while sleepers are found; whoever finds none
//! takes it away, unless somebody came meanwhile. A sleeper that is killed costs one vain wake-up.

use procession_sys::prim::Ordering::SeqCst;

use super::Word;

const MAY_SLEEP: u64 = 1;
const RUNG: u64 = 2;
const CAME: u64 = 1 << 32;
const LOW: u64 = u32::MAX as u64;

/// A bell in a word.
#[derive(Debug)]
pub(crate) struct Bell<'a, W>(pub(crate) &'a W);

impl<W> Clone for Bell<'_, W> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<W> Copy for Bell<'_, W> {}

impl<W: Word> Bell<'_, W> {
    /// Says that the caller is about to sleep; the value to sleep on, after it has looked once more.
    pub(crate) fn announce(self) -> u32 {
        loop {
            let old = self.0.load(SeqCst);
            let new = old.wrapping_add(CAME) | MAY_SLEEP;
            if self.0.exchange(old, new) {
                return u32::try_from(new & LOW).unwrap_or_default();
            }
        }
    }

    /// Whether anybody may sleep.
    #[inline]
    pub(crate) fn may_sleep(self) -> bool {
        self.0.load(SeqCst) & MAY_SLEEP != 0
    }

    /// Wakes one, if anybody may sleep. The caller's news is followed by a full fence already.
    #[inline(always)]
    pub(crate) fn ring(self) {
        if self.may_sleep() {
            self.ring_for(1);
        }
    }

    /// Wakes all.
    pub(crate) fn ring_for_all(self) {
        self.ring_for(u32::MAX);
    }

    #[cold]
    fn ring_for(self, most: u32) {
        loop {
            let old = self.0.load(SeqCst);
            if old & MAY_SLEEP == 0 {
                return;
            }
            // Who is about to sleep on the old value does not.
            let new = old & !LOW | old.wrapping_add(RUNG) & LOW;
            if !self.0.exchange(old, new) {
                continue;
            }
            let woken = self.0.wake(most);
            if woken == 0 || most == u32::MAX {
                // If it fails, somebody came, or rings.
                let _quiet = self.0.exchange(new, new & !MAY_SLEEP);
            }
            return;
        }
    }
}

#[cfg(all(test, loom))]
mod loom;
