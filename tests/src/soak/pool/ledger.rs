//! The ledger: shared words in which workers write what they do, so that it is known whatever becomes of them.
//!
//! A task's word says how often its function was called (bits 0 to 15), how often it came to its end (16 to 31), and in which process it was
//! called last (32 to 63). Whoever calls it writes that down first.

use std::os::fd::OwnedFd;

use procession::{Handle, Result};
use procession_sys::fd;
use procession_sys::memory::SharedWords;
use procession_sys::prim::{AtomicU64, Ordering::SeqCst};
use serde::{Deserialize, Serialize};

/// Where things stand, in words.
const STARTS: usize = 0;
const CALLS: usize = 1;
const LAST: usize = 2;
const TASKS: usize = 8;

const ENDED: u64 = 1 << 16;
const COUNT: u64 = ENDED - 1;

#[derive(Debug)]
pub(super) struct Ledger(SharedWords);

/// The same, on its way.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Sent(Handle<OwnedFd>);

/// What is known of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) begun: u32,
    pub(super) ended: u32,
    /// Where it was called last.
    pub(super) pid: u32,
}

impl Ledger {
    pub(super) fn new(tasks: usize) -> Self {
        Self(SharedWords::create(TASKS + tasks).expect("memory"))
    }

    pub(super) fn send(&self) -> Sent {
        Sent(Handle(fd::duplicate(&self.0).expect("a descriptor")))
    }

    pub(super) fn open(Sent(words): Sent) -> Result<Self> {
        Ok(Self(SharedWords::open(words.into_inner())?))
    }

    fn task(&self, item: usize) -> &AtomicU64 {
        self.0.word(TASKS + item)
    }

    /// A worker has come; tells how many came before it.
    pub(super) fn start(&self) -> u64 {
        self.0.word(STARTS).fetch_add(1, SeqCst)
    }

    /// How many workers have come.
    pub(super) fn starts(&self) -> u64 {
        self.0.word(STARTS).load(SeqCst)
    }

    /// How often any function was called.
    pub(super) fn calls(&self) -> u64 {
        self.0.word(CALLS).load(SeqCst)
    }

    /// Which process called one last.
    pub(super) fn last(&self) -> u32 {
        u32::try_from(self.0.word(LAST).load(SeqCst)).expect("a process")
    }

    /// This process calls the task's function; tells how often that has happened, this time included.
    pub(super) fn begin(&self, item: usize) -> u32 {
        let word = self.task(item);
        let before = word.load(SeqCst) & 0xffff_ffff;
        word.store(u64::from(std::process::id()) << 32 | (before + 1), SeqCst);
        self.0.word(CALLS).fetch_add(1, SeqCst);
        self.0.word(LAST).store(u64::from(std::process::id()), SeqCst);
        self.note(item).begun
    }

    /// The task's function returns.
    pub(super) fn end(&self, item: usize) {
        self.task(item).fetch_add(ENDED, SeqCst);
    }

    pub(super) fn note(&self, item: usize) -> Note {
        let word = self.task(item).load(SeqCst);
        let part = |shift| u32::try_from(word >> shift & COUNT).expect("16 bits");
        let pid = u32::try_from(word >> 32).expect("32 bits");
        Note { begun: part(0), ended: part(16), pid }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_and_ends_are_counted_apart() {
        let ledger = Ledger::new(3);
        let pid = std::process::id();
        assert_eq!(ledger.note(2), Note { begun: 0, ended: 0, pid: 0 });
        assert_eq!((ledger.begin(2), ledger.begin(2)), (1, 2));
        ledger.end(2);
        assert_eq!(ledger.note(2), Note { begun: 2, ended: 1, pid });
        assert_eq!((ledger.note(1).begun, ledger.calls()), (0, 2));
        let other = Ledger::open(ledger.send()).unwrap();
        assert_eq!((other.start(), ledger.starts(), other.begin(2)), (0, 1, 3));
    }
}
