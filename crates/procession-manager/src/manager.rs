//! A manager: who makes objects at a server.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use procession_connection::{Address, ToAddress};
use procession_core::authkey::AuthKey;
use procession_core::{Deadline, ErrorKind, Result};
use procession_process::Process;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::builder::Builder;
use crate::call::{Answer, Arguments, Call, tell};
use crate::client::{CONNECT, Session, know_key};
use crate::proxies::{
    ArrayProxy, BarrierProxy, BoundedSemaphoreProxy, ConditionProxy, DictProxy, EventProxy,
    JoinableQueueProxy, ListProxy, LockProxy, NamespaceProxy, Proxy, QueueProxy, RLockProxy,
    SemaphoreProxy, SetProxy, ValueProxy, fingerprint,
};
use crate::reference::{Core, SERVER};
use crate::wire::{kind, op};

/// Makes objects at a server, which is a process of its own, and which any number of processes work on, here or on other machines.
///
/// [`start`](Self::start) starts a server for this process and those to which it gives its objects; [`connect`](Self::connect) goes to one
/// that somebody else has started, or that [serves for itself](Builder::server). A manager is a value: it goes in arguments, results and
/// messages.
///
/// Processes of the server's machine speak with it through shared memory, others by TCP. By TCP both sides prove that they know the key,
/// but what they say is neither encrypted nor signed: across a network that others write to, use a tunnel, as SSH or TLS makes one.
///
/// # Drop, kill, fork
///
/// A server that was started here ends when this process has nothing of it any more, neither the manager nor a proxy; or with this process, in
/// whatever way that ends. What a client has of the server is gone when the client ends. When the server ends, every proxy answers with an error of the kind
/// `Closed`, and so does all that waits. A server ignores the terminal's Ctrl-C.
///
/// # Source
///
/// CPython `multiprocessing.Manager()`, `multiprocessing.managers.SyncManager`.
///
/// # Examples
///
/// ```
/// # use procession_manager as procession;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # procession_process::init();
/// # use procession_process::Process;
/// use procession::{DictProxy, Manager};
///
/// let manager = Manager::start()?;
/// let dict = manager.dict::<String, i32>()?;
/// let child = Process::spawn(
///     |dict: DictProxy<String, i32>| dict.insert("one", &1).map(drop),
///     (dict.clone(),),
/// )?;
/// child.join()??;
/// assert_eq!(dict.get("one")?, Some(1));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "the server ends when nobody here has anything of it"]
pub struct Manager {
    core: Core,
}

impl Manager {
    /// Starts a server in a process of its own.
    ///
    /// # Errors
    ///
    /// As [`Builder::start`].
    pub fn start() -> Result<Self> {
        Self::builder().start()
    }

    /// Says how the server shall be, or where it is.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Goes to the server at an address, which has that key.
    ///
    /// # Errors
    ///
    /// [`Os`](ErrorKind::Os) when nobody listens there; [`Authentication`](ErrorKind::Authentication) when the key is another one;
    /// [`BuildMismatch`](ErrorKind::BuildMismatch) when the server speaks another protocol; [`TooLarge`](ErrorKind::TooLarge) when
    /// it has as many clients as it may have; [`TimedOut`](ErrorKind::TimedOut) when it has not answered within 20 seconds.
    pub fn connect(address: impl ToAddress, key: &AuthKey) -> Result<Self> {
        Self::connect_timeout(address, key, CONNECT)
    }

    /// As [`connect`](Self::connect), within this time; and that long may the server take for each answer, beyond the time that a call gives
    /// it, before it is taken for gone. Otherwise that is 60 seconds, and at a server of this machine only for calls with a time limit.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    pub fn connect_timeout(
        address: impl ToAddress,
        key: &AuthKey,
        timeout: Duration,
    ) -> Result<Self> {
        let address = address.to_address()?;
        let session = Session::connect(&address, Some(key), timeout)?;
        know_key(&address, key)?;
        session.join().map(Self::of_session)
    }

    pub(crate) fn of_session(session: Arc<Session>) -> Self {
        Self { core: Core::adopt(session, SERVER, Self::type_fingerprint()) }
    }

    fn type_fingerprint() -> u64 {
        fingerprint(&["Manager"])
    }

    /// Where the server is.
    ///
    /// # Errors
    ///
    /// [`Closed`](ErrorKind::Closed) in a forked child, when the server is gone.
    pub fn address(&self) -> Result<Address> {
        Ok(self.core.reference()?.session.address().clone())
    }

    /// The server's process, if it was started here.
    pub fn process(&self) -> Option<&Process<Result<()>>> {
        let session = &self.core.reference().ok()?.session;
        session.server_process().map(|server| &server.process)
    }

    /// Ends the server: whoever waits at it, and whoever calls it, gets an error of the kind `Closed`. If the server was started here, this
    /// waits for its end, and after `timeout` ends it by force. A server that has ended already is fine.
    ///
    /// # Errors
    ///
    /// [`Os`](ErrorKind::Os) when the system does not tell whether it has ended.
    pub fn shutdown(&self, timeout: Duration) -> Result<()> {
        let asked = Call::new(&self.core, op::SHUT_DOWN, tell::nothing, |_none| {}).run();
        match asked {
            // It may go before it has said so.
            Err(error) if ![ErrorKind::Closed, ErrorKind::TimedOut].contains(&error.kind()) => {
                return Err(error);
            }
            _ => {}
        }
        match self.core.reference()?.session.server_process() {
            Some(server) => server.end(timeout),
            None => Ok(()),
        }
    }

    /// How many objects there are.
    ///
    /// # Errors
    ///
    /// As [`Call::run`].
    #[doc(alias = "_number_of_objects")]
    pub fn object_count(&self) -> Result<usize> {
        Call::new(&self.core, op::COUNT, tell::size, |_none| {}).run()
    }

    /// Who is there and what they have, for people to read.
    ///
    /// # Errors
    ///
    /// As [`Call::run`].
    pub fn debug_info(&self) -> Result<String> {
        let decode = |answer: &mut Answer<'_>| Ok(String::from_utf8_lossy(answer.reader.0).into());
        Call::new(&self.core, op::INFO, decode, |_none| {}).run()
    }

    /// Gives an object a name, by which any client [finds](Self::find) it. The name keeps it; an object that had the name loses it.
    ///
    /// # Errors
    ///
    /// As [`Call::run`].
    #[doc(alias = "register")]
    pub fn publish<P: Proxy>(&self, name: &str, object: &P) -> Result<()> {
        Call::new(object.__core(), op::PUBLISH, tell::nothing, |arguments| arguments.text(name))
            .run()
    }

    /// Takes a name away.
    ///
    /// # Errors
    ///
    /// As [`Call::run`].
    pub fn unpublish(&self, name: &str) -> Result<()> {
        Call::new(&self.core, op::PUBLISH, tell::nothing, |arguments| arguments.text(name)).run()
    }

    /// The object of that name.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) when there is none; [`Decode`](ErrorKind::Decode) when it is of another type; as
    /// [`Call::run`].
    pub fn find<P: Proxy>(&self, name: &str) -> Result<P> {
        self.make(op::FIND, |arguments| {
            arguments.text(name);
            arguments.number(P::__fingerprint());
        })
    }

    fn make<P: Proxy>(&self, operation: u8, arguments: impl FnOnce(&mut Arguments)) -> Result<P> {
        let session = Arc::clone(&self.core.reference()?.session);
        // A value of a user's type takes as long to be made as it takes.
        let call = Call::new(&self.core, operation, tell::number, arguments);
        let object = call.run_until(Deadline::NEVER)?;
        Ok(P::__of(Core::adopt(session, object, P::__fingerprint())))
    }

    /// Makes an object.
    pub(crate) fn create<P: Proxy>(
        &self,
        kind: u8,
        arguments: impl FnOnce(&mut Arguments),
    ) -> Result<P> {
        self.make(op::CREATE, |written| {
            written.byte(kind);
            written.number(P::__fingerprint());
            arguments(written);
        })
    }

    /// Makes an empty dictionary.
    ///
    /// # Errors
    ///
    /// As [`Call::run`]; [`TooLarge`](ErrorKind::TooLarge) when there are as many objects as there may be.
    pub fn dict<K, V>(&self) -> Result<DictProxy<K, V>> {
        self.create(kind::MAP, |arguments| arguments.count(0))
    }

    /// Makes a dictionary of these.
    ///
    /// # Errors
    ///
    /// As [`dict`](Self::dict).
    pub fn dict_of<K: Serialize, V: Serialize>(
        &self,
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Result<DictProxy<K, V>> {
        self.create(kind::MAP, |arguments| arguments.pairs(pairs))
    }

    /// Makes an empty list.
    ///
    /// # Errors
    ///
    /// As [`dict`](Self::dict).
    pub fn list<T>(&self) -> Result<ListProxy<T>> {
        self.create(kind::LIST, |arguments| arguments.count(0))
    }

    /// Makes a list of these.
    ///
    /// # Errors
    ///
    /// As [`dict`](Self::dict).
    pub fn list_of<T: Serialize>(
        &self,
        items: impl IntoIterator<Item = T>,
    ) -> Result<ListProxy<T>> {
        self.create(kind::LIST, |arguments| arguments.values(items))
    }

    /// Makes an empty set.
    ///
    /// # Errors
    ///
    /// As [`dict`](Self::dict).
    pub fn set<T>(&self) -> Result<SetProxy<T>> {
        self.create(kind::MAP, |arguments| arguments.count(0))
    }

    /// Makes a set of these.
    ///
    /// # Errors
    ///
    /// As [`dict`](Self::dict).
    pub fn set_of<T: Serialize>(&self, items: impl IntoIterator<Item = T>) -> Result<SetProxy<T>> {
        let pairs = items.into_iter().map(|item| (item, ()));
        self.create(kind::MAP, |arguments| arguments.pairs(pairs))
    }

    /// Makes a namespace without names.
    ///
    /// # Errors
    ///
    /// As [`dict`](Self::dict).
    #[doc(alias = "Namespace")]
    pub fn namespace(&self) -> Result<NamespaceProxy> {
        self.create(kind::MAP, |arguments| arguments.count(0))
    }

    /// Makes a single value.
    ///
    /// # Errors
    ///
    /// As [`dict`](Self::dict).
    #[doc(alias = "Value")]
    pub fn value<T: Serialize>(&self, value: T) -> Result<ValueProxy<T>> {
        self.create(kind::LIST, |arguments| arguments.values([value]))
    }

    /// Makes an array of these.
    ///
    /// # Errors
    ///
    /// As [`dict`](Self::dict).
    #[doc(alias = "Array")]
    pub fn array<T: Serialize>(&self, items: impl IntoIterator<Item = T>) -> Result<ArrayProxy<T>> {
        self.create(kind::LIST, |arguments| arguments.values(items))
    }

    /// Makes a queue that has room for any number of items.
    ///
    /// # Errors
    ///
    /// As [`dict`](Self::dict).
    #[doc(alias = "Queue")]
    pub fn queue<T>(&self) -> Result<QueueProxy<T>> {
        self.create(kind::QUEUE, |arguments| arguments.number(0))
    }

    /// Makes a queue for so many items; zero is any number.
    ///
    /// # Errors
    ///
    /// As [`dict`](Self::dict).
    pub fn bounded_queue<T>(&self, items: u64) -> Result<QueueProxy<T>> {
        self.create(kind::QUEUE, |arguments| arguments.number(items))
    }

    /// Makes a joinable queue for so many items; zero is any number.
    ///
    /// # Errors
    ///
    /// As [`dict`](Self::dict).
    #[doc(alias = "JoinableQueue")]
    pub fn joinable_queue<T>(&self, items: u64) -> Result<JoinableQueueProxy<T>> {
        self.create(kind::QUEUE, |arguments| arguments.number(items))
    }

    /// Makes a lock that nobody has.
    ///
    /// # Errors
    ///
    /// As [`dict`](Self::dict).
    #[doc(alias = "Lock")]
    pub fn lock(&self) -> Result<LockProxy> {
        self.create(kind::LOCK, |arguments| arguments.flag(false))
    }

    /// Makes a recursive lock that nobody has.
    ///
    /// # Errors
    ///
    /// As [`dict`](Self::dict).
    #[doc(alias = "RLock")]
    pub fn rlock(&self) -> Result<RLockProxy> {
        self.create(kind::LOCK, |arguments| arguments.flag(true))
    }

    /// Makes a condition, with a lock of its own.
    ///
    /// # Errors
    ///
    /// As [`dict`](Self::dict).
    #[doc(alias = "Condition")]
    pub fn condition(&self) -> Result<ConditionProxy> {
        self.create(kind::LOCK, |arguments| arguments.flag(false))
    }

    /// Makes a semaphore with so many permits.
    ///
    /// # Errors
    ///
    /// As [`dict`](Self::dict).
    #[doc(alias = "Semaphore")]
    pub fn semaphore(&self, permits: u32) -> Result<SemaphoreProxy> {
        self.create(kind::SEMAPHORE, |arguments| {
            arguments.word(permits);
            arguments.flag(false);
        })
    }

    /// Makes a semaphore with so many permits, and never more.
    ///
    /// # Errors
    ///
    /// As [`dict`](Self::dict).
    #[doc(alias = "BoundedSemaphore")]
    pub fn bounded_semaphore(&self, permits: u32) -> Result<BoundedSemaphoreProxy> {
        self.create(kind::SEMAPHORE, |arguments| {
            arguments.word(permits);
            arguments.flag(true);
        })
    }

    /// Makes an event that is not set.
    ///
    /// # Errors
    ///
    /// As [`dict`](Self::dict).
    #[doc(alias = "Event")]
    pub fn event(&self) -> Result<EventProxy> {
        self.create(kind::EVENT, |_none| {})
    }

    /// Makes a barrier for so many parties.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) for none; as [`dict`](Self::dict).
    #[doc(alias = "Barrier")]
    pub fn barrier(&self, parties: u32) -> Result<BarrierProxy> {
        self.create(kind::BARRIER, |arguments| arguments.word(parties))
    }
}

impl Serialize for Manager {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.core.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Manager {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let core = Core::deserialize(deserializer, Self::type_fingerprint())?;
        Ok(Self { core })
    }
}

impl fmt::Debug for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Manager({:?})", self.core)
    }
}
