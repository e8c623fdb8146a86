//! A single value.

use procession_core::{Error, ErrorKind, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::list::{add, compare};
use super::number::Addable;
use crate::call::{Call, tell};
use crate::wire::op;

proxy! {
    /// A value at a manager's server.
    ///
    /// # Drop, kill, fork
    ///
    /// See [`Proxy`](crate::Proxy).
    ///
    /// # Source
    ///
    /// CPython `SyncManager.Value()`, where nobody enforces the type.
    ///
    /// # Examples
    ///
    /// ```
    /// # use procession_manager as procession;
    /// # fn main() -> procession_core::Result<()> {
    /// # procession_process::init();
    /// use procession::Manager;
    ///
    /// let manager = Manager::start()?;
    /// let hits = manager.value(0u32)?;
    /// assert_eq!((hits.fetch_add(2)?, hits.get()?), (0, 2));
    /// # Ok(())
    /// # }
    /// ```
    ValueProxy<T>, "Value"
}

/// The operations of a [`ValueProxy`] as [calls](Call).
#[derive(Debug)]
pub struct ValueCalls<'a, T>(&'a ValueProxy<T>);

impl<T> ValueCalls<'_, T> {
    /// As [`ValueProxy::get`].
    pub fn get(&self) -> Call<T>
    where
        T: DeserializeOwned,
    {
        Call::new(
            &self.0.core,
            op::GET,
            |answer| tell::maybe(answer).and_then(present),
            |arguments| {
                arguments.signed(0);
            },
        )
    }

    /// As [`ValueProxy::set`].
    pub fn set(&self, value: &T) -> Call<()>
    where
        T: Serialize,
    {
        Call::new(&self.0.core, op::SET, tell::nothing, |arguments| {
            arguments.signed(0);
            arguments.value(value);
        })
    }

    /// As [`ValueProxy::fetch_add`].
    pub fn fetch_add(&self, delta: T) -> Call<T>
    where
        T: Addable + DeserializeOwned,
    {
        add(&self.0.core, 0, &delta)
    }

    /// As [`ValueProxy::compare_exchange`].
    pub fn compare_exchange(&self, expected: &T, new: &T) -> Call<Result<(), T>>
    where
        T: Serialize + DeserializeOwned,
    {
        compare(&self.0.core, 0, expected, new)
    }
}

/// There always is one, unless somebody who knows the key does what no client does.
fn present<T>(value: Option<T>) -> Result<T> {
    value.ok_or_else(|| Error::new(ErrorKind::NotFound, "the value is not there"))
}

impl<T> ValueProxy<T> {
    /// The operations as calls: to be sent ahead of their answers, or to be many in one round trip.
    pub fn calls(&self) -> ValueCalls<'_, T> {
        ValueCalls(self)
    }

    /// The value.
    ///
    /// # Errors
    ///
    /// As [`Call::run`].
    #[doc(alias = "value")]
    pub fn get(&self) -> Result<T>
    where
        T: DeserializeOwned,
    {
        self.calls().get().run()
    }

    /// Replaces it.
    ///
    /// # Errors
    ///
    /// As [`Call::run`].
    pub fn set(&self, value: &T) -> Result<()>
    where
        T: Serialize,
    {
        self.calls().set(value).run()
    }

    /// Adds to it, in one step; returns what it was.
    ///
    /// # Errors
    ///
    /// As [`Call::run`].
    pub fn fetch_add(&self, delta: T) -> Result<T>
    where
        T: Addable + DeserializeOwned,
    {
        self.calls().fetch_add(delta).run()
    }

    /// Replaces it if it is `expected`, in one step. Within, `Err` tells what it is instead.
    ///
    /// # Errors
    ///
    /// As [`Call::run`].
    pub fn compare_exchange(&self, expected: &T, new: &T) -> Result<Result<(), T>>
    where
        T: Serialize + DeserializeOwned,
    {
        self.calls().compare_exchange(expected, new).run()
    }

    /// Replaces it by what `change` makes of it, which is called again when somebody else was faster; returns what was put in.
    ///
    /// # Errors
    ///
    /// As [`Call::run`].
    pub fn update(&self, mut change: impl FnMut(&T) -> T) -> Result<T>
    where
        T: Serialize + DeserializeOwned,
    {
        let mut old = self.get()?;
        loop {
            let new = change(&old);
            match self.compare_exchange(&old, &new)? {
                Ok(()) => return Ok(new),
                Err(changed) => old = changed,
            }
        }
    }
}
