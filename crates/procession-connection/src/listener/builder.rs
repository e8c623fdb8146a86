//! How to listen.

use std::time::Duration;

use procession_core::Result;
use procession_core::authkey::AuthKey;
use procession_sys::net::{self, SocketName};

use super::place::{self, Place};
use super::{Door, Listener, Open};
use crate::address::{Address, Family, ToAddress};
use crate::auth::MacKey;

/// How many clients may have connected and wait to be accepted. Where nobody accepts for long, more are refused, or wait.
const BACKLOG: u32 = 128;
/// How long a client may take for its handshake: three short messages, on a slow network and a busy machine.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How many clients may be in the handshake: a quarter of the descriptors that a process commonly has.
const MAX_PENDING: usize = 256;

/// How to listen. See [`Listener::builder`].
///
/// # Examples
///
/// ```
/// use procession_connection::{Client, Listener};
/// use procession_core::authkey::AuthKey;
///
/// let key = AuthKey::current()?;
/// let listener = Listener::builder().authkey(key).bind()?;
/// let (server, client) = std::thread::scope(|scope| {
///     let client = scope.spawn(|| Client::builder(listener.address()).authkey(key).connect());
///     (listener.accept(), client.join().unwrap())
/// });
/// client?.send_bytes(b"hello")?;
/// assert_eq!(server?.recv_bytes()?, b"hello");
/// # Ok::<(), procession_core::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "nobody listens before `bind` is called"]
pub struct ListenerBuilder {
    address: Option<Result<Address>>,
    family: Option<Family>,
    backlog: u32,
    key: Option<MacKey>,
    handshake_timeout: Duration,
    max_pending: usize,
}

impl ListenerBuilder {
    pub(super) fn new() -> Self {
        Self {
            address: None,
            family: None,
            backlog: BACKLOG,
            key: None,
            handshake_timeout: HANDSHAKE,
            max_pending: MAX_PENDING,
        }
    }

    /// Where. By default at a private address of the [family](Self::family).
    pub fn address(mut self, address: impl ToAddress) -> Self {
        self.address = Some(address.to_address());
        self
    }

    /// What kind of address: without an address, a path of one's own, or a port of one's own of the loopback interface; with one, it
    /// has to be of this kind. By default [`Family::Unix`] without an address, and any with one.
    pub fn family(mut self, family: Family) -> Self {
        self.family = Some(family);
        self
    }

    /// How many clients may have connected and wait to be accepted, about. By default 128; the system has a limit of its own. A
    /// local client waits for room; one by TCP tries again for a while.
    pub fn backlog(mut self, clients: u32) -> Self {
        self.backlog = clients;
        self
    }

    /// The key that clients have to know. By default there is none, and they need none. An empty key is a key.
    pub fn authkey(mut self, key: &AuthKey) -> Self {
        self.key = Some(MacKey::new(key));
        self
    }

    /// How long a client may take for its handshake, while somebody accepts. By default ten seconds.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.handshake_timeout = timeout;
        self
    }

    /// How many clients may be in the handshake at once; when one more comes, the one that has been longest is dropped. By default
    /// 256; at least one. Each is a descriptor of this process; when that may have no more, the number is smaller.
    pub fn max_pending(mut self, clients: usize) -> Self {
        self.max_pending = clients.max(1);
        self
    }

    /// Listens.
    ///
    /// A path is made for its owner only (mode 0600). One that a killed listener has left is taken over.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](procession_core::ErrorKind::InvalidInput) when the address is none, or not of the family;
    /// [`Os`](procession_core::ErrorKind::Os) when the system refuses: `EADDRINUSE` when somebody listens there, or something else
    /// is at the path; when a host cannot be looked up, which may take as long as the system waits for an answer.
    pub fn bind(self) -> Result<Listener> {
        let key = self.key;
        let (timeout, max_pending) = (self.handshake_timeout, self.max_pending);
        let door = key.map(|key| Door { key, timeout, max_pending });
        let address = match self.address {
            Some(address) => Some(address?),
            None => Address::default_of(self.family.unwrap_or_default()),
        };
        let Some(address) = address else {
            let (socket, place, path) = place::listen_privately(self.backlog)?;
            return Listener::open(Open { socket, _place: place }, Address::Path(path), door);
        };
        let (open, name) = listen_at_one(&address.names(self.family)?, self.backlog)?;
        // With the port that the system has chosen.
        let address = Address::from_name(name).unwrap_or(address);
        Listener::open(open, address, door)
    }
}

/// Listens at the first of these that can be listened at.
fn listen_at_one(names: &[SocketName], backlog: u32) -> Result<(Open, SocketName)> {
    let listen = |name: &SocketName| -> Result<(Open, SocketName)> {
        let (socket, place): (_, Place) = place::listen(name, backlog)?;
        let name = net::local_name(&socket)?;
        Ok((Open { socket, _place: place }, name))
    };
    let mut failure = None;
    for name in names {
        match listen(name) {
            Ok(open) => return Ok(open),
            Err(error) => failure = Some(error),
        }
    }
    // There is always one.
    Err(failure.unwrap_or_else(super::closed))
}
