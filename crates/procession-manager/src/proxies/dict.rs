//! A dictionary.

use std::borrow::Borrow;
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

use procession_core::{Error, ErrorKind, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::number::Addable;
use super::pages::{BYTES, ITEMS, Pages};
use crate::call::{Answer, Arguments, Call, Decode, tell};
use crate::reference::Core;
use crate::wire::op;

proxy! {
    /// A dictionary at a manager's server: what a `HashMap<K, V>` is in one process.
    ///
    /// Keys and values are borrowed, because they are only written down; what was got is a copy, and changing it changes nothing in the
    /// dictionary: [`update`](Self::update) does, and [`fetch_add`](Self::fetch_add), [`get_or_insert`](Self::get_or_insert) and
    /// [`compare_exchange`](Self::compare_exchange), which nobody comes in between of.
    ///
    /// # Keys
    ///
    /// Keys are compared by how they are written down, not by `==`. For integers, texts, and structures and sequences of such that is
    /// the same. Floating point numbers are compared bit by bit: `0.0` and `-0.0` are two keys, and a `NaN` is found again. A `HashMap` or a
    /// `HashSet` in a key is written in an order of its own, so that equal ones are different keys: use a `BTreeMap`.
    ///
    /// # Drop, kill, fork
    ///
    /// See [`Proxy`](crate::Proxy). A call that fails because the server is gone may have been done or not; it is never done twice.
    ///
    /// # Source
    ///
    /// CPython `SyncManager.dict()`.
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
    /// let counts = manager.dict::<String, u64>()?;
    /// for word in "the quick fox and the lazy dog".split(' ') {
    ///     counts.fetch_add(word, 1)?;
    /// }
    /// assert_eq!(counts.get("the")?, Some(2));
    /// assert_eq!(counts.len()?, 6);
    /// # Ok(())
    /// # }
    /// ```
    DictProxy<K, V>, "dict"
}

/// The operations of a [`DictProxy`] as [calls](Call).
#[derive(Debug)]
pub struct DictCalls<'a, K, V>(&'a DictProxy<K, V>);

impl<K, V> DictCalls<'_, K, V> {
    fn call<R>(
        &self,
        operation: u8,
        decode: Decode<R>,
        arguments: impl FnOnce(&mut Arguments),
    ) -> Call<R> {
        Call::new(&self.0.core, operation, decode, arguments)
    }

    /// As [`DictProxy::len`].
    pub fn len(&self) -> Call<usize> {
        self.call(op::LEN, tell::size, |_none| {})
    }

    /// As [`DictProxy::clear`].
    pub fn clear(&self) -> Call<()> {
        self.call(op::CLEAR, tell::nothing, |_none| {})
    }

    /// As [`DictProxy::contains_key`].
    pub fn contains_key<Q: Serialize + ?Sized>(&self, key: &Q) -> Call<bool>
    where
        K: Borrow<Q>,
    {
        self.call(op::CONTAINS, tell::flag, |arguments| arguments.value(key))
    }

    /// As [`DictProxy::set`].
    pub fn set<Q: Serialize + ?Sized>(&self, key: &Q, value: &V) -> Call<()>
    where
        K: Borrow<Q>,
        V: Serialize,
    {
        self.call(op::SET, tell::nothing, |arguments| {
            arguments.value(key);
            arguments.value(value);
        })
    }

    /// As [`DictProxy::fetch_add`].
    pub fn fetch_add<Q: Serialize + ?Sized>(&self, key: &Q, delta: V) -> Call<V>
    where
        K: Borrow<Q>,
        V: Addable + DeserializeOwned,
    {
        self.call(op::ADD, tell::value, |arguments| {
            arguments.value(key);
            arguments.byte(V::__KIND);
            arguments.bytes_of(&delta);
        })
    }
}

impl<K, V: DeserializeOwned> DictCalls<'_, K, V> {
    /// As [`DictProxy::get`].
    pub fn get<Q: Serialize + ?Sized>(&self, key: &Q) -> Call<Option<V>>
    where
        K: Borrow<Q>,
    {
        self.call(op::GET, tell::maybe, |arguments| arguments.value(key))
    }

    /// As [`DictProxy::remove`].
    pub fn remove<Q: Serialize + ?Sized>(&self, key: &Q) -> Call<Option<V>>
    where
        K: Borrow<Q>,
    {
        self.call(op::REMOVE, tell::maybe, |arguments| arguments.value(key))
    }

    /// As [`DictProxy::insert`].
    pub fn insert<Q: Serialize + ?Sized>(&self, key: &Q, value: &V) -> Call<Option<V>>
    where
        K: Borrow<Q>,
        V: Serialize,
    {
        self.call(op::INSERT, tell::maybe, |arguments| {
            arguments.value(key);
            arguments.value(value);
        })
    }

    /// As [`DictProxy::get_or_insert`].
    pub fn get_or_insert<Q: Serialize + ?Sized>(&self, key: &Q, value: &V) -> Call<V>
    where
        K: Borrow<Q>,
        V: Serialize,
    {
        let decode = |answer: &mut Answer<'_>| {
            answer.reader.flag()?;
            answer.value()
        };
        self.call(op::GET_OR_INSERT, decode, |arguments| {
            arguments.value(key);
            arguments.value(value);
        })
    }

    /// As [`DictProxy::compare_exchange`].
    pub fn compare_exchange<Q: Serialize + ?Sized>(
        &self,
        key: &Q,
        expected: Option<&V>,
        new: Option<&V>,
    ) -> Call<Result<(), Option<V>>>
    where
        K: Borrow<Q>,
        V: Serialize,
    {
        let decode = |answer: &mut Answer<'_>| match answer.reader.flag()? {
            true => Ok(Ok(())),
            false => answer.maybe().map(Err),
        };
        self.call(op::COMPARE, decode, |arguments| {
            arguments.value(key);
            arguments.maybe(expected);
            arguments.maybe(new);
        })
    }
}

impl<K, V> DictProxy<K, V> {
    /// The operations as calls: to be sent ahead of their answers, or to be many in one round trip.
    pub fn calls(&self) -> DictCalls<'_, K, V> {
        DictCalls(self)
    }

    /// How many keys there are.
    ///
    /// # Errors
    ///
    /// As [`Call::run`].
    pub fn len(&self) -> Result<usize> {
        self.calls().len().run()
    }

    /// Whether there is no key.
    ///
    /// # Errors
    ///
    /// As [`Call::run`].
    pub fn is_empty(&self) -> Result<bool> {
        self.len().map(|len| len == 0)
    }

    /// Takes all keys out.
    ///
    /// # Errors
    ///
    /// As [`Call::run`].
    pub fn clear(&self) -> Result<()> {
        self.calls().clear().run()
    }

    /// Whether there is such a key.
    ///
    /// # Errors
    ///
    /// As [`Call::run`].
    pub fn contains_key<Q: Serialize + ?Sized>(&self, key: &Q) -> Result<bool>
    where
        K: Borrow<Q>,
    {
        self.calls().contains_key(key).run()
    }

    /// Puts a value in, and does not ask for the one that was there.
    ///
    /// # Errors
    ///
    /// As [`Call::run`].
    #[doc(alias = "__setitem__")]
    pub fn set<Q: Serialize + ?Sized>(&self, key: &Q, value: &V) -> Result<()>
    where
        K: Borrow<Q>,
        V: Serialize,
    {
        self.calls().set(key, value).run()
    }

    /// Adds to a number, in one step; one that is not there is zero. Returns what was there.
    ///
    /// # Errors
    ///
    /// As [`Call::run`].
    pub fn fetch_add<Q: Serialize + ?Sized>(&self, key: &Q, delta: V) -> Result<V>
    where
        K: Borrow<Q>,
        V: Addable + DeserializeOwned,
    {
        self.calls().fetch_add(key, delta).run()
    }

    /// Puts many in, in one step.
    ///
    /// # Errors
    ///
    /// As [`Call::run`]. When there is no room for all of them, some are in.
    #[doc(alias = "update")]
    pub fn extend<Q: Serialize, P: Serialize>(
        &self,
        pairs: impl IntoIterator<Item = (Q, P)>,
    ) -> Result<()>
    where
        K: Borrow<Q>,
        V: Borrow<P>,
    {
        Call::new(&self.core, op::EXTEND, tell::nothing, |arguments| arguments.pairs(pairs)).run()
    }
}

impl<K, V: DeserializeOwned> DictProxy<K, V> {
    /// The value of a key.
    ///
    /// # Errors
    ///
    /// As [`Call::run`].
    #[doc(alias = "__getitem__")]
    pub fn get<Q: Serialize + ?Sized>(&self, key: &Q) -> Result<Option<V>>
    where
        K: Borrow<Q>,
    {
        self.calls().get(key).run()
    }

    /// Takes a key out, and returns its value.
    ///
    /// # Errors
    ///
    /// As [`Call::run`].
    #[doc(alias = "pop")]
    pub fn remove<Q: Serialize + ?Sized>(&self, key: &Q) -> Result<Option<V>>
    where
        K: Borrow<Q>,
    {
        self.calls().remove(key).run()
    }

    /// Puts a value in, and returns the one that was there.
    ///
    /// # Errors
    ///
    /// As [`Call::run`].
    pub fn insert<Q: Serialize + ?Sized>(&self, key: &Q, value: &V) -> Result<Option<V>>
    where
        K: Borrow<Q>,
        V: Serialize,
    {
        self.calls().insert(key, value).run()
    }

    /// The value of a key, which this one is put in as if there is none, in one step.
    ///
    /// # Errors
    ///
    /// As [`Call::run`].
    #[doc(alias = "setdefault")]
    pub fn get_or_insert<Q: Serialize + ?Sized>(&self, key: &Q, value: &V) -> Result<V>
    where
        K: Borrow<Q>,
        V: Serialize,
    {
        self.calls().get_or_insert(key, value).run()
    }

    /// Puts `new` in, or takes the key out, if what is there is `expected`, in one step. Nothing is a value like others here.
    ///
    /// Within, `Err` tells what is there instead. Values are compared as [keys](DictProxy#keys) are.
    ///
    /// # Errors
    ///
    /// As [`Call::run`].
    pub fn compare_exchange<Q: Serialize + ?Sized>(
        &self,
        key: &Q,
        expected: Option<&V>,
        new: Option<&V>,
    ) -> Result<Result<(), Option<V>>>
    where
        K: Borrow<Q>,
        V: Serialize,
    {
        self.calls().compare_exchange(key, expected, new).run()
    }

    /// Replaces a value by what `change` makes of it, which is called again when somebody else was faster; returns what was put in.
    ///
    /// # Errors
    ///
    /// As [`Call::run`].
    pub fn update<Q: Serialize + ?Sized>(
        &self,
        key: &Q,
        mut change: impl FnMut(Option<&V>) -> Option<V>,
    ) -> Result<Option<V>>
    where
        K: Borrow<Q>,
        V: Serialize,
    {
        let mut present = self.get(key)?;
        loop {
            let new = change(present.as_ref());
            match self.compare_exchange(key, present.as_ref(), new.as_ref())? {
                Ok(()) => return Ok(new),
                Err(changed) => present = changed,
            }
        }
    }
}

impl<K: DeserializeOwned, V: DeserializeOwned> DictProxy<K, V> {
    /// Takes out the key that was put in last, and returns it with its value.
    ///
    /// # Errors
    ///
    /// As [`Call::run`].
    #[doc(alias = "popitem")]
    pub fn pop_last(&self) -> Result<Option<(K, V)>> {
        let decode = |answer: &mut Answer<'_>| match answer.reader.flag()? {
            true => Ok(Some((answer.value()?, answer.value()?))),
            false => Ok(None),
        };
        Call::new(&self.core, op::POP, decode, |_none| {}).run()
    }

    /// Keys with their values, page by page, in the order in which the keys were put in.
    ///
    /// It is live: see [`Pages`]. When the dictionary is [cleared](Self::clear) meanwhile, the next page is an error of the kind
    /// [`Broken`](ErrorKind::Broken).
    #[doc(alias = "items")]
    pub fn iter(&self) -> Pages<'_, (K, V)> {
        pages(&self.core, true, |answer| Ok((answer.value()?, answer.value()?)))
    }

    /// All keys with their values. Who comes in between of pages is seen or not, as with [`iter`](Self::iter).
    ///
    /// # Errors
    ///
    /// As [`Call::run`] and [`iter`](Self::iter).
    #[doc(alias = "copy")]
    pub fn to_map(&self) -> Result<HashMap<K, V>>
    where
        K: Eq + Hash,
    {
        self.iter().collect()
    }
}

impl<K: DeserializeOwned, V> DictProxy<K, V> {
    /// As [`iter`](Self::iter), without the values.
    pub fn keys(&self) -> Pages<'_, K> {
        pages(&self.core, false, tell::value)
    }
}

/// What is in a map, page by page.
pub(super) fn pages<'a, T: 'a>(core: &'a Core, with_values: bool, item: Decode<T>) -> Pages<'a, T> {
    let (mut behind, mut cleared) = (0, None);
    Pages::new(move || {
        let (answer, session) = Call::new(core, op::PAGE, tell::all, |arguments| {
            arguments.number(behind);
            arguments.word(ITEMS);
            arguments.number(BYTES);
            arguments.flag(with_values);
        })
        .run()?;
        let mut answer = Answer::rest(&session, &answer);
        let times = answer.reader.u64()?;
        if *cleared.get_or_insert(times) != times {
            let text = "the container was cleared while it was gone through";
            return Err(Error::new(ErrorKind::Broken, text));
        }
        let mut page = VecDeque::new();
        while !answer.reader.0.is_empty() {
            behind = answer.reader.u64()?;
            page.push_back(item(&mut answer)?);
        }
        Ok(page)
    })
}
