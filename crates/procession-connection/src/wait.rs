//! Waiting for one of many.

use std::fs::File;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::time::Duration;

use procession_core::{Deadline, Handle, Result};
use procession_sys::poll::{self, Watch};

use crate::{Connection, Duplex, Receiver, Sender};

/// Something that [`wait`] can wait for.
pub trait Waitable {
    /// A descriptor that is readable while there is something to be had without waiting: a message, a client, the end.
    ///
    /// # Errors
    ///
    /// [`Os`](procession_core::ErrorKind::Os) when this process may open no more descriptors;
    /// [`Taken`](procession_core::ErrorKind::Taken) when the end of a pipe is another process's by now.
    fn readable_fd(&self) -> Result<BorrowedFd<'_>>;

    /// Whether there is indeed something, when the descriptor was readable: that of a pipe is for a moment when its other side goes
    /// from one process to another.
    ///
    /// # Errors
    ///
    /// As [`readable_fd`](Self::readable_fd).
    fn is_ready(&self) -> Result<bool> {
        Ok(true)
    }
}

/// Waits until at least one of `objects` has something, and tells which have, by their places, in order; none when the time is up first.
/// Zero is a look.
///
/// What has something is: an end of a pipe or a connection from which a message can be received, or whose other side is gone, or which would
/// say an error; a listener with a client; a process that has ended; a file or a socket that is readable, or hung up. It
/// stays so until it is used up. An object may be there more than once.
///
/// Each end of a pipe takes two descriptors more from its first wait on (see [`Receiver::as_fd`]).
///
/// # Errors
///
/// [`Closed`](procession_core::ErrorKind::Closed) when one of them was closed here; as [`Waitable::readable_fd`].
///
/// # Source
///
/// CPython `multiprocessing.connection.wait`.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use procession_connection::{pipe, wait};
///
/// let (tx, first) = pipe::<u8>()?;
/// let (_other, second) = pipe::<u8>()?;
/// tx.send(7)?;
/// assert_eq!(wait(&[&first, &second], Duration::from_secs(1))?, [0]);
/// assert_eq!(first.recv()?, 7);
/// assert!(wait(&[&first, &second], Duration::ZERO)?.is_empty());
/// # Ok::<(), procession_core::Error>(())
/// ```
pub fn wait(objects: &[&dyn Waitable], timeout: Duration) -> Result<Vec<usize>> {
    wait_deadline(objects, Deadline::after(timeout))
}

/// As [`wait`], until a moment, or for ever.
///
/// # Errors
///
/// As [`wait`].
pub fn wait_deadline(objects: &[&dyn Waitable], deadline: Deadline) -> Result<Vec<usize>> {
    let fds: Vec<_> = objects.iter().map(|object| object.readable_fd()).collect::<Result<_>>()?;
    let mut watches: Vec<_> = fds.iter().map(Watch::readable).collect();
    loop {
        poll::wait(&mut watches, deadline)?;
        let mut ready = Vec::new();
        for (place, watch) in watches.iter().enumerate() {
            if watch.is_ready() && objects[place].is_ready()? {
                ready.push(place);
            }
        }
        if !ready.is_empty() || deadline.has_passed() {
            return Ok(ready);
        }
    }
}

impl<T: Waitable + ?Sized> Waitable for &T {
    fn readable_fd(&self) -> Result<BorrowedFd<'_>> {
        (**self).readable_fd()
    }

    fn is_ready(&self) -> Result<bool> {
        (**self).is_ready()
    }
}

impl<T: Waitable> Waitable for Handle<T> {
    fn readable_fd(&self) -> Result<BorrowedFd<'_>> {
        (**self).readable_fd()
    }

    fn is_ready(&self) -> Result<bool> {
        (**self).is_ready()
    }
}

impl<T> Waitable for Receiver<T> {
    fn readable_fd(&self) -> Result<BorrowedFd<'_>> {
        self.try_as_fd()
    }

    fn is_ready(&self) -> Result<bool> {
        self.look()
    }
}

impl<A, B> Waitable for Duplex<A, B> {
    fn readable_fd(&self) -> Result<BorrowedFd<'_>> {
        self.connection().try_as_fd()
    }

    fn is_ready(&self) -> Result<bool> {
        self.connection().is_ready()
    }
}

impl Waitable for Connection {
    fn readable_fd(&self) -> Result<BorrowedFd<'_>> {
        self.try_as_fd()
    }

    fn is_ready(&self) -> Result<bool> {
        // Of one that only sends, the descriptor tells all there is.
        Ok(!self.is_readable() || self.poll(Duration::ZERO)?)
    }
}

impl<T> Waitable for Sender<T> {
    /// Ready when the receiver is gone.
    fn readable_fd(&self) -> Result<BorrowedFd<'_>> {
        Ok(self.as_fd())
    }
}

macro_rules! plain {
    ($($type:ty),+) => {
        $(
            impl Waitable for $type {
                fn readable_fd(&self) -> Result<BorrowedFd<'_>> {
                    Ok(self.as_fd())
                }
            }
        )+
    };
}

plain!(
    OwnedFd,
    BorrowedFd<'_>,
    File,
    TcpStream,
    TcpListener,
    UdpSocket,
    UnixStream,
    UnixListener,
    UnixDatagram
);
