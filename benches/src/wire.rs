//! What sockets and pipes of the system give with nothing around them: limits of families `pipe` and `socket`.
#![expect(unsafe_code, reason = "read, write and sendmsg are the contender: nothing above them")]

use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::ptr;

use crate::line::{Line, Way};

/// Packets have a longest length, which depends on the socket's buffer; this is well below the usual 208 KiB.
const PACKET: usize = 64 << 10;
/// The most that a process without privileges may ask for, unless the system was told otherwise.
const PIPE_BYTES: libc::c_int = 1 << 20;
const HEAD: usize = 4;

/// Messages without a word about their length, which both sides know.
#[derive(Debug)]
pub struct Raw {
    rx: OwnedFd,
    tx: OwnedFd,
    /// How much is written or read at once.
    most: usize,
}

impl Raw {
    /// Two ends of a stream socket.
    ///
    /// # Errors
    /// The process may open no more descriptors.
    pub fn stream() -> io::Result<(Self, Self)> {
        Self::sockets(libc::SOCK_STREAM, usize::MAX)
    }

    /// Two ends of a packet socket. A long message is several packets.
    ///
    /// # Errors
    /// The process may open no more descriptors.
    pub fn packets() -> io::Result<(Self, Self)> {
        Self::sockets(libc::SOCK_SEQPACKET, PACKET)
    }

    /// Two pipes, one for each way, as large as they may be.
    ///
    /// # Errors
    /// The process may open no more descriptors, or its pipes may not be that large.
    pub fn pipes() -> io::Result<(Self, Self)> {
        let (their_rx, my_tx) = io::pipe()?;
        let (my_rx, their_tx) = io::pipe()?;
        for tx in [&my_tx, &their_tx] {
            // SAFETY: takes an open descriptor and a number.
            if unsafe { libc::fcntl(tx.as_raw_fd(), libc::F_SETPIPE_SZ, PIPE_BYTES) } < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        let end = |rx: io::PipeReader, tx: io::PipeWriter| Self {
            rx: rx.into(),
            tx: tx.into(),
            most: usize::MAX,
        };
        Ok((end(my_rx, my_tx), end(their_rx, their_tx)))
    }

    fn sockets(kind: libc::c_int, most: usize) -> io::Result<(Self, Self)> {
        let (mine, theirs) = socket_pair(kind)?;
        let end =
            |socket: OwnedFd| io::Result::Ok(Self { rx: socket.try_clone()?, tx: socket, most });
        Ok((end(mine)?, end(theirs)?))
    }

    fn write(&self, message: &[u8]) -> io::Result<()> {
        message.chunks(self.most).try_for_each(|packet| write_all(self.tx.as_raw_fd(), packet))
    }

    fn read(&self, buffer: &mut [u8]) -> io::Result<()> {
        let fd = self.rx.as_raw_fd();
        buffer.chunks_mut(self.most).try_for_each(|packet| read_exact(fd, packet))
    }
}

impl Line for Raw {
    const WAYS: &'static [Way] = &[Way::Into];

    fn send_word(&mut self, word: u64) -> io::Result<()> {
        self.write(&word.to_ne_bytes())
    }

    fn recv_word(&mut self) -> io::Result<u64> {
        let mut word = [0; 8];
        self.read(&mut word)?;
        Ok(u64::from_ne_bytes(word))
    }

    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        self.write(message)
    }

    fn recv_into(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read(buffer)?;
        Ok(buffer.len())
    }
}

/// Messages behind their length in four bytes, over a stream socket: one `sendmsg` of both, a `read` of each.
#[derive(Debug)]
pub struct Framed(OwnedFd);

impl Framed {
    /// Two ends of a Unix socket.
    ///
    /// # Errors
    /// The process may open no more descriptors.
    pub fn unix() -> io::Result<(Self, Self)> {
        let (mine, theirs) = socket_pair(libc::SOCK_STREAM)?;
        Ok((Self(mine), Self(theirs)))
    }

    /// Two ends of a TCP connection within this machine, which holds nothing back.
    ///
    /// # Errors
    /// The process may open no more descriptors, or has no network.
    pub fn tcp() -> io::Result<(Self, Self)> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let mine = TcpStream::connect(listener.local_addr()?)?;
        let (theirs, _) = listener.accept()?;
        for socket in [&mine, &theirs] {
            socket.set_nodelay(true)?;
        }
        Ok((Self(mine.into()), Self(theirs.into())))
    }

    fn send_frame(&self, message: &[u8]) -> io::Result<()> {
        let head = u32::try_from(message.len()).map_err(io::Error::other)?.to_be_bytes();
        let part = |bytes: &[u8]| libc::iovec {
            iov_base: bytes.as_ptr().cast_mut().cast(),
            iov_len: bytes.len(),
        };
        let mut parts = [part(&head), part(message)];
        let header = libc::msghdr {
            msg_name: ptr::null_mut(),
            msg_namelen: 0,
            msg_iov: parts.as_mut_ptr(),
            msg_iovlen: parts.len(),
            msg_control: ptr::null_mut(),
            msg_controllen: 0,
            msg_flags: 0,
        };
        let fd = self.0.as_raw_fd();
        // SAFETY: the header and both parts live through the call, which only reads them.
        let sent = unsafe { libc::sendmsg(fd, &raw const header, libc::MSG_NOSIGNAL) };
        let sent = usize::try_from(sent).map_err(|_negative| io::Error::last_os_error())?;
        match sent.checked_sub(HEAD) {
            Some(sent) => write_all(fd, &message[sent..]),
            None => Err(io::Error::other("a socket took less than four bytes")),
        }
    }

    fn recv_len(&self) -> io::Result<usize> {
        let mut head = [0; HEAD];
        read_exact(self.0.as_raw_fd(), &mut head)?;
        usize::try_from(u32::from_be_bytes(head)).map_err(io::Error::other)
    }

    fn recv_frame(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.recv_len()?;
        let room = buffer.get_mut(..len);
        let room = room.ok_or_else(|| io::Error::other("a message is longer than its buffer"))?;
        read_exact(self.0.as_raw_fd(), room)?;
        Ok(len)
    }
}

impl Line for Framed {
    const WAYS: &'static [Way] = &[Way::Into, Way::Fresh, Way::Owned];

    fn send_word(&mut self, word: u64) -> io::Result<()> {
        self.send_frame(&word.to_ne_bytes())
    }

    fn recv_word(&mut self) -> io::Result<u64> {
        let mut word = [0; 8];
        self.recv_frame(&mut word)?;
        Ok(u64::from_ne_bytes(word))
    }

    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        self.send_frame(message)
    }

    fn recv_into(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.recv_frame(buffer)
    }

    fn recv_vec(&mut self) -> io::Result<Vec<u8>> {
        let len = self.recv_len()?;
        let mut message = Vec::with_capacity(len);
        while message.len() < len {
            let missing = len - message.len();
            let room = &mut message.spare_capacity_mut()[..missing];
            let (place, most) = (room.as_mut_ptr().cast(), room.len());
            // SAFETY: `room` is memory that the call may write, so much of it.
            let got = unsafe { libc::read(self.0.as_raw_fd(), place, most) };
            let filled = message.len() + count(got)?;
            // SAFETY: the capacity is larger, and the call has written as many bytes as it says.
            unsafe { message.set_len(filled) };
        }
        Ok(message)
    }
}

fn socket_pair(kind: libc::c_int) -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds = [-1; 2];
    let kind = kind | libc::SOCK_CLOEXEC;
    // SAFETY: the pointer is to two integers that the call may write.
    if unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor that nobody else has.
    let own = |fd| unsafe { OwnedFd::from_raw_fd(fd) };
    Ok((own(fds[0]), own(fds[1])))
}

fn write_all(fd: RawFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        // SAFETY: the call reads that many bytes.
        let written = unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) };
        bytes = &bytes[count(written)?..];
    }
    Ok(())
}

fn read_exact(fd: RawFd, mut buffer: &mut [u8]) -> io::Result<()> {
    while !buffer.is_empty() {
        // SAFETY: the call may write that many bytes.
        let got = unsafe { libc::read(fd, buffer.as_mut_ptr().cast(), buffer.len()) };
        buffer = &mut buffer[count(got)?..];
    }
    Ok(())
}

/// How many bytes a call has moved. There are no signals here that could interrupt it.
fn count(moved: isize) -> io::Result<usize> {
    match usize::try_from(moved) {
        Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(moved) => Ok(moved),
        Err(_negative) => Err(io::Error::last_os_error()),
    }
}
