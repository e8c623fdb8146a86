//! A set.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::Hash;

use procession_core::Result;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::dict::pages;
use super::pages::Pages;
use crate::call::{Answer, Arguments, Call, Decode, tell};
use crate::wire::op;

proxy! {
    /// A set at a manager's server: what a `HashSet<T>` is in one process.
    ///
    /// Items are compared as the [keys](crate::DictProxy#keys) of a dictionary are.
    ///
    /// # Drop, kill, fork
    ///
    /// See [`Proxy`](crate::Proxy).
    ///
    /// # Source
    ///
    /// CPython `SyncManager.set()` (3.14).
    SetProxy<T>, "set"
}

/// The operations of a [`SetProxy`] as [calls](Call).
#[derive(Debug)]
pub struct SetCalls<'a, T>(&'a SetProxy<T>);

impl<T> SetCalls<'_, T> {
    fn call<R>(
        &self,
        operation: u8,
        decode: Decode<R>,
        arguments: impl FnOnce(&mut Arguments),
    ) -> Call<R> {
        Call::new(&self.0.core, operation, decode, arguments)
    }

    /// As [`SetProxy::len`].
    pub fn len(&self) -> Call<usize> {
        self.call(op::LEN, tell::size, |_none| {})
    }

    /// As [`SetProxy::clear`].
    pub fn clear(&self) -> Call<()> {
        self.call(op::CLEAR, tell::nothing, |_none| {})
    }

    /// As [`SetProxy::contains`].
    pub fn contains<Q: Serialize + ?Sized>(&self, item: &Q) -> Call<bool>
    where
        T: Borrow<Q>,
    {
        self.call(op::CONTAINS, tell::flag, |arguments| arguments.value(item))
    }

    /// As [`SetProxy::insert`].
    pub fn insert<Q: Serialize + ?Sized>(&self, item: &Q) -> Call<bool>
    where
        T: Borrow<Q>,
    {
        let decode = |answer: &mut Answer<'_>| answer.maybe::<()>().map(|old| old.is_none());
        self.call(op::INSERT, decode, |arguments| {
            arguments.value(item);
            arguments.value(&());
        })
    }

    /// As [`SetProxy::remove`].
    pub fn remove<Q: Serialize + ?Sized>(&self, item: &Q) -> Call<bool>
    where
        T: Borrow<Q>,
    {
        let decode = |answer: &mut Answer<'_>| answer.maybe::<()>().map(|old| old.is_some());
        self.call(op::REMOVE, decode, |arguments| arguments.value(item))
    }
}

impl<T> SetProxy<T> {
    /// The operations as calls: to be sent ahead of their answers, or to be many in one round trip.
    pub fn calls(&self) -> SetCalls<'_, T> {
        SetCalls(self)
    }

    /// How many items there are.
    ///
    /// # Errors
    ///
    /// As [`Call::run`].
    pub fn len(&self) -> Result<usize> {
        self.calls().len().run()
    }

    /// Whether there is no item.
    ///
    /// # Errors
    ///
    /// As [`Call::run`].
    pub fn is_empty(&self) -> Result<bool> {
        self.len().map(|len| len == 0)
    }

    /// Takes all items out.
    ///
    /// # Errors
    ///
    /// As [`Call::run`].
    pub fn clear(&self) -> Result<()> {
        self.calls().clear().run()
    }

    /// Whether there is such an item.
    ///
    /// # Errors
    ///
    /// As [`Call::run`].
    pub fn contains<Q: Serialize + ?Sized>(&self, item: &Q) -> Result<bool>
    where
        T: Borrow<Q>,
    {
        self.calls().contains(item).run()
    }

    /// Puts an item in; tells whether it was not there.
    ///
    /// # Errors
    ///
    /// As [`Call::run`].
    #[doc(alias = "add")]
    pub fn insert<Q: Serialize + ?Sized>(&self, item: &Q) -> Result<bool>
    where
        T: Borrow<Q>,
    {
        self.calls().insert(item).run()
    }

    /// Takes an item out; tells whether it was there.
    ///
    /// # Errors
    ///
    /// As [`Call::run`].
    #[doc(alias = "discard")]
    pub fn remove<Q: Serialize + ?Sized>(&self, item: &Q) -> Result<bool>
    where
        T: Borrow<Q>,
    {
        self.calls().remove(item).run()
    }

    /// Puts many in, in one step; tells how many were not there.
    ///
    /// # Errors
    ///
    /// As [`Call::run`]. When there is no room for all of them, some are in.
    #[doc(alias = "update")]
    pub fn extend<Q: Serialize>(&self, items: impl IntoIterator<Item = Q>) -> Result<usize>
    where
        T: Borrow<Q>,
    {
        let pairs = items.into_iter().map(|item| (item, ()));
        Call::new(&self.core, op::EXTEND, tell::size, |arguments| arguments.pairs(pairs)).run()
    }
}

impl<T: DeserializeOwned> SetProxy<T> {
    /// Takes out the item that was put in last.
    ///
    /// # Errors
    ///
    /// As [`Call::run`].
    pub fn pop(&self) -> Result<Option<T>> {
        let decode = |answer: &mut Answer<'_>| match answer.reader.flag()? {
            true => answer.value().map(Some),
            false => Ok(None),
        };
        Call::new(&self.core, op::POP, decode, |_none| {}).run()
    }

    /// The items, page by page, in the order in which they were put in. As [`DictProxy::iter`](crate::DictProxy::iter).
    pub fn iter(&self) -> Pages<'_, T> {
        pages(&self.core, false, tell::value)
    }

    /// All items, for unions, intersections and what else a `HashSet` does.
    ///
    /// # Errors
    ///
    /// As [`Call::run`] and [`DictProxy::iter`](crate::DictProxy::iter).
    #[doc(alias = "copy")]
    pub fn to_set(&self) -> Result<HashSet<T>>
    where
        T: Eq + Hash,
    {
        self.iter().collect()
    }
}
