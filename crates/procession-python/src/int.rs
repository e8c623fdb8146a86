//! Integers of any size.

use std::fmt;

use crate::value::Value;

/// An integer that does not fit into an `i64`.
///
/// It can be sent on, compared, printed (in hexadecimal digits), and converted into `i128` and `u128` where it fits; it does not
/// calculate.
///
/// # Examples
///
/// ```
/// use procession_python::{BigInt, Value};
///
/// let Value::BigInt(big) = Value::from(1u128 << 100) else { panic!("too large for an i64") };
/// assert_eq!(big.to_u128(), Some(1 << 100));
/// assert_eq!(big.to_string(), "0x10000000000000000000000000");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BigInt(
    /// Two's complement, the lowest byte first, as few as possible. INVARIANT: more than eight.
    Box<[u8]>,
);

impl BigInt {
    /// The integer whose two's complement these bytes are, the lowest first: a [`Value::Int`] when it fits into that.
    pub fn from_le_bytes(bytes: &[u8]) -> Value {
        let bytes = shortest(bytes);
        match bytes.len() {
            0..=8 => {
                let mut whole = [sign(bytes); 8];
                whole[..bytes.len()].copy_from_slice(bytes);
                Value::Int(i64::from_le_bytes(whole))
            }
            _ => Value::BigInt(Self(bytes.into())),
        }
    }

    /// Its two's complement, the lowest byte first; more than eight bytes, and as few as possible.
    pub fn as_le_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether it is less than zero.
    pub fn is_negative(&self) -> bool {
        sign(&self.0) != 0
    }

    /// As an `i128`, if it fits.
    pub fn to_i128(&self) -> Option<i128> {
        let mut whole = [sign(&self.0); 16];
        whole.get_mut(..self.0.len())?.copy_from_slice(&self.0);
        Some(i128::from_le_bytes(whole))
    }

    /// As a `u128`, if it fits.
    pub fn to_u128(&self) -> Option<u128> {
        let bytes = match self.0.split_last() {
            // The one that says that it is not negative.
            Some((0, rest)) => rest,
            _ if self.is_negative() => return None,
            _ => &self.0,
        };
        let mut whole = [0; 16];
        whole.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(u128::from_le_bytes(whole))
    }
}

/// What stands above the last byte: all ones for a negative number.
fn sign(bytes: &[u8]) -> u8 {
    match bytes.last() {
        Some(last) if last & 0x80 != 0 => 0xff,
        _ => 0,
    }
}

/// Without the bytes that the sign of the others tells.
fn shortest(mut bytes: &[u8]) -> &[u8] {
    while let Some((last, rest)) = bytes.split_last()
        && *last == sign(rest)
    {
        bytes = rest;
    }
    bytes
}

impl fmt::Display for BigInt {
    /// In hexadecimal digits: decimal ones take time that grows with the square of their number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut carry = true;
        // The two's complement of a negative number is its absolute value.
        let absolute: Vec<u8> = match self.is_negative() {
            false => self.0.to_vec(),
            true => self
                .0
                .iter()
                .map(|byte| {
                    let (digit, over) = (!byte).overflowing_add(carry.into());
                    carry = over;
                    digit
                })
                .collect(),
        };
        f.write_str(if self.is_negative() { "-0x" } else { "0x" })?;
        let mut digits = absolute.iter().rev().skip_while(|byte| **byte == 0);
        write!(f, "{:x}", digits.next().copied().unwrap_or_default())?;
        digits.try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl From<i128> for Value {
    fn from(number: i128) -> Self {
        BigInt::from_le_bytes(&number.to_le_bytes())
    }
}

impl From<u128> for Value {
    fn from(number: u128) -> Self {
        let mut bytes = [0; 17];
        bytes[..16].copy_from_slice(&number.to_le_bytes());
        BigInt::from_le_bytes(&bytes)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        i128::from(number).into()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn big(number: i128) -> BigInt {
        match Value::from(number) {
            Value::BigInt(big) => big,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_fits_is_an_int() {
        assert_eq!(BigInt::from_le_bytes(&[]), Value::Int(0));
        assert_eq!(BigInt::from_le_bytes(&[0xff; 40]), Value::Int(-1));
        assert_eq!(BigInt::from_le_bytes(&[0x80]), Value::Int(-128));
        assert_eq!(BigInt::from_le_bytes(&[0x80, 0]), Value::Int(128));
        assert_eq!(Value::from(i128::from(i64::MIN)), Value::Int(i64::MIN));
        assert_eq!(Value::from(u64::MAX >> 1), Value::Int(i64::MAX));
        assert_eq!(big(i128::from(i64::MAX) + 1).as_le_bytes().len(), 9);
    }

    #[test]
    fn it_is_printed_in_sixteens() {
        assert_eq!(big(i128::MAX).to_string(), "0x7fffffffffffffffffffffffffffffff");
        assert_eq!(big(-(1 << 64)).to_string(), "-0x10000000000000000");
        assert_eq!(big(i128::MIN).to_string(), "-0x80000000000000000000000000000000");
        assert_eq!(big(-(1 << 64) - 1).to_string(), "-0x10000000000000001");
    }

    #[test]
    fn what_does_not_fit_is_told() {
        let Value::BigInt(most) = Value::from(u128::MAX) else { panic!("it is big") };
        assert_eq!((most.to_u128(), most.to_i128()), (Some(u128::MAX), None));
        assert_eq!(big(-(1 << 70)).to_u128(), None);
    }

    proptest! {
        #[test]
        fn numbers_come_back(number: i128) {
            match Value::from(number) {
                Value::Int(small) => prop_assert_eq!(i128::from(small), number),
                Value::BigInt(big) => {
                    prop_assert_eq!(big.to_i128(), Some(number));
                    prop_assert_eq!(big.to_u128(), u128::try_from(number).ok());
                    prop_assert!(i64::try_from(number).is_err());
                }
                other => panic!("{other:?}"),
            }
        }
    }
}
