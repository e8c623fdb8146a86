//! The event.

use std::fmt;
use std::time::Duration;

use procession_core::arena::{Kind, Object, Remains};
use procession_core::waiting::{Spin, Wait};
use procession_core::{Deadline, Result};
use procession_sys::before_main;
use procession_sys::prim::AtomicU64;
use procession_sys::prim::Ordering::Relaxed;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::WaitError;
use crate::raw::event::RawEvent;
use crate::word::{Patient, Word};

/// A flag that processes share, and can wait for.
///
/// Setting, clearing and looking are one atomic instruction each when nobody waits. It is a handle to an object in shared memory:
/// a clone, or what arrives when it is sent, is the same event.
///
/// A wait that has begun before the event was set returns, even if the event is cleared before the waiter runs. (In CPython such a
/// waiter may return false, or wait on.)
///
/// # Drop, kill, fork
///
/// A process that is killed leaves the event set or clear, never in between, and takes no wake-up with it. When every other process
/// that had the event has died, a wait ends in [`WaitError::Closed`]. That includes those whose message with the event was
/// never read; not those that dropped it or ended in order.
///
/// # Source
///
/// CPython `multiprocessing.Event`.
///
/// # Examples
///
/// ```
/// # use procession_sync as procession;
/// # fn main() -> procession_core::Result<()> {
/// use procession::Event;
/// use std::time::Duration;
///
/// let event = Event::new()?;
/// let setter = event.clone();
/// let thread = std::thread::spawn(move || setter.set());
/// event.wait_timeout(Duration::from_secs(10))?;
/// assert!(event.is_set()?);
/// # thread.join().unwrap()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Event {
    object: Object,
}

impl Event {
    /// An event that is not set.
    ///
    /// # Errors
    ///
    /// As [`Object::new`].
    pub fn new() -> Result<Self> {
        let object = Object::new(Kind::EVENT, 1, |words, generation| {
            // ORDERING: Relaxed: nobody else has the object yet.
            words[0].store(RawEvent::<AtomicU64>::clear_word(generation), Relaxed);
        })?;
        Ok(Self { object })
    }

    #[inline]
    fn raw(&self) -> RawEvent<'static, AtomicU64> {
        RawEvent { word: &self.object.words()[0], generation: self.object.generation() }
    }

    /// Whether it is set.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Closed`](procession_core::ErrorKind::Closed) when the object is gone: see [`Object::check`].
    #[inline]
    pub fn is_set(&self) -> Result<bool> {
        self.object.check()?;
        self.raw().is_set().map_err(|halt| halt.into_error(&self.object))
    }

    /// Sets it, and lets all who wait go on. Tells whether it was not set before.
    ///
    /// # Errors
    ///
    /// As [`is_set`](Self::is_set).
    #[inline]
    pub fn set(&self) -> Result<bool> {
        self.object.check()?;
        self.raw().set().map_err(|halt| halt.into_error(&self.object))
    }

    /// Clears it: who waits from now on waits for the next [`set`](Self::set). Tells whether it was set.
    ///
    /// # Errors
    ///
    /// As [`is_set`](Self::is_set).
    #[inline]
    pub fn clear(&self) -> Result<bool> {
        self.object.check()?;
        self.raw().clear().map_err(|halt| halt.into_error(&self.object))
    }

    /// Waits until it is set.
    ///
    /// # Errors
    ///
    /// [`WaitError::Closed`] when nobody is left to set it; [`WaitError::Failed`] when this process is out of memory.
    pub fn wait(&self) -> Result<(), WaitError> {
        self.wait_deadline(Deadline::NEVER)
    }

    /// Waits until it is set, for at most `timeout`, on the monotonic clock.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait); [`WaitError::TimedOut`] when it was not set for that long.
    pub fn wait_timeout(&self, timeout: Duration) -> Result<(), WaitError> {
        self.wait_deadline(Deadline::after(timeout))
    }

    /// Waits until it is set, or until `deadline`.
    ///
    /// # Errors
    ///
    /// As [`wait_timeout`](Self::wait_timeout).
    pub fn wait_deadline(&self, deadline: Deadline) -> Result<(), WaitError> {
        if self.is_set()? {
            return Ok(());
        }
        let wait = Wait::new(&self.object, deadline);
        let waited = self.raw().wait(&mut Patient::new(Spin::new(1), wait));
        waited.map_err(|halt| halt.into_wait_error(&self.object))
    }
}

/// Who died between setting it and waking left sleepers; and sleepers may be alone now.
fn wake(remains: &Remains) {
    remains.words[0].wake(u32::MAX);
}

before_main!(register);

fn register() {
    Kind::EVENT.register(|_| {}, wake, |_, _| false);
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.is_set() {
            Ok(true) => "Event(set)",
            Ok(false) => "Event(unset)",
            Err(_) => "Event(gone)",
        })
    }
}

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.object.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self { object: Object::deserialize(Kind::EVENT, deserializer)? })
    }
}
