//! Why an item was not put, or none was got.

use std::fmt;

use procession_core::{Error, ErrorKind};

/// Why [`put`](crate::Queue::put) did not put.
#[derive(Debug)]
pub enum PutError<T> {
    /// The queue was closed, or is full and everybody else who had it is dead. The item is here.
    Closed(T),
    /// It cannot be put: it cannot be encoded, is too large, or the system is out of memory, or of room for descriptors.
    Failed(Error),
}

/// Why [`try_put`](crate::Queue::try_put) did not put.
#[derive(Debug)]
pub enum TryPutError<T> {
    /// There is no room for this item yet.
    Full(T),
    /// The queue was closed.
    Closed(T),
    /// It cannot be put; see [`PutError::Failed`].
    Failed(Error),
}

/// Why [`put_timeout`](crate::Queue::put_timeout) did not put.
#[derive(Debug)]
pub enum PutTimeoutError<T> {
    /// There was no room for this item in time.
    Timeout(T),
    /// As [`PutError::Closed`].
    Closed(T),
    /// It cannot be put; see [`PutError::Failed`].
    Failed(Error),
}

/// Why [`get`](crate::Queue::get) brought no item.
#[derive(Debug)]
pub enum GetError {
    /// The queue was closed and all its items were got; or it is empty and everybody else who had it is dead.
    Closed,
    /// An item could not be got. If it was not what this queue has, it is gone, and the queue goes on behind it.
    Failed(Error),
}

/// Why [`try_get`](crate::Queue::try_get) brought no item.
#[derive(Debug)]
pub enum TryGetError {
    /// No item is there yet.
    Empty,
    /// The queue was closed and all its items were got.
    Closed,
    /// As [`GetError::Failed`].
    Failed(Error),
}

/// Why [`get_timeout`](crate::Queue::get_timeout) brought no item.
#[derive(Debug)]
pub enum GetTimeoutError {
    /// No item came in time; none was lost.
    Timeout,
    /// As [`GetError::Closed`].
    Closed,
    /// As [`GetError::Failed`].
    Failed(Error),
}

/// Why [`join`](crate::JoinableQueue::join) did not see all items done.
#[derive(Debug)]
pub enum QueueJoinError {
    /// There are items that nobody has, and everybody else who had the queue is dead.
    Abandoned,
    /// The system is out of memory.
    Failed(Error),
}

/// Why [`join_timeout`](crate::JoinableQueue::join_timeout) did not see all items done.
#[derive(Debug)]
pub enum QueueJoinTimeoutError {
    /// They were not in time.
    Timeout,
    /// As [`QueueJoinError::Abandoned`].
    Abandoned,
    /// As [`QueueJoinError::Failed`].
    Failed(Error),
}

const LEFT: &str = "items of the queue are not done";
const ABANDONED: &str = "items of the queue are left, and everybody else who had it is dead";
const CLOSED: &str = "the queue is closed";
const FULL: &str = "the queue is full";
const EMPTY: &str = "the queue is empty";

impl<T> PutError<T> {
    /// The item, if it is here.
    pub fn into_item(self) -> Option<T> {
        match self {
            Self::Closed(item) => Some(item),
            Self::Failed(_) => None,
        }
    }
}

impl<T> TryPutError<T> {
    /// The item, if it is here.
    pub fn into_item(self) -> Option<T> {
        match self {
            Self::Full(item) | Self::Closed(item) => Some(item),
            Self::Failed(_) => None,
        }
    }
}

impl<T> PutTimeoutError<T> {
    /// The item, if it is here.
    pub fn into_item(self) -> Option<T> {
        match self {
            Self::Timeout(item) | Self::Closed(item) => Some(item),
            Self::Failed(_) => None,
        }
    }
}

/// What an error says, where its cause is, and which general error it is.
macro_rules! tells {
    ($name:ident $(<$item:ident>)?, $($variant:pat => $kind:ident $text:expr),*) => {
        impl $(<$item>)? fmt::Display for $name $(<$item>)? {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $($variant => f.write_str($text),)*
                    Self::Failed(error) => error.fmt(f),
                }
            }
        }

        impl $(<$item: fmt::Debug>)? std::error::Error for $name $(<$item>)? {
            fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
                match self {
                    Self::Failed(error) => error.source(),
                    _ => None,
                }
            }
        }

        impl $(<$item>)? $name $(<$item>)? {
            fn into_error(self) -> Error {
                match self {
                    $($variant => Error::new(ErrorKind::$kind, $text),)*
                    Self::Failed(error) => error,
                }
            }
        }

        impl $(<$item>)? From<$name $(<$item>)?> for Error {
            fn from(error: $name $(<$item>)?) -> Self {
                error.into_error()
            }
        }
    };
}

tells!(PutError<T>, Self::Closed(_) => Closed CLOSED);
tells!(TryPutError<T>, Self::Full(_) => TimedOut FULL, Self::Closed(_) => Closed CLOSED);
tells!(PutTimeoutError<T>, Self::Timeout(_) => TimedOut FULL, Self::Closed(_) => Closed CLOSED);
tells!(GetError, Self::Closed => Closed CLOSED);
tells!(TryGetError, Self::Empty => TimedOut EMPTY, Self::Closed => Closed CLOSED);
tells!(GetTimeoutError, Self::Timeout => TimedOut EMPTY, Self::Closed => Closed CLOSED);
tells!(QueueJoinError, Self::Abandoned => Died ABANDONED);
tells!(QueueJoinTimeoutError, Self::Timeout => TimedOut LEFT, Self::Abandoned => Died ABANDONED);
