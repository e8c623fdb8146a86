//! How values become bytes.
//!
//! [`Codec`] is a format, and [`Postcard`] the one that is used; [`as_block`] and [`block_target`] let a transport carry what
//! is a block of bytes anyhow without encoding it. The format is written by `encoder` and read by `decoder`, for serde's
//! data model as it stands; both look for vectors of numbers on the way, and copy those at once. That changes no byte.

mod block;
mod decoder;
mod depth;
mod encoder;
mod fault;
mod target;
mod varint;
mod visitors;
mod word;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use block::{Block, as_block};
pub use target::{BlockBuilder, BlockTarget, block_target};
pub use word::{from_word, to_word};

use crate::{Error, ErrorKind, Result};
use decoder::Decoder;
use encoder::Encoder;
use fault::Fault;

/// A format for values between processes.
///
/// A codec decides about bytes only. What cannot be bytes (descriptors) is attached by the value itself while it is
/// encoded: see [`attach`](crate::attach).
pub trait Codec {
    /// Appends the bytes of `value` to `out`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Encode`] when the value refuses or the format cannot express it; a part of it may be in `out` then.
    fn append<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<()>;

    /// Appends the bytes of `value` to `out`, and gives that back.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Encode`] when the value refuses or the format cannot express it; `out` is lost then.
    fn encode_into<T: Serialize + ?Sized>(value: &T, mut out: Vec<u8>) -> Result<Vec<u8>> {
        Self::append(value, &mut out).map(|()| out)
    }

    /// Reads a value that takes up all of `bytes`, which may come from anybody.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Decode`] when the bytes are not one whole value of this type.
    fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T>;
}

/// The codec of this workspace: compact, positional, without names.
///
/// It is the postcard wire format but for sequences, the keys of maps, and depth:
///
/// - **Integers that are elements of a sequence have a fixed width**, little-endian, where postcard has varints. So `Vec<u64>`,
///   `Vec<f32>`, `String` and their like are blocks, wherever they stand in a value, and are copied at once. `usize` and
///   `isize` have 8 bytes. It makes no difference what holds the sequence (`Vec<&u32>`, `BTreeSet<u32>`), nor whether the
///   integers are in newtypes; an integer deeper in an element (in an `Option`, a tuple) is a varint. Tuples and arrays have no
///   length, and are no sequences.
/// - **Each element of a sequence and each key of a map takes a byte at least**: one that has none is a zero byte. So no
///   sequence is longer than the bytes that are left.
/// - **At most 256 options, variants, sequences and maps are nested in each other**. More are an error at both ends, before they
///   are a stack overflow.
///
/// Bytes from anybody are a value or an [`ErrorKind::Decode`]. They take memory in proportion to how many they are, whatever
/// length they announce.
///
/// # Source
///
/// The postcard wire format, <https://postcard.jamesmunns.com/wire-format>.
#[derive(Debug, Clone, Copy, Default)]
pub struct Postcard;

impl Codec for Postcard {
    #[inline]
    fn append<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<()> {
        value.serialize(Encoder::new(out)).map_err(|fault| not_encoded::<T>(&fault))
    }

    #[inline]
    fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
        let mut rest = bytes;
        let value =
            T::deserialize(Decoder::new(&mut rest)).map_err(|fault| not_decoded::<T>(&fault))?;
        match rest.len() {
            0 => Ok(value),
            left => Err(left_over::<T>(left, bytes.len())),
        }
    }
}

#[cold]
fn not_encoded<T: ?Sized>(fault: &Fault) -> Error {
    let type_name = std::any::type_name::<T>();
    Error::new(ErrorKind::Encode, format!("could not encode a {type_name}")).caused_by(fault)
}

#[cold]
fn not_decoded<T>(fault: &Fault) -> Error {
    let type_name = std::any::type_name::<T>();
    Error::new(ErrorKind::Decode, format!("could not decode a {type_name}")).caused_by(fault)
}

#[cold]
fn left_over<T>(left: usize, of: usize) -> Error {
    not_decoded::<T>(&Fault::because(format!("{left} of {of} bytes are left over")))
}

#[cfg(test)]
mod tests;
