//! Ordinary Rust types as pickles, by serde.
//!
//! | Rust | Python |
//! |---|---|
//! | `()`, `None`, a unit struct | `None` |
//! | `bool`, integers of up to 128 bits, floats | `bool`, `int`, `float` |
//! | `char`, `str`, `String` | `str` |
//! | `serialize_bytes` | `bytes` |
//! | `Vec` and other sequences, also of `u8` | `list` |
//! | tuples, arrays, tuple structs | `tuple` |
//! | maps | `dict` |
//! | a struct | `dict` with the names of its fields |
//! | a newtype | what is in it |
//! | a variant without content | its name, `str` |
//! | another variant | `dict` of one item: its name, and its content |
//! | [`Value`](crate::Value) | itself |

use procession_core::Result;
use serde::ser::{
    Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

use crate::fault::Fault;
use crate::int::BigInt;
use crate::pickle::{opcode, writer};
use crate::value::Value;

/// The name of the newtype as which a [`Value`] goes to its own serializer, with its pickle as bytes.
pub(crate) const TOKEN: &str = "procession_python::Value";

/// Writes a value as a pickle of protocol 3: see the table of `docs/python.md`.
///
/// # Errors
///
/// [`Encode`](procession_core::ErrorKind::Encode) when the value refuses, or is nested too deep.
///
/// # Examples
///
/// ```
/// use procession_python::{Value, to_bytes};
///
/// let pickle = to_bytes(&vec![1, 2])?;
/// assert_eq!(Value::from_bytes(&pickle)?, Value::from(vec![1.into(), 2.into()]));
/// # Ok::<(), procession_core::Error>(())
/// ```
pub fn to_bytes<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    writer::begin(&mut out);
    append_bare(value, &mut out)?;
    writer::end(&mut out);
    Ok(out)
}

/// Appends what puts a value on the stack.
pub(crate) fn append_bare<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<()> {
    value.serialize(Pickler { out, depth: 0 }).map_err(|fault| fault.0)
}

/// The [`Value`] that the peer would see.
///
/// # Errors
///
/// As [`to_bytes`].
///
/// # Examples
///
/// ```
/// use procession_python::{Value, to_value};
///
/// assert_eq!(to_value(&Some("x"))?, Value::from("x"));
/// # Ok::<(), procession_core::Error>(())
/// ```
pub fn to_value<T: Serialize + ?Sized>(value: &T) -> Result<Value> {
    Value::from_bytes(&to_bytes(value)?)
}

/// What puts a value on the stack of whoever reads.
struct Pickler<'a> {
    out: &'a mut Vec<u8>,
    depth: usize,
}

impl<'a> Pickler<'a> {
    /// Of what lies one deeper.
    fn parts(self, close: Close) -> Result<Parts<'a>, Fault> {
        writer::check_depth(self.depth + 1)?;
        Ok(Parts { out: self.out, depth: self.depth + 1, close })
    }

    /// The dict of a variant, as far as its name.
    fn variant(self, name: &str) -> Self {
        self.out.push(opcode::EMPTY_DICT);
        writer::text_bytes(self.out, name.as_bytes());
        Self { out: self.out, depth: self.depth + 1 }
    }

    fn tuple(self, len: usize) -> Result<Parts<'a>, Fault> {
        writer::tuple_opens(self.out, len);
        self.parts(Close::Tuple(len))
    }

    fn dict(self) -> Result<Parts<'a>, Fault> {
        self.out.extend([opcode::EMPTY_DICT, opcode::MARK]);
        self.parts(Close::With(opcode::SETITEMS))
    }
}

impl<'a> Serializer for Pickler<'a> {
    type Ok = ();
    type Error = Fault;
    type SerializeSeq = Parts<'a>;
    type SerializeTuple = Parts<'a>;
    type SerializeTupleStruct = Parts<'a>;
    type SerializeTupleVariant = Parts<'a>;
    type SerializeMap = Parts<'a>;
    type SerializeStruct = Parts<'a>;
    type SerializeStructVariant = Parts<'a>;

    fn serialize_bool(self, truth: bool) -> Result<(), Fault> {
        writer::boolean(self.out, truth);
        Ok(())
    }

    fn serialize_i8(self, number: i8) -> Result<(), Fault> {
        self.serialize_i64(number.into())
    }

    fn serialize_i16(self, number: i16) -> Result<(), Fault> {
        self.serialize_i64(number.into())
    }

    fn serialize_i32(self, number: i32) -> Result<(), Fault> {
        self.serialize_i64(number.into())
    }

    fn serialize_i64(self, number: i64) -> Result<(), Fault> {
        writer::int(self.out, number);
        Ok(())
    }

    fn serialize_i128(self, number: i128) -> Result<(), Fault> {
        self.number(&number.into())
    }

    fn serialize_u8(self, number: u8) -> Result<(), Fault> {
        self.serialize_i64(number.into())
    }

    fn serialize_u16(self, number: u16) -> Result<(), Fault> {
        self.serialize_i64(number.into())
    }

    fn serialize_u32(self, number: u32) -> Result<(), Fault> {
        self.serialize_i64(number.into())
    }

    fn serialize_u64(self, number: u64) -> Result<(), Fault> {
        self.number(&BigInt::from_le_bytes(&u128::from(number).to_le_bytes()))
    }

    fn serialize_u128(self, number: u128) -> Result<(), Fault> {
        self.number(&number.into())
    }

    fn serialize_f32(self, number: f32) -> Result<(), Fault> {
        self.serialize_f64(number.into())
    }

    fn serialize_f64(self, number: f64) -> Result<(), Fault> {
        writer::float(self.out, number);
        Ok(())
    }

    fn serialize_char(self, char: char) -> Result<(), Fault> {
        self.serialize_str(char.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, text: &str) -> Result<(), Fault> {
        writer::text_bytes(self.out, text.as_bytes());
        Ok(())
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Result<(), Fault> {
        writer::bytes(self.out, bytes);
        Ok(())
    }

    fn serialize_none(self) -> Result<(), Fault> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Fault> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Fault> {
        self.out.push(opcode::NONE);
        Ok(())
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<(), Fault> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _number: u32,
        variant: &'static str,
    ) -> Result<(), Fault> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Fault> {
        if name != TOKEN {
            return value.serialize(self);
        }
        let mut pickle = Vec::new();
        value.serialize(Pickler { out: &mut pickle, depth: 0 })?;
        splice(self.out, &pickle)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _number: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Fault> {
        let Pickler { out, depth } = self.variant(variant);
        writer::check_depth(depth)?;
        value.serialize(Pickler { out, depth })?;
        out.push(opcode::SETITEM);
        Ok(())
    }

    fn serialize_seq(self, _len: Option<usize>) -> Result<Parts<'a>, Fault> {
        self.out.extend([opcode::EMPTY_LIST, opcode::MARK]);
        self.parts(Close::With(opcode::APPENDS))
    }

    fn serialize_tuple(self, len: usize) -> Result<Parts<'a>, Fault> {
        self.tuple(len)
    }

    fn serialize_tuple_struct(self, _name: &'static str, len: usize) -> Result<Parts<'a>, Fault> {
        self.tuple(len)
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _number: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Parts<'a>, Fault> {
        let inner = self.variant(variant);
        writer::tuple_opens(inner.out, len);
        inner.parts(Close::TupleOfVariant(len))
    }

    fn serialize_map(self, _len: Option<usize>) -> Result<Parts<'a>, Fault> {
        self.dict()
    }

    fn serialize_struct(self, _name: &'static str, _len: usize) -> Result<Parts<'a>, Fault> {
        self.dict()
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _number: u32,
        variant: &'static str,
        _len: usize,
    ) -> Result<Parts<'a>, Fault> {
        let inner = self.variant(variant);
        inner.out.extend([opcode::EMPTY_DICT, opcode::MARK]);
        inner.parts(Close::DictOfVariant)
    }
}

impl Pickler<'_> {
    fn number(self, number: &Value) -> Result<(), Fault> {
        Ok(writer::write(self.out, number, self.depth)?)
    }
}

/// Puts a value where its pickle came as bytes, without what begins and ends that.
fn splice(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), Fault> {
    let pickle = match bytes {
        [opcode::SHORT_BINBYTES, _, pickle @ ..] => pickle,
        [opcode::BINBYTES, _, _, _, _, pickle @ ..] => pickle,
        [opcode::BINBYTES8, _, _, _, _, _, _, _, _, pickle @ ..] => pickle,
        _ => &[],
    };
    match pickle {
        [opcode::PROTO, protocol, opcodes @ .., opcode::STOP] => {
            if *protocol > 3 {
                writer::look_into_classes(out);
            }
            out.extend_from_slice(opcodes);
        }
        _ => {
            return Err(serde::ser::Error::custom(
                "a value came as something else than its pickle",
            ));
        }
    }
    Ok(())
}

/// What stands behind the parts of a value.
#[derive(Debug, Clone, Copy)]
enum Close {
    With(u8),
    Tuple(usize),
    TupleOfVariant(usize),
    DictOfVariant,
}

/// The parts of a value that is being written.
pub(crate) struct Parts<'a> {
    out: &'a mut Vec<u8>,
    depth: usize,
    close: Close,
}

impl Parts<'_> {
    #[inline(always)]
    fn part<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        value.serialize(Pickler { out: self.out, depth: self.depth })
    }

    fn field<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<(), Fault> {
        writer::text_bytes(self.out, name.as_bytes());
        self.part(value)
    }

    fn close(self) {
        match self.close {
            Close::With(opcode) => self.out.push(opcode),
            Close::Tuple(len) => writer::tuple_closes(self.out, len),
            Close::TupleOfVariant(len) => {
                writer::tuple_closes(self.out, len);
                self.out.push(opcode::SETITEM);
            }
            Close::DictOfVariant => self.out.extend([opcode::SETITEMS, opcode::SETITEM]),
        }
    }
}

/// The traits of sequences, which differ in names only.
macro_rules! sequence {
    ($($of:ident :: $element:ident),*) => {$(
        impl $of for Parts<'_> {
            type Ok = ();
            type Error = Fault;

            #[inline(always)]
            fn $element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
                self.part(value)
            }

            fn end(self) -> Result<(), Fault> {
                self.close();
                Ok(())
            }
        }
    )*};
}

sequence!(
    SerializeSeq::serialize_element,
    SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field,
    SerializeTupleVariant::serialize_field
);

/// The traits of structs, which differ in names only.
macro_rules! fields {
    ($($of:ident),*) => {$(
        impl $of for Parts<'_> {
            type Ok = ();
            type Error = Fault;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<(), Fault> {
                self.field(name, value)
            }

            fn end(self) -> Result<(), Fault> {
                self.close();
                Ok(())
            }
        }
    )*};
}

fields!(SerializeStruct, SerializeStructVariant);

impl SerializeMap for Parts<'_> {
    type Ok = ();
    type Error = Fault;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Fault> {
        self.part(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        self.part(value)
    }

    fn end(self) -> Result<(), Fault> {
        self.close();
        Ok(())
    }
}

impl Serialize for Value {
    /// As its pickle, in bytes: in any format, so that a value also travels through pipes and queues.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let pickle = self.to_bytes().map_err(serde::ser::Error::custom)?;
        serializer.serialize_newtype_struct(TOKEN, &Pickle(&pickle))
    }
}

struct Pickle<'a>(&'a [u8]);

impl Serialize for Pickle<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}
