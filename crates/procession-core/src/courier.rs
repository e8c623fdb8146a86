//! Whole messages through a packet socket.
//!
//! One message is one packet, whatever its size: up to [`INLINE`] bytes lie in the packet itself, more lie in sealed
//! memory whose descriptor comes along. So a message arrives whole or not at all, at whatever instruction its sender is
//! killed, and a sender that must not wait learns at once whether it went.
//!
//! Packet: `magic u32 | flags u32 | handles u32 | zero u32 | length u64`, little-endian, then the bytes unless spilled.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use procession_sys::memory::{Scratch, SealedMapping, sealed_from};
use procession_sys::prim::{Mutex, lock};
use procession_sys::socket::{self, Block};
use procession_sys::wipe::PerProcess;
use procession_sys::{Deadline, OsCode, poll};
use serde::{Deserialize, Serialize};

use crate::bundle::{bundle, handles_lost, unbundle};
use crate::{Error, ErrorKind, Handle, Message, Result};

const MAGIC: u32 = u32::from_le_bytes(*b"prc1");
const HEADER: usize = 24;
const SPILLED: u32 = 1;

/// The longest content that lies in the packet. Twice as much still fits the socket's buffer, whose default is 208 KiB.
const INLINE: usize = 64 << 10;

/// Where packets are received. Memory from the system, of which only what is received touches a page: a fresh one costs up
/// to 5 µs on a virtual machine, and every child receives two short messages.
const BUFFER: usize = HEADER + INLINE;

/// One end of a two-way connection between two processes that carries [`Message`]s.
///
/// Any number of threads may send and receive at once; each message goes to one of the receivers. A courier is a serde
/// value: it can be sent in a message, and then exists at both places until this one is dropped.
///
/// # Drop, kill, fork
///
/// When the last holder of an end is gone, the other end receives what is still under way and then learns that it is
/// closed. After a fork both processes hold the end.
#[derive(Debug)]
pub struct Courier {
    socket: Handle<OwnedFd>,
    /// Where packets are received; kept so that its pages are touched once.
    buffer: Mutex<Option<Scratch>>,
}

/// What a receiver that does not wait found.
#[derive(Debug)]
pub enum Received {
    /// A message.
    Message(Message),
    /// Nothing yet.
    Nothing,
    /// The other end is gone, and nothing is left.
    Closed,
}

impl Courier {
    /// Makes two connected ends.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Os`] when this process may open no more descriptors.
    pub fn pair() -> Result<(Self, Self)> {
        let (left, right) = socket::seqpacket_pair()?;
        Ok((left.into(), right.into()))
    }

    /// Sends a message, waiting for room. The other end gets copies of its descriptors; drop the message to give them away.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Closed`] when the other end is gone; [`ErrorKind::Os`] when the system is out of memory or
    /// descriptors. Nothing has gone then.
    pub fn send(&self, message: &Message) -> Result<()> {
        let packet = Packet::of(message)?;
        packet.send(self.socket.as_fd(), Block::Yes).map(|_went| ())
    }

    /// Sends a message if there is room; tells whether there was.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn try_send(&self, message: &Message) -> Result<bool> {
        Packet::of(message)?.send(self.socket.as_fd(), Block::No)
    }

    /// Receives a message, waiting for one; `None` once the other end is gone and nothing is left.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Decode`] when a packet is no message; [`ErrorKind::Os`] (`EMFILE`) when this process may open no more
    /// descriptors and one came along. That one message is lost then, the connection goes on.
    pub fn recv(&self) -> Result<Option<Message>> {
        loop {
            match self.try_recv()? {
                Received::Message(message) => return Ok(Some(message)),
                Received::Closed => return Ok(None),
                // The wait is outside of the lock that `try_recv` takes, so that other threads can receive meanwhile.
                Received::Nothing => poll::wait_readable(&self.socket, Deadline::NEVER)?,
            };
        }
    }

    /// Receives a message if one is there.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    pub fn try_recv(&self) -> Result<Received> {
        let mut buffer = lock(&self.buffer);
        let buffer = match &mut *buffer {
            Some(buffer) => buffer,
            none => none.insert(match take_kept() {
                Some(kept) => kept,
                None => Scratch::new(BUFFER)?,
            }),
        };
        let mut handles = Vec::new();
        let received = loop {
            match socket::recv(&self.socket, buffer, &mut handles, Block::No) {
                Ok(came) if came.bytes == 0 => return Ok(Received::Closed),
                Ok(came) if came.handles_lost => return Err(handles_lost()),
                Ok(came) => break came.bytes,
                Err(error) if error.code() == OsCode::WOULD_BLOCK => return Ok(Received::Nothing),
                // Told once, when the other end went without having read everything: what it sent is still there.
                Err(error) if error.code() == OsCode::CONNECTION_RESET => {}
                Err(error) => return Err(error.into()),
            }
        };
        unpack(&buffer[..received], handles).map(Received::Message)
    }
}

/// The buffer of a courier that is gone: to map one and touch its first page costs as much as to receive a message.
static KEPT: PerProcess<Option<Scratch>> = PerProcess::new();

fn take_kept() -> Option<Scratch> {
    KEPT.lock().ok()?.take()
}

impl Drop for Courier {
    fn drop(&mut self) {
        if let Some(buffer) = lock(&self.buffer).take()
            && let Ok(mut kept) = KEPT.lock()
        {
            // One is enough: the other is unmapped.
            *kept = Some(buffer);
        }
    }
}

impl AsFd for Courier {
    /// Readable when a message is there or the other end is gone.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl From<OwnedFd> for Courier {
    /// Takes over one end of a pair of packet sockets.
    fn from(socket: OwnedFd) -> Self {
        Self { socket: Handle(socket), buffer: Mutex::new(None) }
    }
}

impl Serialize for Courier {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.socket.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Courier {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Handle::<OwnedFd>::deserialize(deserializer).map(|socket| socket.into_inner().into())
    }
}

/// A message ready to go.
struct Packet<'a> {
    header: [u8; HEADER],
    inline: &'a [u8],
    handles: &'a [OwnedFd],
    /// What stands for more descriptors or more bytes than a packet holds.
    bundle: Option<OwnedFd>,
    spill: Option<OwnedFd>,
}

impl<'a> Packet<'a> {
    fn of(message: &'a Message) -> Result<Self> {
        let (bytes, handles) = (message.bytes(), message.handles());
        let count = u32::try_from(handles.len()).map_err(|_too_many| {
            Error::new(ErrorKind::TooLarge, "a message holds more than 2^32 handles")
        })?;
        let spill = match bytes.len() > INLINE {
            true => Some(sealed_from(bytes)?),
            false => None,
        };
        let bundle = bundle(handles)?;
        let mut header = [0; HEADER];
        header[..4].copy_from_slice(&MAGIC.to_le_bytes());
        header[4..8].copy_from_slice(&u32::from(spill.is_some()).to_le_bytes());
        header[8..12].copy_from_slice(&count.to_le_bytes());
        header[16..].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
        let inline = if spill.is_some() { &[] } else { bytes };
        let handles = if bundle.is_some() { &[] } else { handles };
        Ok(Self { header, inline, handles, bundle, spill })
    }

    /// Tells whether it went; it did not when there is no room and `block` forbids to wait.
    fn send(&self, socket: BorrowedFd<'_>, block: Block) -> Result<bool> {
        let handles = self.handles.iter().chain(&self.bundle).chain(&self.spill);
        let handles: Vec<_> = handles.map(AsFd::as_fd).collect();
        match socket::send(socket, &[&self.header, self.inline], &handles, block) {
            Ok(_) => Ok(true),
            Err(error) if error.code() == OsCode::WOULD_BLOCK => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

fn unpack(packet: &[u8], mut handles: Vec<OwnedFd>) -> Result<Message> {
    let broken = |what: &str| Error::new(ErrorKind::Decode, format!("not a message: {what}"));
    let (header, content) = packet.split_at_checked(HEADER).ok_or_else(|| broken("too short"))?;
    let number = |at: usize| {
        let bytes = header[at..at + 4].try_into().unwrap_or_default();
        u32::from_le_bytes(bytes)
    };
    let length = u64::from(number(16)) | u64::from(number(20)) << 32;
    if number(0) != MAGIC || number(4) & !SPILLED != 0 {
        return Err(broken("unknown header"));
    }
    let sealed = match number(4) & SPILLED {
        0 => None,
        _ => Some(handles.pop().ok_or_else(|| broken("its content is missing"))?),
    };
    let handles = unbundle(handles, number(8) as usize)?;
    match sealed {
        None if content.len() as u64 != length => Err(broken("of another length than announced")),
        None => Ok(Message::from_parts(content.to_vec(), handles)),
        Some(file) => {
            let mapping = SealedMapping::new(file)?;
            match mapping.bytes().len() as u64 == length {
                true => Ok(Message::from_sealed(mapping, handles)),
                false => Err(broken("of another length than announced")),
            }
        }
    }
}

#[cfg(test)]
mod tests;
