//! An array: a list of one length.

use std::ops::Range;

use procession_core::Result;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::list::ListProxy;
use super::number::Addable;
use crate::Proxy;

proxy! {
    /// An array at a manager's server: items of one type, and always as many.
    ///
    /// Each access is a round trip. For numbers that processes of one machine compute with, [`Array`](../procession/struct.Array.html) is shared
    /// memory.
    ///
    /// # Drop, kill, fork
    ///
    /// See [`Proxy`](crate::Proxy).
    ///
    /// # Source
    ///
    /// CPython `SyncManager.Array()`.
    ArrayProxy<T>, "Array"
}

impl<T> ArrayProxy<T> {
    /// The same object as a list, of whose operations some are an array's.
    fn list(&self) -> ListProxy<T> {
        ListProxy::__of(self.core.clone())
    }

    /// How many items there are.
    ///
    /// # Errors
    ///
    /// As [`Call::run`](crate::Call::run).
    #[expect(clippy::len_without_is_empty, reason = "its length is known to who made it")]
    pub fn len(&self) -> Result<usize> {
        self.list().len()
    }

    /// Replaces the item at a place.
    ///
    /// # Errors
    ///
    /// As [`ListProxy::set`].
    #[doc(alias = "__setitem__")]
    pub fn set(&self, at: usize, item: &T) -> Result<()>
    where
        T: Serialize,
    {
        self.list().set(at, item)
    }

    /// Adds to the number at a place, in one step; returns what was there.
    ///
    /// # Errors
    ///
    /// As [`ListProxy::set`].
    pub fn fetch_add(&self, at: usize, delta: T) -> Result<T>
    where
        T: Addable + DeserializeOwned,
    {
        self.list().fetch_add(at, delta)
    }

    /// The item at a place.
    ///
    /// # Errors
    ///
    /// As [`Call::run`](crate::Call::run).
    #[doc(alias = "__getitem__")]
    pub fn get(&self, at: usize) -> Result<Option<T>>
    where
        T: DeserializeOwned,
    {
        self.list().get(at)
    }

    /// The items from one place up to another.
    ///
    /// # Errors
    ///
    /// As [`Call::run`](crate::Call::run).
    pub fn range(&self, places: Range<usize>) -> Result<Vec<T>>
    where
        T: DeserializeOwned,
    {
        self.list().range(places)
    }

    /// All items.
    ///
    /// # Errors
    ///
    /// As [`Call::run`](crate::Call::run).
    pub fn to_vec(&self) -> Result<Vec<T>>
    where
        T: DeserializeOwned,
    {
        self.list().to_vec()
    }
}
