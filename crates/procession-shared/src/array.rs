//! Arrays: [`Array`] with its lock, [`ArrayGuard`], and, below, [`RawArray`] without.

mod items;
mod iter;
mod place;
mod raw;

use std::fmt;
use std::ops::{Deref, RangeBounds};
use std::time::Duration;

use procession_core::{Deadline, Result};
use procession_sync::{LockError, RLock, RLockGuard};
use serde::{Deserialize, Serialize};

use crate::Plain;
pub use iter::Iter;
pub use raw::RawArray;

/// Items in shared memory, as many as were asked for when it was made, and a recursive lock.
///
/// It is a handle: a clone, or what arrives when it is sent, is the same array with the same lock. Every operation takes the lock for
/// itself; [`update`](Self::update) copies items out, has them changed, and copies them back under it, and [`lock`](Self::lock) is for more
/// than that. For numbers with atomic operations, and items that each have one writer, a [`RawArray`] needs no lock.
///
/// # Drop, kill, fork
///
/// Memory and lock are there as long as any process has a handle, or a message has it. When a process is killed while it has
/// the lock, whoever takes it next gets [`LockError::OwnerDied`] with the guard, and decides about what is there: each item of 1, 2, 4 or
/// 8 bytes is of before or after, and of several written at once, some may be. Until somebody [repairs](ArrayGuard::repair) it, every
/// operation says so. A child by `fork` has the same array and does not have the lock.
///
/// # Source
///
/// CPython `multiprocessing.Array`.
///
/// # Examples
///
/// ```
/// # use procession_shared as procession;
/// # fn main() -> procession_core::Result<()> {
/// use procession::Array;
///
/// let sums = Array::from_slice(&[1, 2, 3, 4])?;
/// sums.update(.., |items| {
///     for at in 1..items.len() {
///         items[at] += items[at - 1];
///     }
/// })?;
/// assert_eq!(sums.to_vec()?, [1, 3, 6, 10]);
///
/// let guard = sums.lock()?;
/// for at in 0..guard.len() {
///     guard.set(at, -guard.get(at)?)?;
/// }
/// # assert_eq!(guard.to_vec()?, [-1, -3, -6, -10]);
/// # Ok(())
/// # }
/// ```
#[derive(Serialize, Deserialize)]
#[serde(bound = "T: Plain")]
pub struct Array<T> {
    raw: RawArray<T>,
    lock: RLock,
}

/// As long as this lives, the array is locked by this thread. It has the operations of a [`RawArray`].
///
/// Dropped, it unlocks; a thread that has several has to drop all.
#[must_use = "the array is unlocked when this is dropped"]
pub struct ArrayGuard<'a, T> {
    raw: &'a RawArray<T>,
    guard: RLockGuard<'a>,
}

type Locked<'a, T> = Result<ArrayGuard<'a, T>, LockError<ArrayGuard<'a, T>>>;
/// What an operation gives that takes the lock for itself.
type Under<'a, T, R> = Result<R, LockError<ArrayGuard<'a, T>>>;

impl<T: Plain> Array<T> {
    /// `len` items of which all bytes are zero. None is fine.
    ///
    /// # Errors
    ///
    /// As [`RawArray::new`].
    pub fn new(len: usize) -> Result<Self> {
        RawArray::new(len).and_then(Self::with_own_lock)
    }

    /// `len` times `item`.
    ///
    /// # Errors
    ///
    /// As [`RawArray::filled`].
    pub fn filled(len: usize, item: T) -> Result<Self> {
        RawArray::filled(len, item).and_then(Self::with_own_lock)
    }

    /// A copy of `items`.
    ///
    /// # Errors
    ///
    /// As [`RawArray::from_slice`].
    pub fn from_slice(items: &[T]) -> Result<Self> {
        RawArray::from_slice(items).and_then(Self::with_own_lock)
    }

    /// What the iterator gives. Its items are counted before the array is made.
    ///
    /// # Errors
    ///
    /// As [`RawArray::from_iter`].
    #[expect(clippy::should_implement_trait, reason = "it may fail, which the trait's may not")]
    pub fn from_iter(items: impl IntoIterator<Item = T>) -> Result<Self> {
        RawArray::from_iter(items).and_then(Self::with_own_lock)
    }

    fn with_own_lock(raw: RawArray<T>) -> Result<Self> {
        Ok(Self::synchronized(raw, RLock::new()?))
    }

    /// That array, with that lock, which others may have as well. Whoever has the array without the lock is not kept from it.
    #[doc(alias = "sharedctypes.synchronized")]
    pub fn synchronized(raw: RawArray<T>, lock: RLock) -> Self {
        Self { raw, lock }
    }

    /// The lock.
    pub fn get_lock(&self) -> &RLock {
        &self.lock
    }

    /// The array without its lock.
    #[doc(alias = "get_obj")]
    pub fn raw(&self) -> &RawArray<T> {
        &self.raw
    }

    /// How many items there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.raw.len()
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    /// Locks it, waiting for as long as another thread has it.
    ///
    /// # Errors
    ///
    /// [`LockError::OwnerDied`] with the guard, when whoever had it before died over it; [`LockError::Failed`] as [`RLock::lock`].
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
        match locked {
            Ok(guard) => Ok(ArrayGuard { raw: &self.raw, guard }),
            Err(error) => Err(self.refused(error)),
        }
    }

    #[cold]
    fn refused<'a>(&'a self, error: LockError<RLockGuard<'a>>) -> LockError<ArrayGuard<'a, T>> {
        match error {
            LockError::OwnerDied(guard) => {
                LockError::OwnerDied(ArrayGuard { raw: &self.raw, guard })
            }
            LockError::TimedOut => LockError::TimedOut,
            LockError::Failed(error) => LockError::Failed(error),
        }
    }

    /// Runs `act` under the lock. It makes no guard: that would be put together in memory, which takes longer than all the rest.
    /// What can be found out before the lock is taken is: the processor waits there, and has nothing else to do.
    #[inline(always)]
    pub(crate) fn under<R>(&self, act: impl FnOnce(&RawArray<T>) -> Result<R>) -> Under<'_, T, R> {
        match self.lock.run(|| act(&self.raw)) {
            Ok(acted) => acted.map_err(LockError::Failed),
            Err(error) => Err(self.refused(error)),
        }
    }

    /// Reads one item under the lock.
    ///
    /// # Errors
    ///
    /// As [`lock`](Self::lock) and [`RawArray::get`].
    #[inline(always)]
    pub fn get(&self, index: usize) -> Under<'_, T, T> {
        let slot = self.raw.slot(index)?;
        self.under(|_| slot.load())
    }

    /// Writes one item under the lock.
    ///
    /// # Errors
    ///
    /// As [`lock`](Self::lock) and [`RawArray::set`].
    #[inline(always)]
    pub fn set(&self, index: usize, item: T) -> Under<'_, T, ()> {
        let slot = self.raw.slot(index)?;
        self.under(|_| {
            slot.store(item);
            Ok(())
        })
    }

    /// Makes one item what `change` makes of it, under the lock, and returns that.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get): then `change` is not called.
    #[inline(always)]
    pub fn update_item(&self, index: usize, change: impl FnOnce(T) -> T) -> Under<'_, T, T> {
        let slot = self.raw.slot(index)?;
        self.under(|_| slot.update(change))
    }

    /// Copies the items of `range` under the lock into `out`, which has room for just so many.
    ///
    /// # Errors
    ///
    /// As [`lock`](Self::lock) and [`RawArray::read`].
    pub fn read(&self, range: impl RangeBounds<usize>, out: &mut [T]) -> Under<'_, T, ()> {
        self.under(|raw| raw.read(range, out))
    }

    /// The items of `range`, copied under the lock.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub fn read_vec(&self, range: impl RangeBounds<usize>) -> Under<'_, T, Vec<T>> {
        self.under(|raw| raw.read_vec(range))
    }

    /// All items, copied under the lock.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    #[doc(alias = "raw")]
    pub fn to_vec(&self) -> Under<'_, T, Vec<T>> {
        self.read_vec(..)
    }

    /// Copies `items` under the lock to those from `start` on.
    ///
    /// # Errors
    ///
    /// As [`lock`](Self::lock) and [`RawArray::write`].
    pub fn write(&self, start: usize, items: &[T]) -> Under<'_, T, ()> {
        self.under(|raw| raw.write(start, items))
    }

    /// Makes all items `item`, under the lock.
    ///
    /// # Errors
    ///
    /// As [`lock`](Self::lock) and [`RawArray::fill`].
    pub fn fill(&self, item: T) -> Under<'_, T, ()> {
        self.under(|raw| raw.fill(item))
    }

    /// Copies the items of `range` out, has `change` change them, and copies them back, all under the lock.
    ///
    /// If `change` panics, the array stays as it was, and is unlocked.
    ///
    /// # Errors
    ///
    /// As [`lock`](Self::lock) and [`RawArray::read`]: then `change` is not called.
    pub fn update<R>(
        &self,
        range: impl RangeBounds<usize>,
        change: impl FnOnce(&mut [T]) -> R,
    ) -> Under<'_, T, R> {
        self.under(|raw| raw.update(range, change))
    }

    /// The same items in memory of their own, with a lock of their own.
    ///
    /// # Errors
    ///
    /// As [`lock`](Self::lock) and [`RawArray::copy`].
    #[doc(alias = "sharedctypes.copy")]
    pub fn copy(&self) -> Under<'_, T, Self> {
        self.under(|raw| raw.copy().and_then(Self::with_own_lock))
    }
}

impl<T: Plain> ArrayGuard<'_, T> {
    /// Makes one item what `change` makes of it, and returns that.
    ///
    /// # Errors
    ///
    /// As [`RawArray::get`].
    #[inline(always)]
    pub fn update_item(&self, index: usize, change: impl FnOnce(T) -> T) -> Result<T> {
        self.raw.slot(index)?.update(change)
    }

    /// Copies the items of `range` out, has `change` change them, and copies them back.
    ///
    /// # Errors
    ///
    /// As [`RawArray::read`].
    pub fn update<R>(
        &self,
        range: impl RangeBounds<usize>,
        change: impl FnOnce(&mut [T]) -> R,
    ) -> Result<R> {
        self.raw.update(range, change)
    }
}

impl<T> ArrayGuard<'_, T> {
    /// Whether the owner before died over the lock, and nobody has said since that all is in order.
    pub fn is_after_death(&self) -> bool {
        self.guard.is_after_death()
    }

    /// Says that the items are in order again: the next taker is told of no death.
    pub fn repair(&mut self) {
        self.guard.repair();
    }
}

impl<T> Deref for ArrayGuard<'_, T> {
    type Target = RawArray<T>;

    fn deref(&self) -> &RawArray<T> {
        self.raw
    }
}

impl<T> Clone for Array<T> {
    fn clone(&self) -> Self {
        Self { raw: self.raw.clone(), lock: self.lock.clone() }
    }
}

impl<T: Plain + fmt::Debug> fmt::Debug for Array<T> {
    /// The first items, and who has the lock; without waiting for it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Array").field("raw", &self.raw).field("lock", &self.lock).finish()
    }
}

impl<T: Plain + fmt::Debug> fmt::Debug for ArrayGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArrayGuard").field("raw", &self.raw).field("guard", &self.guard).finish()
    }
}
