//! Connections whose other end is a bare socket, and descriptors that tell whether a copy of them is left.

use std::io::{ErrorKind, Read};
use std::net::Shutdown;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

use procession::{Address, Connection, Listener};
use procession_core::OsCode;
use procession_sys::fd::duplicate;
use procession_sys::socket::{self, Block};

/// A name that no other thread has, and that goes with who listens there.
pub fn own_name(purpose: &str) -> String {
    let thread = std::thread::current().id();
    format!("procession-fuzz-{}-{thread:?}-{purpose}", std::process::id())
}

/// Connects to the abstract `name`.
///
/// # Panics
///
/// When nobody listens there.
pub fn connect(name: &str) -> UnixStream {
    UnixStream::connect_addr(&SocketAddr::from_abstract_name(name).unwrap()).unwrap()
}

/// Listens at the abstract `name`.
///
/// # Panics
///
/// When somebody else does.
pub fn listen(name: &str) -> UnixListener {
    UnixListener::bind_addr(&SocketAddr::from_abstract_name(name).unwrap()).unwrap()
}

/// A connection over a socket, and the other end of that.
///
/// # Panics
///
/// When the machine has no descriptors left.
pub fn plugged() -> (Connection, UnixStream) {
    thread_local! {
        static LISTENER: Listener = {
            let name = own_name("plain").into_bytes();
            Listener::bind(Address::Abstract(name)).unwrap()
        };
    }
    LISTENER.with(|listener| {
        let theirs = connect(&own_name("plain"));
        (listener.accept().unwrap(), theirs)
    })
}

/// Sends all of `bytes`, `handles` along with the first; tells how many bytes went until there was no room, or nobody there.
///
/// # Panics
///
/// When the system refuses otherwise.
pub fn send(socket: &UnixStream, bytes: &[u8], handles: &[BorrowedFd<'_>]) -> usize {
    let mut gone = 0;
    while gone < bytes.len() {
        let riders = if gone == 0 { handles } else { &[] };
        match socket::send(socket, &[&bytes[gone..]], riders, Block::No) {
            Ok(some) => gone += some,
            Err(error) => {
                let expected = [OsCode::WOULD_BLOCK, OsCode::BROKEN_PIPE, OsCode::CONNECTION_RESET];
                assert!(expected.contains(&error.code()), "{error}");
                break;
            }
        }
    }
    gone
}

/// Says that nothing more is sent.
pub fn end(socket: &UnixStream) {
    // The other side may be gone already.
    socket.shutdown(Shutdown::Write).ok();
}

/// A socket of which copies are given away, and which knows whether all of them were closed.
#[derive(Debug)]
pub struct Witness {
    here: UnixStream,
    given: Option<OwnedFd>,
}

impl Witness {
    /// Of which nothing was given away yet.
    ///
    /// # Panics
    ///
    /// When the machine has no descriptors left.
    pub fn new() -> Self {
        let (here, there) = UnixStream::pair().unwrap();
        here.set_nonblocking(true).unwrap();
        Self { here, given: Some(there.into()) }
    }

    /// So many copies.
    ///
    /// # Panics
    ///
    /// When the machine has no descriptors left.
    pub fn copies(&self, count: usize) -> Vec<OwnedFd> {
        (0..count).map(|_| duplicate(self.given.as_ref().unwrap()).unwrap()).collect()
    }

    /// What the copies are connected to.
    pub fn socket(&self) -> &UnixStream {
        &self.here
    }

    /// Checks that no copy is left.
    ///
    /// # Panics
    ///
    /// When one is.
    pub fn check(mut self) {
        self.given = None;
        let mut buffer = [0; 4096];
        loop {
            match self.here.read(&mut buffer) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return,
                Err(error) => panic!("a descriptor was left open: {error}"),
            }
        }
    }
}

impl Default for Witness {
    fn default() -> Self {
        Self::new()
    }
}
