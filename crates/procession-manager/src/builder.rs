//! How a manager's server shall be.

use std::marker::PhantomData;
use std::time::Duration;

use procession_connection::{Address, Family, Listener, Receiver, Sender, ToAddress, pipe};
use procession_core::authkey::AuthKey;
use procession_core::{Error, ErrorKind, Result};
use procession_process::{Context, JoinError, Process, Target};
use procession_sys::signal;
use serde::{Deserialize, Serialize};

use crate::Manager;
use crate::client::{CONNECT, ServerProcess, Session, know_key};
use crate::custom::{Shared, Table, Types};
use crate::server::{Limits, Server};

/// How a manager's server shall be. See [`Manager::builder`].
///
/// # Examples
///
/// ```
/// # use procession_manager as procession;
/// # fn main() -> procession_core::Result<()> {
/// # procession_process::init();
/// use procession::{DictProxy, Manager};
///
/// fn prepare(manager: Manager) -> procession_core::Result<()> {
///     manager.publish("ages", &manager.dict_of([("ada".to_owned(), 36)])?)
/// }
///
/// let manager = Manager::builder().max_objects(1000).start_with(prepare)?;
/// let ages: DictProxy<String, i32> = manager.find("ages")?;
/// assert_eq!(ages.get("ada")?, Some(36));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "there is no server before `start` or `server` is called"]
pub struct Builder<T = ()> {
    address: Option<Result<Address>>,
    family: Option<Family>,
    key: Option<AuthKey>,
    context: Option<Context>,
    limits: Limits,
    grace: Duration,
    types: PhantomData<fn() -> T>,
}

/// What the server's process is told.
#[derive(Serialize, Deserialize)]
struct Setup {
    address: Option<Address>,
    family: Option<Family>,
    key: Option<AuthKey>,
    limits: Limits,
    /// The process that starts it: a thread that stands for a process is that one.
    starter: u32,
}

/// What it says when it is ready: where it is.
type Ready = Result<Address>;

impl Default for Builder {
    fn default() -> Self {
        Self {
            address: None,
            family: None,
            key: None,
            context: None,
            limits: Limits::default(),
            // As in Python.
            grace: Duration::from_secs(1),
            types: PhantomData,
        }
    }
}

impl<T: Types> Builder<T> {
    /// Lets the server have values of a type of your own, which has a [`#[shared]`](macro@crate::shared) block.
    ///
    /// # Source
    ///
    /// CPython `BaseManager.register()`.
    pub fn register<New: Shared>(self) -> Builder<(New, T)> {
        let Self { address, family, key, context, limits, grace, types: _ } = self;
        Builder { address, family, key, context, limits, grace, types: PhantomData }
    }

    /// Where the server shall be: a path, or a host and a port; port zero has the system choose one. By default at a private path.
    pub fn address(mut self, address: impl ToAddress) -> Self {
        self.address = Some(address.to_address());
        self
    }

    /// What kind of address, when none is said.
    pub fn family(mut self, family: Family) -> Self {
        self.family = Some(family);
        self
    }

    /// The key that clients have to know. By default that of this process, which its children have.
    pub fn authkey(mut self, key: &AuthKey) -> Self {
        self.key = Some(key.clone());
        self
    }

    /// How the server's process is started. By default as any process.
    pub fn context(mut self, context: Context) -> Self {
        self.context = Some(context);
        self
    }

    /// How many clients there may be at once; one more is refused. By default 2000. Each costs a thread of the server, and five descriptors, or
    /// one if it comes by TCP.
    pub fn max_clients(mut self, clients: usize) -> Self {
        self.limits.connections = clients;
        self
    }

    /// How many objects there may be. By default ten million.
    pub fn max_objects(mut self, objects: usize) -> Self {
        self.limits.objects = objects;
        self
    }

    /// How many bytes all values may have together, with 64 for each beside its own. By default 64 GiB.
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.limits.bytes = bytes;
        self
    }

    /// Has clients of this machine talk through sockets as well: slower, for a server that is to have many clients and few descriptors.
    pub fn sockets_only(mut self) -> Self {
        self.limits.memory = false;
        self
    }

    /// How long an object is kept for the sake of a message, with a proxy of it, that was not received when its sender ended. By default 60
    /// seconds. As long as the sender lives, so long is the object kept anyhow.
    pub fn lease_timeout(mut self, timeout: Duration) -> Self {
        self.limits.lease = timeout;
        self
    }

    /// How long the server has to end when the last thing of it here, manager or proxy, is dropped, before it is ended by force. By default one second.
    pub fn shutdown_timeout(mut self, timeout: Duration) -> Self {
        self.grace = timeout;
        self
    }

    /// Starts the server in a process of its own, which ends with this one, or when this one has nothing of it any more.
    ///
    /// # Errors
    ///
    /// As [`Process::spawn`]; what the system says of the address, `EADDRINUSE` say.
    pub fn start(self) -> Result<Manager> {
        self.start_with(|_manager: Manager| Ok(()))
    }

    /// As [`start`](Self::start), and `initializer` runs in the server's process before anybody is served: to make objects and
    /// [publish](Manager::publish) them.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start); the error of `initializer`; [`Died`](ErrorKind::Died) when it panics, or ends the process.
    pub fn start_with<F>(self, initializer: F) -> Result<Manager>
    where
        F: Target<(Manager,), Output = Result<()>>,
    {
        let key = self.key.clone();
        let setup = Setup {
            address: self.address.transpose()?,
            family: self.family,
            key: self.key,
            limits: self.limits,
            starter: std::process::id(),
        };
        let (tx, rx) = pipe::<Ready>()?;
        let builder = self.context.map_or_else(Process::builder, Context::process);
        let builder = builder.daemon(true);
        let process = builder.spawn(
            move |setup: Setup, ready: Sender<Ready>| serve::<F, T>(setup, ready, initializer),
            (setup, tx),
        )?;
        let address = ready(&rx, &process)?;
        let session = Session::connect(&address, key.as_ref(), CONNECT)?.join()?;
        if let Some(key) = &key {
            know_key(&address, key)?;
        }
        session.keep(ServerProcess { process, grace: self.grace });
        Ok(Manager::of_session(session))
    }

    /// Makes the server in this process. It serves nobody before it is [told to](Server::serve_forever).
    ///
    /// # Errors
    ///
    /// What the system says of the address, `EADDRINUSE` say.
    #[doc(alias = "get_server")]
    pub fn server(self) -> Result<Server> {
        let (address, family) = (self.address.transpose()?, self.family);
        let starter = std::process::id();
        Setup { address, family, key: self.key, limits: self.limits, starter }
            .listen(Table::of::<T>())
    }
}

impl Setup {
    fn listen(self, table: Table) -> Result<Server> {
        let mut listener = Listener::builder();
        if let Some(address) = &self.address {
            listener = listener.address(address);
        }
        if let Some(family) = self.family {
            listener = listener.family(family);
        }
        let key = match &self.key {
            Some(key) => key,
            None => AuthKey::current()?,
        };
        let server = Server::new(listener.authkey(key).bind()?, self.limits, table)?;
        if let Some(key) = &self.key {
            know_key(server.address(), key)?;
        }
        Ok(server)
    }
}

/// Where the server is, once it is ready.
fn ready(rx: &Receiver<Ready>, process: &Process<Result<()>>) -> Result<Address> {
    match rx.recv() {
        Ok(ready) => ready,
        Err(_closed) => {
            let why = match process.join() {
                Ok(Ok(())) => Error::new(ErrorKind::Died, "it ended"),
                Ok(Err(error)) => error,
                Err(error) => from_join(&error),
            };
            let text = "the process of a manager's server has ended before it was ready";
            Err(Error::new(ErrorKind::Died, text).caused_by(&why))
        }
    }
}

fn from_join(error: &JoinError) -> Error {
    Error::new(ErrorKind::Died, error.to_string())
}

/// The server's process.
fn serve<F, T>(setup: Setup, ready: Sender<Ready>, initializer: F) -> Result<()>
where
    F: Target<(Manager,), Output = Result<()>>,
    T: Types,
{
    if setup.starter != std::process::id() {
        // Ctrl-C is for those at the terminal; they say when the server is to end.
        signal::ignore(signal::INTERRUPT)?;
    }
    let prepared = setup.listen(Table::of::<T>()).and_then(|server| {
        initializer.call((server.manager()?,))?;
        Ok(server)
    });
    match prepared {
        Ok(server) => {
            ready.send(Ok(server.address().clone()))?;
            drop(ready);
            server.serve_forever()
        }
        Err(error) => ready.send(Err(error)),
    }
}
