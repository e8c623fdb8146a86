//! `dict`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use procession_sys::prim::Mutex;

use super::super::arguments::Arguments;
use super::super::managed::{Answer, Caller, Managed, no_method, owned, raise};
use super::super::order::Key;
use super::iterator::Items;
use super::{items, locked};
use crate::value::{Exception, Value};

const METHODS: [&str; 18] = [
    "__contains__",
    "__delitem__",
    "__getitem__",
    "__ior__",
    "__iter__",
    "__len__",
    "__or__",
    "__setitem__",
    "clear",
    "copy",
    "get",
    "items",
    "keys",
    "pop",
    "popitem",
    "setdefault",
    "update",
    "values",
];

#[derive(Debug, Default)]
pub(super) struct Dict(Mutex<Table>);

/// Items in the order in which their keys came.
#[derive(Debug, Default)]
struct Table {
    places: HashMap<Key, u64>,
    items: BTreeMap<u64, (Value, Value)>,
    next: u64,
}

impl Table {
    fn get(&self, key: &Key) -> Option<&Value> {
        let place = self.places.get(key)?;
        self.items.get(place).map(|(_, value)| value)
    }

    fn insert(&mut self, key: Key, value: Value) {
        if let Some(item) = self.places.get(&key).and_then(|place| self.items.get_mut(place)) {
            item.1 = value;
            return;
        }
        self.items.insert(self.next, (key.0.clone(), value));
        self.places.insert(key, self.next);
        self.next += 1;
    }

    fn remove(&mut self, key: &Key) -> Option<Value> {
        let place = self.places.remove(key)?;
        self.items.remove(&place).map(|(_, value)| value)
    }

    fn pop_item(&mut self) -> Option<(Value, Value)> {
        let (_, (key, value)) = self.items.pop_last()?;
        let key = Key(key);
        self.places.remove(&key);
        Some((key.0, value))
    }

    fn update(&mut self, arguments: Arguments) -> Result<(), Exception> {
        let Arguments { positional, keywords } = arguments;
        if positional.len() > 1 {
            return Err(raise("TypeError", "update expected at most 1 argument"));
        }
        for value in positional {
            match value {
                Value::Dict(pairs) => {
                    for (key, value) in pairs {
                        self.insert(Key::new(key)?, value);
                    }
                }
                other => {
                    for item in items(other)? {
                        let pair = <[Value; 2]>::try_from(items(item)?);
                        let wrong = "dictionary update sequence element has not 2 parts";
                        let [key, value] = pair.map_err(|_other| raise("ValueError", wrong))?;
                        self.insert(Key::new(key)?, value);
                    }
                }
            }
        }
        keywords.into_iter().for_each(|(name, value)| self.insert(Key(name.into()), value));
        Ok(())
    }

    fn to_value(&self) -> Value {
        Value::Dict(self.items.values().cloned().collect())
    }
}

impl Dict {
    pub(super) fn new(arguments: Arguments) -> Result<Self, Exception> {
        let mut table = Table::default();
        table.update(arguments)?;
        Ok(Self(Mutex::new(table)))
    }
}

impl Managed for Dict {
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
        let mut table = locked(&self.0);
        Ok(match method {
            "__contains__" => table.places.contains_key(&Key::new(arguments.one("key")?)?).into(),
            "__getitem__" => {
                let key = Key::new(arguments.one("key")?)?;
                let missing = || Exception::builtin("KeyError", vec![key.0.clone()]);
                table.get(&key).cloned().ok_or_else(missing)?.into()
            }
            "__setitem__" => {
                let (key, value) = arguments.two("key", "value")?;
                table.insert(Key::new(key)?, value);
                ().into()
            }
            "__delitem__" => {
                let key = Key::new(arguments.one("key")?)?;
                let missing = || Exception::builtin("KeyError", vec![key.0.clone()]);
                table.remove(&key).map(|_value| ()).ok_or_else(missing)?.into()
            }
            "__len__" => table.items.len().into(),
            "__iter__" => {
                let keys = table.items.values().map(|(key, _)| key.clone()).collect();
                Answer::Object("Iterator", Arc::new(Items::new(keys)))
            }
            "keys" => list(table.items.values().map(|(key, _)| key.clone())),
            "values" => list(table.items.values().map(|(_, value)| value.clone())),
            "items" => {
                let pair = |(key, value): &(Value, Value)| [key.clone(), value.clone()].into();
                list(table.items.values().map(pair).map(Value::Tuple))
            }
            "copy" => table.to_value().into(),
            "clear" => {
                *table = Table::default();
                ().into()
            }
            "get" => {
                let [key, otherwise] = arguments.bind(["key", "default"], 1)?;
                let key = Key::new(key.unwrap_or_default())?;
                table.get(&key).cloned().or(otherwise).into()
            }
            "pop" => {
                let [key, otherwise] = arguments.bind(["key", "default"], 1)?;
                let key = Key::new(key.unwrap_or_default())?;
                let missing = || Exception::builtin("KeyError", vec![key.0.clone()]);
                table.remove(&key).or(otherwise).ok_or_else(missing)?.into()
            }
            "popitem" => {
                let empty = "popitem(): dictionary is empty";
                let (key, value) = table.pop_item().ok_or_else(|| raise("KeyError", empty))?;
                Value::Tuple(vec![key, value]).into()
            }
            "setdefault" => {
                let [key, otherwise] = arguments.bind(["key", "default"], 1)?;
                let key = Key::new(key.unwrap_or_default())?;
                match table.get(&key) {
                    Some(value) => value.clone().into(),
                    None => {
                        let value = otherwise.unwrap_or_default();
                        table.insert(key, value.clone());
                        value.into()
                    }
                }
            }
            "update" => table.update(arguments)?.into(),
            "__or__" | "__ior__" => return or(&mut table, method, arguments),
            other => return Err(no_method(other)),
        })
    }

    fn repr(&self) -> String {
        locked(&self.0).to_value().to_string()
    }

    fn value(&self) -> Result<Value, Exception> {
        Ok(locked(&self.0).to_value())
    }
}

/// `|` and `|=`.
fn or(table: &mut Table, method: &str, arguments: Arguments) -> Result<Answer, Exception> {
    let positional = vec![arguments.one("other")?];
    let arguments = Arguments { positional, keywords: Vec::new() };
    if method == "__ior__" {
        table.update(arguments)?;
        return Ok(table.to_value().into());
    }
    let mut both = Table::default();
    for (key, value) in table.items.values() {
        both.insert(Key(key.clone()), value.clone());
    }
    both.update(arguments)?;
    Ok(both.to_value().into())
}

fn list(items: impl Iterator<Item = Value>) -> Answer {
    Value::List(items.collect()).into()
}
