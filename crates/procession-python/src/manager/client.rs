//! A manager of Python's, as its client sees it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use procession_connection::{Address, RecvTimeoutError, ToAddress};
use procession_core::authkey::AuthKey;
use procession_core::{Deadline, Error, ErrorKind, Result};
use procession_sys::process;
use serde::Serialize;

use super::error::CallError;
use super::message::{self, Token, kind, names, unexpected};
use super::proxy::Proxy;
use crate::auth::Digests;
use crate::client::Client;
use crate::connection::Connection;
use crate::limits::Limits;
use crate::value::{Exception, Value};

/// How long a request to the manager itself may take, unless said otherwise: it does nothing that waits.
const PATIENCE: Duration = Duration::from_secs(30);

/// A manager of another program's: CPython's `BaseManager` or `SyncManager`, or a [`Server`](crate::Server) of ours.
///
/// Objects are made by [`create`](Self::create), or by the methods that are named as Python's, and used through [`Proxy`] and its typed forms. As
/// in Python, each thread has a connection of its own to the manager, made at its first call; there the thread is who has a lock. A clone
/// is the same manager.
///
/// # Drop, kill, fork
///
/// Dropping a proxy gives up its reference; the object goes when nobody has one. A client that is killed leaves its references for
/// ever: that is how CPython's managers count. When the manager dies, calls that wait fail with [`Closed`](ErrorKind::Closed). A forked
/// child makes connections of its own, and does not give up references that are its parent's.
///
/// # Source
///
/// CPython `multiprocessing.managers.BaseManager.connect`.
#[derive(Clone)]
pub struct Manager(Arc<Shared>);

/// How to connect to a manager. See [`Manager::builder`].
#[derive(Debug)]
#[must_use = "nothing happens before `connect` is called"]
pub struct ManagerBuilder {
    address: Result<Address>,
    key: AuthKey,
    digests: Digests,
    timeout: Duration,
    limits: Limits,
}

pub(crate) struct Shared {
    pub(crate) address: Address,
    key: AuthKey,
    digests: Digests,
    timeout: Duration,
    limits: Limits,
}

/// What a method has returned.
pub(crate) enum Reply {
    Value(Value),
    Proxy(Proxy),
}

/// A thread's connection to a manager.
struct Line {
    manager: Weak<Shared>,
    /// Whose it is: a forked child must not use that of its parent.
    pid: u32,
    connection: Connection,
}

thread_local! {
    /// By the address of what is shared, which is checked.
    static LINES: RefCell<HashMap<usize, Line>> = RefCell::new(HashMap::new());
}

impl Manager {
    /// Connects to the manager at `address`, whose key this is.
    ///
    /// # Errors
    ///
    /// As [`ManagerBuilder::connect`].
    pub fn connect(address: impl ToAddress, key: &AuthKey) -> Result<Self> {
        Self::builder(address, key).connect()
    }

    /// Connects as you say.
    pub fn builder(address: impl ToAddress, key: &AuthKey) -> ManagerBuilder {
        ManagerBuilder {
            address: address.to_address(),
            key: key.clone(),
            digests: Digests::default(),
            timeout: PATIENCE,
            limits: Limits::default(),
        }
    }

    /// Has the manager make an object of a type that is registered there, and returns a proxy of it. `args` is a tuple.
    ///
    /// # Errors
    ///
    /// [`CallError::Refused`] when there is no such type, or making it fails; [`CallError::Failed`] when the manager is not there.
    pub fn create<A: Serialize>(&self, typeid: &str, args: A) -> Result<Proxy, CallError> {
        self.create_with(typeid, args, &[])
    }

    /// As [`create`](Self::create), with arguments by name.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create).
    pub fn create_with<A: Serialize>(
        &self,
        typeid: &str,
        args: A,
        kwargs: &[(&str, Value)],
    ) -> Result<Proxy, CallError> {
        let mut all = vec![Value::from(typeid)];
        match crate::ser::to_value(&args)? {
            Value::Tuple(args) | Value::List(args) => all.extend(args),
            Value::None => {}
            other => all.push(other),
        }
        match self.ask("create", &all, kwargs)? {
            Value::Tuple(parts) => match <[Value; 2]>::try_from(parts) {
                Ok([Value::Str(ident), exposed]) => {
                    let token = Token { typeid: typeid.to_owned(), ident };
                    Ok(Proxy::adopt(self.clone(), token, names(exposed)?))
                }
                other => Err(unexpected(&Value::Str(format!("{other:?}"))).into()),
            },
            other => Err(unexpected(&other).into()),
        }
    }

    /// The proxy that has come as a part of a value, if it is of this manager: the reference to it is one's own.
    ///
    /// # Errors
    ///
    /// [`CallError::Failed`] with [`InvalidInput`](ErrorKind::InvalidInput) when the value is no proxy; [`CallError::Refused`] when the object is
    /// gone.
    pub fn proxy_of(&self, value: &Value) -> Result<Proxy, CallError> {
        let none = || Error::new(ErrorKind::InvalidInput, format!("{value} is no proxy"));
        let Value::Object(object) = value else { return Err(none().into()) };
        let token = match object.args() {
            [_, token, ..] if object.is_a(message::MODULE, "RebuildProxy") => token,
            _ => return Err(none().into()),
        };
        let (token, _) = Token::from_value(token).ok_or_else(none)?;
        self.ask("incref", &(&token.ident,), &[])?;
        let exposed = names(self.ask("get_methods", &(token.to_value(self.address()),), &[])?)?;
        Ok(Proxy::adopt(self.clone(), token, exposed))
    }

    /// How many objects the manager has.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create).
    pub fn number_of_objects(&self) -> Result<u64, CallError> {
        Ok(crate::de::from_value(self.ask("number_of_objects", &(), &[])?)?)
    }

    /// What the manager has, as text: a line for each object, and how often it is referred to.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create).
    pub fn debug_info(&self) -> Result<String, CallError> {
        Ok(crate::de::from_value(self.ask("debug_info", &(), &[])?)?)
    }

    /// Tells the manager to end. One that a program of Python's has started as a process ends; one in a program's own thread does as that
    /// program says.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create).
    pub fn shutdown(&self) -> Result<(), CallError> {
        self.ask("shutdown", &(), &[]).map(drop)
    }

    /// Where it is.
    pub fn address(&self) -> &Address {
        &self.0.address
    }

    /// Asks the manager itself, by a connection for just that.
    pub(crate) fn ask<A: Serialize + ?Sized>(
        &self,
        function: &str,
        args: &A,
        kwargs: &[(&str, Value)],
    ) -> Result<Value, CallError> {
        let request = message::request(None, function, args, kwargs)?;
        let connection = self.0.open()?;
        let deadline = Deadline::after(self.0.timeout);
        send(&connection, &request, deadline)?;
        match self.answer(&connection, None, deadline)? {
            Reply::Value(value) => Ok(value),
            Reply::Proxy(proxy) => Err(unexpected(&proxy.to_value()).into()),
        }
    }

    /// Calls a method of an object.
    pub(crate) fn call<A: Serialize + ?Sized>(
        &self,
        ident: &str,
        method: &str,
        args: &A,
        deadline: Deadline,
    ) -> Result<Reply, CallError> {
        let request = message::request(Some(ident), method, args, &[])?;
        self.with_line(|connection| {
            send(connection, &request, deadline)?;
            self.answer(connection, Some(()), deadline)
        })
    }

    /// Runs a request on this thread's connection. After a failure in the middle nobody knows what comes next there, so that it is closed.
    fn with_line<T>(
        &self,
        run: impl FnOnce(&Connection) -> Result<T, CallError>,
    ) -> Result<T, CallError> {
        let number = Arc::as_ptr(&self.0).addr();
        let known = LINES.with_borrow_mut(|lines| {
            let ours = |line: &Line| {
                line.pid == process::id() && line.manager.as_ptr() == Arc::as_ptr(&self.0)
            };
            lines.remove(&number).filter(ours)
        });
        let line = match known {
            Some(line) => line,
            None => {
                LINES.with_borrow_mut(|lines| {
                    lines.retain(|_, line| line.manager.strong_count() > 0);
                });
                let manager = Arc::downgrade(&self.0);
                Line { manager, pid: process::id(), connection: self.line()? }
            }
        };
        let done = run(&line.connection);
        if !matches!(done, Err(CallError::Failed(_))) {
            LINES.with_borrow_mut(|lines| lines.insert(number, line));
        }
        done
    }

    /// A connection for calls.
    fn line(&self) -> Result<Connection, CallError> {
        let connection = self.0.open()?;
        let deadline = Deadline::after(self.0.timeout);
        let name = std::thread::current().name().unwrap_or("a thread of Rust").to_owned();
        send(&connection, &message::request(None, "accept_connection", &(name,), &[])?, deadline)?;
        self.answer(&connection, None, deadline)?;
        Ok(connection)
    }

    /// Takes the answer to a request; `call` when it may be a proxy.
    fn answer(
        &self,
        connection: &Connection,
        call: Option<()>,
        deadline: Deadline,
    ) -> Result<Reply, CallError> {
        let pickle = connection.recv_bytes_deadline(deadline).map_err(|error| match error {
            RecvTimeoutError::Timeout => {
                Error::new(ErrorKind::TimedOut, "the manager has not answered in time")
            }
            RecvTimeoutError::Closed => {
                Error::new(ErrorKind::Closed, "the manager has gone away without an answer")
            }
            RecvTimeoutError::Failed(error) => error,
        })?;
        let Value::Tuple(parts) = Value::from_bytes_within(&pickle, connection.limits())? else {
            return Err(Error::new(ErrorKind::Decode, "the answer is no tuple").into());
        };
        let Ok([Value::Str(what), value]) = <[Value; 2]>::try_from(parts) else {
            return Err(Error::new(ErrorKind::Decode, "the answer is no pair").into());
        };
        match (&what[..], value) {
            (kind::RETURN, value) => Ok(Reply::Value(value)),
            (kind::ERROR, value) => match Exception::from_value(value) {
                Ok(exception) => Err(CallError::Raised(Box::new(exception))),
                Err(other) => Err(unexpected(&other).into()),
            },
            (kind::TRACEBACK | kind::UNSERIALIZABLE, Value::Str(traceback)) => {
                Err(CallError::Refused(traceback))
            }
            (kind::PROXY, Value::Tuple(parts)) if call.is_some() => self.made(parts),
            (_, other) => Err(unexpected(&Value::Tuple(vec![what.into(), other])).into()),
        }
    }

    /// The proxy of an object that the manager has made for us, with a reference that is ours.
    fn made(&self, parts: Vec<Value>) -> Result<Reply, CallError> {
        match <[Value; 2]>::try_from(parts) {
            Ok([exposed, token]) => match Token::from_value(&token) {
                Some((token, _)) => {
                    Ok(Reply::Proxy(Proxy::adopt(self.clone(), token, names(exposed)?)))
                }
                None => Err(unexpected(&token).into()),
            },
            Err(parts) => Err(unexpected(&Value::Tuple(parts)).into()),
        }
    }

    /// Gives up a reference.
    pub(crate) fn decref(&self, ident: &str) {
        // The manager may be gone, and the object with it; otherwise it keeps the object, which nobody can help.
        drop(self.ask("decref", &(ident,), &[]));
    }
}

impl Shared {
    fn open(&self) -> Result<Connection> {
        let builder = Client::builder(&self.address).authkey(&self.key).digests(self.digests);
        builder.timeout(self.timeout).limits(self.limits.clone()).connect()
    }
}

fn send(connection: &Connection, request: &[u8], deadline: Deadline) -> Result<()> {
    connection.send_bytes_deadline(request, deadline).map_err(Error::from)
}

impl ManagerBuilder {
    /// The digests by which the manager may prove that it knows the key, and be answered. By default all that there are.
    pub fn digests(mut self, digests: Digests) -> Self {
        self.digests = digests;
        self
    }

    /// How long connecting, and a request to the manager itself, may take. By default half a minute. Calls of methods take as long as
    /// they do.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How much the manager may ask for.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Connects, and finds out whether a manager is there.
    ///
    /// # Errors
    ///
    /// As [`ClientBuilder::connect`](crate::ClientBuilder::connect), and [`Other`](ErrorKind::Other) when something else than a manager answers.
    pub fn connect(self) -> Result<Manager> {
        let manager = Manager(Arc::new(Shared {
            address: self.address?,
            key: self.key,
            digests: self.digests,
            timeout: self.timeout,
            limits: self.limits,
        }));
        manager.ask("dummy", &(), &[])?;
        Ok(manager)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // This thread's connection is of no use any more; those of others go when they next make one, or end. Where this thread is
        // ending they are gone already.
        LINES
            .try_with(|lines| {
                if let Ok(mut lines) = lines.try_borrow_mut() {
                    lines.retain(|_, line| line.manager.strong_count() > 0);
                }
            })
            .ok();
    }
}

impl fmt::Debug for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manager").field("address", &self.0.address).finish_non_exhaustive()
    }
}
