//! Local socket pairs, and descriptors that travel through them.

pub mod peek;

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, sockopt,
};

use super::fd::{above_streams, name};
use super::{call, fail};
use crate::Result;

/// The most descriptors that one packet carries.
///
/// Source: `SCM_MAX_FD` in the kernel's `include/net/scm.h`; `unix(7)`.
pub const MAX_HANDLES: usize = 253;

/// Room for the control message that carries [`MAX_HANDLES`] descriptors.
const CONTROL_LEN: usize = rustix::cmsg_space!(ScmRights(MAX_HANDLES));

/// Whether a call may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Block {
    /// Wait until the call can be carried out.
    Yes,
    /// Answer [`OsCode::WOULD_BLOCK`](crate::OsCode::WOULD_BLOCK) instead of waiting.
    No,
}

/// Makes two connected sockets that carry bytes without boundaries.
///
/// # Errors
///
/// When this process may open no more descriptors.
///
/// # Source
///
/// `socketpair(2)`, `unix(7)`: `SOCK_STREAM`.
pub fn stream_pair() -> Result<(OwnedFd, OwnedFd)> {
    pair(SocketType::STREAM)
}

/// Makes two connected sockets that carry packets: one send is one receive, whole or not at all.
///
/// # Errors
///
/// When this process may open no more descriptors.
///
/// # Source
///
/// `socketpair(2)`, `unix(7)`: `SOCK_SEQPACKET`.
pub fn seqpacket_pair() -> Result<(OwnedFd, OwnedFd)> {
    pair(SocketType::SEQPACKET)
}

fn pair(kind: SocketType) -> Result<(OwnedFd, OwnedFd)> {
    let (left, right) = call("make a pair of sockets", String::new, || {
        rustix::net::socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)
    })?;
    Ok((above_streams(left)?, above_streams(right)?))
}

/// Whether `fd` is one end of a pair made by [`seqpacket_pair`].
///
/// # Source
///
/// `getsockopt(2)`, `SO_TYPE` and `SO_DOMAIN`.
pub fn is_seqpacket(fd: impl AsFd) -> bool {
    let fd = fd.as_fd();
    sockopt::socket_type(fd) == Ok(SocketType::SEQPACKET)
        && sockopt::socket_domain(fd) == Ok(AddressFamily::UNIX)
}

/// Sends `parts` as one piece, with copies of `handles`; tells how many bytes went.
///
/// On a packet socket all bytes go or none. On a stream socket the first byte that goes takes the descriptors along.
/// No signal is raised when the other end is gone.
///
/// # Errors
///
/// [`BROKEN_PIPE`](crate::OsCode::BROKEN_PIPE) when the other end is gone,
/// [`WOULD_BLOCK`](crate::OsCode::WOULD_BLOCK) when there is no room and `block` is [`Block::No`],
/// [`MESSAGE_SIZE`](crate::OsCode::MESSAGE_SIZE) when a packet is larger than the socket's buffer,
/// [`INVALID`](crate::OsCode::INVALID) for more than [`MAX_HANDLES`] descriptors, `ETOOMANYREFS` when too many
/// descriptors of this user are under way.
///
/// # Source
///
/// `sendmsg(2)`, `unix(7)`: `SCM_RIGHTS`.
pub fn send(
    socket: impl AsFd,
    parts: &[&[u8]],
    handles: &[BorrowedFd<'_>],
    block: Block,
) -> Result<usize> {
    let socket = socket.as_fd();
    let operation = "send on";
    let mut flags = SendFlags::NOSIGNAL;
    if block == Block::No {
        flags |= SendFlags::DONTWAIT;
    }
    let slices: [IoSlice<'_>; 3] =
        std::array::from_fn(|i| IoSlice::new(parts.get(i).copied().unwrap_or_default()));
    debug_assert!(parts.len() <= slices.len(), "a frame has at most three parts");
    let slices = &slices[..parts.len().min(slices.len())];
    if handles.is_empty() {
        let mut control = SendAncillaryBuffer::default();
        return call(
            operation,
            || name(socket),
            || rustix::net::sendmsg(socket, slices, &mut control, flags),
        );
    }
    let mut space = [MaybeUninit::uninit(); CONTROL_LEN];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if handles.len() > MAX_HANDLES || !control.push(SendAncillaryMessage::ScmRights(handles)) {
        return Err(fail(operation, name(socket), Errno::INVAL));
    }
    call(operation, || name(socket), || rustix::net::sendmsg(socket, slices, &mut control, flags))
}

/// What one receive brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "descriptors may have been lost on the way"]
pub struct Received {
    /// How many bytes came. Zero means that the other end is gone (or, on a packet socket, an empty packet, which nobody
    /// here sends).
    pub bytes: usize,
    /// Whether descriptors came along that this process could not take, because it may open no more. All that came with
    /// these bytes are closed again; the bytes are good.
    pub handles_lost: bool,
}

/// Receives into `buffer`, and appends to `handles` the descriptors that came along, close-on-exec.
///
/// # Errors
///
/// [`WOULD_BLOCK`](crate::OsCode::WOULD_BLOCK) when there is nothing and `block` is [`Block::No`];
/// [`TRUNCATED`](crate::OsCode::TRUNCATED) when a packet is larger than `buffer`: it is gone, with its descriptors.
///
/// # Source
///
/// `recvmsg(2)`, `unix(7)`: `SCM_RIGHTS`, `MSG_CMSG_CLOEXEC`, `MSG_CTRUNC`. There is room for all descriptors that the
/// system moves at once, so `MSG_CTRUNC` has one meaning.
pub fn recv(
    socket: impl AsFd,
    buffer: &mut [u8],
    handles: &mut Vec<OwnedFd>,
    block: Block,
) -> Result<Received> {
    let socket = socket.as_fd();
    let operation = "receive from";
    let mut flags = RecvFlags::CMSG_CLOEXEC;
    if block == Block::No {
        flags |= RecvFlags::DONTWAIT;
    }
    let mut space = [MaybeUninit::uninit(); CONTROL_LEN];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = call(
        operation,
        || name(socket),
        || rustix::net::recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut control, flags),
    )?;
    let known = handles.len();
    let is_cut = message.flags.contains(ReturnFlags::CTRUNC);
    let handles_lost = !take_handles(&mut control, handles) || is_cut;
    let bytes_lost = message.flags.contains(ReturnFlags::TRUNC);
    if handles_lost || bytes_lost {
        handles.truncate(known);
    }
    if bytes_lost {
        return Err(fail(operation, name(socket), Errno::BADMSG));
    }
    Ok(Received { bytes: message.bytes, handles_lost })
}

/// Takes the descriptors that came, above the standard streams; tells whether there was room for all.
fn take_handles(control: &mut RecvAncillaryBuffer<'_>, handles: &mut Vec<OwnedFd>) -> bool {
    let mut is_room = true;
    for item in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = item {
            for handle in received {
                match above_streams(handle) {
                    Ok(handle) => handles.push(handle),
                    Err(_no_room) => is_room = false,
                }
            }
        }
    }
    is_room
}

/// Stops sending or receiving on `socket` for every holder of it, in this process and in others.
///
/// # Errors
///
/// None in practice for a connected pair.
///
/// # Source
///
/// `shutdown(2)`, `SHUT_RDWR`.
pub fn shut_down(socket: impl AsFd) -> Result<()> {
    let socket = socket.as_fd();
    call(
        "shut down",
        || name(socket),
        || rustix::net::shutdown(socket, rustix::net::Shutdown::Both),
    )
}
