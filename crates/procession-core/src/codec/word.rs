//! Values that are one word: numbers, and what is nothing but a number.
//!
//! Where many of them go the same way, they need neither lengths nor variable widths: each is a word of its own.

use serde::Serialize;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, SeqAccess, Visitor};
use serde::ser::{Impossible, SerializeTuple, Serializer};

use super::fault::Fault;
use crate::{Error, ErrorKind, Result};

/// The word that a value is, if it is one: an integer of at most 64 bits, a float, a `bool`, a `char`, the unit, or a structure
/// of nothing but one of these.
///
/// # Examples
///
/// ```
/// use procession_core::codec::{from_word, to_word};
///
/// let word = to_word(&(-7i16,)).unwrap();
/// assert_eq!(from_word::<i16>(word).unwrap(), -7);
/// assert_eq!(to_word("seven"), None);
/// ```
#[inline(always)]
pub fn to_word<T: Serialize + ?Sized>(value: &T) -> Option<u64> {
    value.serialize(ToWord).ok()
}

/// The value that is this word.
///
/// # Errors
///
/// [`ErrorKind::Decode`] when this type is no word, or refuses this one.
#[inline(always)]
pub fn from_word<T: DeserializeOwned>(word: u64) -> Result<T> {
    T::deserialize(FromWord(word)).map_err(|fault| refused::<T>(&fault))
}

#[cold]
fn refused<T>(fault: &Fault) -> Error {
    let type_name = std::any::type_name::<T>();
    Error::new(ErrorKind::Decode, format!("could not make a {type_name} of a word"))
        .caused_by(fault)
}

struct ToWord;

#[cold]
fn no_word<T>() -> Result<T, Fault> {
    Err(Fault::because("not a word"))
}

macro_rules! words {
    ($($serialize:ident $type:ty, |$value:ident| $word:expr;)*) => {$(
        #[inline(always)]
        fn $serialize(self, $value: $type) -> Result<u64, Fault> {
            Ok($word)
        }
    )*};
}

impl Serializer for ToWord {
    type Ok = u64;
    type Error = Fault;
    type SerializeSeq = Impossible<u64, Fault>;
    type SerializeTuple = OnlyOne;
    type SerializeTupleStruct = Impossible<u64, Fault>;
    type SerializeTupleVariant = Impossible<u64, Fault>;
    type SerializeMap = Impossible<u64, Fault>;
    type SerializeStruct = Impossible<u64, Fault>;
    type SerializeStructVariant = Impossible<u64, Fault>;

    words! {
        serialize_bool bool, |value| value.into();
        serialize_i8 i8, |value| i64::from(value).cast_unsigned();
        serialize_i16 i16, |value| i64::from(value).cast_unsigned();
        serialize_i32 i32, |value| i64::from(value).cast_unsigned();
        serialize_i64 i64, |value| value.cast_unsigned();
        serialize_u8 u8, |value| value.into();
        serialize_u16 u16, |value| value.into();
        serialize_u32 u32, |value| value.into();
        serialize_u64 u64, |value| value;
        serialize_f32 f32, |value| value.to_bits().into();
        serialize_f64 f64, |value| value.to_bits();
        serialize_char char, |value| u32::from(value).into();
    }

    #[inline(always)]
    fn serialize_unit(self) -> Result<u64, Fault> {
        Ok(0)
    }

    #[inline(always)]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        value: &T,
    ) -> Result<u64, Fault> {
        value.serialize(self)
    }

    #[inline(always)]
    fn serialize_tuple(self, len: usize) -> Result<OnlyOne, Fault> {
        match len {
            1 => Ok(OnlyOne(None)),
            _ => no_word(),
        }
    }

    fn serialize_str(self, _value: &str) -> Result<u64, Fault> {
        no_word()
    }

    fn serialize_bytes(self, _value: &[u8]) -> Result<u64, Fault> {
        no_word()
    }

    fn serialize_none(self) -> Result<u64, Fault> {
        no_word()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _value: &T) -> Result<u64, Fault> {
        no_word()
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<u64, Fault> {
        no_word()
    }

    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
    ) -> Result<u64, Fault> {
        no_word()
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _value: &T,
    ) -> Result<u64, Fault> {
        no_word()
    }

    fn serialize_seq(self, _len: Option<usize>) -> Result<Self::SerializeSeq, Fault> {
        no_word()
    }

    fn serialize_tuple_struct(
        self,
        _name: &'static str,
        _len: usize,
    ) -> Result<Self::SerializeTupleStruct, Fault> {
        no_word()
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _len: usize,
    ) -> Result<Self::SerializeTupleVariant, Fault> {
        no_word()
    }

    fn serialize_map(self, _len: Option<usize>) -> Result<Self::SerializeMap, Fault> {
        no_word()
    }

    fn serialize_struct(
        self,
        _name: &'static str,
        _len: usize,
    ) -> Result<Self::SerializeStruct, Fault> {
        no_word()
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _len: usize,
    ) -> Result<Self::SerializeStructVariant, Fault> {
        no_word()
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// A tuple of one.
struct OnlyOne(Option<u64>);

impl SerializeTuple for OnlyOne {
    type Ok = u64;
    type Error = Fault;

    #[inline(always)]
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        self.0 = Some(value.serialize(ToWord)?);
        Ok(())
    }

    #[inline(always)]
    fn end(self) -> Result<u64, Fault> {
        self.0.map_or_else(no_word, Ok)
    }
}

struct FromWord(u64);

impl FromWord {
    /// The word as a shorter number, which it must fit.
    #[inline(always)]
    fn narrow<T: TryFrom<u64>>(self) -> Result<T, Fault> {
        T::try_from(self.0).map_err(|_too_large| Fault::because("the word is too large"))
    }

    #[inline(always)]
    fn narrow_signed<T: TryFrom<i64>>(self) -> Result<T, Fault> {
        let number = self.0.cast_signed();
        T::try_from(number).map_err(|_too_large| Fault::because("the word is too large"))
    }
}

macro_rules! from_words {
    ($($deserialize:ident $visit:ident |$this:ident| $value:expr;)*) => {$(
        #[inline(always)]
        fn $deserialize<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            let $this = self;
            visitor.$visit($value)
        }
    )*};
}

impl<'de> Deserializer<'de> for FromWord {
    type Error = Fault;

    from_words! {
        deserialize_i8 visit_i8 |word| word.narrow_signed()?;
        deserialize_i16 visit_i16 |word| word.narrow_signed()?;
        deserialize_i32 visit_i32 |word| word.narrow_signed()?;
        deserialize_i64 visit_i64 |word| word.0.cast_signed();
        deserialize_u8 visit_u8 |word| word.narrow()?;
        deserialize_u16 visit_u16 |word| word.narrow()?;
        deserialize_u32 visit_u32 |word| word.narrow()?;
        deserialize_u64 visit_u64 |word| word.0;
        deserialize_f32 visit_f32 |word| f32::from_bits(word.narrow()?);
        deserialize_f64 visit_f64 |word| f64::from_bits(word.0);
    }

    #[inline(always)]
    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.0 {
            0 => visitor.visit_bool(false),
            1 => visitor.visit_bool(true),
            _ => Err(Fault::because("the word is no bool")),
        }
    }

    #[inline(always)]
    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let number: u32 = self.narrow()?;
        let char = char::from_u32(number).ok_or_else(|| Fault::because("the word is no char"));
        visitor.visit_char(char?)
    }

    #[inline(always)]
    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }

    #[inline(always)]
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    #[inline(always)]
    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Fault> {
        match len {
            1 => visitor.visit_seq(OneWord(Some(self.0))),
            _ => no_word(),
        }
    }

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Fault> {
        no_word()
    }

    fn is_human_readable(&self) -> bool {
        false
    }

    serde::forward_to_deserialize_any! {
        i128 u128 str string bytes byte_buf option unit_struct seq tuple_struct map struct enum identifier ignored_any
    }
}

/// The element of a tuple of one.
struct OneWord(Option<u64>);

impl<'de> SeqAccess<'de> for OneWord {
    type Error = Fault;

    #[inline(always)]
    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Fault> {
        match self.0.take() {
            Some(word) => seed.deserialize(FromWord(word)).map(Some),
            None => Ok(None),
        }
    }

    fn size_hint(&self) -> Option<usize> {
        Some(usize::from(self.0.is_some()))
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;
    use std::num::NonZeroU8;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Metres(f64);

    fn comes_back<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: T) {
        let word = to_word(&value).unwrap();
        assert_eq!(from_word::<T>(word).unwrap(), value);
        assert_eq!(from_word::<(T,)>(to_word(&(&value,)).unwrap()).unwrap().0, value);
    }

    #[test]
    fn numbers_and_what_is_nothing_else_are_words() {
        comes_back(i8::MIN);
        comes_back(i16::MIN);
        comes_back(i32::MIN);
        comes_back(i64::MIN);
        comes_back(u8::MAX);
        comes_back(u16::MAX);
        comes_back(u32::MAX);
        comes_back(u64::MAX);
        comes_back(usize::MAX);
        comes_back(isize::MIN);
        comes_back(-0.5f32);
        comes_back(f64::MAX);
        comes_back(true);
        comes_back('\u{1f980}');
        comes_back(());
        comes_back(Metres(-1.5));
        comes_back(NonZeroU8::MAX);
    }

    #[test]
    fn others_are_not() {
        assert_eq!(to_word("text"), None);
        assert_eq!(to_word(&Some(1)), None);
        assert_eq!(to_word(&(1, 2)), None);
        assert_eq!(to_word(&[1, 2]), None);
        assert_eq!(to_word(&1u128), None);
        assert_eq!(to_word(&vec![1]), None);
        assert_eq!(to_word(&crate::Handle(std::io::stdin())), None, "a handle travels in messages");
    }

    #[test]
    fn words_that_do_not_fit_are_refused() {
        assert!(from_word::<u8>(256).is_err());
        assert!(from_word::<i8>(128).is_err());
        assert!(from_word::<bool>(2).is_err());
        assert!(from_word::<char>(0xd800).is_err());
        assert!(from_word::<NonZeroU8>(0).is_err());
        assert!(from_word::<String>(0).is_err());
        assert!(from_word::<(u8, u8)>(0).is_err());
    }
}
