//! Sockets with addresses: who listens, who connects, and who is at the other end.

#![expect(
    unsafe_code,
    reason = "receives into memory that was not written yet, and asks for credentials"
)]

use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::event::{Timespec, epoll};
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrAny, SocketAddrUnix, SocketFlags, SocketType,
    sockopt,
};

use super::fd::{above_streams, name};
use super::poll::{self, Watch};
use super::socket::Block;
use super::{call, checked, fail};
use crate::{Deadline, OsCode, Result};

/// The most bytes that the path of a socket may have, and the name of one without a path.
///
/// Source: `unix(7)`, `sun_path` has 108 bytes; one ends the path, or stands before the name.
pub const MAX_NAME_BYTES: usize = 107;

/// Somebody has that name.
pub const ADDRESS_IN_USE: OsCode = OsCode::from_raw(libc::EADDRINUSE);
/// Nobody listens under that name.
pub const CONNECTION_REFUSED: OsCode = OsCode::from_raw(libc::ECONNREFUSED);

/// Where a socket is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SocketName {
    /// Nowhere: nobody can connect to it.
    Unnamed,
    /// At a path of the file system.
    Path(PathBuf),
    /// Under a name that only this system's network namespace knows, and that goes with the socket (`unix(7)`, abstract).
    Abstract(Vec<u8>),
    /// At an address and a port.
    Inet(SocketAddr),
}

/// What a stream of bytes goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamKind {
    /// This system only; descriptors can go along.
    Local,
    /// TCP.
    Tcp,
}

/// Who is at the other end, or was when the connection was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credentials {
    /// The number of the process; zero when it is in a pid namespace that this process does not see.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

/// Makes a socket that listens at `name`. Accepting from it never waits.
///
/// A path is made for its owner only, whatever the file mode mask says.
///
/// # Errors
///
/// [`ADDRESS_IN_USE`] when there is something at that name; [`INVALID`](crate::OsCode::INVALID) or `ENAMETOOLONG` for a name that cannot
/// be; `EACCES` when this process may not.
///
/// # Source
///
/// `socket(2)`, `bind(2)`, `listen(2)`; `unix(7)`: the mode of an unbound socket becomes that of its path (`unix_bind_bsd` in
/// the kernel); `ip(7)` and `socket(7)`: `SO_REUSEADDR`, so that connections that linger from the last listener do no harm.
pub fn listen(name: &SocketName, backlog: u32) -> Result<OwnedFd> {
    let socket = open(name, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
    let operation = "listen at";
    match name {
        SocketName::Path(_) => {
            let mode = Mode::RUSR | Mode::WUSR;
            call(operation, || shown(name), || rustix::fs::fchmod(&socket, mode))?;
        }
        SocketName::Inet(_) => {
            call(operation, || shown(name), || sockopt::set_socket_reuseaddr(&socket, true))?;
        }
        _ => {}
    }
    let address = to_system(name).map_err(|code| fail(operation, shown(name), code))?;
    call(operation, || shown(name), || rustix::net::bind(&socket, &address))?;
    let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
    call(operation, || shown(name), || rustix::net::listen(&socket, backlog))?;
    Ok(socket)
}

/// Takes a connection that waits at a listening socket, with the name of the other end; `None` when there is none.
///
/// # Errors
///
/// [`TOO_MANY_OPEN`](crate::OsCode::TOO_MANY_OPEN) when this process may open no more descriptors, `ENFILE` for the whole system;
/// the connection goes on waiting then.
///
/// # Source
///
/// `accept(2)`; its section on errors names those that belong to one connection, which is gone then: the next one is looked at.
pub fn accept(listener: impl AsFd) -> Result<Option<(OwnedFd, SocketName)>> {
    let listener = listener.as_fd();
    loop {
        match rustix::net::acceptfrom_with(listener, SocketFlags::CLOEXEC) {
            Ok((socket, peer)) => {
                let peer = peer.map_or(SocketName::Unnamed, from_system);
                if let SocketName::Inet(_) = peer {
                    // Refused when the connection is gone already, which its user will find out.
                    sockopt::set_tcp_nodelay(&socket, true).ok();
                }
                return Ok(Some((above_streams(socket)?, peer)));
            }
            Err(Errno::AGAIN) => return Ok(None),
            Err(code) if concerns_one_connection(code) => {}
            Err(code) => return Err(fail("accept from", super::fd::name(listener), code)),
        }
    }
}

fn concerns_one_connection(code: Errno) -> bool {
    [
        Errno::INTR,
        Errno::CONNABORTED,
        Errno::PERM,
        Errno::NETDOWN,
        Errno::PROTO,
        Errno::NOPROTOOPT,
        Errno::HOSTDOWN,
        Errno::NONET,
        Errno::HOSTUNREACH,
        Errno::NETUNREACH,
    ]
    .contains(&code)
}

/// Connects to who listens at `name`, waiting until the deadline.
///
/// # Errors
///
/// [`TIMED_OUT`](crate::OsCode::TIMED_OUT) when the deadline has passed; [`CONNECTION_REFUSED`] when nobody listens there, `ENOENT` when
/// there is no such path, `EACCES` when this process may not, or what the network says.
///
/// # Source
///
/// `connect(2)`; `socket(7)`: `SO_SNDTIMEO` bounds how long a local socket waits for room in the backlog of its listener; `tcp(7)`:
/// `TCP_NODELAY`.
pub fn connect(name: &SocketName, deadline: Deadline) -> Result<OwnedFd> {
    let operation = "connect to";
    let refused = |code| fail(operation, shown(name), code);
    let address = to_system(name).map_err(refused)?;
    let socket = match name {
        SocketName::Inet(_) => connect_inet(name, &address, deadline)?,
        _ => connect_local(name, &address, deadline)?,
    };
    if let SocketName::Inet(peer) = name {
        sockopt::set_tcp_nodelay(&socket, true).map_err(refused)?;
        if is_connected_to_itself(&socket, *peer)? {
            return Err(refused(Errno::CONNREFUSED));
        }
    }
    Ok(socket)
}

/// Nobody listened at that port, and the system has chosen just that for this end (`tcp(7)`, a simultaneous open).
fn is_connected_to_itself(socket: impl AsFd, peer: SocketAddr) -> Result<bool> {
    Ok(local_name(socket)? == SocketName::Inet(peer))
}

/// A local socket waits for room in the backlog, which nothing can be polled for.
fn connect_local(
    name: &SocketName,
    address: &SocketAddrAny,
    deadline: Deadline,
) -> Result<OwnedFd> {
    let refused = |code| fail("connect to", shown(name), code);
    let socket = open(name, SocketFlags::CLOEXEC)?;
    loop {
        if let Some(left) = deadline.remaining() {
            // Zero would be for ever. The system counts in ticks, of which this is the first.
            let left = left.max(std::time::Duration::from_micros(1));
            sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(left))
                .map_err(refused)?;
        }
        match rustix::net::connect(&socket, address) {
            Ok(()) => break,
            Err(Errno::INTR | Errno::AGAIN) if !deadline.has_passed() => {}
            Err(Errno::INTR | Errno::AGAIN) => return Err(refused(Errno::TIMEDOUT)),
            Err(code) => return Err(refused(code)),
        }
    }
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, None).map_err(refused)?;
    Ok(socket)
}

fn connect_inet(name: &SocketName, address: &SocketAddrAny, deadline: Deadline) -> Result<OwnedFd> {
    let refused = |code| fail("connect to", shown(name), code);
    let socket = open(name, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
    match rustix::net::connect(&socket, address) {
        Ok(()) => {}
        Err(Errno::INPROGRESS | Errno::INTR) => {
            if poll::wait(&mut [Watch::writable(&socket)], deadline)? == 0 {
                return Err(refused(Errno::TIMEDOUT));
            }
            sockopt::socket_error(&socket).map_err(refused)?.map_err(refused)?;
        }
        Err(code) => return Err(refused(code)),
    }
    rustix::io::ioctl_fionbio(&socket, false).map_err(refused)?;
    Ok(socket)
}

/// Where a socket is.
///
/// # Errors
///
/// When `socket` is none.
///
/// # Source
///
/// `getsockname(2)`.
pub fn local_name(socket: impl AsFd) -> Result<SocketName> {
    let socket = socket.as_fd();
    let found = call("ask for the name of", || name(socket), || rustix::net::getsockname(socket))?;
    Ok(from_system(found))
}

/// What the bytes of a connected stream socket go through.
///
/// # Errors
///
/// [`INVALID`](crate::OsCode::INVALID) when `socket` is no stream socket, or of a family that is not known here.
///
/// # Source
///
/// `socket(7)`: `SO_TYPE`, `SO_DOMAIN`.
pub fn stream_kind(socket: impl AsFd) -> Result<StreamKind> {
    let socket = socket.as_fd();
    let operation = "use as a stream";
    let refused = |code| fail(operation, name(socket), code);
    if sockopt::socket_type(socket).map_err(refused)? != SocketType::STREAM {
        return Err(refused(Errno::INVAL));
    }
    match sockopt::socket_domain(socket).map_err(refused)? {
        AddressFamily::UNIX => Ok(StreamKind::Local),
        AddressFamily::INET | AddressFamily::INET6 => Ok(StreamKind::Tcp),
        _ => Err(refused(Errno::INVAL)),
    }
}

/// Who made the other end of a local stream socket.
///
/// # Errors
///
/// When `socket` is no local socket.
///
/// # Source
///
/// `unix(7)`: `SO_PEERCRED`.
pub fn peer_credentials(socket: impl AsFd) -> Result<Credentials> {
    let socket = socket.as_fd();
    let mut found = libc::ucred { pid: 0, uid: 0, gid: 0 };
    #[expect(clippy::cast_possible_truncation, reason = "three numbers")]
    let mut len = size_of::<libc::ucred>() as libc::socklen_t;
    let ask = || {
        // SAFETY: The descriptor is open; the system writes at most `len` bytes to the first pointer, which is to a local of that
        // size for which every pattern of bits is a value, and the length to the second.
        checked(unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERCRED,
                (&raw mut found).cast(),
                &raw mut len,
            )
        })
    };
    call("ask who is at the other end of", || name(socket), ask)?;
    Ok(Credentials { pid: u32::try_from(found.pid).unwrap_or(0), uid: found.uid, gid: found.gid })
}

/// Receives at most `most` bytes into the room that `bytes` has behind its content, which there has to be; descriptors that come
/// along are closed. Tells how many came; none means that the other end is gone.
///
/// # Errors
///
/// [`WOULD_BLOCK`](crate::OsCode::WOULD_BLOCK) when there is nothing and `block` is [`Block::No`].
///
/// # Source
///
/// `recv(2)`; with [`Block::Yes`] it waits for all that was asked for (`MSG_WAITALL`), but for a signal.
pub fn recv_behind(
    socket: impl AsFd,
    bytes: &mut Vec<u8>,
    most: usize,
    block: Block,
) -> Result<usize> {
    let len = bytes.len();
    let room = bytes.spare_capacity_mut();
    debug_assert!(!room.is_empty(), "nothing could come");
    let most = most.min(room.len());
    let came = recv_uninit(socket.as_fd(), &mut room[..most], block)?;
    // SAFETY: 1. The length is within the capacity: as many bytes came as there was room for, at most. 2. The system has
    // written them.
    unsafe { bytes.set_len(len + came) };
    Ok(came)
}

/// Receives into `buffer`, as [`recv_behind`] does.
///
/// # Errors
///
/// As [`recv_behind`].
///
/// # Source
///
/// As [`recv_behind`].
pub fn recv_into(socket: impl AsFd, buffer: &mut [u8], block: Block) -> Result<usize> {
    let socket = socket.as_fd();
    let flags = recv_flags(block);
    let receive = || rustix::net::recv(socket, &mut *buffer, flags);
    call("receive from", || name(socket), receive).map(|(came, _all)| came)
}

/// Receives into memory that was not written yet; tells how many bytes were.
fn recv_uninit(
    socket: BorrowedFd<'_>,
    room: &mut [MaybeUninit<u8>],
    block: Block,
) -> Result<usize> {
    let flags = recv_flags(block);
    let receive = || rustix::net::recv(socket, &mut *room, flags).map(|((_, _), came)| came);
    let came = call("receive from", || name(socket), receive)?;
    Ok(came.min(room.len()))
}

fn recv_flags(block: Block) -> RecvFlags {
    match block {
        Block::Yes => RecvFlags::WAITALL,
        Block::No => RecvFlags::DONTWAIT,
    }
}

/// Sends `bytes` if there is room for all of them at once; tells whether there was. What a stranger does not read is not waited
/// for.
///
/// # Errors
///
/// As [`send`](super::socket::send).
///
/// # Source
///
/// `send(2)`.
pub fn send_at_once(socket: impl AsFd, bytes: &[u8]) -> Result<bool> {
    let socket = socket.as_fd();
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    match rustix::io::retry_on_intr(|| rustix::net::send(socket, bytes, flags)) {
        Ok(went) => Ok(went == bytes.len()),
        Err(Errno::AGAIN) => Ok(false),
        Err(code) => Err(fail("send on", name(socket), code)),
    }
}

/// Descriptors that are waited for together, each under a number: for many of which few are ready at a time.
///
/// It is itself a descriptor, readable while one of them is, or has hung up.
#[derive(Debug)]
pub struct Crowd(OwnedFd);

impl Crowd {
    /// Makes an empty one.
    ///
    /// # Errors
    ///
    /// When this process may open no more descriptors.
    ///
    /// # Source
    ///
    /// `epoll_create(2)`; `epoll(7)`.
    pub fn new() -> Result<Self> {
        let made = call("make a crowd to poll", String::new, || {
            epoll::create(epoll::CreateFlags::CLOEXEC)
        })?;
        above_streams(made).map(Self)
    }

    /// Adds a descriptor; it has to be removed before it is closed.
    ///
    /// # Errors
    ///
    /// When it is a member already, or the system is out of memory or of watches (`epoll_ctl(2)`, `ENOSPC`).
    ///
    /// # Source
    ///
    /// `epoll_ctl(2)`, `EPOLL_CTL_ADD` with `EPOLLIN`, level-triggered.
    pub fn add(&self, fd: impl AsFd, number: u64) -> Result<()> {
        let fd = fd.as_fd();
        let (number, flags) = (epoll::EventData::new_u64(number), epoll::EventFlags::IN);
        call("poll", || name(fd), || epoll::add(&self.0, fd, number, flags))
    }

    /// Takes a descriptor out.
    ///
    /// # Errors
    ///
    /// When it is no member.
    ///
    /// # Source
    ///
    /// `epoll_ctl(2)`, `EPOLL_CTL_DEL`.
    pub fn remove(&self, fd: impl AsFd) -> Result<()> {
        let fd = fd.as_fd();
        call("poll no more", || name(fd), || epoll::delete(&self.0, fd))
    }

    /// Waits until one of them is ready or the deadline passes, and returns the numbers of some that are.
    ///
    /// # Errors
    ///
    /// When the system is out of memory.
    ///
    /// # Source
    ///
    /// `poll(2)` for the wait, because its deadline is exact; `epoll_wait(2)`, which goes round among more of them than it reports
    /// at once.
    pub fn wait(&self, deadline: Deadline) -> Result<Vec<u64>> {
        if !poll::wait_readable(&self.0, deadline)? {
            return Ok(Vec::new());
        }
        let mut events = Vec::with_capacity(64);
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        call("wait for descriptors", String::new, || {
            epoll::wait(&self.0, rustix::buffer::spare_capacity(&mut events), Some(&now))
        })?;
        Ok(events.iter().map(|event| event.data.u64()).collect())
    }
}

impl AsFd for Crowd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn open(name: &SocketName, flags: SocketFlags) -> Result<OwnedFd> {
    let family = match name {
        SocketName::Inet(SocketAddr::V4(_)) => AddressFamily::INET,
        SocketName::Inet(SocketAddr::V6(_)) => AddressFamily::INET6,
        _ => AddressFamily::UNIX,
    };
    let made = call(
        "make a socket for",
        || shown(name),
        || rustix::net::socket_with(family, SocketType::STREAM, flags, None),
    )?;
    above_streams(made)
}

fn to_system(name: &SocketName) -> rustix::io::Result<SocketAddrAny> {
    let local = |bytes: &[u8], made: rustix::io::Result<SocketAddrUnix>| match bytes.len() {
        // An empty one would have the system choose a name.
        0 => Err(Errno::INVAL),
        len if len > MAX_NAME_BYTES => Err(Errno::NAMETOOLONG),
        _ => made.map(SocketAddrAny::from),
    };
    match name {
        SocketName::Unnamed => Err(Errno::INVAL),
        SocketName::Path(path) => {
            local(path.as_os_str().as_encoded_bytes(), SocketAddrUnix::new(path))
        }
        SocketName::Abstract(bytes) => local(bytes, SocketAddrUnix::new_abstract_name(bytes)),
        SocketName::Inet(address) => Ok((*address).into()),
    }
}

fn from_system(found: SocketAddrAny) -> SocketName {
    if let Ok(local) = SocketAddrUnix::try_from(found.clone()) {
        return match (local.path_bytes(), local.abstract_name()) {
            (Some(path), _) if !path.is_empty() => {
                use std::os::unix::ffi::OsStrExt;
                SocketName::Path(Path::new(std::ffi::OsStr::from_bytes(path)).into())
            }
            (_, Some(name)) if !name.is_empty() => SocketName::Abstract(name.into()),
            _ => SocketName::Unnamed,
        };
    }
    SocketAddr::try_from(found).map_or(SocketName::Unnamed, SocketName::Inet)
}

fn shown(name: &SocketName) -> String {
    match name {
        SocketName::Unnamed => "a socket without a name".into(),
        SocketName::Path(path) => path.display().to_string(),
        SocketName::Abstract(bytes) => format!("@{}", bytes.escape_ascii()),
        SocketName::Inet(address) => address.to_string(),
    }
}

#[cfg(test)]
mod tests;
