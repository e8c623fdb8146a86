//! Who holds what exists once, the end of a pipe say, in one word of shared memory.
//!
//! The word names a process by its number and a half of what tells it from all others that had or will have that number
//! ([`procession_sys::pidfd::birth`]), so a process that got the number later is not taken for the holder. It needs no family, costs
//! nothing to write, and two system calls to look up.
//!
//! Process numbers mean something within one pid namespace: who shares a word across namespaces must not ask
//! ([`namespaces`] tells).

use std::cell::Cell;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Weak};

use procession_sys::prim::AtomicU64;
use procession_sys::prim::Ordering::Relaxed;
use procession_sys::wipe::{PerProcess, WipedWord};
use procession_sys::{Deadline, OsCode, pidfd, poll, process, wipe};

use crate::Result;

thread_local! {
    /// [`Holder::hand_over`].
    static HEIR: Cell<u64> = const { Cell::new(0) };
}

/// This process and those that it was forked from, as words, the newest first; copied by forks like any other memory.
static LINEAGE: [AtomicU64; GENERATIONS] = [const { AtomicU64::new(0) }; GENERATIONS];

/// How many forks of forks of forks know of each other.
const GENERATIONS: usize = 16;

static ME: WipedWord = WipedWord::new();
static FINDING_OUT: PerProcess<()> = PerProcess::new();
static NAMESPACES: WipedWord = WipedWord::new();
/// The pidfds of holders that something here waits for.
static KNOWN: PerProcess<Vec<(Holder, Weak<OwnedFd>)>> = PerProcess::new();

/// A process, as the holder of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder(u64);

impl Holder {
    /// This process.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Os`](crate::ErrorKind::Os) when the system is out of memory or descriptors.
    #[inline]
    pub fn me() -> Result<Self> {
        let word = ME.get()?;
        // ORDERING: Relaxed: the number stands for itself.
        match word.load(Relaxed) {
            0 => {
                let me = Self::find_out()?;
                word.store(me.0, Relaxed);
                Ok(me)
            }
            known => Ok(Self(known)),
        }
    }

    #[cold]
    fn find_out() -> Result<Self> {
        let _one_at_a_time = FINDING_OUT.lock()?;
        let pid = process::id();
        let me = Self::of(pid, pidfd::birth(pidfd::open(pid)?, pid)?);
        // Another thread may have been faster.
        if LINEAGE[0].load(Relaxed) != me.0 {
            for older in (1..GENERATIONS).rev() {
                LINEAGE[older].store(LINEAGE[older - 1].load(Relaxed), Relaxed);
            }
            LINEAGE[0].store(me.0, Relaxed);
        }
        Ok(me)
    }

    /// Whether this process is a fork of it, or a fork of a fork of it, and so on: so that what it held may be ours to use.
    pub fn is_ancestor(self) -> bool {
        LINEAGE.iter().any(|word| word.load(Relaxed) == self.0)
    }

    fn of(pid: u32, birth: u64) -> Self {
        Self(u64::from(pid) << 32 | birth & u64::from(u32::MAX))
    }

    /// The process with the number `pid`, which `process` is the pidfd of.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Os`](crate::ErrorKind::Os) on an old system, when it has ended and was reaped.
    pub fn of_process(pid: u32, process: impl AsFd) -> Result<Self> {
        Ok(Self::of(pid, pidfd::birth(process, pid)?))
    }

    /// Runs `drop_it`, which drops what this process has forked this one with: what exists once is that one's from now on, instead of
    /// nobody's.
    pub fn hand_over<T>(self, drop_it: impl FnOnce() -> T) -> T {
        struct Restore(u64);
        impl Drop for Restore {
            fn drop(&mut self) {
                HEIR.set(self.0);
            }
        }
        let _restore = Restore(HEIR.replace(self.0));
        drop_it()
    }

    /// To whom what this thread drops goes: see [`hand_over`](Self::hand_over).
    pub fn heir() -> Option<Self> {
        HEIR.try_with(Cell::get).ok().and_then(Self::from_bits)
    }

    /// As the word that names it; never zero.
    pub fn to_bits(self) -> u64 {
        self.0
    }

    /// The holder that a word names; zero names nobody.
    pub fn from_bits(bits: u64) -> Option<Self> {
        (bits >> 32 != 0).then_some(Self(bits))
    }

    /// The number of the process.
    pub fn pid(self) -> u32 {
        u32::try_from(self.0 >> 32).unwrap_or_default()
    }

    /// A descriptor that becomes readable when the holder has ended; `None` when it has. All who ask share one.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Os`](crate::ErrorKind::Os) when this process may open no more descriptors.
    pub fn pidfd(self) -> Result<Option<Arc<OwnedFd>>> {
        let mut known = KNOWN.lock()?;
        known.retain(|(_, pidfd)| pidfd.strong_count() > 0);
        let shared = known.iter().find(|(holder, _)| *holder == self);
        if let Some(pidfd) = shared.and_then(|(_, pidfd)| pidfd.upgrade()) {
            return Ok((!has_ended(&pidfd)?).then_some(pidfd));
        }
        let pidfd = match pidfd::open(self.pid()) {
            Ok(pidfd) => pidfd,
            Err(error) if error.code() == OsCode::NO_PROCESS => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // Read after it was opened: if it is the right one, what was opened is the right process.
        let birth = match pidfd::birth(&pidfd, self.pid()) {
            Ok(birth) => birth,
            Err(error) if error.code() == OsCode::NO_PROCESS => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if Self::of(self.pid(), birth) != self || has_ended(&pidfd)? {
            return Ok(None);
        }
        let pidfd = Arc::new(pidfd);
        known.push((self, Arc::downgrade(&pidfd)));
        Ok(Some(pidfd))
    }
}

fn has_ended(pidfd: &OwnedFd) -> Result<bool> {
    Ok(poll::wait_readable(pidfd, Deadline::PAST)?)
}

/// The namespaces that give numbers of processes their meaning: equal where the meaning is the same. Looked up once.
///
/// # Errors
///
/// [`ErrorKind::Os`](crate::ErrorKind::Os) when `/proc` is not mounted.
pub fn namespaces() -> Result<u64> {
    let word = NAMESPACES.get()?;
    // ORDERING: Relaxed: the number stands for itself.
    match word.load(Relaxed) {
        0 => {
            let found = wipe::namespaces()?;
            word.store(found, Relaxed);
            Ok(found)
        }
        known => Ok(known),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_itself_and_alive() {
        let me = Holder::me().unwrap();
        assert_eq!(me, Holder::me().unwrap());
        assert_eq!(me.pid(), std::process::id());
        assert_eq!(Holder::from_bits(me.to_bits()), Some(me));
        let (one, other) = (me.pidfd().unwrap().unwrap(), me.pidfd().unwrap().unwrap());
        assert!(Arc::ptr_eq(&one, &other), "one descriptor is enough");
    }

    #[test]
    fn who_has_the_number_of_another_is_not_taken_for_it() {
        let me = Holder::me().unwrap();
        assert!(Holder(me.0 ^ 1).pidfd().unwrap().is_none(), "born at another time");
        assert_eq!(Holder::from_bits(0), None);
        assert_eq!(namespaces().unwrap(), wipe::namespaces().unwrap());
    }
}
