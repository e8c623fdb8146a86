//! The recursive lock.

use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::time::Duration;

use procession_core::arena::{Kind, Object};
use procession_core::family::ProcessId;
use procession_core::waiting::{Spin, Wait};
use procession_core::{Deadline, Error, ErrorKind, Result};
use procession_sys::before_main;
use procession_sys::prim::AtomicU64;
use procession_sys::prim::Ordering::Relaxed;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::LockError;
use crate::condition::Notified;
use crate::lock::{self, SHARE};
use crate::owner::{Owner, Stamp, count_held, thread};
use crate::raw::lock::{RawLock, Refused, Taken};
use crate::word::Patient;

/// Of the object's words, behind those of a lock: how deep it is locked, and whether that began after a death. Only the owner
/// writes it.
const DEPTH: usize = 2;
const AFTER_DEATH: u64 = 1 << 32;

/// A lock that the thread that has it may lock again. It is unlocked when all its guards are dropped, in any order.
///
/// Otherwise as a [`Lock`](crate::Lock): what is said there about cost, fairness and handles is true here. At most 32,767 threads
/// of a process can use recursive locks.
///
/// # Drop, kill, fork
///
/// As with a [`Lock`](crate::Lock): the next to take it after a death gets [`LockError::OwnerDied`] with the guard; locking it again
/// under that guard is no error. A thread that ends while it has the lock keeps it; only the end of the process ends that.
///
/// # Source
///
/// CPython `multiprocessing.RLock`.
///
/// # Examples
///
/// ```
/// # use procession_sync as procession;
/// # fn main() -> procession_core::Result<()> {
/// use procession::RLock;
///
/// let lock = RLock::new()?;
/// let outer = lock.lock()?;
/// let inner = lock.lock()?;
/// assert_eq!(lock.depth(), 2);
/// drop(outer);
/// assert!(lock.is_locked());
/// drop(inner);
/// assert!(!lock.is_locked());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct RLock {
    object: Object,
    /// Those of the object.
    words: &'static [AtomicU64; 8],
    /// That of the family.
    me: &'static AtomicU64,
}

/// As long as this lives, the lock is locked by this thread.
#[must_use = "the lock is unlocked when this is dropped"]
pub struct RLockGuard<'a> {
    lock: &'a RLock,
    me: Stamp,
    pub(crate) notified: Notified,
    /// It is the thread's.
    _stays: PhantomData<*const ()>,
}

type Locked<'a> = Result<RLockGuard<'a>, LockError<RLockGuard<'a>>>;

impl RLock {
    /// A lock that is not locked.
    ///
    /// # Errors
    ///
    /// As [`Object::new`].
    pub fn new() -> Result<Self> {
        Object::new(Kind::RLOCK, 3, lock::init).map(Self::of)
    }

    fn of(object: Object) -> Self {
        let words = lock::first_words(&object);
        let me = object.family().me_word();
        Self { object, words, me }
    }

    /// Locks it, waiting for as long as another thread has it.
    ///
    /// # Errors
    ///
    /// [`LockError::OwnerDied`] with the guard; [`LockError::Failed`] when this process is out of memory, or has too many
    /// threads.
    #[inline(always)]
    #[doc(alias = "acquire")]
    pub fn lock(&self) -> Locked<'_> {
        self.lock_or(|| self.take_slowly(Deadline::NEVER))
    }

    /// Locks it if no other thread has it.
    ///
    /// # Errors
    ///
    /// As [`lock`](Self::lock); [`LockError::TimedOut`] when another thread has it.
    #[inline]
    pub fn try_lock(&self) -> Locked<'_> {
        self.lock_or(|| self.try_take_slowly())
    }

    /// Locks it, waiting for at most `timeout`, on the monotonic clock.
    ///
    /// # Errors
    ///
    /// As [`lock`](Self::lock); [`LockError::TimedOut`] when another thread had it for that long.
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

    /// As with a `Lock`: what is inlined is small, and gets the rest in registers.
    #[inline(always)]
    fn lock_or(&self, slowly: impl FnOnce() -> Result<Taken, Refused>) -> Locked<'_> {
        if let Some(me) = self.peek_stamp()
            && self.object.is_there()
            && self.raw().take_free(me)
        {
            self.begin(Taken::Clean, 1);
            return Ok(RLockGuard::new(self, me));
        }
        let taken = slowly();
        // Whoever has taken it has joined.
        let me = self.peek_stamp().unwrap_or(Stamp::NOBODY);
        match taken {
            Ok(Taken::Clean) => Ok(RLockGuard::new(self, me)),
            Ok(Taken::AfterDeath) => Err(LockError::OwnerDied(RLockGuard::new(self, me))),
            Err(Refused::TimedOut) => Err(LockError::TimedOut),
            Err(Refused::Gone) => Err(LockError::Failed(self.object.gone())),
            Err(Refused::Failed(error)) => Err(LockError::Failed(error)),
        }
    }

    /// Runs `act` under the lock, waiting for as long as another thread has it. For short sections: while nobody else wants the
    /// lock it writes nothing but the lock's word, so that it costs no more than a lock that is not recursive.
    ///
    /// If `act` panics, the lock is unlocked.
    ///
    /// # Errors
    ///
    /// As [`lock`](Self::lock): then `act` is not called.
    #[inline(always)]
    pub fn run<R>(&self, act: impl FnOnce() -> R) -> Result<R, LockError<RLockGuard<'_>>> {
        if let Some(me) = self.peek_stamp()
            && self.object.is_there()
            && self.raw().take_free(me)
        {
            let unlock = OnPanic(self, me);
            let result = act();
            let _unlocked_here = ManuallyDrop::new(unlock);
            self.finish(me);
            return Ok(result);
        }
        let guard = self.lock()?;
        let result = act();
        drop(guard);
        Ok(result)
    }

    /// Ends what [`run`](Self::run) began, which has counted neither itself nor the lock. A fork's copy does nothing.
    #[inline(always)]
    fn finish(&self, me: Stamp) {
        let process = ProcessId::from_bits(self.me.load(Relaxed)).map(|me| me.slot);
        let raw = self.raw();
        if process != me.slot() || raw.owner() != me {
            return;
        }
        if self.depth_word() != 0 {
            return self.finish_deep(me);
        }
        if !raw.unlock_quiet(me) {
            raw.unlock(me, Stamp::NOBODY);
        }
    }

    /// It was locked again meanwhile. A guard that was kept goes on.
    #[cold]
    fn finish_deep(&self, me: Stamp) {
        count_held(1);
        self.unlock_once(me);
    }

    #[inline(always)]
    fn peek_stamp(&self) -> Option<Stamp> {
        Some(Stamp::new(ProcessId::from_bits(self.me.load(Relaxed))?, thread()?))
    }

    #[cold]
    fn take_slowly(&self, deadline: Deadline) -> Result<Taken, Refused> {
        let me = self.stamp().map_err(Refused::Failed)?;
        if self.lock_deeper(me) {
            return Ok(Taken::Clean);
        }
        let wait = Wait::new(&self.object, deadline);
        let taken = self.raw().take(me, &mut Patient::new(Spin::new(SHARE), wait))?;
        self.begin(taken, 1);
        Ok(taken)
    }

    #[cold]
    fn try_take_slowly(&self) -> Result<Taken, Refused> {
        let me = self.stamp().map_err(Refused::Failed)?;
        if self.lock_deeper(me) {
            return Ok(Taken::Clean);
        }
        let taken = self.raw().try_take(me)?;
        self.begin(taken, 1);
        Ok(taken)
    }

    /// Locks it again if it is this thread's.
    fn lock_deeper(&self, me: Stamp) -> bool {
        let depth = match self.depth_word() {
            // It is `run`.
            0 => 1,
            depth => depth,
        };
        let has_room = depth & (AFTER_DEATH - 1) < u64::from(u32::MAX);
        let is_deeper = has_room && self.raw().owner() == me;
        if is_deeper {
            self.set_depth(depth + 1);
        }
        is_deeper
    }

    /// For the owner that has just taken it.
    #[inline]
    fn begin(&self, taken: Taken, depth: u32) {
        let death = if taken == Taken::AfterDeath { AFTER_DEATH } else { 0 };
        self.set_depth(death | u64::from(depth));
        count_held(1);
    }

    fn stamp(&self) -> Result<Stamp> {
        let many = || Error::new(ErrorKind::TooLarge, "too many threads for recursive locks");
        Ok(Stamp::new(self.object.check()?, thread().ok_or_else(many)?))
    }

    #[inline(always)]
    fn raw(&self) -> RawLock<'static, AtomicU64> {
        lock::raw(self.words, self.object.generation())
    }

    /// ORDERING: Relaxed: the owner reads what it wrote; others look for display.
    #[inline]
    fn depth_word(&self) -> u64 {
        self.words[DEPTH].load(Relaxed)
    }

    #[inline]
    fn set_depth(&self, depth: u64) {
        self.words[DEPTH].store(depth, Relaxed);
    }

    /// Undoes one [`lock`](Self::lock) whose guard was [kept](RLockGuard::keep).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] when the calling thread does not have the lock.
    ///
    /// # Source
    ///
    /// CPython `multiprocessing.RLock.release()`, which only the owner may call.
    pub fn release(&self) -> Result<()> {
        let me = self.stamp()?;
        if self.raw().owner() != me {
            let text = "the recursive lock is not locked by this thread";
            return Err(Error::new(ErrorKind::InvalidInput, text));
        }
        self.unlock_once(me);
        Ok(())
    }

    /// For the owner.
    #[inline(always)]
    fn unlock_once(&self, me: Stamp) {
        let depth = self.depth_word();
        if depth & (AFTER_DEATH - 1) > 1 {
            self.set_depth(depth - 1);
        } else {
            self.unlock_all(me, depth);
        }
    }

    #[inline]
    fn unlock_all(&self, me: Stamp, depth: u64) {
        self.set_depth(0);
        if depth != 0 {
            // Otherwise it is that of `run`, which is not counted.
            count_held(-1);
        }
        let raw = self.raw();
        if depth & AFTER_DEATH != 0 {
            raw.unlock(me, Stamp::DEAD);
        } else if !raw.unlock_quiet(me) {
            raw.unlock(me, Stamp::NOBODY);
        }
    }

    /// Whether somebody has it; by the time that this returns it may be otherwise.
    #[doc(alias = "locked")]
    pub fn is_locked(&self) -> bool {
        self.raw().owner().slot().is_some()
    }

    /// How deep its owner has locked it.
    pub fn depth(&self) -> u32 {
        match self.is_locked() {
            true => crate::word::low(self.depth_word()).max(1),
            false => 0,
        }
    }

    /// Who has it, for display.
    pub fn owner(&self) -> Option<Owner> {
        Owner::of(self.raw().owner(), self.object.family())
    }

    /// Whether it is the same lock.
    pub fn is_same(&self, other: &Self) -> bool {
        std::ptr::eq(self.words, other.words)
    }

    pub(crate) fn is_of(&self, guard: &RLockGuard<'_>) -> bool {
        self.is_same(guard.lock)
    }
}

before_main!(register);

fn register() {
    Kind::RLOCK.register(lock::recover, lock::wake, lock::owns);
}

impl<'a> RLockGuard<'a> {
    #[inline(always)]
    fn new(lock: &'a RLock, me: Stamp) -> Self {
        Self { lock, me, notified: Notified::NOBODY, _stays: PhantomData }
    }

    /// Whether the owner before died over the lock, and nobody has said since that all is in order.
    pub fn is_after_death(&self) -> bool {
        self.lock.depth_word() & AFTER_DEATH != 0
    }

    /// Says that what the lock protects is in order again: the next taker is told of no death.
    pub fn repair(&mut self) {
        self.lock.set_depth(self.lock.depth_word() & !AFTER_DEATH);
    }

    /// Leaves it locked. This thread [releases](RLock::release) it, or the process ends over it.
    pub fn keep(self) {
        let kept = ManuallyDrop::new(self);
        kept.notified.wake(kept.lock.object.family());
    }

    /// A copy that a fork has is not the guard.
    #[inline(always)]
    fn is_ours(&self) -> bool {
        let me = ProcessId::from_bits(self.lock.me.load(Relaxed)).map(|me| me.slot);
        me == self.me.slot() && self.lock.raw().owner() == self.me
    }

    /// Unlocks to the bottom; tells how deep it was.
    pub(crate) fn unlock(&mut self) -> Option<u32> {
        let depth = self.is_ours().then(|| {
            let depth = self.lock.depth_word();
            self.lock.unlock_all(self.me, depth);
            crate::word::low(depth)
        });
        std::mem::replace(&mut self.notified, Notified::NOBODY).wake(self.lock.object.family());
        depth
    }

    /// Locks again as deep as it was.
    pub(crate) fn lock_again(&mut self, depth: u32) -> Result<Taken> {
        let wait = Wait::new(&self.lock.object, Deadline::NEVER);
        let mut waiter = Patient::new(Spin::new(SHARE), wait);
        match self.lock.raw().take(self.me, &mut waiter) {
            Ok(taken) => {
                self.lock.begin(taken, depth);
                Ok(taken)
            }
            Err(Refused::Failed(error)) => Err(error),
            Err(Refused::TimedOut | Refused::Gone) => Err(self.lock.object.gone()),
        }
    }
}

/// For who is left by a panic.
struct OnPanic<'a>(&'a RLock, Stamp);

impl Drop for OnPanic<'_> {
    #[cold]
    fn drop(&mut self) {
        self.0.finish(self.1);
    }
}

impl Drop for RLockGuard<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.is_ours() {
            self.lock.unlock_once(self.me);
        }
        self.notified.wake(self.lock.object.family());
    }
}

impl fmt::Debug for RLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.owner() {
            Some(owner) => write!(f, "RLock({owner}, {})", self.depth()),
            None => f.write_str("RLock(nobody, 0)"),
        }
    }
}

impl fmt::Debug for RLockGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RLockGuard")
            .field("depth", &self.lock.depth())
            .field("is_after_death", &self.is_after_death())
            .finish_non_exhaustive()
    }
}

impl Serialize for RLock {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.object.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for RLock {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Object::deserialize(Kind::RLOCK, deserializer).map(Self::of)
    }
}
