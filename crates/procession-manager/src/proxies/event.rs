//! An event.

use std::time::Duration;

use procession_core::{Deadline, Result};
use procession_sync::WaitError;

use crate::call::{Answer, Call, tell};
use crate::wire::{op, status};

proxy! {
    /// An event at a manager's server: processes wait until somebody sets it.
    ///
    /// # Drop, kill, fork
    ///
    /// See [`Proxy`](crate::Proxy). When the server is gone every wait ends: `WaitError::Failed`, of the kind `Closed`.
    ///
    /// # Source
    ///
    /// CPython `SyncManager.Event()`.
    EventProxy, "Event"
}

/// Whether what was waited for came in time.
pub(super) fn in_time(answer: &mut Answer<'_>) -> Result<bool> {
    Ok(answer.status != status::TIMED_OUT)
}

impl EventProxy {
    /// Whether it is set.
    ///
    /// # Errors
    ///
    /// As [`Call::run`].
    pub fn is_set(&self) -> Result<bool> {
        Call::new(&self.core, op::LOOK, tell::flag, |_none| {}).run()
    }

    /// Sets it; tells whether it was set before. All who wait go on.
    ///
    /// # Errors
    ///
    /// As [`Call::run`].
    pub fn set(&self) -> Result<bool> {
        Call::new(&self.core, op::SET, tell::flag, |_none| {}).run()
    }

    /// Clears it; tells whether it was set before.
    ///
    /// # Errors
    ///
    /// As [`Call::run`].
    pub fn clear(&self) -> Result<bool> {
        Call::new(&self.core, op::CLEAR, tell::flag, |_none| {}).run()
    }

    /// Waits until it is set.
    ///
    /// # Errors
    ///
    /// [`WaitError::Failed`] when the manager is gone.
    pub fn wait(&self) -> Result<(), WaitError> {
        self.wait_deadline(Deadline::NEVER)
    }

    /// Waits until it is set, at most this long.
    ///
    /// # Errors
    ///
    /// [`WaitError::TimedOut`] when it was not set in time; as [`wait`](Self::wait).
    pub fn wait_timeout(&self, timeout: Duration) -> Result<(), WaitError> {
        self.wait_deadline(Deadline::after(timeout))
    }

    /// As [`wait_timeout`](Self::wait_timeout), until a moment.
    ///
    /// # Errors
    ///
    /// As [`wait_timeout`](Self::wait_timeout).
    pub fn wait_deadline(&self, deadline: Deadline) -> Result<(), WaitError> {
        let call =
            Call::new(&self.core, op::WAIT, in_time, |arguments| arguments.deadline(deadline));
        match call.run_until(deadline)? {
            true => Ok(()),
            false => Err(WaitError::TimedOut),
        }
    }
}
