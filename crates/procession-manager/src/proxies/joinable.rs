//! A queue whose items are worked on until they are done.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use procession_core::{Deadline, Result};
use procession_queue::{
    GetError, GetTimeoutError, PutError, PutTimeoutError, QueueJoinError, QueueJoinTimeoutError,
    TryGetError, TryPutError,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::event::in_time;
use super::queue::{Got, Put, close, get, look, put, queue};
use crate::call::{Answer, Call, tell};
use crate::client::request;
use crate::reference::{Core, Reference};
use crate::wire::{Write, op, status};

proxy! {
    /// A [`QueueProxy`](crate::QueueProxy) whose items are worked on until they are done: [`join`](Self::join) waits for that.
    ///
    /// # Drop, kill, fork
    ///
    /// What a process has on [lease](Self::lease) comes back, in front, when it drops the lease, or ends, in whatever way. What it
    /// [got](Self::get), and has not said to be [done](Self::task_done), stays undone.
    ///
    /// # Source
    ///
    /// CPython `SyncManager.JoinableQueue()`.
    JoinableQueueProxy<T>, "JoinableQueue"
}

queue!(JoinableQueueProxy);

/// An item that this process works on: it is the queue's again when this is dropped, or the process ends.
#[must_use = "the item goes back at once when its lease is dropped"]
pub struct LeaseProxy<T> {
    item: Option<T>,
    lease: u64,
    /// Whose it is: nobody's in a forked child.
    reference: Arc<Reference>,
}

impl<T> JoinableQueueProxy<T> {
    /// Says that an item which was [got](Self::get) is done.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](procession_core::ErrorKind::InvalidInput) when more would be done than were put; as [`Call::run`].
    pub fn task_done(&self) -> Result<()> {
        Call::new(&self.core, op::TASK_DONE, tell::nothing, |_none| {}).run()
    }

    /// Waits until all items that were put are done.
    ///
    /// # Errors
    ///
    /// [`QueueJoinError::Failed`] when the manager is gone.
    pub fn join(&self) -> Result<(), QueueJoinError> {
        self.join_at(Deadline::NEVER).map(drop).map_err(QueueJoinError::Failed)
    }

    /// Waits until all items that were put are done, at most this long.
    ///
    /// # Errors
    ///
    /// [`QueueJoinTimeoutError::Timeout`] when they are not in time; [`QueueJoinTimeoutError::Failed`] when the manager is gone.
    pub fn join_timeout(&self, timeout: Duration) -> Result<(), QueueJoinTimeoutError> {
        match self.join_at(Deadline::after(timeout)) {
            Ok(true) => Ok(()),
            Ok(false) => Err(QueueJoinTimeoutError::Timeout),
            Err(error) => Err(QueueJoinTimeoutError::Failed(error)),
        }
    }

    fn join_at(&self, deadline: Deadline) -> Result<bool> {
        let call =
            Call::new(&self.core, op::JOIN, in_time, |arguments| arguments.deadline(deadline));
        call.run_until(deadline)
    }

    /// How many items were put and are not done.
    ///
    /// # Errors
    ///
    /// As [`Call::run`].
    pub fn unfinished(&self) -> Result<u64> {
        look(&self.core).map(|(.., unfinished)| unfinished)
    }
}

impl<T: DeserializeOwned> JoinableQueueProxy<T> {
    /// Gets an item to work on, waiting for one.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get). An item that is not what this queue has is gone and counts as done.
    pub fn lease(&self) -> Result<LeaseProxy<T>, GetError> {
        match self.lease_at(Deadline::NEVER) {
            Ok(Got::Item(lease)) => Ok(lease),
            Ok(Got::Empty | Got::Closed) => Err(GetError::Closed),
            Err(error) => Err(GetError::Failed(error)),
        }
    }

    /// Gets an item to work on if there is one.
    ///
    /// # Errors
    ///
    /// As [`try_get`](Self::try_get).
    pub fn try_lease(&self) -> Result<LeaseProxy<T>, TryGetError> {
        match self.lease_at(Deadline::PAST) {
            Ok(Got::Item(lease)) => Ok(lease),
            Ok(Got::Empty) => Err(TryGetError::Empty),
            Ok(Got::Closed) => Err(TryGetError::Closed),
            Err(error) => Err(TryGetError::Failed(error)),
        }
    }

    /// Gets an item to work on, waiting for one at most this long.
    ///
    /// # Errors
    ///
    /// As [`get_timeout`](Self::get_timeout).
    pub fn lease_timeout(&self, timeout: Duration) -> Result<LeaseProxy<T>, GetTimeoutError> {
        match self.lease_at(Deadline::after(timeout)) {
            Ok(Got::Item(lease)) => Ok(lease),
            Ok(Got::Empty) => Err(GetTimeoutError::Timeout),
            Ok(Got::Closed) => Err(GetTimeoutError::Closed),
            Err(error) => Err(GetTimeoutError::Failed(error)),
        }
    }

    fn lease_at(&self, deadline: Deadline) -> Result<Got<LeaseProxy<T>>> {
        let reference = Arc::clone(self.core.reference()?);
        let decode = |answer: &mut Answer<'_>| {
            Ok(match answer.status {
                status::TIMED_OUT => Got::Empty,
                status::CLOSED => Got::Closed,
                _ => Got::Item((answer.reader.u64()?, answer.value())),
            })
        };
        let call = Call::new(&self.core, op::LEASE_ITEM, decode, |arguments| {
            arguments.deadline(deadline);
        });
        Ok(match call.run_until(deadline)? {
            Got::Empty => Got::Empty,
            Got::Closed => Got::Closed,
            Got::Item((lease, Ok(item))) => {
                Got::Item(LeaseProxy { item: Some(item), lease, reference })
            }
            Got::Item((lease, Err(error))) => {
                end(&reference, lease)?;
                return Err(error);
            }
        })
    }
}

/// Says that a leased item is done.
fn end(reference: &Arc<Reference>, lease: u64) -> Result<()> {
    let core = Core::adopt_shared(reference);
    Call::new(&core, op::ITEM_DONE, tell::nothing, |arguments| arguments.number(lease)).run()
}

impl<T> LeaseProxy<T> {
    /// Says that the item is done, and returns it.
    ///
    /// # Errors
    ///
    /// [`Closed`](procession_core::ErrorKind::Closed) when the manager is gone, or this process did not get the item.
    pub fn done(mut self) -> Result<T> {
        // It was there when this was made, and is taken out here only.
        let item = self.item.take();
        end(&self.reference, self.lease)?;
        item.ok_or_else(crate::wire::not_whole)
    }
}

impl<T> Deref for LeaseProxy<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.item.as_ref().expect("the item is there until the lease ends")
    }
}

impl<T> Drop for LeaseProxy<T> {
    fn drop(&mut self) {
        if self.item.is_some() && self.reference.session.is_ours() {
            let mut request = request(self.reference.object, op::ITEM_BACK);
            request.put_u64(self.lease);
            // When it has returned, others find the item there. When the server is gone, nothing is.
            drop(self.reference.session.call(&mut request, Deadline::PAST));
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for LeaseProxy<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LeaseProxy").field(&self.item).finish()
    }
}
