//! What an object in a manager of ours is.

use std::sync::Arc;
use std::time::Duration;

use procession_core::Deadline;
use procession_sys::prim::{Condvar, MutexGuard, PoisonError};

use super::arguments::Arguments;
use super::core::Core;
use crate::connection::Connection;
use crate::value::{Exception, Value};

/// How often a thread that waits for somebody else's call looks whether its client is there yet. Nobody waits for that but a client that is
/// gone.
const LOOK: Duration = Duration::from_millis(50);

/// An object that clients of a [`Server`](crate::Server) use. [`Service`](crate::Service) makes one of any value and some functions.
///
/// Its methods are called from many threads at once.
pub trait Managed: Send + Sync {
    /// The names of its methods, as Python sees them.
    fn methods(&self) -> Vec<String>;

    /// Whether it has this method. Asked for each call: those that have many find it without making a list of them.
    fn has_method(&self, method: &str) -> bool {
        self.methods().iter().any(|known| known == method)
    }

    /// Calls a method, one of [`methods`](Self::methods).
    ///
    /// # Errors
    ///
    /// What the client is to raise: an exception of a class that it knows.
    fn call(
        &self,
        method: &str,
        arguments: Arguments,
        caller: &Caller<'_>,
    ) -> Result<Answer, Exception>;

    /// What Python's `str(proxy)` prints.
    fn repr(&self) -> String {
        "<an object of another language>".to_owned()
    }

    /// A copy of it, for Python's `_getvalue()`.
    ///
    /// # Errors
    ///
    /// What the client is to raise; by default `TypeError`.
    fn value(&self) -> Result<Value, Exception> {
        Err(raise("TypeError", "it cannot be pickled"))
    }

    /// A client's connection has ended; `caller` is the number that its calls had.
    fn left(&self, _caller: u64) {}
}

/// What a method returns.
#[derive(Clone)]
pub enum Answer {
    /// A value, which is copied to the client.
    Value(Value),
    /// An object that stays here; the client gets a proxy of it, whose type has this name.
    Object(&'static str, Arc<dyn Managed>),
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Value(value) => f.debug_tuple("Value").field(value).finish(),
            Self::Object(typeid, _) => f.debug_tuple("Object").field(typeid).finish(),
        }
    }
}

impl<T: Into<Value>> From<T> for Answer {
    fn from(value: T) -> Self {
        Self::Value(value.into())
    }
}

/// Who calls: one connection, which is one thread of a program.
#[derive(Debug)]
pub struct Caller<'a> {
    number: u64,
    connection: &'a Connection,
    core: &'a Core,
}

impl<'a> Caller<'a> {
    pub(super) fn new(number: u64, connection: &'a Connection, core: &'a Core) -> Self {
        Self { number, connection, core }
    }

    /// The number of the connection; not zero, and never used again.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Whether nobody will read an answer: the client is gone, or the server ends. A method that waits looks at this now and then, and above
    /// all before it takes anything.
    pub fn is_gone(&self) -> bool {
        // A client says nothing while it waits: when there is something to read, it is the end.
        self.core.is_over() || self.connection.poll(Duration::ZERO).unwrap_or(true)
    }

    /// Waits until `changed` is rung and `ready` finds what it looks for, which is returned; `None` when the deadline has passed first.
    ///
    /// # Errors
    ///
    /// When the client is gone by then: nothing is taken.
    pub(crate) fn wait<'g, S, T>(
        &self,
        changed: &Condvar,
        mut guard: MutexGuard<'g, S>,
        deadline: Deadline,
        mut ready: impl FnMut(&mut S) -> Option<T>,
    ) -> Result<(MutexGuard<'g, S>, Option<T>), Exception> {
        let mut has_waited = false;
        loop {
            if has_waited && self.is_gone() {
                return Err(raise("EOFError", "the client is gone"));
            }
            if let Some(found) = ready(&mut guard) {
                return Ok((guard, Some(found)));
            }
            if deadline.has_passed() {
                return Ok((guard, None));
            }
            let most = deadline.remaining().unwrap_or(LOOK).min(LOOK);
            let woken = changed.wait_timeout(guard, most);
            // Somebody who panicked has left it as it was before or after.
            guard = woken.unwrap_or_else(PoisonError::into_inner).0;
            has_waited = true;
        }
    }
}

/// An exception of `builtins` with a text.
pub(crate) fn raise(class: &str, text: impl Into<String>) -> Exception {
    Exception::builtin(class, vec![Value::Str(text.into())])
}

/// What Python says of a method that is not there.
pub(crate) fn no_method(method: &str) -> Exception {
    raise("AttributeError", format!("there is no method {method:?}"))
}

/// Names as a table of methods has them.
pub(crate) fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}
