//! Who connects.

use std::time::Duration;

use procession_core::authkey::AuthKey;
use procession_core::{Deadline, ErrorKind, Result};
use procession_sys::net;

use crate::address::{Address, ToAddress};
use crate::auth::{self, MacKey};
use crate::connection::Connection;
use crate::stream::Stream;

/// Connects to a [`Listener`](crate::Listener).
///
/// # Source
///
/// CPython `multiprocessing.connection.Client`.
///
/// # Examples
///
/// ```
/// use procession_connection::{Client, Listener};
///
/// let listener = Listener::new()?;
/// let client = Client::connect(listener.address())?;
/// let server = listener.accept()?;
/// server.send_bytes(b"welcome")?;
/// assert_eq!(client.recv_bytes()?, b"welcome");
/// # Ok::<(), procession_core::Error>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Client {}

/// How to connect. See [`Client::builder`].
///
/// # Examples
///
/// ```
/// use procession_connection::Client;
/// use procession_core::ErrorKind;
/// use std::time::Duration;
///
/// let nobody = Client::builder("/tmp/nobody/is/here").timeout(Duration::from_secs(1)).connect();
/// assert_eq!(nobody.unwrap_err().kind(), ErrorKind::Os);
/// ```
#[derive(Debug)]
#[must_use = "nothing happens before `connect` is called"]
pub struct ClientBuilder {
    address: Result<Address>,
    key: Option<MacKey>,
    deadline: Timeout,
}

/// How long it may take.
#[derive(Debug, Clone, Copy)]
enum Timeout {
    Never,
    After(Duration),
}

impl Client {
    /// Connects to `address`, without a key, and waits as long as it takes.
    ///
    /// # Errors
    ///
    /// As [`ClientBuilder::connect`].
    pub fn connect(address: impl ToAddress) -> Result<Connection> {
        Self::builder(address).connect()
    }

    /// Connects as you say.
    pub fn builder(address: impl ToAddress) -> ClientBuilder {
        ClientBuilder { address: address.to_address(), key: None, deadline: Timeout::Never }
    }
}

impl ClientBuilder {
    /// The key that the listener has to know, and to which this client proves that it does. It must be given if and only if the
    /// listener has one. By default there is none.
    pub fn authkey(mut self, key: &AuthKey) -> Self {
        self.key = Some(MacKey::new(key));
        self
    }

    /// How long connecting and the handshake may take together. By default as long as they do. The system's search for the
    /// addresses of a host does not heed it.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.deadline = Timeout::After(timeout);
        self
    }

    /// Connects.
    ///
    /// Of the addresses that a host has, the first that answers is taken.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) when the address is none; [`TimedOut`](ErrorKind::TimedOut) when the time is up;
    /// [`Authentication`](ErrorKind::Authentication) when the listener does not know the key, or refuses this one, or goes away in
    /// the middle of the handshake; [`Os`](ErrorKind::Os) when nobody listens there (`ECONNREFUSED`, or `ENOENT` where there is no
    /// such path), when this process may not (`EACCES`), or whatever the network says.
    pub fn connect(self) -> Result<Connection> {
        let deadline = match self.deadline {
            Timeout::Never => Deadline::NEVER,
            Timeout::After(timeout) => Deadline::after(timeout),
        };
        let stream = connect_stream(&self.address?, deadline)?;
        if let Some(key) = &self.key {
            auth::greet(&stream, key, deadline)?;
        }
        Ok(Connection::from_stream(stream))
    }
}

fn connect_stream(address: &Address, deadline: Deadline) -> Result<Stream> {
    let mut failure = None;
    for name in &address.names(None)? {
        match net::connect(name, deadline) {
            Ok(socket) => return Stream::new(socket),
            Err(error) => failure = Some(error.into()),
        }
    }
    // There is always one.
    Err(failure.unwrap_or_else(|| {
        procession_core::Error::new(ErrorKind::InvalidInput, format!("`{address}` is nowhere"))
    }))
}
