//! `set`, which CPython's managers have from 3.14 on.

use std::collections::HashSet;

use procession_sys::prim::Mutex;

use super::super::arguments::Arguments;
use super::super::managed::{Answer, Caller, Managed, no_method, owned, raise};
use super::super::order::Key;
use super::{items, locked};
use crate::value::{Exception, Value};

const METHODS: [&str; 20] = [
    "__and__",
    "__contains__",
    "__iter__",
    "__len__",
    "__or__",
    "__sub__",
    "__xor__",
    "add",
    "clear",
    "copy",
    "difference",
    "discard",
    "intersection",
    "isdisjoint",
    "issubset",
    "issuperset",
    "pop",
    "remove",
    "union",
    "update",
];

#[derive(Debug, Default)]
pub(super) struct Set(Mutex<HashSet<Key>>);

impl Set {
    pub(super) fn new(arguments: Arguments) -> Result<Self, Exception> {
        let [first] = arguments.bind(["iterable"], 0)?;
        let first = first.map(keys).transpose()?.unwrap_or_default();
        Ok(Self(Mutex::new(first)))
    }
}

fn keys(value: Value) -> Result<HashSet<Key>, Exception> {
    items(value)?.into_iter().map(Key::new).collect()
}

fn to_value<'a>(keys: impl Iterator<Item = &'a Key>) -> Value {
    Value::Set(keys.map(|key| key.0.clone()).collect())
}

impl Managed for Set {
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
        let mut set = locked(&self.0);
        Ok(match method {
            "__len__" => arguments.none().map(|()| set.len())?.into(),
            "copy" => arguments.none().map(|()| to_value(set.iter()))?.into(),
            "clear" => arguments.none().map(|()| set.clear())?.into(),
            "__iter__" => {
                let all = set.iter().map(|key| key.0.clone()).collect();
                Answer::Object("Iterator", std::sync::Arc::new(super::iterator::Items::new(all)))
            }
            "pop" => {
                arguments.none()?;
                let first = set.iter().next().cloned();
                let empty = || raise("KeyError", "pop from an empty set");
                let first = first.ok_or_else(empty)?;
                set.remove(&first);
                first.0.into()
            }
            "__contains__" => set.contains(&Key::new(arguments.one("key")?)?).into(),
            "add" => {
                set.insert(Key::new(arguments.one("key")?)?);
                ().into()
            }
            "discard" => {
                set.remove(&Key::new(arguments.one("key")?)?);
                ().into()
            }
            "remove" => {
                let key = Key::new(arguments.one("key")?)?;
                match set.remove(&key) {
                    true => ().into(),
                    false => return Err(Exception::builtin("KeyError", vec![key.0])),
                }
            }
            "update" => {
                set.extend(keys(arguments.one("other")?)?);
                ().into()
            }
            "isdisjoint" => set.is_disjoint(&keys(arguments.one("other")?)?).into(),
            "issubset" => set.is_subset(&keys(arguments.one("other")?)?).into(),
            "issuperset" => set.is_superset(&keys(arguments.one("other")?)?).into(),
            "__or__" | "union" => to_value(set.union(&keys(arguments.one("other")?)?)).into(),
            "__and__" | "intersection" => {
                to_value(set.intersection(&keys(arguments.one("other")?)?)).into()
            }
            "__sub__" | "difference" => {
                to_value(set.difference(&keys(arguments.one("other")?)?)).into()
            }
            "__xor__" => to_value(set.symmetric_difference(&keys(arguments.one("other")?)?)).into(),
            other => return Err(no_method(other)),
        })
    }

    fn repr(&self) -> String {
        to_value(locked(&self.0).iter()).to_string()
    }

    fn value(&self) -> Result<Value, Exception> {
        Ok(to_value(locked(&self.0).iter()))
    }
}
