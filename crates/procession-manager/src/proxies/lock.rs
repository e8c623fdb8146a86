//! A lock.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use procession_core::{Deadline, Result};
use procession_sync::LockError;

use crate::call::{Answer, Call, tell};
use crate::client::request;
use crate::reference::{Core, Reference};
use crate::wire::{Write, op, status};

proxy! {
    /// A lock at a manager's server: one holds it at a time, in whatever process, on whatever machine.
    ///
    /// Who waits gets it in the order of coming. Between processes of one machine, [`Lock`](../procession/struct.Lock.html) is shared memory, and
    /// a hundred times as fast.
    ///
    /// # Drop, kill, fork
    ///
    /// A guard that is dropped unlocks. When a process ends that has the lock, in whatever way, or cannot be reached any more, the next to take
    /// it gets [`LockError::OwnerDied`] with the guard; it [repairs](LockProxyGuard::repair), or its successor is told as well. A guard that a
    /// forked child has a copy of does nothing. When the server is gone, nobody has the lock any more: `LockError::Failed`, of the kind
    /// `Closed`.
    ///
    /// # Source
    ///
    /// CPython `SyncManager.Lock()`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use procession_manager as procession;
    /// # fn main() -> procession_core::Result<()> {
    /// # procession_process::init();
    /// use procession::Manager;
    ///
    /// let lock = Manager::start()?.lock()?;
    /// let guard = lock.lock()?;
    /// assert!(lock.try_lock().is_err());
    /// drop(guard);
    /// assert!(lock.try_lock().is_ok());
    /// # Ok(())
    /// # }
    /// ```
    LockProxy, "Lock"
}

/// A [`LockProxy`] that this process has until the guard is dropped.
#[must_use = "the lock unlocks at once when its guard is dropped"]
pub struct LockProxyGuard<'a> {
    /// Whose it is: nobody's in a forked child, nor once it is kept.
    reference: Option<Arc<Reference>>,
    is_after_death: bool,
    of: std::marker::PhantomData<&'a LockProxy>,
}

/// What locking brings.
type Locked<'a> = Result<LockProxyGuard<'a>, LockError<LockProxyGuard<'a>>>;

/// A lock without recursion belongs to a process, and not to a thread of it.
pub(super) const ANY_THREAD: u64 = 0;

/// How a lock was come by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    Clean,
    AfterDeath,
    Late,
}

pub(super) fn taken(answer: &mut Answer<'_>) -> Result<Taken> {
    Ok(match answer.status {
        status::OWNER_DIED => Taken::AfterDeath,
        status::TIMED_OUT => Taken::Late,
        _ => Taken::Clean,
    })
}

/// Takes a lock.
pub(super) fn take(
    core: &Core,
    thread: u64,
    deadline: Deadline,
) -> Result<(Arc<Reference>, Taken)> {
    let reference = Arc::clone(core.reference()?);
    let call = Call::new(core, op::ACQUIRE, taken, |arguments| {
        arguments.number(thread);
        arguments.deadline(deadline);
    });
    Ok((reference, call.run_until(deadline)?))
}

/// Gives a lock back, and waits until that is done: who is told of it by this thread finds the lock free.
pub(super) fn give_back(reference: Option<&Reference>, thread: u64) {
    if let Some(reference) = reference
        && reference.session.is_ours()
    {
        let mut request = request(reference.object, op::GIVE_BACK);
        request.put_u64(thread);
        request.put_u8(0);
        // When the server is gone, nobody has the lock any more.
        drop(reference.session.call(&mut request, Deadline::PAST));
    }
}

/// Says that what a lock protects is in order.
pub(super) fn repair(reference: Option<&Reference>) {
    if let Some(reference) = reference
        && reference.session.is_ours()
    {
        reference.session.tell(&request(reference.object, op::REPAIR));
    }
}

/// Gives a lock back that somebody else may have taken.
pub(super) fn release(core: &Core, thread: u64) -> Result<()> {
    Call::new(core, op::GIVE_BACK, tell::nothing, |arguments| {
        arguments.number(thread);
        arguments.flag(true);
    })
    .run()
}

/// Whether somebody has a lock, and how often.
pub(super) fn look(core: &Core) -> Result<(bool, u32)> {
    let decode = |answer: &mut Answer<'_>| Ok((answer.reader.flag()?, answer.reader.u32()?));
    Call::new(core, op::LOOK, decode, |_none| {}).run()
}

impl LockProxy {
    /// Takes the lock, waiting for it.
    ///
    /// # Errors
    ///
    /// [`LockError::OwnerDied`], with the guard; [`LockError::Failed`] when the manager is gone.
    #[doc(alias = "acquire")]
    pub fn lock(&self) -> Locked<'_> {
        self.lock_deadline(Deadline::NEVER)
    }

    /// Takes the lock if nobody has it.
    ///
    /// # Errors
    ///
    /// [`LockError::TimedOut`] when somebody has it; as [`lock`](Self::lock).
    pub fn try_lock(&self) -> Locked<'_> {
        self.lock_deadline(Deadline::PAST)
    }

    /// Takes the lock, waiting for it at most this long.
    ///
    /// # Errors
    ///
    /// [`LockError::TimedOut`] when the time is up; as [`lock`](Self::lock).
    pub fn lock_timeout(&self, timeout: Duration) -> Locked<'_> {
        self.lock_deadline(Deadline::after(timeout))
    }

    /// As [`lock_timeout`](Self::lock_timeout), until a moment.
    ///
    /// # Errors
    ///
    /// As [`lock_timeout`](Self::lock_timeout).
    pub fn lock_deadline(&self, deadline: Deadline) -> Locked<'_> {
        let (reference, taken) = take(&self.core, ANY_THREAD, deadline)?;
        LockProxyGuard::new(reference, taken)
    }

    /// Unlocks without a guard, also for another process that locked.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](procession_core::ErrorKind::InvalidInput) when nobody has it; as [`Call::run`].
    pub fn release(&self) -> Result<()> {
        release(&self.core, ANY_THREAD)
    }

    /// Whether somebody has it.
    ///
    /// # Errors
    ///
    /// As [`Call::run`].
    #[doc(alias = "locked")]
    pub fn is_locked(&self) -> Result<bool> {
        look(&self.core).map(|(is_locked, _)| is_locked)
    }
}

impl LockProxyGuard<'_> {
    pub(super) fn new(reference: Arc<Reference>, taken: Taken) -> Result<Self, LockError<Self>> {
        let is_after_death = taken == Taken::AfterDeath;
        let reference = Some(reference);
        let guard = || Self { reference, is_after_death, of: std::marker::PhantomData };
        match taken {
            Taken::Clean => Ok(guard()),
            Taken::AfterDeath => Err(LockError::OwnerDied(guard())),
            Taken::Late => Err(LockError::TimedOut),
        }
    }

    /// Whether a process died over the lock, and nobody has said since that what it protects is in order.
    pub fn is_after_death(&self) -> bool {
        self.is_after_death
    }

    pub(super) fn note_death(&mut self) {
        self.is_after_death = true;
    }

    /// Says that what the lock protects is in order again.
    pub fn repair(&mut self) {
        if std::mem::take(&mut self.is_after_death) {
            repair(self.reference.as_deref());
        }
    }

    /// Keeps the lock, to be [released](LockProxy::release) by whomever.
    pub fn keep(mut self) {
        self.reference = None;
    }
}

impl Drop for LockProxyGuard<'_> {
    fn drop(&mut self) {
        give_back(self.reference.as_deref(), ANY_THREAD);
    }
}

impl fmt::Debug for LockProxyGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_after_death = self.is_after_death;
        f.debug_struct("LockProxyGuard").field("is_after_death", &is_after_death).finish()
    }
}
