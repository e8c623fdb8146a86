//! What a `SyncManager` has, in Rust.

mod dict;
mod iterator;
mod list;
mod lock;
mod place;
mod plain;
mod queue;
mod set;
mod sync;

use std::collections::HashMap;
use std::sync::Arc;

use procession_sys::prim::{Mutex, MutexGuard};

use super::arguments::{Arguments, integer};
use super::core::Maker;
use super::managed::{Managed, raise};
use crate::value::{Exception, Value};

/// The types that every server has, by the names that Python gives them.
pub(super) fn makers() -> HashMap<String, Maker> {
    let mut makers = HashMap::new();
    let mut add = |typeid: &str, make: fn(Arguments) -> Result<Arc<dyn Managed>, Exception>| {
        makers.insert(typeid.to_owned(), Arc::new(make) as Maker);
    };
    add("dict", |arguments| Ok(Arc::new(dict::Dict::new(arguments)?)));
    add("list", |arguments| Ok(Arc::new(list::List::new(arguments)?)));
    add("set", |arguments| Ok(Arc::new(set::Set::new(arguments)?)));
    for name in ["Queue", "JoinableQueue"] {
        add(name, |arguments| Ok(Arc::new(queue::Queue::new(arguments)?)));
    }
    add("Value", |arguments| Ok(Arc::new(plain::Cell::new(arguments)?)));
    add("Array", |arguments| Ok(Arc::new(plain::Numbers::new(arguments)?)));
    add("Namespace", |arguments| Ok(Arc::new(plain::Namespace::new(arguments)?)));
    add("Lock", |arguments| arguments.none().map(|()| lock::Lock::plain() as _));
    add("RLock", |arguments| arguments.none().map(|()| lock::Lock::recursive() as _));
    add("Semaphore", |arguments| Ok(Arc::new(lock::Semaphore::new(arguments, false)?)));
    add("BoundedSemaphore", |arguments| Ok(Arc::new(lock::Semaphore::new(arguments, true)?)));
    add("Event", |arguments| arguments.none().map(|()| Arc::new(sync::Event::default()) as _));
    add("Condition", |arguments| {
        arguments.none().map(|()| Arc::new(sync::Condition::default()) as _)
    });
    add("Barrier", |arguments| Ok(Arc::new(sync::Barrier::new(arguments)?)));
    makers
}

/// The lock of something; whoever panicked has left it as it was before or after.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    procession_sys::prim::lock(mutex)
}

/// The items of a value, when a program of Python's could iterate over it.
///
/// # Errors
///
/// `TypeError` when it could not.
fn items(value: Value) -> Result<Vec<Value>, Exception> {
    match value {
        Value::List(items) | Value::Tuple(items) | Value::Set(items) | Value::FrozenSet(items) => {
            Ok(items)
        }
        Value::Dict(pairs) => Ok(pairs.into_iter().map(|(key, _)| key).collect()),
        Value::Str(text) => Ok(text.chars().map(|char| char.to_string().into()).collect()),
        Value::Bytes(bytes) | Value::ByteArray(bytes) => {
            Ok(bytes.into_iter().map(|byte| Value::Int(byte.into())).collect())
        }
        Value::Array(array) => Ok(array.iter().collect()),
        Value::Range(..) => {
            let numbers = crate::de::from_value::<Vec<i64>>(value);
            let numbers = numbers.map_err(|error| raise("MemoryError", error.to_string()))?;
            Ok(numbers.into_iter().map(Value::Int).collect())
        }
        other => Err(raise("TypeError", format!("'{}' object is not iterable", other.type_name()))),
    }
}

/// A number of something, which is not less than none.
fn count(value: Option<&Value>, otherwise: u64) -> Result<u64, Exception> {
    match value {
        None => Ok(otherwise),
        Some(value) => u64::try_from(integer(value)?)
            .map_err(|_negative| raise("ValueError", "a number is less than zero")),
    }
}
