//! Who listens for processes of Python's.
//!
//! One poll loop serves the socket and all handshakes that are not finished; a handshake takes what has come and never waits. So a
//! silent client holds up nobody, other than in CPython.

mod builder;
mod place;

use std::collections::VecDeque;
use std::fmt;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use procession_connection::Address;
use procession_connection::ToAddress;
use procession_core::authkey::AuthKey;
use procession_core::{Deadline, Error, ErrorKind, Result};
use procession_sys::doorbell::Doorbell;
use procession_sys::net;
use procession_sys::poll::{self, Watch};
use procession_sys::prim::Ordering::{AcqRel, Acquire, Relaxed};
use procession_sys::prim::{AtomicBool, AtomicU64};
use procession_sys::turn::Turn;

use crate::auth::Digests;
use crate::auth::handshake::{Handshake, LONGEST, Role, Then};
use crate::connection::Connection;
use crate::limits::Limits;
use crate::wire::{Next, Sent, Wire};
pub use builder::ListenerBuilder;
use place::Place;

/// Accepts connections of Python's `multiprocessing.connection.Client`, or of ours.
///
/// With a key, each client has to prove that it knows it, and the listener proves it to the client; without one, whoever can connect is
/// let in. Handshakes go on while somebody accepts, all at once: a client that is silent or slow holds up nobody, and is dropped when its
/// time is over. Any number of threads may accept at once.
///
/// # Drop, kill, fork
///
/// Dropping it closes it: later clients are refused, those that have connected and were not accepted find their connection closed, and its
/// path is removed. The end of the process does the same. After a kill the path stays, and has to be removed, as in CPython. It is
/// of no use in a forked child.
///
/// # Source
///
/// CPython `multiprocessing.connection.Listener`.
///
/// # Examples
///
/// ```
/// use procession_python::{Client, Listener};
///
/// let listener = Listener::new()?;
/// let client = Client::connect(listener.address())?;
/// let server = listener.accept()?;
/// client.send("hello")?;
/// assert_eq!(server.recv::<String>()?, "hello");
/// # Ok::<(), procession_core::Error>(())
/// ```
#[must_use = "nobody listens any more when it is dropped"]
pub struct Listener {
    inner: Turn<Inner>,
    bell: Doorbell,
    address: Address,
    is_closed: AtomicBool,
    /// How many strangers were dropped in silence.
    dropped: AtomicU64,
}

struct Inner {
    /// Gone when the listener is closed.
    open: Option<Open>,
    door: Door,
    /// Who is in the handshake, in the order in which they came.
    strangers: VecDeque<Stranger>,
    /// Since when nobody has accepted: that is not counted against the strangers.
    idle_since: Instant,
}

struct Open {
    socket: OwnedFd,
    /// Behind the socket.
    _place: Place,
}

/// How strangers become acquaintances.
#[derive(Debug)]
struct Door {
    key: Option<AuthKey>,
    digests: Digests,
    timeout: Duration,
    max_pending: usize,
    limits: Limits,
}

/// A client in its handshake.
struct Stranger {
    wire: Wire,
    handshake: Handshake,
    until: Instant,
}

enum Progress {
    Waits,
    Passed,
    Failed(String),
}

impl Listener {
    /// Listens at a private address: a path that nobody else knows, in a folder that nobody else can enter. Without a key.
    ///
    /// # Errors
    ///
    /// As [`ListenerBuilder::bind`].
    pub fn new() -> Result<Self> {
        Self::builder().bind()
    }

    /// Listens at `address`, without a key.
    ///
    /// # Errors
    ///
    /// As [`ListenerBuilder::bind`].
    pub fn bind(address: impl ToAddress) -> Result<Self> {
        Self::builder().address(address).bind()
    }

    /// Listens as you say.
    pub fn builder() -> ListenerBuilder {
        ListenerBuilder::new()
    }

    fn open(open: Open, address: Address, door: Door) -> Result<Self> {
        let (strangers, idle_since) = (VecDeque::new(), Instant::now());
        Ok(Self {
            inner: Turn::new(Inner { open: Some(open), door, strangers, idle_since }),
            bell: Doorbell::new()?,
            address,
            is_closed: AtomicBool::new(false),
            dropped: AtomicU64::new(0),
        })
    }

    /// Accepts the next client, waiting for it.
    ///
    /// # Errors
    ///
    /// [`Authentication`](ErrorKind::Authentication) when one has come that does not know the key: call again for others;
    /// [`Closed`](ErrorKind::Closed) when the listener was closed, also while this waits; [`Os`](ErrorKind::Os), for instance when this
    /// process may open no more descriptors: the client goes on waiting, and may be accepted later.
    pub fn accept(&self) -> Result<Connection> {
        self.accept_deadline(Deadline::NEVER)
    }

    /// Accepts the next client, waiting for it at most this long.
    ///
    /// # Errors
    ///
    /// [`TimedOut`](ErrorKind::TimedOut) when the time is up; otherwise as [`accept`](Self::accept).
    pub fn accept_timeout(&self, timeout: Duration) -> Result<Connection> {
        self.accept_deadline(Deadline::after(timeout))
    }

    /// As [`accept_timeout`](Self::accept_timeout), until a moment.
    ///
    /// # Errors
    ///
    /// As [`accept_timeout`](Self::accept_timeout).
    pub fn accept_deadline(&self, deadline: Deadline) -> Result<Connection> {
        let late =
            || Error::new(ErrorKind::TimedOut, format!("nobody came to {} in time", self.address));
        self.check_open()?;
        let mut inner = self.inner.take(deadline).ok_or_else(late)?;
        self.check_open()?;
        inner.resume();
        let accepted = loop {
            // Even when it has passed already, there is one look at everything.
            let is_late = deadline.has_passed();
            match self.look(&mut inner, deadline) {
                Ok(Some(wire)) => break Ok(Connection::new(wire, inner.door.limits.clone())),
                Ok(None) if is_late => break Err(late()),
                Ok(None) => {}
                Err(error) => break Err(error),
            }
        };
        inner.idle_since = Instant::now();
        accepted
    }

    /// Where it listens: with the port that the system has chosen, when it was to choose one.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// How many clients were dropped because they had not finished their handshake when their time was over, or when more were in it
    /// than allowed.
    pub fn dropped_clients(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    /// Closes it, as dropping does, for all threads that use it. Calling it again does nothing.
    pub fn close(&self) {
        // ORDERING: AcqRel: pairs with the load in `check_open`.
        if self.is_closed.swap(true, AcqRel) {
            return;
        }
        // Who accepts at the moment leaves.
        drop(self.bell.ring());
        if let Some(mut inner) = self.inner.take(Deadline::NEVER) {
            inner.strangers.clear();
            inner.open = None;
        }
    }

    /// Waits until somebody does something, and answers; returns who is let in.
    fn look(&self, inner: &mut Inner, deadline: Deadline) -> Result<Option<Wire>> {
        let (is_at_door, ready) = self.wait(inner, deadline)?;
        self.check_open()?;
        // From behind, so that those before keep their places.
        for place in ready.into_iter().rev() {
            let Some(stranger) = inner.strangers.get_mut(place) else { continue };
            let progress = stranger.go_on()?;
            if matches!(progress, Progress::Waits) {
                continue;
            }
            let stranger = inner.strangers.remove(place);
            return match (progress, stranger) {
                (Progress::Failed(why), _) => {
                    let text = format!("a client was refused: {why}");
                    Err(Error::new(ErrorKind::Authentication, text))
                }
                (_, stranger) => Ok(stranger.map(|stranger| stranger.wire)),
            };
        }
        let now = Instant::now();
        while inner.strangers.pop_front_if(|first| first.until <= now).is_some() {
            self.dropped.fetch_add(1, Relaxed);
        }
        match is_at_door {
            true => self.let_in(inner),
            false => Ok(None),
        }
    }

    /// Waits; tells whether somebody is at the door, and which strangers have said something.
    fn wait(&self, inner: &Inner, deadline: Deadline) -> Result<(bool, Vec<usize>)> {
        let socket = inner.socket()?;
        let soonest = inner.strangers.front().map(|first| Deadline::at(first.until));
        let mut watches = vec![Watch::readable(&self.bell), Watch::readable(socket)];
        watches.extend(inner.strangers.iter().map(|stranger| Watch::readable(&stranger.wire)));
        poll::wait(&mut watches, soonest.map_or(deadline, |soonest| deadline.min(soonest)))?;
        let ready = |(place, watch): (usize, &Watch<'_>)| watch.is_ready().then_some(place);
        let strangers = watches[2..].iter().enumerate().filter_map(ready).collect();
        Ok((watches[1].is_ready(), strangers))
    }

    /// Takes in who waits at the door: without a key, one, to be let in at once; with one, some, to go through the handshake.
    fn let_in(&self, inner: &mut Inner) -> Result<Option<Wire>> {
        // At most as many as there may be, so that the others get on as well.
        for _ in 0..inner.door.max_pending {
            let socket = match net::accept(inner.socket()?) {
                Ok(None) => break,
                Ok(Some((socket, _))) => socket,
                // The strangers have some of the descriptors that there are.
                Err(error) => match inner.strangers.pop_front() {
                    Some(_oldest) => {
                        self.dropped.fetch_add(1, Relaxed);
                        continue;
                    }
                    None => return Err(error.into()),
                },
            };
            let wire = Wire::new(socket);
            let Some(key) = &inner.door.key else { return Ok(Some(wire)) };
            let mut handshake = Handshake::new(Role::Listener, key, inner.door.digests);
            let challenge = handshake.begin()?.unwrap_or_default();
            let until = soon(Instant::now(), inner.door.timeout);
            // It may be gone already.
            if wire.send(&challenge, Deadline::PAST).is_ok_and(|sent| sent == Sent::Yes) {
                if inner.strangers.len() >= inner.door.max_pending {
                    inner.strangers.pop_front();
                    self.dropped.fetch_add(1, Relaxed);
                }
                inner.strangers.push_back(Stranger { wire, handshake, until });
            }
        }
        Ok(None)
    }

    fn check_open(&self) -> Result<()> {
        // ORDERING: Acquire: pairs with the exchange in `close`.
        match self.is_closed.load(Acquire) {
            false => Ok(()),
            true => Err(closed()),
        }
    }
}

impl Inner {
    fn socket(&self) -> Result<&OwnedFd> {
        self.open.as_ref().map(|open| &open.socket).ok_or_else(closed)
    }

    /// What has passed since the last time does not count.
    fn resume(&mut self) {
        let pause = self.idle_since.elapsed();
        for stranger in &mut self.strangers {
            stranger.until = soon(stranger.until, pause);
        }
    }
}

impl Stranger {
    /// Takes what has come, and answers.
    fn go_on(&mut self) -> Result<Progress> {
        loop {
            let frame = match self.wire.recv(LONGEST as u64, Deadline::PAST) {
                Ok(Next::Message(frame)) => frame,
                Ok(Next::Nothing) => return Ok(Progress::Waits),
                Ok(Next::End) => return Ok(Progress::Failed("it has gone away".to_owned())),
                Err(error) => return Ok(Progress::Failed(error.to_string())),
            };
            let step = self.handshake.take(&frame)?;
            if let Some(reply) = step.reply
                && !self.wire.send(&reply, Deadline::PAST).is_ok_and(|sent| sent == Sent::Yes)
            {
                return Ok(Progress::Failed("it has gone away, or does not read".to_owned()));
            }
            match step.then {
                Then::GoOn => {}
                Then::Passed => return Ok(Progress::Passed),
                Then::Failed(why) => return Ok(Progress::Failed(why.to_owned())),
            }
        }
    }
}

/// A time without end is a long one.
fn soon(from: Instant, time: Duration) -> Instant {
    from.checked_add(time).unwrap_or_else(|| from + Duration::from_secs(1 << 30))
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the listener was closed")
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("address", &self.address).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
