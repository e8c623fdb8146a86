//! `Value`, `Array`, `Namespace`.

use procession_sys::prim::Mutex;

use super::super::arguments::Arguments;
use super::super::managed::{Answer, Caller, Managed, no_method, owned, raise};
use super::place::Place;
use super::{items, locked};
use crate::value::{Array, Exception, Value, item_bytes};

/// `Value`: whatever it is.
#[derive(Debug)]
pub(super) struct Cell {
    typecode: Value,
    value: Mutex<Value>,
}

impl Cell {
    pub(super) fn new(arguments: Arguments) -> Result<Self, Exception> {
        let [typecode, value, _lock] = arguments.bind(["typecode", "value", "lock"], 2)?;
        let value = Mutex::new(value.unwrap_or_default());
        Ok(Self { typecode: typecode.unwrap_or_default(), value })
    }
}

impl Managed for Cell {
    fn methods(&self) -> Vec<String> {
        owned(&["get", "set"])
    }

    fn call(
        &self,
        method: &str,
        arguments: Arguments,
        _caller: &Caller<'_>,
    ) -> Result<Answer, Exception> {
        match method {
            "get" => arguments.none().map(|()| locked(&self.value).clone().into()),
            "set" => {
                *locked(&self.value) = arguments.one("value")?;
                Ok(().into())
            }
            other => Err(no_method(other)),
        }
    }

    fn repr(&self) -> String {
        format!("Value({}, {})", self.typecode, locked(&self.value))
    }
}

/// `Array`: numbers of a kind.
#[derive(Debug)]
pub(super) struct Numbers {
    typecode: char,
    numbers: Mutex<Vec<u8>>,
}

impl Numbers {
    pub(super) fn new(arguments: Arguments) -> Result<Self, Exception> {
        let [typecode, sequence, _lock] = arguments.bind(["typecode", "sequence", "lock"], 2)?;
        let kinds = "bad typecode (must be b, B, h, H, i, I, l, L, q, Q, f or d)";
        let typecode = match typecode {
            Some(Value::Str(text)) if text.len() == 1 && item_bytes(char_of(&text)).is_some() => {
                char_of(&text)
            }
            _ => return Err(raise("ValueError", kinds)),
        };
        if matches!(typecode, 'u' | 'w') {
            return Err(raise("ValueError", kinds));
        }
        let mut bytes = Vec::new();
        for item in items(sequence.unwrap_or_default())? {
            bytes.extend(number_bytes(typecode, &item)?);
        }
        Ok(Self { typecode, numbers: Mutex::new(bytes) })
    }

    fn array(&self, bytes: Vec<u8>) -> Result<Array, Exception> {
        // Of whole numbers, as they are kept.
        Array::new(self.typecode, bytes).ok_or_else(|| raise("ValueError", "no such array"))
    }
}

fn char_of(text: &str) -> char {
    text.chars().next().unwrap_or('\0')
}

/// The bytes of a number in an array.
fn number_bytes(typecode: char, value: &Value) -> Result<Vec<u8>, Exception> {
    let float = match value {
        Value::Float(number) => Some(*number),
        #[expect(clippy::cast_precision_loss, reason = "as Python does")]
        Value::Int(number) => Some(*number as f64),
        Value::Bool(truth) => Some(f64::from(u8::from(*truth))),
        _ => None,
    };
    let int = match value {
        Value::Int(number) => Some(i128::from(*number)),
        Value::Bool(truth) => Some(i128::from(*truth)),
        Value::BigInt(number) => Some(number.to_i128().unwrap_or(i128::MAX)),
        _ => None,
    };
    let wrong =
        || raise("TypeError", format!("'{}' object is no number for an array", value.type_name()));
    if let ('f' | 'd', number) = (typecode, float) {
        let number = number.ok_or_else(wrong)?;
        #[expect(clippy::cast_possible_truncation, reason = "as Python does")]
        let short = number as f32;
        return Ok(match typecode {
            'f' => short.to_ne_bytes().to_vec(),
            _ => number.to_ne_bytes().to_vec(),
        });
    }
    let int = int.ok_or_else(wrong)?;
    let bytes = match typecode {
        'b' => i8::try_from(int).map(|int| int.to_ne_bytes().to_vec()),
        'B' => u8::try_from(int).map(|int| int.to_ne_bytes().to_vec()),
        'h' => i16::try_from(int).map(|int| int.to_ne_bytes().to_vec()),
        'H' => u16::try_from(int).map(|int| int.to_ne_bytes().to_vec()),
        'i' => i32::try_from(int).map(|int| int.to_ne_bytes().to_vec()),
        'I' => u32::try_from(int).map(|int| int.to_ne_bytes().to_vec()),
        'l' | 'q' => i64::try_from(int).map(|int| int.to_ne_bytes().to_vec()),
        _ => u64::try_from(int).map(|int| int.to_ne_bytes().to_vec()),
    };
    bytes.map_err(|_range| raise("OverflowError", "the number does not fit into the array"))
}

impl Managed for Numbers {
    fn methods(&self) -> Vec<String> {
        owned(&["__getitem__", "__len__", "__setitem__"])
    }

    fn call(
        &self,
        method: &str,
        arguments: Arguments,
        _caller: &Caller<'_>,
    ) -> Result<Answer, Exception> {
        let mut numbers = locked(&self.numbers);
        let size = item_bytes(self.typecode).unwrap_or(1);
        let len = numbers.len() / size;
        match method {
            "__len__" => arguments.none().map(|()| len.into()),
            "__getitem__" => match Place::of(&arguments.one("key")?, len)? {
                Place::One(place) => {
                    let one = self.array(numbers[place * size..][..size].to_vec())?;
                    Ok(one.item(0).unwrap_or_default().into())
                }
                Place::Some(places) => {
                    let of = |place: usize| numbers[place * size..][..size].to_vec();
                    Ok(Value::from(self.array(places.into_iter().flat_map(of).collect())?).into())
                }
            },
            "__setitem__" => {
                let (place, value) = arguments.two("key", "value")?;
                let (places, values) = match Place::of(&place, len)? {
                    Place::One(place) => (vec![place], vec![value]),
                    Place::Some(places) => (places, items(value)?),
                };
                if places.len() != values.len() {
                    return Err(raise("ValueError", "as many numbers as places are needed"));
                }
                let bytes = values.iter().map(|value| number_bytes(self.typecode, value));
                let bytes: Vec<_> = bytes.collect::<Result<_, _>>()?;
                for (place, bytes) in places.into_iter().zip(bytes) {
                    numbers[place * size..][..size].copy_from_slice(&bytes);
                }
                Ok(().into())
            }
            other => Err(no_method(other)),
        }
    }

    fn repr(&self) -> String {
        let array = self.array(locked(&self.numbers).clone());
        array.map_or_else(|error| error.to_string(), |array| Value::from(array).to_string())
    }

    fn value(&self) -> Result<Value, Exception> {
        self.array(locked(&self.numbers).clone()).map(Value::from)
    }
}

/// `Namespace`: attributes.
#[derive(Debug, Default)]
pub(super) struct Namespace(Mutex<Vec<(String, Value)>>);

impl Namespace {
    pub(super) fn new(arguments: Arguments) -> Result<Self, Exception> {
        let Arguments { positional, keywords } = arguments;
        match positional.is_empty() {
            true => Ok(Self(Mutex::new(keywords))),
            false => Err(raise("TypeError", "Namespace takes no positional arguments")),
        }
    }
}

impl Managed for Namespace {
    fn methods(&self) -> Vec<String> {
        owned(&["__delattr__", "__getattribute__", "__setattr__"])
    }

    fn call(
        &self,
        method: &str,
        arguments: Arguments,
        _caller: &Caller<'_>,
    ) -> Result<Answer, Exception> {
        let [name, value] = arguments.bind(["name", "value"], 1)?;
        let Some(Value::Str(name)) = name else {
            return Err(raise("TypeError", "attribute name must be string"));
        };
        let mut attributes = locked(&self.0);
        let place = attributes.iter().position(|(known, _)| *known == name);
        let absent =
            || raise("AttributeError", format!("'Namespace' object has no attribute '{name}'"));
        match (method, value) {
            ("__getattribute__", None) => {
                place.map(|place| attributes[place].1.clone().into()).ok_or_else(absent)
            }
            ("__setattr__", Some(value)) => {
                match place {
                    Some(place) => attributes[place].1 = value,
                    None => attributes.push((name, value)),
                }
                Ok(().into())
            }
            ("__delattr__", None) => {
                attributes.remove(place.ok_or_else(absent)?);
                Ok(().into())
            }
            _ => Err(raise("TypeError", format!("'{method}' has other arguments"))),
        }
    }

    fn repr(&self) -> String {
        let attributes = locked(&self.0);
        let mut shown: Vec<String> = attributes
            .iter()
            .filter(|(name, _)| !name.starts_with('_'))
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        shown.sort();
        format!("Namespace({})", shown.join(", "))
    }
}
