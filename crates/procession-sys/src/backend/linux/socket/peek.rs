//! Packets that are looked at where they lie: a socket's buffer as a place to keep descriptors in.
//!
//! Whoever peeks gets copies of the descriptors, and the packet stays as it is. Where the next peek looks is a number of bytes
//! from the front, which belongs to the socket: all processes that have it see the same. Nothing here waits.

#![expect(unsafe_code, reason = "asks for an option that has no other way")]

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvFlags, ReturnFlags, recvmsg, sockopt};

use super::super::fd::name;
use super::super::{call, checked, fail};
use super::{CONTROL_LEN, Received, take_handles};
use crate::{OsCode, Result};

/// More descriptors are under way than the system lets this user have.
///
/// Source: `unix(7)`: `ETOOMANYREFS`.
pub const TOO_MANY_UNDER_WAY: OsCode = OsCode::from_raw(libc::ETOOMANYREFS);

/// Reads the packet that the next peek looks at, without taking it out; nothing when there is none.
///
/// `handles`, if given, gets copies of its descriptors, close-on-exec, behind what it has. Without it no descriptor is opened.
/// What comes is good for as many bytes as `buffer` has room for.
///
/// # Errors
///
/// [`TRUNCATED`](OsCode::TRUNCATED) when the packet is larger than `buffer`. In every case it stays where it is.
///
/// # Source
///
/// `recvmsg(2)`: `MSG_PEEK`, `MSG_DONTWAIT`; `unix(7)`: `SCM_RIGHTS`, and `MSG_CTRUNC` when a process may open no more.
pub fn peek(
    socket: impl AsFd,
    buffer: &mut [u8],
    handles: Option<&mut Vec<OwnedFd>>,
) -> Result<Option<Received>> {
    let socket = socket.as_fd();
    let operation = "look into";
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let mut space = [MaybeUninit::uninit(); CONTROL_LEN];
    let mut control = match handles {
        Some(_) => RecvAncillaryBuffer::new(&mut space),
        None => RecvAncillaryBuffer::default(),
    };
    let receive = || match recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut control, flags) {
        Ok(message) => Ok(Some((message.bytes, message.flags))),
        Err(Errno::AGAIN) => Ok(None),
        Err(code) => Err(code),
    };
    let Some((bytes, flags)) = call(operation, || name(socket), receive)? else { return Ok(None) };
    let bytes_lost = flags.contains(ReturnFlags::TRUNC);
    let mut handles_lost = false;
    if let Some(handles) = handles {
        let known = handles.len();
        let is_cut = flags.contains(ReturnFlags::CTRUNC);
        handles_lost = !take_handles(&mut control, handles) || is_cut;
        if handles_lost || bytes_lost {
            handles.truncate(known);
        }
    }
    match bytes_lost {
        true => Err(fail(operation, name(socket), Errno::BADMSG)),
        false => Ok(Some(Received { bytes, handles_lost })),
    }
}

/// Takes the packet out that is in front, wherever the next peek looks; tells whether there was one. The system closes the
/// descriptors in it: this process opens none.
///
/// # Errors
///
/// None in practice for a connected pair.
///
/// # Source
///
/// `recvmsg(2)`: `MSG_DONTWAIT`; `unix(7)`: `SCM_RIGHTS` without room for it.
pub fn discard(socket: impl AsFd) -> Result<bool> {
    let socket = socket.as_fd();
    let mut control = RecvAncillaryBuffer::default();
    let mut nothing = [0];
    let receive = || {
        let parts = &mut [IoSliceMut::new(&mut nothing)];
        match recvmsg(socket, parts, &mut control, RecvFlags::DONTWAIT) {
            Ok(_) => Ok(true),
            Err(Errno::AGAIN) => Ok(false),
            Err(code) => Err(code),
        }
    };
    call("take a packet out of", || name(socket), receive)
}

/// Sets where the next peek looks: so many bytes from the front, and from then on each looks behind the one before; or always
/// at the front.
///
/// Taking a packet out moves the place with it, not beyond the front. A new socket looks at the front.
///
/// # Errors
///
/// [`INVALID`](OsCode::INVALID) for more than 2 GiB.
///
/// # Source
///
/// `socket(7)`: `SO_PEEK_OFF`; Linux 3.4 for local sockets.
pub fn set_peek_place(socket: impl AsFd, place: Option<usize>) -> Result<()> {
    let socket = socket.as_fd();
    let operation = "choose where to look into";
    let place = place.map_or(Ok(FRONT), libc::c_int::try_from);
    let place = place.map_err(|_too_far| fail(operation, name(socket), Errno::INVAL))?;
    #[expect(clippy::cast_possible_truncation, reason = "the size of a number")]
    let len = size_of::<libc::c_int>() as libc::socklen_t;
    let set = || {
        // SAFETY: The descriptor is open; the pointer is to a local of the length that is given.
        checked(unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEEK_OFF,
                (&raw const place).cast(),
                len,
            )
        })
    };
    call(operation, || name(socket), set)
}

/// Where the next peek looks; nothing when each looks at the front.
///
/// # Errors
///
/// When `socket` is none.
///
/// # Source
///
/// `socket(7)`: `SO_PEEK_OFF`.
pub fn peek_place(socket: impl AsFd) -> Result<Option<usize>> {
    let socket = socket.as_fd();
    let mut place: libc::c_int = FRONT;
    #[expect(clippy::cast_possible_truncation, reason = "the size of a number")]
    let mut len = size_of::<libc::c_int>() as libc::socklen_t;
    let ask = || {
        // SAFETY: The descriptor is open; the system writes at most `len` bytes to the first pointer, which is to a local number,
        // and the length to the second.
        checked(unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEEK_OFF,
                (&raw mut place).cast(),
                &raw mut len,
            )
        })
    };
    call("ask where to look into", || name(socket), ask)?;
    Ok(usize::try_from(place).ok())
}

/// `SO_PEEK_OFF` of a socket whose every peek looks at the front.
const FRONT: libc::c_int = -1;

/// Raises how much may be under way from `socket` to `bytes`, or as far as this process may.
///
/// Where the system's limit is below half of its own default, the limit holds from then on.
///
/// # Errors
///
/// None in practice.
///
/// # Source
///
/// `socket(7)`: `SO_SNDBUF`, `/proc/sys/net/core/wmem_max`.
pub fn raise_send_buffer(socket: impl AsFd, bytes: usize) -> Result<()> {
    let socket = socket.as_fd();
    let raise = || {
        // The system gives twice what is asked for, for its own use, and tells what it gave.
        match sockopt::socket_send_buffer_size(socket)? / 2 < bytes {
            true => sockopt::set_socket_send_buffer_size(socket, bytes),
            false => Ok(()),
        }
    };
    call("enlarge the buffer of", || name(socket), raise)
}

#[cfg(test)]
mod tests;
