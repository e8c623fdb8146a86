//! What has arrived at an endpoint and was not handed out yet.
//!
//! Descriptors ride on the bytes of their frame. The system delivers both in order and ends a read behind the piece that
//! descriptors came with (`unix(7)`), so they belong to the frame in which that read ended.
//!
//! Threads that wait: one of them sleeps until the socket is readable, the others until it leaves (see `endpoint`). So
//! while one sleeps, what it waits for must not be taken out of the socket and left here, where nothing would wake it: a
//! thread that looks meanwhile takes no more than the frame it hands out, and one that only wants to know whether there
//! is one leaves the last byte of it.

use std::collections::VecDeque;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use procession_core::bundle::{handles_lost, unbundle};
use procession_core::{Deadline, Error, ErrorKind, Message, OsCode, Result};
use procession_sys::socket::{self, Block};
use procession_sys::{OsError, poll};
use serde::de::DeserializeOwned;

use crate::frame::{self, Frame, Missing};

/// How much is read at once when nothing is known about the next frame: one page, because a fresh page is dear.
const FIRST_READ: usize = 4 << 10;
/// How much is read at once when more is known to come.
const NEXT_READ: usize = 256 << 10;
/// A buffer that grew beyond this for one message is given back afterwards.
const KEEP: usize = 1 << 20;
/// A frame from this size on takes the buffer along; shorter ones are copied out of it.
pub(crate) const TAKES_BUFFER: usize = 64 << 10;

#[derive(Debug, Default)]
pub(crate) struct Reader {
    /// Received bytes are `buffer[start..filled]`; a frame starts there.
    buffer: Vec<u8>,
    start: usize,
    filled: usize,
    arrivals: VecDeque<Arrival>,
    /// Nothing more comes out of the socket.
    ended: bool,
    /// Whether a thread sleeps until the socket is readable. INVARIANT: there is no whole frame here then.
    pub(crate) polled: bool,
    /// How many threads sleep until that one leaves.
    pub(crate) waiting: usize,
}

/// The descriptors of one read.
#[derive(Debug)]
pub(crate) struct Arrival {
    /// How many bytes there were after that read, counted from where the first frame starts.
    pub(crate) until: usize,
    pub(crate) handles: Vec<OwnedFd>,
    /// Whether this process could not take them.
    pub(crate) lost: bool,
}

/// What there is to hand out.
pub(crate) enum Found {
    Frame(Taken),
    End,
}

/// A frame on its own.
#[derive(Debug)]
pub(crate) struct Taken {
    bytes: Vec<u8>,
    value: Range<usize>,
    announced: usize,
    handles: Vec<OwnedFd>,
    lost: bool,
}

impl Taken {
    /// The value, and a buffer for the next one.
    pub(crate) fn decode<T: DeserializeOwned>(self) -> (Result<T>, Vec<u8>) {
        if self.lost {
            return (Err(handles_lost()), self.bytes);
        }
        let value = unbundle(self.handles, self.announced)
            .and_then(|handles| Message::decode_parts(&self.bytes[self.value], handles));
        (value, self.bytes)
    }
}

impl Reader {
    /// What another reader of the same socket had left.
    pub(crate) fn with(ahead: Vec<u8>, arrivals: VecDeque<Arrival>, ended: bool) -> Self {
        Self { filled: ahead.len(), buffer: ahead, arrivals, ended, ..Self::default() }
    }

    /// Received bytes.
    pub(crate) fn ahead(&self) -> &[u8] {
        &self.buffer[self.start..self.filled]
    }

    pub(crate) fn arrivals(&self) -> impl Iterator<Item = &Arrival> {
        self.arrivals.iter()
    }

    #[cfg(test)]
    pub(crate) fn buffer_len(&self) -> usize {
        self.buffer.len()
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Takes out the first frame, or the end, if it is there.
    pub(crate) fn take(&mut self, socket: &OwnedFd) -> Result<Option<Found>> {
        loop {
            match frame::parse(self.ahead()) {
                Ok(Ok(frame)) => return Ok(Some(Found::Frame(self.take_out(frame)))),
                Ok(Err(_missing)) if self.ended => return self.end().map(Some),
                Ok(Err(missing)) => {
                    let most = if self.polled { missing.until() } else { usize::MAX };
                    if !self.fill(socket, missing.until(), most)? {
                        return Ok(None);
                    }
                }
                Err(nonsense) => {
                    // Nobody knows where the next frame starts: this was the last one.
                    give_up(socket);
                    self.clear();
                    self.ended = true;
                    return Err(nonsense);
                }
            }
        }
    }

    /// Whether [`take`](Self::take) would find something, or fail.
    pub(crate) fn is_ready(&mut self, socket: &OwnedFd) -> Result<bool> {
        loop {
            let missing = match frame::parse(self.ahead()) {
                Ok(Ok(_frame)) => return Ok(true),
                Ok(Err(_missing)) if self.ended => return Ok(true),
                Ok(Err(missing)) => missing,
                Err(_told_by_take) => {
                    // For the thread that sleeps.
                    give_up(socket);
                    return Ok(true);
                }
            };
            let most = match missing {
                _ if !self.polled => usize::MAX,
                Missing::Head(until) => until,
                Missing::Body(until) => until - 1,
            };
            if self.ahead().len() == most {
                return Ok(poll::wait_readable(socket, Deadline::after(Duration::ZERO))?);
            }
            if !self.fill(socket, missing.until(), most)? {
                return Ok(false);
            }
        }
    }

    /// Takes back the buffer of a frame, so that the next large one finds it warm.
    pub(crate) fn take_back(&mut self, mut buffer: Vec<u8>) {
        let len = self.ahead().len();
        if buffer.len() > self.buffer.len() && buffer.len() <= KEEP {
            buffer[..len].copy_from_slice(self.ahead());
            (self.buffer, self.start, self.filled) = (buffer, 0, len);
        }
    }

    /// Reads once, towards `wanted` bytes and not beyond `most`, counted from the start of the frame; tells whether
    /// anything came.
    fn fill(&mut self, socket: &OwnedFd, wanted: usize, most: usize) -> Result<bool> {
        let len = self.ahead().len();
        let missing = wanted - len;
        let step = if missing <= FIRST_READ { FIRST_READ } else { missing.min(NEXT_READ) };
        self.make_room(step, wanted);
        let end = self.buffer.len().min(self.filled.saturating_add(most - len));
        let space = &mut self.buffer[self.filled..end];
        let mut handles = Vec::new();
        let came = match socket::recv(socket, space, &mut handles, Block::No) {
            Ok(came) => came,
            Err(error) => return nothing_came(error),
        };
        self.ended = came.bytes == 0;
        self.filled += came.bytes;
        if came.handles_lost || !handles.is_empty() {
            let until = self.ahead().len();
            self.arrivals.push_back(Arrival { until, handles, lost: came.handles_lost });
        }
        Ok(true)
    }

    fn make_room(&mut self, step: usize, wanted: usize) {
        if self.buffer.len() >= self.filled + step {
            return;
        }
        self.buffer.copy_within(self.start..self.filled, 0);
        (self.start, self.filled) = (0, self.filled - self.start);
        if self.buffer.len() < self.filled + step {
            // Doubling, so that a message takes linear time, but never beyond what was announced.
            let doubled = (self.buffer.len() * 2).min(wanted);
            self.buffer.resize(doubled.max(self.filled + step), 0);
        }
    }

    /// Takes a frame out, with its descriptors.
    fn take_out(&mut self, frame: Frame) -> Taken {
        let Frame { mut value, handles: announced, len } = frame;
        let (mut handles, mut lost) = (Vec::new(), false);
        while let Some(mut arrival) = self.arrivals.pop_front_if(|arrival| arrival.until <= len) {
            handles.append(&mut arrival.handles);
            lost |= arrival.lost;
        }
        for arrival in &mut self.arrivals {
            // Saturating, because what an endpoint brought along from another process may be nonsense.
            arrival.until = arrival.until.saturating_sub(len);
        }
        let rest = self.start + len..self.filled;
        let bytes = if len >= TAKES_BUFFER && rest.len() <= len {
            let rest = self.buffer[rest].to_vec();
            value = self.start + value.start..self.start + value.end;
            self.filled = rest.len();
            self.start = 0;
            std::mem::replace(&mut self.buffer, rest)
        } else {
            let bytes = self.buffer[self.start..rest.start].to_vec();
            self.start = rest.start;
            bytes
        };
        if self.start == self.filled {
            (self.start, self.filled) = (0, 0);
        }
        Taken { bytes, value, announced, handles, lost }
    }

    /// Tells that nothing more comes; once, that something should have.
    fn end(&mut self) -> Result<Found> {
        match self.ahead().len() {
            0 => Ok(Found::End),
            some => {
                self.clear();
                let text = format!("the other end died {some} bytes into a message");
                Err(Error::new(ErrorKind::Torn, text))
            }
        }
    }

    fn clear(&mut self) {
        (self.buffer, self.start, self.filled) = (Vec::new(), 0, 0);
        self.arrivals.clear();
    }
}

/// Lets the other end know that nothing more is taken or sent here, so that it does not wait for it.
pub(crate) fn give_up(socket: &OwnedFd) {
    // It is gone already, or will learn it from the next error.
    drop(socket::shut_down(socket.as_fd()));
}

fn nothing_came(error: OsError) -> Result<bool> {
    match error.code() {
        OsCode::WOULD_BLOCK => Ok(false),
        // Told once, when the other end went without having read everything: what it sent is still there.
        OsCode::CONNECTION_RESET => Ok(true),
        _ => Err(error.into()),
    }
}
