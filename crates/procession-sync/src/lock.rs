//! The lock.

use std::fmt;
use std::mem::ManuallyDrop;
use std::time::Duration;

use procession_core::arena::{Kind, Object, Remains};
use procession_core::family::ProcessId;
use procession_core::waiting::{Spin, Wait};
use procession_core::{Deadline, Error, ErrorKind, Result};
use procession_sys::before_main;
use procession_sys::prim::AtomicU64;
use procession_sys::prim::Ordering::Relaxed;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::LockError;
use crate::condition::Notified;
use crate::owner::{Owner, Stamp, thread};
use crate::raw::lock::{RawLock, Refused, Taken};
use crate::word::{Patient, Word};

/// Of the object's words: the lock word, and `armed`.
const WORD: usize = 0;
const ARMED: usize = 1;

/// A locker spins for a twentieth of what others do: locks are held shortly, or long.
pub(crate) const SHARE: u32 = 20;

/// A lock that processes share: one thread of one of them has it at a time.
///
/// Taking one that nobody has, and giving it back when nobody waits, is one atomic instruction each. It is not fair: who comes
/// at the right moment takes it before those who sleep. A thread that takes a lock that it has waits for itself; see
/// [`RLock`](crate::RLock).
///
/// It is a handle to an object in shared memory: a clone, or what arrives when it is sent in arguments, messages and results,
/// is the same lock. It costs 64 bytes and no descriptor.
///
/// # Drop, kill, fork
///
/// A guard that is dropped unlocks. When a process dies, by whatever signal at whatever instruction, while one of its threads has
/// the lock, the next to take it gets [`LockError::OwnerDied`] with the guard, within 100 ms if it was waiting already. So does
/// the next after a process that exits without giving it back. A process that is stopped (`SIGSTOP`) is alive. A forked child does
/// not have the lock that its parent has; its copy of the guard does nothing.
///
/// # Source
///
/// CPython `multiprocessing.Lock`; `pthread_mutex_lock(3)` on `EOWNERDEAD`.
///
/// # Examples
///
/// ```
/// # use procession_sync as procession;
/// # fn main() -> procession_core::Result<()> {
/// use procession::{Lock, LockError};
/// use std::time::Duration;
///
/// let lock = Lock::new()?;
/// {
///     let _guard = lock.lock()?;
///     assert!(lock.is_locked());
///     // Not even by this thread, a second time.
///     assert!(matches!(lock.try_lock(), Err(LockError::TimedOut)));
/// }
/// let _guard = lock.lock_timeout(Duration::from_millis(100))?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Lock {
    object: Object,
    /// Those of the object.
    words: &'static [AtomicU64; 8],
    /// That of the family.
    me: &'static AtomicU64,
}

/// As long as this lives, the lock is locked.
#[must_use = "the lock is unlocked when this is dropped"]
pub struct LockGuard<'a> {
    lock: &'a Lock,
    /// The owner; with [`AFTER_DEATH`] beside it.
    me: u32,
    pub(crate) notified: Notified,
}

/// No bit of a stamp. A guard fits into two registers.
const AFTER_DEATH: u32 = 1 << 31;
const _: () = assert!(size_of::<LockGuard<'_>>() == 16, "small enough to stay in registers");

type Locked<'a> = Result<LockGuard<'a>, LockError<LockGuard<'a>>>;

impl Lock {
    /// A lock that is not locked.
    ///
    /// # Errors
    ///
    /// As [`Object::new`].
    pub fn new() -> Result<Self> {
        Object::new(Kind::LOCK, 2, init).map(Self::of)
    }

    fn of(object: Object) -> Self {
        let words = first_words(&object);
        let me = object.family().me_word();
        Self { object, words, me }
    }

    /// Locks it, waiting for as long as somebody else has it.
    ///
    /// # Errors
    ///
    /// [`LockError::OwnerDied`] with the guard; [`LockError::Failed`] when this process is out of memory or descriptors.
    #[inline(always)]
    #[doc(alias = "acquire")]
    pub fn lock(&self) -> Locked<'_> {
        self.lock_or(|| self.take_slowly(Deadline::NEVER))
    }

    /// Locks it if nobody has it.
    ///
    /// # Errors
    ///
    /// As [`lock`](Self::lock); [`LockError::TimedOut`] when somebody has it.
    #[inline]
    pub fn try_lock(&self) -> Locked<'_> {
        self.lock_or(|| self.try_take_slowly())
    }

    /// Locks it, waiting for at most `timeout`, on the monotonic clock.
    ///
    /// # Errors
    ///
    /// As [`lock`](Self::lock); [`LockError::TimedOut`] when somebody else had it for that long.
    #[inline]
    pub fn lock_timeout(&self, timeout: Duration) -> Locked<'_> {
        self.lock_or(|| self.take_slowly(Deadline::after(timeout)))
    }

    /// Locks it, waiting until `deadline` at most.
    ///
    /// # Errors
    ///
    /// As [`lock_timeout`](Self::lock_timeout).
    #[inline]
    pub fn lock_deadline(&self, deadline: Deadline) -> Locked<'_> {
        self.lock_or(|| self.take_slowly(deadline))
    }

    /// What is inlined is small, and what it gets from the rest comes in registers: a guard that was put together in memory
    /// costs as much as the lock. So this, and what it calls on the way, is inlined always: left to itself, the compiler does so
    /// in some callers and not in others.
    #[inline(always)]
    fn lock_or(&self, slowly: impl FnOnce() -> Result<Taken, Refused>) -> Locked<'_> {
        if let Some(me) = self.peek_stamp()
            && self.object.is_there()
            && self.raw().take_free(me)
        {
            return Ok(LockGuard::new(self, me, false));
        }
        let taken = slowly();
        // Whoever has taken it has joined.
        let me = self.peek_stamp().unwrap_or(Stamp::NOBODY);
        match taken {
            Ok(Taken::Clean) => Ok(LockGuard::new(self, me, false)),
            Ok(Taken::AfterDeath) => Err(LockError::OwnerDied(LockGuard::new(self, me, true))),
            Err(Refused::TimedOut) => Err(LockError::TimedOut),
            Err(Refused::Gone) => Err(LockError::Failed(self.object.gone())),
            Err(Refused::Failed(error)) => Err(LockError::Failed(error)),
        }
    }

    #[inline(always)]
    fn peek_stamp(&self) -> Option<Stamp> {
        let me = ProcessId::from_bits(self.me.load(Relaxed))?;
        Some(Stamp::new(me, thread().unwrap_or(0)))
    }

    #[cold]
    fn take_slowly(&self, deadline: Deadline) -> Result<Taken, Refused> {
        let me = self.checked_stamp()?;
        let wait = Wait::new(&self.object, deadline);
        self.raw().take(me, &mut Patient::new(Spin::new(SHARE), wait))
    }

    #[cold]
    fn try_take_slowly(&self) -> Result<Taken, Refused> {
        let me = self.checked_stamp()?;
        self.raw().try_take(me)
    }

    fn checked_stamp(&self) -> Result<Stamp, Refused> {
        let me = self.object.check().map_err(Refused::Failed)?;
        Ok(Stamp::new(me, thread().unwrap_or(0)))
    }

    #[inline(always)]
    fn raw(&self) -> RawLock<'static, AtomicU64> {
        raw(self.words, self.object.generation())
    }

    /// Unlocks it, whoever locked it: for a lock that one process takes and another gives back. Its guard was
    /// [kept](LockGuard::keep), or does nothing any more when it is dropped; unless its thread has locked the lock again meanwhile: the
    /// first of the two guards that is dropped then unlocks it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] when it is not locked; as [`Object::check`].
    ///
    /// # Source
    ///
    /// CPython `multiprocessing.Lock.release()`, which any process and thread may call.
    pub fn release(&self) -> Result<()> {
        self.object.check()?;
        match self.raw().release() {
            true => Ok(()),
            false => Err(Error::new(ErrorKind::InvalidInput, "the lock is not locked")),
        }
    }

    /// Whether somebody has it; by the time that this returns it may be otherwise.
    #[doc(alias = "locked")]
    pub fn is_locked(&self) -> bool {
        self.raw().owner().slot().is_some()
    }

    /// Who has it, for display.
    pub fn owner(&self) -> Option<Owner> {
        Owner::of(self.raw().owner(), self.object.family())
    }

    /// Whether it is the same lock.
    pub fn is_same(&self, other: &Self) -> bool {
        std::ptr::eq(self.words, other.words)
    }

    pub(crate) fn is_of(&self, guard: &LockGuard<'_>) -> bool {
        self.is_same(guard.lock)
    }
}

#[inline]
pub(crate) fn raw(words: &'static [AtomicU64; 8], generation: u32) -> RawLock<'static, AtomicU64> {
    RawLock { word: &words[WORD], armed: &words[ARMED], generation }
}

/// The words of an object's first place: as many as there are, so that nobody counts again.
pub(crate) fn first_words(object: &Object) -> &'static [AtomicU64; 8] {
    object.words().first_chunk().expect("an object has a place at least")
}

pub(crate) fn init(words: &'static [AtomicU64], generation: u32) {
    // ORDERING: Relaxed: nobody else has the object yet.
    words[WORD].store(RawLock::<AtomicU64>::free(generation), Relaxed);
}

/// How the crate's locks are recovered.
pub(crate) fn recover(remains: &Remains) {
    if let Some(words) = remains.words.first_chunk() {
        raw(words, remains.generation).recover(remains.dead.slot);
    }
}

/// A dead waiter may have taken a wake-up with it.
pub(crate) fn wake(remains: &Remains) {
    remains.words[WORD].wake(1);
}

pub(crate) fn owns(words: &'static [AtomicU64], me: ProcessId) -> bool {
    let word = words[WORD].load(Relaxed);
    Stamp::from_bits(crate::word::low(word)).slot() == Some(me.slot)
}

before_main!(register);

fn register() {
    Kind::LOCK.register(recover, wake, owns);
}

impl<'a> LockGuard<'a> {
    #[inline(always)]
    fn new(lock: &'a Lock, me: Stamp, is_after_death: bool) -> Self {
        let me = me.bits() | if is_after_death { AFTER_DEATH } else { 0 };
        Self { lock, me, notified: Notified::NOBODY }
    }

    #[inline]
    fn stamp(&self) -> Stamp {
        Stamp::from_bits(self.me)
    }

    /// Whether the owner before died over the lock, and nobody has said since that all is in order.
    #[inline]
    pub fn is_after_death(&self) -> bool {
        self.me & AFTER_DEATH != 0
    }

    /// Says that what the lock protects is in order again: the next taker is told of no death.
    pub fn repair(&mut self) {
        self.me &= !AFTER_DEATH;
    }

    /// Leaves the lock locked. Somebody [releases](Lock::release) it, or this process ends over it.
    pub fn keep(self) {
        let kept = ManuallyDrop::new(self);
        kept.notified.wake(kept.lock.object.family());
    }

    /// Unlocks, and tells whether there is something to lock again: not in a fork, nor after a release.
    pub(crate) fn unlock(&mut self) -> bool {
        let is_unlocked = self.unlock_now();
        std::mem::replace(&mut self.notified, Notified::NOBODY).wake(self.lock.object.family());
        is_unlocked
    }

    #[inline(always)]
    fn unlock_now(&self) -> bool {
        // A copy that a fork has is not the guard.
        let is_ours = self.stamp().slot().is_some_and(|slot| self.lock.object.family().is_me(slot));
        let is_simple = !self.is_after_death();
        is_ours && (is_simple && self.lock.raw().unlock_quiet(self.stamp()) || self.unlock_slowly())
    }

    #[cold]
    fn unlock_slowly(&self) -> bool {
        let after = if self.is_after_death() { Stamp::DEAD } else { Stamp::NOBODY };
        self.lock.raw().unlock(self.stamp(), after)
    }

    /// Locks again, for who has unlocked. Tells whether the owner in between died.
    pub(crate) fn lock_again(&mut self) -> Result<Taken> {
        let wait = Wait::new(&self.lock.object, Deadline::NEVER);
        let mut waiter = Patient::new(Spin::new(SHARE), wait);
        match self.lock.raw().take(self.stamp(), &mut waiter) {
            Ok(taken) => {
                if taken == Taken::AfterDeath {
                    self.me |= AFTER_DEATH;
                }
                Ok(taken)
            }
            Err(Refused::Failed(error)) => Err(error),
            Err(Refused::TimedOut | Refused::Gone) => Err(self.lock.object.gone()),
        }
    }
}

impl Drop for LockGuard<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.unlock_now();
        self.notified.wake(self.lock.object.family());
    }
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.owner() {
            Some(owner) => write!(f, "Lock({owner})"),
            None => f.write_str("Lock(nobody)"),
        }
    }
}

impl fmt::Debug for LockGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockGuard")
            .field("is_after_death", &self.is_after_death())
            .finish_non_exhaustive()
    }
}

impl Serialize for Lock {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.object.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Lock {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Object::deserialize(Kind::LOCK, deserializer).map(Self::of)
    }
}
