//! Reads values.

use procession_sys::plain;
use serde::de::{self, DeserializeSeed, IntoDeserializer, Visitor};

use super::depth::Depth;
use super::fault::Fault;
use super::{varint, visitors};

type Result<T> = std::result::Result<T, Fault>;

/// Reads one value off the front of bytes.
///
/// If it is an `ELEMENT` of a sequence, its integers have a fixed width.
pub(super) struct Decoder<'a, 'de, const ELEMENT: bool> {
    input: &'a mut &'de [u8],
    depth: Depth,
}

/// Reads the values in a value. Those of a sequence, its `ELEMENTS`, take a byte at least.
struct Parts<'a, 'de, const ELEMENTS: bool> {
    input: &'a mut &'de [u8],
    depth: Depth,
    left: usize,
}

impl<'a, 'de> Decoder<'a, 'de, false> {
    pub(super) fn new(input: &'a mut &'de [u8]) -> Self {
        Self { input, depth: Depth::of_the_whole() }
    }
}

#[inline]
fn byte(input: &mut &[u8]) -> Result<u8> {
    let (&byte, rest) = input.split_first().ok_or_else(Fault::end)?;
    *input = rest;
    Ok(byte)
}

#[inline]
fn bytes<'de>(input: &mut &'de [u8], len: usize) -> Result<&'de [u8]> {
    let (bytes, rest) = input.split_at_checked(len).ok_or_else(Fault::end)?;
    *input = rest;
    Ok(bytes)
}

#[inline]
fn array<const LEN: usize>(input: &mut &[u8]) -> Result<[u8; LEN]> {
    let (&array, rest) = input.split_first_chunk().ok_or_else(Fault::end)?;
    *input = rest;
    Ok(array)
}

/// How many things follow, each of which takes a byte at least.
#[inline]
fn length(input: &mut &[u8]) -> Result<usize> {
    let len = varint::take::<64>(input)?;
    usize::try_from(len).ok().filter(|&len| len <= input.len()).ok_or_else(Fault::end)
}

#[inline]
fn text<'de>(input: &mut &'de [u8]) -> Result<&'de str> {
    let len = length(input)?;
    std::str::from_utf8(bytes(input, len)?).map_err(|bad| not_text(&bad))
}

#[cold]
fn not_text(bad: &std::str::Utf8Error) -> Fault {
    Fault::because(bad.to_string())
}

/// The format says neither what a value is nor how long it is.
#[cold]
fn untold() -> Fault {
    Fault::because("the type must say what there is to decode: the bytes do not")
}

/// Integers of more than a byte.
macro_rules! integers {
    ($($method:ident by $visit:ident($integer:ty): $take:expr;)*) => { $(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
            visitor.$visit(match ELEMENT {
                true => <$integer>::from_le_bytes(array(self.input)?),
                false => <$integer>::try_from($take(self.input)?).map_err(|_large| varint::too_large())?,
            })
        }
    )* };
}

impl<'de, const ELEMENT: bool> de::Deserializer<'de> for Decoder<'_, 'de, ELEMENT> {
    type Error = Fault;

    integers! {
        deserialize_u16 by visit_u16(u16): varint::take::<16>;
        deserialize_u32 by visit_u32(u32): varint::take::<32>;
        deserialize_u64 by visit_u64(u64): varint::take::<64>;
        deserialize_u128 by visit_u128(u128): varint::take_128;
        deserialize_i16 by visit_i16(i16): varint::take_signed::<16>;
        deserialize_i32 by visit_i32(i32): varint::take_signed::<32>;
        deserialize_i64 by visit_i64(i64): varint::take_signed::<64>;
        deserialize_i128 by visit_i128(i128): varint::take_signed_128;
    }

    #[inline]
    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match byte(self.input)? {
            0 => visitor.visit_bool(false),
            1 => visitor.visit_bool(true),
            _ => Err(Fault::because("a bool is neither 0 nor 1")),
        }
    }

    #[inline]
    fn deserialize_i8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_i8(byte(self.input)?.cast_signed())
    }

    #[inline]
    fn deserialize_u8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_u8(byte(self.input)?)
    }

    #[inline]
    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_f32(f32::from_le_bytes(array(self.input)?))
    }

    #[inline]
    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_f64(f64::from_le_bytes(array(self.input)?))
    }

    #[inline]
    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let mut chars = text(self.input)?.chars();
        match (chars.next(), chars.next()) {
            (Some(char), None) => visitor.visit_char(char),
            _ => Err(Fault::because("a char is not one character")),
        }
    }

    #[inline]
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_borrowed_str(text(self.input)?)
    }

    #[inline]
    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_str(text(self.input)?)
    }

    #[inline]
    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let len = length(self.input)?;
        visitor.visit_borrowed_bytes(bytes(self.input, len)?)
    }

    #[inline]
    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let len = length(self.input)?;
        visitor.visit_bytes(bytes(self.input, len)?)
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match byte(self.input)? {
            0 => visitor.visit_none(),
            1 => {
                let depth = self.depth.deeper()?;
                visitor.visit_some(Decoder::<false> { input: self.input, depth })
            }
            _ => Err(Fault::because("an option is neither 0 nor 1")),
        }
    }

    #[inline]
    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_unit()
    }

    #[inline]
    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value> {
        visitor.visit_unit()
    }

    /// What is in it stands for it: an element stays one.
    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    /// Every vector comes through here, whatever it is for: those of numbers are copied at once.
    #[inline]
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let depth = self.depth.deeper()?;
        let count = length(self.input)?;
        if visitors::makes_number_vec::<V>()
            && let Some(value) = numbers(self.input, count)?
        {
            return Ok(value);
        }
        let mut parts = Parts::<true> { input: self.input, depth, left: count };
        let value = visitor.visit_seq(&mut parts)?;
        parts.end()?;
        Ok(value)
    }

    #[inline]
    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value> {
        visitor.visit_seq(Parts::<false> { input: self.input, depth: self.depth, left: len })
    }

    #[inline]
    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value> {
        self.deserialize_tuple(len, visitor)
    }

    #[inline]
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let depth = self.depth.deeper()?;
        let count = length(self.input)?;
        let mut parts = Parts::<false> { input: self.input, depth, left: count };
        let value = visitor.visit_map(&mut parts)?;
        parts.end()?;
        Ok(value)
    }

    #[inline]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        self.deserialize_tuple(fields.len(), visitor)
    }

    #[inline]
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        visitor.visit_enum(Decoder::<false> { input: self.input, depth: self.depth })
    }

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value> {
        Err(untold())
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value> {
        Err(untold())
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value> {
        Err(untold())
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// `count` numbers as a `T`, when that is a vector of numbers.
#[inline]
fn numbers<T>(input: &mut &[u8], count: usize) -> Result<Option<T>> {
    let Some(mut value) = plain::number_vec::<T>() else { return Ok(None) };
    if let Some(vec) = plain::as_number_vec(&mut value) {
        let len = count.checked_mul(vec.width_bytes()).ok_or_else(Fault::end)?;
        vec.append(bytes(input, len)?);
    }
    Ok(Some(value))
}

impl<'de, const ELEMENTS: bool> Parts<'_, 'de, ELEMENTS> {
    #[inline]
    fn part<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value> {
        seed.deserialize(Decoder::<ELEMENTS> { input: self.input, depth: self.depth })
    }

    /// A part of which there are as many as was announced: one without bytes is a zero.
    #[inline]
    fn counted_part<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value> {
        let before = self.input.len();
        let value = self.part(seed)?;
        if self.input.len() == before && byte(self.input)? != 0 {
            return Err(Fault::because("an element without content is not a zero"));
        }
        Ok(value)
    }

    /// What is read next would be something else, if the type has left some.
    #[inline]
    fn end(&self) -> Result<()> {
        match self.left {
            0 => Ok(()),
            _ => Err(Fault::because("the type takes fewer elements than there are")),
        }
    }
}

impl<'de, const ELEMENTS: bool> de::SeqAccess<'de> for Parts<'_, 'de, ELEMENTS> {
    type Error = Fault;

    #[inline]
    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        match ELEMENTS {
            true => self.counted_part(seed).map(Some),
            false => self.part(seed).map(Some),
        }
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

impl<'de> de::MapAccess<'de> for Parts<'_, 'de, false> {
    type Error = Fault;

    #[inline]
    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        self.counted_part(seed).map(Some)
    }

    #[inline]
    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value> {
        self.part(seed)
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

impl<'de> de::EnumAccess<'de> for Decoder<'_, 'de, false> {
    type Error = Fault;
    type Variant = Self;

    #[inline]
    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self)> {
        let index =
            u32::try_from(varint::take::<32>(self.input)?).map_err(|_large| varint::too_large())?;
        Ok((seed.deserialize(index.into_deserializer())?, self))
    }
}

impl<'de> de::VariantAccess<'de> for Decoder<'_, 'de, false> {
    type Error = Fault;

    #[inline]
    fn unit_variant(self) -> Result<()> {
        Ok(())
    }

    #[inline]
    fn newtype_variant_seed<S: DeserializeSeed<'de>>(mut self, seed: S) -> Result<S::Value> {
        self.depth = self.depth.deeper()?;
        seed.deserialize(self)
    }

    #[inline]
    fn tuple_variant<V: Visitor<'de>>(mut self, len: usize, visitor: V) -> Result<V::Value> {
        self.depth = self.depth.deeper()?;
        de::Deserializer::deserialize_tuple(self, len, visitor)
    }

    #[inline]
    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        self.tuple_variant(fields.len(), visitor)
    }
}
