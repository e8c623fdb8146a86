//! What has come and was not handed out.
//!
//! Short frames are read ahead, as many as one read brings. The message of a long one is read straight to where it shall go.
//!
//! Descriptors ride on the first byte of their frame. The system delivers both in order and ends a read behind the piece that
//! descriptors came with (`unix(7)`), so they belong to the frame in which that read ended.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use procession_core::{Error, ErrorKind, OsCode, OsError, Result};
use procession_sys::net;
use procession_sys::prim::AtomicBool;
use procession_sys::prim::Ordering::AcqRel;
use procession_sys::socket::{self, Block, MAX_HANDLES};

use super::{broken, give_up};
use crate::frame::{self, Announced};
use crate::transport::{Body, Incoming, Room, SMALL, too_long};

/// How much is read ahead: dozens of short messages. With four times as much these are no faster, and those of 16 KiB, which would be
/// copied once more, take a tenth longer.
pub(super) const AHEAD: usize = 4 << 10;
/// How much memory is taken at once for a message that has not come yet. It is used over and over, and stays warm.
const STEP: usize = 1 << 20;

#[derive(Debug, Default)]
pub(super) struct Reader {
    /// Bytes that were read ahead are `buffer[start..filled]`; a frame starts there. Empty until there is something to read.
    buffer: Vec<u8>,
    start: usize,
    filled: usize,
    /// The message of a long frame of which a part has come.
    partial: Option<Partial>,
    arrivals: VecDeque<Arrival>,
    /// How many bytes have come, ever.
    came: u64,
    /// How many bytes the frames had that were handed out.
    taken: u64,
    /// Nothing more comes out of the socket.
    has_ended: bool,
}

/// A message that is longer than what is read ahead.
#[derive(Debug)]
pub(super) struct Partial {
    pub(super) announced: Announced,
    /// What has come of it. Empty while it goes into the caller's slice.
    pub(super) bytes: Vec<u8>,
    /// How much that is.
    pub(super) came: usize,
}

/// The descriptors of one read.
#[derive(Debug)]
pub(super) struct Arrival {
    /// How many bytes had come after that read, ever.
    pub(super) until: u64,
    pub(super) handles: Vec<OwnedFd>,
    /// Whether this process could not take them.
    pub(super) is_lost: bool,
}

/// What there is.
pub(super) enum Found {
    Message(Incoming),
    /// Nothing that is whole.
    Nothing,
    /// Nothing, and nothing more comes.
    End,
}

/// Who reads, and how.
pub(super) struct Source<'a> {
    pub(super) socket: &'a OwnedFd,
    pub(super) block: Block,
    /// Whether this thread sleeps in a read.
    pub(super) sleeps: &'a AtomicBool,
}

impl Source<'_> {
    /// Runs a read, which may sleep.
    fn read<T>(&self, read: impl FnOnce() -> T) -> T {
        if self.block == Block::No {
            return read();
        }
        // ORDERING: AcqRel: pairs with the exchange in `Stream::as_fd`, see there.
        self.sleeps.swap(true, AcqRel);
        let came = read();
        self.sleeps.swap(false, AcqRel);
        came
    }
}

impl Reader {
    /// What a stream that was somewhere else had left.
    pub(super) fn with(
        ahead: Vec<u8>,
        partial: Option<Partial>,
        arrivals: VecDeque<Arrival>,
        has_ended: bool,
    ) -> Self {
        let partial_len =
            partial.as_ref().map_or(0, |partial| partial.announced.head + partial.came);
        let came = (ahead.len() + partial_len) as u64;
        let (filled, mut buffer) = (ahead.len(), ahead);
        if filled > 0 {
            buffer.resize(AHEAD.max(filled), 0);
        }
        Self { buffer, filled, partial, arrivals, came, has_ended, ..Self::default() }
    }

    /// Bytes that were read ahead.
    pub(super) fn ahead(&self) -> &[u8] {
        &self.buffer[self.start..self.filled]
    }

    pub(super) fn partial(&self) -> Option<&Partial> {
        self.partial.as_ref()
    }

    /// Descriptors that have come, each with how many bytes there were behind what was handed out.
    pub(super) fn arrivals(&self) -> impl Iterator<Item = (u64, &Arrival)> {
        self.arrivals.iter().map(|arrival| (arrival.until.saturating_sub(self.taken), arrival))
    }

    pub(super) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Whether [`take`](Self::take) has an answer without reading.
    pub(super) fn knows(&self) -> bool {
        if self.has_ended {
            return true;
        }
        match &self.partial {
            Some(partial) => partial.came == partial.announced.message,
            None => match frame::parse(self.ahead()) {
                Ok(Some(announced)) => self.ahead().len() - announced.head >= announced.message,
                Ok(None) => false,
                Err(_told_by_take) => true,
            },
        }
    }

    /// Takes the first message out, and reads until it is whole or nothing more comes for now.
    pub(super) fn take(&mut self, source: &Source<'_>, room: &mut Room<'_>) -> Result<Found> {
        loop {
            match self.step(source, room) {
                Ok(Some(found)) => return Ok(found),
                Ok(None) => {}
                Err(error) => return Err(self.judge(source, error)),
            }
        }
    }

    /// Reads until [`take`](Self::take) has an answer without reading, or nothing more comes for now; tells which.
    pub(super) fn is_ready(&mut self, source: &Source<'_>) -> Result<bool> {
        while !self.knows() {
            if self.partial.is_none()
                && let Ok(Some(announced)) = frame::parse(self.ahead())
            {
                self.begin(announced, &mut Room::AtMost(u64::MAX));
            }
            let came = self.read(source, &mut Room::AtMost(u64::MAX));
            if !came.map_err(|error| self.judge(source, error))? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// After nonsense nobody knows where the next frame starts: nothing more is received.
    fn judge(&mut self, source: &Source<'_>, error: Error) -> Error {
        if matches!(error.kind(), ErrorKind::Decode | ErrorKind::TooLarge) {
            self.clear();
            give_up(source.socket);
        }
        error
    }

    fn step(&mut self, source: &Source<'_>, room: &mut Room<'_>) -> Result<Option<Found>> {
        let announced = match &self.partial {
            Some(partial) => Some(partial.announced),
            None => frame::parse(self.ahead())?,
        };
        if let (Some(Announced { message, .. }), Room::AtMost(most)) = (announced, &*room)
            && message as u64 > *most
        {
            return Err(too_long(message as u64, *most));
        }
        if let Some(announced) = announced {
            if self.partial.is_none() {
                if self.ahead().len() - announced.head >= announced.message {
                    return Ok(Some(Found::Message(self.take_short(announced, room))));
                }
                self.begin(announced, room);
            }
            if let Some(partial) = self.partial.take_if(|partial| partial.came == announced.message)
            {
                return Ok(Some(Found::Message(self.finish(partial, room))));
            }
        }
        if self.has_ended {
            return self.end().map(Some);
        }
        match self.read(source, room)? {
            true => Ok(None),
            false => Ok(Some(Found::Nothing)),
        }
    }

    /// Keeps what lies in the caller's slice of a message that is not whole.
    pub(super) fn keep(&mut self, room: &Room<'_>) {
        if let (Some(partial), Room::Slice(slice)) = (&mut self.partial, room)
            && partial.bytes.is_empty()
        {
            partial.bytes = slice.get(..partial.came).unwrap_or_default().to_vec();
        }
    }

    /// From now on the message is read to where it shall go, unless it will lie among what is read ahead.
    fn begin(&mut self, announced: Announced, room: &mut Room<'_>) {
        if announced.head + announced.message <= AHEAD {
            return;
        }
        let first = &self.buffer[self.start + announced.head..self.filled];
        let mut partial = Partial { announced, bytes: Vec::new(), came: first.len() };
        match room {
            Room::Slice(slice) if slice.len() >= announced.message => {
                slice[..first.len()].copy_from_slice(first);
            }
            _ => {
                partial.bytes.reserve_exact(announced.message.min(STEP));
                partial.bytes.extend_from_slice(first);
            }
        }
        (self.start, self.filled) = (0, 0);
        self.partial = Some(partial);
    }

    /// Reads once; tells whether anything came, be it the end.
    fn read(&mut self, source: &Source<'_>, room: &mut Room<'_>) -> Result<bool> {
        match &mut self.partial {
            None => self.read_ahead(source),
            Some(partial) => match source.read(|| partial.read(source, room)) {
                Ok(0) => {
                    self.has_ended = true;
                    Ok(true)
                }
                Ok(came) => {
                    self.came += came as u64;
                    Ok(true)
                }
                Err(error) => self.nothing_came(error),
            },
        }
    }

    fn read_ahead(&mut self, source: &Source<'_>) -> Result<bool> {
        if self.buffer.is_empty() {
            self.buffer = vec![0; AHEAD];
        }
        if self.start == self.filled {
            (self.start, self.filled) = (0, 0);
        } else if self.start > 0 && self.filled > self.buffer.len() / 2 {
            self.buffer.copy_within(self.start..self.filled, 0);
            (self.start, self.filled) = (0, self.filled - self.start);
        }
        let mut handles = Vec::new();
        let room = &mut self.buffer[self.filled..];
        let read = || socket::recv(source.socket, room, &mut handles, source.block);
        let came = match source.read(read) {
            Ok(came) => came,
            Err(error) => return self.nothing_came(error),
        };
        self.has_ended = came.bytes == 0;
        self.filled += came.bytes;
        self.came += came.bytes as u64;
        if came.handles_lost || !handles.is_empty() {
            self.arrive(Arrival { until: self.came, handles, is_lost: came.handles_lost })?;
        }
        Ok(true)
    }

    /// Stores descriptors, unless there are more than the messages can have that are here in part: somebody wants to use up those
    /// that this process may have.
    fn arrive(&mut self, arrival: Arrival) -> Result<()> {
        self.arrivals.push_back(arrival);
        let count: usize = self.arrivals.iter().map(|arrival| arrival.handles.len()).sum();
        if count > 2 * MAX_HANDLES {
            return Err(Error::new(ErrorKind::Decode, "more handles came than a message has"));
        }
        Ok(())
    }

    fn nothing_came(&mut self, error: OsError) -> Result<bool> {
        match error.code() {
            OsCode::WOULD_BLOCK => Ok(false),
            // Told once, when the other end went without having read everything: what it sent is still there.
            OsCode::CONNECTION_RESET => Ok(true),
            _ => Err(broken(error)),
        }
    }

    /// Takes out a message that was read ahead.
    fn take_short(&mut self, announced: Announced, room: &mut Room<'_>) -> Incoming {
        let Announced { head, message } = announced;
        let bytes = &self.buffer[self.start + head..][..message];
        let body = match room {
            Room::Slice(slice) if slice.len() >= message => {
                slice[..message].copy_from_slice(bytes);
                Body::InPlace(message)
            }
            Room::AtMost(_) if message <= SMALL => {
                let mut small = [0; SMALL];
                small[..message].copy_from_slice(bytes);
                Body::Small { bytes: small, len: message }
            }
            _ => Body::Owned(bytes.to_vec()),
        };
        self.start += head + message;
        self.hand_out(announced, body)
    }

    /// Hands out a long message that is whole.
    fn finish(&mut self, partial: Partial, room: &mut Room<'_>) -> Incoming {
        let Partial { announced, bytes, came } = partial;
        let body = match room {
            Room::Slice(slice) if slice.len() >= came => {
                slice[..bytes.len()].copy_from_slice(&bytes);
                Body::InPlace(came)
            }
            _ => Body::Owned(bytes),
        };
        self.hand_out(announced, body)
    }

    fn hand_out(&mut self, announced: Announced, body: Body) -> Incoming {
        self.taken += (announced.head + announced.message) as u64;
        let (mut handles, mut handles_lost) = (Vec::new(), false);
        while let Some(mut arrival) =
            self.arrivals.pop_front_if(|arrival| arrival.until <= self.taken)
        {
            handles.append(&mut arrival.handles);
            handles_lost |= arrival.is_lost;
        }
        Incoming { body, announced: handles.len(), handles, handles_lost }
    }

    /// Tells that nothing more comes; once, that something should have.
    fn end(&mut self) -> Result<Found> {
        let some = match &self.partial {
            Some(partial) => partial.announced.head + partial.came,
            None => self.ahead().len(),
        };
        self.clear();
        match some {
            0 => Ok(Found::End),
            some => {
                let text = format!("the other end died {some} bytes into a message");
                Err(Error::new(ErrorKind::Torn, text))
            }
        }
    }

    fn clear(&mut self) {
        *self = Self { has_ended: true, ..Self::default() };
    }
}

impl Partial {
    /// Reads once, and not beyond the message.
    fn read(&mut self, source: &Source<'_>, room: &mut Room<'_>) -> procession_sys::Result<usize> {
        let len = self.announced.message;
        let came = match room {
            Room::Slice(slice) if slice.len() >= len => {
                let before = std::mem::take(&mut self.bytes);
                slice[..before.len()].copy_from_slice(&before);
                net::recv_into(source.socket, &mut slice[self.came..len], source.block)
            }
            _ => {
                let missing = len - self.came;
                if self.bytes.len() == self.bytes.capacity() {
                    // Doubling, so that a message takes linear time, but never beyond what was announced.
                    self.bytes.reserve_exact(missing.min(self.came.max(STEP)));
                }
                net::recv_behind(source.socket, &mut self.bytes, missing, source.block)
            }
        }?;
        self.came += came;
        Ok(came)
    }
}
