//! A recursive lock.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use procession_core::{Deadline, Result};
use procession_sync::LockError;
use procession_sys::prim::AtomicU64;
use procession_sys::prim::Ordering::Relaxed;

use super::lock::{Taken, give_back, look, release, repair, take};
use crate::reference::Reference;

proxy! {
    /// A lock at a manager's server that a thread may take again when it has it. See [`LockProxy`](crate::LockProxy).
    ///
    /// # Drop, kill, fork
    ///
    /// As [`LockProxy`](crate::LockProxy); it is unlocked when the last guard is dropped.
    ///
    /// # Source
    ///
    /// CPython `SyncManager.RLock()`.
    RLockProxy, "RLock"
}

/// An [`RLockProxy`] that this thread has until the guard is dropped.
#[must_use = "the lock unlocks at once when its guard is dropped"]
pub struct RLockProxyGuard<'a> {
    /// Whose it is: nobody's in a forked child, nor once it is kept.
    reference: Option<Arc<Reference>>,
    is_after_death: bool,
    /// It is the thread's.
    of: PhantomData<(&'a RLockProxy, *const ())>,
}

/// What locking brings.
type Locked<'a> = Result<RLockProxyGuard<'a>, LockError<RLockProxyGuard<'a>>>;

/// What tells this thread from others of its process.
fn this_thread() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    thread_local! {
        static NUMBER: u64 = NEXT.fetch_add(1, Relaxed);
    }
    NUMBER.with(|number| *number)
}

impl RLockProxy {
    /// Takes the lock, waiting for it.
    ///
    /// # Errors
    ///
    /// As [`LockProxy::lock`](crate::LockProxy::lock).
    #[doc(alias = "acquire")]
    pub fn lock(&self) -> Locked<'_> {
        self.lock_deadline(Deadline::NEVER)
    }

    /// Takes the lock if no other thread has it.
    ///
    /// # Errors
    ///
    /// As [`LockProxy::try_lock`](crate::LockProxy::try_lock).
    pub fn try_lock(&self) -> Locked<'_> {
        self.lock_deadline(Deadline::PAST)
    }

    /// Takes the lock, waiting for it at most this long.
    ///
    /// # Errors
    ///
    /// As [`LockProxy::lock_timeout`](crate::LockProxy::lock_timeout).
    pub fn lock_timeout(&self, timeout: Duration) -> Locked<'_> {
        self.lock_deadline(Deadline::after(timeout))
    }

    /// As [`lock_timeout`](Self::lock_timeout), until a moment.
    ///
    /// # Errors
    ///
    /// As [`lock_timeout`](Self::lock_timeout).
    pub fn lock_deadline(&self, deadline: Deadline) -> Locked<'_> {
        let (reference, taken) = take(&self.core, this_thread(), deadline)?;
        let is_after_death = taken == Taken::AfterDeath;
        let reference = Some(reference);
        let guard = || RLockProxyGuard { reference, is_after_death, of: PhantomData };
        match taken {
            Taken::Clean => Ok(guard()),
            Taken::AfterDeath => Err(LockError::OwnerDied(guard())),
            Taken::Late => Err(LockError::TimedOut),
        }
    }

    /// Gives it back once, without a guard.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](procession_core::ErrorKind::InvalidInput) when this thread does not have it; as
    /// [`Call::run`](crate::Call::run).
    pub fn release(&self) -> Result<()> {
        release(&self.core, this_thread())
    }

    /// Whether somebody has it.
    ///
    /// # Errors
    ///
    /// As [`Call::run`](crate::Call::run).
    #[doc(alias = "locked")]
    pub fn is_locked(&self) -> Result<bool> {
        look(&self.core).map(|(is_locked, _)| is_locked)
    }

    /// How often whoever has it has taken it.
    ///
    /// # Errors
    ///
    /// As [`Call::run`](crate::Call::run).
    pub fn depth(&self) -> Result<u32> {
        look(&self.core).map(|(_, depth)| depth)
    }
}

impl RLockProxyGuard<'_> {
    /// Whether a process died over the lock, and nobody has said since that what it protects is in order.
    pub fn is_after_death(&self) -> bool {
        self.is_after_death
    }

    /// Says that what the lock protects is in order again.
    pub fn repair(&mut self) {
        if std::mem::take(&mut self.is_after_death) {
            repair(self.reference.as_deref());
        }
    }

    /// Keeps the lock, to be [released](RLockProxy::release) by this thread.
    pub fn keep(mut self) {
        self.reference = None;
    }
}

impl Drop for RLockProxyGuard<'_> {
    fn drop(&mut self) {
        give_back(self.reference.as_deref(), this_thread());
    }
}

impl fmt::Debug for RLockProxyGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_after_death = self.is_after_death;
        f.debug_struct("RLockProxyGuard").field("is_after_death", &is_after_death).finish()
    }
}
