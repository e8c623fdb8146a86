//! The semaphores.

use std::fmt;
use std::mem::ManuallyDrop;
use std::time::Duration;

use procession_core::arena::{Kind, OWN_WORDS, Object, Remains};
use procession_core::family::ProcessId;
use procession_core::waiting::{Spin, Wait};
use procession_core::{Deadline, Error, ErrorKind, Result};
use procession_sys::before_main;
use procession_sys::prim::AtomicU64;
use procession_sys::prim::Ordering::Relaxed;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::WaitError;
use crate::raw::semaphore::{CELLS, MOST, RawSemaphore};
use crate::word::Patient;

/// The largest value of a semaphore.
///
/// # Source
///
/// CPython `multiprocessing`'s `SEM_VALUE_MAX` on Linux.
pub const MAX_VALUE: u32 = MOST;

/// Of the object's words: the semaphore's word, the bound; from the ninth on the cells.
const WORD: usize = 0;
const BOUND: usize = 1;
const FIRST_CELL: usize = 8;
const _: () = assert!(BOUND < OWN_WORDS, "the arena's words are the arena's");

/// At least so many cells, which makes an object of 256 bytes.
const LEAST_CELLS: usize = 24;
/// At most so many, which makes one of 4096 bytes.
const MOST_CELLS: usize = 504;
const _: () = assert!(MOST_CELLS <= CELLS, "a stamp can tell them apart");

/// A number of permits that processes share: taking one waits until there is one.
///
/// There are two ways to take a permit. [`acquire`](Self::acquire) gives a [`Permit`], which goes back when it is dropped *or its
/// process dies*. [`acquire_raw`](Self::acquire_raw) only counts, as Python does: whoever likes calls
/// [`release`](Self::release), any number of times; what a dead process took that way stays taken.
///
/// A raw pair is two atomic instructions when nobody waits, a permit five. It is a handle to an object in shared memory: a clone, or
/// what arrives when it is sent, is the same semaphore. At most 504 processes have permits of one semaphore at a time, or as
/// many as the value it was made with, if that is less than 504 and more than 24; others wait as if there was none.
///
/// # Drop, kill, fork
///
/// When a process dies its permits go back, within 100 ms if somebody waits for them. When every other process that had the semaphore
/// has died and there is no permit, a wait ends in [`WaitError::Closed`]. A forked child does not have its parent's permits; its
/// copies of them do nothing.
///
/// # Source
///
/// CPython `multiprocessing.Semaphore`, `multiprocessing.BoundedSemaphore`.
///
/// # Examples
///
/// ```
/// # use procession_sync as procession;
/// # fn main() -> procession_core::Result<()> {
/// use procession::{Semaphore, WaitError};
///
/// let semaphore = Semaphore::new(2)?;
/// let one = semaphore.acquire()?;
/// let _other = semaphore.acquire()?;
/// assert!(matches!(semaphore.try_acquire(), Err(WaitError::TimedOut)));
/// drop(one);
/// assert_eq!(semaphore.value(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Semaphore {
    object: Object,
    bound: u32,
}

/// A [`Semaphore`] whose value never goes above the one that it was made with: a release too many is an error.
///
/// # Drop, kill, fork
///
/// As of a [`Semaphore`].
///
/// # Source
///
/// CPython `multiprocessing.BoundedSemaphore`.
///
/// # Examples
///
/// ```
/// # use procession_sync as procession;
/// # fn main() -> procession_core::Result<()> {
/// let semaphore = procession::BoundedSemaphore::new(1)?;
/// semaphore.acquire_raw()?;
/// semaphore.release()?;
/// assert!(semaphore.release().is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct BoundedSemaphore(Semaphore);

/// A permit of this process; it goes back when this is dropped.
#[must_use = "the permit goes back when this is dropped"]
pub struct Permit<'a> {
    semaphore: &'a Semaphore,
    /// Whose it is: a fork's copy is not.
    owner: ProcessId,
}

impl Semaphore {
    /// A semaphore with `value` permits.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] when the value is above [`MAX_VALUE`]; as [`Object::new`].
    pub fn new(value: u32) -> Result<Self> {
        Self::bounded(value, MOST)
    }

    fn bounded(value: u32, bound: u32) -> Result<Self> {
        if value > MOST {
            let text = format!("a semaphore's value is at most {MOST}");
            return Err(Error::new(ErrorKind::InvalidInput, text));
        }
        let cells = (value as usize).clamp(LEAST_CELLS, MOST_CELLS);
        let object = Object::new(Kind::SEMAPHORE, FIRST_CELL + cells, |words, _| {
            // ORDERING: Relaxed: nobody else has the object yet.
            words[BOUND].store(bound.into(), Relaxed);
            words[WORD].store(value.into(), Relaxed);
        })?;
        Ok(Self { object, bound })
    }

    #[inline]
    fn raw(&self) -> RawSemaphore<'static, AtomicU64> {
        let words = self.object.words();
        RawSemaphore { word: &words[WORD], cells: &words[FIRST_CELL..], bound: self.bound }
    }

    /// Takes a permit, waiting until there is one.
    ///
    /// # Errors
    ///
    /// [`WaitError::Closed`] when nobody is left to give one back; [`WaitError::Failed`] when this process is out of memory.
    pub fn acquire(&self) -> Result<Permit<'_>, WaitError> {
        self.acquire_deadline(Deadline::NEVER)
    }

    /// Takes a permit if there is one.
    ///
    /// # Errors
    ///
    /// [`WaitError::TimedOut`] when there is none.
    pub fn try_acquire(&self) -> Result<Permit<'_>, WaitError> {
        let owner = self.object.check()?;
        match self.raw().try_acquire(owner.slot) {
            true => Ok(Permit { semaphore: self, owner }),
            false => Err(WaitError::TimedOut),
        }
    }

    /// Takes a permit, waiting for at most `timeout`, on the monotonic clock.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire); [`WaitError::TimedOut`] when there was none for that long.
    pub fn acquire_timeout(&self, timeout: Duration) -> Result<Permit<'_>, WaitError> {
        self.acquire_deadline(Deadline::after(timeout))
    }

    /// Takes a permit, waiting until `deadline` at most.
    ///
    /// # Errors
    ///
    /// As [`acquire_timeout`](Self::acquire_timeout).
    pub fn acquire_deadline(&self, deadline: Deadline) -> Result<Permit<'_>, WaitError> {
        let owner = self.object.check()?;
        let mut waiter = Patient::new(Spin::new(1), Wait::new(&self.object, deadline));
        match self.raw().acquire(owner.slot, &mut waiter) {
            Ok(()) => Ok(Permit { semaphore: self, owner }),
            Err(halt) => Err(halt.into_wait_error(&self.object)),
        }
    }

    /// Takes a permit that is nobody's, waiting until there is one. [`release`](Self::release) gives one back; the death of
    /// this process does not.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire).
    #[inline]
    pub fn acquire_raw(&self) -> Result<(), WaitError> {
        self.acquire_raw_deadline(Deadline::NEVER)
    }

    /// Takes a permit that is nobody's, if there is one.
    ///
    /// # Errors
    ///
    /// As [`try_acquire`](Self::try_acquire).
    #[inline]
    pub fn try_acquire_raw(&self) -> Result<(), WaitError> {
        self.object.check()?;
        if self.raw().try_take() { Ok(()) } else { Err(WaitError::TimedOut) }
    }

    /// Takes a permit that is nobody's, waiting for at most `timeout`, on the monotonic clock.
    ///
    /// # Errors
    ///
    /// As [`acquire_timeout`](Self::acquire_timeout).
    pub fn acquire_raw_timeout(&self, timeout: Duration) -> Result<(), WaitError> {
        self.acquire_raw_deadline(Deadline::after(timeout))
    }

    /// Takes a permit that is nobody's, waiting until `deadline` at most.
    ///
    /// # Errors
    ///
    /// As [`acquire_timeout`](Self::acquire_timeout).
    #[inline]
    pub fn acquire_raw_deadline(&self, deadline: Deadline) -> Result<(), WaitError> {
        self.object.check()?;
        match self.raw().try_take() {
            true => Ok(()),
            false => self.take_slowly(deadline),
        }
    }

    #[cold]
    fn take_slowly(&self, deadline: Deadline) -> Result<(), WaitError> {
        let mut waiter = Patient::new(Spin::new(1), Wait::new(&self.object, deadline));
        self.raw().take(&mut waiter).map_err(|halt| halt.into_wait_error(&self.object))
    }

    /// Gives back a permit that is nobody's, or adds one.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] when the value would go above [`MAX_VALUE`], or the bound.
    #[inline]
    pub fn release(&self) -> Result<()> {
        self.release_many(1)
    }

    /// Gives back, or adds, `count` permits that are nobody's, at once.
    ///
    /// # Errors
    ///
    /// As [`release`](Self::release); then none is added.
    #[inline]
    pub fn release_many(&self, count: u32) -> Result<()> {
        self.object.check()?;
        self.raw().give(count).map_err(|_above_bound| {
            Error::new(ErrorKind::InvalidInput, "the semaphore was released too many times")
        })
    }

    /// How many permits there are; by the time that this returns it may be otherwise.
    #[doc(alias = "get_value")]
    pub fn value(&self) -> u32 {
        self.raw().value()
    }
}

impl BoundedSemaphore {
    /// A semaphore with `value` permits, and never more.
    ///
    /// # Errors
    ///
    /// As [`Semaphore::new`].
    pub fn new(value: u32) -> Result<Self> {
        Semaphore::bounded(value, value).map(Self)
    }

    /// The value that it was made with.
    pub fn max_value(&self) -> u32 {
        self.0.bound
    }
}

impl std::ops::Deref for BoundedSemaphore {
    type Target = Semaphore;

    fn deref(&self) -> &Semaphore {
        &self.0
    }
}

impl Permit<'_> {
    /// Makes it a permit that is nobody's: it stays taken until somebody [releases](Semaphore::release) one.
    pub fn forget(self) {
        let kept = ManuallyDrop::new(self);
        if kept.is_ours() {
            kept.semaphore.raw().forget(kept.owner.slot);
        }
    }

    fn is_ours(&self) -> bool {
        self.semaphore.object.family().peek_me() == Some(self.owner)
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if self.is_ours() {
            self.semaphore.raw().release(self.owner.slot);
        }
    }
}

fn raw_of(words: &'static [AtomicU64]) -> RawSemaphore<'static, AtomicU64> {
    let bound = u32::try_from(words[BOUND].load(Relaxed)).unwrap_or(MOST);
    RawSemaphore { word: &words[WORD], cells: &words[FIRST_CELL..], bound }
}

fn recover(remains: &Remains) {
    raw_of(remains.words).recover(remains.dead.slot);
}

fn wake(remains: &Remains) {
    raw_of(remains.words).wake_all();
}

fn owns(words: &'static [AtomicU64], me: ProcessId) -> bool {
    raw_of(words).owns(me.slot)
}

before_main!(register);

fn register() {
    Kind::SEMAPHORE.register(recover, wake, owns);
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Semaphore(value={})", self.value())
    }
}

impl fmt::Debug for BoundedSemaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BoundedSemaphore(value={}, maxvalue={})", self.value(), self.max_value())
    }
}

impl fmt::Debug for Permit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").finish_non_exhaustive()
    }
}

impl Serialize for Semaphore {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.object.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Semaphore {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let object = Object::deserialize(Kind::SEMAPHORE, deserializer)?;
        let bound = raw_of(object.words()).bound;
        Ok(Self { object, bound })
    }
}

impl Serialize for BoundedSemaphore {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for BoundedSemaphore {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Semaphore::deserialize(deserializer).map(Self)
    }
}
