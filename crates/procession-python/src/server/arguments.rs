//! What a method is called with.

use procession_core::Deadline;
use std::time::Duration;

use super::managed::raise;
use crate::de;
use crate::value::{Exception, Value};

/// What a method is called with.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Arguments {
    /// By place.
    pub positional: Vec<Value>,
    /// By name.
    pub keywords: Vec<(String, Value)>,
}

impl Arguments {
    /// Gives each argument the parameter that it is for: by place in this order, or by name. At least the first `required` have to be there.
    ///
    /// # Errors
    ///
    /// `TypeError`, as Python raises it.
    pub fn bind<const N: usize>(
        self,
        parameters: [&str; N],
        required: usize,
    ) -> Result<[Option<Value>; N], Exception> {
        let given = self.positional.len();
        if given > N {
            let text = format!("expected at most {N} arguments, got {given}");
            return Err(raise("TypeError", text));
        }
        let mut positional = self.positional.into_iter();
        let mut bound = [const { None }; N];
        bound.iter_mut().for_each(|parameter| *parameter = positional.next());
        for (name, value) in self.keywords {
            match parameters.iter().position(|parameter| *parameter == name) {
                Some(place) if bound[place].is_none() => bound[place] = Some(value),
                Some(_) => {
                    let text = format!("got multiple values for argument '{name}'");
                    return Err(raise("TypeError", text));
                }
                None => {
                    let text = format!("got an unexpected keyword argument '{name}'");
                    return Err(raise("TypeError", text));
                }
            }
        }
        let missing = bound.iter().take(required).position(Option::is_none);
        match missing {
            None => Ok(bound),
            Some(place) => {
                let text = format!("missing a required argument: '{}'", parameters[place]);
                Err(raise("TypeError", text))
            }
        }
    }

    /// One argument.
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind).
    pub fn one(self, parameter: &str) -> Result<Value, Exception> {
        let [value] = self.bind([parameter], 1)?;
        Ok(value.unwrap_or_default())
    }

    /// Two arguments.
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind).
    pub fn two(self, first: &str, second: &str) -> Result<(Value, Value), Exception> {
        let [first, second] = self.bind([first, second], 2)?;
        Ok((first.unwrap_or_default(), second.unwrap_or_default()))
    }

    /// No arguments.
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind).
    pub fn none(self) -> Result<(), Exception> {
        self.bind([], 0).map(|[]| ())
    }

    /// All as the parameters of a function of Rust's: a tuple, or `()`.
    ///
    /// # Errors
    ///
    /// `TypeError` when they are others.
    pub fn extract<A: serde::de::DeserializeOwned>(self) -> Result<A, Exception> {
        let is_empty = self.positional.is_empty();
        if !self.keywords.is_empty() {
            return Err(raise("TypeError", "it takes no keyword arguments"));
        }
        match de::from_value(Value::Tuple(self.positional)) {
            Ok(arguments) => Ok(arguments),
            // `()` is `None`.
            Err(error) if is_empty => {
                de::from_value(Value::None).map_err(|_none| raise("TypeError", error.to_string()))
            }
            Err(error) => Err(raise("TypeError", error.to_string())),
        }
    }
}

/// Whether Python takes a value for true; an object that is not known is.
pub(crate) fn is_true(value: &Value) -> bool {
    match value {
        Value::None => false,
        Value::Bool(truth) => *truth,
        Value::Int(number) => *number != 0,
        Value::Float(number) => *number != 0.0,
        Value::Str(text) => !text.is_empty(),
        Value::Bytes(bytes) | Value::ByteArray(bytes) => !bytes.is_empty(),
        Value::List(items) | Value::Tuple(items) | Value::Set(items) | Value::FrozenSet(items) => {
            !items.is_empty()
        }
        Value::Dict(pairs) => !pairs.is_empty(),
        _ => true,
    }
}

/// A number as a place.
///
/// # Errors
///
/// `TypeError`.
pub(crate) fn integer(value: &Value) -> Result<i64, Exception> {
    match value {
        Value::Int(number) => Ok(*number),
        Value::Bool(truth) => Ok((*truth).into()),
        other => {
            let text =
                format!("'{}' object cannot be interpreted as an integer", other.type_name());
            Err(raise("TypeError", text))
        }
    }
}

/// A time in seconds, or `None`, as a deadline. Less than nothing is nothing.
///
/// # Errors
///
/// `TypeError` when it is none.
pub(crate) fn deadline(timeout: Option<&Value>) -> Result<Deadline, Exception> {
    let seconds = match timeout {
        None | Some(Value::None) => return Ok(Deadline::NEVER),
        Some(Value::Float(seconds)) => *seconds,
        #[expect(clippy::cast_precision_loss, reason = "so many seconds are for ever")]
        Some(other) => integer(other)? as f64,
    };
    Ok(match Duration::try_from_secs_f64(seconds.max(0.0)) {
        Ok(timeout) => Deadline::after(timeout),
        Err(_too_long) => Deadline::NEVER,
    })
}

/// When a call that may block ends: `block` and `timeout`, as `queue` and `threading` have them.
///
/// # Errors
///
/// As [`deadline`].
pub(crate) fn blocking(
    block: Option<&Value>,
    timeout: Option<&Value>,
) -> Result<Deadline, Exception> {
    match block.is_none_or(is_true) {
        true => deadline(timeout),
        false => Ok(Deadline::PAST),
    }
}
