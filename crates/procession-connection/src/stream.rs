//! A connected stream socket, of this system or TCP, that carries frames.
//!
//! The bytes are CPython's frames ([`frame`](crate::frame)); what is in them is the caller's. Everything about a message that is half here or half
//! gone lives in the stream: a deadline that passes in the middle loses nothing, and a stream that moves to another process takes
//! it along.
//!
//! Any number of threads may send and receive. One at a time has the turn to send, one the turn to receive; the others wait for
//! theirs until their deadlines. Who has the turn to receive keeps it while it sleeps at the socket.

mod pollable;
mod reader;
mod travel;
mod writer;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use procession_core::{Deadline, Error, ErrorKind, OsCode, OsError, Result};
use procession_sys::net::{self, Credentials, StreamKind};
use procession_sys::poll;
use procession_sys::prim::Ordering::{AcqRel, Acquire};
use procession_sys::prim::{AtomicBool, OnceLock};
use procession_sys::socket::{self, Block};
use procession_sys::turn::{Turn, TurnGuard};

use crate::error::closed;
use crate::transport::{Incoming, Next, Outgoing, Room, Sent};
use pollable::Pollable;
use reader::{Found, Reader, Source};
use writer::Writer;

/// One end of a stream.
#[derive(Debug)]
pub(crate) struct Stream {
    socket: OwnedFd,
    kind: StreamKind,
    reader: Turn<Reader>,
    writer: Turn<Writer>,
    /// Whether the one whose turn it is to receive sleeps at the socket. INVARIANT: there is no whole message in the reader then.
    sleeps: AtomicBool,
    is_closed: AtomicBool,
    /// For who wants to poll: made when somebody asks.
    pollable: OnceLock<Pollable>,
}

impl Stream {
    /// Of a connected socket, which nobody else may read or write any more.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Os`] when it is no stream socket, neither of this system nor of TCP.
    pub(crate) fn new(socket: OwnedFd) -> Result<Self> {
        Self::with(socket, Reader::default(), Writer::default())
    }

    fn with(socket: OwnedFd, reader: Reader, writer: Writer) -> Result<Self> {
        Ok(Self {
            kind: net::stream_kind(&socket)?,
            socket,
            reader: Turn::new(reader),
            writer: Turn::new(writer),
            sleeps: AtomicBool::new(false),
            is_closed: AtomicBool::new(false),
            pollable: OnceLock::new(),
        })
    }

    /// Sends a message, waiting for room until the deadline.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Closed`] when the other end is gone, or this one was closed; [`ErrorKind::Unsupported`] for a message with
    /// descriptors on a stream that does not carry them; [`ErrorKind::TooLarge`]; [`ErrorKind::Os`]. After an error in the middle of
    /// a message nothing more goes.
    pub(crate) fn send(&self, message: &Outgoing<'_>, deadline: Deadline) -> Result<Sent> {
        if self.kind == StreamKind::Tcp && !message.handles.is_empty() {
            let text =
                "a message holds handles, which do not travel by TCP: use a local connection";
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        self.check_open()?;
        match self.writer.take(deadline) {
            Some(mut writer) => writer.send(&self.socket, message, deadline),
            None => Ok(Sent::No),
        }
    }

    /// Sends the rest of a message that was [begun](Sent::Begun), waiting for room until the deadline; tells whether nothing is left
    /// of it.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub(crate) fn flush(&self, deadline: Deadline) -> Result<bool> {
        self.check_open()?;
        match self.writer.take(deadline) {
            Some(mut writer) => writer.flush(&self.socket, deadline),
            None => Ok(false),
        }
    }

    /// Receives the next message, waiting for it until the deadline.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Torn`] when the other end has died in the middle of a message; [`ErrorKind::Decode`] and
    /// [`ErrorKind::TooLarge`] when what came is no message, or a longer one than is allowed: it is the last one then;
    /// [`ErrorKind::Closed`] when this end was closed; [`ErrorKind::Os`].
    pub(crate) fn recv(&self, mut room: Room<'_>, deadline: Deadline) -> Result<Next<Incoming>> {
        let Some(mut reader) = self.turn_to_receive(deadline)? else { return Ok(Next::Nothing) };
        let source = self.source(deadline);
        let received = loop {
            match reader.take(&source, &mut room) {
                Ok(Found::Message(message)) => break Ok(Next::Message(message)),
                Ok(Found::End) => break self.check_open().map(|()| Next::Closed),
                Ok(Found::Nothing) => {}
                Err(error) => break self.check_open().and(Err(error)),
            }
            if !self.wait(deadline)? {
                break Ok(Next::Nothing);
            }
        };
        if !matches!(received, Ok(Next::Message(_))) {
            reader.keep(&room);
        }
        self.settle(&reader)?;
        received
    }

    /// Whether [`recv`](Self::recv) would return at once, with a message or an error; waits for that until the deadline.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Closed`] when this end was closed; [`ErrorKind::Os`].
    pub(crate) fn poll(&self, deadline: Deadline) -> Result<bool> {
        let Some(mut reader) = self.turn_to_receive(deadline)? else { return Ok(false) };
        let source = self.source(Deadline::PAST);
        let ready = loop {
            let is_ready = reader.is_ready(&source)?;
            self.check_open()?;
            if is_ready || !self.wait(deadline)? {
                break is_ready;
            }
        };
        self.settle(&reader)?;
        Ok(ready)
    }

    /// Closes both ways for every holder of the socket; who waits here, and at the other end, learns it.
    pub(crate) fn close(&self) {
        // ORDERING: AcqRel: pairs with the load in `check_open`, after a wait that this has ended.
        if !self.is_closed.swap(true, AcqRel) {
            give_up(&self.socket);
        }
    }

    /// A descriptor that is readable while [`recv`](Self::recv) would return at once. It may also be while a part of a message is in
    /// the socket; [`poll`](Self::poll) makes that right.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Os`] when it has to be made, and this process may open no more descriptors.
    pub(crate) fn as_fd(&self) -> Result<BorrowedFd<'_>> {
        if let Some(pollable) = self.pollable.get() {
            return Ok(pollable.as_fd());
        }
        let made = Pollable::new(&self.socket)?;
        let pollable = self.pollable.get_or_init(|| made);
        loop {
            if let Some(reader) = self.reader.try_take() {
                pollable.set(reader.knows())?;
                break;
            }
            // ORDERING: AcqRel: pairs with the exchange of a thread that has slept (`Source::read`, `wait`). If this one sees that it
            // sleeps, that one sees the descriptor when it has woken, and sets it.
            if self.sleeps.fetch_or(false, AcqRel) {
                break;
            }
            std::thread::yield_now();
        }
        Ok(pollable.as_fd())
    }

    /// Who is at the other end; `None` for TCP, and when the system does not tell.
    pub(crate) fn peer_credentials(&self) -> Option<Credentials> {
        match self.kind {
            StreamKind::Local => net::peer_credentials(&self.socket).ok(),
            StreamKind::Tcp => None,
        }
    }

    /// Waits for the turn to receive; `None` when there is nothing for this thread until the deadline.
    fn turn_to_receive(&self, deadline: Deadline) -> Result<Option<TurnGuard<'_, Reader>>> {
        loop {
            self.check_open()?;
            if let Some(reader) = self.reader.try_take() {
                return Ok(Some(reader));
            }
            if !deadline.has_passed() {
                return match self.reader.take(deadline) {
                    Some(reader) => self.check_open().map(|()| Some(reader)),
                    None => Ok(None),
                };
            }
            // Who sleeps has found nothing, and will wake when there is something. Who does not is done soon, and may leave something.
            // ORDERING: Acquire: the message that it found before it slept, if any, is taken.
            if self.sleeps.load(Acquire) && !self.is_readable()? {
                return Ok(None);
            }
            std::thread::yield_now();
        }
    }

    fn source(&self, deadline: Deadline) -> Source<'_> {
        // Without a deadline the read itself may wait, which spares two calls.
        let block = if deadline == Deadline::NEVER { Block::Yes } else { Block::No };
        Source { socket: &self.socket, block, sleeps: &self.sleeps }
    }

    /// Waits until there is something to read; `false` once the deadline has passed.
    fn wait(&self, deadline: Deadline) -> Result<bool> {
        if deadline.has_passed() {
            return Ok(false);
        }
        // ORDERING: AcqRel: pairs with the exchange in `as_fd`.
        self.sleeps.swap(true, AcqRel);
        let waited = poll::wait_readable(&self.socket, deadline);
        self.sleeps.swap(false, AcqRel);
        Ok(waited?)
    }

    fn is_readable(&self) -> Result<bool> {
        Ok(poll::wait_readable(&self.socket, Deadline::PAST)?)
    }

    /// Sees to it that the descriptor to poll tells of what was read ahead; the socket speaks for itself.
    fn settle(&self, reader: &Reader) -> Result<()> {
        match self.pollable.get() {
            None => Ok(()),
            Some(pollable) => pollable.set(reader.knows()),
        }
    }

    fn check_open(&self) -> Result<()> {
        // ORDERING: Acquire: pairs with the exchange in `close`.
        match self.is_closed.load(Acquire) {
            false => Ok(()),
            true => Err(Error::new(ErrorKind::Closed, "this end was closed")),
        }
    }
}

/// Lets the other end know that nothing more is taken or sent here, so that it does not wait for it.
fn give_up(socket: &OwnedFd) {
    // It is gone already, or will learn it from the next error.
    drop(socket::shut_down(socket));
}

/// What is said of a connection that the system has given up.
fn broken(error: OsError) -> Error {
    match error.code() {
        // Of the network: it is no deadline of the caller's that has passed.
        OsCode::TIMED_OUT => closed().caused_by(&error),
        _ => error.into(),
    }
}

#[cfg(test)]
mod tests;
