//! The server's side of a manager.
//!
//! One thread accepts clients, each client has a thread that reads its requests, and one thread ends waits whose time is up. What they work on
//! is one [`State`] behind one mutex, which nobody keeps while it waits: a call that has to wait is noted there, and answered by
//! whoever does what it waits for.
//!
//! A thread answers its own client, and waits for it when it does not read: that is that client's time. Nobody waits for another client: what
//! that does not take at once is put aside, and a thread that lives as long as something is aside sends it.
//!
//! Lock order: the state, or the table of peers, or what is aside for one; never two of them.

mod barrier;
mod context;
mod event;
mod executor;
mod limits;
mod list;
mod lock;
mod map;
mod number;
mod peer;
mod queue;
mod semaphore;
mod session;
mod state;
#[cfg(test)]
mod tests;
mod thing;

use std::fmt;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use procession_connection::{Address, Connection, Listener};
use procession_core::{Error, ErrorKind, OsCode, Result};
use procession_sys::prim::Ordering::{AcqRel, Acquire, Relaxed};
use procession_sys::prim::{
    AtomicBool, AtomicU64, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, lock,
};
use procession_sys::random;

use context::Caller;
use executor::{Executor, Ran};
pub(crate) use limits::Limits;
use peer::Peer;
use state::{Outcome, State};

use crate::Manager;
use crate::client::Session;
use crate::custom::{Erased, Table};
use crate::numbered::Numbered;

/// How long a server without room for another descriptor waits before it looks again, unless a client goes.
const NO_ROOM: Duration = Duration::from_millis(100);

/// A server in this process, which serves nobody until it is told to.
///
/// # Drop, kill, fork
///
/// Dropping it ends it: clients find their connections closed. So does the end of the process.
///
/// # Source
///
/// CPython `BaseManager.get_server()`.
#[must_use = "it serves nobody until `serve_forever` is called"]
pub struct Server {
    listener: Arc<Listener>,
    shared: Arc<Shared>,
}

/// What the threads of a server have in common.
pub(crate) struct Shared {
    state: Mutex<State>,
    /// Rung when there is a timer that ends before those that there were, and at the end.
    sooner: Condvar,
    peers: Mutex<Numbered<Arc<Peer>>>,
    /// How many clients there are, those that have not said who they are included.
    clients: AtomicU64,
    /// Rung when a client goes.
    gone: Condvar,
    limits: Limits,
    /// What tells this server from others, also from one that is at its address later.
    id: u64,
    is_over: AtomicBool,
    listener: Arc<Listener>,
    executor: Executor,
    /// By which this server is a client of itself, once it is.
    session: OnceLock<Arc<Session>>,
}

impl Server {
    pub(crate) fn new(listener: Listener, limits: Limits, table: Table) -> Result<Self> {
        let has_types = !table.is_empty();
        let mut id = [0; 8];
        random::fill(&mut id)?;
        let listener = Arc::new(listener);
        let shared = Arc::new(Shared {
            state: Mutex::new(State::new(limits, table)),
            sooner: Condvar::new(),
            peers: Mutex::new(Numbered::default()),
            clients: AtomicU64::new(0),
            gone: Condvar::new(),
            limits,
            id: u64::from_le_bytes(id),
            is_over: AtomicBool::new(false),
            listener: Arc::clone(&listener),
            executor: Executor::default(),
            session: OnceLock::new(),
        });
        if has_types {
            shared.session()?;
        }
        let timer = Arc::clone(&shared);
        let _thread = start("manager-timer", move || timer.end_waits())?;
        Ok(Self { listener, shared })
    }

    /// Where it listens: with the port that the system has chosen, when it was to choose one.
    pub fn address(&self) -> &Address {
        self.listener.address()
    }

    /// A manager of this server's, in this process: to make objects and publish them before anybody is served.
    ///
    /// # Errors
    ///
    /// [`Os`](ErrorKind::Os) when the system has no room for a thread, or for descriptors.
    pub fn manager(&self) -> Result<Manager> {
        self.shared.connect().map(Manager::of_session)
    }

    /// Serves whoever comes, until a client has it [shut down](Manager::shutdown).
    ///
    /// A client that does not know the key is refused, and nobody else notices.
    ///
    /// # Errors
    ///
    /// [`Os`](ErrorKind::Os) when the system does not let it listen any more.
    ///
    /// # Source
    ///
    /// CPython `Server.serve_forever()`.
    pub fn serve_forever(self) -> Result<()> {
        loop {
            match self.listener.accept() {
                // Who finds no room sees the connection closed.
                Ok(client) => drop(self.shared.admit(client).inspect_err(|error| {
                    tracing::warn!(%error, "a manager cannot serve a client");
                })),
                Err(error) => match error.kind() {
                    ErrorKind::Closed => return Ok(()),
                    ErrorKind::Os if error.os_code() == Some(OsCode::TOO_MANY_OPEN) => {
                        self.shared.wait_for_room();
                    }
                    ErrorKind::Os if self.shared.is_over() => return Ok(()),
                    ErrorKind::Os => return Err(error),
                    _ => tracing::warn!(%error, "a manager has refused a client"),
                },
            }
        }
    }
}

impl Shared {
    /// Serves a client in a thread of its own.
    fn admit(self: &Arc<Self>, client: Connection) -> Result<()> {
        let shared = Arc::clone(self);
        self.clients.fetch_add(1, Relaxed);
        let started = start("manager-client", move || {
            session::serve(&shared, client);
            shared.clients.fetch_sub(1, Relaxed);
            shared.gone.notify_all();
        });
        if started.is_err() {
            self.clients.fetch_sub(1, Relaxed);
        }
        started.map(drop)
    }

    /// A session with this server, from within its process.
    fn connect(self: &Arc<Self>) -> Result<Arc<Session>> {
        let (ours, theirs) = Connection::pair()?;
        self.admit(theirs)?;
        Session::begin(ours, self.listener.address().clone())
    }

    /// The session by which this server is a client of itself.
    pub(crate) fn session(self: &Arc<Self>) -> Result<Arc<Session>> {
        if let Some(session) = self.session.get() {
            return Ok(Arc::clone(session));
        }
        let made = self.connect()?;
        // Another thread may have been faster.
        let session = self.session.get_or_init(|| made);
        lock(&self.state).set_own(session.number());
        Ok(Arc::clone(session))
    }

    /// Adds a value of a user's type, for a session.
    pub(crate) fn put(
        &self,
        value: Arc<dyn Erased>,
        fingerprint: u64,
        session: u64,
    ) -> Result<u64> {
        lock(&self.state).put(value, fingerprint, session)
    }

    fn executor(&self) -> &Executor {
        &self.executor
    }

    /// A method has run: its caller is told.
    fn finish(self: &Arc<Self>, caller: Caller, ran: Result<Ran>) {
        let told = match &ran {
            Ok(Ran::Told(told)) => told.mentions.clone(),
            _ => Vec::new(),
        };
        let outcome = lock(&self.state).finish(caller, ran);
        // Until here the server's own session had what is in the answer.
        drop(told);
        self.tell(outcome);
    }

    fn refuse(self: &Arc<Self>, caller: Caller, error: Error) {
        self.finish(caller, Err(error));
    }

    /// Whether there are more clients than there may be.
    fn is_full(&self) -> bool {
        self.clients.load(Relaxed) > self.limits.connections as u64
    }

    fn wait_for_room(&self) {
        let state = lock(&self.state);
        // Whichever comes first; either is a reason to look.
        drop(self.gone.wait_timeout(state, NO_ROOM));
    }

    fn is_over(&self) -> bool {
        // ORDERING: Acquire: pairs with the exchange in `shut_down`.
        self.is_over.load(Acquire)
    }

    /// Does what a frame of a session's asks for, and leaves its answer, if there is one already, in `out`.
    fn handle(self: &Arc<Self>, session: u64, frame: &[u8], out: &mut Vec<u8>) -> Handled {
        let outcome = lock(&self.state).handle(session, frame, out);
        let handled = if outcome.shut_down { Handled::Last } else { Handled::AndOn };
        self.tell(outcome);
        handled
    }

    fn begin_session(&self, name: String) -> u64 {
        lock(&self.state).begin_session(name)
    }

    fn end_session(self: &Arc<Self>, session: u64) {
        lock(&self.peers).remove(&session);
        let outcome = lock(&self.state).end_session(session);
        self.tell(outcome);
    }

    /// Sends what follows from what was done to those whom it concerns.
    fn tell(self: &Arc<Self>, outcome: Outcome) {
        if outcome.sooner {
            self.sooner.notify_all();
        }
        for job in outcome.jobs {
            self.executor.run(self, job);
        }
        if !outcome.dead.is_empty() {
            self.executor.bury(self, outcome.dead);
        }
        for (session, frame) in outcome.others {
            let peer = lock(&self.peers).get(&session).map(Arc::clone);
            if let Some(peer) = peer {
                peer.send(frame, self.limits.unread);
            }
        }
    }

    /// The timer's thread.
    fn end_waits(self: &Arc<Self>) {
        let mut state = lock(&self.state);
        while !self.is_over() {
            let (outcome, next) = state.expire(Instant::now());
            if outcome.has_more() {
                drop(state);
                self.tell(outcome);
                state = lock(&self.state);
                continue;
            }
            state = self.sleep_until(state, next);
        }
    }

    fn sleep_until<'a>(
        &self,
        state: MutexGuard<'a, State>,
        next: Option<Instant>,
    ) -> MutexGuard<'a, State> {
        match next {
            None => self.sooner.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(next) => {
                let left = next.saturating_duration_since(Instant::now());
                let woken = self.sooner.wait_timeout(state, left);
                woken.unwrap_or_else(PoisonError::into_inner).0
            }
        }
    }

    /// Ends the server: nobody is accepted any more, and every client finds its connection closed.
    fn shut_down(&self) {
        // ORDERING: AcqRel: pairs with the load in `is_over`.
        if self.is_over.swap(true, AcqRel) {
            return;
        }
        self.listener.close();
        let peers = std::mem::take(&mut *lock(&self.peers));
        for peer in peers.into_values() {
            peer.close();
        }
        // Behind the mutex, so that the timer's thread either sees it or sleeps.
        drop(lock(&self.state));
        self.sooner.notify_all();
    }
}

/// What becomes of a session after a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Handled {
    AndOn,
    /// The server ends.
    Last,
}

fn start(name: &str, run: impl FnOnce() + Send + 'static) -> Result<thread::JoinHandle<()>> {
    thread::Builder::new().name(name.into()).spawn(run).map_err(Error::from)
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.shut_down();
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("address", self.address()).finish_non_exhaustive()
    }
}
