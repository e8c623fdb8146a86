//! A queue.

use std::time::Duration;

use procession_core::{Deadline, Result};
use procession_queue::{
    GetError, GetTimeoutError, PutError, PutTimeoutError, TryGetError, TryPutError,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::call::{Answer, Call, tell};
use crate::reference::Core;
use crate::wire::{op, status};

proxy! {
    /// A queue at a manager's server: any number of processes put, any number get, on whatever machine. Each item is got once.
    ///
    /// Who waits, to put or to get, is served in the order of coming. Between processes of one machine,
    /// [`Queue`](../procession/struct.Queue.html) is shared memory, and holds handles as well.
    ///
    /// # Drop, kill, fork
    ///
    /// An item that was put is there as long as the server and the queue are. One that a process got when it ended is gone with it;
    /// [`JoinableQueueProxy`](crate::JoinableQueueProxy) has leases for that. When the server is gone every wait ends, with an error of
    /// the kind `Closed`: the item of a put that was under way may be in or not.
    ///
    /// # Source
    ///
    /// CPython `SyncManager.Queue()`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use procession_manager as procession;
    /// # fn main() -> procession_core::Result<()> {
    /// # procession_process::init();
    /// use procession::Manager;
    ///
    /// let manager = Manager::start()?;
    /// let queue = manager.queue::<String>()?;
    /// queue.put("hello".into())?;
    /// assert_eq!(queue.get()?, "hello");
    /// assert!(queue.try_get().is_err());
    /// # Ok(())
    /// # }
    /// ```
    QueueProxy<T>, "Queue"
}

/// What became of an item that was to be put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Put {
    Yes,
    Full,
    Closed,
}

/// What there was to be got.
#[derive(Debug)]
pub(super) enum Got<T> {
    Item(T),
    Empty,
    Closed,
}

pub(super) fn put<T: Serialize>(core: &Core, item: &T, deadline: Deadline) -> Result<Put> {
    let decode = |answer: &mut Answer<'_>| {
        Ok(match answer.status {
            status::TIMED_OUT => Put::Full,
            status::CLOSED => Put::Closed,
            _ => Put::Yes,
        })
    };
    Call::new(core, op::PUT, decode, |arguments| {
        arguments.deadline(deadline);
        arguments.value(item);
    })
    .run_until(deadline)
}

pub(super) fn get<T: DeserializeOwned>(core: &Core, deadline: Deadline) -> Result<Got<T>> {
    let decode = |answer: &mut Answer<'_>| {
        Ok(match answer.status {
            status::TIMED_OUT => Got::Empty,
            status::CLOSED => Got::Closed,
            _ => Got::Item(answer.value()?),
        })
    };
    Call::new(core, op::TAKE, decode, |arguments| arguments.deadline(deadline)).run_until(deadline)
}

/// What a queue is like: items, capacity (zero is none), whether it is closed, items that are not done.
pub(super) fn look(core: &Core) -> Result<(u64, u64, bool, u64)> {
    let decode = |answer: &mut Answer<'_>| {
        let (len, capacity) = (answer.reader.u64()?, answer.reader.u64()?);
        Ok((len, capacity, answer.reader.flag()?, answer.reader.u64()?))
    };
    Call::new(core, op::LOOK, decode, |_none| {}).run()
}

pub(super) fn close(core: &Core) -> Result<()> {
    Call::new(core, op::CLOSE, tell::nothing, |_none| {}).run()
}

/// The methods that both kinds of queues have.
macro_rules! queue {
    ($name:ident) => {
        impl<T> $name<T> {
            /// How many items there are.
            ///
            /// # Errors
            ///
            /// As [`Call::run`](crate::Call::run).
            #[doc(alias = "qsize")]
            pub fn len(&self) -> Result<usize> {
                look(&self.core).map(|(len, ..)| usize::try_from(len).unwrap_or(usize::MAX))
            }

            /// Whether there is no item.
            ///
            /// # Errors
            ///
            /// As [`Call::run`](crate::Call::run).
            #[doc(alias = "empty")]
            pub fn is_empty(&self) -> Result<bool> {
                look(&self.core).map(|(len, ..)| len == 0)
            }

            /// Whether there is no room for another item.
            ///
            /// # Errors
            ///
            /// As [`Call::run`](crate::Call::run).
            #[doc(alias = "full")]
            pub fn is_full(&self) -> Result<bool> {
                look(&self.core).map(|(len, capacity, ..)| capacity > 0 && len >= capacity)
            }

            /// How many items it holds at most; `None` when there is no such number.
            ///
            /// # Errors
            ///
            /// As [`Call::run`](crate::Call::run).
            #[doc(alias = "maxsize")]
            pub fn capacity(&self) -> Result<Option<u64>> {
                look(&self.core).map(|(_, capacity, ..)| (capacity > 0).then_some(capacity))
            }

            /// Closes it, for all: nothing more is put, what is there is still got, and then comes the end.
            ///
            /// # Errors
            ///
            /// As [`Call::run`](crate::Call::run).
            pub fn close(&self) -> Result<()> {
                close(&self.core)
            }

            /// Whether it was closed.
            ///
            /// # Errors
            ///
            /// As [`Call::run`](crate::Call::run).
            pub fn is_closed(&self) -> Result<bool> {
                look(&self.core).map(|(_, _, is_closed, _)| is_closed)
            }
        }

        impl<T: Serialize> $name<T> {
            /// Puts an item, waiting for room.
            ///
            /// # Errors
            ///
            /// [`PutError::Closed`] with the item when the queue was closed; [`PutError::Failed`] as
            /// [`Call::run`](crate::Call::run).
            pub fn put(&self, item: T) -> Result<(), PutError<T>> {
                match put(&self.core, &item, Deadline::NEVER) {
                    Ok(Put::Yes) => Ok(()),
                    Ok(Put::Full | Put::Closed) => Err(PutError::Closed(item)),
                    Err(error) => Err(PutError::Failed(error)),
                }
            }

            /// Puts an item if there is room.
            ///
            /// # Errors
            ///
            /// [`TryPutError::Full`] with the item when there is none; as [`put`](Self::put).
            #[doc(alias = "put_nowait")]
            pub fn try_put(&self, item: T) -> Result<(), TryPutError<T>> {
                match put(&self.core, &item, Deadline::PAST) {
                    Ok(Put::Yes) => Ok(()),
                    Ok(Put::Full) => Err(TryPutError::Full(item)),
                    Ok(Put::Closed) => Err(TryPutError::Closed(item)),
                    Err(error) => Err(TryPutError::Failed(error)),
                }
            }

            /// Puts an item, waiting for room at most this long.
            ///
            /// # Errors
            ///
            /// [`PutTimeoutError::Timeout`] with the item when the time is up; as [`put`](Self::put).
            pub fn put_timeout(
                &self,
                item: T,
                timeout: Duration,
            ) -> Result<(), PutTimeoutError<T>> {
                match put(&self.core, &item, Deadline::after(timeout)) {
                    Ok(Put::Yes) => Ok(()),
                    Ok(Put::Full) => Err(PutTimeoutError::Timeout(item)),
                    Ok(Put::Closed) => Err(PutTimeoutError::Closed(item)),
                    Err(error) => Err(PutTimeoutError::Failed(error)),
                }
            }
        }

        impl<T: DeserializeOwned> $name<T> {
            /// Gets an item, waiting for one.
            ///
            /// # Errors
            ///
            /// [`GetError::Closed`] when the queue was closed and nothing is left; [`GetError::Failed`] as
            /// [`Call::run`](crate::Call::run).
            pub fn get(&self) -> Result<T, GetError> {
                match get(&self.core, Deadline::NEVER) {
                    Ok(Got::Item(item)) => Ok(item),
                    Ok(Got::Empty | Got::Closed) => Err(GetError::Closed),
                    Err(error) => Err(GetError::Failed(error)),
                }
            }

            /// Gets an item if there is one.
            ///
            /// # Errors
            ///
            /// [`TryGetError::Empty`] when there is none; as [`get`](Self::get).
            #[doc(alias = "get_nowait")]
            pub fn try_get(&self) -> Result<T, TryGetError> {
                match get(&self.core, Deadline::PAST) {
                    Ok(Got::Item(item)) => Ok(item),
                    Ok(Got::Empty) => Err(TryGetError::Empty),
                    Ok(Got::Closed) => Err(TryGetError::Closed),
                    Err(error) => Err(TryGetError::Failed(error)),
                }
            }

            /// Gets an item, waiting for one at most this long.
            ///
            /// # Errors
            ///
            /// [`GetTimeoutError::Timeout`] when none came in time; none was lost. As [`get`](Self::get).
            pub fn get_timeout(&self, timeout: Duration) -> Result<T, GetTimeoutError> {
                match get(&self.core, Deadline::after(timeout)) {
                    Ok(Got::Item(item)) => Ok(item),
                    Ok(Got::Empty) => Err(GetTimeoutError::Timeout),
                    Ok(Got::Closed) => Err(GetTimeoutError::Closed),
                    Err(error) => Err(GetTimeoutError::Failed(error)),
                }
            }
        }
    };
}

pub(super) use queue;

queue!(QueueProxy);
