//! What managers and their clients say to each other.

use procession_connection::Address;
use procession_core::{Error, ErrorKind, Result};
use serde::Serialize;

use crate::pickle::{opcode, writer};
use crate::ser;
use crate::value::{Global, Object, Value};

/// Where CPython has all of this.
pub(crate) const MODULE: &str = "multiprocessing.managers";

/// Names of replies.
pub(crate) mod kind {
    pub(crate) const RETURN: &str = "#RETURN";
    pub(crate) const ERROR: &str = "#ERROR";
    pub(crate) const PROXY: &str = "#PROXY";
    pub(crate) const TRACEBACK: &str = "#TRACEBACK";
    pub(crate) const UNSERIALIZABLE: &str = "#UNSERIALIZABLE";
}

/// The pickle of a request: of a method of the object `ident`, or of a function of the manager when there is none.
pub(crate) fn request<A: Serialize + ?Sized>(
    ident: Option<&str>,
    name: &str,
    args: &A,
    kwargs: &[(&str, Value)],
) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(64);
    writer::begin(&mut out);
    out.push(opcode::MARK);
    match ident {
        Some(ident) => writer::text_bytes(&mut out, ident.as_bytes()),
        None => out.push(opcode::NONE),
    }
    writer::text_bytes(&mut out, name.as_bytes());
    let before = out.len();
    ser::append_bare(args, &mut out)?;
    // `()` is `None` to Python, where no arguments are an empty tuple.
    if out[before..] == [opcode::NONE] {
        out[before] = opcode::EMPTY_TUPLE;
    }
    out.push(opcode::EMPTY_DICT);
    for (name, value) in kwargs {
        writer::text_bytes(&mut out, name.as_bytes());
        writer::write(&mut out, value, 1)?;
        out.push(opcode::SETITEM);
    }
    out.push(opcode::TUPLE);
    writer::end(&mut out);
    Ok(out)
}

/// What names an object of a manager: where it is, its type, its number.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Token {
    pub(crate) typeid: String,
    pub(crate) ident: String,
}

impl Token {
    /// As CPython pickles it. The address is ignored by who receives it in an answer.
    pub(crate) fn to_value(&self, address: &Address) -> Value {
        let state = Value::Tuple(vec![
            self.typeid.clone().into(),
            address_of(address),
            self.ident.clone().into(),
        ]);
        Object::new(Global::new(MODULE, "Token"), Vec::new()).with_state(state).into()
    }

    /// The token that a value is, and its address as it stands there.
    pub(crate) fn from_value(value: &Value) -> Option<(Self, &Value)> {
        let Value::Object(object) = value else { return None };
        if !object.is_a(MODULE, "Token") {
            return None;
        }
        let Some(Value::Tuple(state)) = object.state() else { return None };
        match &state[..] {
            [Value::Str(typeid), address, Value::Str(ident)] => {
                Some((Self { typeid: typeid.clone(), ident: ident.clone() }, address))
            }
            _ => None,
        }
    }
}

/// An address as Python's programs write it: a pair, a path, or bytes with a zero before them.
pub(crate) fn address_of(address: &Address) -> Value {
    let pair = |host: String, port: u16| Value::Tuple(vec![host.into(), u32::from(port).into()]);
    match address {
        Address::Path(path) => path.to_string_lossy().into_owned().into(),
        Address::Abstract(name) => Value::Bytes([&[0], &name[..]].concat()),
        Address::Tcp(address) => pair(address.ip().to_string(), address.port()),
        Address::Host { host, port } => pair(host.clone(), *port),
    }
}

/// The names in a tuple or list, of which there may be more than one of a kind.
pub(crate) fn names(value: Value) -> Result<Vec<String>> {
    let items = match value {
        Value::Tuple(items) | Value::List(items) => items,
        other => return Err(unexpected(&other)),
    };
    items
        .into_iter()
        .map(|item| match item {
            Value::Str(name) => Ok(name),
            other => Err(unexpected(&other)),
        })
        .collect()
}

/// What is said of an answer that no manager gives.
pub(crate) fn unexpected(value: &Value) -> Error {
    Error::new(ErrorKind::Decode, format!("the manager answers with {value}"))
}
