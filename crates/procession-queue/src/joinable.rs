//! The queue whose getters say when an item is done.

use std::fmt;
use std::iter::FusedIterator;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use procession_connection::Waitable;
use procession_core::{Deadline, Result};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::attached::{Attached, Got, Hold, Joined};
use crate::books::Tally;
use crate::{
    GetError, GetTimeoutError, PutError, PutTimeoutError, Queue, QueueBuilder, QueueJoinError,
    QueueJoinTimeoutError, TryGetError, TryPutError,
};

/// A queue between processes whose getters say when an item is *done*, so that others can wait until all are.
///
/// The better form is to [`lease`](Self::lease) an item: it stays in the queue until it is [done](Lease::done). A lease that is dropped
/// without that, and one whose process dies, puts the item back, in front of those that nobody has had yet, and how often that
/// happened is [told](Lease::attempt). [`QueueBuilder::attempts`] says how often an item is tried.
///
/// Or as in Python: [`get`](Self::get), and afterwards [`task_done`](Self::task_done), in the same process. An item that was got so
/// and is not done when its process ends, or has no handle to the queue any more, is [lost](Self::lost), and done for those who wait.
///
/// # Drop, kill, fork
///
/// As a [`Queue`]. A lease is its process's: the copy that a forked child has is nobody's, and changes nothing.
///
/// # Source
///
/// CPython `multiprocessing.JoinableQueue`, `queue.Queue.task_done`, `queue.Queue.join`.
///
/// # Examples
///
/// ```
/// # use procession_queue as procession;
/// # fn main() -> procession_core::Result<()> {
/// let queue = procession::JoinableQueue::new()?;
/// queue.put("work".to_owned())?;
/// // Whoever does this dies, panics or gives up:
/// drop(queue.lease()?);
/// let lease = queue.lease()?;
/// assert_eq!((lease.as_str(), lease.attempt()), ("work", 2));
/// lease.done()?;
/// queue.join()?;
/// # Ok(())
/// # }
/// ```
pub struct JoinableQueue<T>(Queue<T>);

impl<T> JoinableQueue<T> {
    /// A queue for any number of items.
    ///
    /// # Errors
    ///
    /// As [`Queue::new`].
    pub fn new() -> Result<Self> {
        QueueBuilder::default().build_joinable()
    }

    /// A queue for up to `items` items that nobody has taken yet.
    ///
    /// # Errors
    ///
    /// As [`Queue::bounded`].
    #[doc(alias = "maxsize")]
    pub fn bounded(items: usize) -> Result<Self> {
        QueueBuilder::default().items(items).build_joinable()
    }

    pub(crate) fn of(queue: Queue<T>) -> Self {
        Self(queue)
    }

    /// Says that the oldest item that this process [got](Self::get) is done.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](procession_core::ErrorKind::InvalidInput) when this was said of all that it got.
    pub fn task_done(&self) -> Result<()> {
        self.0.attached().task_done()
    }

    /// Waits until all items are done that were put until then.
    ///
    /// # Errors
    ///
    /// [`QueueJoinError::Abandoned`] when there are items that nobody has, and everybody else who had the queue is dead;
    /// [`QueueJoinError::Failed`] when the system is out of memory.
    pub fn join(&self) -> Result<(), QueueJoinError> {
        match self.0.attached().join(Deadline::NEVER) {
            Ok(Joined::Done) => Ok(()),
            Ok(Joined::Abandoned | Joined::TimedOut) => Err(QueueJoinError::Abandoned),
            Err(error) => Err(QueueJoinError::Failed(error)),
        }
    }

    /// The same, for `timeout` at most, on the monotonic clock.
    ///
    /// # Errors
    ///
    /// [`QueueJoinTimeoutError::Timeout`] when they were not done in time; as [`join`](Self::join).
    pub fn join_timeout(&self, timeout: Duration) -> Result<(), QueueJoinTimeoutError> {
        self.join_deadline(Deadline::after(timeout))
    }

    /// The same, until `deadline` at most.
    ///
    /// # Errors
    ///
    /// As [`join_timeout`](Self::join_timeout).
    pub fn join_deadline(&self, deadline: Deadline) -> Result<(), QueueJoinTimeoutError> {
        match self.0.attached().join(deadline) {
            Ok(Joined::Done) => Ok(()),
            Ok(Joined::TimedOut) => Err(QueueJoinTimeoutError::Timeout),
            Ok(Joined::Abandoned) => Err(QueueJoinTimeoutError::Abandoned),
            Err(error) => Err(QueueJoinTimeoutError::Failed(error)),
        }
    }

    /// How many items were lost since the queue was made: whoever had [got](Self::get) one ended before it said that it is done.
    /// A lease is never lost.
    ///
    /// # Errors
    ///
    /// As [`Queue::lost`].
    pub fn lost(&self) -> Result<u64> {
        self.0.lost()
    }

    /// How many items were tried as often as they may be, and not done: see [`QueueBuilder::attempts`].
    ///
    /// # Errors
    ///
    /// As [`Queue::lost`].
    #[doc(alias = "dead_letters")]
    pub fn exhausted(&self) -> Result<u64> {
        self.0.attached().counted(Tally::EXHAUSTED)
    }

    /// How often an item may be tried; `None` for any number.
    pub fn attempts(&self) -> Option<u16> {
        self.0.attached().traits().attempts
    }

    /// Ends the queue for all: nothing is put any more. Who leases or gets has what is there; at the end he waits while another process
    /// works on an item that it may give back.
    ///
    /// # Errors
    ///
    /// As [`Queue::close`].
    #[doc(alias = "shutdown")]
    pub fn close(&self) -> Result<()> {
        self.0.close()
    }

    /// As [`close`](Self::close), and throws away what nobody has; tells how many items that were. They count as done. What somebody has
    /// leased and gives back afterwards is for who still leases, or for the next call.
    ///
    /// # Errors
    ///
    /// As [`Queue::close_now`].
    #[doc(alias = "shutdown")]
    pub fn close_now(&self) -> Result<usize> {
        self.0.close_now()
    }

    /// As [`Queue::is_closed`].
    ///
    /// # Errors
    ///
    /// As [`Queue::is_closed`].
    pub fn is_closed(&self) -> Result<bool> {
        self.0.is_closed()
    }

    /// How many items there are that nobody has: exact while nobody puts, gets or gives back.
    ///
    /// # Errors
    ///
    /// As [`Queue::len`].
    #[doc(alias = "qsize")]
    pub fn len(&self) -> Result<usize> {
        self.0.len()
    }

    /// As [`Queue::is_empty`].
    ///
    /// # Errors
    ///
    /// As [`Queue::len`].
    #[doc(alias = "empty")]
    pub fn is_empty(&self) -> Result<bool> {
        self.0.is_empty()
    }

    /// As [`Queue::is_full`].
    ///
    /// # Errors
    ///
    /// As [`Queue::len`].
    #[doc(alias = "full")]
    pub fn is_full(&self) -> Result<bool> {
        self.0.is_full()
    }

    /// As [`Queue::capacity`].
    #[doc(alias = "maxsize")]
    pub fn capacity(&self) -> Option<usize> {
        self.0.capacity()
    }

    /// As [`Queue::capacity_bytes`].
    pub fn capacity_bytes(&self) -> Option<u64> {
        self.0.capacity_bytes()
    }

    /// As [`Queue::memory_bytes`].
    ///
    /// # Errors
    ///
    /// As [`Queue::memory_bytes`].
    pub fn memory_bytes(&self) -> Result<u64> {
        self.0.memory_bytes()
    }

    /// Whether both are handles to the same queue.
    pub fn is_same(&self, other: &Self) -> bool {
        self.0.is_same(&other.0)
    }
}

impl<T: Serialize> JoinableQueue<T> {
    /// As [`Queue::put`].
    ///
    /// # Errors
    ///
    /// As [`Queue::put`].
    #[inline]
    pub fn put(&self, item: T) -> Result<(), PutError<T>> {
        self.0.put(item)
    }

    /// As [`Queue::try_put`].
    ///
    /// # Errors
    ///
    /// As [`Queue::try_put`].
    #[doc(alias = "put_nowait")]
    pub fn try_put(&self, item: T) -> Result<(), TryPutError<T>> {
        self.0.try_put(item)
    }

    /// As [`Queue::put_timeout`].
    ///
    /// # Errors
    ///
    /// As [`Queue::put_timeout`].
    pub fn put_timeout(&self, item: T, timeout: Duration) -> Result<(), PutTimeoutError<T>> {
        self.0.put_timeout(item, timeout)
    }

    /// As [`Queue::put_deadline`].
    ///
    /// # Errors
    ///
    /// As [`Queue::put_timeout`].
    pub fn put_deadline(&self, item: T, deadline: Deadline) -> Result<(), PutTimeoutError<T>> {
        self.0.put_deadline(item, deadline)
    }

    /// As [`Queue::put_many`].
    ///
    /// # Errors
    ///
    /// As [`Queue::put_many`].
    pub fn put_many(&self, items: impl IntoIterator<Item = T>) -> Result<usize, PutError<T>> {
        self.0.put_many(items)
    }
}

impl<T: DeserializeOwned> JoinableQueue<T> {
    /// Leases the next item, waiting for it.
    ///
    /// # Errors
    ///
    /// As [`Queue::get`]. An item that is not a `T` is done.
    pub fn lease(&self) -> Result<Lease<T>, GetError> {
        match self.lease_until(Deadline::NEVER) {
            Ok(Got::Item(lease)) => Ok(lease),
            Ok(Got::Empty | Got::Closed) => Err(GetError::Closed),
            Err(error) => Err(GetError::Failed(error)),
        }
    }

    /// Leases the next item if there is one.
    ///
    /// # Errors
    ///
    /// As [`Queue::try_get`].
    pub fn try_lease(&self) -> Result<Lease<T>, TryGetError> {
        match self.lease_until(Deadline::PAST) {
            Ok(Got::Item(lease)) => Ok(lease),
            Ok(Got::Empty) => Err(TryGetError::Empty),
            Ok(Got::Closed) => Err(TryGetError::Closed),
            Err(error) => Err(TryGetError::Failed(error)),
        }
    }

    /// Leases the next item, waiting for it at most `timeout`, on the monotonic clock.
    ///
    /// # Errors
    ///
    /// As [`Queue::get_timeout`].
    pub fn lease_timeout(&self, timeout: Duration) -> Result<Lease<T>, GetTimeoutError> {
        self.lease_deadline(Deadline::after(timeout))
    }

    /// Leases the next item, waiting for it until `deadline` at most.
    ///
    /// # Errors
    ///
    /// As [`Queue::get_timeout`].
    pub fn lease_deadline(&self, deadline: Deadline) -> Result<Lease<T>, GetTimeoutError> {
        match self.lease_until(deadline) {
            Ok(Got::Item(lease)) => Ok(lease),
            Ok(Got::Empty) => Err(GetTimeoutError::Timeout),
            Ok(Got::Closed) => Err(GetTimeoutError::Closed),
            Err(error) => Err(GetTimeoutError::Failed(error)),
        }
    }

    fn lease_until(&self, deadline: Deadline) -> Result<Got<Lease<T>>> {
        Ok(match self.0.attached().lease(deadline)? {
            Got::Item((hold, item)) => Got::Item(Lease { item, hold }),
            Got::Empty => Got::Empty,
            Got::Closed => Got::Closed,
        })
    }

    /// Leases until the queue is closed and empty.
    pub fn leases(&self) -> Leases<'_, T> {
        Leases { queue: Some(self) }
    }

    /// Gets the next item, waiting for it. When it is done, say so: [`task_done`](Self::task_done).
    ///
    /// # Errors
    ///
    /// As [`Queue::get`].
    ///
    /// # Panics
    ///
    /// As [`Queue::get`].
    pub fn get(&self) -> Result<T, GetError> {
        self.0.get()
    }

    /// As [`get`](Self::get), if there is one.
    ///
    /// # Errors
    ///
    /// As [`Queue::try_get`].
    #[doc(alias = "get_nowait")]
    pub fn try_get(&self) -> Result<T, TryGetError> {
        self.0.try_get()
    }

    /// As [`get`](Self::get), waiting at most `timeout`, on the monotonic clock.
    ///
    /// # Errors
    ///
    /// As [`Queue::get_timeout`].
    pub fn get_timeout(&self, timeout: Duration) -> Result<T, GetTimeoutError> {
        self.0.get_timeout(timeout)
    }

    /// As [`get`](Self::get), waiting until `deadline` at most.
    ///
    /// # Errors
    ///
    /// As [`Queue::get_timeout`].
    pub fn get_deadline(&self, deadline: Deadline) -> Result<T, GetTimeoutError> {
        self.0.get_deadline(deadline)
    }
}

/// An item of a [`JoinableQueue`] that this process works on, and the duty to say what becomes of it.
///
/// # Drop, kill, fork
///
/// Dropped before it is [done](Self::done), by a panic say, it puts the item back for somebody else; so does the death of its
/// process. The copy in a forked child is nobody's. One that is forgotten (`mem::forget`) keeps the item until the process ends.
#[must_use = "an item that nobody says is done is given back at once"]
pub struct Lease<T> {
    item: T,
    hold: Hold,
}

impl<T> Lease<T> {
    /// Which attempt at the item this is: 1 is the first. It stays at 32,767 and 32,768 when that was reached.
    pub fn attempt(&self) -> u32 {
        u32::from(self.hold.returns()) + 1
    }

    /// The item is done.
    ///
    /// # Errors
    ///
    /// When the system is out of memory. The item comes back then when this process has ended.
    pub fn done(self) -> Result<()> {
        self.hold.done()
    }

    /// The item is done; here it is.
    ///
    /// # Errors
    ///
    /// As [`done`](Self::done).
    pub fn into_done(self) -> Result<T> {
        self.hold.done()?;
        Ok(self.item)
    }

    /// Puts the item back for somebody else, as dropping it does, and tells whether that went well.
    ///
    /// # Errors
    ///
    /// As [`done`](Self::done).
    pub fn give_back(mut self) -> Result<()> {
        self.hold.give_back()
    }
}

impl<T> Deref for Lease<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.item
    }
}

impl<T: fmt::Debug> fmt::Debug for Lease<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { item, .. } = self;
        f.debug_struct("Lease").field("item", item).field("attempt", &self.attempt()).finish()
    }
}

/// The items of a [`JoinableQueue`] until its end; an error is the last.
#[derive(Debug)]
pub struct Leases<'a, T> {
    queue: Option<&'a JoinableQueue<T>>,
}

impl<T: DeserializeOwned> Iterator for Leases<'_, T> {
    type Item = Result<Lease<T>>;

    fn next(&mut self) -> Option<Result<Lease<T>>> {
        match self.queue?.lease() {
            Ok(lease) => Some(Ok(lease)),
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

impl<T: DeserializeOwned> FusedIterator for Leases<'_, T> {}

impl<T> Waitable for JoinableQueue<T> {
    fn readable_fd(&self) -> Result<BorrowedFd<'_>> {
        self.0.attached().readable_fd()
    }

    fn is_ready(&self) -> Result<bool> {
        self.0.attached().is_ready()
    }
}

impl<T> AsFd for JoinableQueue<T> {
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
        match self.0.attached().readable_fd() {
            Ok(fd) => fd,
            Err(error) => panic!("no descriptor to wait for a queue: {error}"),
        }
    }
}

impl<T> Clone for JoinableQueue<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> fmt::Debug for JoinableQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinableQueue").field("capacity", &self.capacity()).finish_non_exhaustive()
    }
}

impl<T> Serialize for JoinableQueue<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de, T> Deserialize<'de> for JoinableQueue<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let attached = Attached::deserialize(deserializer)?;
        match attached.traits().is_joinable {
            true => Ok(Self(Queue::of(attached))),
            false => {
                Err(D::Error::custom("a queue came whose getters do not say when an item is done"))
            }
        }
    }
}
