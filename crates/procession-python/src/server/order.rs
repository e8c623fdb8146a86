//! Python's `==`, `hash` and `<` of values: `1 == 1.0 == True`, and what cannot be compared raises `TypeError`.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

use super::managed::raise;
use crate::value::{Exception, Value};

/// Python's `==`.
pub(crate) fn equal(one: &Value, other: &Value) -> bool {
    use Value::{BigInt, ByteArray, Bytes, Complex, Dict, Exception, FrozenSet, List, Set, Tuple};
    match (one, other) {
        (Complex(re, im), number) | (number, Complex(re, im)) => match number {
            Complex(other_re, other_im) => re == other_re && im == other_im,
            number => {
                *im == 0.0 && compare_numbers(&Value::Float(*re), number) == Some(Ordering::Equal)
            }
        },
        (BigInt(one), BigInt(other)) => one == other,
        (Bytes(one) | ByteArray(one), Bytes(other) | ByteArray(other)) => one == other,
        (List(one), List(other)) | (Tuple(one), Tuple(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| equal(one, other))
        }
        (Dict(one), Dict(other)) => {
            one.len() == other.len()
                && one.iter().all(|(key, value)| {
                    other.iter().any(|(known, other)| equal(key, known) && equal(value, other))
                })
        }
        (Set(one) | FrozenSet(one), Set(other) | FrozenSet(other)) => {
            one.len() == other.len()
                && one.iter().all(|item| other.iter().any(|known| equal(item, known)))
        }
        // Two exceptions are never equal.
        (Exception(_), Exception(_)) => false,
        (one, other) => match compare_numbers(one, other) {
            Some(order) => order == Ordering::Equal,
            None => one == other,
        },
    }
}

/// The order of two numbers; `None` when one is none, or no number at all.
fn compare_numbers(one: &Value, other: &Value) -> Option<Ordering> {
    match (number(one)?, number(other)?) {
        (Number::Int(one), Number::Int(other)) => Some(one.cmp(&other)),
        (Number::Float(one), Number::Float(other)) => one.partial_cmp(&other),
        (Number::Int(one), Number::Float(other)) => compare_mixed(one, other),
        (Number::Float(one), Number::Int(other)) => {
            compare_mixed(other, one).map(Ordering::reverse)
        }
    }
}

enum Number {
    /// What is larger is told by its sign, which is as well as Python's floats go.
    Int(i128),
    Float(f64),
}

fn number(value: &Value) -> Option<Number> {
    Some(match value {
        Value::Bool(truth) => Number::Int((*truth).into()),
        Value::Int(number) => Number::Int((*number).into()),
        Value::BigInt(number) => {
            let limit = if number.is_negative() { i128::MIN } else { i128::MAX };
            Number::Int(number.to_i128().unwrap_or(limit))
        }
        Value::Float(number) => Number::Float(*number),
        _ => return None,
    })
}

/// The order of an integer and a float, without rounding the integer.
fn compare_mixed(int: i128, float: f64) -> Option<Ordering> {
    if float.is_nan() {
        return None;
    }
    // Both limits are powers of two, which floats have.
    #[expect(clippy::cast_precision_loss, reason = "the power of two that is meant")]
    let limit = i128::MAX as f64;
    if float >= limit {
        return Some(Ordering::Less);
    }
    if float < -limit {
        return Some(Ordering::Greater);
    }
    #[expect(clippy::cast_possible_truncation, reason = "it is whole, and within the limits")]
    let whole = float.trunc() as i128;
    Some(int.cmp(&whole).then_with(|| 0.0.partial_cmp(&float.fract()).unwrap_or(Ordering::Equal)))
}

/// Python's `<`, `==` or `>`.
///
/// # Errors
///
/// `TypeError` when there is no such order.
pub(crate) fn compare(one: &Value, other: &Value) -> Result<Ordering, Exception> {
    match (one, other) {
        (Value::Str(one), Value::Str(other)) => Ok(one.cmp(other)),
        (
            Value::Bytes(one) | Value::ByteArray(one),
            Value::Bytes(other) | Value::ByteArray(other),
        ) => Ok(one.cmp(other)),
        (Value::List(items), Value::List(others)) | (Value::Tuple(items), Value::Tuple(others)) => {
            for (one, other) in items.iter().zip(others) {
                if !equal(one, other) {
                    return compare(one, other);
                }
            }
            Ok(items.len().cmp(&others.len()))
        }
        _ => match (number(one), number(other)) {
            // Something that is no number is neither less nor more.
            (Some(_), Some(_)) => Ok(compare_numbers(one, other).unwrap_or(Ordering::Equal)),
            _ => {
                let (one, other) = (one.type_name(), other.type_name());
                let text = format!("'<' not supported between instances of '{one}' and '{other}'");
                Err(raise("TypeError", text))
            }
        },
    }
}

/// A value as the key of a dict, or the item of a set.
#[derive(Debug, Clone)]
pub(crate) struct Key(pub(crate) Value);

impl Key {
    /// # Errors
    ///
    /// `TypeError` when it cannot be one.
    pub(crate) fn new(value: Value) -> Result<Self, Exception> {
        match unhashable(&value) {
            None => Ok(Self(value)),
            Some(name) => Err(raise("TypeError", format!("unhashable type: '{name}'"))),
        }
    }
}

/// What has no hash in a value.
fn unhashable(value: &Value) -> Option<&str> {
    match value {
        Value::List(_)
        | Value::Dict(_)
        | Value::Set(_)
        | Value::ByteArray(_)
        | Value::Slice(_)
        | Value::Array(_) => Some(value.type_name()),
        Value::Tuple(items) | Value::FrozenSet(items) => items.iter().find_map(unhashable),
        _ => None,
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        equal(&self.0, &other.0)
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        hash(&self.0, state);
    }
}

/// What is equal has the same hash.
fn hash<H: Hasher>(value: &Value, state: &mut H) {
    match value {
        Value::None => 0u8.hash(state),
        Value::Bool(truth) => i64::from(*truth).hash(state),
        Value::Int(number) => number.hash(state),
        Value::Float(number) => hash_float(*number, state),
        Value::Complex(re, _) => hash_float(*re, state),
        Value::BigInt(_) => 1u8.hash(state),
        Value::Str(text) => text.hash(state),
        Value::Surrogates(bytes) | Value::Bytes(bytes) => bytes.hash(state),
        Value::Tuple(items) => items.iter().for_each(|item| hash(item, state)),
        // In no order.
        Value::FrozenSet(items) => items.len().hash(state),
        Value::Range(start, stop, step) => (start, stop, step).hash(state),
        Value::Global(global) => global.hash(state),
        // Seldom a key.
        _ => 2u8.hash(state),
    }
}

fn hash_float<H: Hasher>(number: f64, state: &mut H) {
    #[expect(clippy::cast_possible_truncation, reason = "compared with what it was")]
    let whole = number as i64;
    #[expect(
        clippy::cast_precision_loss,
        clippy::float_cmp,
        reason = "it is whole if it is the same"
    )]
    let is_whole = whole as f64 == number;
    // Beyond that it may equal a large integer, whose hash is this.
    match is_whole && whole != i64::MAX {
        true => whole.hash(state),
        false if number.fract() == 0.0 => 1u8.hash(state),
        false => number.to_bits().hash(state),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn what_is_equal_in_python_is_equal_and_has_one_hash() {
        let large = 2f64.powi(70);
        for (one, other) in [
            (Value::Int(1), Value::Float(1.0)),
            (Value::Int(1), Value::Bool(true)),
            (Value::Int(0), Value::Float(-0.0)),
            (Value::Float(2.0), Value::Complex(2.0, 0.0)),
            ((1i128 << 70).into(), Value::Float(large)),
            (Value::Int(i64::MIN), Value::Float(-2f64.powi(63))),
            ((1i128 << 63).into(), Value::Float(2f64.powi(63))),
            (Value::Tuple(vec![1.into()]), Value::Tuple(vec![1.0.into()])),
            (
                Value::FrozenSet(vec![1.into(), 2.into()]),
                Value::FrozenSet(vec![2.into(), 1.into()]),
            ),
        ] {
            assert!(equal(&one, &other) && equal(&other, &one), "{one} {other}");
            let keys = HashSet::from([Key(one.clone()), Key(other.clone())]);
            assert_eq!(keys.len(), 1, "{one} {other}");
        }
    }

    #[test]
    fn what_is_not_equal_in_python_is_not() {
        for (one, other) in [
            (Value::Int(i64::MAX), Value::Float(2f64.powi(63))),
            (Value::from("1"), Value::Int(1)),
            (Value::List(vec![]), Value::Tuple(vec![])),
            (Value::Float(f64::NAN), Value::Float(f64::NAN)),
            (Value::Int((1 << 53) + 1), Value::Float(2f64.powi(53))),
            (Value::None, Value::Bool(false)),
        ] {
            assert!(!equal(&one, &other) && !equal(&other, &one), "{one} {other}");
        }
        let dict = |pairs: &[(i32, i32)]| {
            Value::Dict(pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect())
        };
        assert!(equal(&dict(&[(1, 2), (3, 4)]), &dict(&[(3, 4), (1, 2)])));
        assert!(!equal(&dict(&[(1, 2)]), &dict(&[(1, 3)])));
    }

    #[test]
    fn order_is_pythons() {
        let less = |one: &Value, other: &Value| compare(one, other).unwrap().is_lt();
        assert!(less(&1.into(), &1.5.into()) && !less(&2.into(), &1.5.into()));
        assert!(less(&(-1.5).into(), &(-1).into()));
        assert!(less(&Value::Int(i64::MAX), &u64::MAX.into()));
        assert!(less(&"a".into(), &"b".into()));
        assert!(less(&vec![1.into()].into(), &vec![1.into(), 0.into()].into()));
        assert!(compare(&1.into(), &"a".into()).is_err());
        assert!(compare(&Value::None, &Value::None).is_err());
        assert!(Key::new(Value::Tuple(vec![Value::List(vec![])])).is_err());
    }
}
