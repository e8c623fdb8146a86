//! Types of the user's at a server: how they are registered, made and called.
//!
//! A value of such a type lives in the server, behind a mutex of its own, and its methods run in threads that do nothing else
//! (`server/executor.rs`). What a method is called with, and what it returns, are bytes on the way; the server's own session, by which it is a client
//! of itself, holds the objects that they mention.

use std::any::type_name;
use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Weak};

use procession_core::{Error, ErrorKind, Result};
use procession_sys::prim::{Mutex, lock};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::client::Session;
use crate::proxies::fingerprint;
use crate::reference::{Mentions, decode_from, encode_for};
use crate::{Manager, Proxy, server};

thread_local! {
    /// The server that this thread runs methods for.
    static HERE: RefCell<Weak<server::Shared>> = const { RefCell::new(Weak::new()) };
}

/// A type whose values a manager's server has, and whose methods processes call. Made by `#[shared]`; see the macro.
pub trait Shared: Send + Sized + 'static {
    /// What stands for a value in other processes.
    type Proxy: Proxy;

    #[doc(hidden)]
    fn __make(function: &str, given: Given<'_>) -> Result<Self>;

    #[doc(hidden)]
    fn __call(&mut self, method: &str, given: Given<'_>) -> Result<Told>;
}

/// Types that a server knows: a list that the compiler keeps.
pub trait Types: 'static {
    #[doc(hidden)]
    fn __register(table: &mut Table);
}

impl Types for () {
    fn __register(_table: &mut Table) {}
}

impl<T: Shared, Others: Types> Types for (T, Others) {
    fn __register(table: &mut Table) {
        table.0.insert(type_name::<T>(), make::<T>);
        Others::__register(table);
    }
}

/// The types that a server knows, by their names.
#[derive(Debug, Default)]
pub struct Table(HashMap<&'static str, Maker>);

pub(crate) type Maker = fn(&str, Given<'_>) -> Result<Arc<dyn Erased>>;

impl Table {
    pub(crate) fn of<T: Types>() -> Self {
        let mut table = Self::default();
        T::__register(&mut table);
        table
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn maker(&self, name: &str) -> Result<Maker> {
        self.0.get(name).copied().ok_or_else(|| {
            let text = format!("the manager does not know the type `{name}`: register it");
            Error::new(ErrorKind::NotFound, text)
        })
    }
}

fn make<T: Shared>(function: &str, given: Given<'_>) -> Result<Arc<dyn Erased>> {
    T::__make(function, given).map(erased)
}

fn erased<T: Shared>(value: T) -> Arc<dyn Erased> {
    Arc::new(Slot(Mutex::new(value)))
}

/// A value of whatever type.
pub(crate) trait Erased: Send + Sync {
    fn call(&self, method: &str, given: Given<'_>) -> Result<Told>;
}

struct Slot<T>(Mutex<T>);

impl<T: Shared> Erased for Slot<T> {
    fn call(&self, method: &str, given: Given<'_>) -> Result<Told> {
        lock(&self.0).__call(method, given)
    }
}

impl fmt::Debug for dyn Erased {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }
}

/// What a method is called with.
#[derive(Debug)]
pub struct Given<'a> {
    pub(crate) session: &'a Arc<Session>,
    pub(crate) bytes: &'a [u8],
    pub(crate) mentions: Vec<u64>,
    /// Of the types of arguments and result, as the caller knows them.
    pub(crate) signature: u64,
}

/// Where a method's result goes.
#[derive(Debug)]
pub struct Reply<'a>(&'a Arc<Session>);

/// What a method has returned.
#[derive(Debug)]
pub struct Told {
    pub(crate) bytes: Vec<u8>,
    pub(crate) mentions: Mentions,
}

/// The number of the types that a method is called with and returns.
pub(crate) fn signature<A, R>() -> u64 {
    fingerprint(&[type_name::<A>(), type_name::<R>()])
}

#[expect(clippy::missing_errors_doc, reason = "called by what a macro writes")]
impl<'a> Given<'a> {
    /// The arguments, if they are of this type, and what returns the result.
    pub fn take<A: DeserializeOwned, R>(self) -> Result<(A, Reply<'a>)> {
        let Self { session, bytes, mentions, signature: called } = self;
        let is_known = called == signature::<A, R>();
        // Decoded or not: what was counted for them is let go of.
        let arguments = decode_from::<A>(session, bytes, mentions);
        if !is_known {
            let text = format!(
                "the method takes {} and returns {}, and was called for other types",
                type_name::<A>(),
                type_name::<R>(),
            );
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        Ok((arguments?, Reply(session)))
    }

    /// The same, of a function that makes a value.
    pub fn take_to_make<A: DeserializeOwned>(self) -> Result<A> {
        self.take::<A, Made>().map(|(arguments, _reply)| arguments)
    }

    /// What is said when there is no such method.
    pub fn unknown<T>(self, name: &str) -> Error {
        // What was counted for the arguments is let go of.
        drop(decode_from::<()>(self.session, &[], self.mentions));
        let text = format!("a {} at a manager has no method `{name}`", type_name::<T>());
        Error::new(ErrorKind::Unsupported, text)
    }
}

/// What a function that makes a value returns, as far as others see.
pub(crate) enum Made {}

#[expect(clippy::missing_errors_doc, reason = "called by what a macro writes")]
impl Reply<'_> {
    /// Tells a result.
    pub fn tell<R: Serialize>(self, result: &R) -> Result<Told> {
        let mut bytes = Vec::new();
        let mentions = encode_for(self.0.server(), result, &mut bytes)?;
        Ok(Told { bytes, mentions })
    }
}

/// What a value that could not be made says.
pub fn refused<E: fmt::Display>(error: E) -> Error {
    Error::new(ErrorKind::Other, error.to_string())
}

/// Runs `act` in a thread that runs methods for `server`.
pub(crate) fn within<T>(server: &Arc<server::Shared>, act: impl FnOnce() -> T) -> T {
    HERE.with_borrow_mut(|here| *here = Arc::downgrade(server));
    act()
}

/// The manager whose server runs the method that calls this: to make objects, and return their proxies.
///
/// # Errors
///
/// [`Unsupported`](ErrorKind::Unsupported) when no server does.
pub fn here() -> Result<Manager> {
    server_here()?.session().map(Manager::of_session)
}

/// Puts a value into the server that runs the method which calls this; what stands for it is returned to whomever.
///
/// # Errors
///
/// As [`here`].
pub fn share<T: Shared>(value: T) -> Result<T::Proxy> {
    let server = server_here()?;
    let session = server.session()?;
    let fingerprint = T::Proxy::__fingerprint();
    let object = server.put(erased(value), fingerprint, session.number())?;
    Ok(T::Proxy::__of(crate::reference::Core::adopt(session, object, fingerprint)))
}

fn server_here() -> Result<Arc<server::Shared>> {
    let server = HERE.with_borrow(Weak::upgrade);
    server.ok_or_else(|| {
        let text = "only a method that a manager's server runs is at a manager";
        Error::new(ErrorKind::Unsupported, text)
    })
}
