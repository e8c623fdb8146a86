//! [`Value`]: what a pickle holds, and the things that it can be besides plain data: [`Global`], [`Object`], [`Exception`], [`Array`].
//!
//! How it is read and written is in `pickle`; how it becomes an ordinary Rust type, in `ser` and `de`.

use std::fmt;

use crate::int::BigInt;

/// A value of Python's, as far as it is data.
///
/// It is a tree: what two places of a Python value share is here twice, and when it is sent on, the peer has it twice. `==` compares
/// as Rust does: `Int(1)` is not `Float(1.0)`, and dicts are equal when their items are, in order.
///
/// # Examples
///
/// ```
/// use procession_python::Value;
///
/// let value = Value::from(vec![Value::from(1), Value::from("two"), Value::None]);
/// assert_eq!(Value::from_bytes(&value.to_bytes()?)?, value);
/// # Ok::<(), procession_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Value {
    /// `None`.
    #[default]
    None,
    /// `True` or `False`.
    Bool(bool),
    /// An integer that fits.
    Int(i64),
    /// An integer that does not.
    BigInt(BigInt),
    /// `float`.
    Float(f64),
    /// `complex`.
    Complex(f64, f64),
    /// `str`.
    Str(String),
    /// `str` with halves of surrogate pairs, as names of files can be in Python; in UTF-8 that lets those pass.
    Surrogates(Vec<u8>),
    /// `bytes`.
    Bytes(Vec<u8>),
    /// `bytearray`.
    ByteArray(Vec<u8>),
    /// `list`.
    List(Vec<Self>),
    /// `tuple`.
    Tuple(Vec<Self>),
    /// `dict`, in its order. Of equal keys the last one counts.
    Dict(Vec<(Self, Self)>),
    /// `set`, in no order.
    Set(Vec<Self>),
    /// `frozenset`, in no order.
    FrozenSet(Vec<Self>),
    /// `slice`: start, stop, step.
    Slice(Box<[Self; 3]>),
    /// `range`: start, stop, step, where they fit; otherwise it stays an [`Object`](Self::Object).
    Range(i64, i64, i64),
    /// `array.array`.
    Array(Box<Array>),
    /// An exception of Python's own, of `queue` or of `multiprocessing`.
    Exception(Box<Exception>),
    /// A class or a function, by name.
    Global(Box<Global>),
    /// What a class or function that is not known would make.
    Object(Box<Object>),
}

/// The name of a class or a function: where Python would look for it.
///
/// # Examples
///
/// ```
/// use procession_python::Global;
///
/// assert_eq!(Global::new("queue", "Empty").to_string(), "queue.Empty");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Global {
    /// The module.
    pub module: String,
    /// The name in it, with dots for what is inside of a class.
    pub name: String,
}

/// What Python would make by calling something that is not known here. It is not made: it is the name and the arguments, which can be
/// looked at and sent on.
///
/// # Examples
///
/// ```
/// use procession_python::{Global, Object, Value};
///
/// // decimal.Decimal("1.5")
/// let number = Object::call(Global::new("decimal", "Decimal"), vec!["1.5".into()]);
/// assert_eq!(number.class().unwrap().name, "Decimal");
/// assert_eq!(Value::from_bytes(&Value::from(number.clone()).to_bytes()?)?, number.into());
/// # Ok::<(), procession_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    pub(crate) how: How,
    pub(crate) class: Value,
    pub(crate) args: Value,
    /// Of [`How::NewWithKeywords`] only.
    pub(crate) kwargs: Value,
    pub(crate) items: Vec<Value>,
    pub(crate) pairs: Vec<(Value, Value)>,
    pub(crate) state: Option<Value>,
}

/// How Python would make an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// `class(*args)`.
    Call,
    /// `class.__new__(class, *args)`.
    New,
    /// `class.__new__(class, *args, **kwargs)`.
    NewWithKeywords,
}

/// An exception of Python's.
///
/// # Examples
///
/// ```
/// use procession_python::Exception;
///
/// let error = Exception::builtin("KeyError", vec!["color".into()]);
/// assert_eq!(error.to_string(), r#"KeyError: "color""#);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Exception {
    /// Its class.
    pub class: Global,
    /// Its arguments.
    pub args: Vec<Value>,
    /// What it has besides, such as notes: a dict.
    pub state: Option<Value>,
}

/// `array.array`: numbers of one kind, in this machine's byte order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Array {
    pub(crate) typecode: char,
    pub(crate) bytes: Vec<u8>,
}

impl Global {
    /// The name `name` of the module `module`.
    pub fn new(module: impl Into<String>, name: impl Into<String>) -> Self {
        Self { module: module.into(), name: name.into() }
    }

    /// Whether it is this one.
    pub fn is(&self, module: &str, name: &str) -> bool {
        self.module == module && self.name == name
    }
}

impl fmt::Display for Global {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.module, self.name)
    }
}

impl Object {
    /// What `class(*args)` would be.
    pub fn call(class: Global, args: Vec<Value>) -> Self {
        Self::made(How::Call, class, args)
    }

    /// What `class.__new__(class, *args)` would be.
    pub fn new(class: Global, args: Vec<Value>) -> Self {
        Self::made(How::New, class, args)
    }

    fn made(how: How, class: Global, args: Vec<Value>) -> Self {
        let (class, args) = (class.into(), Value::Tuple(args));
        let (items, pairs) = (Vec::new(), Vec::new());
        Self { how, class, args, kwargs: Value::None, items, pairs, state: None }
    }

    /// The same, and then its state is set: a dict becomes its attributes, anything else goes to its `__setstate__`.
    #[must_use]
    pub fn with_state(mut self, state: Value) -> Self {
        self.state = Some(state);
        self
    }

    /// The class or function, unless it is the result of a call itself.
    pub fn class(&self) -> Option<&Global> {
        match &self.class {
            Value::Global(class) => Some(class),
            _ => None,
        }
    }

    /// The arguments.
    pub fn args(&self) -> &[Value] {
        match &self.args {
            Value::Tuple(args) => args,
            _ => &[],
        }
    }

    /// The state that is set when it is there.
    pub fn state(&self) -> Option<&Value> {
        self.state.as_ref()
    }

    /// What is appended to it, as to a list.
    pub fn items(&self) -> &[Value] {
        &self.items
    }

    /// What is put into it, as into a dict.
    pub fn pairs(&self) -> &[(Value, Value)] {
        &self.pairs
    }

    /// Whether it is of a class of this name.
    pub fn is_a(&self, module: &str, name: &str) -> bool {
        self.class().is_some_and(|class| class.is(module, name))
    }
}

impl Exception {
    /// One of Python's own: `builtins.<name>`.
    pub fn builtin(name: impl Into<String>, args: Vec<Value>) -> Self {
        Self { class: Global::new("builtins", name), args, state: None }
    }

    /// Whether it is of a class of this name, wherever that is: `queue.Empty` is `_queue.Empty` in some releases.
    pub fn is(&self, name: &str) -> bool {
        self.class.name == name
    }

    /// The exception that a value is: of a class that is known as one, or of any that is called with arguments.
    ///
    /// # Errors
    ///
    /// Gives the value back when it cannot be one.
    pub fn from_value(value: Value) -> Result<Self, Value> {
        match value {
            Value::Exception(exception) => Ok(*exception),
            Value::Object(object) => match *object {
                Object { class: Value::Global(class), args: Value::Tuple(args), state, .. } => {
                    Ok(Self { class: *class, args, state })
                }
                object => Err(Value::Object(Box::new(object))),
            },
            // Raised without being called.
            Value::Global(class) => Ok(Self { class: *class, args: Vec::new(), state: None }),
            other => Err(other),
        }
    }
}

impl fmt::Display for Exception {
    /// The name, and the arguments, much as the last line of a traceback.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.class.name)?;
        match &self.args[..] {
            [] => Ok(()),
            [Value::Str(text)] if self.class.name != "KeyError" => write!(f, ": {text}"),
            [arg] => write!(f, ": {arg}"),
            args => {
                for (place, arg) in args.iter().enumerate() {
                    write!(f, "{}{arg}", if place == 0 { ": (" } else { ", " })?;
                }
                f.write_str(")")
            }
        }
    }
}

impl std::error::Error for Exception {}

impl Array {
    /// An array of the numbers whose bytes these are, of the kind that Python calls `typecode`; `None` when there is no such kind, or the
    /// bytes are not a whole number of them.
    pub fn new(typecode: char, bytes: Vec<u8>) -> Option<Self> {
        let size = item_bytes(typecode)?;
        bytes.len().is_multiple_of(size).then_some(Self { typecode, bytes })
    }

    /// What kind of numbers, as Python's `array` calls it: `i`, `d` and so on.
    pub fn typecode(&self) -> char {
        self.typecode
    }

    /// Their bytes, in this machine's order.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.bytes.len() / item_bytes(self.typecode).unwrap_or(1)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The one at `place`; text is a [`Str`](Value::Str) of one character.
    pub fn item(&self, place: usize) -> Option<Value> {
        let size = item_bytes(self.typecode)?;
        let bytes = self.bytes.get(place.checked_mul(size)?..)?.get(..size)?;
        number(self.typecode, bytes)
    }

    /// All of them.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Value> {
        (0..self.len()).map(|place| self.item(place).unwrap_or_default())
    }
}

/// How many bytes one has, on the systems that there are of 64 bits; `None` for kinds that are none.
pub(crate) fn item_bytes(typecode: char) -> Option<usize> {
    match typecode {
        'b' | 'B' => Some(1),
        'h' | 'H' => Some(2),
        'i' | 'I' | 'f' | 'u' | 'w' => Some(4),
        'l' | 'L' | 'q' | 'Q' | 'd' => Some(8),
        _ => None,
    }
}

fn number(typecode: char, bytes: &[u8]) -> Option<Value> {
    let two = || bytes.try_into().ok();
    let four = || bytes.try_into().ok();
    let eight = || bytes.try_into().ok();
    Some(match typecode {
        'b' => Value::Int(i8::from_ne_bytes(bytes.try_into().ok()?).into()),
        'B' => Value::Int((*bytes.first()?).into()),
        'h' => Value::Int(i16::from_ne_bytes(two()?).into()),
        'H' => Value::Int(u16::from_ne_bytes(two()?).into()),
        'i' => Value::Int(i32::from_ne_bytes(four()?).into()),
        'I' => Value::Int(u32::from_ne_bytes(four()?).into()),
        'l' | 'q' => Value::Int(i64::from_ne_bytes(eight()?)),
        'L' | 'Q' => u64::from_ne_bytes(eight()?).into(),
        'f' => Value::Float(f32::from_ne_bytes(four()?).into()),
        'd' => Value::Float(f64::from_ne_bytes(eight()?)),
        'u' | 'w' => Value::Str(char::from_u32(u32::from_ne_bytes(four()?))?.into()),
        _ => return None,
    })
}
