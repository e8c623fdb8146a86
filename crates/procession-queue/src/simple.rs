//! The queue that has little.

use procession_core::Result;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{GetError, PutError, Queue};

/// The small face of a [`Queue`]: any number of items, and four operations.
///
/// # Drop, kill, fork
///
/// As a [`Queue`].
///
/// # Source
///
/// CPython `multiprocessing.SimpleQueue`.
///
/// # Examples
///
/// ```
/// # use procession_queue as procession;
/// # fn main() -> procession_core::Result<()> {
/// let queue = procession::SimpleQueue::new()?;
/// queue.put(1)?;
/// assert!(!queue.is_empty()?);
/// assert_eq!(queue.get()?, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent, bound = "")]
pub struct SimpleQueue<T>(Queue<T>);

impl<T> SimpleQueue<T> {
    /// An empty queue.
    ///
    /// # Errors
    ///
    /// As [`Queue::new`].
    pub fn new() -> Result<Self> {
        Queue::new().map(Self)
    }

    /// Whether there are no items, at some moment during this call.
    ///
    /// # Errors
    ///
    /// As [`Queue::len`].
    #[doc(alias = "empty")]
    pub fn is_empty(&self) -> Result<bool> {
        self.0.is_empty()
    }

    /// Ends the queue for all, as [`Queue::close`].
    ///
    /// # Errors
    ///
    /// As [`Queue::close`].
    pub fn close(&self) -> Result<()> {
        self.0.close()
    }
}

impl<T: Serialize> SimpleQueue<T> {
    /// Puts an item; never waits for room.
    ///
    /// # Errors
    ///
    /// As [`Queue::put`].
    #[inline]
    pub fn put(&self, item: T) -> Result<(), PutError<T>> {
        self.0.put(item)
    }
}

impl<T: DeserializeOwned> SimpleQueue<T> {
    /// Gets the next item, waiting for it.
    ///
    /// # Errors
    ///
    /// As [`Queue::get`].
    #[inline]
    pub fn get(&self) -> Result<T, GetError> {
        self.0.get()
    }
}
