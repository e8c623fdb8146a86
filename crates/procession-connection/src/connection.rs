//! The one face of all transports.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use procession_core::{Deadline, Error, ErrorKind, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{RecvIntoError, RecvTimeoutError, SendTimeoutError, TryRecvError, closed};
use crate::local::{self, Inlet, Outlet};
use crate::stream::Stream;
use crate::transport::{Body, Incoming, Next, Outgoing, Room, Sent, Transport};
use crate::{Duplex, Receiver, Sender, value};

/// One end of a connection to another process: values of any type, or bytes, both ways or one way, over shared memory or a socket.
///
/// [`pair`](Self::pair) makes one within a machine, out of shared memory; a [`Listener`](crate::Listener) and a [`Client`](crate::Client)
/// make one over a socket. What has one type all the time is easier with the typed ends: [`Sender`](crate::Sender),
/// [`Receiver`](crate::Receiver), [`Duplex`](crate::Duplex), which a connection converts [into](Self::into_duplex) and from.
///
/// # Shape
///
/// A message is a value, or bytes, of up to [`MAX_MESSAGE_BYTES`](crate::MAX_MESSAGE_BYTES). Each [`send_bytes`](Self::send_bytes) is one
/// [`recv_bytes`](Self::recv_bytes), whatever lengths there are, and zero is one. A value that was [sent](Self::send) is
/// [received](Self::recv) as a value of the same type.
///
/// Any number of threads may send and receive at once; messages do not mix, and each goes to one of them.
///
/// # Drop, kill, fork
///
/// As for [`Sender`](crate::Sender) and [`Receiver`](crate::Receiver) where the connection is within a machine. Over a socket: when
/// the last process that has a copy of the end is gone, the other side gets what was sent, and then learns that it is closed; a process
/// that is killed in the middle of a message leaves that one unfinished ([`Torn`](ErrorKind::Torn)).
///
/// # Source
///
/// CPython `multiprocessing.connection.Connection`.
///
/// # Examples
///
/// ```
/// use procession_connection::Connection;
///
/// let (left, right) = Connection::pair()?;
/// left.send((1, "one".to_owned()))?;
/// left.send_bytes(b"thank you")?;
/// assert_eq!(right.recv::<(i32, String)>()?, (1, "one".to_owned()));
/// assert_eq!(right.recv_bytes()?, b"thank you");
/// # Ok::<(), procession_core::Error>(())
/// ```
#[derive(Serialize, Deserialize)]
#[must_use = "the connection closes when its end is dropped"]
pub struct Connection(Kind);

#[expect(
    clippy::large_enum_variant,
    reason = "a box would be one more place to look at for each message"
)]
#[derive(Debug, Serialize, Deserialize)]
enum Kind {
    Local(Outlet, Inlet),
    ReadOnly(Inlet),
    WriteOnly(Outlet),
    Stream(Stream),
}

impl Connection {
    /// Makes two connected ends that both send and receive, within this machine.
    ///
    /// # Errors
    ///
    /// [`Os`](ErrorKind::Os) when this process may open no more descriptors.
    ///
    /// # Source
    ///
    /// CPython `multiprocessing.Pipe()`.
    #[doc(alias = "Pipe")]
    pub fn pair() -> Result<(Self, Self)> {
        let (left_tx, right_rx) = local::pair()?;
        let (right_tx, left_rx) = local::pair()?;
        Ok((Self(Kind::Local(left_tx, left_rx)), Self(Kind::Local(right_tx, right_rx))))
    }

    /// Makes two connected ends within this machine: the first only receives, the second only sends.
    ///
    /// # Errors
    ///
    /// As [`pair`](Self::pair).
    ///
    /// # Source
    ///
    /// CPython `multiprocessing.Pipe(duplex=False)`, with the ends in the same order.
    pub fn one_way() -> Result<(Self, Self)> {
        let (tx, rx) = local::pair()?;
        Ok((Self(Kind::ReadOnly(rx)), Self(Kind::WriteOnly(tx))))
    }

    pub(crate) fn from_stream(stream: Stream) -> Self {
        Self(Kind::Stream(stream))
    }

    /// The two ways by themselves, when it is within this machine and has both; otherwise the connection as it was.
    pub(crate) fn into_ends(self) -> Result<(Outlet, Inlet), Box<Self>> {
        match self.0 {
            Kind::Local(tx, rx) => Ok((tx, rx)),
            other => Err(Box::new(Self(other))),
        }
    }

    /// The connection as a typed end.
    ///
    /// # Errors
    ///
    /// Gives the connection back when it goes one way only.
    pub fn into_duplex<A, B>(self) -> Result<Duplex<A, B>, Box<Self>> {
        match self.0 {
            Kind::Local(..) | Kind::Stream(_) => Ok(Duplex::over(self)),
            Kind::ReadOnly(_) | Kind::WriteOnly(_) => Err(Box::new(self)),
        }
    }

    /// Whether this end can receive.
    pub fn is_readable(&self) -> bool {
        !matches!(self.0, Kind::WriteOnly(_))
    }

    /// Whether this end can send.
    pub fn is_writable(&self) -> bool {
        !matches!(self.0, Kind::ReadOnly(_))
    }

    #[inline(always)]
    pub(crate) fn tx(&self) -> Result<Transport<'_, Outlet>> {
        match &self.0 {
            Kind::Local(tx, _) | Kind::WriteOnly(tx) => Ok(Transport::Local(tx)),
            Kind::Stream(stream) => Ok(Transport::Stream(stream)),
            Kind::ReadOnly(_) => {
                Err(Error::new(ErrorKind::Unsupported, "this end of the connection only receives"))
            }
        }
    }

    #[inline(always)]
    pub(crate) fn rx(&self) -> Result<Transport<'_, Inlet>> {
        match &self.0 {
            Kind::Local(tx, rx) => Ok(Transport::Paired(rx, tx)),
            Kind::ReadOnly(rx) => Ok(Transport::Local(rx)),
            Kind::Stream(stream) => Ok(Transport::Stream(stream)),
            Kind::WriteOnly(_) => {
                Err(Error::new(ErrorKind::Unsupported, "this end of the connection only sends"))
            }
        }
    }

    /// Sends a value, waiting for room.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](ErrorKind::Unsupported) when this end only receives, or when the value holds handles and the connection
    /// goes over a network; otherwise as [`Sender::send`](crate::Sender::send).
    pub fn send<T: Serialize>(&self, value: T) -> Result<()> {
        value::send(self.tx()?, &value, Deadline::NEVER).map(drop)
    }

    /// As [`send`](Self::send), waiting for room at most this long. Zero is not at all.
    ///
    /// # Errors
    ///
    /// [`SendTimeoutError::Timeout`] with the value when nothing of it has gone in time;
    /// [`SendTimeoutError::Unfinished`] when a part of it has gone over a socket; otherwise as [`send`](Self::send).
    pub fn send_timeout<T: Serialize>(
        &self,
        value: T,
        timeout: Duration,
    ) -> Result<(), SendTimeoutError<T>> {
        self.send_deadline(value, Deadline::after(timeout))
    }

    /// As [`send_timeout`](Self::send_timeout), until a moment.
    ///
    /// # Errors
    ///
    /// As [`send_timeout`](Self::send_timeout).
    pub fn send_deadline<T: Serialize>(
        &self,
        value: T,
        deadline: Deadline,
    ) -> Result<(), SendTimeoutError<T>> {
        match self.tx().and_then(|tx| value::send(tx, &value, deadline)) {
            Ok(Sent::Yes) => Ok(()),
            Ok(Sent::No) => Err(SendTimeoutError::Timeout(value)),
            Ok(Sent::Begun) => Err(SendTimeoutError::Unfinished),
            Err(error) => Err(SendTimeoutError::Failed(error)),
        }
    }

    /// Receives a value, waiting for it.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](ErrorKind::Unsupported) when this end only sends; otherwise as
    /// [`Receiver::recv`](crate::Receiver::recv).
    pub fn recv<T: DeserializeOwned>(&self) -> Result<T> {
        match value::recv(self.rx()?, Deadline::NEVER)? {
            Next::Message(value) => Ok(value),
            Next::Nothing | Next::Closed => Err(closed()),
        }
    }

    /// Receives a value if one is there.
    ///
    /// # Errors
    ///
    /// [`TryRecvError::Empty`] when none is; otherwise as [`recv`](Self::recv).
    pub fn try_recv<T: DeserializeOwned>(&self) -> Result<T, TryRecvError> {
        let received = self.rx().and_then(|rx| value::recv(rx, Deadline::PAST));
        tried(received)
    }

    /// Receives a value, waiting for it at most this long. Nothing is lost when the time is up.
    ///
    /// # Errors
    ///
    /// [`RecvTimeoutError::Timeout`] when the time is up; otherwise as [`recv`](Self::recv).
    pub fn recv_timeout<T: DeserializeOwned>(
        &self,
        timeout: Duration,
    ) -> Result<T, RecvTimeoutError> {
        self.recv_deadline(Deadline::after(timeout))
    }

    /// As [`recv_timeout`](Self::recv_timeout), until a moment.
    ///
    /// # Errors
    ///
    /// As [`recv_timeout`](Self::recv_timeout).
    pub fn recv_deadline<T: DeserializeOwned>(
        &self,
        deadline: Deadline,
    ) -> Result<T, RecvTimeoutError> {
        waited(self.rx().and_then(|rx| value::recv(rx, deadline)))
    }

    /// Sends bytes as one message, waiting for room. A part of something larger is a slice of it.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn send_bytes(&self, bytes: &[u8]) -> Result<()> {
        self.put_bytes(bytes, Deadline::NEVER).map(drop)
    }

    /// As [`send_bytes`](Self::send_bytes), waiting for room at most this long. Zero is not at all.
    ///
    /// # Errors
    ///
    /// As [`send_timeout`](Self::send_timeout).
    pub fn send_bytes_timeout(
        &self,
        bytes: &[u8],
        timeout: Duration,
    ) -> Result<(), SendTimeoutError<()>> {
        self.send_bytes_deadline(bytes, Deadline::after(timeout))
    }

    /// As [`send_bytes_timeout`](Self::send_bytes_timeout), until a moment.
    ///
    /// # Errors
    ///
    /// As [`send_timeout`](Self::send_timeout).
    pub fn send_bytes_deadline(
        &self,
        bytes: &[u8],
        deadline: Deadline,
    ) -> Result<(), SendTimeoutError<()>> {
        match self.put_bytes(bytes, deadline) {
            Ok(Sent::Yes) => Ok(()),
            Ok(Sent::No) => Err(SendTimeoutError::Timeout(())),
            Ok(Sent::Begun) => Err(SendTimeoutError::Unfinished),
            Err(error) => Err(SendTimeoutError::Failed(error)),
        }
    }

    fn put_bytes(&self, bytes: &[u8], deadline: Deadline) -> Result<Sent> {
        self.tx()?.send(&Outgoing { parts: [bytes, &[]], handles: &[], announced: 0 }, deadline)
    }

    /// Sends the rest of a message that a timeout [left unfinished](SendTimeoutError::Unfinished), waiting at most this long; tells
    /// whether nothing is left. Whatever is sent next does that as well.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn flush(&self, timeout: Duration) -> Result<bool> {
        match &self.0 {
            Kind::Stream(stream) => stream.flush(Deadline::after(timeout)),
            _ => Ok(true),
        }
    }

    /// Receives one message as bytes, waiting for it.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv); [`Decode`](ErrorKind::Decode) when the message is a value with handles, which are closed.
    pub fn recv_bytes(&self) -> Result<Vec<u8>> {
        self.recv_bytes_max(crate::MAX_MESSAGE_BYTES)
    }

    /// As [`recv_bytes`](Self::recv_bytes), for a message of at most so many bytes.
    ///
    /// # Errors
    ///
    /// [`TooLarge`](ErrorKind::TooLarge) when a longer one comes: nothing of it is taken, and nothing more can be received then.
    pub fn recv_bytes_max(&self, most: u64) -> Result<Vec<u8>> {
        match self.take_bytes(most, Deadline::NEVER)? {
            Next::Message(bytes) => Ok(bytes),
            Next::Nothing | Next::Closed => Err(closed()),
        }
    }

    /// As [`recv_bytes`](Self::recv_bytes), if a message is there.
    ///
    /// # Errors
    ///
    /// [`TryRecvError::Empty`] when none is; otherwise as [`recv_bytes`](Self::recv_bytes).
    pub fn try_recv_bytes(&self) -> Result<Vec<u8>, TryRecvError> {
        tried(self.take_bytes(crate::MAX_MESSAGE_BYTES, Deadline::PAST))
    }

    /// As [`recv_bytes`](Self::recv_bytes), waiting at most this long. Nothing is lost when the time is up.
    ///
    /// # Errors
    ///
    /// [`RecvTimeoutError::Timeout`] when the time is up; otherwise as [`recv_bytes`](Self::recv_bytes).
    pub fn recv_bytes_timeout(&self, timeout: Duration) -> Result<Vec<u8>, RecvTimeoutError> {
        self.recv_bytes_deadline(Deadline::after(timeout))
    }

    /// As [`recv_bytes_timeout`](Self::recv_bytes_timeout), until a moment.
    ///
    /// # Errors
    ///
    /// As [`recv_bytes_timeout`](Self::recv_bytes_timeout).
    pub fn recv_bytes_deadline(&self, deadline: Deadline) -> Result<Vec<u8>, RecvTimeoutError> {
        waited(self.take_bytes(crate::MAX_MESSAGE_BYTES, deadline))
    }

    pub(crate) fn take_bytes(&self, most: u64, deadline: Deadline) -> Result<Next<Vec<u8>>> {
        let received = self.rx()?.recv(Room::AtMost(most), deadline)?;
        received.try_map(|incoming| without_handles(incoming).map(Body::into_vec))
    }

    /// Receives one message into `buffer`, waiting for it; tells how many bytes it has.
    ///
    /// # Errors
    ///
    /// [`RecvIntoError::TooShort`] with the whole message when `buffer` is shorter than it, and the connection goes on;
    /// otherwise as [`recv_bytes`](Self::recv_bytes).
    #[doc(alias = "BufferTooShort")]
    pub fn recv_bytes_into(&self, buffer: &mut [u8]) -> Result<usize, RecvIntoError> {
        self.recv_bytes_into_deadline(buffer, Deadline::NEVER)
    }

    /// As [`recv_bytes_into`](Self::recv_bytes_into), waiting at most this long. Nothing is lost when the time is up; what `buffer`
    /// holds then means nothing.
    ///
    /// # Errors
    ///
    /// [`RecvIntoError::Timeout`] when the time is up; otherwise as [`recv_bytes_into`](Self::recv_bytes_into).
    pub fn recv_bytes_into_timeout(
        &self,
        buffer: &mut [u8],
        timeout: Duration,
    ) -> Result<usize, RecvIntoError> {
        self.recv_bytes_into_deadline(buffer, Deadline::after(timeout))
    }

    /// As [`recv_bytes_into_timeout`](Self::recv_bytes_into_timeout), until a moment.
    ///
    /// # Errors
    ///
    /// As [`recv_bytes_into_timeout`](Self::recv_bytes_into_timeout).
    pub fn recv_bytes_into_deadline(
        &self,
        buffer: &mut [u8],
        deadline: Deadline,
    ) -> Result<usize, RecvIntoError> {
        let incoming = match self.rx()?.recv(Room::Slice(buffer), deadline)? {
            Next::Message(incoming) => incoming,
            Next::Nothing => return Err(RecvIntoError::Timeout),
            Next::Closed => return Err(RecvIntoError::Closed),
        };
        let body = without_handles(incoming)?;
        match body {
            Body::InPlace(len) => Ok(len),
            body if body.bytes().len() <= buffer.len() => {
                let bytes = body.bytes();
                buffer[..bytes.len()].copy_from_slice(bytes);
                Ok(bytes.len())
            }
            body => Err(RecvIntoError::TooShort(body.into_vec())),
        }
    }

    /// Whether a receive would return at once, with a message or an error, or because the other side is gone; waits for that at
    /// most this long. Nothing is used up.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](ErrorKind::Unsupported) when this end only sends; [`Os`](ErrorKind::Os) when the system is out of memory.
    pub fn poll(&self, timeout: Duration) -> Result<bool> {
        self.rx()?.poll(Deadline::after(timeout))
    }

    /// Closes this end for all threads that use it, as dropping it does. Once is enough; whatever is tried afterwards says
    /// [`Closed`](ErrorKind::Closed).
    pub fn close(&self) {
        match &self.0 {
            Kind::Local(tx, rx) => {
                tx.close();
                rx.close();
            }
            Kind::ReadOnly(rx) => rx.close(),
            Kind::WriteOnly(tx) => tx.close(),
            Kind::Stream(stream) => stream.close(),
        }
    }

    /// Who is at the other side of a Unix socket; `None` for other connections.
    pub fn peer_credentials(&self) -> Option<crate::Credentials> {
        match &self.0 {
            Kind::Stream(stream) => stream.peer_credentials(),
            _ => None,
        }
    }

    /// [`AsFd::as_fd`], which cannot fail.
    pub(crate) fn try_as_fd(&self) -> Result<BorrowedFd<'_>> {
        match &self.0 {
            Kind::Local(_, rx) | Kind::ReadOnly(rx) => rx.as_fd(),
            Kind::WriteOnly(tx) => Ok(tx.as_fd()),
            Kind::Stream(stream) => stream.as_fd(),
        }
    }

    /// How many messages were sent and not received yet, where the connection is within this machine; over a socket nobody can know.
    pub fn unread(&self) -> Option<u64> {
        match &self.0 {
            Kind::Local(tx, _) | Kind::WriteOnly(tx) => Some(tx.unread()),
            _ => None,
        }
    }
}

impl<A, B> From<Duplex<A, B>> for Connection {
    fn from(end: Duplex<A, B>) -> Self {
        end.into_connection()
    }
}

impl<T> From<Sender<T>> for Connection {
    fn from(end: Sender<T>) -> Self {
        Self(Kind::WriteOnly(end.into_outlet()))
    }
}

impl<T> From<Receiver<T>> for Connection {
    fn from(end: Receiver<T>) -> Self {
        Self(Kind::ReadOnly(end.into_inlet()))
    }
}

fn without_handles(incoming: Incoming) -> Result<Body> {
    match incoming.handles.is_empty() && !incoming.handles_lost {
        true => Ok(incoming.body),
        false => {
            let text = "a value with handles came where bytes were to be received";
            Err(Error::new(ErrorKind::Decode, text))
        }
    }
}

fn tried<T>(received: Result<Next<T>>) -> Result<T, TryRecvError> {
    match received {
        Ok(Next::Message(message)) => Ok(message),
        Ok(Next::Nothing) => Err(TryRecvError::Empty),
        Ok(Next::Closed) => Err(TryRecvError::Closed),
        Err(error) => Err(TryRecvError::Failed(error)),
    }
}

fn waited<T>(received: Result<Next<T>>) -> Result<T, RecvTimeoutError> {
    match received {
        Ok(Next::Message(message)) => Ok(message),
        Ok(Next::Nothing) => Err(RecvTimeoutError::Timeout),
        Ok(Next::Closed) => Err(RecvTimeoutError::Closed),
        Err(error) => Err(RecvTimeoutError::Failed(error)),
    }
}

impl AsFd for Connection {
    /// A descriptor to wait for together with others: readable while a receive would return at once. Of an end that only sends, it
    /// is readable when the other side is gone.
    ///
    /// # Panics
    ///
    /// As [`Receiver::as_fd`](crate::Receiver::as_fd).
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self.try_as_fd() {
            Ok(fd) => fd,
            Err(error) => panic!("no descriptor to wait for a connection: {error}"),
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.0 {
            Kind::Local(..) => "local",
            Kind::ReadOnly(_) => "local, receiving",
            Kind::WriteOnly(_) => "local, sending",
            Kind::Stream(_) => "socket",
        };
        f.debug_tuple("Connection").field(&format_args!("{kind}")).finish()
    }
}
