//! Semaphores.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use procession_core::{Deadline, Result};
use procession_sync::WaitError;

use super::event::in_time;
use crate::call::{Answer, Call, tell};
use crate::client::request;
use crate::reference::{Core, Reference};
use crate::wire::{Write, op};

proxy! {
    /// A semaphore at a manager's server: so many permits, which processes take and give back.
    ///
    /// Who waits gets one in the order of coming.
    ///
    /// # Drop, kill, fork
    ///
    /// A [`PermitProxy`] that is dropped goes back, and so do those of a process that ends, in whatever way. A permit without a guard stays
    /// taken. When the server is gone every wait ends: `WaitError::Failed`, of the kind `Closed`.
    ///
    /// # Source
    ///
    /// CPython `SyncManager.Semaphore()`.
    SemaphoreProxy, "Semaphore"
}

proxy! {
    /// A [`SemaphoreProxy`] that never has more permits than it began with: to give one back too often is an error.
    ///
    /// # Drop, kill, fork
    ///
    /// As [`SemaphoreProxy`].
    ///
    /// # Source
    ///
    /// CPython `SyncManager.BoundedSemaphore()`.
    BoundedSemaphoreProxy, "BoundedSemaphore"
}

/// A permit of a semaphore at a manager's server, until it is dropped.
#[must_use = "the permit goes back at once when it is dropped"]
pub struct PermitProxy<'a> {
    /// Whose it is: nobody's in a forked child, nor once it is forgotten.
    reference: Option<Arc<Reference>>,
    of: PhantomData<&'a ()>,
}

impl PermitProxy<'_> {
    /// Keeps the permit, to be released by whomever.
    ///
    /// # Errors
    ///
    /// As [`Call::run`]: then it goes back.
    pub fn forget(mut self) -> Result<()> {
        if let Some(reference) = &self.reference {
            let core = Core::adopt_shared(reference);
            Call::new(&core, op::REPAIR, tell::nothing, |_none| {}).run()?;
        }
        self.reference = None;
        Ok(())
    }
}

impl Drop for PermitProxy<'_> {
    fn drop(&mut self) {
        if let Some(reference) = &self.reference
            && reference.session.is_ours()
        {
            let mut request = request(reference.object, op::GIVE_BACK);
            request.put_u8(1);
            request.put_u32(1);
            // When it has returned, others find the permit there. When the server is gone, nobody has one any more.
            drop(reference.session.call(&mut request, Deadline::PAST));
        }
    }
}

fn acquire(core: &Core, is_guarded: bool, deadline: Deadline) -> Result<Arc<Reference>, WaitError> {
    let reference = Arc::clone(core.reference()?);
    let call = Call::new(core, op::ACQUIRE, in_time, |arguments| {
        arguments.flag(is_guarded);
        arguments.deadline(deadline);
    });
    match call.run_until(deadline)? {
        true => Ok(reference),
        false => Err(WaitError::TimedOut),
    }
}

/// The methods of both.
macro_rules! semaphore {
    ($name:ident) => {
        impl $name {
            /// Takes a permit, waiting for one.
            ///
            /// # Errors
            ///
            /// [`WaitError::Failed`] when the manager is gone.
            pub fn acquire(&self) -> Result<PermitProxy<'_>, WaitError> {
                self.acquire_deadline(Deadline::NEVER)
            }

            /// Takes a permit if there is one.
            ///
            /// # Errors
            ///
            /// [`WaitError::TimedOut`] when there is none; as [`acquire`](Self::acquire).
            pub fn try_acquire(&self) -> Result<PermitProxy<'_>, WaitError> {
                self.acquire_deadline(Deadline::PAST)
            }

            /// Takes a permit, waiting for one at most this long.
            ///
            /// # Errors
            ///
            /// [`WaitError::TimedOut`] when the time is up; as [`acquire`](Self::acquire).
            pub fn acquire_timeout(&self, timeout: Duration) -> Result<PermitProxy<'_>, WaitError> {
                self.acquire_deadline(Deadline::after(timeout))
            }

            /// As [`acquire_timeout`](Self::acquire_timeout), until a moment.
            ///
            /// # Errors
            ///
            /// As [`acquire_timeout`](Self::acquire_timeout).
            pub fn acquire_deadline(
                &self,
                deadline: Deadline,
            ) -> Result<PermitProxy<'_>, WaitError> {
                let reference = Some(acquire(&self.core, true, deadline)?);
                Ok(PermitProxy { reference, of: PhantomData })
            }

            /// Takes a permit without a guard: whoever gives it back [releases](Self::release) it.
            ///
            /// # Errors
            ///
            /// As [`acquire_timeout`](Self::acquire_timeout).
            pub fn acquire_raw(&self, deadline: Deadline) -> Result<(), WaitError> {
                acquire(&self.core, false, deadline).map(drop)
            }

            /// Gives permits back that have no guards.
            ///
            /// # Errors
            ///
            /// [`InvalidInput`](procession_core::ErrorKind::InvalidInput) when there would be more than there may be; as [`Call::run`].
            pub fn release(&self, count: u32) -> Result<()> {
                Call::new(&self.core, op::GIVE_BACK, tell::nothing, |arguments| {
                    arguments.flag(false);
                    arguments.word(count);
                })
                .run()
            }

            /// How many permits there are to be taken.
            ///
            /// # Errors
            ///
            /// As [`Call::run`].
            #[doc(alias = "get_value")]
            pub fn value(&self) -> Result<u32> {
                let decode = |answer: &mut Answer<'_>| answer.reader.u32();
                Call::new(&self.core, op::LOOK, decode, |_none| {}).run()
            }
        }
    };
}

semaphore!(SemaphoreProxy);
semaphore!(BoundedSemaphoreProxy);

impl fmt::Debug for PermitProxy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PermitProxy").finish_non_exhaustive()
    }
}
