//! A value with its lock: [`Value`], and what one has of it while it is locked, [`ValueGuard`].

use std::fmt;
use std::ops::Deref;
use std::time::Duration;

use procession_core::{Deadline, Result};
use procession_sync::{LockError, RLock, RLockGuard};
use serde::{Deserialize, Serialize};

use crate::{Plain, RawValue};

/// A value in shared memory, and a recursive lock.
///
/// It is a handle: a clone, or what arrives when it is sent, is the same value with the same lock. Every operation takes the lock for
/// itself; [`update`](Self::update) reads, computes and writes under it, and [`lock`](Self::lock) is for more than that.
///
/// ```text
/// value.set(value.get()? + 1)?;    // two processes that do this may add one only
/// value.update(|v| v + 1)?;        // two processes that do this add two
/// ```
///
/// Where a number is all that is needed, the atomic operations of a [`RawValue`] do it without a lock.
///
/// # Drop, kill, fork
///
/// Memory and lock are there as long as any process has a handle, or a message has it. When a process is killed while it has
/// the lock, whoever takes it next gets [`LockError::OwnerDied`] with the guard, and decides about what is there: a type of 1, 2, 4 or 8 bytes
/// has a value of before or after; a larger one may be written in part. Until somebody [repairs](ValueGuard::repair) it, every operation
/// says so. A child by `fork` has the same value and does not have the lock.
///
/// # Source
///
/// CPython `multiprocessing.Value`.
///
/// # Examples
///
/// ```
/// extern crate procession_shared as procession;
/// # fn main() -> procession_core::Result<()> {
/// use procession::{Plain, Value};
///
/// #[derive(Debug, Clone, Copy, PartialEq, Plain)]
/// struct Point {
///     x: f64,
///     y: f64,
/// }
///
/// let place = Value::new(Point { x: 1.0, y: 2.0 })?;
/// let moved = place.update(|point| Point { x: point.x + 1.0, ..point })?;
/// assert_eq!(moved, Point { x: 2.0, y: 2.0 });
///
/// let guard = place.lock()?;
/// if guard.get()?.x > 1.5 {
///     guard.set(Point { x: 0.0, y: 0.0 })?;
/// }
/// # drop(guard);
/// # assert_eq!(place.get()?.y, 0.0);
/// # Ok(())
/// # }
/// ```
#[derive(Serialize, Deserialize)]
#[serde(bound = "T: Plain")]
pub struct Value<T> {
    raw: RawValue<T>,
    lock: RLock,
}

/// As long as this lives, the value is locked by this thread. It has the operations of a [`RawValue`].
///
/// Dropped, it unlocks; a thread that has several has to drop all.
#[must_use = "the value is unlocked when this is dropped"]
pub struct ValueGuard<'a, T> {
    raw: &'a RawValue<T>,
    guard: RLockGuard<'a>,
}

type Locked<'a, T> = Result<ValueGuard<'a, T>, LockError<ValueGuard<'a, T>>>;
/// What an operation gives that takes the lock for itself.
type Under<'a, T, R> = Result<R, LockError<ValueGuard<'a, T>>>;

impl<T: Plain> Value<T> {
    /// A value in memory of its own, with a lock of its own.
    ///
    /// # Errors
    ///
    /// As [`RawValue::new`].
    pub fn new(value: T) -> Result<Self> {
        Ok(Self::synchronized(RawValue::new(value)?, RLock::new()?))
    }

    /// A value in memory of its own, with a lock that others may have as well.
    ///
    /// # Errors
    ///
    /// As [`RawValue::new`].
    pub fn with_lock(value: T, lock: &RLock) -> Result<Self> {
        Ok(Self::synchronized(RawValue::new(value)?, lock.clone()))
    }

    /// That value, with that lock. Whoever has the value without the lock is not kept from it.
    #[doc(alias = "sharedctypes.synchronized")]
    pub fn synchronized(raw: RawValue<T>, lock: RLock) -> Self {
        Self { raw, lock }
    }

    /// The lock.
    pub fn get_lock(&self) -> &RLock {
        &self.lock
    }

    /// The value without its lock.
    #[doc(alias = "get_obj")]
    pub fn raw(&self) -> &RawValue<T> {
        &self.raw
    }

    /// Locks it, waiting for as long as another thread has it.
    ///
    /// # Errors
    ///
    /// [`LockError::OwnerDied`] with the guard, when whoever had it before died over it; [`LockError::Failed`] when the value is gone (see
    /// [`Object::check`](procession_core::arena::Object::check)), or as [`RLock::lock`].
    #[inline(always)]
    #[doc(alias = "acquire")]
    pub fn lock(&self) -> Locked<'_, T> {
        self.guard(self.lock.lock())
    }

    /// Locks it if no other thread has it.
    ///
    /// # Errors
    ///
    /// As [`lock`](Self::lock); [`LockError::TimedOut`] when another thread has it.
    #[inline]
    pub fn try_lock(&self) -> Locked<'_, T> {
        self.guard(self.lock.try_lock())
    }

    /// Locks it, waiting for at most `timeout`, on the monotonic clock.
    ///
    /// # Errors
    ///
    /// As [`lock`](Self::lock); [`LockError::TimedOut`] when another thread had it for that long.
    #[inline]
    pub fn lock_timeout(&self, timeout: Duration) -> Locked<'_, T> {
        self.guard(self.lock.lock_timeout(timeout))
    }

    /// Locks it, waiting until `deadline` at most.
    ///
    /// # Errors
    ///
    /// As [`lock_timeout`](Self::lock_timeout).
    #[inline]
    pub fn lock_deadline(&self, deadline: Deadline) -> Locked<'_, T> {
        self.guard(self.lock.lock_deadline(deadline))
    }

    #[inline(always)]
    fn guard<'a>(
        &'a self,
        locked: Result<RLockGuard<'a>, LockError<RLockGuard<'a>>>,
    ) -> Locked<'a, T> {
        let raw = &self.raw;
        match locked {
            Ok(guard) => match raw.check() {
                Ok(()) => Ok(ValueGuard { raw, guard }),
                Err(error) => Err(LockError::Failed(error)),
            },
            Err(error) => Err(self.refused(error)),
        }
    }

    #[cold]
    fn refused<'a>(&'a self, error: LockError<RLockGuard<'a>>) -> LockError<ValueGuard<'a, T>> {
        let raw = &self.raw;
        match error {
            LockError::OwnerDied(guard) => match raw.check() {
                Ok(()) => LockError::OwnerDied(ValueGuard { raw, guard }),
                Err(error) => LockError::Failed(error),
            },
            LockError::TimedOut => LockError::TimedOut,
            LockError::Failed(error) => LockError::Failed(error),
        }
    }

    /// Runs `act` under the lock. It makes no guard: that would be put together in memory, which takes longer than all the rest.
    ///
    /// Whether the value is there is looked at before the lock is taken: the processor waits there, and has nothing else to do.
    #[inline(always)]
    fn under<R>(&self, act: impl FnOnce(&RawValue<T>) -> Result<R>) -> Under<'_, T, R> {
        self.raw.check()?;
        match self.lock.run(|| act(&self.raw)) {
            Ok(acted) => acted.map_err(LockError::Failed),
            Err(error) => Err(self.refused(error)),
        }
    }

    /// Reads it under the lock.
    ///
    /// # Errors
    ///
    /// As [`lock`](Self::lock) and [`RawValue::get`].
    #[inline(always)]
    #[doc(alias = "value")]
    pub fn get(&self) -> Under<'_, T, T> {
        self.under(RawValue::load)
    }

    /// Writes it under the lock.
    ///
    /// # Errors
    ///
    /// As [`lock`](Self::lock).
    #[doc(alias = "value")]
    pub fn set(&self, value: T) -> Under<'_, T, ()> {
        self.under(|raw| {
            raw.store(value);
            Ok(())
        })
    }

    /// Writes it under the lock, and returns what was there before.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub fn replace(&self, value: T) -> Under<'_, T, T> {
        self.under(|raw| raw.replace(value))
    }

    /// Makes it what `change` makes of it, under the lock, and returns that.
    ///
    /// If `change` panics, the value stays as it was, and is unlocked.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get): then `change` is not called.
    #[inline(always)]
    pub fn update(&self, change: impl FnOnce(T) -> T) -> Under<'_, T, T> {
        self.under(|raw| raw.update(change))
    }

    /// The same value in memory of its own, with a lock of its own.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get) and [`new`](Self::new).
    #[doc(alias = "sharedctypes.copy")]
    pub fn copy(&self) -> Under<'_, T, Self> {
        let value = self.get()?;
        Ok(Self::new(value)?)
    }
}

impl<T: Plain> ValueGuard<'_, T> {
    /// Writes it, and returns what was there before.
    ///
    /// # Errors
    ///
    /// As [`RawValue::get`].
    #[inline(always)]
    pub fn replace(&self, value: T) -> Result<T> {
        self.raw.replace(value)
    }

    /// Makes it what `change` makes of it, and returns that.
    ///
    /// # Errors
    ///
    /// As [`RawValue::get`].
    #[inline(always)]
    pub fn update(&self, change: impl FnOnce(T) -> T) -> Result<T> {
        self.raw.update(change)
    }
}

impl<T> ValueGuard<'_, T> {
    /// Whether the owner before died over the lock, and nobody has said since that all is in order.
    pub fn is_after_death(&self) -> bool {
        self.guard.is_after_death()
    }

    /// Says that the value is in order again: the next taker is told of no death.
    pub fn repair(&mut self) {
        self.guard.repair();
    }
}

impl<T> Deref for ValueGuard<'_, T> {
    type Target = RawValue<T>;

    fn deref(&self) -> &RawValue<T> {
        self.raw
    }
}

impl<T> Clone for Value<T> {
    fn clone(&self) -> Self {
        Self { raw: self.raw.clone(), lock: self.lock.clone() }
    }
}

impl<T: Plain + fmt::Debug> fmt::Debug for Value<T> {
    /// What is there, and who has the lock; without waiting for it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Value").field("raw", &self.raw).field("lock", &self.lock).finish()
    }
}

impl<T: Plain + fmt::Debug> fmt::Debug for ValueGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ValueGuard").field("raw", &self.raw).field("guard", &self.guard).finish()
    }
}
