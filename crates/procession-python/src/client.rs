//! Who connects to a listener of Python's.

use std::time::Duration;

use procession_connection::{Address, ToAddress};
use procession_core::authkey::AuthKey;
use procession_core::{Deadline, Error, ErrorKind, Result};
use procession_sys::net;

use crate::address;
use crate::auth::Digests;
use crate::auth::handshake::{Handshake, LONGEST, Role, Then};
use crate::connection::Connection;
use crate::limits::Limits;
use crate::wire::{Next, Sent, Wire};

/// Connects to a `multiprocessing.connection.Listener`, or to ours.
///
/// # Source
///
/// CPython `multiprocessing.connection.Client`.
///
/// # Examples
///
/// ```
/// use procession_core::authkey::AuthKey;
/// use procession_python::{Client, Listener};
/// use std::time::Duration;
///
/// let key = AuthKey::from(&b"secret password"[..]);
/// let listener = Listener::builder().authkey(&key).bind()?;
/// let client = Client::builder(listener.address()).authkey(&key).timeout(Duration::from_secs(10));
/// let client = std::thread::spawn(move || client.connect());
/// listener.accept()?.send(&[2.25, 0.0])?;
/// assert_eq!(client.join().unwrap()?.recv::<Vec<f64>>()?, [2.25, 0.0]);
/// # Ok::<(), procession_core::Error>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Client {}

/// How to connect. See [`Client::builder`].
#[derive(Debug)]
#[must_use = "nothing happens before `connect` is called"]
pub struct ClientBuilder {
    address: Result<Address>,
    key: Option<AuthKey>,
    digests: Digests,
    timeout: Option<Duration>,
    limits: Limits,
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
        ClientBuilder {
            address: address.to_address(),
            key: None,
            digests: Digests::default(),
            timeout: None,
            limits: Limits::default(),
        }
    }
}

impl ClientBuilder {
    /// The key that both sides have to know. It must be given if and only if the listener has one. By default there is none.
    pub fn authkey(mut self, key: &AuthKey) -> Self {
        self.key = Some(key.clone());
        self
    }

    /// The digests by which the listener may prove that it knows the key, and be answered. By default all that there are.
    pub fn digests(mut self, digests: Digests) -> Self {
        self.digests = digests;
        self
    }

    /// How long connecting and the handshake may take together. By default as long as they do: a listener of Python's serves one
    /// client after the other, and one that is silent holds up all others.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// How much the other side may ask for.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Connects.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) when the address is none; [`TimedOut`](ErrorKind::TimedOut) when the time is up;
    /// [`Authentication`](ErrorKind::Authentication) when the listener does not know the key, or refuses this one, or asks for a digest that is not
    /// allowed, or goes away in the middle of the handshake; [`Os`](ErrorKind::Os) when nobody listens there, or this process may
    /// not, or whatever the network says.
    pub fn connect(self) -> Result<Connection> {
        let deadline = self.timeout.map_or(Deadline::NEVER, Deadline::after);
        let wire = connect(&self.address?, deadline)?;
        if let Some(key) = &self.key {
            greet(&wire, Handshake::new(Role::Client, key, self.digests), deadline)?;
        }
        Ok(Connection::new(wire, self.limits))
    }
}

fn connect(address: &Address, deadline: Deadline) -> Result<Wire> {
    let mut failure = None;
    for name in &address::names(address)? {
        match net::connect(name, deadline) {
            Ok(socket) => return Ok(Wire::new(socket)),
            Err(error) => failure = Some(error.into()),
        }
    }
    let nowhere = || Error::new(ErrorKind::InvalidInput, format!("`{address}` is nowhere"));
    Err(failure.unwrap_or_else(nowhere))
}

/// Goes through the handshake.
fn greet(wire: &Wire, mut handshake: Handshake, deadline: Deadline) -> Result<()> {
    loop {
        let frame = match wire.recv(LONGEST as u64, deadline) {
            Ok(Next::Message(frame)) => frame,
            Ok(Next::Nothing) => return Err(late()),
            Ok(Next::End) => return Err(refused("it has gone away")),
            Err(error) => return Err(error.with_kind(ErrorKind::Authentication)),
        };
        let step = handshake.take(&frame)?;
        if let Some(reply) = step.reply
            && wire.send(&reply, deadline)? != Sent::Yes
        {
            return Err(late());
        }
        match step.then {
            Then::GoOn => {}
            Then::Passed => return Ok(()),
            Then::Failed(why) => return Err(refused(why)),
        }
    }
}

fn late() -> Error {
    Error::new(ErrorKind::TimedOut, "the listener has not finished the handshake in time")
}

fn refused(why: &str) -> Error {
    Error::new(ErrorKind::Authentication, format!("the handshake with the listener failed: {why}"))
}
