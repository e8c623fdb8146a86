//! How values become bytes.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Error, ErrorKind, Result};

/// A format for values between processes.
///
/// A codec decides about bytes only. What cannot be bytes (descriptors) is attached by the value itself while it is
/// encoded: see [`attach`](crate::attach).
pub trait Codec {
    /// Appends the bytes of `value` to `out`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Encode`] when the value refuses or the format cannot express it; `out` may then end in half a value.
    fn encode_into<T: Serialize + ?Sized>(value: &T, out: Vec<u8>) -> Result<Vec<u8>>;

    /// Reads a value that takes up all of `bytes`, which may come from anybody.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Decode`] when the bytes are not one whole value of this type.
    fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T>;
}

/// The codec of this workspace: compact, positional, without names.
///
/// # Source
///
/// The postcard wire format, <https://postcard.jamesmunns.com/wire-format>.
#[derive(Debug, Clone, Copy, Default)]
pub struct Postcard;

impl Codec for Postcard {
    fn encode_into<T: Serialize + ?Sized>(value: &T, out: Vec<u8>) -> Result<Vec<u8>> {
        postcard::to_extend(value, out).map_err(|error| {
            let type_name = std::any::type_name::<T>();
            Error::new(ErrorKind::Encode, format!("could not encode a {type_name}"))
                .caused_by(&error)
        })
    }

    fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
        let failed = || {
            let type_name = std::any::type_name::<T>();
            Error::new(ErrorKind::Decode, format!("could not decode a {type_name}"))
        };
        match postcard::take_from_bytes(bytes) {
            Ok((value, [])) => Ok(value),
            Ok((_, rest)) => {
                let left = format!("{} of {} bytes are left over", rest.len(), bytes.len());
                Err(failed().caused_by(&Error::new(ErrorKind::Decode, left)))
            }
            Err(error) => Err(failed().caused_by(&error)),
        }
    }
}
