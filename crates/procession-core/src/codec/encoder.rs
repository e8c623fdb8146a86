//! Writes values.

use std::fmt::{Display, Write};

use procession_sys::plain;
use serde::{Serialize, Serializer, ser};

use super::depth::Depth;
use super::fault::Fault;
use super::varint;

/// How much room is made at the beginning and behind a block. Most small values fit, and what follows a block, so that the buffer
/// neither grows in steps of a few bytes nor doubles for the last ones.
const ROOM_BYTES: usize = 64;

type Result<T = ()> = std::result::Result<T, Fault>;

/// Writes one value at the end of a buffer.
///
/// If it is an `ELEMENT` of a sequence, its integers have a fixed width.
pub(super) struct Encoder<'a, const ELEMENT: bool> {
    out: &'a mut Vec<u8>,
    depth: Depth,
}

/// Writes the values in a value. Those of a sequence, its `ELEMENTS`, take a byte at least.
pub(super) struct Parts<'a, const ELEMENTS: bool> {
    out: &'a mut Vec<u8>,
    depth: Depth,
}

impl<'a> Encoder<'a, false> {
    #[inline]
    pub(super) fn new(out: &'a mut Vec<u8>) -> Self {
        if out.capacity() == out.len() {
            out.reserve(ROOM_BYTES);
        }
        Self { out, depth: Depth::of_the_whole() }
    }
}

impl<'a, const ELEMENT: bool> Encoder<'a, ELEMENT> {
    /// For what is in an option or a variant.
    #[inline]
    fn deeper(self) -> Result<Encoder<'a, false>> {
        Ok(Encoder { depth: self.depth.deeper()?, out: self.out })
    }

    #[inline]
    fn length(&mut self, len: usize) {
        varint::put(self.out, len as u64);
    }

    /// A block of `bytes`, behind the number of them, or of what they are made of.
    #[inline]
    fn block(&mut self, count: usize, bytes: &[u8]) {
        if self.out.capacity() - self.out.len() < varint::MOST + bytes.len() {
            self.out.reserve(varint::MOST + bytes.len() + ROOM_BYTES);
        }
        self.length(count);
        self.out.extend_from_slice(bytes);
    }
}

/// Integers of more than a byte.
macro_rules! integers {
    ($($method:ident($integer:ty) by $put:ident;)*) => { $(
        #[inline]
        fn $method(self, value: $integer) -> Result {
            match ELEMENT {
                true => self.out.extend_from_slice(&value.to_le_bytes()),
                false => varint::$put(self.out, value.into()),
            }
            Ok(())
        }
    )* };
}

impl<'a, const ELEMENT: bool> Serializer for Encoder<'a, ELEMENT> {
    type Ok = ();
    type Error = Fault;
    type SerializeSeq = Parts<'a, true>;
    type SerializeTuple = Parts<'a, false>;
    type SerializeTupleStruct = Parts<'a, false>;
    type SerializeTupleVariant = Parts<'a, false>;
    type SerializeMap = Parts<'a, false>;
    type SerializeStruct = Parts<'a, false>;
    type SerializeStructVariant = Parts<'a, false>;

    integers! {
        serialize_u16(u16) by put;
        serialize_u32(u32) by put;
        serialize_u64(u64) by put;
        serialize_u128(u128) by put_128;
        serialize_i16(i16) by put_signed;
        serialize_i32(i32) by put_signed;
        serialize_i64(i64) by put_signed;
        serialize_i128(i128) by put_signed_128;
    }

    #[inline]
    fn serialize_bool(self, value: bool) -> Result {
        self.serialize_u8(value.into())
    }

    #[inline]
    fn serialize_i8(self, value: i8) -> Result {
        self.serialize_u8(value.cast_unsigned())
    }

    #[inline]
    fn serialize_u8(self, value: u8) -> Result {
        self.out.push(value);
        Ok(())
    }

    #[inline]
    fn serialize_f32(self, value: f32) -> Result {
        self.out.extend_from_slice(&value.to_le_bytes());
        Ok(())
    }

    #[inline]
    fn serialize_f64(self, value: f64) -> Result {
        self.out.extend_from_slice(&value.to_le_bytes());
        Ok(())
    }

    #[inline]
    fn serialize_char(self, value: char) -> Result {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    #[inline]
    fn serialize_str(self, value: &str) -> Result {
        self.serialize_bytes(value.as_bytes())
    }

    #[inline]
    fn serialize_bytes(mut self, value: &[u8]) -> Result {
        self.block(value.len(), value);
        Ok(())
    }

    #[inline]
    fn serialize_none(self) -> Result {
        self.serialize_u8(0)
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result {
        self.out.push(1);
        value.serialize(self.deeper()?)
    }

    #[inline]
    fn serialize_unit(self) -> Result {
        Ok(())
    }

    #[inline]
    fn serialize_unit_struct(self, _name: &'static str) -> Result {
        Ok(())
    }

    #[inline]
    fn serialize_unit_variant(self, _: &'static str, index: u32, _: &'static str) -> Result {
        varint::put(self.out, index.into());
        Ok(())
    }

    /// What is in it stands for it: an element stays one.
    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        value: &T,
    ) -> Result {
        value.serialize(self)
    }

    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        index: u32,
        _variant: &'static str,
        value: &T,
    ) -> Result {
        varint::put(self.out, index.into());
        value.serialize(self.deeper()?)
    }

    #[inline]
    fn serialize_seq(mut self, len: Option<usize>) -> Result<Parts<'a, true>> {
        let depth = self.depth.deeper()?;
        self.length(len.ok_or_else(unknown_length)?);
        Ok(Parts { out: self.out, depth })
    }

    #[inline]
    fn serialize_tuple(self, _len: usize) -> Result<Parts<'a, false>> {
        Ok(Parts { out: self.out, depth: self.depth })
    }

    #[inline]
    fn serialize_tuple_struct(self, _: &'static str, len: usize) -> Result<Parts<'a, false>> {
        self.serialize_tuple(len)
    }

    #[inline]
    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        index: u32,
        _variant: &'static str,
        _len: usize,
    ) -> Result<Parts<'a, false>> {
        varint::put(self.out, index.into());
        Ok(Parts { depth: self.depth.deeper()?, out: self.out })
    }

    #[inline]
    fn serialize_map(mut self, len: Option<usize>) -> Result<Parts<'a, false>> {
        let depth = self.depth.deeper()?;
        self.length(len.ok_or_else(unknown_length)?);
        Ok(Parts { out: self.out, depth })
    }

    #[inline]
    fn serialize_struct(self, _name: &'static str, len: usize) -> Result<Parts<'a, false>> {
        self.serialize_tuple(len)
    }

    #[inline]
    fn serialize_struct_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Parts<'a, false>> {
        self.serialize_tuple_variant(name, index, variant, len)
    }

    /// Every slice and every vector comes through here, whatever holds it: those of numbers are copied at once.
    #[inline]
    fn collect_seq<I: IntoIterator<Item: Serialize>>(mut self, iter: I) -> Result {
        if let Some(numbers) = plain::block_behind(&iter) {
            self.depth.deeper()?;
            self.block(numbers.count, numbers.bytes);
            return Ok(());
        }
        let mut iter = iter.into_iter();
        let len = match iter.size_hint() {
            (low, Some(high)) if low == high => Some(low),
            _ => None,
        };
        let mut parts = self.serialize_seq(len)?;
        iter.try_for_each(|value| ser::SerializeSeq::serialize_element(&mut parts, &value))
    }

    /// The text is written once, and the length is put before it afterwards.
    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result {
        struct Text<'a>(&'a mut Vec<u8>);
        impl Write for Text<'_> {
            fn write_str(&mut self, text: &str) -> std::fmt::Result {
                self.0.extend_from_slice(text.as_bytes());
                Ok(())
            }
        }
        let start = self.out.len();
        write!(Text(self.out), "{value}")
            .map_err(|_unsaid| Fault::because("a value could not be written as text"))?;
        let end = self.out.len();
        varint::put(self.out, (end - start) as u64);
        let head_len = self.out.len() - end;
        self.out[start..].rotate_right(head_len);
        Ok(())
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

#[cold]
fn unknown_length() -> Fault {
    Fault::because("a sequence or map does not say how long it is")
}

impl<const ELEMENTS: bool> Parts<'_, ELEMENTS> {
    #[inline]
    fn part<T: Serialize + ?Sized>(&mut self, value: &T) -> Result {
        value.serialize(Encoder::<ELEMENTS> { out: self.out, depth: self.depth })
    }

    /// A part of which there is one for each in a number that is written before them. It takes a byte at least, so that no such
    /// number is larger than what is left to read.
    #[inline]
    fn counted_part<T: Serialize + ?Sized>(&mut self, value: &T) -> Result {
        let start = self.out.len();
        self.part(value)?;
        if self.out.len() == start {
            self.out.push(0);
        }
        Ok(())
    }
}

impl ser::SerializeSeq for Parts<'_, true> {
    type Ok = ();
    type Error = Fault;

    #[inline]
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result {
        self.counted_part(value)
    }

    #[inline]
    fn end(self) -> Result {
        Ok(())
    }
}

impl ser::SerializeMap for Parts<'_, false> {
    type Ok = ();
    type Error = Fault;

    #[inline]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result {
        self.counted_part(key)
    }

    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result {
        self.part(value)
    }

    #[inline]
    fn end(self) -> Result {
        Ok(())
    }
}

/// Parts of which the type says how many there are.
macro_rules! parts {
    ($($trait:ident: $method:ident($($name:ty)?);)*) => { $(
        impl ser::$trait for Parts<'_, false> {
            type Ok = ();
            type Error = Fault;

            #[inline]
            fn $method<T: Serialize + ?Sized>(&mut self, $(_: $name,)? value: &T) -> Result {
                self.part(value)
            }

            #[inline]
            fn end(self) -> Result {
                Ok(())
            }
        }
    )* };
}

parts! {
    SerializeTuple: serialize_element();
    SerializeTupleStruct: serialize_field();
    SerializeTupleVariant: serialize_field();
    SerializeStruct: serialize_field(&'static str);
    SerializeStructVariant: serialize_field(&'static str);
}
