//! The queue that has everything.

use std::cell::RefCell;
use std::fmt;
use std::iter::FusedIterator;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use procession_connection::Waitable;
use procession_core::codec::{self, Block};
use procession_core::{Deadline, Message, Result};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::attached::{Attached, Got, Put};
use crate::books::Tally;
use crate::builder::QueueBuilder;
use crate::memory::Traits;
use crate::raw::stamp::Position;
use crate::{GetError, GetTimeoutError, PutError, PutTimeoutError, TryGetError, TryPutError};

thread_local! {
    /// Where this thread encodes.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A buffer that grew beyond this for one item is given back afterwards.
const KEEP: usize = 1 << 20;

/// From how many bytes on a block is not copied first.
const BLOCK: usize = 1024;

/// A queue between processes: any number put, any number get, each item is got once.
///
/// A handle is a value: a clone, or what arrives when it is sent in arguments, messages and results, is the same queue, and any
/// number of processes may have it, from whenever they get it. When [`put`](Self::put) has returned, the item is in memory that all of them have: it
/// survives its putter, and there is no thread to feed it on. What a process puts is got in that order; between processes the order is that of
/// the moments at which they put.
///
/// Without a bound it takes the memory of what is in it: an item of up to 48 encoded bytes takes 64. Larger ones take their length beside that,
/// from 16 KiB on rounded up to 64 KiB or the next power of two; at most 2 GiB.
///
/// Items may hold handles: files, locks, connections, queues, this queue too. The kernel keeps their descriptors until they are got; such an
/// item takes microseconds instead of nanoseconds, and no more descriptors can be under way at a time than a process may have open
/// (`RLIMIT_NOFILE`).
///
/// # Drop, kill, fork
///
/// Dropping a handle closes nothing; the last one of a process waits, shortly, for whoever changes the queue's books. A process that
/// is killed by whatever signal at whatever instruction takes along at most the item that each of
/// its threads was putting, which nobody sees then, or getting, which [`lost`](Self::lost) counts. When every other process that had
/// the queue is dead and it is empty, a waiting get ends in `Closed`; so does a waiting put when it is full. A process that is
/// *stopped* in the middle of a put holds back what was put behind that; timeouts hold. A forked child has the queue as its parent has.
///
/// # Source
///
/// CPython `multiprocessing.Queue`, `queue.Queue`.
///
/// # Examples
///
/// ```
/// # use procession_queue as procession;
/// # fn main() -> procession_core::Result<()> {
/// use procession::{GetError, Queue};
///
/// let queue = Queue::new()?;
/// queue.put("first".to_owned())?;
/// queue.put("second".to_owned())?;
/// assert_eq!(queue.get()?, "first");
/// queue.close()?;
/// assert_eq!(queue.get()?, "second");
/// assert!(matches!(queue.get(), Err(GetError::Closed)));
/// # Ok(())
/// # }
/// ```
pub struct Queue<T> {
    attached: Arc<Attached>,
    of: PhantomData<fn(T) -> T>,
}

impl<T> Queue<T> {
    /// A queue for any number of items.
    ///
    /// # Errors
    ///
    /// When the system is out of memory or descriptors, or the family is full.
    pub fn new() -> Result<Self> {
        Self::builder().build()
    }

    /// A queue for up to `items` items: who puts one more waits until one was got. An item counts until its getter has taken it.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](procession_core::ErrorKind::InvalidInput) when `items` is zero; as [`new`](Self::new).
    #[doc(alias = "maxsize")]
    pub fn bounded(items: usize) -> Result<Self> {
        Self::builder().items(items).build()
    }

    /// What is to be known of a queue before it is made.
    pub fn builder() -> QueueBuilder {
        QueueBuilder::default()
    }

    pub(crate) fn starting_at(traits: Traits, start: Position) -> Result<Self> {
        Attached::new(traits, start).map(|attached| Self::of(Arc::new(attached)))
    }

    pub(crate) fn attached(&self) -> &Arc<Attached> {
        &self.attached
    }

    pub(crate) fn of(attached: Arc<Attached>) -> Self {
        Self { attached, of: PhantomData }
    }

    /// For how many items it is; `None` for any number.
    #[doc(alias = "maxsize")]
    pub fn capacity(&self) -> Option<usize> {
        self.attached.traits().items.map(|items| usize::try_from(items).unwrap_or(usize::MAX))
    }

    /// For how many bytes of items it is; `None` for any number. See [`QueueBuilder::bytes`].
    pub fn capacity_bytes(&self) -> Option<u64> {
        self.attached.traits().bytes
    }

    /// Ends the queue for all: nothing is put any more, and those who get have what is there, and then the end. Closing again
    /// changes nothing. Those who wait are told.
    ///
    /// # Errors
    ///
    /// When the system is out of memory.
    #[doc(alias = "shutdown")]
    pub fn close(&self) -> Result<()> {
        self.attached.close()
    }

    /// As [`close`](Self::close), and throws away what is there; tells how many items that were. An item that is being put is
    /// waited for.
    ///
    /// # Errors
    ///
    /// When the system is out of memory.
    #[doc(alias = "shutdown")]
    pub fn close_now(&self) -> Result<usize> {
        self.attached.close()?;
        let mut thrown = 0;
        while self.attached.discard()? {
            thrown += 1;
        }
        Ok(thrown)
    }

    /// Whether it was closed.
    ///
    /// # Errors
    ///
    /// When the system is out of memory.
    pub fn is_closed(&self) -> Result<bool> {
        self.attached.is_closed()
    }

    /// How many items there are: exact while nobody puts or gets.
    ///
    /// # Errors
    ///
    /// When the system is out of memory.
    #[doc(alias = "qsize")]
    pub fn len(&self) -> Result<usize> {
        Ok(usize::try_from(self.attached.len()?).unwrap_or(usize::MAX))
    }

    /// Whether there are no items, at some moment during this call.
    ///
    /// # Errors
    ///
    /// As [`len`](Self::len).
    #[doc(alias = "empty")]
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Whether there is no room, at some moment during this call; never without a bound in items.
    ///
    /// # Errors
    ///
    /// As [`len`](Self::len).
    #[doc(alias = "full")]
    pub fn is_full(&self) -> Result<bool> {
        let len = self.len()?;
        Ok(self.capacity().is_some_and(|capacity| len >= capacity))
    }

    /// How many items were lost since the queue was made, because whoever was getting one died.
    ///
    /// # Errors
    ///
    /// As [`len`](Self::len).
    pub fn lost(&self) -> Result<u64> {
        self.attached.counted(Tally::LOST)
    }

    /// How many bytes of memory the queue takes, in all processes together: what is in it, what is kept for what comes, and its books.
    ///
    /// # Errors
    ///
    /// None in practice.
    pub fn memory_bytes(&self) -> Result<u64> {
        self.attached.resident()
    }

    /// Whether both are handles to the same queue.
    pub fn is_same(&self, other: &Self) -> bool {
        self.attached.key() == other.attached.key()
    }
}

impl<T: Serialize> Queue<T> {
    /// Puts an item, waiting while the queue is full.
    ///
    /// # Errors
    ///
    /// [`PutError::Closed`] with the item when the queue is closed, or full and nobody is left to get anything;
    /// [`PutError::Failed`] when it cannot be put: [`Encode`](procession_core::ErrorKind::Encode), [`TooLarge`](procession_core::ErrorKind::TooLarge),
    /// [`Os`](procession_core::ErrorKind::Os) when the system is out of memory, or has too many descriptors under way.
    #[inline]
    pub fn put(&self, item: T) -> Result<(), PutError<T>> {
        match self.put_until(&item, Deadline::NEVER) {
            Ok(Put::Done) => Ok(()),
            Ok(Put::Full | Put::Closed) => Err(PutError::Closed(item)),
            Err(error) => Err(PutError::Failed(error)),
        }
    }

    /// Puts an item if there is room.
    ///
    /// # Errors
    ///
    /// [`TryPutError::Full`] with the item when there is none; otherwise as [`put`](Self::put).
    #[inline]
    #[doc(alias = "put_nowait")]
    pub fn try_put(&self, item: T) -> Result<(), TryPutError<T>> {
        match self.put_until(&item, Deadline::PAST) {
            Ok(Put::Done) => Ok(()),
            Ok(Put::Full) => Err(TryPutError::Full(item)),
            Ok(Put::Closed) => Err(TryPutError::Closed(item)),
            Err(error) => Err(TryPutError::Failed(error)),
        }
    }

    /// Puts an item, waiting for room at most `timeout`, on the monotonic clock.
    ///
    /// # Errors
    ///
    /// [`PutTimeoutError::Timeout`] with the item when there was none for that long; otherwise as [`put`](Self::put).
    pub fn put_timeout(&self, item: T, timeout: Duration) -> Result<(), PutTimeoutError<T>> {
        self.put_deadline(item, Deadline::after(timeout))
    }

    /// Puts an item, waiting for room until `deadline` at most.
    ///
    /// # Errors
    ///
    /// As [`put_timeout`](Self::put_timeout).
    pub fn put_deadline(&self, item: T, deadline: Deadline) -> Result<(), PutTimeoutError<T>> {
        match self.put_until(&item, deadline) {
            Ok(Put::Done) => Ok(()),
            Ok(Put::Full) => Err(PutTimeoutError::Timeout(item)),
            Ok(Put::Closed) => Err(PutTimeoutError::Closed(item)),
            Err(error) => Err(PutTimeoutError::Failed(error)),
        }
    }

    /// Puts items one after the other, waiting for room; tells how many. Items of other processes may come in between.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put), for the first that is not put. Those in front of it were; those behind it are still in `items`, if that is an
    /// iterator by reference.
    pub fn put_many(&self, items: impl IntoIterator<Item = T>) -> Result<usize, PutError<T>> {
        let mut count = 0;
        for item in items {
            self.put(item)?;
            count += 1;
        }
        Ok(count)
    }

    #[inline]
    fn put_until(&self, item: &T, deadline: Deadline) -> Result<Put> {
        if let Some(block) = codec::as_block(item).filter(|block| block.bytes().len() >= BLOCK) {
            return self.put_block(&block, deadline);
        }
        let put = SCRATCH.try_with(|scratch| {
            // Not there while an item is encoded, which puts another.
            let mut bytes = scratch.try_borrow_mut().ok()?;
            Some(self.put_by(&mut bytes, item, deadline))
        });
        match put {
            Ok(Some(put)) => put,
            Ok(None) | Err(_) => self.put_by(&mut Vec::new(), item, deadline),
        }
    }

    /// Encodes the item into `bytes`, whatever they are, and puts it.
    #[inline(always)]
    fn put_by(&self, bytes: &mut Vec<u8>, item: &T, deadline: Deadline) -> Result<Put> {
        bytes.clear();
        let handles = Message::encode_onto(bytes, item)?;
        let put = match handles.is_empty() {
            true => self.attached.put(bytes, bytes.len(), deadline),
            false => self.attached.put_with(bytes, &handles, deadline),
        };
        if bytes.capacity() > KEEP {
            *bytes = Vec::new();
        }
        put
    }

    #[inline(never)]
    fn put_block(&self, block: &Block<'_>, deadline: Deadline) -> Result<Put> {
        self.attached.put_parts([block.head(), block.bytes()], &[], deadline)
    }
}

impl<T: DeserializeOwned> Queue<T> {
    /// Gets the next item, waiting for it.
    ///
    /// # Errors
    ///
    /// [`GetError::Closed`] at the end of a queue that is closed, or when it is empty and everybody else who had it is dead;
    /// [`GetError::Failed`] when what comes is not a `T` ([`Decode`](procession_core::ErrorKind::Decode)), and the queue goes on behind it; or when
    /// the system is out of memory ([`Os`](procession_core::ErrorKind::Os)), and the item stays.
    ///
    /// # Panics
    ///
    /// When decoding the value does. The item is used up then.
    #[inline]
    pub fn get(&self) -> Result<T, GetError> {
        match self.attached.get(Deadline::NEVER) {
            Ok(Got::Item(item)) => Ok(item),
            Ok(Got::Empty | Got::Closed) => Err(GetError::Closed),
            Err(error) => Err(GetError::Failed(error)),
        }
    }

    /// Gets the next item if there is one. One that is being put is not there yet, and neither is what was put behind it.
    ///
    /// # Errors
    ///
    /// [`TryGetError::Empty`] when there is none; otherwise as [`get`](Self::get).
    #[inline]
    #[doc(alias = "get_nowait")]
    pub fn try_get(&self) -> Result<T, TryGetError> {
        match self.attached.get(Deadline::PAST) {
            Ok(Got::Item(item)) => Ok(item),
            Ok(Got::Empty) => Err(TryGetError::Empty),
            Ok(Got::Closed) => Err(TryGetError::Closed),
            Err(error) => Err(TryGetError::Failed(error)),
        }
    }

    /// Gets the next item, waiting for it at most `timeout`, on the monotonic clock.
    ///
    /// # Errors
    ///
    /// [`GetTimeoutError::Timeout`] when none came; otherwise as [`get`](Self::get).
    pub fn get_timeout(&self, timeout: Duration) -> Result<T, GetTimeoutError> {
        self.get_deadline(Deadline::after(timeout))
    }

    /// Gets the next item, waiting for it until `deadline` at most.
    ///
    /// # Errors
    ///
    /// As [`get_timeout`](Self::get_timeout).
    pub fn get_deadline(&self, deadline: Deadline) -> Result<T, GetTimeoutError> {
        match self.attached.get(deadline) {
            Ok(Got::Item(item)) => Ok(item),
            Ok(Got::Empty) => Err(GetTimeoutError::Timeout),
            Ok(Got::Closed) => Err(GetTimeoutError::Closed),
            Err(error) => Err(GetTimeoutError::Failed(error)),
        }
    }

    /// Gets up to `most` items, appends them to `items`, and tells how many: waits for the first, and takes what is there behind it.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get). The items in front of one that fails are in `items`.
    pub fn get_many(&self, items: &mut Vec<T>, most: usize) -> Result<usize, GetError> {
        for count in 0..most {
            let item = match count {
                0 => self.get()?,
                _ => match self.try_get() {
                    Ok(item) => item,
                    Err(TryGetError::Failed(error)) => return Err(GetError::Failed(error)),
                    Err(TryGetError::Empty | TryGetError::Closed) => return Ok(count),
                },
            };
            items.push(item);
        }
        Ok(most)
    }

    /// Gets until the queue is closed and empty.
    pub fn iter(&self) -> Iter<'_, T> {
        Iter { queue: Some(self) }
    }
}

/// The items of a [`Queue`] until its end; an error is the last.
#[derive(Debug)]
pub struct Iter<'a, T> {
    queue: Option<&'a Queue<T>>,
}

impl<T: DeserializeOwned> Iterator for Iter<'_, T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        match self.queue?.get() {
            Ok(item) => Some(Ok(item)),
            Err(GetError::Closed) => {
                self.queue = None;
                None
            }
            Err(GetError::Failed(error)) => {
                self.queue = None;
                Some(Err(error))
            }
        }
    }
}

impl<T: DeserializeOwned> FusedIterator for Iter<'_, T> {}

impl<'a, T: DeserializeOwned> IntoIterator for &'a Queue<T> {
    type Item = Result<T>;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

impl<T> Waitable for Queue<T> {
    fn readable_fd(&self) -> Result<BorrowedFd<'_>> {
        self.attached.readable_fd()
    }

    fn is_ready(&self) -> Result<bool> {
        self.attached.is_ready()
    }
}

impl<T> AsFd for Queue<T> {
    /// A descriptor to wait for together with others, in `poll(2)`, `epoll(7)` or a crate over them, or by
    /// [`wait`](procession_connection::wait): readable while there is something to be got, or the end of the queue, and for a moment longer when
    /// another process has got it. It is made on the first call, and takes a thread of this process that waits as those do who
    /// get; what it says is taken back when somebody of this process has found nothing.
    ///
    /// Reading or writing it by any other way is an error.
    ///
    /// # Panics
    ///
    /// On the first call, when this process may open no more descriptors or has no room for a thread.
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self.attached.readable_fd() {
            Ok(fd) => fd,
            Err(error) => panic!("no descriptor to wait for a queue: {error}"),
        }
    }
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self::of(Arc::clone(&self.attached))
    }
}

impl<T> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("capacity", &self.capacity()).finish_non_exhaustive()
    }
}

impl<T> Serialize for Queue<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Attached::serialize(&self.attached, serializer)
    }
}

impl<'de, T> Deserialize<'de> for Queue<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let attached = Attached::deserialize(deserializer)?;
        match attached.traits().is_joinable {
            false => Ok(Self::of(attached)),
            true => Err(D::Error::custom("a queue came whose getters say when an item is done")),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
