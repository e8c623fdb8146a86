//! Typed ends.

use std::fmt;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use procession_core::{Deadline, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::connection::Connection;
use crate::error::{RecvTimeoutError, SendTimeoutError, TryRecvError, TrySendError, closed};
use crate::local::{self, Inlet, Outlet};
use crate::transport::{Next, Sent, Transport};
use crate::value;

/// Makes a pipe: what goes into the sender comes out of the receiver, in order.
///
/// # Shape
///
/// One message is one value of `T`, of any size up to [`MAX_MESSAGE_BYTES`](crate::MAX_MESSAGE_BYTES) once encoded, with
/// any handles in it. The pipe holds 256 KiB of messages that nobody has received yet; then senders wait.
///
/// # Errors
///
/// [`ErrorKind::Os`](procession_core::ErrorKind::Os) when this process may open no more descriptors.
///
/// # Source
///
/// CPython `multiprocessing.Pipe(duplex=False)`; the receiver comes second here, as in `std::sync::mpsc`.
///
/// # Examples
///
/// ```
/// let (tx, rx) = procession_connection::pipe::<String>()?;
/// tx.send("hello".into())?;
/// assert_eq!(rx.recv()?, "hello");
/// # Ok::<(), procession_core::Error>(())
/// ```
#[doc(alias = "Pipe")]
pub fn pipe<T>() -> Result<(Sender<T>, Receiver<T>)> {
    let (tx, rx) = local::pair()?;
    Ok((Sender { tx, of: PhantomData }, Receiver { rx, of: PhantomData }))
}

/// Makes two ends that both send and receive: the first sends `A` and receives `B`, the second the other way round.
///
/// # Errors
///
/// [`ErrorKind::Os`](procession_core::ErrorKind::Os) when this process may open no more descriptors.
///
/// # Source
///
/// CPython `multiprocessing.Pipe()`.
///
/// # Examples
///
/// ```
/// let (client, server) = procession_connection::duplex::<u32, String>()?;
/// client.send(7)?;
/// server.send(format!("got {}", server.recv()?))?;
/// assert_eq!(client.recv()?, "got 7");
/// # Ok::<(), procession_core::Error>(())
/// ```
#[doc(alias = "Pipe")]
pub fn duplex<A, B>() -> Result<(Duplex<A, B>, Duplex<B, A>)> {
    let (left, right) = Connection::pair()?;
    Ok((Duplex::over(left), Duplex::over(right)))
}

/// The sending end of a [`pipe`].
///
/// Any number of threads may send at once; messages do not mix. There is one holder: sending the end in a message moves
/// it.
///
/// # Drop, kill, fork
///
/// Dropping it, or the death of its process, closes the pipe: the receiver gets what was sent and then
/// [`Closed`](procession_core::ErrorKind::Closed). A process that is killed inside [`send`](Self::send) leaves at most
/// that one message unfinished, which the receiver is told ([`Torn`](procession_core::ErrorKind::Torn)); so does a call
/// that the system makes fail in the middle of a message, which closes the pipe. A forked child holds the end as well,
/// and keeps the pipe open.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
#[must_use = "the pipe closes when its sender is dropped"]
pub struct Sender<T> {
    tx: Outlet,
    of: PhantomData<fn(T)>,
}

/// The receiving end of a [`pipe`].
///
/// Any number of threads may receive at once; each message goes to one of them. There is one holder: sending the end in
/// a message moves it, with whatever has arrived.
///
/// # Drop, kill, fork
///
/// Dropping it, or the death of its process, discards what was not received; the sender's next
/// [`send`](Sender::send) fails. A forked child holds the end as well; do not receive in both.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
#[must_use = "what is sent into the pipe is lost when its receiver is dropped"]
pub struct Receiver<T> {
    rx: Inlet,
    of: PhantomData<fn() -> T>,
}

/// One end of a [`duplex`] pipe: sends `A`, receives `B`.
///
/// Threads, holders, drop and death are as for [`Sender`] and [`Receiver`].
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
#[must_use = "the pipe closes when one of its ends is dropped"]
pub struct Duplex<A, B> {
    connection: Connection,
    of: PhantomData<fn(A) -> B>,
}

/// The sending methods, for an end that sends `$message`.
macro_rules! sends {
    ($end:ident<$($parameter:ident),+>, $message:ident) => {
        impl<$($parameter),+> $end<$($parameter),+>
        where
            $message: Serialize,
        {
            /// Sends a message, waiting for room in the pipe.
            ///
            /// Takes the message by value: the handles in it exist once, and are at the other side afterwards. When the
            /// call returns, the message survives the death of this process.
            ///
            /// # Errors
            ///
            /// [`Closed`](procession_core::ErrorKind::Closed) when the receiver is gone;
            /// [`Encode`](procession_core::ErrorKind::Encode) when the message cannot be encoded, and the pipe goes on;
            /// [`Os`](procession_core::ErrorKind::Os) when the system is out of memory or descriptors.
            #[inline]
            pub fn send(&self, message: $message) -> Result<()> {
                value::send(self.way_out()?, &message, Deadline::NEVER).map(drop)
            }

            /// Sends a message if there is room for it at once.
            ///
            /// # Errors
            ///
            /// [`TrySendError::Full`] with the message when there is not; otherwise as [`send`](Self::send).
            pub fn try_send(&self, message: $message) -> Result<(), TrySendError<$message>> {
                let sent = self
                    .way_out()
                    .and_then(|tx| value::send(tx, &message, Deadline::PAST));
                match sent {
                    Ok(Sent::Yes | Sent::Begun) => Ok(()),
                    Ok(Sent::No) => Err(TrySendError::Full(message)),
                    Err(error) => Err(TrySendError::Failed(error)),
                }
            }

            /// Sends a message, waiting for room at most this long. It goes whole or not at all: of one that is
            /// longer than the pipe, what the receiver has seen by then is taken back.
            ///
            /// # Errors
            ///
            /// [`SendTimeoutError::Timeout`] with the message when the time is up; otherwise as [`send`](Self::send).
            pub fn send_timeout(
                &self,
                message: $message,
                timeout: Duration,
            ) -> Result<(), SendTimeoutError<$message>> {
                self.send_deadline(message, Deadline::after(timeout))
            }

            /// As [`send_timeout`](Self::send_timeout), until a moment.
            ///
            /// # Errors
            ///
            /// As [`send_timeout`](Self::send_timeout).
            pub fn send_deadline(
                &self,
                message: $message,
                deadline: Deadline,
            ) -> Result<(), SendTimeoutError<$message>> {
                match self.way_out().and_then(|tx| value::send(tx, &message, deadline)) {
                    Ok(Sent::Yes) => Ok(()),
                    Ok(Sent::No) => Err(SendTimeoutError::Timeout(message)),
                    Ok(Sent::Begun) => Err(SendTimeoutError::Unfinished),
                    Err(error) => Err(SendTimeoutError::Failed(error)),
                }
            }

        }
    };
}

/// The receiving methods, for an end that receives `$message`.
macro_rules! receives {
    ($end:ident<$($parameter:ident),+>, $message:ident) => {
        impl<$($parameter),+> $end<$($parameter),+>
        where
            $message: DeserializeOwned,
        {
            /// Receives the next message, waiting for it.
            ///
            /// # Errors
            ///
            /// [`Closed`](procession_core::ErrorKind::Closed) once the other end is gone and nothing is left;
            /// [`Torn`](procession_core::ErrorKind::Torn) when it died in the middle of a message;
            /// [`Decode`](procession_core::ErrorKind::Decode) when the message is not what this end expects, and the
            /// pipe goes on behind it;
            /// [`Os`](procession_core::ErrorKind::Os) with
            /// [`TOO_MANY_OPEN`](procession_core::OsCode::TOO_MANY_OPEN) when the message brought handles and this
            /// process had no room for more descriptors as it arrived, which may be a few messages earlier: that one
            /// message is lost, and the pipe goes on behind it.
            ///
            /// What comes is no sequence of messages at all when something else writes into the socket: that is an
            /// error, too ([`Decode`](procession_core::ErrorKind::Decode) or
            /// [`TooLarge`](procession_core::ErrorKind::TooLarge)), and closes the pipe for both ends.
            ///
            /// # Panics
            ///
            /// When decoding the value does. The message is used up then, with its handles.
            #[inline]
            pub fn recv(&self) -> Result<$message> {
                match value::recv(self.way_in()?, Deadline::NEVER)? {
                    Next::Message(message) => Ok(message),
                    Next::Closed | Next::Nothing => Err(closed()),
                }
            }

            /// Receives the next message if one is there, whole.
            ///
            /// # Errors
            ///
            /// [`TryRecvError::Empty`] when none is; otherwise as [`recv`](Self::recv).
            pub fn try_recv(&self) -> Result<$message, TryRecvError> {
                match self.way_in().and_then(|rx| value::recv(rx, Deadline::PAST)) {
                    Ok(Next::Message(message)) => Ok(message),
                    Ok(Next::Nothing) => Err(TryRecvError::Empty),
                    Ok(Next::Closed) => Err(TryRecvError::Closed),
                    Err(error) => Err(TryRecvError::Failed(error)),
                }
            }

            /// Receives the next message, waiting for it at most this long. Nothing is lost when the time is up, also
            /// in the middle of a message.
            ///
            /// # Errors
            ///
            /// [`RecvTimeoutError::Timeout`] when the time is up; otherwise as [`recv`](Self::recv).
            pub fn recv_timeout(&self, timeout: Duration) -> Result<$message, RecvTimeoutError> {
                self.recv_deadline(Deadline::after(timeout))
            }

            /// As [`recv_timeout`](Self::recv_timeout), until a moment.
            ///
            /// # Errors
            ///
            /// As [`recv_timeout`](Self::recv_timeout).
            pub fn recv_deadline(&self, deadline: Deadline) -> Result<$message, RecvTimeoutError> {
                match self.way_in().and_then(|rx| value::recv(rx, deadline)) {
                    Ok(Next::Message(message)) => Ok(message),
                    Ok(Next::Nothing) => Err(RecvTimeoutError::Timeout),
                    Ok(Next::Closed) => Err(RecvTimeoutError::Closed),
                    Err(error) => Err(RecvTimeoutError::Failed(error)),
                }
            }

            /// Whether [`recv`](Self::recv) would return at once, with a message or an error; waits for that at most
            /// this long. Nothing is used up: as long as nobody receives, the answer stays the same.
            ///
            /// # Errors
            ///
            /// [`Os`](procession_core::ErrorKind::Os) when the system is out of memory.
            pub fn poll(&self, timeout: Duration) -> Result<bool> {
                self.way_in()?.poll(Deadline::after(timeout))
            }

            /// Receives until the other end is gone.
            pub fn iter(&self) -> Iter<'_, $message> {
                Iter { rx: self.way_in(), of: PhantomData }
            }
        }

        impl<'a, $($parameter),+> IntoIterator for &'a $end<$($parameter),+>
        where
            $message: DeserializeOwned,
        {
            type Item = Result<$message>;
            type IntoIter = Iter<'a, $message>;

            fn into_iter(self) -> Iter<'a, $message> {
                self.iter()
            }
        }
    };
}

sends!(Sender<T>, T);
receives!(Receiver<T>, T);
sends!(Duplex<A, B>, A);
receives!(Duplex<A, B>, B);

impl<T> Sender<T> {
    #[inline(always)]
    #[expect(clippy::unnecessary_wraps, reason = "that of a duplex can fail")]
    fn way_out(&self) -> Result<Transport<'_, Outlet>> {
        Ok(Transport::Local(&self.tx))
    }

    pub(crate) fn into_outlet(self) -> Outlet {
        self.tx
    }

    /// How many messages were sent that nobody has received yet. After the death of the receiver these are the ones that were lost.
    pub fn unread(&self) -> u64 {
        self.tx.unread()
    }

    /// Closes the pipe, as dropping the sender does, for all threads that use it.
    pub fn close(&self) {
        self.tx.close();
    }
}

impl<T> Receiver<T> {
    #[inline(always)]
    #[expect(clippy::unnecessary_wraps, reason = "that of a duplex can fail")]
    fn way_in(&self) -> Result<Transport<'_, Inlet>> {
        Ok(Transport::Local(&self.rx))
    }

    /// [`AsFd::as_fd`], which cannot fail.
    pub(crate) fn try_as_fd(&self) -> Result<BorrowedFd<'_>> {
        self.rx.as_fd()
    }

    /// Whether there is something to receive.
    pub(crate) fn look(&self) -> Result<bool> {
        self.rx.poll(Deadline::PAST)
    }

    pub(crate) fn into_inlet(self) -> Inlet {
        self.rx
    }

    /// Closes the pipe, as dropping the receiver does, for all threads that use it; those that wait are told.
    pub fn close(&self) {
        self.rx.close();
    }
}

impl<A, B> Duplex<A, B> {
    pub(crate) fn over(connection: Connection) -> Self {
        Self { connection, of: PhantomData }
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(crate) fn into_connection(self) -> Connection {
        self.connection
    }

    #[inline(always)]
    fn way_out(&self) -> Result<Transport<'_, Outlet>> {
        self.connection.tx()
    }

    #[inline(always)]
    fn way_in(&self) -> Result<Transport<'_, Inlet>> {
        self.connection.rx()
    }

    /// How many messages were sent that nobody has received yet, where the pipe is within this machine. After the death of the
    /// receiver these are the ones that were lost.
    pub fn unread(&self) -> Option<u64> {
        self.connection.unread()
    }

    /// Closes both ways, as dropping the end does, for all threads that use it; those that wait are told.
    pub fn close(&self) {
        self.connection.close();
    }

    /// The two ways by themselves.
    ///
    /// # Errors
    ///
    /// Gives the end back when it goes through a socket, which is one for both ways.
    pub fn split(self) -> Result<(Sender<A>, Receiver<B>), Box<Self>> {
        match self.connection.into_ends() {
            Ok((tx, rx)) => Ok((Sender { tx, of: PhantomData }, Receiver { rx, of: PhantomData })),
            Err(connection) => Err(Box::new(Self::over(*connection))),
        }
    }
}

impl<T> AsFd for Receiver<T> {
    /// A descriptor to wait for together with others, in `poll(2)`, `epoll(7)` or a crate over them: readable while
    /// [`recv`](Self::recv) would return at once, with a message, an error, or because the other end is gone. It is made on
    /// the first call, and costs the pipe a few system calls each time that it runs empty from then on. [`wait`](crate::wait) does
    /// without.
    ///
    /// Reading, writing or changing its mode by any other way is an error.
    ///
    /// # Panics
    ///
    /// On the first call, when this process may open no more descriptors, or the end is another process's by now.
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self.rx.as_fd() {
            Ok(fd) => fd,
            Err(error) => panic!("no descriptor to wait for a pipe: {error}"),
        }
    }
}

impl<T> AsFd for Sender<T> {
    /// The socket of the pipe. It hangs up when the receiver is gone: the next [`send`](Self::send) fails then.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.tx.as_fd()
    }
}

impl<A, B> AsFd for Duplex<A, B> {
    /// As for a [`Receiver`].
    ///
    /// # Panics
    ///
    /// As for a [`Receiver`].
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").finish_non_exhaustive()
    }
}

impl<A, B> fmt::Debug for Duplex<A, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Duplex").field(&self.connection).finish()
    }
}

/// The messages of a pipe until it is closed; an error that leaves the pipe usable does not end it.
pub struct Iter<'a, T> {
    rx: Result<Transport<'a, Inlet>>,
    of: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Iterator for Iter<'_, T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        match self.rx.clone().and_then(|rx| value::recv(rx, Deadline::NEVER)) {
            Ok(Next::Message(message)) => Some(Ok(message)),
            Ok(Next::Closed | Next::Nothing) => None,
            Err(error) => Some(Err(error)),
        }
    }
}

impl<T> fmt::Debug for Iter<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Iter").finish_non_exhaustive()
    }
}
