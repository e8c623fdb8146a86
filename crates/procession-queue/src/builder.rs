//! What is to be known of a queue before it is made.

use procession_core::{Error, ErrorKind, Result};

use crate::memory::Traits;
use crate::payload::MOST_ATTEMPTS;
use crate::raw::stamp::Position;
use crate::{JoinableQueue, Queue};

/// Says how a queue is to be, and makes it; [`Queue::builder`] begins one. Without a word a queue has no bound.
///
/// # Examples
///
/// ```
/// # use procession_queue as procession;
/// # fn main() -> procession_core::Result<()> {
/// // A hundred pictures, or 64 MiB of them, whichever is less.
/// let pictures = procession::Queue::<Vec<u8>>::builder().items(100).bytes(64 << 20).build::<Vec<u8>>()?;
/// pictures.put(vec![0; 1 << 20])?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct QueueBuilder {
    items: Option<usize>,
    bytes: Option<u64>,
    attempts: Option<u16>,
}

impl QueueBuilder {
    /// For up to so many items: who puts one more waits until one was taken.
    #[doc(alias = "maxsize")]
    pub fn items(self, items: usize) -> Self {
        Self { items: Some(items), ..self }
    }

    /// For items of up to so many encoded bytes together: who puts more waits until enough was taken. An item that is longer
    /// than this goes when the queue is empty. Putting and getting take the queue's lock then: some hundred nanoseconds.
    pub fn bytes(self, bytes: u64) -> Self {
        Self { bytes: Some(bytes), ..self }
    }

    /// How often an item may be tried: one that was [leased](JoinableQueue::lease) so often and was not done is given to nobody any more,
    /// and counted as [exhausted](JoinableQueue::exhausted). At most 32,768. For a [`JoinableQueue`].
    #[doc(alias = "retries")]
    pub fn attempts(self, attempts: u16) -> Self {
        Self { attempts: Some(attempts), ..self }
    }

    /// Makes the queue.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] when a bound is zero, or attempts are given, which only a [`JoinableQueue`] has; as [`Queue::new`].
    pub fn build<T>(&self) -> Result<Queue<T>> {
        match self.attempts {
            None => Queue::starting_at(self.traits(false)?, Position::new(0)),
            Some(_) => {
                let text = "attempts are of queues whose getters say when an item is done";
                Err(Error::new(ErrorKind::InvalidInput, text))
            }
        }
    }

    /// Makes the queue, as one whose getters say when an item is done.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] when a bound is zero, or attempts are more than can be counted; as [`Queue::new`].
    pub fn build_joinable<T>(&self) -> Result<JoinableQueue<T>> {
        Queue::starting_at(self.traits(true)?, Position::new(0)).map(JoinableQueue::of)
    }

    fn traits(&self, is_joinable: bool) -> Result<Traits> {
        let &Self { items, bytes, attempts } = self;
        if items == Some(0) || bytes == Some(0) || attempts == Some(0) {
            let text = "a queue for no items, no bytes or no attempts is of no use";
            return Err(Error::new(ErrorKind::InvalidInput, text));
        }
        if attempts.is_some_and(|attempts| attempts > MOST_ATTEMPTS) {
            let text = format!("at most {MOST_ATTEMPTS} attempts can be counted");
            return Err(Error::new(ErrorKind::InvalidInput, text));
        }
        Ok(Traits { items: items.map(|items| items as u64), bytes, is_joinable, attempts })
    }
}
