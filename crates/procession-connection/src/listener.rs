//! Who listens, and lets in who knows the key.
//!
//! One poll loop serves the listening socket and all handshakes that are not finished; there are no threads. A handshake is a state
//! machine that takes what has come and never waits ([`stranger`]), so that nobody can hold up anybody.
//!
//! A forked child has a copy of the listener. The system's set of what is polled must not be shared between the two; so each process
//! has a [`Gate`] of its own, the child's being made when it accepts for the first time.

mod builder;
mod place;
mod stranger;

use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use procession_core::{Deadline, Error, ErrorKind, Result};
use procession_sys::doorbell::Doorbell;
use procession_sys::net::{self, Crowd};
use procession_sys::prim::Ordering::{AcqRel, Acquire, Relaxed, SeqCst};
use procession_sys::prim::{AtomicBool, AtomicU64, Mutex, OnceLock, fence, lock};
use procession_sys::turn::{Turn, TurnGuard};
use procession_sys::{poll, process};

use crate::address::{Address, ToAddress};
use crate::auth::MacKey;
use crate::auth::handshake::Handshake;
use crate::connection::Connection;
use crate::stream::Stream;
pub use builder::ListenerBuilder;
use place::Place;
use stranger::{Progress, Stranger};

/// The number of the bell among what is polled.
const BELL: u64 = 0;
/// The number of the listening socket.
const DOOR: u64 = 1;

/// Accepts connections at an address.
///
/// With a key, each client has to prove that it knows it, and the listener proves it to the client; without one, whoever can
/// connect is let in. Handshakes go on while somebody accepts, all at once: a client that is silent or slow holds up nobody, and is
/// dropped when its time is over. A connection that has been accepted has nothing to do with the listener any more.
///
/// Any number of threads may accept at once.
///
/// # Drop, kill, fork
///
/// Dropping it closes it: later clients are refused, those that have connected and were not accepted find their connection closed,
/// and its path is removed. The end of the process does the same. After a kill nobody listens either; the path stays, until
/// somebody listens there again. A forked child has a copy, with which it may accept as well; closing or dropping that changes
/// nothing for the parent. When the parent is killed, its path stays taken until that child ends. A process that forks while
/// another of its threads accepts gives the child a copy with which it can do nothing.
///
/// # Source
///
/// CPython `multiprocessing.connection.Listener`.
///
/// # Examples
///
/// ```
/// use procession_connection::{Client, Listener};
///
/// let listener = Listener::bind("127.0.0.1:0")?;
/// let client = Client::connect(listener.address())?;
/// let server = listener.accept()?;
/// client.send_bytes(b"hello")?;
/// assert_eq!(server.recv_bytes()?, b"hello");
/// # Ok::<(), procession_core::Error>(())
/// ```
#[must_use = "nobody listens any more when it is dropped"]
pub struct Listener {
    inner: Turn<Inner>,
    gate: Gate,
    address: Address,
    is_closed: AtomicBool,
    last_accepted: Mutex<Option<Address>>,
    /// How many strangers were dropped in silence.
    dropped: AtomicU64,
}

/// What who accepts works with.
struct Inner {
    /// Gone when the listener is closed.
    open: Option<Open>,
    door: Option<Door>,
    /// Who is in the handshake, in the order in which they came, which is the one in which their times are over.
    strangers: BTreeMap<u64, Stranger>,
    next: u64,
    /// Whose the strangers are.
    pid: u32,
    /// Since when nobody has accepted: that is not counted against the strangers.
    idle_since: Instant,
}

/// What is given up when a listener is closed.
struct Open {
    socket: OwnedFd,
    /// Behind the socket: nobody may take the place before.
    _place: Place,
}

/// How strangers become acquaintances.
#[derive(Debug)]
struct Door {
    key: MacKey,
    timeout: Duration,
    max_pending: usize,
}

/// What a process polls.
struct Gate {
    pid: u32,
    crowd: Crowd,
    /// Rung when the listener is closed.
    bell: Doorbell,
    /// The one of a forked child.
    next: OnceLock<Box<Self>>,
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

    /// Removes the private folders of this user's listeners that were killed, as making a [private](Self::new) one does: for who knows that one
    /// was. What cannot be removed stays for the next.
    pub fn sweep() {
        place::sweep_private();
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

    fn open(open: Open, address: Address, door: Option<Door>) -> Result<Self> {
        let gate = Gate::new(&open.socket)?;
        let inner = Inner {
            open: Some(open),
            door,
            strangers: BTreeMap::new(),
            next: DOOR + 1,
            pid: process::id(),
            idle_since: Instant::now(),
        };
        Ok(Self {
            inner: Turn::new(inner),
            gate,
            address,
            is_closed: AtomicBool::new(false),
            last_accepted: Mutex::new(None),
            dropped: AtomicU64::new(0),
        })
    }

    /// Accepts the next client, waiting for it.
    ///
    /// # Errors
    ///
    /// [`Authentication`](ErrorKind::Authentication) when one has come that does not know the key: call again for others;
    /// [`Closed`](ErrorKind::Closed) when the listener was closed, also while this waits; [`Os`](ErrorKind::Os), with
    /// [`TOO_MANY_OPEN`](procession_core::OsCode::TOO_MANY_OPEN) when this process may open no more descriptors: the client goes on
    /// waiting, and may be accepted later. As long as other clients are in their handshakes, the oldest of those is dropped instead.
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
        let accepted = self.accept_stream(deadline)?;
        let accepted = accepted.ok_or_else(|| {
            Error::new(ErrorKind::TimedOut, format!("nobody came to {} in time", self.address))
        });
        accepted.map(Connection::from_stream)
    }

    /// Accepts a client if one is there; with a key, one that has gone through its handshake. Goes on with the others' handshakes.
    ///
    /// # Errors
    ///
    /// As [`accept`](Self::accept).
    pub fn try_accept(&self) -> Result<Option<Connection>> {
        let accepted = self.accept_stream(Deadline::PAST)?;
        Ok(accepted.map(Connection::from_stream))
    }

    /// The clients that come, until the listener is closed. One that does not know the key is an error, and does not end it.
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming { listener: self }
    }

    /// Where it listens: with the port that the system has chosen, when it was to choose one.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// From where the last client that was accepted has connected; `None` before, and for a local client, which has no address.
    pub fn last_accepted(&self) -> Option<Address> {
        lock(&self.last_accepted).clone()
    }

    /// How many clients were dropped because they had not finished their handshake when their time was over, or when more were in
    /// it than allowed.
    pub fn dropped_clients(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    /// Closes it, as dropping does, for all threads that use it. Calling it again does nothing.
    pub fn close(&self) {
        // ORDERING: AcqRel: pairs with the load in `check_open`.
        if self.is_closed.swap(true, AcqRel) {
            return;
        }
        // ORDERING: SeqCst: pairs with the fence in `accept_stream`. Either this sees the gate of a forked child, or who has just made
        // it sees that it is closed.
        fence(SeqCst);
        let inner = match self.gate.of_this_process() {
            Some(gate) => {
                // Who accepts at the moment leaves.
                drop(gate.bell.ring());
                self.inner.take(Deadline::NEVER)
            }
            // A forked child that has not accepted. When a thread of its parent's was at it, nobody will ever leave.
            None => self.inner.try_take(),
        };
        if let Some(mut inner) = inner {
            inner.strangers.clear();
            inner.open = None;
        }
    }

    /// Accepts the next client; `None` when the deadline has passed.
    fn accept_stream(&self, deadline: Deadline) -> Result<Option<Stream>> {
        self.check_open()?;
        let Some(mut inner) = self.inner.take(deadline) else { return Ok(None) };
        let gate = self.gate_of(&mut inner)?;
        // ORDERING: SeqCst: pairs with the fence in `close`, after which that looks for the gate.
        fence(SeqCst);
        self.check_open()?;
        inner.resume();
        let accepted = loop {
            // Even when it has passed already, there is one look at everything.
            let is_late = deadline.has_passed();
            match self.look(&mut inner, gate, deadline) {
                Ok(None) if !is_late => {}
                other => break other,
            }
        };
        inner.idle_since = Instant::now();
        let Some((socket, peer)) = accepted? else { return Ok(None) };
        let stream = Stream::new(socket)?;
        *lock(&self.last_accepted) = peer;
        Ok(Some(stream))
    }

    /// Waits until somebody does something, and answers; returns who is let in.
    fn look(
        &self,
        inner: &mut Inner,
        gate: &Gate,
        deadline: Deadline,
    ) -> Result<Option<(OwnedFd, Option<Address>)>> {
        let soonest = inner.strangers.first_key_value().map(|(_, first)| first.deadline());
        let ready = gate.crowd.wait(soonest.map_or(deadline, |soonest| deadline.min(soonest)))?;
        self.check_open()?;
        for number in ready.iter().filter(|number| ![BELL, DOOR].contains(number)) {
            let accepted = self.go_on(inner, gate, *number)?;
            if accepted.is_some() {
                return Ok(accepted);
            }
        }
        while let Some(first) = inner.strangers.first_entry()
            && first.get().deadline().has_passed()
        {
            self.drop_stranger(gate, &first.remove());
        }
        // At last, because it may be refused as long as the others are there.
        match &inner.door {
            _ if !ready.contains(&DOOR) => Ok(None),
            Some(_) => self.let_in(inner, gate).map(|()| None),
            None => {
                let came = net::accept(inner.socket()?)?;
                Ok(came.map(|(socket, name)| (socket, Address::from_name(name))))
            }
        }
    }

    /// Takes everybody in who waits at the door, to go through the handshake.
    fn let_in(&self, inner: &mut Inner, gate: &Gate) -> Result<()> {
        // At most as many as there may be, so that the others get on as well.
        let most = inner.door.as_ref().map_or(0, |door| door.max_pending);
        for _ in 0..most {
            let (socket, name) = match net::accept(inner.socket()?) {
                Ok(None) => break,
                Ok(Some(came)) => came,
                // The system says so also when nobody is there.
                Err(_no_descriptor) if !is_readable(inner.socket()?)? => break,
                // The strangers have some.
                Err(error) => match inner.strangers.pop_first() {
                    Some((_, oldest)) => {
                        self.drop_stranger(gate, &oldest);
                        continue;
                    }
                    None => return Err(error.into()),
                },
            };
            let Some(door) = &inner.door else { break };
            let until = Instant::now().checked_add(door.timeout);
            // A time without end is a long one.
            let until = until.unwrap_or_else(|| Instant::now() + Duration::from_secs(1 << 30));
            let handshake = Handshake::of_listener(&door.key);
            let peer = Address::from_name(name);
            let Some(stranger) = Stranger::meet(socket, peer, handshake, until)? else { continue };
            if inner.strangers.len() >= most
                && let Some((_, oldest)) = inner.strangers.pop_first()
            {
                self.drop_stranger(gate, &oldest);
            }
            gate.crowd.add(stranger.socket(), inner.next)?;
            inner.strangers.insert(inner.next, stranger);
            inner.next += 1;
        }
        Ok(())
    }

    /// Goes on with a handshake; returns who has passed it.
    fn go_on(
        &self,
        inner: &mut Inner,
        gate: &Gate,
        number: u64,
    ) -> Result<Option<(OwnedFd, Option<Address>)>> {
        let Some(stranger) = inner.strangers.get_mut(&number) else { return Ok(None) };
        let progress = stranger.go_on();
        if matches!(progress, Ok(Progress::Waits)) {
            return Ok(None);
        }
        let Some(stranger) = inner.strangers.remove(&number) else { return Ok(None) };
        // It is a member since it came.
        drop(gate.crowd.remove(stranger.socket()));
        match progress? {
            Progress::Failed(why) => {
                let from = stranger.peer().map(|peer| format!(" at {peer}")).unwrap_or_default();
                let text = format!("a client{from} was refused: {why}");
                Err(Error::new(ErrorKind::Authentication, text))
            }
            _ => Ok(Some(stranger.into_parts())),
        }
    }

    fn drop_stranger(&self, gate: &Gate, stranger: &Stranger) {
        // As in `go_on`.
        drop(gate.crowd.remove(stranger.socket()));
        self.dropped.fetch_add(1, Relaxed);
    }

    /// What this process polls. In a forked child the strangers are the parent's: their copies are given up.
    fn gate_of(&self, inner: &mut TurnGuard<'_, Inner>) -> Result<&Gate> {
        let me = process::id();
        if inner.pid != me {
            inner.strangers.clear();
            inner.pid = me;
        }
        let mut gate = &self.gate;
        while gate.pid != me {
            gate = match gate.next.get() {
                Some(next) => next,
                None => {
                    let made = Box::new(Gate::new(inner.socket()?)?);
                    gate.next.get_or_init(|| made)
                }
            };
        }
        Ok(gate)
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
        self.strangers.values_mut().for_each(|stranger| stranger.wait_longer(pause));
    }
}

impl Gate {
    fn new(socket: &OwnedFd) -> Result<Self> {
        let (crowd, bell) = (Crowd::new()?, Doorbell::new()?);
        crowd.add(&bell, BELL)?;
        crowd.add(socket, DOOR)?;
        Ok(Self { pid: process::id(), crowd, bell, next: OnceLock::new() })
    }

    fn of_this_process(&self) -> Option<&Self> {
        let me = process::id();
        let mut gate = self;
        while gate.pid != me {
            gate = gate.next.get()?;
        }
        Some(gate)
    }
}

fn is_readable(socket: &OwnedFd) -> Result<bool> {
    Ok(poll::wait_readable(socket, Deadline::PAST)?)
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the listener was closed")
}

impl AsFd for Listener {
    /// A descriptor to wait for together with others: readable while [`try_accept`](Self::try_accept) may find something, or get on
    /// with a handshake, or the listener is closed. In a forked child it becomes its own with the first call that accepts.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.gate.of_this_process().unwrap_or(&self.gate).crowd.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // In the order of their fields: the socket before the place.
        self.inner.get_mut().open = None;
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("address", &self.address).finish_non_exhaustive()
    }
}

/// The clients that come to a [`Listener`], until it is closed.
///
/// # Examples
///
/// ```
/// use procession_connection::{Client, Listener};
///
/// let listener = Listener::new()?;
/// let address = listener.address().clone();
/// let clients: Vec<_> = (0..2).map(|_| Client::connect(&address)).collect::<Result<_, _>>()?;
/// for (number, server) in (0..).zip(listener.incoming().take(2)) {
///     server?.send::<u32>(number)?;
/// }
/// assert_eq!(clients[1].recv::<u32>()?, 1);
/// # Ok::<(), procession_core::Error>(())
/// ```
#[must_use = "nobody is accepted unless it is asked for the next"]
#[derive(Debug)]
pub struct Incoming<'a> {
    listener: &'a Listener,
}

impl Iterator for Incoming<'_> {
    type Item = Result<Connection>;

    fn next(&mut self) -> Option<Result<Connection>> {
        let accepted = self.listener.accept();
        self.listener.check_open().ok().map(|()| accepted)
    }
}
