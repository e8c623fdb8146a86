//! Typed ends.

use std::fmt;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use procession_core::{Deadline, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::endpoint::{Endpoint, Next};
use crate::error::{RecvTimeoutError, TryRecvError, closed};

/// Makes a pipe: what goes into the sender comes out of the receiver, in order.
///
/// # Shape
///
/// One message is one value of `T`, of any size up to [`MAX_MESSAGE_BYTES`](crate::MAX_MESSAGE_BYTES) once encoded, with
/// any handles in it. The pipe holds about 200 KiB of messages that nobody has received yet; then senders wait.
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
    let (tx, rx) = Endpoint::pair()?;
    Ok((Sender { end: tx, of: PhantomData }, Receiver { end: rx, of: PhantomData }))
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
    let (left, right) = Endpoint::pair()?;
    Ok((Duplex { end: left, of: PhantomData }, Duplex { end: right, of: PhantomData }))
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
    end: Endpoint,
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
    end: Endpoint,
    of: PhantomData<fn() -> T>,
}

/// One end of a [`duplex`] pipe: sends `A`, receives `B`.
///
/// Threads, holders, drop and death are as for [`Sender`] and [`Receiver`].
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
#[must_use = "the pipe closes when one of its ends is dropped"]
pub struct Duplex<A, B> {
    end: Endpoint,
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
            pub fn send(&self, message: $message) -> Result<()> {
                self.end.send(&message)
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
            pub fn recv(&self) -> Result<$message> {
                match self.end.recv(Deadline::NEVER)? {
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
                match self.end.recv(Deadline::after(Duration::ZERO)) {
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
                match self.end.recv(Deadline::after(timeout)) {
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
                self.end.poll(Deadline::after(timeout))
            }

            /// Receives until the other end is gone.
            pub fn iter(&self) -> Iter<'_, $message> {
                Iter { end: &self.end, of: PhantomData }
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

/// What all ends have; `$readable` says what it means that the descriptor is readable.
macro_rules! end {
    ($end:ident<$($parameter:ident),+>, $readable:expr) => {
        impl<$($parameter),+> AsFd for $end<$($parameter),+> {
            #[doc = $readable]
            fn as_fd(&self) -> BorrowedFd<'_> {
                self.end.as_fd()
            }
        }

        impl<$($parameter),+> fmt::Debug for $end<$($parameter),+> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($end)).field("fd", &self.end.as_fd()).finish()
            }
        }
    };
}

/// For ends that receive. Reading one frame at a time would make the descriptor tell the whole truth, for one more call
/// into the system with each short message.
macro_rules! edge {
    () => {
        r#"The socket, to wait for together with other descriptors. **An edge:** several messages come out of it at a
time, so that it may not be readable although [`recv`](Self::recv) would return at once. Receive with
[`try_recv`](Self::try_recv) until [`TryRecvError::Empty`] before each wait for the descriptor, the first one included.
[`poll`](Self::poll) tells at any time whether there is a message.

It becomes readable when something arrives, be it a part of a message, and when the other end is gone. Reading,
writing or changing its mode by any other way breaks the pipe.

# Examples

```
use std::os::fd::AsFd;
use procession_connection::{TryRecvError, pipe};
use procession_core::Deadline;

let (tx, rx) = pipe::<u32>()?;
for number in 0..3 {
    tx.send(number)?;
}
drop(tx);

let mut received = Vec::new();
'open: loop {
    // All there is, and only then sleep.
    loop {
        match rx.try_recv() {
            Ok(number) => received.push(number),
            Err(TryRecvError::Empty) => break,
            Err(TryRecvError::Closed) => break 'open,
            Err(TryRecvError::Failed(error)) => eprintln!("{error}"),
        }
    }
    // In a real program: poll(2), epoll(7) or a crate over them, with more descriptors.
    procession_sys::poll::wait_readable(rx.as_fd(), Deadline::NEVER)?;
}
assert_eq!(received, [0, 1, 2]);
# Ok::<(), procession_core::Error>(())
```"#
    };
}

end!(
    Sender<T>,
    "The socket. Readable when the receiver is gone: the next [`send`](Self::send) fails then."
);
end!(Receiver<T>, edge!());
end!(Duplex<A, B>, edge!());

/// The messages of a pipe until it is closed; an error that leaves the pipe usable does not end it.
pub struct Iter<'a, T> {
    end: &'a Endpoint,
    of: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Iterator for Iter<'_, T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        match self.end.recv(Deadline::NEVER) {
            Ok(Next::Message(message)) => Some(Ok(message)),
            Ok(Next::Closed | Next::Nothing) => None,
            Err(error) => Some(Err(error)),
        }
    }
}

impl<T> fmt::Debug for Iter<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Iter").field("fd", &self.end.as_fd()).finish()
    }
}
