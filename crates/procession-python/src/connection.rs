//! [`Connection`]: messages to and from a process of Python's.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use procession_connection::{
    RecvIntoError, RecvTimeoutError, SendTimeoutError, TryRecvError, Waitable,
};
use procession_core::{Deadline, Result};
use procession_sys::net::{self, Credentials};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::limits::Limits;
use crate::value::Value;
use crate::wire::{Next, Sent, Wire, gone};
use crate::{de, ser};

/// A connection to a process of Python's: what it calls `multiprocessing.connection.Connection`.
///
/// [`send`](Self::send) is what `recv` gets there, and the other way round: pickles. [`send_bytes`](Self::send_bytes) and
/// [`recv_bytes`](Self::recv_bytes) are what they are there. Any number of threads may send and receive at once; messages do not mix, and
/// each goes to one of them.
///
/// # Drop, kill, fork
///
/// When the other side is gone, what it has sent is received, and then comes [`Closed`](procession_core::ErrorKind::Closed); a side that is
/// killed in the middle of a message leaves [`Torn`](procession_core::ErrorKind::Torn). A machine that vanishes says nothing: use
/// timeouts over a network. A forked child has a copy of the connection, and the other side does not learn that one is gone
/// before both are.
///
/// # Source
///
/// CPython `multiprocessing.connection.Connection`.
///
/// # Examples
///
/// ```
/// use procession_python::{Client, Listener, Value};
///
/// let listener = Listener::bind("127.0.0.1:0")?;
/// let client = Client::connect(listener.address())?; // or, in Python, Client(('127.0.0.1', port))
/// let server = listener.accept()?;
/// client.send(&("add", 2, 3))?;
/// assert_eq!(server.recv::<(String, i64, i64)>()?, ("add".to_owned(), 2, 3));
/// server.send(&Value::from(5))?;
/// assert_eq!(client.recv_value()?, Value::Int(5));
/// # Ok::<(), procession_core::Error>(())
/// ```
#[must_use = "the connection closes when it is dropped"]
pub struct Connection {
    wire: Wire,
    limits: Limits,
}

impl Connection {
    pub(crate) fn new(wire: Wire, limits: Limits) -> Self {
        Self { wire, limits }
    }

    /// Sends the pickle of a value, waiting for room.
    ///
    /// # Errors
    ///
    /// [`Encode`](procession_core::ErrorKind::Encode) before anything has gone, when the value refuses;
    /// [`Closed`](procession_core::ErrorKind::Closed) when the other side is gone; [`Os`](procession_core::ErrorKind::Os). CPython up to 3.7 cannot receive
    /// more than 2 GiB.
    pub fn send<T: Serialize + ?Sized>(&self, value: &T) -> Result<()> {
        self.send_bytes(&ser::to_bytes(value)?)
    }

    /// As [`send`](Self::send), waiting for room at most this long. Zero is not at all.
    ///
    /// # Errors
    ///
    /// [`SendTimeoutError::Timeout`] when nothing of it has gone in time; [`SendTimeoutError::Unfinished`] when a part has gone, and
    /// the rest goes before whatever is sent next; otherwise as [`send`](Self::send).
    pub fn send_timeout<T: Serialize + ?Sized>(
        &self,
        value: &T,
        timeout: Duration,
    ) -> Result<(), SendTimeoutError<()>> {
        let pickle = ser::to_bytes(value).map_err(SendTimeoutError::Failed)?;
        self.send_bytes_deadline(&pickle, Deadline::after(timeout))
    }

    /// Receives a value of a type, waiting for it.
    ///
    /// # Errors
    ///
    /// As [`recv_value`](Self::recv_value); [`Decode`](procession_core::ErrorKind::Decode) also when it is of another type: it is used up then.
    pub fn recv<T: DeserializeOwned>(&self) -> Result<T> {
        de::from_bytes_within(&self.recv_bytes()?, &self.limits)
    }

    /// As [`recv`](Self::recv), waiting at most this long. Nothing is lost when the time is up.
    ///
    /// # Errors
    ///
    /// [`RecvTimeoutError::Timeout`] when the time is up; otherwise as [`recv`](Self::recv).
    pub fn recv_timeout<T: DeserializeOwned>(
        &self,
        timeout: Duration,
    ) -> Result<T, RecvTimeoutError> {
        let pickle = self.recv_bytes_deadline(Deadline::after(timeout))?;
        de::from_bytes_within(&pickle, &self.limits).map_err(RecvTimeoutError::Failed)
    }

    /// Receives a value, whatever it is, waiting for it.
    ///
    /// # Errors
    ///
    /// [`Closed`](procession_core::ErrorKind::Closed) when the other side is gone, or this one was closed; [`Torn`](procession_core::ErrorKind::Torn) when
    /// it died in the middle of a message; [`TooLarge`](procession_core::ErrorKind::TooLarge) when one is announced that is longer than
    /// allowed, and nothing more can be received then; [`Os`](procession_core::ErrorKind::Os). What is wrong with the pickle, as
    /// [`Value::from_bytes`] says it, and the connection goes on.
    pub fn recv_value(&self) -> Result<Value> {
        Value::from_bytes_within(&self.recv_bytes()?, &self.limits)
    }

    /// As [`recv_value`](Self::recv_value), waiting at most this long. Nothing is lost when the time is up.
    ///
    /// # Errors
    ///
    /// [`RecvTimeoutError::Timeout`] when the time is up; otherwise as [`recv_value`](Self::recv_value).
    pub fn recv_value_timeout(&self, timeout: Duration) -> Result<Value, RecvTimeoutError> {
        let pickle = self.recv_bytes_deadline(Deadline::after(timeout))?;
        Value::from_bytes_within(&pickle, &self.limits).map_err(RecvTimeoutError::Failed)
    }

    /// Sends bytes as one message, waiting for room.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn send_bytes(&self, bytes: &[u8]) -> Result<()> {
        self.wire.send(bytes, Deadline::NEVER).map(drop)
    }

    /// As [`send_bytes`](Self::send_bytes), waiting for room until a moment.
    ///
    /// # Errors
    ///
    /// As [`send_timeout`](Self::send_timeout).
    pub fn send_bytes_deadline(
        &self,
        bytes: &[u8],
        deadline: Deadline,
    ) -> Result<(), SendTimeoutError<()>> {
        match self.wire.send(bytes, deadline) {
            Ok(Sent::Yes) => Ok(()),
            Ok(Sent::No) => Err(SendTimeoutError::Timeout(())),
            Ok(Sent::Begun) => Err(SendTimeoutError::Unfinished),
            Err(error) => Err(SendTimeoutError::Failed(error)),
        }
    }

    /// Receives one message as bytes, waiting for it.
    ///
    /// # Errors
    ///
    /// As [`recv_value`](Self::recv_value).
    pub fn recv_bytes(&self) -> Result<Vec<u8>> {
        self.recv_bytes_max(self.limits.message_bytes)
    }

    /// As [`recv_bytes`](Self::recv_bytes), for a message of at most so many bytes.
    ///
    /// # Errors
    ///
    /// As [`recv_bytes`](Self::recv_bytes).
    pub fn recv_bytes_max(&self, most: u64) -> Result<Vec<u8>> {
        match self.wire.recv(most, Deadline::NEVER)? {
            Next::Message(bytes) => Ok(bytes),
            Next::Nothing | Next::End => Err(gone()),
        }
    }

    /// As [`recv_bytes`](Self::recv_bytes), waiting until a moment. Nothing is lost when it has passed.
    ///
    /// # Errors
    ///
    /// [`RecvTimeoutError::Timeout`] when it has passed; otherwise as [`recv_bytes`](Self::recv_bytes).
    pub fn recv_bytes_deadline(&self, deadline: Deadline) -> Result<Vec<u8>, RecvTimeoutError> {
        match self.wire.recv(self.limits.message_bytes, deadline) {
            Ok(Next::Message(bytes)) => Ok(bytes),
            Ok(Next::Nothing) => Err(RecvTimeoutError::Timeout),
            Ok(Next::End) => Err(RecvTimeoutError::Closed),
            Err(error) => Err(RecvTimeoutError::Failed(error)),
        }
    }

    /// As [`recv_bytes`](Self::recv_bytes), if a message is there.
    ///
    /// # Errors
    ///
    /// [`TryRecvError::Empty`] when none is, or not the whole of it; otherwise as [`recv_bytes`](Self::recv_bytes).
    pub fn try_recv_bytes(&self) -> Result<Vec<u8>, TryRecvError> {
        self.recv_bytes_deadline(Deadline::PAST).map_err(|error| match error {
            RecvTimeoutError::Timeout => TryRecvError::Empty,
            RecvTimeoutError::Closed => TryRecvError::Closed,
            RecvTimeoutError::Failed(error) => TryRecvError::Failed(error),
        })
    }

    /// Receives one message into `buffer`, waiting for it; tells how many bytes it has.
    ///
    /// # Errors
    ///
    /// [`RecvIntoError::TooShort`] with the whole message when `buffer` is shorter than it, and the connection goes on; otherwise as
    /// [`recv_bytes`](Self::recv_bytes).
    #[doc(alias = "BufferTooShort")]
    pub fn recv_bytes_into(&self, buffer: &mut [u8]) -> Result<usize, RecvIntoError> {
        let message = match self.recv_bytes_deadline(Deadline::NEVER) {
            Ok(message) => message,
            Err(RecvTimeoutError::Timeout) => return Err(RecvIntoError::Timeout),
            Err(RecvTimeoutError::Closed) => return Err(RecvIntoError::Closed),
            Err(RecvTimeoutError::Failed(error)) => return Err(error.into()),
        };
        match buffer.get_mut(..message.len()) {
            Some(room) => {
                room.copy_from_slice(&message);
                Ok(message.len())
            }
            None => Err(RecvIntoError::TooShort(message)),
        }
    }

    /// Whether something has come, or the other side is gone; waits for that at most this long. As in Python, the rest of a
    /// message that has begun to come may be under way yet.
    ///
    /// # Errors
    ///
    /// [`Closed`](procession_core::ErrorKind::Closed) when this end was closed; [`Os`](procession_core::ErrorKind::Os) when the system is out of memory.
    pub fn poll(&self, timeout: Duration) -> Result<bool> {
        self.wire.poll(Deadline::after(timeout))
    }

    /// Closes this end for all threads that use it, as dropping it does.
    pub fn close(&self) {
        self.wire.close();
    }

    /// How much the other side may ask for.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Changes how much the other side may ask for.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Who is at the other side of a Unix socket; `None` for TCP.
    pub fn peer_credentials(&self) -> Option<Credentials> {
        net::peer_credentials(self.wire.socket()).ok()
    }
}

impl AsFd for Connection {
    /// A descriptor to wait for together with others: readable while something has come, or the other side is gone.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wire.as_fd()
    }
}

impl Waitable for Connection {
    fn readable_fd(&self) -> Result<BorrowedFd<'_>> {
        Ok(self.wire.as_fd())
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}
