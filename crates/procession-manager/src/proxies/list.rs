//! A list.

use std::borrow::Borrow;
use std::collections::VecDeque;
use std::ops::Range;

use procession_core::Result;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::number::Addable;
use super::pages::{BYTES, ITEMS, Pages};
use crate::call::{Answer, Arguments, Call, Decode, tell};
use crate::reference::Core;
use crate::wire::op;

proxy! {
    /// A list at a manager's server: what a `Vec<T>` is in one process, with both ends as cheap as in a `VecDeque`.
    ///
    /// What was got is a copy, and changing it changes nothing in the list: [`set`](Self::set) does, and [`fetch_add`](Self::fetch_add),
    /// [`compare_exchange`](Self::compare_exchange) and [`update_all`](Self::update_all), which nobody comes in between of. Items are
    /// compared as the [keys](crate::DictProxy#keys) of a dictionary are.
    ///
    /// # Drop, kill, fork
    ///
    /// See [`Proxy`](crate::Proxy). A call that fails because the server is gone may have been done or not; it is never done twice.
    ///
    /// # Source
    ///
    /// CPython `SyncManager.list()`.
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
    /// let list = manager.list::<i32>()?;
    /// list.extend(0..10)?;
    /// list.update_all(|items| items.retain(|item| item % 2 == 0))?;
    /// assert_eq!(list.to_vec()?, [0, 2, 4, 6, 8]);
    /// assert_eq!((list.pop()?, list.get(0)?, list.get(10)?), (Some(8), Some(0), None));
    /// # Ok(())
    /// # }
    /// ```
    ListProxy<T>, "list"
}

/// The operations of a [`ListProxy`] as [calls](Call).
#[derive(Debug)]
pub struct ListCalls<'a, T>(&'a ListProxy<T>);

/// A place, as it travels.
fn place(place: usize) -> i64 {
    i64::try_from(place).unwrap_or(i64::MAX)
}

impl<T> ListCalls<'_, T> {
    fn call<R>(
        &self,
        operation: u8,
        decode: Decode<R>,
        arguments: impl FnOnce(&mut Arguments),
    ) -> Call<R> {
        Call::new(&self.0.core, operation, decode, arguments)
    }

    /// As [`ListProxy::len`].
    pub fn len(&self) -> Call<usize> {
        self.call(op::LEN, tell::size, |_none| {})
    }

    /// As [`ListProxy::clear`].
    pub fn clear(&self) -> Call<()> {
        self.call(op::CLEAR, tell::nothing, |_none| {})
    }

    /// As [`ListProxy::push`].
    pub fn push<Q: Serialize + ?Sized>(&self, item: &Q) -> Call<()>
    where
        T: Borrow<Q>,
    {
        self.call(op::PUSH, tell::nothing, |arguments| arguments.value(item))
    }

    /// As [`ListProxy::set`].
    pub fn set<Q: Serialize + ?Sized>(&self, at: usize, item: &Q) -> Call<()>
    where
        T: Borrow<Q>,
    {
        self.call(op::SET, tell::nothing, |arguments| {
            arguments.signed(place(at));
            arguments.value(item);
        })
    }

    /// As [`ListProxy::insert`].
    pub fn insert<Q: Serialize + ?Sized>(&self, at: usize, item: &Q) -> Call<()>
    where
        T: Borrow<Q>,
    {
        self.call(op::SQUEEZE_IN, tell::nothing, |arguments| {
            arguments.signed(place(at));
            arguments.value(item);
        })
    }

    /// As [`ListProxy::fetch_add`].
    pub fn fetch_add(&self, at: usize, delta: T) -> Call<T>
    where
        T: Addable + DeserializeOwned,
    {
        add(&self.0.core, at, &delta)
    }
}

/// Adds to the number at a place.
pub(super) fn add<T: Addable + DeserializeOwned>(core: &Core, at: usize, delta: &T) -> Call<T> {
    Call::new(core, op::ADD, tell::value, |arguments| {
        arguments.signed(place(at));
        arguments.byte(T::__KIND);
        arguments.bytes_of(delta);
    })
}

/// Replaces what is at a place if it is what is expected.
pub(super) fn compare<T: Serialize + DeserializeOwned>(
    core: &Core,
    at: usize,
    expected: &T,
    new: &T,
) -> Call<Result<(), T>> {
    let decode = |answer: &mut Answer<'_>| match answer.reader.flag()? {
        true => Ok(Ok(())),
        false => answer.value().map(Err),
    };
    Call::new(core, op::COMPARE, decode, |arguments| {
        arguments.signed(place(at));
        arguments.value(expected);
        arguments.value(new);
    })
}

impl<T: DeserializeOwned> ListCalls<'_, T> {
    /// As [`ListProxy::get`].
    pub fn get(&self, at: usize) -> Call<Option<T>> {
        self.call(op::GET, tell::maybe, |arguments| arguments.signed(place(at)))
    }

    /// As [`ListProxy::last`].
    pub fn last(&self) -> Call<Option<T>> {
        self.call(op::GET, tell::maybe, |arguments| arguments.signed(-1))
    }

    /// As [`ListProxy::pop`].
    pub fn pop(&self) -> Call<Option<T>> {
        self.call(op::POP, tell::maybe, |arguments| arguments.signed(-1))
    }

    /// As [`ListProxy::remove`].
    pub fn remove(&self, at: usize) -> Call<Option<T>> {
        self.call(op::REMOVE, tell::maybe, |arguments| arguments.signed(place(at)))
    }

    /// As [`ListProxy::compare_exchange`].
    pub fn compare_exchange(&self, at: usize, expected: &T, new: &T) -> Call<Result<(), T>>
    where
        T: Serialize,
    {
        compare(&self.0.core, at, expected, new)
    }
}

impl<T> ListProxy<T> {
    /// The operations as calls: to be sent ahead of their answers, or to be many in one round trip.
    pub fn calls(&self) -> ListCalls<'_, T> {
        ListCalls(self)
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

    /// Puts an item behind the others.
    ///
    /// # Errors
    ///
    /// As [`Call::run`].
    #[doc(alias = "append")]
    pub fn push<Q: Serialize + ?Sized>(&self, item: &Q) -> Result<()>
    where
        T: Borrow<Q>,
    {
        self.calls().push(item).run()
    }

    /// Replaces the item at a place.
    ///
    /// # Errors
    ///
    /// [`NotFound`](procession_core::ErrorKind::NotFound) when there is no such place; as [`Call::run`].
    #[doc(alias = "__setitem__")]
    pub fn set<Q: Serialize + ?Sized>(&self, at: usize, item: &Q) -> Result<()>
    where
        T: Borrow<Q>,
    {
        self.calls().set(at, item).run()
    }

    /// Puts an item in front of the one at a place.
    ///
    /// # Errors
    ///
    /// As [`set`](Self::set).
    pub fn insert<Q: Serialize + ?Sized>(&self, at: usize, item: &Q) -> Result<()>
    where
        T: Borrow<Q>,
    {
        self.calls().insert(at, item).run()
    }

    /// Puts many behind the others, in one step.
    ///
    /// # Errors
    ///
    /// As [`Call::run`]; none is there then.
    pub fn extend<Q: Serialize>(&self, items: impl IntoIterator<Item = Q>) -> Result<()>
    where
        T: Borrow<Q>,
    {
        Call::new(&self.core, op::EXTEND, tell::nothing, |arguments| arguments.values(items)).run()
    }

    /// Turns the order round.
    ///
    /// # Errors
    ///
    /// As [`Call::run`].
    pub fn reverse(&self) -> Result<()> {
        Call::new(&self.core, op::REVERSE, tell::nothing, |_none| {}).run()
    }

    /// How many items are like this one.
    ///
    /// # Errors
    ///
    /// As [`Call::run`].
    pub fn count<Q: Serialize + ?Sized>(&self, item: &Q) -> Result<usize>
    where
        T: Borrow<Q>,
    {
        Call::new(&self.core, op::COUNT_EQUAL, tell::size, |arguments| arguments.value(item)).run()
    }

    /// Where the first item is that is like this one.
    ///
    /// # Errors
    ///
    /// As [`Call::run`].
    #[doc(alias = "index")]
    pub fn position<Q: Serialize + ?Sized>(&self, item: &Q) -> Result<Option<usize>>
    where
        T: Borrow<Q>,
    {
        let decode = |answer: &mut Answer<'_>| {
            let at = answer.reader.u64()?;
            Ok((at != u64::MAX).then(|| usize::try_from(at).unwrap_or(usize::MAX)))
        };
        Call::new(&self.core, op::FIND_EQUAL, decode, |arguments| arguments.value(item)).run()
    }

    /// Whether an item is like this one.
    ///
    /// # Errors
    ///
    /// As [`Call::run`].
    pub fn contains<Q: Serialize + ?Sized>(&self, item: &Q) -> Result<bool>
    where
        T: Borrow<Q>,
    {
        self.position(item).map(|at| at.is_some())
    }

    /// Adds to the number at a place, in one step; returns what was there.
    ///
    /// # Errors
    ///
    /// As [`set`](Self::set).
    pub fn fetch_add(&self, at: usize, delta: T) -> Result<T>
    where
        T: Addable + DeserializeOwned,
    {
        self.calls().fetch_add(at, delta).run()
    }
}

impl<T: DeserializeOwned> ListProxy<T> {
    /// The item at a place.
    ///
    /// # Errors
    ///
    /// As [`Call::run`].
    #[doc(alias = "__getitem__")]
    pub fn get(&self, at: usize) -> Result<Option<T>> {
        self.calls().get(at).run()
    }

    /// The last item.
    ///
    /// # Errors
    ///
    /// As [`Call::run`].
    pub fn last(&self) -> Result<Option<T>> {
        self.calls().last().run()
    }

    /// Takes the last item out.
    ///
    /// # Errors
    ///
    /// As [`Call::run`].
    pub fn pop(&self) -> Result<Option<T>> {
        self.calls().pop().run()
    }

    /// Takes the item at a place out.
    ///
    /// # Errors
    ///
    /// As [`Call::run`].
    pub fn remove(&self, at: usize) -> Result<Option<T>> {
        self.calls().remove(at).run()
    }

    /// Replaces the item at a place if it is `expected`, in one step. Within, `Err` tells what is there instead.
    ///
    /// # Errors
    ///
    /// As [`set`](Self::set).
    pub fn compare_exchange(&self, at: usize, expected: &T, new: &T) -> Result<Result<(), T>>
    where
        T: Serialize,
    {
        self.calls().compare_exchange(at, expected, new).run()
    }

    /// The items from one place up to another, as far as there are any.
    ///
    /// # Errors
    ///
    /// As [`Call::run`].
    pub fn range(&self, places: Range<usize>) -> Result<Vec<T>> {
        self.pages(places).collect()
    }

    /// The items, page by page. It is live: see [`Pages`]; it goes on at the place behind the last one that was fetched.
    pub fn iter(&self) -> Pages<'_, T> {
        self.pages(0..usize::MAX)
    }

    /// All items.
    ///
    /// # Errors
    ///
    /// As [`Call::run`].
    #[doc(alias = "copy")]
    pub fn to_vec(&self) -> Result<Vec<T>> {
        self.versioned().map(|(_, items)| items)
    }

    /// Replaces all items by what `change` makes of them, which is called again when somebody else was faster; returns what it returned
    /// at last. For sorting, say.
    ///
    /// # Errors
    ///
    /// As [`Call::run`]; the list is as it was then, unless the server is gone.
    #[doc(alias = "sort")]
    pub fn update_all<R>(&self, mut change: impl FnMut(&mut Vec<T>) -> R) -> Result<R>
    where
        T: Serialize,
    {
        loop {
            let (version, mut items) = self.versioned()?;
            let result = change(&mut items);
            let replaced = Call::new(&self.core, op::REPLACE, tell::flag, |arguments| {
                arguments.number(version);
                arguments.values(&items);
            });
            if replaced.run()? {
                return Ok(result);
            }
        }
    }

    /// All items, as they were at one moment, and which moment that was.
    fn versioned(&self) -> Result<(u64, Vec<T>)> {
        let decode = |answer: &mut Answer<'_>| {
            let version = answer.reader.u64()?;
            let mut items = Vec::new();
            while !answer.reader.0.is_empty() {
                items.push(answer.value()?);
            }
            Ok((version, items))
        };
        Call::new(&self.core, op::PAGE, decode, |arguments| {
            arguments.number(0);
            arguments.word(u32::MAX);
            arguments.number(u64::MAX);
        })
        .run()
    }

    fn pages(&self, places: Range<usize>) -> Pages<'_, T> {
        let mut from = places.start as u64;
        Pages::new(move || {
            let left = (places.end as u64).saturating_sub(from).min(ITEMS.into());
            let decode = |answer: &mut Answer<'_>| {
                answer.reader.u64()?;
                let mut page = VecDeque::new();
                while !answer.reader.0.is_empty() {
                    page.push_back(answer.value()?);
                }
                Ok(page)
            };
            let page = Call::new(&self.core, op::PAGE, decode, |arguments| {
                arguments.number(from);
                arguments.word(u32::try_from(left).unwrap_or(ITEMS));
                arguments.number(BYTES);
            })
            .run()?;
            from += page.len() as u64;
            Ok(page)
        })
    }
}
