//! A bell: some sleep until it rings, and whoever has news rings it, if anybody may sleep.
//!
//! The word: in its lower half whether anybody may (bit 0) and how often it was rung; in its upper half how often somebody came to sleep (48 to
//! 63), and how many of these are known to be awake (32 to 47). One sleeps on the lower half. *Announce, look for news, sleep while the lower
//! half is unchanged*; *make news, full fence, look at the bit, count on, wake*: so no news is slept through.
//!
//! What lies between the two numbers is at least how many sleep: who came and did not sleep after all is among them. Whoever is going to wake one
//! takes one off, and the bit away with the last, so that the next news costs no vain call of the system; whoever then finds none takes them
//! all off, unless somebody came meanwhile. A sleeper that is killed costs one vain call.

use procession_sys::futex;
use procession_sys::prim::AtomicU64;
use procession_sys::prim::Ordering::{self, Acquire, SeqCst};

/// A word of 64 bits that processes share, on whose lower half one can sleep.
pub trait Word {
    /// As the atomic's.
    fn load(&self, ordering: Ordering) -> u64;
    /// As the atomic's.
    fn store(&self, value: u64, ordering: Ordering);
    /// ORDERING: SeqCst on success: a change publishes what its maker did before to whoever makes the next one, or loads it with
    /// Acquire; and it comes before the maker's SeqCst loads of other words.
    fn exchange(&self, from: u64, to: u64) -> bool;
    /// Wakes at most `most` of those who sleep on the word; tells how many.
    fn wake(&self, most: u32) -> usize;
}

impl Word for AtomicU64 {
    #[inline(always)]
    fn load(&self, ordering: Ordering) -> u64 {
        self.load(ordering)
    }

    #[inline(always)]
    fn store(&self, value: u64, ordering: Ordering) {
        self.store(value, ordering);
    }

    #[inline(always)]
    fn exchange(&self, from: u64, to: u64) -> bool {
        self.compare_exchange(from, to, SeqCst, Acquire).is_ok()
    }

    fn wake(&self, most: u32) -> usize {
        // There is no way for this to fail on a word that is mapped.
        futex::wake_low(self, most).unwrap_or_default()
    }
}

const MAY_SLEEP: u64 = 1;
const RUNG: u64 = 2;
const LOW: u64 = u32::MAX as u64;
const CAME_AT: u32 = 48;
const AWAKE_AT: u32 = 32;
const NUMBER: u64 = u16::MAX as u64;

/// How many may sleep.
fn asleep(word: u64) -> u64 {
    (word >> CAME_AT).wrapping_sub(word >> AWAKE_AT & NUMBER) & NUMBER
}

/// The word when so many more are known to be awake, of all that came.
fn woken(word: u64, count: u64) -> u64 {
    let awake = (word >> AWAKE_AT & NUMBER).wrapping_add(count) & NUMBER;
    let word = word & !(NUMBER << AWAKE_AT) | awake << AWAKE_AT;
    if asleep(word) == 0 { word & !MAY_SLEEP } else { word }
}

/// The word when one more is coming.
fn come(word: u64) -> u64 {
    match asleep(word) {
        // Nobody counts so far. The word changes all the same.
        NUMBER => rung(word),
        _ => word.wrapping_add(1 << CAME_AT) | MAY_SLEEP,
    }
}

/// The word when it was rung once more.
fn rung(word: u64) -> u64 {
    word & !LOW | word.wrapping_add(RUNG) & LOW
}

/// A bell in a word.
#[derive(Debug)]
pub struct Bell<'a, W>(pub &'a W);

impl<W> Clone for Bell<'_, W> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<W> Copy for Bell<'_, W> {}

impl<W: Word> Bell<'_, W> {
    /// Says that the caller is about to sleep; the value to sleep on, after it has looked once more.
    pub fn announce(self) -> u32 {
        loop {
            let old = self.0.load(SeqCst);
            let new = come(old);
            if self.0.exchange(old, new) {
                return u32::try_from(new & LOW).unwrap_or_default();
            }
        }
    }

    /// Whether anybody may sleep.
    #[inline]
    pub fn may_sleep(self) -> bool {
        self.0.load(SeqCst) & MAY_SLEEP != 0
    }

    /// Wakes one, if anybody may sleep. The caller's news is followed by a full fence already.
    #[inline(always)]
    pub fn ring(self) {
        if self.may_sleep() {
            self.ring_for(1);
        }
    }

    /// Wakes all.
    pub fn ring_for_all(self) {
        self.ring_for(u32::MAX);
    }

    #[cold]
    fn ring_for(self, most: u32) {
        loop {
            let old = self.0.load(SeqCst);
            if old & MAY_SLEEP == 0 {
                return;
            }
            // Who is about to sleep on the old value does not. Whom this wakes is taken off before, and not afterwards: meanwhile others
            // may find nobody and take all off, and he may come again.
            let rings_for = if most == 1 { 1 } else { asleep(old) };
            let new = woken(rung(old), rings_for);
            if !self.0.exchange(old, new) {
                continue;
            }
            if self.0.wake(most) == 0 {
                // If it fails, somebody came, or rings.
                let _quiet = self.0.exchange(new, woken(new, asleep(new)));
            }
            return;
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn who_came_is_counted_round_the_end_of_the_numbers() {
        let mut word = 0;
        for _ in 0..200_000 {
            word = come(come(word));
            assert_eq!((asleep(word), word & MAY_SLEEP), (2, MAY_SLEEP));
            word = woken(rung(word), 1);
            assert_eq!((asleep(word), word & MAY_SLEEP), (1, MAY_SLEEP));
            word = woken(rung(word), 1);
            assert_eq!((asleep(word), word & MAY_SLEEP), (0, 0));
        }
    }

    #[test]
    fn more_than_can_be_counted_change_the_word_and_are_not_forgotten() {
        let mut word = 0;
        for _ in 0..70_000 {
            let next = come(word);
            assert_ne!(next, word);
            word = next;
        }
        assert_eq!((asleep(word), word & MAY_SLEEP), (NUMBER, MAY_SLEEP));
        assert_eq!(woken(word, asleep(word)) & MAY_SLEEP, 0);
    }
}
