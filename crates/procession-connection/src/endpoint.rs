//! One end of a stream socket that carries frames, with what has arrived of the next one.
//!
//! Everything about a message that is half here lives in the endpoint: a wait that a timeout ends loses nothing, and an
//! endpoint that moves to another process takes along what it has read ahead.
//!
//! Any number of threads may wait for messages. One of them sleeps until the socket is readable; the others sleep until
//! that one leaves, for whatever reason, and wakes one of them. That one finds the frames that were read ahead, or takes
//! the place at the socket.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use procession_core::bundle::bundle;
use procession_core::{Deadline, Handle, Message, Result};
use procession_sys::poll;
use procession_sys::prim::{Condvar, Mutex, MutexGuard, PoisonError, lock};
use procession_sys::socket::{self, Block};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::closed;
use crate::frame;
use crate::reader::{Arrival, Found, Reader, TAKES_BUFFER, give_up};

#[derive(Debug)]
pub(crate) struct Endpoint {
    socket: OwnedFd,
    reader: Mutex<Reader>,
    /// Rung when the thread that sleeps at the socket leaves, and others sleep here.
    left: Condvar,
    /// Held while a frame is written, so that those of two threads do not mix; tells whether one was torn.
    writer: Mutex<Torn>,
}

/// Whether a frame was begun and could not be finished: nothing may follow it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Torn {
    No,
    Yes,
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
        let (reader, writer) = (Mutex::new(reader), Mutex::new(Torn::No));
        Self { socket, reader, left: Condvar::new(), writer }
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
            match socket::send(&self.socket, &rest, riders, Block::Yes) {
                Ok(some) => sent += some,
                Err(error) => {
                    if sent > 0 {
                        // The other side waits for the rest of the frame.
                        *torn = Torn::Yes;
                        give_up(&self.socket);
                    }
                    return Err(error.into());
                }
            }
        }
        Ok(())
    }

    /// Receives the next message, waiting for it until the deadline.
    pub(crate) fn recv<T: DeserializeOwned>(&self, deadline: Deadline) -> Result<Next<T>> {
        match self.wait(deadline, |reader| reader.take(&self.socket))? {
            None => Ok(Next::Nothing),
            Some(Found::End) => Ok(Next::Closed),
            Some(Found::Frame(frame)) => {
                // Nobody's lock is held: this runs code of the value's, which may take its time, or panic.
                let (value, buffer) = frame.decode();
                if buffer.len() >= TAKES_BUFFER {
                    lock(&self.reader).take_back(buffer);
                }
                value.map(Next::Message)
            }
        }
    }

    /// Whether [`recv`](Self::recv) would return at once; waits for that until the deadline.
    pub(crate) fn poll(&self, deadline: Deadline) -> Result<bool> {
        let ready =
            |reader: &mut Reader| reader.is_ready(&self.socket).map(|ready| ready.then_some(()));
        self.wait(deadline, ready).map(|ready| ready.is_some())
    }

    /// Looks, again whenever something may have come, until there is something or the deadline passes.
    fn wait<T>(
        &self,
        deadline: Deadline,
        mut look: impl FnMut(&mut Reader) -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        let mut reader = lock(&self.reader);
        let found = loop {
            match look(&mut reader) {
                Ok(None) if !deadline.has_passed() => {}
                found => break found,
            }
            if reader.polled {
                reader = self.wait_for_turn(reader, deadline);
                continue;
            }
            reader.polled = true;
            drop(reader);
            let polled = poll::wait_readable(&self.socket, deadline);
            reader = lock(&self.reader);
            reader.polled = false;
            if let Err(error) = polled {
                break Err(error.into());
            }
        };
        let somebody_must_look = reader.waiting > 0 && !reader.polled;
        drop(reader);
        if somebody_must_look {
            self.left.notify_one();
        }
        found
    }

    /// Sleeps until the thread at the socket leaves, or the deadline passes.
    fn wait_for_turn<'a>(
        &self,
        mut reader: MutexGuard<'a, Reader>,
        deadline: Deadline,
    ) -> MutexGuard<'a, Reader> {
        reader.waiting += 1;
        let mut reader = match deadline.remaining() {
            None => self.left.wait(reader).unwrap_or_else(PoisonError::into_inner),
            Some(left) => {
                let waited = self.left.wait_timeout(reader, left);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        };
        reader.waiting -= 1;
        reader
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
    /// As in [`Arrival`].
    arrivals: Vec<(usize, Vec<H>, bool)>,
    ended: bool,
    torn: bool,
}

impl Serialize for Endpoint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let reader = lock(&self.reader);
        let arrivals = reader.arrivals().map(|arrival| {
            let handles = arrival.handles.iter().map(Handle).collect();
            (arrival.until, handles, arrival.lost)
        });
        let travelling = Travelling {
            socket: Handle(&self.socket),
            ahead: reader.ahead(),
            arrivals: arrivals.collect(),
            ended: reader.has_ended(),
            torn: *lock(&self.writer) == Torn::Yes,
        };
        travelling.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Endpoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        type Arrived = Travelling<Handle<OwnedFd>, Vec<u8>, Handle<OwnedFd>>;
        let Travelling { socket, ahead, arrivals, ended, torn } =
            Arrived::deserialize(deserializer)?;
        let arrivals = arrivals.into_iter().map(|(until, handles, lost)| {
            let handles = handles.into_iter().map(Handle::into_inner).collect();
            Arrival { until, handles, lost }
        });
        let reader = Reader::with(ahead, arrivals.collect(), ended);
        let this = Self::new(socket.into_inner(), reader);
        if torn {
            *lock(&this.writer) = Torn::Yes;
        }
        Ok(this)
    }
}

#[cfg(test)]
mod tests;
