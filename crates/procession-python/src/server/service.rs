//! [`Service`]: any value, and functions of it, as an object for Python.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::arguments::Arguments;
use super::managed::{Answer, Caller, Managed, no_method, raise};
use crate::ser;
use crate::value::Exception;

/// A value of any type with the functions that Python may call.
///
/// # Examples
///
/// ```
/// use procession_python::{Exception, Service};
/// use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
///
/// let counter = Service::new(AtomicI64::new(0))
///     .method("add", |count: &AtomicI64, (some,): (i64,)| Ok(count.fetch_add(some, Relaxed) + some))
///     .method("fail", |_: &AtomicI64, (): ()| -> Result<(), _> {
///         Err(Exception::builtin("ValueError", vec!["no".into()]))
///     });
/// # drop(counter);
/// ```
pub struct Service<T> {
    value: T,
    methods: BTreeMap<String, Method<T>>,
}

type Method<T> = Box<dyn Fn(&T, Arguments) -> Result<Answer, Exception> + Send + Sync>;

impl<T: Send + Sync> Service<T> {
    /// Without any methods.
    pub fn new(value: T) -> Self {
        Self { value, methods: BTreeMap::new() }
    }

    /// Adds a method. It gets its arguments as a tuple, `()` when there are none; arguments of other types are a `TypeError` to the caller.
    #[must_use]
    pub fn method<A: DeserializeOwned, R: Serialize>(
        mut self,
        name: impl Into<String>,
        method: impl Fn(&T, A) -> Result<R, Exception> + Send + Sync + 'static,
    ) -> Self {
        let method = move |value: &T, arguments: Arguments| {
            let returned = method(value, arguments.extract()?)?;
            let pickled = ser::to_value(&returned);
            pickled.map(Answer::Value).map_err(|error| raise("TypeError", error.to_string()))
        };
        self.methods.insert(name.into(), Box::new(method));
        self
    }

    /// Adds a method that gets its arguments as they came, and may return an object.
    #[must_use]
    pub fn raw_method(
        mut self,
        name: impl Into<String>,
        method: impl Fn(&T, Arguments) -> Result<Answer, Exception> + Send + Sync + 'static,
    ) -> Self {
        self.methods.insert(name.into(), Box::new(method));
        self
    }
}

impl<T: Send + Sync> Managed for Service<T> {
    fn methods(&self) -> Vec<String> {
        self.methods.keys().cloned().collect()
    }

    fn has_method(&self, method: &str) -> bool {
        self.methods.contains_key(method)
    }

    fn call(
        &self,
        method: &str,
        arguments: Arguments,
        _caller: &Caller<'_>,
    ) -> Result<Answer, Exception> {
        match self.methods.get(method) {
            Some(method) => method(&self.value, arguments),
            None => Err(no_method(method)),
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Service<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("value", &self.value).finish_non_exhaustive()
    }
}
