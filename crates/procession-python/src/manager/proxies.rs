//! Proxies of what a `SyncManager` has: containers.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::client::Manager;
use super::error::CallError;
use super::proxy::{Proxy, unless};
use crate::value::Value;

/// Proxies that are a [`Proxy`] with methods.
macro_rules! proxies {
    ($($(#[$about:meta])* $name:ident;)*) => {$(
        $(#[$about])*
        #[derive(Debug, Clone)]
        pub struct $name(pub(crate) Proxy);

        impl $name {
            /// What a proxy of any type can.
            pub fn proxy(&self) -> &Proxy {
                &self.0
            }
        }

        impl From<Proxy> for $name {
            /// Of a type that is registered under another name, or by another manager.
            fn from(proxy: Proxy) -> Self {
                Self(proxy)
            }
        }
    )*};
}
pub(crate) use proxies;

proxies! {
    /// A `dict` in a manager.
    DictProxy;
    /// A `list` in a manager.
    ListProxy;
    /// A `set` in a manager: CPython 3.14 has them.
    SetProxy;
    /// A `queue.Queue` in a manager.
    QueueProxy;
    /// A `Namespace` in a manager: an object with attributes.
    NamespaceProxy;
    /// A `Value` in a manager: one value.
    ValueProxy;
    /// An `array.array` in a manager.
    ArrayProxy;
    /// An iterator in a manager.
    IteratorProxy;
}

impl Manager {
    /// Makes a `dict`.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create).
    pub fn dict(&self) -> Result<DictProxy, CallError> {
        self.create("dict", ()).map(DictProxy)
    }

    /// Makes a `list` of these items.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create).
    pub fn list<T: Serialize>(&self, items: &[T]) -> Result<ListProxy, CallError> {
        self.create("list", (items,)).map(ListProxy)
    }

    /// Makes a `set`, where the manager has such.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create); [`CallError::Refused`] before CPython 3.14.
    pub fn set(&self) -> Result<SetProxy, CallError> {
        self.create("set", ()).map(SetProxy)
    }

    /// Makes a `Queue` of at most so many items; zero is any number.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create).
    pub fn queue(&self, capacity_items: usize) -> Result<QueueProxy, CallError> {
        self.create("Queue", (capacity_items,)).map(QueueProxy)
    }

    /// Makes a `Namespace`.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create).
    pub fn namespace(&self) -> Result<NamespaceProxy, CallError> {
        self.create("Namespace", ()).map(NamespaceProxy)
    }

    /// Makes a `Value`. The typecode says something to readers only.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create).
    pub fn value(&self, typecode: char, value: impl Serialize) -> Result<ValueProxy, CallError> {
        self.create("Value", (typecode, value)).map(ValueProxy)
    }

    /// Makes an `Array` of numbers of the kind that Python calls `typecode`.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create).
    pub fn array<T: Serialize>(
        &self,
        typecode: char,
        numbers: &[T],
    ) -> Result<ArrayProxy, CallError> {
        self.create("Array", (typecode, numbers)).map(ArrayProxy)
    }
}

/// Methods that send arguments and return what comes.
macro_rules! methods {
    ($proxy:ident { $($(#[$about:meta])* fn $name:ident($($arg:ident: $type:ty),*) -> $value:ty = $python:literal;)* }) => {
        impl $proxy {$(
            $(#[$about])*
            ///
            /// # Errors
            ///
            /// As [`Proxy::call`].
            pub fn $name(&self $(, $arg: $type)*) -> Result<$value, CallError> {
                self.0.call($python, ($($arg,)*))
            }
        )*}
    };
}
pub(crate) use methods;

/// Containers whose emptiness is their length's.
macro_rules! is_empty {
    ($($proxy:ident)*) => {$(
        impl $proxy {
            /// Whether there is nothing in it.
            ///
            /// # Errors
            ///
            /// As [`Proxy::call`].
            pub fn is_empty(&self) -> Result<bool, CallError> {
                self.len().map(|len| len == 0)
            }
        }
    )*};
}

is_empty!(DictProxy ListProxy SetProxy ArrayProxy);

methods!(DictProxy {
    /// Puts a value under a key.
    fn insert(key: impl Serialize, value: impl Serialize) -> () = "__setitem__";
    /// Whether there is a value under a key.
    fn contains(key: impl Serialize) -> bool = "__contains__";
    /// How many items there are.
    fn len() -> usize = "__len__";
    /// Takes all items out.
    fn clear() -> () = "clear";
    /// Puts all items of a map in.
    fn update(items: impl Serialize) -> () = "update";
});

impl DictProxy {
    /// The value under a key; `None` when there is none.
    ///
    /// # Errors
    ///
    /// As [`Proxy::call`].
    pub fn get<T: DeserializeOwned>(&self, key: impl Serialize) -> Result<Option<T>, CallError> {
        unless(self.0.call("__getitem__", (key,)), "KeyError")
    }

    /// Takes the value under a key out; `None` when there is none.
    ///
    /// # Errors
    ///
    /// As [`Proxy::call`].
    #[doc(alias = "pop")]
    pub fn remove<T: DeserializeOwned>(&self, key: impl Serialize) -> Result<Option<T>, CallError> {
        unless(self.0.call("pop", (key,)), "KeyError")
    }

    /// Takes the last item out; `None` when there is none.
    ///
    /// # Errors
    ///
    /// As [`Proxy::call`].
    #[doc(alias = "popitem")]
    pub fn pop_item<K: DeserializeOwned, V: DeserializeOwned>(
        &self,
    ) -> Result<Option<(K, V)>, CallError> {
        unless(self.0.call("popitem", ()), "KeyError")
    }

    /// The value under a key, after having put this one there when there was none.
    ///
    /// # Errors
    ///
    /// As [`Proxy::call`].
    #[doc(alias = "setdefault")]
    pub fn get_or_insert<T: DeserializeOwned>(
        &self,
        key: impl Serialize,
        value: impl Serialize,
    ) -> Result<T, CallError> {
        self.0.call("setdefault", (key, value))
    }

    /// All keys.
    ///
    /// # Errors
    ///
    /// As [`Proxy::call`].
    pub fn keys<K: DeserializeOwned>(&self) -> Result<Vec<K>, CallError> {
        self.0.call("keys", ())
    }

    /// All values.
    ///
    /// # Errors
    ///
    /// As [`Proxy::call`].
    pub fn values<V: DeserializeOwned>(&self) -> Result<Vec<V>, CallError> {
        self.0.call("values", ())
    }

    /// All items, in their order.
    ///
    /// # Errors
    ///
    /// As [`Proxy::call`].
    pub fn items<K: DeserializeOwned, V: DeserializeOwned>(
        &self,
    ) -> Result<Vec<(K, V)>, CallError> {
        self.0.call("items", ())
    }

    /// A copy, as a map or a struct.
    ///
    /// # Errors
    ///
    /// As [`Proxy::call`].
    pub fn copy<T: DeserializeOwned>(&self) -> Result<T, CallError> {
        self.0.call("copy", ())
    }

    /// An iterator over its keys, in the manager: a call for each.
    ///
    /// # Errors
    ///
    /// As [`Proxy::call_proxy`].
    pub fn iter(&self) -> Result<IteratorProxy, CallError> {
        self.0.call_proxy("__iter__", ()).map(IteratorProxy)
    }
}

methods!(ListProxy {
    /// Appends an item.
    fn append(item: impl Serialize) -> () = "append";
    /// Appends all items of a sequence.
    fn extend(items: impl Serialize) -> () = "extend";
    /// Puts an item before the one at `place`; negative places count from the end.
    fn insert(place: i64, item: impl Serialize) -> () = "insert";
    /// Replaces the item at `place`.
    fn set(place: i64, item: impl Serialize) -> () = "__setitem__";
    /// Takes the first item out that equals this one.
    fn remove_item(item: impl Serialize) -> () = "remove";
    /// How many items there are.
    fn len() -> usize = "__len__";
    /// Whether an item is there.
    fn contains(item: impl Serialize) -> bool = "__contains__";
    /// How often an item is there.
    fn count(item: impl Serialize) -> usize = "count";
    /// Turns it round.
    fn reverse() -> () = "reverse";
    /// Sorts it.
    fn sort() -> () = "sort";
});

impl ListProxy {
    /// The item at a place, counted from the end when it is negative; `None` when there is none.
    ///
    /// # Errors
    ///
    /// As [`Proxy::call`].
    pub fn get<T: DeserializeOwned>(&self, place: i64) -> Result<Option<T>, CallError> {
        unless(self.0.call("__getitem__", (place,)), "IndexError")
    }

    /// Takes the last item out; `None` when there is none.
    ///
    /// # Errors
    ///
    /// As [`Proxy::call`].
    pub fn pop<T: DeserializeOwned>(&self) -> Result<Option<T>, CallError> {
        unless(self.0.call("pop", ()), "IndexError")
    }

    /// Where an item is first; `None` when it is not there.
    ///
    /// # Errors
    ///
    /// As [`Proxy::call`].
    pub fn index(&self, item: impl Serialize) -> Result<Option<usize>, CallError> {
        unless(self.0.call("index", (item,)), "ValueError")
    }

    /// The items from `start` to before `stop`.
    ///
    /// # Errors
    ///
    /// As [`Proxy::call`].
    pub fn slice<T: DeserializeOwned>(&self, start: i64, stop: i64) -> Result<Vec<T>, CallError> {
        let slice = Value::Slice(Box::new([start.into(), stop.into(), Value::None]));
        self.0.call("__getitem__", (slice,))
    }

    /// All items.
    ///
    /// # Errors
    ///
    /// As [`Proxy::call`].
    pub fn to_vec<T: DeserializeOwned>(&self) -> Result<Vec<T>, CallError> {
        let all = Value::Slice(Box::new([Value::None, Value::None, Value::None]));
        self.0.call("__getitem__", (all,))
    }
}

methods!(SetProxy {
    /// Puts an item in.
    fn add(item: impl Serialize) -> () = "add";
    /// Takes an item out, if it is there.
    fn discard(item: impl Serialize) -> () = "discard";
    /// Whether an item is there.
    fn contains(item: impl Serialize) -> bool = "__contains__";
    /// How many items there are.
    fn len() -> usize = "__len__";
    /// Takes all items out.
    fn clear() -> () = "clear";
});

impl SetProxy {
    /// All items, in no order.
    ///
    /// # Errors
    ///
    /// As [`Proxy::call`].
    pub fn copy<T: DeserializeOwned>(&self) -> Result<T, CallError> {
        self.0.call("copy", ())
    }
}

methods!(QueueProxy {
    /// Puts an item in, waiting for room.
    fn put(item: impl Serialize) -> () = "put";
    /// How many items there are.
    fn len() -> usize = "qsize";
    /// Whether there are none.
    fn is_empty() -> bool = "empty";
    /// Whether there is no room.
    fn is_full() -> bool = "full";
    /// Says that an item that was got is done.
    fn task_done() -> () = "task_done";
    /// Waits until all items that were put are done.
    fn join() -> () = "join";
});

impl QueueProxy {
    /// Gets an item, waiting for it.
    ///
    /// # Errors
    ///
    /// As [`Proxy::call`].
    pub fn get<T: DeserializeOwned>(&self) -> Result<T, CallError> {
        self.0.call("get", ())
    }

    /// Gets an item, waiting for it at most this long; `None` when none has come.
    ///
    /// # Errors
    ///
    /// As [`Proxy::call`].
    pub fn get_timeout<T: DeserializeOwned>(
        &self,
        timeout: Duration,
    ) -> Result<Option<T>, CallError> {
        unless(self.0.call("get", (true, timeout.as_secs_f64())), "Empty")
    }

    /// Gets an item if there is one.
    ///
    /// # Errors
    ///
    /// As [`Proxy::call`].
    #[doc(alias = "get_nowait")]
    pub fn try_get<T: DeserializeOwned>(&self) -> Result<Option<T>, CallError> {
        unless(self.0.call("get_nowait", ()), "Empty")
    }

    /// Puts an item in, waiting for room at most this long; tells whether there was.
    ///
    /// # Errors
    ///
    /// As [`Proxy::call`].
    pub fn put_timeout(&self, item: impl Serialize, timeout: Duration) -> Result<bool, CallError> {
        let put = self.0.call::<()>("put", (item, true, timeout.as_secs_f64()));
        unless(put, "Full").map(|done| done.is_some())
    }

    /// Puts an item in if there is room; tells whether there was.
    ///
    /// # Errors
    ///
    /// As [`Proxy::call`].
    #[doc(alias = "put_nowait")]
    pub fn try_put(&self, item: impl Serialize) -> Result<bool, CallError> {
        unless(self.0.call::<()>("put_nowait", (item,)), "Full").map(|done| done.is_some())
    }
}

methods!(NamespaceProxy {
    /// Sets an attribute.
    fn set(name: &str, value: impl Serialize) -> () = "__setattr__";
    /// Takes an attribute away.
    fn remove(name: &str) -> () = "__delattr__";
});

impl NamespaceProxy {
    /// An attribute; `None` when there is none.
    ///
    /// # Errors
    ///
    /// As [`Proxy::call`].
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, CallError> {
        unless(self.0.call("__getattribute__", (name,)), "AttributeError")
    }
}

methods!(ValueProxy {
    /// Sets it.
    fn set(value: impl Serialize) -> () = "set";
});

impl ValueProxy {
    /// What it is.
    ///
    /// # Errors
    ///
    /// As [`Proxy::call`].
    pub fn get<T: DeserializeOwned>(&self) -> Result<T, CallError> {
        self.0.call("get", ())
    }
}

methods!(ArrayProxy {
    /// Replaces the number at `place`.
    fn set(place: i64, number: impl Serialize) -> () = "__setitem__";
    /// How many numbers there are.
    fn len() -> usize = "__len__";
});

impl ArrayProxy {
    /// The number at a place; `None` when there is none.
    ///
    /// # Errors
    ///
    /// As [`Proxy::call`].
    pub fn get<T: DeserializeOwned>(&self, place: i64) -> Result<Option<T>, CallError> {
        unless(self.0.call("__getitem__", (place,)), "IndexError")
    }

    /// All numbers.
    ///
    /// # Errors
    ///
    /// As [`Proxy::call`].
    pub fn to_vec<T: DeserializeOwned>(&self) -> Result<Vec<T>, CallError> {
        let all = Value::Slice(Box::new([Value::None, Value::None, Value::None]));
        self.0.call("__getitem__", (all,))
    }
}

impl IteratorProxy {
    /// The next item; `None` at the end.
    ///
    /// # Errors
    ///
    /// As [`Proxy::call`].
    #[doc(alias = "__next__")]
    pub fn advance<T: DeserializeOwned>(&self) -> Result<Option<T>, CallError> {
        unless(self.0.call("__next__", ()), "StopIteration")
    }

    /// The items, a call for each.
    pub fn iter<T: DeserializeOwned>(&self) -> impl Iterator<Item = Result<T, CallError>> {
        std::iter::from_fn(|| self.advance().transpose())
    }
}
