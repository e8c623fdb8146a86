//! What every transport does: it carries messages, whole and in order, each with its descriptors.

use std::os::fd::OwnedFd;

use procession_core::bundle::unbundle;
use procession_core::{Deadline, Error, ErrorKind, Result};

use crate::local::{Inlet, Outlet};
use crate::stream::Stream;

/// Messages up to here are handed out without memory of their own.
pub(crate) const SMALL: usize = 128;

/// A message on its way out: the bytes of its parts, one after the other, and its descriptors.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outgoing<'a> {
    pub(crate) parts: [&'a [u8]; 2],
    /// At most [`MOST`](procession_core::bundle::MOST): what stands for more of them is made by the caller.
    pub(crate) handles: &'a [OwnedFd],
    /// How many descriptors they stand for. For transports that tell; of the others, the bytes tell.
    pub(crate) announced: u16,
}

impl Outgoing<'_> {
    pub(crate) fn len(&self) -> usize {
        self.parts[0].len().saturating_add(self.parts[1].len())
    }
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    /// It has gone.
    Yes,
    /// The deadline passed, and nothing of it has gone.
    No,
    /// The deadline passed when a part of it had gone: the rest goes before whatever is sent next.
    Begun,
}

/// Where a message shall go.
#[derive(Debug)]
pub(crate) enum Room<'a> {
    /// Into memory made for it, if it is not longer than this. A longer one is an error, and the last that is received.
    AtMost(u64),
    /// Into this slice; one that is longer than that, into memory made for it.
    Slice(&'a mut [u8]),
}

/// The bytes of a message.
pub(crate) enum Body {
    /// The first `len` of these.
    Small {
        bytes: [u8; SMALL],
        len: usize,
    },
    Owned(Vec<u8>),
    /// The first so many of the slice that was given.
    InPlace(usize),
}

/// A message that has come.
pub(crate) struct Incoming {
    pub(crate) body: Body,
    pub(crate) handles: Vec<OwnedFd>,
    /// [`Outgoing::announced`].
    pub(crate) announced: usize,
    /// Whether there were descriptors that this process could not take.
    pub(crate) handles_lost: bool,
}

/// What a receiver found.
pub(crate) enum Next<T> {
    Message(T),
    /// The deadline passed.
    Nothing,
    /// The other end is gone, and nothing is left.
    Closed,
}

impl<T> Next<T> {
    pub(crate) fn try_map<U>(self, map: impl FnOnce(T) -> Result<U>) -> Result<Next<U>> {
        Ok(match self {
            Self::Message(message) => Next::Message(map(message)?),
            Self::Nothing => Next::Nothing,
            Self::Closed => Next::Closed,
        })
    }
}

impl Body {
    /// The bytes, of a message that was not received into a slice.
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Small { bytes, len } => &bytes[..*len],
            Self::Owned(bytes) => bytes,
            Self::InPlace(_) => &[],
        }
    }

    /// The same, as memory of their own.
    pub(crate) fn into_vec(self) -> Vec<u8> {
        match self {
            Self::Owned(bytes) => bytes,
            other => other.bytes().to_vec(),
        }
    }
}

impl Incoming {
    /// The descriptors, of a message that was announced with so many.
    pub(crate) fn take_handles(&mut self, announced: usize) -> Result<Vec<OwnedFd>> {
        if self.handles_lost {
            return Err(procession_core::bundle::handles_lost());
        }
        unbundle(std::mem::take(&mut self.handles), announced)
    }
}

/// A way to send or to receive: through the end of a ring, or through a socket.
#[derive(Debug)]
pub(crate) enum Transport<'a, L> {
    Local(&'a L),
    /// Beside one that sends to the same side.
    Paired(&'a L, &'a Outlet),
    Stream(&'a Stream),
}

impl<L> Clone for Transport<'_, L> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<L> Copy for Transport<'_, L> {}

impl Transport<'_, Outlet> {
    #[inline(always)]
    pub(crate) fn send(self, message: &Outgoing<'_>, deadline: Deadline) -> Result<Sent> {
        match self {
            Self::Local(tx) | Self::Paired(tx, _) => tx.send(message, deadline),
            Self::Stream(stream) => stream.send(message, deadline),
        }
    }
}

impl Transport<'_, Inlet> {
    #[inline(always)]
    pub(crate) fn recv(self, room: Room<'_>, deadline: Deadline) -> Result<Next<Incoming>> {
        match self {
            Self::Local(rx) => rx.recv(room, deadline),
            Self::Paired(rx, tx) => {
                let received = rx.recv(room, deadline);
                if let Ok(Next::Closed) | Err(_) = received {
                    tx.suspect();
                }
                received
            }
            Self::Stream(stream) => stream.recv(room, deadline),
        }
    }

    pub(crate) fn poll(self, deadline: Deadline) -> Result<bool> {
        match self {
            Self::Local(rx) | Self::Paired(rx, _) => rx.poll(deadline),
            Self::Stream(stream) => stream.poll(deadline),
        }
    }
}

/// What is said of a message that is longer than allowed.
pub(crate) fn too_long(len: u64, most: u64) -> Error {
    let text = format!("a message of {len} bytes came where at most {most} are allowed");
    Error::new(ErrorKind::TooLarge, text)
}
