//! How to listen.

use std::time::Duration;

use procession_connection::{Address, ToAddress};
use procession_core::authkey::AuthKey;
use procession_core::{Error, ErrorKind, Result};
use procession_sys::net::{self, SocketName};

use super::place::{self, Place};
use super::{Door, Listener, Open};
use crate::address;
use crate::auth::Digests;
use crate::limits::Limits;

/// How many clients may have connected and wait to be accepted: as CPython's managers have it.
const BACKLOG: u32 = 128;
/// How long a client may take for its handshake: three short messages, on a slow network and a busy machine.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How many clients may be in the handshake: a quarter of the descriptors that a process commonly has.
const MAX_PENDING: usize = 256;

/// How to listen. See [`Listener::builder`].
#[derive(Debug)]
#[must_use = "nobody listens before `bind` is called"]
pub struct ListenerBuilder {
    address: Option<Result<Address>>,
    backlog: u32,
    door: Door,
}

impl ListenerBuilder {
    pub(super) fn new() -> Self {
        let door = Door {
            key: None,
            digests: Digests::default(),
            timeout: HANDSHAKE,
            max_pending: MAX_PENDING,
            limits: Limits::default(),
        };
        Self { address: None, backlog: BACKLOG, door }
    }

    /// Where. By default at a path of one's own.
    pub fn address(mut self, address: impl ToAddress) -> Self {
        self.address = Some(address.to_address());
        self
    }

    /// How many clients may have connected and wait to be accepted, about. By default 128.
    pub fn backlog(mut self, clients: u32) -> Self {
        self.backlog = clients;
        self
    }

    /// The key that clients have to know. By default there is none, and they need none. An empty key is a key; CPython up to 3.12
    /// takes it for none when it listens, and proves it when it connects.
    pub fn authkey(mut self, key: &AuthKey) -> Self {
        self.door.key = Some(key.clone());
        self
    }

    /// The digests by which clients may prove that they know the key. By default all that there are.
    pub fn digests(mut self, digests: Digests) -> Self {
        self.door.digests = digests;
        self
    }

    /// How long a client may take for its handshake, while somebody accepts. By default ten seconds.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.door.timeout = timeout;
        self
    }

    /// How many clients may be in the handshake at once; when one more comes, the one that has been longest is dropped. By default
    /// 256; at least one.
    pub fn max_pending(mut self, clients: usize) -> Self {
        self.door.max_pending = clients.max(1);
        self
    }

    /// How much a client may ask for.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.door.limits = limits;
        self
    }

    /// Listens. A path is made for its owner only (mode 0600).
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) when the address is none; [`Os`](ErrorKind::Os) when the system refuses: `EADDRINUSE` when
    /// somebody listens there, or something is at the path, be it left from a listener that was killed.
    pub fn bind(self) -> Result<Listener> {
        let Some(address) = self.address.transpose()? else {
            let (socket, place, path) = place::listen_privately(self.backlog)?;
            return Listener::open(Open { socket, _place: place }, Address::Path(path), self.door);
        };
        let listen = |name: &SocketName| -> Result<(Open, SocketName)> {
            let (socket, place): (_, Place) = place::listen(name, self.backlog)?;
            let name = net::local_name(&socket)?;
            Ok((Open { socket, _place: place }, name))
        };
        let mut failure = None;
        for name in &address::names(&address)? {
            match listen(name) {
                Ok((open, name)) => {
                    // With the port that the system has chosen.
                    let address = address::of_name(name).unwrap_or(address);
                    return Listener::open(open, address, self.door);
                }
                Err(error) => failure = Some(error),
            }
        }
        let nowhere = || Error::new(ErrorKind::InvalidInput, format!("`{address}` is nowhere"));
        Err(failure.unwrap_or_else(nowhere))
    }
}
