//! What a list holds.

use std::fmt;

use procession_core::{Error, ErrorKind, Result};

/// An item of a [`ShareableList`](crate::ShareableList): a value of one of the types that CPython has in them.
///
/// Items are equal when type and value are; in Python `1`, `1.0` and `True` are equal.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// An integer of 64 bits.
    Int(i64),
    /// A float.
    Float(f64),
    /// True or false.
    Bool(bool),
    /// Text, without zeros at its end.
    Str(String),
    /// Bytes, without zeros at their end.
    Bytes(Vec<u8>),
    /// Nothing.
    None,
}

/// Slots are as long as a multiple of so many bytes.
pub(super) const ALIGN: usize = 8;
/// The longest slot whose length has a place in a format: seven digits and an `s`.
pub(super) const LONGEST: usize = 9_999_992;

/// How an item is written down, beside its bytes: a format of Python's `struct`, and a code that says what is made of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Form {
    format: Format,
    code: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Int,
    Float,
    Bool,
    None,
    /// So many bytes.
    Bytes(usize),
}

const INT: &[u8; 8] = b"q\0\0\0\0\0\0\0";
const FLOAT: &[u8; 8] = b"d\0\0\0\0\0\0\0";
const BOOL: &[u8; 8] = b"xxxxxxx?";
const NONE: &[u8; 8] = b"xxxxxx?x";

impl Form {
    /// That of `item` in a slot of `slot` bytes.
    pub(super) fn of(item: &Item, slot: usize) -> Self {
        let (format, code) = match item {
            Item::Int(_) => (Format::Int, 0),
            Item::Float(_) => (Format::Float, 0),
            Item::Bool(_) => (Format::Bool, 0),
            Item::Str(_) => (Format::Bytes(slot), 1),
            Item::Bytes(_) => (Format::Bytes(slot), 2),
            Item::None => (Format::None, 3),
        };
        Self { format, code }
    }

    /// That which stands in a list. `None` when there is no such form.
    pub(super) fn parse(format: [u8; 8], code: u8) -> Option<Self> {
        let form = match (&format, code) {
            (INT, 0) => Format::Int,
            (FLOAT, 0) => Format::Float,
            (BOOL, 0) => Format::Bool,
            (NONE, 3) => Format::None,
            (_, 1 | 2) => Format::Bytes(length(format)?),
            _ => return None,
        };
        Some(Self { format: form, code })
    }

    pub(super) fn format(self) -> [u8; 8] {
        match self.format {
            Format::Int => *INT,
            Format::Float => *FLOAT,
            Format::Bool => *BOOL,
            Format::None => *NONE,
            Format::Bytes(len) => {
                let mut format = [0; 8];
                for (to, from) in format.iter_mut().zip(format!("{len}s").bytes()) {
                    *to = from;
                }
                format
            }
        }
    }

    pub(super) fn code(self) -> u8 {
        self.code
    }

    /// How many bytes of the slot it says something about.
    pub(super) fn len(self) -> usize {
        match self.format {
            Format::Bytes(len) => len,
            _ => ALIGN,
        }
    }

    /// The item that these bytes are, [`len`](Self::len) of them. `None` for text that is not UTF-8.
    pub(super) fn read(self, mut bytes: Vec<u8>) -> Option<Item> {
        let word = || bytes.first_chunk().copied().unwrap_or_default();
        Some(match self.format {
            Format::Int => Item::Int(i64::from_ne_bytes(word())),
            Format::Float => Item::Float(f64::from_ne_bytes(word())),
            Format::Bool => Item::Bool(word()[7] != 0),
            Format::None => Item::None,
            Format::Bytes(_) => {
                let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
                bytes.truncate(end);
                match self.code {
                    1 => Item::Str(String::from_utf8(bytes).ok()?),
                    _ => Item::Bytes(bytes),
                }
            }
        })
    }
}

/// How many bytes a format like `16s` is of.
fn length(format: [u8; 8]) -> Option<usize> {
    let end = format.iter().rposition(|byte| *byte != 0)?;
    let digits = format[..end].iter().all(u8::is_ascii_digit) && format[end] == b's';
    str::from_utf8(&format[..end]).ok().filter(|_| digits)?.parse().ok()
}

impl Item {
    /// The bytes in its slot; what is behind them is zero.
    pub(super) fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Int(number) => number.to_ne_bytes().into(),
            Self::Float(number) => number.to_ne_bytes().into(),
            Self::Bool(value) => vec![0, 0, 0, 0, 0, 0, 0, u8::from(*value)],
            Self::Str(text) => text.as_bytes().into(),
            Self::Bytes(bytes) => bytes.clone(),
            Self::None => vec![0; ALIGN],
        }
    }

    /// How long the slot is that is made for it: for text by its bytes, so that Python, which counts characters, reads all.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] when Python would read something else; [`ErrorKind::TooLarge`] when no format has room for the length.
    pub(super) fn slot(&self) -> Result<usize> {
        let Some(bytes) = self.text() else { return Ok(ALIGN) };
        self.check()?;
        match (bytes.len() / ALIGN + 1) * ALIGN {
            slot if slot <= LONGEST => Ok(slot),
            _ => {
                let text =
                    format!("an item of {} bytes; a list has up to {}", bytes.len(), LONGEST - 1);
                Err(Error::new(ErrorKind::TooLarge, text))
            }
        }
    }

    /// Refuses what does not come out of a list as it went in.
    pub(super) fn check(&self) -> Result<()> {
        if self.text().is_some_and(|bytes| bytes.last() == Some(&0)) {
            let text = "zeros at the end of a string are lost in a list";
            return Err(Error::new(ErrorKind::InvalidInput, text));
        }
        Ok(())
    }

    /// The bytes of text and bytes.
    pub(super) fn text(&self) -> Option<&[u8]> {
        match self {
            Self::Str(text) => Some(text.as_bytes()),
            Self::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }
}

macro_rules! from {
    ($($ty:ty => $item:ident,)*) => { $(
        impl From<$ty> for Item {
            fn from(value: $ty) -> Self {
                Self::$item(value.into())
            }
        }
    )* };
}

from! {
    i8 => Int,
    i16 => Int,
    i32 => Int,
    i64 => Int,
    u8 => Int,
    u16 => Int,
    u32 => Int,
    f32 => Float,
    f64 => Float,
    bool => Bool,
    &str => Str,
    String => Str,
    &[u8] => Bytes,
    Vec<u8> => Bytes,
}

impl<const N: usize> From<&[u8; N]> for Item {
    fn from(bytes: &[u8; N]) -> Self {
        Self::Bytes(bytes.into())
    }
}

impl<T: Into<Self>> From<Option<T>> for Item {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::None, Into::into)
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(number) => number.fmt(f),
            Self::Float(number) => write!(f, "{number:?}"),
            Self::Bool(value) => value.fmt(f),
            Self::Str(text) => write!(f, "{text:?}"),
            Self::Bytes(bytes) => write!(f, "b\"{}\"", bytes.escape_ascii()),
            Self::None => f.write_str("None"),
        }
    }
}
