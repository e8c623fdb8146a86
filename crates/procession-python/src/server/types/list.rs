//! `list`.

use std::cmp::Ordering;

use procession_sys::prim::Mutex;

use super::super::arguments::{Arguments, integer, is_true};
use super::super::managed::{Answer, Caller, Managed, no_method, owned, raise};
use super::super::order::{compare, equal};
use super::place::{self, Place};
use super::{items, locked};
use crate::value::{Exception, Global, Object, Value};

const METHODS: [&str; 21] = [
    "__add__",
    "__contains__",
    "__delitem__",
    "__getitem__",
    "__imul__",
    "__len__",
    "__mul__",
    "__reversed__",
    "__rmul__",
    "__setitem__",
    "append",
    "clear",
    "copy",
    "count",
    "extend",
    "index",
    "insert",
    "pop",
    "remove",
    "reverse",
    "sort",
];

/// The most items that a multiplication may make: a few bytes from a client could mean more than there is memory.
const MOST: usize = 100_000_000;

#[derive(Debug, Default)]
pub(super) struct List(Mutex<Vec<Value>>);

impl List {
    pub(super) fn new(arguments: Arguments) -> Result<Self, Exception> {
        let [first] = arguments.bind(["iterable"], 0)?;
        let first = first.map(items).transpose()?.unwrap_or_default();
        Ok(Self(Mutex::new(first)))
    }
}

impl Managed for List {
    fn methods(&self) -> Vec<String> {
        owned(&METHODS)
    }

    fn has_method(&self, method: &str) -> bool {
        METHODS.contains(&method)
    }

    fn call(
        &self,
        method: &str,
        arguments: Arguments,
        _caller: &Caller<'_>,
    ) -> Result<Answer, Exception> {
        let list = &mut *locked(&self.0);
        match method {
            "__getitem__" | "__setitem__" | "__delitem__" => subscript(list, method, arguments),
            "pop" | "insert" | "index" => places(list, method, arguments),
            "__add__" | "__mul__" | "__rmul__" | "__imul__" | "__reversed__" | "copy" => {
                whole(list, method, arguments)
            }
            _ => simple(list, method, arguments),
        }
    }

    fn repr(&self) -> String {
        Value::List(locked(&self.0).clone()).to_string()
    }

    fn value(&self) -> Result<Value, Exception> {
        Ok(Value::List(locked(&self.0).clone()))
    }
}

fn simple(list: &mut Vec<Value>, method: &str, arguments: Arguments) -> Result<Answer, Exception> {
    Ok(match method {
        "append" => {
            list.push(arguments.one("object")?);
            ().into()
        }
        "extend" => {
            list.extend(items(arguments.one("iterable")?)?);
            ().into()
        }
        "__len__" => arguments.none().map(|()| list.len())?.into(),
        "__contains__" => {
            let item = arguments.one("key")?;
            list.iter().any(|known| equal(known, &item)).into()
        }
        "count" => {
            let item = arguments.one("value")?;
            list.iter().filter(|known| equal(known, &item)).count().into()
        }
        "remove" => {
            let item = arguments.one("value")?;
            let absent = || raise("ValueError", "list.remove(x): x not in list");
            let place = list.iter().position(|known| equal(known, &item)).ok_or_else(absent)?;
            list.remove(place);
            ().into()
        }
        "clear" => arguments.none().map(|()| list.clear())?.into(),
        "reverse" => arguments.none().map(|()| list.reverse())?.into(),
        "sort" => sort(list, arguments)?.into(),
        other => return Err(no_method(other)),
    })
}

fn subscript(
    list: &mut Vec<Value>,
    method: &str,
    arguments: Arguments,
) -> Result<Answer, Exception> {
    let [subscript, value] = arguments.bind(["key", "value"], 1)?;
    let place = Place::of(&subscript.unwrap_or_default(), list.len())?;
    match (method, place, value) {
        ("__getitem__", Place::One(place), None) => Ok(list[place].clone().into()),
        ("__getitem__", Place::Some(places), None) => {
            Ok(Value::List(places.into_iter().map(|place| list[place].clone()).collect()).into())
        }
        ("__setitem__", Place::One(place), Some(value)) => {
            list[place] = value;
            Ok(().into())
        }
        ("__setitem__", Place::Some(places), Some(value)) => {
            let values = items(value)?;
            if is_run(&places) {
                let start = places.first().copied().unwrap_or(list.len());
                list.splice(start..start + places.len(), values);
            } else if places.len() == values.len() {
                places.into_iter().zip(values).for_each(|(place, value)| list[place] = value);
            } else {
                let text = "attempt to assign a sequence of another size to an extended slice";
                return Err(raise("ValueError", text));
            }
            Ok(().into())
        }
        ("__delitem__", Place::One(place), None) => {
            list.remove(place);
            Ok(().into())
        }
        ("__delitem__", Place::Some(mut places), None) => {
            places.sort_unstable();
            let mut gone = places.into_iter().peekable();
            let mut place = 0;
            list.retain(|_| {
                let stays = gone.next_if_eq(&place).is_none();
                place += 1;
                stays
            });
            Ok(().into())
        }
        _ => Err(raise("TypeError", format!("'{method}' has other arguments"))),
    }
}

/// Whether places follow each other.
fn is_run(places: &[usize]) -> bool {
    places.windows(2).all(|pair| pair[0] + 1 == pair[1])
}

fn places(list: &mut Vec<Value>, method: &str, arguments: Arguments) -> Result<Answer, Exception> {
    match method {
        "pop" => {
            let [place] = arguments.bind(["index"], 0)?;
            if list.is_empty() {
                return Err(raise("IndexError", "pop from empty list"));
            }
            let place = place.as_ref().map(integer).transpose()?.unwrap_or(-1);
            Ok(list.remove(place::one(place, list.len())?).into())
        }
        "insert" => {
            let (place, item) = arguments.two("index", "object")?;
            list.insert(place::clamped(integer(&place)?, list.len()), item);
            Ok(().into())
        }
        _ => {
            let [item, start, stop] = arguments.bind(["value", "start", "stop"], 1)?;
            let item = item.unwrap_or_default();
            let place = |value: Option<Value>, otherwise: usize| match value {
                Some(value) => integer(&value).map(|place| place::clamped(place, list.len())),
                None => Ok(otherwise),
            };
            let (start, stop) = (place(start, 0)?, place(stop, list.len())?);
            let part = list.get(start..stop).unwrap_or_default();
            let found = part.iter().position(|known| equal(known, &item));
            let absent = || raise("ValueError", format!("{item} is not in list"));
            found.map(|found| (start + found).into()).ok_or_else(absent)
        }
    }
}

/// What gives another list.
fn whole(list: &mut Vec<Value>, method: &str, arguments: Arguments) -> Result<Answer, Exception> {
    match method {
        "copy" => arguments.none().map(|()| Value::List(list.clone()).into()),
        "__reversed__" => {
            arguments.none()?;
            // As CPython sends it: an iterator over a copy.
            let all = Value::List(list.clone());
            let last = Value::from(list.len()).as_i64().unwrap_or(0) - 1;
            let reversed = Object::call(Global::new("builtins", "reversed"), vec![all]);
            Ok(Value::from(reversed.with_state(last.into())).into())
        }
        "__add__" => match arguments.one("value")? {
            Value::List(more) => Ok(Value::List([&list[..], &more].concat()).into()),
            other => {
                let name = other.type_name();
                let text = format!("can only concatenate list (not \"{name}\") to list");
                Err(raise("TypeError", text))
            }
        },
        _ => {
            let times = integer(&arguments.one("value")?)?;
            let times = usize::try_from(times).unwrap_or(0);
            if list.len().saturating_mul(times) > MOST {
                return Err(Exception::builtin("MemoryError", Vec::new()));
            }
            let many: Vec<Value> = (0..times).flat_map(|_| list.iter().cloned()).collect();
            if method == "__imul__" {
                list.clone_from(&many);
            }
            Ok(Value::List(many).into())
        }
    }
}

/// Sorts, if all can be compared; otherwise it stays as it was.
fn sort(list: &mut Vec<Value>, arguments: Arguments) -> Result<(), Exception> {
    let [key, reverse] = arguments.bind(["key", "reverse"], 0)?;
    if key.is_some_and(|key| !key.is_none()) {
        return Err(raise("NotImplementedError", "a key function of Python's cannot be called"));
    }
    let is_reverse = reverse.as_ref().is_some_and(is_true);
    let mut failure = None;
    let mut sorted = list.clone();
    sorted.sort_by(|one, other| {
        let order = compare(one, other).unwrap_or_else(|error| {
            failure.get_or_insert(error);
            Ordering::Equal
        });
        if is_reverse { order.reverse() } else { order }
    });
    match failure {
        None => {
            *list = sorted;
            Ok(())
        }
        Some(error) => Err(error),
    }
}
