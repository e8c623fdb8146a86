//! A namespace.

use std::any::type_name;
use std::collections::BTreeSet;

use procession_core::{Error, ErrorKind, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::dict::pages;
use super::fingerprint;
use crate::call::{Answer, Call, tell};
use crate::wire::op;

proxy! {
    /// Values of any types under names, at a manager's server.
    ///
    /// Each value has the type that it was set with; to get it as another one is an error.
    ///
    /// # Drop, kill, fork
    ///
    /// See [`Proxy`](crate::Proxy).
    ///
    /// # Source
    ///
    /// CPython `SyncManager.Namespace()`. Names that begin with `_` are names like others here.
    ///
    /// # Examples
    ///
    /// ```
    /// # use procession_manager as procession;
    /// # fn main() -> procession_core::Result<()> {
    /// # procession_process::init();
    /// use procession::Manager;
    ///
    /// let global = Manager::start()?.namespace()?;
    /// global.set("x", &10)?;
    /// global.set("y", "hello")?;
    /// assert_eq!(global.get::<i32>("x")?, Some(10));
    /// assert!(global.get::<i32>("y").is_err());
    /// # Ok(())
    /// # }
    /// ```
    NamespaceProxy, "Namespace"
}

/// A value with what tells its type.
#[derive(Serialize)]
struct Tagged<'a, T: ?Sized>(u64, &'a T);

/// The same, on its way back. What does not fit is found before it is decoded.
#[derive(Deserialize)]
struct Told<T>(Tag<T>, T);

/// The number of a type.
struct Tag<T>(std::marker::PhantomData<fn() -> T>);

impl<'de, T> Deserialize<'de> for Tag<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u64::deserialize(deserializer)? == tag::<T>() {
            true => Ok(Self(std::marker::PhantomData)),
            false => Err(serde::de::Error::custom("the value has another type")),
        }
    }
}

/// A `str` is told as a `String`: they are written in the same way.
fn tag<T: ?Sized>() -> u64 {
    fingerprint(&[match type_name::<T>() {
        "str" => type_name::<String>(),
        name => name,
    }])
}

impl NamespaceProxy {
    /// Sets a value.
    ///
    /// # Errors
    ///
    /// As [`Call::run`].
    #[doc(alias = "__setattr__")]
    pub fn set<T: Serialize + ?Sized>(&self, name: &str, value: &T) -> Result<()> {
        Call::new(&self.core, op::SET, tell::nothing, |arguments| {
            arguments.value(name);
            arguments.value(&Tagged(tag::<T>(), value));
        })
        .run()
    }

    /// The value of a name.
    ///
    /// # Errors
    ///
    /// [`Decode`](ErrorKind::Decode) when it is of another type; as [`Call::run`].
    #[doc(alias = "__getattr__")]
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        let decode = |answer: &mut Answer<'_>| answer.maybe::<Told<T>>();
        let call = Call::new(&self.core, op::GET, decode, |arguments| arguments.value(name));
        let value = call.run().map_err(|error| match error.kind() {
            ErrorKind::Decode => {
                let text = format!("`{name}` is no {}", type_name::<T>());
                Error::new(ErrorKind::Decode, text).caused_by(&error)
            }
            _ => error,
        })?;
        Ok(value.map(|Told(_, value)| value))
    }

    /// Takes a name away; tells whether there was one.
    ///
    /// # Errors
    ///
    /// As [`Call::run`].
    #[doc(alias = "__delattr__")]
    pub fn remove(&self, name: &str) -> Result<bool> {
        let decode = |answer: &mut Answer<'_>| match answer.reader.flag()? {
            true => answer.pass_over().map(|()| true),
            false => Ok(false),
        };
        Call::new(&self.core, op::REMOVE, decode, |arguments| arguments.value(name)).run()
    }

    /// The names, in order.
    ///
    /// # Errors
    ///
    /// As [`Call::run`].
    pub fn names(&self) -> Result<BTreeSet<String>> {
        pages(&self.core, false, tell::value).collect()
    }
}
