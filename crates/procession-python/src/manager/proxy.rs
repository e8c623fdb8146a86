//! [`Proxy`]: an object in a manager, of any type.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use procession_core::{Deadline, Error, ErrorKind, Result};
use procession_sys::process;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::client::{Manager, Reply};
use super::error::CallError;
use super::message::{self, Token};
use crate::de;
use crate::value::{Global, Object, Value};

/// An object in a manager.
///
/// A clone refers to the same object. When the last clone is dropped, the reference is given up.
#[derive(Clone)]
pub struct Proxy(Arc<Referent>);

struct Referent {
    manager: Manager,
    token: Token,
    exposed: Vec<String>,
    /// Whose the reference is.
    pid: u32,
}

impl Proxy {
    /// Takes over a reference that the manager counts already.
    pub(crate) fn adopt(manager: Manager, token: Token, mut exposed: Vec<String>) -> Self {
        exposed.sort();
        exposed.dedup();
        Self(Arc::new(Referent { manager, token, exposed, pid: process::id() }))
    }

    /// Calls a method. `args` is a tuple; `()` is none.
    ///
    /// # Errors
    ///
    /// [`CallError::Raised`] with what the method raised; [`CallError::Refused`] when there is no such method, or its value cannot be sent;
    /// [`CallError::Failed`] when the manager is gone, or the value is of another type.
    pub fn call<T: DeserializeOwned>(
        &self,
        method: &str,
        args: impl Serialize,
    ) -> Result<T, CallError> {
        self.call_deadline(method, args, Deadline::NEVER)
    }

    /// As [`call`](Self::call), waiting for the answer at most this long. The method goes on in the manager, and what comes of it is
    /// lost.
    ///
    /// # Errors
    ///
    /// [`CallError::Failed`] with [`TimedOut`](ErrorKind::TimedOut) when the time is up; otherwise as [`call`](Self::call).
    pub fn call_timeout<T: DeserializeOwned>(
        &self,
        method: &str,
        args: impl Serialize,
        timeout: Duration,
    ) -> Result<T, CallError> {
        self.call_deadline(method, args, Deadline::after(timeout))
    }

    fn call_deadline<T: DeserializeOwned>(
        &self,
        method: &str,
        args: impl Serialize,
        deadline: Deadline,
    ) -> Result<T, CallError> {
        match self.reply(method, args, deadline)? {
            Reply::Value(value) => Ok(de::from_value(value)?),
            Reply::Proxy(proxy) => {
                let text = format!("`{method}` returns a proxy, of {}", proxy.typeid());
                Err(Error::new(ErrorKind::Decode, text).into())
            }
        }
    }

    /// Calls a method; its value, whatever it is.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    pub fn call_value(&self, method: &str, args: impl Serialize) -> Result<Value, CallError> {
        match self.reply(method, args, Deadline::NEVER)? {
            Reply::Value(value) => Ok(value),
            Reply::Proxy(proxy) => Ok(proxy.to_value()),
        }
    }

    /// Calls a method that returns another object of the manager: one of Python's `method_to_typeid`.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call); [`CallError::Failed`] with [`Decode`](ErrorKind::Decode) when it returns a value.
    pub fn call_proxy(&self, method: &str, args: impl Serialize) -> Result<Self, CallError> {
        match self.reply(method, args, Deadline::NEVER)? {
            Reply::Proxy(proxy) => Ok(proxy),
            Reply::Value(_) => {
                let text = format!("`{method}` returns no proxy");
                Err(Error::new(ErrorKind::Decode, text).into())
            }
        }
    }

    fn reply(
        &self,
        method: &str,
        args: impl Serialize,
        deadline: Deadline,
    ) -> Result<Reply, CallError> {
        self.0.manager.call(&self.0.token.ident, method, &args, deadline)
    }

    /// A copy of the object itself, where it can be pickled: Python's `_getvalue()`.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    pub fn value(&self) -> Result<Value, CallError> {
        self.call_value("#GETVALUE", ())
    }

    /// How the object prints itself: Python's `str(proxy)`.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    pub fn repr(&self) -> Result<String, CallError> {
        self.call("__repr__", ())
    }

    /// The name by which its type is registered.
    pub fn typeid(&self) -> &str {
        &self.0.token.typeid
    }

    /// What the manager calls it.
    pub fn ident(&self) -> &str {
        &self.0.token.ident
    }

    /// The methods that can be called.
    pub fn methods(&self) -> &[String] {
        &self.0.exposed
    }

    /// Where it is.
    pub fn manager(&self) -> &Manager {
        &self.0.manager
    }

    /// The proxy as a value, to be sent to a program of Python's, or put into another object of the same manager, where it is the object itself.
    /// It holds no reference: this proxy has to live until it has arrived.
    pub fn to_value(&self) -> Value {
        let (class, kwargs) = match class_of(&self.0.token.typeid) {
            Some(class) => (class, Vec::new()),
            None => {
                let exposed = self.0.exposed.iter().map(|name| Value::from(&name[..])).collect();
                ("AutoProxy", vec![("exposed".into(), Value::Tuple(exposed))])
            }
        };
        let (class, kwargs) = (Global::new(message::MODULE, class).into(), Value::Dict(kwargs));
        let token = self.0.token.to_value(self.0.manager.address());
        let rebuild = Global::new(message::MODULE, "RebuildProxy");
        Object::call(rebuild, vec![class, token, "pickle".into(), kwargs]).into()
    }
}

/// The class of CPython's proxies of a type. That of others is made for them (`AutoProxy`); in a value that goes to the manager itself,
/// CPython up to 3.8 does not take such.
fn class_of(typeid: &str) -> Option<&'static str> {
    Some(match typeid {
        "list" => "ListProxy",
        "dict" => "DictProxy",
        "Namespace" => "NamespaceProxy",
        "Value" => "ValueProxy",
        "Array" => "ArrayProxy",
        "Lock" | "RLock" | "Semaphore" | "BoundedSemaphore" => "AcquirerProxy",
        "Condition" => "ConditionProxy",
        "Event" => "EventProxy",
        "Barrier" => "BarrierProxy",
        "Iterator" => "IteratorProxy",
        "Pool" => "PoolProxy",
        _ => return None,
    })
}

impl Drop for Referent {
    fn drop(&mut self) {
        // That of a forked child's parent is its parent's.
        if self.pid == process::id() {
            self.manager.decref(&self.token.ident);
        }
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy")
            .field("typeid", &self.0.token.typeid)
            .field("ident", &self.0.token.ident)
            .finish_non_exhaustive()
    }
}

/// `None` when an exception of this class was raised.
pub(crate) fn unless<T>(done: Result<T, CallError>, class: &str) -> Result<Option<T>, CallError> {
    match done {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is(class) => Ok(None),
        Err(error) => Err(error),
    }
}
