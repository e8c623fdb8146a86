//! A condition.

use std::fmt;
use std::time::Duration;

use procession_core::{Deadline, Result};
use procession_sync::{LockError, WaitError};

use super::lock::{ANY_THREAD, LockProxyGuard, Taken, take, taken};
use crate::call::{Call, tell};
use crate::wire::op;

proxy! {
    /// A condition at a manager's server: processes wait until another one says that what they wait for may have come. It has a lock of its own.
    ///
    /// Those who wait are notified in the order of coming, and a notification for nobody is gone.
    ///
    /// # Drop, kill, fork
    ///
    /// Who waits when its process ends is forgotten. A process that ends while it has the lock makes those who wait find out as with
    /// [`LockProxy`](crate::LockProxy): `WaitError::OwnerDied`. When the server is gone every wait ends: `WaitError::Failed`, of the kind
    /// `Closed`.
    ///
    /// # Source
    ///
    /// CPython `SyncManager.Condition()`.
    ConditionProxy, "Condition"
}

/// The lock of a [`ConditionProxy`], which this process has until the guard is dropped.
#[must_use = "the lock unlocks at once when its guard is dropped"]
pub struct ConditionGuard<'a>(LockProxyGuard<'a>);

/// What locking brings.
type Locked<'a> = Result<ConditionGuard<'a>, LockError<ConditionGuard<'a>>>;

/// There is one to each lock.
const THE_CONDITION: u64 = 0;

impl ConditionProxy {
    /// Takes the lock, waiting for it.
    ///
    /// # Errors
    ///
    /// As [`LockProxy::lock`](crate::LockProxy::lock).
    #[doc(alias = "acquire")]
    pub fn lock(&self) -> Locked<'_> {
        let (reference, taken) = take(&self.core, ANY_THREAD, Deadline::NEVER)?;
        match LockProxyGuard::new(reference, taken) {
            Ok(guard) => Ok(ConditionGuard(guard)),
            Err(LockError::OwnerDied(guard)) => Err(LockError::OwnerDied(ConditionGuard(guard))),
            Err(LockError::TimedOut) => Err(LockError::TimedOut),
            Err(LockError::Failed(error)) => Err(LockError::Failed(error)),
        }
    }

    /// Gives the lock up, waits to be notified, and takes the lock again.
    ///
    /// # Errors
    ///
    /// [`WaitError::OwnerDied`] when somebody died over the lock meanwhile: this one has it again all the same;
    /// [`WaitError::Failed`] when the guard is of another condition, or the manager is gone.
    pub fn wait(&self, guard: &mut ConditionGuard<'_>) -> Result<(), WaitError> {
        self.wait_deadline(guard, Deadline::NEVER)
    }

    /// As [`wait`](Self::wait), at most this long. The lock is taken again in any case, however long that takes.
    ///
    /// # Errors
    ///
    /// [`WaitError::TimedOut`] when nobody has notified this one in time; as [`wait`](Self::wait).
    pub fn wait_timeout(
        &self,
        guard: &mut ConditionGuard<'_>,
        timeout: Duration,
    ) -> Result<(), WaitError> {
        self.wait_deadline(guard, Deadline::after(timeout))
    }

    /// As [`wait_timeout`](Self::wait_timeout), until a moment.
    ///
    /// # Errors
    ///
    /// As [`wait_timeout`](Self::wait_timeout).
    pub fn wait_deadline(
        &self,
        guard: &mut ConditionGuard<'_>,
        deadline: Deadline,
    ) -> Result<(), WaitError> {
        let call = Call::new(&self.core, op::WAIT, taken, |arguments| {
            arguments.number(THE_CONDITION);
            arguments.number(ANY_THREAD);
            arguments.deadline(deadline);
        });
        // How long the lock takes nobody knows.
        match call.run_until(Deadline::NEVER)? {
            Taken::Clean => Ok(()),
            Taken::Late => Err(WaitError::TimedOut),
            Taken::AfterDeath => {
                guard.0.note_death();
                Err(WaitError::OwnerDied)
            }
        }
    }

    /// Waits until `is_so` says yes, which is asked at first and after each notification.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait).
    pub fn wait_for(
        &self,
        guard: &mut ConditionGuard<'_>,
        is_so: impl FnMut() -> bool,
    ) -> Result<(), WaitError> {
        self.wait_for_deadline(guard, is_so, Deadline::NEVER)
    }

    /// As [`wait_for`](Self::wait_for), at most this long altogether.
    ///
    /// # Errors
    ///
    /// [`WaitError::TimedOut`] when it was not so in time; as [`wait`](Self::wait).
    pub fn wait_for_timeout(
        &self,
        guard: &mut ConditionGuard<'_>,
        is_so: impl FnMut() -> bool,
        timeout: Duration,
    ) -> Result<(), WaitError> {
        self.wait_for_deadline(guard, is_so, Deadline::after(timeout))
    }

    fn wait_for_deadline(
        &self,
        guard: &mut ConditionGuard<'_>,
        mut is_so: impl FnMut() -> bool,
        deadline: Deadline,
    ) -> Result<(), WaitError> {
        while !is_so() {
            match self.wait_deadline(guard, deadline) {
                Err(WaitError::TimedOut) if is_so() => return Ok(()),
                other => other?,
            }
        }
        Ok(())
    }

    /// Notifies who has waited longest; tells whether anybody waits.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](procession_core::ErrorKind::InvalidInput) when the guard is of another condition; as [`Call::run`].
    pub fn notify_one(&self, guard: &mut ConditionGuard<'_>) -> Result<bool> {
        self.notify(guard, 1).map(|count| count > 0)
    }

    /// Notifies the first `count` of those who wait; tells how many there were.
    ///
    /// # Errors
    ///
    /// As [`notify_one`](Self::notify_one).
    pub fn notify(&self, _guard: &mut ConditionGuard<'_>, count: usize) -> Result<usize> {
        Call::new(&self.core, op::NOTIFY, tell::size, |arguments| {
            arguments.number(THE_CONDITION);
            arguments.number(ANY_THREAD);
            arguments.number(count as u64);
        })
        .run()
    }

    /// Notifies all who wait; tells how many there were.
    ///
    /// # Errors
    ///
    /// As [`notify_one`](Self::notify_one).
    pub fn notify_all(&self, guard: &mut ConditionGuard<'_>) -> Result<usize> {
        self.notify(guard, usize::MAX)
    }

    /// How many wait.
    ///
    /// # Errors
    ///
    /// As [`Call::run`].
    pub fn waiting(&self) -> Result<usize> {
        Call::new(&self.core, op::LEN, tell::size, |arguments| arguments.number(THE_CONDITION))
            .run()
    }
}

impl ConditionGuard<'_> {
    /// Whether a process died over the lock, and nobody has said since that what it protects is in order.
    pub fn is_after_death(&self) -> bool {
        self.0.is_after_death()
    }

    /// Says that what the lock protects is in order again.
    pub fn repair(&mut self) {
        self.0.repair();
    }
}

impl fmt::Debug for ConditionGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ConditionGuard").field(&self.0).finish()
    }
}
