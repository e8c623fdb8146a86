//! Which visitor makes a vector of numbers.
//!
//! `Vec<u32>` decodes itself by a visitor, which takes the numbers one by one. A decoder that knows the visitor can make the
//! vector itself. That the visitor makes a `Vec<u32>` is not enough: somebody else's may make it of other elements, or in
//! another order. So `Vec<u32>` is asked which one is its own, by letting it decode itself from a deserializer that does
//! nothing but look.

use std::any::TypeId;
use std::fmt;

use serde::de::{self, DeserializeOwned, Visitor};
use serde::{Deserializer, forward_to_deserialize_any};

/// Whether `V` is what a `Vec` of numbers decodes itself by, so that what comes of it is the vector and nothing else.
#[inline]
pub(super) fn makes_number_vec<'de, V: Visitor<'de>>() -> bool {
    let made = typeid::of::<V::Value>();
    macro_rules! any_of {
        ($($number:ty)*) => { $(
            (made == TypeId::of::<Vec<$number>>() && visitor_of::<Vec<$number>>() == Some(typeid::of::<V>()))
        )||* };
    }
    any_of!(u8 i8 u16 i16 u32 i32 u64 i64 u128 i128 usize isize f32 f64)
}

/// The visitor that `T` takes a sequence by.
#[inline]
fn visitor_of<T: DeserializeOwned>() -> Option<TypeId> {
    T::deserialize(Look).err()?.0
}

/// Tells what visitor comes with the wish for a sequence.
struct Look;

/// The visitor, as an error, because there is no value.
#[derive(Debug)]
struct Seen(Option<TypeId>);

impl<'de> Deserializer<'de> for Look {
    type Error = Seen;

    #[inline]
    fn deserialize_seq<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Seen> {
        Err(Seen(Some(typeid::of::<V>())))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Seen> {
        Err(Seen(None))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl de::Error for Seen {
    fn custom<T: fmt::Display>(_text: T) -> Self {
        Self(None)
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing is decoded")
    }
}

impl std::error::Error for Seen {}
