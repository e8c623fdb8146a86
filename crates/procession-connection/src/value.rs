//! Values as messages.
//!
//! Beside a ring, the number of descriptors goes with the message. In a frame on a socket it is the first byte: so many, or 255 and
//! then a 32-bit little-endian number.

use std::cell::Cell;
use std::os::fd::OwnedFd;

use procession_core::bundle::bundle;
use procession_core::codec::{self, Block};
use procession_core::{Deadline, Error, ErrorKind, Message, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::local::{Inlet, Outlet};
use crate::stream::Stream;
use crate::transport::{Incoming, Next, Outgoing, Room, SMALL, Sent, Transport};

thread_local! {
    /// Where this thread encodes; empty while it does.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A buffer that grew beyond this for one message is given back afterwards.
const KEEP: usize = 1 << 20;

/// From how many bytes on a block is not copied first.
const BLOCK: usize = 1024;

/// What stands for a count of descriptors that does not fit into a byte.
const MANY: u8 = u8::MAX;

/// Encodes a value and sends it.
#[inline(always)]
pub(crate) fn send<T: Serialize>(
    tx: Transport<'_, Outlet>,
    value: &T,
    deadline: Deadline,
) -> Result<Sent> {
    if let Some(block) = codec::as_block(value).filter(|block| block.bytes().len() >= BLOCK) {
        return send_block(tx, &block, deadline);
    }
    // No turn is taken: this runs code of the value's, which may send as well.
    let mut bytes = SCRATCH.try_with(Cell::take).unwrap_or_default();
    let handles = Message::encode_onto(&mut bytes, value)?;
    let sent = match tx {
        Transport::Local(tx) | Transport::Paired(tx, _) if handles.is_empty() => {
            tx.send(&Outgoing { parts: [&bytes, &[]], handles: &[], announced: 0 }, deadline)
        }
        _ => send_with_handles(tx, &bytes, &handles, deadline),
    };
    if bytes.capacity() <= KEEP {
        bytes.clear();
        // At the end of the thread it is freed instead.
        let _kept = SCRATCH.try_with(|scratch| scratch.set(bytes));
    }
    sent
}

/// Sends what need not be encoded.
#[inline(never)]
fn send_block(tx: Transport<'_, Outlet>, block: &Block<'_>, deadline: Deadline) -> Result<Sent> {
    let send = |head| {
        let parts = [head, block.bytes()];
        tx.send(&Outgoing { parts, handles: &[], announced: 0 }, deadline)
    };
    match tx {
        Transport::Local(_) | Transport::Paired(..) => send(block.head()),
        Transport::Stream(_) => {
            // No handles come with it.
            let mut head = [0; 1 + Block::MOST_HEAD];
            let end = 1 + block.head().len();
            head[1..end].copy_from_slice(block.head());
            send(&head[..end])
        }
    }
}

#[inline(never)]
fn send_with_handles(
    tx: Transport<'_, Outlet>,
    bytes: &[u8],
    handles: &[OwnedFd],
    deadline: Deadline,
) -> Result<Sent> {
    let announced = u16::try_from(handles.len()).map_err(|_too_many| {
        let text = format!("a message holds {} handles, at most {}", handles.len(), u16::MAX);
        Error::new(ErrorKind::TooLarge, text)
    })?;
    let bundle = bundle(handles)?;
    let handles = bundle.as_ref().map_or(handles, std::slice::from_ref);
    let send = |parts| tx.send(&Outgoing { parts, handles, announced }, deadline);
    match (tx, u8::try_from(announced)) {
        (Transport::Local(_) | Transport::Paired(..), _) => send([bytes, &[]]),
        (Transport::Stream(_), Ok(few)) if few != MANY => send([&[few], bytes]),
        (Transport::Stream(_), _) => {
            let [low, high] = announced.to_le_bytes();
            send([&[MANY, low, high, 0, 0], bytes])
        }
    }
}

/// Receives a message and decodes it.
#[inline(always)]
pub(crate) fn recv<T: DeserializeOwned>(
    rx: Transport<'_, Inlet>,
    deadline: Deadline,
) -> Result<Next<T>> {
    // Nobody's turn any more when it is decoded: this runs code of the value's, which may take its time, or panic.
    match rx {
        Transport::Local(local) | Transport::Paired(local, _) => {
            let mut small = [0; SMALL];
            if let Some(len) = local.recv_small(&mut small)? {
                return Message::decode_parts(&small[..len], Vec::new()).map(Next::Message);
            }
            rx.recv(Room::AtMost(u64::MAX), deadline)?.try_map(decode)
        }
        Transport::Stream(stream) => recv_from_stream(stream, deadline),
    }
}

#[inline(always)]
fn decode<T: DeserializeOwned>(mut incoming: Incoming) -> Result<T> {
    let handles = match incoming.announced {
        0 => Vec::new(),
        announced => incoming.take_handles(announced)?,
    };
    Message::decode_parts(incoming.body.bytes(), handles)
}

#[inline(never)]
fn recv_from_stream<T: DeserializeOwned>(stream: &Stream, deadline: Deadline) -> Result<Next<T>> {
    stream.recv(Room::AtMost(crate::MAX_MESSAGE_BYTES), deadline)?.try_map(|mut incoming| {
        let (announced, count_len) = count(incoming.body.bytes())?;
        let handles = incoming.take_handles(announced)?;
        Message::decode_parts(&incoming.body.bytes()[count_len..], handles)
    })
}

/// The count of descriptors at the front of a value, and its own length.
fn count(bytes: &[u8]) -> Result<(usize, usize)> {
    let none = || Error::new(ErrorKind::Decode, "a message without a count of handles is no value");
    match bytes.split_first() {
        Some((&MANY, rest)) => {
            let (many, _value) = rest.split_first_chunk::<4>().ok_or_else(none)?;
            Ok((u32::from_le_bytes(*many) as usize, 5))
        }
        Some((&few, _value)) => Ok((few.into(), 1)),
        None => Err(none()),
    }
}
