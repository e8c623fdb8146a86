//! Sums of numbers that are kept as bytes.

use procession_core::codec::{Codec, Postcard};
use procession_core::{Error, ErrorKind, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

macro_rules! kinds {
    ($($kind:literal $type:ty, $zero:expr, $add:expr;)+) => {
        /// The sum of two numbers of a kind.
        pub(super) fn sum(kind: u8, one: &[u8], other: &[u8]) -> Result<Vec<u8>> {
            match kind {
                $($kind => add::<$type>(one, other, $add),)+
                other => Err(no_kind(other)),
            }
        }

        /// Zero, of a kind.
        pub(super) fn zero(kind: u8) -> Result<Vec<u8>> {
            match kind {
                $($kind => Postcard::encode_into::<$type>(&$zero, Vec::new()),)+
                other => Err(no_kind(other)),
            }
        }
    };
}

kinds! {
    0 u8, 0, u8::wrapping_add;
    1 u16, 0, u16::wrapping_add;
    2 u32, 0, u32::wrapping_add;
    3 u64, 0, u64::wrapping_add;
    4 u128, 0, u128::wrapping_add;
    5 usize, 0, usize::wrapping_add;
    6 i8, 0, i8::wrapping_add;
    7 i16, 0, i16::wrapping_add;
    8 i32, 0, i32::wrapping_add;
    9 i64, 0, i64::wrapping_add;
    10 i128, 0, i128::wrapping_add;
    11 isize, 0, isize::wrapping_add;
    12 f32, 0.0, |one: f32, other: f32| one + other;
    13 f64, 0.0, |one: f64, other: f64| one + other;
}

fn add<T: Serialize + DeserializeOwned>(
    one: &[u8],
    other: &[u8],
    add: impl FnOnce(T, T) -> T,
) -> Result<Vec<u8>> {
    let sum = add(Postcard::decode(one)?, Postcard::decode(other)?);
    Postcard::encode_into(&sum, Vec::new())
}

fn no_kind(kind: u8) -> Error {
    Error::new(ErrorKind::Decode, format!("there are no numbers of kind {kind}"))
}
