//! Who owns something, in 31 bits: a process of the family and a thread of it.

use std::cell::Cell;
use std::fmt;

use procession_core::family::{Family, ProcessId};
use procession_sys::prim::AtomicU64;
use procession_sys::prim::Ordering::Relaxed;

/// Bits for the number of a thread.
const THREAD: u32 = 15;
const THREADS: u16 = 1 << THREAD;

/// The number of a process and a thread: the process's slot and one, the thread's number. Zero is nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp(u32);

impl Stamp {
    pub(crate) const NOBODY: Self = Self(0);
    /// Whoever it was is dead. No slot has this number.
    pub(crate) const DEAD: Self = Self(0xffff << THREAD);
    /// All bits of a stamp.
    pub(crate) const MASK: u32 = (1 << 31) - 1;

    /// A thread of this process. Number zero stands for any.
    #[inline]
    pub(crate) fn new(process: ProcessId, thread: u16) -> Self {
        Self((u32::from(process.slot) + 1) << THREAD | u32::from(thread))
    }

    pub(crate) fn from_bits(bits: u32) -> Self {
        Self(bits & Self::MASK)
    }

    #[inline]
    pub(crate) fn bits(self) -> u32 {
        self.0
    }

    /// The slot of the process, if it is one that is not known to be dead.
    #[inline]
    pub(crate) fn slot(self) -> Option<u16> {
        let slot = u16::try_from((self.0 >> THREAD).checked_sub(1)?).ok()?;
        (self.0 >> THREAD != 0xffff).then_some(slot)
    }

    fn thread(self) -> u16 {
        u16::try_from(self.0 & (u32::from(THREADS) - 1)).unwrap_or_default()
    }
}

/// Who has a lock, for display: by the time that it is looked at, it may be another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Owner {
    /// The process, in the family.
    pub process: ProcessId,
    /// Its process number.
    pub pid: u32,
    /// Whether it is this process.
    pub is_this_process: bool,
    /// Whether it is the calling thread.
    pub is_this_thread: bool,
}

impl Owner {
    pub(crate) fn of(stamp: Stamp, family: &'static Family) -> Option<Self> {
        let process = family.in_slot(stamp.slot()?)?;
        let is_this_process = family.is_me(process.slot);
        let is_this_thread = is_this_process && Some(stamp.thread()) == thread();
        Some(Self { process, pid: family.pid_of(process)?, is_this_process, is_this_thread })
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.is_this_process, self.is_this_thread) {
            (_, true) => f.write_str("this thread"),
            (true, false) => f.write_str("another thread of this process"),
            (false, false) => write!(f, "process {}", self.pid),
        }
    }
}

/// The numbers of threads that are in use, a bit for each. Atomics rather than a lock, so that forks find them whole.
static USED: [AtomicU64; THREADS as usize / 64] =
    [const { AtomicU64::new(0) }; THREADS as usize / 64];

thread_local! {
    /// This thread's number; zero until it is needed.
    static NUMBER: Cell<u16> = const { Cell::new(0) };
    /// How many recursive locks this thread has.
    static HELD: Cell<u32> = const { Cell::new(0) };
    /// Gives the number back when the thread ends.
    static RETURN: Return = const { Return };
}

struct Return;

impl Drop for Return {
    fn drop(&mut self) {
        let number = NUMBER.replace(0);
        // A thread that ends with a recursive lock keeps its number: another must not be taken for the owner.
        if number != 0 && HELD.get() == 0 {
            USED[usize::from(number) / 64].fetch_and(!(1 << (number % 64)), Relaxed);
        }
    }
}

/// The number of this thread, from 1 to 32,767: no two that are alive in a process have the same. `None` when there are more.
#[inline]
pub(crate) fn thread() -> Option<u16> {
    match NUMBER.get() {
        0 => take_number(),
        number => Some(number),
    }
}

#[cold]
fn take_number() -> Option<u16> {
    let number = (1..THREADS).find(|number| {
        let (word, bit) = (&USED[usize::from(*number) / 64], 1 << (number % 64));
        // ORDERING: Relaxed: the number stands for itself.
        word.load(Relaxed) & bit == 0 && word.fetch_or(bit, Relaxed) & bit == 0
    })?;
    // At the very end of a thread there is nothing left to give it back; then it stays taken.
    let _given_back = RETURN.try_with(|_| ());
    NUMBER.set(number);
    Some(number)
}

/// Counts the recursive locks that this thread has.
#[inline]
pub(crate) fn count_held(change: i32) {
    HELD.set(HELD.get().saturating_add_signed(change));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_name_process_and_thread() {
        let process = ProcessId { slot: 4095, generation: 7 };
        let stamp = Stamp::new(process, 32_767);
        assert_eq!(stamp.slot(), Some(4095));
        assert_eq!(stamp.thread(), 32_767);
        assert_eq!(Stamp::from_bits(stamp.bits() | 1 << 31), stamp);
        assert_eq!(Stamp::NOBODY.slot(), None);
        assert_eq!(Stamp::DEAD.slot(), None);
        assert_ne!(Stamp::new(ProcessId { slot: 0, generation: 0 }, 0), Stamp::NOBODY);
    }

    #[test]
    fn threads_have_numbers_that_others_get_when_they_have_ended() {
        let here = thread().unwrap();
        assert_eq!(thread(), Some(here));
        let there = std::thread::spawn(|| thread().unwrap()).join().unwrap();
        assert_ne!(there, here);
        let holder = std::thread::spawn(|| {
            count_held(1);
            thread().unwrap()
        });
        let held = holder.join().unwrap();
        let many: Vec<_> =
            (0..200).map(|_| std::thread::spawn(|| thread().unwrap()).join().unwrap()).collect();
        assert!(!many.contains(&held) && !many.contains(&here));
    }
}
