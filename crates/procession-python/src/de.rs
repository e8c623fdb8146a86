//! [`Value`]s as ordinary Rust types, by serde: `ser`'s table the other way round, and what else is data in Python.
//!
//! Tuples, lists, sets and ranges are sequences to Rust, `bytes` and `bytearray` are bytes or sequences of numbers, `array.array` is a
//! sequence of numbers, `collections.OrderedDict` a map, a complex number a pair of floats, a slice a triple. An object that is not
//! known and has attributes can be read as a struct or a map of them.

use procession_core::{Error, ErrorKind, Result};
use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{
    self, Deserialize, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess,
    IntoDeserializer, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use crate::fault::Fault;
use crate::limits::Limits;
use crate::ser::TOKEN;
use crate::value::{Object, Value};

#[cfg(test)]
mod tests;

/// Reads a pickle as a value of an ordinary type: see the table of `docs/python.md`.
///
/// # Errors
///
/// As [`Value::from_bytes`]; [`Decode`](ErrorKind::Decode) when the pickle holds something else.
///
/// # Examples
///
/// ```
/// use procession_python::from_bytes;
///
/// let pickle = b"\x80\x04\x95\x09\x00\x00\x00\x00\x00\x00\x00]\x94(K\x01K\x02K\x03e."; // pickle.dumps([1, 2, 3])
/// assert_eq!(from_bytes::<Vec<u8>>(pickle)?, [1, 2, 3]);
/// # Ok::<(), procession_core::Error>(())
/// ```
pub fn from_bytes<T: DeserializeOwned>(pickle: &[u8]) -> Result<T> {
    from_value(Value::from_bytes(pickle)?)
}

/// As [`from_bytes`], with other limits.
pub(crate) fn from_bytes_within<T: DeserializeOwned>(pickle: &[u8], limits: &Limits) -> Result<T> {
    from_value(Value::from_bytes_within(pickle, limits)?)
}

/// The value of an ordinary type that a [`Value`] is.
///
/// # Errors
///
/// [`Decode`](ErrorKind::Decode) when it is something else.
///
/// # Examples
///
/// ```
/// use procession_core::ErrorKind;
/// use procession_python::{Value, from_value};
///
/// assert_eq!(from_value::<Option<i8>>(Value::None)?, None);
/// assert_eq!(from_value::<i8>(Value::Int(300)).unwrap_err().kind(), ErrorKind::Decode);
/// # Ok::<(), procession_core::Error>(())
/// ```
pub fn from_value<T: DeserializeOwned>(value: Value) -> Result<T> {
    T::deserialize(Reader(value)).map_err(|fault| fault.0)
}

/// A value that is being read.
pub(crate) struct Reader(Value);

impl<'de> Deserializer<'de> for Reader {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.0 {
            Value::None => visitor.visit_unit(),
            Value::Bool(truth) => visitor.visit_bool(truth),
            Value::Int(number) => match u64::try_from(number) {
                Ok(number) => visitor.visit_u64(number),
                Err(_negative) => visitor.visit_i64(number),
            },
            Value::BigInt(number) => match (number.to_i128(), number.to_u128()) {
                (_, Some(number)) => match u64::try_from(number) {
                    Ok(number) => visitor.visit_u64(number),
                    Err(_large) => visitor.visit_u128(number),
                },
                (Some(number), None) => visitor.visit_i128(number),
                (None, None) => Err(refused("an integer of more than 128 bits")),
            },
            Value::Float(number) => visitor.visit_f64(number),
            Value::Str(text) => visitor.visit_string(text),
            Value::Surrogates(_) => Err(refused("a text with halves of surrogate pairs")),
            Value::Bytes(bytes) | Value::ByteArray(bytes) => visitor.visit_byte_buf(bytes),
            Value::List(items)
            | Value::Tuple(items)
            | Value::Set(items)
            | Value::FrozenSet(items) => sequence(items.into_iter(), visitor),
            Value::Dict(pairs) => map(pairs, visitor),
            Value::Complex(re, im) => sequence([re, im].map(Value::Float).into_iter(), visitor),
            Value::Slice(parts) => sequence(parts.into_iter(), visitor),
            Value::Range(start, stop, step) => sequence(range(start, stop, step)?, visitor),
            Value::Array(array) => sequence(array.iter(), visitor),
            Value::Object(object) => attributes(*object, visitor),
            other @ (Value::Exception(_) | Value::Global(_)) => {
                Err(refused(&format!("{other}, which is no plain data,")))
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.0 {
            Value::None => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match name == TOKEN {
            true => {
                let pickle = Value::Bytes(self.0.to_bytes()?);
                visitor.visit_newtype_struct(Self(pickle))
            }
            false => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.0 {
            Value::Bytes(bytes) | Value::ByteArray(bytes) => {
                let mut bytes = SeqDeserializer::<_, Fault>::new(bytes.into_iter());
                let seen = visitor.visit_seq(&mut bytes)?;
                bytes.end()?;
                Ok(seen)
            }
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.0 {
            // A `String` would take them.
            Value::Bytes(_) | Value::ByteArray(_) => Err(refused("bytes")),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_any(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match self.0 {
            Value::Str(name) => visitor.visit_enum(name.into_deserializer()),
            Value::Dict(mut pairs) if pairs.len() == 1 => {
                let (name, content) = pairs.remove(0);
                visitor.visit_enum(Variant { name, content })
            }
            other => Err(refused(&format!("{other}, which is no variant of an enum,"))),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit
        map struct identifier
    }
}

fn refused(what: &str) -> Fault {
    Fault(Error::new(ErrorKind::Decode, format!("{what} came where something else was expected")))
}

fn sequence<'de, V: Visitor<'de>>(
    items: impl Iterator<Item = Value>,
    visitor: V,
) -> Result<V::Value, Fault> {
    let mut items = SeqDeserializer::new(items);
    let seen = visitor.visit_seq(&mut items)?;
    items.end()?;
    Ok(seen)
}

fn map<'de, V: Visitor<'de>>(pairs: Vec<(Value, Value)>, visitor: V) -> Result<V::Value, Fault> {
    let mut pairs = MapDeserializer::new(pairs.into_iter());
    let seen = visitor.visit_map(&mut pairs)?;
    pairs.end()?;
    Ok(seen)
}

/// The numbers of a range: they are few bytes that can mean many.
fn range(start: i64, stop: i64, step: i64) -> Result<impl Iterator<Item = Value>, Fault> {
    let (start, stop, step) = (i128::from(start), i128::from(stop), i128::from(step));
    let span = if step > 0 { stop - start } else { start - stop };
    let len = match span {
        ..=0 => 0,
        span => (span - 1) / step.abs() + 1,
    };
    let len = i32::try_from(len)
        .map_err(|_too_large| refused("a range of more than 2147483647 numbers"))?;
    Ok((0..len).map(move |place| (start + i128::from(place) * step).into()))
}

/// What is in an object that is not known: items of a dict, or attributes.
fn attributes<'de, V: Visitor<'de>>(object: Object, visitor: V) -> Result<V::Value, Fault> {
    let is_bare = object.args().is_empty() && object.items.is_empty() && object.kwargs.is_none();
    match object {
        object if is_bare && object.is_a("collections", "OrderedDict") => {
            map(object.pairs, visitor)
        }
        Object { state: Some(Value::Dict(attributes)), pairs, .. }
            if is_bare && pairs.is_empty() =>
        {
            map(attributes, visitor)
        }
        other => Err(refused(&format!("{}, which is not known,", Value::from(other)))),
    }
}

impl IntoDeserializer<'_, Fault> for Value {
    type Deserializer = Reader;

    fn into_deserializer(self) -> Reader {
        Reader(self)
    }
}

/// A variant with content.
struct Variant {
    name: Value,
    content: Value,
}

impl<'de> EnumAccess<'de> for Variant {
    type Error = Fault;
    type Variant = Reader;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Reader), Fault> {
        Ok((seed.deserialize(Reader(self.name))?, Reader(self.content)))
    }
}

impl<'de> VariantAccess<'de> for Reader {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        Deserialize::deserialize(self)
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Fault> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_any(visitor)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(TOKEN, Pickle)
    }
}

/// Reads a [`Value`] from its pickle.
struct Pickle;

impl<'de> Visitor<'de> for Pickle {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the pickle of a value of Python's")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<Value, D::Error> {
        inner.deserialize_byte_buf(self)
    }

    fn visit_bytes<E: de::Error>(self, pickle: &[u8]) -> Result<Value, E> {
        Value::from_bytes(pickle).map_err(E::custom)
    }
}
