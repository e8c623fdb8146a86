//! The condition.

use std::fmt;
use std::time::Duration;

use procession_core::arena::{Kind, OWN_WORDS, Object, Remains};
use procession_core::family::{Family, MAX_OBJECTS};
use procession_core::waiting::{Spin, Wait};
use procession_core::{Deadline, Error, ErrorKind, Result};
use procession_sys::before_main;
use procession_sys::prim::AtomicU64;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::raw::condition::RawCondition;
use crate::raw::lock::Taken;
use crate::word::Patient;
use crate::{Lock, LockError, LockGuard, RLock, RLockGuard, WaitError};

/// Of the object's words: the next ticket, the reach; from the ninth on the slots. In the extension all but the first.
const TICKET: usize = 0;
const REACH: usize = 1;
const FIRST_SLOT: usize = 8;
const SLOTS: usize = 24;
const _: () = assert!(REACH < OWN_WORDS, "the arena's words are the arena's");

/// Waiting, under a lock, for what another who takes the lock will bring about.
///
/// The lock is an [`RLock`] of its own, or one that several conditions share ([`with_lock`](Self::with_lock)). A
/// notification goes to those who wait at that moment, those first who have waited longest; none is spurious, none is lost.
/// Notifying does not wait for anybody. It is a handle to an object in shared memory: a clone, or what arrives when it is sent, is
/// the same condition, with the same lock. At most 8208 threads can wait at a time.
///
/// # Drop, kill, fork
///
/// A waiter that is killed takes no notification with it: another waiter gets it. When whoever has the lock dies between a notification
/// and the moment at which the waiter has the lock again, the wait ends in [`WaitError::OwnerDied`], with the lock locked. When every other
/// process that had the condition has died, a wait ends in [`WaitError::Closed`], with the lock locked.
///
/// # Source
///
/// CPython `multiprocessing.Condition`; where its `notify` waits until those that it woke have confirmed it, for ever if one was
/// killed, this one does not wait.
///
/// # Examples
///
/// ```
/// # use procession_sync as procession;
/// # fn main() -> procession_core::Result<()> {
/// use procession::Condition;
///
/// let condition = Condition::new()?;
/// let other = condition.clone();
/// let mut guard = condition.lock()?;
/// let thread = std::thread::spawn(move || -> procession_core::Result<()> {
///     // Not before the wait below has begun.
///     let mut guard = other.lock()?;
///     other.notify_one(&mut guard)
/// });
/// condition.wait(&mut guard)?;
/// # drop(guard);
/// # thread.join().unwrap()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Condition<L = RLock> {
    lock: L,
    object: Object,
}

/// The locks that a [`Condition`] can have: [`Lock`] and [`RLock`].
pub trait AnyLock: Locking {}

impl AnyLock for Lock {}
impl AnyLock for RLock {}

/// The guard of a lock that a [`Condition`] can have.
pub type GuardOf<'a, L> = <L as Locking>::Guard<'a>;

impl Condition<RLock> {
    /// A condition with a recursive lock of its own.
    ///
    /// # Errors
    ///
    /// As [`Object::new`].
    pub fn new() -> Result<Self> {
        Self::with_lock(RLock::new()?)
    }
}

impl<L: AnyLock> Condition<L> {
    /// A condition with a lock that it may share with others.
    ///
    /// # Errors
    ///
    /// As [`Object::new`].
    pub fn with_lock(lock: L) -> Result<Self> {
        let object = Object::new(Kind::CONDITION, FIRST_SLOT + SLOTS, |_, _| {})?;
        Ok(Self { lock, object })
    }

    /// Locks its lock.
    ///
    /// # Errors
    ///
    /// As [`Lock::lock`].
    #[doc(alias = "acquire")]
    pub fn lock(&self) -> Result<GuardOf<'_, L>, LockError<GuardOf<'_, L>>> {
        self.lock.lock_it()
    }

    /// Its lock, for the other ways to lock it.
    pub fn as_lock(&self) -> &L {
        &self.lock
    }

    /// Waits to be notified. The lock, however deep it is locked, is unlocked meanwhile, and locked as deep when this returns,
    /// also with an error.
    ///
    /// # Errors
    ///
    /// [`WaitError::OwnerDied`] after a notification, when whoever had the lock last died over it; [`WaitError::Closed`] when nobody
    /// is left to notify; [`WaitError::Failed`] of kind [`InvalidInput`](ErrorKind::InvalidInput) when the guard is of another
    /// lock, of kind [`TooLarge`](ErrorKind::TooLarge) when too many wait.
    pub fn wait(&self, guard: &mut GuardOf<'_, L>) -> Result<(), WaitError> {
        self.wait_deadline(guard, Deadline::NEVER)
    }

    /// As [`wait`](Self::wait), for at most `timeout`, on the monotonic clock. Locking again may take longer.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait); [`WaitError::TimedOut`] when there was no notification for that long.
    pub fn wait_timeout(
        &self,
        guard: &mut GuardOf<'_, L>,
        timeout: Duration,
    ) -> Result<(), WaitError> {
        self.wait_deadline(guard, Deadline::after(timeout))
    }

    /// As [`wait_timeout`](Self::wait_timeout), until `deadline`.
    ///
    /// # Errors
    ///
    /// As [`wait_timeout`](Self::wait_timeout).
    pub fn wait_deadline(
        &self,
        guard: &mut GuardOf<'_, L>,
        deadline: Deadline,
    ) -> Result<(), WaitError> {
        self.check_guard(guard)?;
        let me = self.object.check()?;
        let slot = self.enter(me.slot)?;
        let Some(depth) = guard.unlock_for_wait() else {
            RawCondition::leave(slot);
            return Err(not_locked().into());
        };
        let mut waiter = Patient::new(Spin::new(1), Wait::new(&self.object, deadline));
        let waited = RawCondition::wait(slot, &mut waiter);
        let taken = guard.lock_after_wait(depth);
        if waited.is_ok() {
            // Not before: until it has the lock, another must be notified if this one dies.
            RawCondition::leave(slot);
        }
        let is_after_death = taken?;
        waited.map_err(|halt| halt.into_wait_error(&self.object))?;
        if is_after_death { Err(WaitError::OwnerDied) } else { Ok(()) }
    }

    fn enter(&self, me: u16) -> Result<&'static AtomicU64> {
        if let Some(slot) = self.raw().enter(me) {
            return Ok(slot);
        }
        self.object.extension()?;
        let many = || Error::new(ErrorKind::TooLarge, "too many wait for a condition");
        self.raw().enter(me).ok_or_else(many)
    }

    /// Waits until `predicate` holds, which is called with the lock locked, at the beginning and after each notification.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait).
    pub fn wait_for(
        &self,
        guard: &mut GuardOf<'_, L>,
        predicate: impl FnMut() -> bool,
    ) -> Result<(), WaitError> {
        self.wait_for_deadline(guard, Deadline::NEVER, predicate)
    }

    /// As [`wait_for`](Self::wait_for), for at most `timeout` in all.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait); [`WaitError::TimedOut`] when the predicate does not hold after that long.
    pub fn wait_for_timeout(
        &self,
        guard: &mut GuardOf<'_, L>,
        timeout: Duration,
        predicate: impl FnMut() -> bool,
    ) -> Result<(), WaitError> {
        self.wait_for_deadline(guard, Deadline::after(timeout), predicate)
    }

    /// As [`wait_for_timeout`](Self::wait_for_timeout), until `deadline`.
    ///
    /// # Errors
    ///
    /// As [`wait_for_timeout`](Self::wait_for_timeout).
    pub fn wait_for_deadline(
        &self,
        guard: &mut GuardOf<'_, L>,
        deadline: Deadline,
        mut predicate: impl FnMut() -> bool,
    ) -> Result<(), WaitError> {
        while !predicate() {
            match self.wait_deadline(guard, deadline) {
                Ok(()) => {}
                Err(WaitError::TimedOut) if predicate() => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Notifies the waiter that has waited longest, if there is one. It goes on once the lock is unlocked.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] when the guard is of another lock; as [`Object::check`].
    pub fn notify_one(&self, guard: &mut GuardOf<'_, L>) -> Result<()> {
        self.notify(guard, 1).map(drop)
    }

    /// Notifies as many as `count` waiters, those that have waited longest; tells how many there were. They go on once the lock
    /// is unlocked.
    ///
    /// # Errors
    ///
    /// As [`notify_one`](Self::notify_one).
    pub fn notify(&self, guard: &mut GuardOf<'_, L>, count: usize) -> Result<usize> {
        self.check_guard(guard)?;
        self.object.check()?;
        let raw = self.raw();
        let mut notified = 0;
        while notified < count
            && let Some(slot) = raw.notify_one()
        {
            notified += 1;
            let whom = if notified == 1 { self.notified(slot) } else { self.notified(MANY) };
            guard.notified().add(whom, self.object.family());
        }
        Ok(notified)
    }

    /// Notifies all who wait; tells how many there were. They go on once the lock is unlocked.
    ///
    /// # Errors
    ///
    /// As [`notify_one`](Self::notify_one).
    pub fn notify_all(&self, guard: &mut GuardOf<'_, L>) -> Result<usize> {
        self.check_guard(guard)?;
        self.object.check()?;
        let notified = self.raw().notify_all();
        if notified > 0 {
            guard.notified().add(self.notified(MANY), self.object.family());
        }
        Ok(notified)
    }

    /// How many wait; by the time that this returns it may be otherwise.
    pub fn waiting(&self) -> usize {
        self.raw().waiting()
    }

    fn check_guard(&self, guard: &GuardOf<'_, L>) -> Result<()> {
        if self.lock.is_locked_by(guard) { Ok(()) } else { Err(not_locked()) }
    }

    fn raw(&self) -> RawCondition<'static, AtomicU64> {
        raw(self.object.words(), self.object.peek_extension())
    }

    fn notified(&self, slot: usize) -> Notified {
        Notified::new(self.object.number(), slot)
    }
}

fn not_locked() -> Error {
    Error::new(ErrorKind::InvalidInput, "the guard is not of the condition's lock")
}

fn raw(
    words: &'static [AtomicU64],
    extension: &'static [AtomicU64],
) -> RawCondition<'static, AtomicU64> {
    RawCondition {
        ticket: &words[TICKET],
        reach: &words[REACH],
        slots: &words[FIRST_SLOT..],
        // The first word names the parent; the arena's own two are left out as well.
        more: extension.get(FIRST_SLOT..).unwrap_or_default(),
    }
}

fn recover(remains: &Remains) {
    raw(remains.words, remains.extension).recover(remains.dead.slot);
}

/// Those who were notified, when the notifier died before it woke them; and all others, who may be alone now.
fn wake(remains: &Remains) {
    raw(remains.words, remains.extension).wake_all();
}

before_main!(register);

fn register() {
    Kind::CONDITION.register(recover, wake, |_, _| false);
}

/// Whom to wake once the lock is unlocked: a sleeper that woke before could not go on. Part of a guard, and so small: bits 14 to 31
/// are the number of a condition's object, 0 to 13 a slot's and one, or all of them for any that were notified. Zero is nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(unnameable_types, reason = "in the signatures of a sealed trait")]
pub struct Notified(u32);

const SLOT_BITS: u32 = 14;
const MANY: usize = (1 << SLOT_BITS) - 2;
const _: () = assert!(SLOTS + 8192 < MANY, "every slot has a number");
const _: () = assert!(MAX_OBJECTS <= 1 << (32 - SLOT_BITS), "so has every object");

impl Notified {
    pub(crate) const NOBODY: Self = Self(0);

    fn new(object: u32, slot: usize) -> Self {
        let slot = u32::try_from(slot.min(MANY)).unwrap_or_default() + 1;
        Self(object << SLOT_BITS | slot)
    }

    /// Wakes them, if there are any.
    #[inline]
    pub(crate) fn wake(self, family: &'static Family) {
        if self != Self::NOBODY {
            self.wake_now(family);
        }
    }

    #[cold]
    fn wake_now(self, family: &'static Family) {
        // If it is gone, or even another by now, nobody or somebody wakes for nothing.
        let Some((words, more)) = family.peek_object(self.0 >> SLOT_BITS, Kind::CONDITION) else {
            return;
        };
        match (self.0 & ((1 << SLOT_BITS) - 1)) as usize - 1 {
            MANY => raw(words, more).wake_notified(),
            slot => raw(words, more).wake_one(slot),
        }
    }

    /// Beside those that are there: those of another condition just wake earlier.
    fn add(&mut self, next: Self, family: &'static Family) {
        if self.0 >> SLOT_BITS == next.0 >> SLOT_BITS && *self != Self::NOBODY {
            *self = Self::new(next.0 >> SLOT_BITS, MANY);
        } else {
            self.wake(family);
            *self = next;
        }
    }
}

/// What a condition does with its lock.
#[expect(unnameable_types, reason = "nobody else can implement it")]
pub trait Locking: Clone {
    type Guard<'a>: Guarding;

    fn lock_it(&self) -> Result<Self::Guard<'_>, LockError<Self::Guard<'_>>>;
    fn is_locked_by(&self, guard: &Self::Guard<'_>) -> bool;
}

/// What a condition does with a guard.
#[expect(unnameable_types, reason = "nobody else can implement it")]
pub trait Guarding {
    /// Unlocks; tells how deep it was locked, or nothing when it was not.
    fn unlock_for_wait(&mut self) -> Option<u32>;
    /// Locks again as deep; tells whether the owner in between died.
    fn lock_after_wait(&mut self, depth: u32) -> Result<bool>;
    fn notified(&mut self) -> &mut Notified;
}

impl Locking for Lock {
    type Guard<'a> = LockGuard<'a>;

    fn lock_it(&self) -> Result<LockGuard<'_>, LockError<LockGuard<'_>>> {
        self.lock()
    }

    fn is_locked_by(&self, guard: &LockGuard<'_>) -> bool {
        self.is_of(guard)
    }
}

impl Locking for RLock {
    type Guard<'a> = RLockGuard<'a>;

    fn lock_it(&self) -> Result<RLockGuard<'_>, LockError<RLockGuard<'_>>> {
        self.lock()
    }

    fn is_locked_by(&self, guard: &RLockGuard<'_>) -> bool {
        self.is_of(guard)
    }
}

impl Guarding for LockGuard<'_> {
    fn unlock_for_wait(&mut self) -> Option<u32> {
        self.unlock().then_some(1)
    }

    fn lock_after_wait(&mut self, _depth: u32) -> Result<bool> {
        Ok(self.lock_again()? == Taken::AfterDeath)
    }

    fn notified(&mut self) -> &mut Notified {
        &mut self.notified
    }
}

impl Guarding for RLockGuard<'_> {
    fn unlock_for_wait(&mut self) -> Option<u32> {
        self.unlock()
    }

    fn lock_after_wait(&mut self, depth: u32) -> Result<bool> {
        Ok(self.lock_again(depth)? == Taken::AfterDeath)
    }

    fn notified(&mut self) -> &mut Notified {
        &mut self.notified
    }
}

impl<L: AnyLock + fmt::Debug> fmt::Debug for Condition<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Condition({:?}, {} wait)", self.lock, self.waiting())
    }
}

impl<L: AnyLock + Serialize> Serialize for Condition<L> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (&self.lock, Part(&self.object)).serialize(serializer)
    }
}

impl<'de, L: AnyLock + Deserialize<'de>> Deserialize<'de> for Condition<L> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (lock, Received(object)) = Deserialize::deserialize(deserializer)?;
        Ok(Self { lock, object })
    }
}

/// The object of a condition, in a message.
struct Part<'a>(&'a Object);
struct Received(Object);

impl Serialize for Part<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Received {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Object::deserialize(Kind::CONDITION, deserializer).map(Self)
    }
}
