//! One end of a stream socket that carries frames, with what has arrived of the next one.
//!
//! Everything about a message that is half here lives in the endpoint: a wait that a timeout ends loses nothing, and an
//! endpoint that moves to another process takes along what it has read ahead.
//!
//! Descriptors ride on the first byte of their frame. The system delivers bytes and descriptors in order and never joins
//! a read across two frames with descriptors, so the first ones in line belong to the first frame in the buffer.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use procession_core::bundle::{MOST, bundle, unbundle};
use procession_core::{Deadline, Error, ErrorKind, Handle, Message, OsCode, Result};
use procession_sys::poll;
use procession_sys::prim::{Mutex, lock};
use procession_sys::socket::{self, Block};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::closed;
use crate::frame;

/// How much is read at once when nothing is known about the next frame: one page, because a fresh page is dear.
const FIRST_READ: usize = 4 << 10;
/// How much is read at once when more is known to come.
const NEXT_READ: usize = 256 << 10;
/// A buffer that grew beyond this for one message is given back afterwards.
const KEEP: usize = 1 << 20;

#[derive(Debug)]
pub(crate) struct Endpoint {
    socket: OwnedFd,
    reader: Mutex<Reader>,
    /// Held while a frame is written, so that those of two threads do not mix; tells whether one was torn.
    writer: Mutex<Torn>,
}

/// Whether a frame was begun and could not be finished: nothing may follow it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Torn {
    No,
    Yes,
}

#[derive(Debug, Default)]
struct Reader {
    /// Received bytes are `buffer[..filled]`; a frame starts at 0.
    buffer: Vec<u8>,
    filled: usize,
    handles: VecDeque<OwnedFd>,
    ended: bool,
}

/// What a read found.
pub(crate) enum Next<T> {
    Message(T),
    Nothing,
    Closed,
}

impl Endpoint {
    pub(crate) fn pair() -> Result<(Self, Self)> {
        let (left, right) = socket::stream_pair()?;
        Ok((Self::new(left, Reader::default()), Self::new(right, Reader::default())))
    }

    fn new(socket: OwnedFd, reader: Reader) -> Self {
        Self { socket, reader: Mutex::new(reader), writer: Mutex::new(Torn::No) }
    }

    pub(crate) fn send<T: Serialize>(&self, value: &T) -> Result<()> {
        let (bytes, handles) = Message::encode(value)?.into_parts();
        let head = frame::head(bytes.len(), handles.len())?;
        let bundle = bundle(&handles)?;
        let riders = bundle.as_ref().map_or(&handles[..], std::slice::from_ref);
        let riders: Vec<_> = riders.iter().map(AsFd::as_fd).collect();
        let mut torn = lock(&self.writer);
        if *torn == Torn::Yes {
            return Err(closed());
        }
        let mut sent = 0;
        while sent < head.len() + bytes.len() {
            let in_head = sent.min(head.len());
            let rest = [&head[in_head..], &bytes[sent - in_head..]];
            let riders = if sent == 0 { &riders[..] } else { &[] };
            sent += socket::send(&self.socket, &rest, riders, Block::Yes)?;
            // The other side waits for the rest of the frame, if there is one.
            *torn = Torn::Yes;
        }
        *torn = Torn::No;
        Ok(())
    }

    /// Receives the next message, waiting for it until the deadline.
    pub(crate) fn recv<T: DeserializeOwned>(&self, deadline: Deadline) -> Result<Next<T>> {
        loop {
            match lock(&self.reader).next(self.socket.as_fd())? {
                Next::Nothing => {}
                next => return Ok(next),
            }
            // Outside of the lock, so that other threads can look meanwhile.
            if !poll::wait_readable(&self.socket, deadline)? {
                return Ok(Next::Nothing);
            }
        }
    }

    /// Whether [`recv`](Self::recv) would return at once; waits for that until the deadline.
    pub(crate) fn poll(&self, deadline: Deadline) -> Result<bool> {
        loop {
            if lock(&self.reader).is_ready(self.socket.as_fd())? {
                return Ok(true);
            }
            if !poll::wait_readable(&self.socket, deadline)? {
                return Ok(false);
            }
        }
    }
}

impl Reader {
    fn next<T: DeserializeOwned>(&mut self, socket: BorrowedFd<'_>) -> Result<Next<T>> {
        if !self.is_ready(socket)? {
            return Ok(Next::Nothing);
        }
        let Ok(frame) = frame::parse(&self.buffer[..self.filled])? else {
            return self.end();
        };
        let packed = if frame.handles > MOST { 1 } else { frame.handles };
        let came = self.handles.drain(..packed.min(self.handles.len())).collect();
        let value =
            unbundle(came, frame.handles).and_then(|came| Message::decode_parts(frame.value, came));
        let len = frame.len;
        self.consume(len);
        value.map(Next::Message)
    }

    /// Reads what is there; tells whether a whole frame or the end is.
    fn is_ready(&mut self, socket: BorrowedFd<'_>) -> Result<bool> {
        loop {
            let wanted = match frame::parse(&self.buffer[..self.filled]) {
                Ok(Ok(_frame)) => return Ok(true),
                Ok(Err(_)) if self.ended => return Ok(true),
                Ok(Err(wanted)) => wanted,
                Err(nonsense) => {
                    // Nobody knows where the next frame starts: this was the last one.
                    (self.ended, self.filled) = (true, 0);
                    return Err(nonsense);
                }
            };
            if !self.fill(socket, wanted)? {
                return Ok(false);
            }
        }
    }

    /// Reads once, towards `wanted` bytes in all; tells whether anything came.
    fn fill(&mut self, socket: BorrowedFd<'_>, wanted: usize) -> Result<bool> {
        let missing = wanted - self.filled;
        let step = if missing <= FIRST_READ { FIRST_READ } else { missing.min(NEXT_READ) };
        if self.buffer.len() < self.filled + step {
            // Doubling, so that a message takes linear time, but never beyond what was announced.
            let doubled = (self.buffer.len() * 2).min(wanted);
            self.buffer.resize(doubled.max(self.filled + step), 0);
        }
        let mut came = Vec::new();
        let space = &mut self.buffer[self.filled..];
        match socket::recv(socket, space, &mut came, Block::No) {
            Ok(0) => self.ended = true,
            Ok(len) => self.filled += len,
            Err(error) => match error.code() {
                OsCode::WOULD_BLOCK => return Ok(false),
                // Told once, when the other end went without having read everything: what it sent is still there.
                OsCode::CONNECTION_RESET => {}
                _ => return Err(error.into()),
            },
        }
        self.handles.extend(came);
        Ok(true)
    }

    /// Tells that nothing more comes; once, that something should have.
    fn end<T>(&mut self) -> Result<Next<T>> {
        match std::mem::take(&mut self.filled) {
            0 => Ok(Next::Closed),
            some => {
                let text = format!("the other end died {some} bytes into a message");
                Err(Error::new(ErrorKind::Torn, text))
            }
        }
    }

    fn consume(&mut self, len: usize) {
        self.buffer.copy_within(len..self.filled, 0);
        self.filled -= len;
        if self.buffer.len() > KEEP && self.filled < FIRST_READ {
            self.buffer.truncate(FIRST_READ);
            self.buffer.shrink_to_fit();
        }
    }
}

impl AsFd for Endpoint {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// What an endpoint is while it travels: the socket, and what this side has read of it and not handed out.
#[derive(Serialize, Deserialize)]
struct Travelling<S, B, H> {
    socket: S,
    ahead: B,
    handles: Vec<H>,
    ended: bool,
    torn: bool,
}

impl Serialize for Endpoint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let reader = lock(&self.reader);
        let travelling = Travelling {
            socket: Handle(&self.socket),
            ahead: &reader.buffer[..reader.filled],
            handles: reader.handles.iter().map(Handle).collect(),
            ended: reader.ended,
            torn: *lock(&self.writer) == Torn::Yes,
        };
        travelling.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Endpoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        type Arrived = Travelling<Handle<OwnedFd>, Vec<u8>, Handle<OwnedFd>>;
        let Travelling { socket, ahead, handles, ended, torn } =
            Arrived::deserialize(deserializer)?;
        let filled = ahead.len();
        let handles = handles.into_iter().map(Handle::into_inner).collect();
        let this = Self::new(socket.into_inner(), Reader { buffer: ahead, filled, handles, ended });
        if torn {
            *lock(&this.writer) = Torn::Yes;
        }
        Ok(this)
    }
}
