//! How waiting for something shared may end otherwise than well.

use std::fmt;

use procession_core::arena::Object;
use procession_core::{Error, ErrorKind};

use crate::raw::Halt;

/// Why a lock was not simply taken.
///
/// Converts into [`Error`] with `?`. A guard in it is dropped then, and the next taker is told of the death as well.
pub enum LockError<G> {
    /// The lock is taken, and the guard is here; but whoever had it before died over it, and may have left what it
    /// protects half done. Put that in order and say so (the guard's `repair`), or drop the guard: then the next taker is
    /// told as well.
    OwnerDied(G),
    /// Somebody else had it until the deadline; with the `try_` form, has it now.
    TimedOut,
    /// Something else went wrong.
    Failed(Error),
}

impl<G> LockError<G> {
    /// The guard, if the lock was taken all the same.
    ///
    /// For locks whose data cannot be left half done: `lock.lock().or_else(LockError::into_guard)`.
    ///
    /// # Errors
    ///
    /// This one, when the lock was not taken.
    pub fn into_guard(self) -> Result<G, Self> {
        match self {
            Self::OwnerDied(guard) => Ok(guard),
            other => Err(other),
        }
    }
}

impl<G> fmt::Debug for LockError<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OwnerDied(_) => f.write_str("OwnerDied(..)"),
            Self::TimedOut => f.write_str("TimedOut"),
            Self::Failed(error) => f.debug_tuple("Failed").field(error).finish(),
        }
    }
}

impl<G> fmt::Display for LockError<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OwnerDied(_) => f.write_str("the owner of the lock died"),
            Self::TimedOut => f.write_str("the lock is held by somebody else"),
            Self::Failed(error) => error.fmt(f),
        }
    }
}

impl<G> std::error::Error for LockError<G> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::OwnerDied(_) | Self::TimedOut => None,
            Self::Failed(error) => error.source(),
        }
    }
}

impl<G> From<Error> for LockError<G> {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl<G> From<LockError<G>> for Error {
    fn from(error: LockError<G>) -> Self {
        match error {
            LockError::OwnerDied(_) => Self::new(ErrorKind::OwnerDied, error.to_string()),
            LockError::TimedOut => Self::new(ErrorKind::TimedOut, error.to_string()),
            LockError::Failed(error) => error,
        }
    }
}

/// Why a wait ended without what it was for.
#[derive(Debug, Clone)]
pub enum WaitError {
    /// The deadline passed first; with the `try_` form, it would have had to wait.
    TimedOut,
    /// Every other process that had the object is dead, so that nobody is left to end the wait. Threads of this process
    /// that might are not seen: if there are any, wait again.
    Closed,
    /// A [`Condition`](crate::Condition) only: the wait is over and the lock is held again, but whoever had it in the
    /// meantime died over it, as with [`LockError::OwnerDied`].
    OwnerDied,
    /// Something else went wrong.
    Failed(Error),
}

impl fmt::Display for WaitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut => f.write_str("the wait timed out"),
            Self::Closed => f.write_str("every other process that could end the wait is dead"),
            Self::OwnerDied => f.write_str("the owner of the lock died"),
            Self::Failed(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for WaitError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::TimedOut | Self::Closed | Self::OwnerDied => None,
            Self::Failed(error) => error.source(),
        }
    }
}

impl From<Error> for WaitError {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<WaitError> for Error {
    fn from(error: WaitError) -> Self {
        let text = error.to_string();
        match error {
            WaitError::TimedOut => Self::new(ErrorKind::TimedOut, text),
            WaitError::Closed => Self::new(ErrorKind::Closed, text),
            WaitError::OwnerDied => Self::new(ErrorKind::OwnerDied, text),
            WaitError::Failed(error) => error,
        }
    }
}

impl Halt {
    pub(crate) fn into_wait_error(self, object: &Object) -> WaitError {
        match self {
            Self::TimedOut => WaitError::TimedOut,
            Self::Closed => WaitError::Closed,
            Self::Gone => WaitError::Failed(object.gone()),
            Self::Failed(error) => WaitError::Failed(error),
        }
    }

    pub(crate) fn into_error(self, object: &Object) -> Error {
        self.into_wait_error(object).into()
    }
}

/// Why a barrier was not passed.
#[derive(Debug, Clone)]
pub enum BarrierError {
    /// The barrier is broken: a party's deadline passed, a process died that had it, somebody aborted it, an action failed; or it
    /// was reset while this party waited.
    Broken,
    /// Something else went wrong, or this party's own action.
    Failed(Error),
}

impl fmt::Display for BarrierError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken => f.write_str("the barrier is broken"),
            Self::Failed(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for BarrierError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Broken => None,
            Self::Failed(error) => error.source(),
        }
    }
}

impl From<Error> for BarrierError {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<BarrierError> for Error {
    fn from(error: BarrierError) -> Self {
        match error {
            BarrierError::Broken => Self::new(ErrorKind::Broken, error.to_string()),
            BarrierError::Failed(error) => error,
        }
    }
}
