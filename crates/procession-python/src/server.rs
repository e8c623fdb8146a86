//! A manager for Python's programs, in Rust: what stock `BaseManager` and `SyncManager` code connects to.
//!
//! ```text
//! Server ── one thread accepts, with all handshakes at once          (listener)
//!   └ session: a thread for each connection, as CPython has it       session.rs
//!       └ Core: the objects, by number, with their references        core.rs
//!           └ Managed: an object, whose methods a session calls      managed.rs, service.rs, types/
//! ```
//!
//! Lock order: the table of objects is never held while a method runs.

pub(crate) mod arguments;
mod core;
pub(crate) mod managed;
pub(crate) mod order;
pub(crate) mod service;
mod session;
pub(crate) mod types;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use procession_connection::{Address, ToAddress};
use procession_core::authkey::AuthKey;
use procession_core::{Deadline, ErrorKind, Result};
use procession_sys::prim::{Mutex, lock};

use crate::auth::Digests;
use crate::limits::Limits;
use crate::listener::{Listener, ListenerBuilder};
use crate::value::Exception;
use arguments::Arguments;
use core::{Core, Maker};
use managed::Managed;

/// How many connections there may be: each is a thread. A program of Python's has one for each of its threads that calls, and one for
/// a moment when it makes or drops a proxy.
const MAX_CONNECTIONS: usize = 1024;

/// A manager that programs of Python's connect to, with their own `multiprocessing.managers`.
///
/// It has what a `SyncManager` has (dict, list, set, Queue, JoinableQueue, Event, Lock, RLock, Semaphore, BoundedSemaphore, Condition,
/// Barrier, Value, Array, Namespace) and what you [register](ServerBuilder::register). Each connection is served by a thread, as in CPython.
///
/// # Drop, kill, fork
///
/// Dropping it ends it: connections are closed, and clients that wait get `EOFError`. So does the end of the process, and a kill.
/// When a client dies, what it waits for is not taken on its behalf; an `RLock` or a `Condition` that it has is released, other
/// than in CPython; its references stay, as in CPython. A forked child has no server.
///
/// # Source
///
/// CPython `multiprocessing.managers.Server`.
///
/// # Examples
///
/// ```
/// use procession_core::authkey::AuthKey;
/// use procession_python::{Manager, Server, Service};
/// use std::sync::Arc;
///
/// struct Maths;
///
/// let key = AuthKey::from(&b"abracadabra"[..]);
/// let server = Server::builder("127.0.0.1:0", &key)
///     .register("Maths", |_arguments| {
///         let maths = Service::new(Maths);
///         Ok(Arc::new(maths.method("add", |_: &Maths, (x, y): (i64, i64)| Ok(x + y))))
///     })
///     .start()?;
///
/// // In Python: MyManager.register('Maths'); m = MyManager(address, authkey=b'abracadabra'); m.connect(); m.Maths().add(2, 3)
/// let manager = Manager::connect(server.address(), &key)?;
/// assert_eq!(manager.create("Maths", ())?.call::<i64>("add", (2, 3))?, 5);
/// # Ok::<(), procession_core::Error>(())
/// ```
#[must_use = "nobody serves when it is dropped"]
pub struct Server {
    core: Arc<Core>,
    listener: Arc<Listener>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// How to serve. See [`Server::builder`].
#[must_use = "nothing happens before `start` is called"]
pub struct ServerBuilder {
    listener: ListenerBuilder,
    makers: HashMap<String, Maker>,
    max_connections: usize,
}

impl Server {
    /// Serves at `address` whoever knows the key, as you say.
    pub fn builder(address: impl ToAddress, key: &AuthKey) -> ServerBuilder {
        let listener = Listener::builder().address(address.to_address().unwrap_or_else(no_address));
        ServerBuilder {
            listener: listener.authkey(key),
            makers: types::makers(),
            max_connections: MAX_CONNECTIONS,
        }
    }

    /// Where it serves: with the port that the system has chosen, when it was to choose one.
    pub fn address(&self) -> &Address {
        self.listener.address()
    }

    /// How many objects it has.
    pub fn number_of_objects(&self) -> usize {
        self.core.number_of_objects()
    }

    /// How many connections were refused because there were as many as allowed.
    pub fn refused_connections(&self) -> u64 {
        self.core.refused_connections()
    }

    /// Waits until a client tells it to end, at most this long; tells whether one did.
    #[doc(alias = "serve_forever")]
    pub fn wait(&self, timeout: Duration) -> bool {
        self.core.wait_for_end(Deadline::after(timeout))
    }

    /// Ends it, as dropping does: waits for methods of your own that run at the moment; those that wait here are ended.
    pub fn shutdown(&self) {
        self.core.end();
        self.listener.close();
        if let Some(thread) = lock(&self.thread).take() {
            // It has no result; had it panicked, nobody would be served any more either way.
            drop(thread.join());
        }
        self.core.hang_up();
    }
}

/// What cannot be an address is told when the server starts: this never can.
fn no_address(_error: procession_core::Error) -> Address {
    Address::Path(std::path::PathBuf::new())
}

impl ServerBuilder {
    /// Registers a type: `make` makes an object of it, of the arguments that a client gives.
    pub fn register<M: Managed + 'static>(
        mut self,
        typeid: impl Into<String>,
        make: impl Fn(Arguments) -> Result<Arc<M>, Exception> + Send + Sync + 'static,
    ) -> Self {
        let make = move |arguments| make(arguments).map(|object| object as Arc<dyn Managed>);
        self.makers.insert(typeid.into(), Arc::new(make));
        self
    }

    /// Registers one object under a name: every client that asks for it gets the same.
    pub fn share<M: Managed + 'static>(
        mut self,
        typeid: impl Into<String>,
        object: Arc<M>,
    ) -> Self {
        let object: Arc<dyn Managed> = object;
        self.makers.insert(typeid.into(), Arc::new(move |_| Ok(Arc::clone(&object))));
        self
    }

    /// Makes one object of a registered type when it is asked for the first time, and gives every client the same: the queue that
    /// programs exchange work by, as in Python's `register('get_queue', callable=lambda: queue)`. The arguments of later clients
    /// are not looked at.
    pub fn share_one(mut self, typeid: &str) -> Self {
        if let Some(make) = self.makers.remove(typeid) {
            let one: Mutex<Option<Arc<dyn Managed>>> = Mutex::new(None);
            let make: Maker = Arc::new(move |arguments| {
                let one = &mut *lock(&one);
                match one {
                    Some(object) => Ok(Arc::clone(object)),
                    None => Ok(Arc::clone(one.insert(make(arguments)?))),
                }
            });
            self.makers.insert(typeid.to_owned(), make);
        }
        self
    }

    /// As [`share_one`](Self::share_one), under a name of its own: `share_as("get_queue", "Queue")`.
    pub fn share_as(mut self, name: &str, typeid: &str) -> Self {
        if let Some(make) = self.makers.get(typeid).cloned() {
            self.makers.insert(name.to_owned(), make);
        }
        self.share_one(name)
    }

    /// The digests by which clients may prove that they know the key. By default all that there are.
    pub fn digests(mut self, digests: Digests) -> Self {
        self.listener = self.listener.digests(digests);
        self
    }

    /// How long a client may take for its handshake. By default ten seconds.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.listener = self.listener.handshake_timeout(timeout);
        self
    }

    /// How much a client may ask for.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.listener = self.listener.limits(limits);
        self
    }

    /// How many connections there may be at once; more are closed. By default 1024. Each is a thread.
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.max_connections = connections;
        self
    }

    /// Starts to serve, by threads of this process.
    ///
    /// # Errors
    ///
    /// As [`ListenerBuilder::bind`]; [`Os`](ErrorKind::Os) when there is no room for a thread.
    pub fn start(self) -> Result<Server> {
        let listener = Arc::new(self.listener.bind()?);
        let address = listener.address().clone();
        let core = Arc::new(Core::new(self.makers, address, self.max_connections));
        let thread = {
            let (core, listener) = (Arc::clone(&core), Arc::clone(&listener));
            let builder = std::thread::Builder::new().name("procession-python".into());
            builder.spawn(move || accept(&core, &listener))?
        };
        Ok(Server { core, listener, thread: Mutex::new(Some(thread)) })
    }
}

/// Accepts until the listener is closed.
fn accept(core: &Arc<Core>, listener: &Listener) {
    loop {
        match listener.accept() {
            Ok(connection) => session::start(core, connection),
            Err(error) if error.kind() == ErrorKind::Closed => return,
            // Of one client: the next may do better. One that waits for a descriptor to be free goes on waiting.
            Err(error) if error.kind() == ErrorKind::Authentication => {}
            Err(_no_room) => core.wait_for_room(),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown();
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("address", self.address()).finish_non_exhaustive()
    }
}

impl fmt::Debug for ServerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerBuilder").finish_non_exhaustive()
    }
}
