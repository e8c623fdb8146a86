//! [`Value`] from plain things, and as plain things; how it is printed.

use std::fmt;

use crate::value::{Array, Exception, Global, Object, Value};

/// Longer texts are cut when they are printed.
const MOST_PRINTED: usize = 100;
/// How many items are printed of what lies outermost, and of what lies in that, and so on; what lies deeper is not printed. All
/// together some thousand at most, whatever a peer has sent.
const WIDTHS: [usize; 7] = [0, 1, 2, 3, 5, 10, 100];

impl Value {
    /// The text, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The number, if it is an integer that fits. A truth value is none, other than in Python.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            _ => None,
        }
    }

    /// The items of a list or a tuple.
    pub fn as_slice(&self) -> Option<&[Self]> {
        match self {
            Self::List(items) | Self::Tuple(items) => Some(items),
            _ => None,
        }
    }

    /// Whether it is `None`.
    pub fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// What Python calls its type, for messages.
    pub fn type_name(&self) -> &str {
        match self {
            Self::None => "NoneType",
            Self::Bool(_) => "bool",
            Self::Int(_) | Self::BigInt(_) => "int",
            Self::Float(_) => "float",
            Self::Complex(..) => "complex",
            Self::Str(_) | Self::Surrogates(_) => "str",
            Self::Bytes(_) => "bytes",
            Self::ByteArray(_) => "bytearray",
            Self::List(_) => "list",
            Self::Tuple(_) => "tuple",
            Self::Dict(_) => "dict",
            Self::Set(_) => "set",
            Self::FrozenSet(_) => "frozenset",
            Self::Slice(_) => "slice",
            Self::Range(..) => "range",
            Self::Array(_) => "array",
            Self::Exception(exception) => &exception.class.name,
            Self::Global(_) => "type",
            Self::Object(object) => object.class().map_or("object", |class| &class.name),
        }
    }
}

impl From<()> for Value {
    fn from((): ()) -> Self {
        Self::None
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i32> for Value {
    fn from(number: i32) -> Self {
        Self::Int(number.into())
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Int(number.into())
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        (number as u64).into()
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Float(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Str(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Str(text)
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(bytes.into())
    }
}

impl From<Vec<Self>> for Value {
    fn from(items: Vec<Self>) -> Self {
        Self::List(items)
    }
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::None, T::into)
    }
}

impl From<Global> for Value {
    fn from(global: Global) -> Self {
        Self::Global(Box::new(global))
    }
}

impl From<Object> for Value {
    fn from(object: Object) -> Self {
        Self::Object(Box::new(object))
    }
}

impl From<Exception> for Value {
    fn from(exception: Exception) -> Self {
        Self::Exception(Box::new(exception))
    }
}

impl From<Array> for Value {
    fn from(array: Array) -> Self {
        Self::Array(Box::new(array))
    }
}

impl fmt::Display for Value {
    /// Much as Python's `repr`, cut where it is long or deep: for people, not to be read back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print(self, WIDTHS.len() - 1, f)
    }
}

fn print(value: &Value, depth: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if depth == 0 {
        return f.write_str("...");
    }
    match value {
        Value::None => f.write_str("None"),
        Value::Bool(truth) => f.write_str(if *truth { "True" } else { "False" }),
        Value::Int(number) => write!(f, "{number}"),
        Value::BigInt(number) => write!(f, "{number}"),
        Value::Float(number) => write!(f, "{number:?}"),
        Value::Complex(re, im) => write!(f, "({re:?}{im:+?}j)"),
        Value::Str(text) => print_text(text, f),
        Value::Surrogates(bytes) => print_text(&String::from_utf8_lossy(bytes), f),
        Value::Bytes(bytes) => write!(f, "b\"{}\"", cut(bytes).escape_ascii()),
        Value::ByteArray(bytes) => write!(f, "bytearray(b\"{}\")", cut(bytes).escape_ascii()),
        Value::List(items) => print_items("[", items, "]", depth, f),
        Value::Tuple(items) if items.len() == 1 => print_items("(", items, ",)", depth, f),
        Value::Tuple(items) => print_items("(", items, ")", depth, f),
        Value::Dict(pairs) => print_pairs(pairs, depth, f),
        Value::Set(items) if items.is_empty() => f.write_str("set()"),
        Value::Set(items) => print_items("{", items, "}", depth, f),
        Value::FrozenSet(items) if items.is_empty() => f.write_str("frozenset()"),
        Value::FrozenSet(items) => print_items("frozenset({", items, "})", depth, f),
        Value::Slice(parts) => print_items("slice(", &parts[..], ")", depth, f),
        Value::Range(start, stop, 1) => write!(f, "range({start}, {stop})"),
        Value::Range(start, stop, step) => write!(f, "range({start}, {stop}, {step})"),
        Value::Array(array) => {
            let items: Vec<Value> = array.iter().take(MOST_PRINTED + 1).collect();
            write!(f, "array('{}', ", array.typecode())?;
            print_items("[", &items, "])", depth, f)
        }
        Value::Exception(exception) => {
            f.write_str(&exception.class.name)?;
            print_items("(", &exception.args, ")", depth, f)
        }
        Value::Global(global) => write!(f, "<{global}>"),
        Value::Object(object) => {
            match object.class() {
                Some(class) => write!(f, "<{class}>")?,
                None => f.write_str("<object>")?,
            }
            print_items("(", object.args(), ")", depth, f)
        }
    }
}

fn cut(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.len().min(MOST_PRINTED)]
}

fn print_text(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match text.char_indices().nth(MOST_PRINTED) {
        Some((end, _)) => write!(f, "{:?}...", &text[..end]),
        None => write!(f, "{text:?}"),
    }
}

fn print_items(
    open: &str,
    items: &[Value],
    close: &str,
    depth: usize,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    f.write_str(open)?;
    for (place, item) in items.iter().take(WIDTHS[depth]).enumerate() {
        f.write_str(if place == 0 { "" } else { ", " })?;
        print(item, depth - 1, f)?;
    }
    f.write_str(if items.len() > WIDTHS[depth] { ", ..." } else { "" })?;
    f.write_str(close)
}

fn print_pairs(pairs: &[(Value, Value)], depth: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("{")?;
    for (place, (key, value)) in pairs.iter().take(WIDTHS[depth]).enumerate() {
        f.write_str(if place == 0 { "" } else { ", " })?;
        print(key, depth - 1, f)?;
        f.write_str(": ")?;
        print(value, depth - 1, f)?;
    }
    f.write_str(if pairs.len() > WIDTHS[depth] { ", ...}" } else { "}" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_printed_as_python_does() {
        let list = vec![1.into(), "a\"b".into(), Value::None, true.into(), 0.5.into()];
        assert_eq!(Value::from(list.clone()).to_string(), r#"[1, "a\"b", None, True, 0.5]"#);
        assert_eq!(Value::Tuple(vec![1.into()]).to_string(), "(1,)");
        let dict = Value::Dict(vec![("k".into(), Value::Set(vec![2.into()]))]);
        assert_eq!(dict.to_string(), r#"{"k": {2}}"#);
        assert_eq!(Value::Complex(1.0, -2.0).to_string(), "(1.0-2.0j)");
        let slice = Value::Slice(Box::new([0.into(), 2.into(), Value::None]));
        assert_eq!(slice.to_string(), "slice(0, 2, None)");
        assert_eq!(Value::Bytes(b"a\0".to_vec()).to_string(), "b\"a\\x00\"");
    }

    #[test]
    fn what_is_long_or_deep_is_cut() {
        let long = Value::from(vec![Value::None; MOST_PRINTED + 1]).to_string();
        assert!(long.ends_with("None, ...]"), "{long}");
        assert!(Value::Str("x".repeat(10_000)).to_string().len() < 200);
        let wide = (0..5).fold(Value::None, |inner, _| Value::from(vec![inner; 20]));
        assert!(wide.to_string().len() < 100_000);
        let deep = (0..100).fold(Value::None, |inner, _| Value::from(vec![inner]));
        assert_eq!(deep.to_string(), "[[[[[[...]]]]]]");
    }
}
