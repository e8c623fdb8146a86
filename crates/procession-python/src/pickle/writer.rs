//! From values to pickles of protocol 3, without a memo: a value is a tree.

use procession_core::{Error, ErrorKind, Result};

use super::opcode::*;
use crate::limits::DEEPEST;
use crate::value::{Global, How, Object, Value};

/// Which protocol is written. Opcodes of protocol 4 are understood in it as well, by all readers that know them.
const PROTOCOL: u8 = 3;
/// Which one is said to be written when a name has dots in it: readers look into classes from that on only.
const WITH_DOTS: u8 = 4;

pub(crate) fn begin(out: &mut Vec<u8>) {
    out.extend([PROTO, PROTOCOL]);
}

/// Makes the pickle that was begun one whose names may have dots.
pub(crate) fn look_into_classes(out: &mut [u8]) {
    if let [PROTO, protocol, ..] = out {
        *protocol = WITH_DOTS;
    }
}

pub(crate) fn end(out: &mut Vec<u8>) {
    out.push(STOP);
}

/// Appends what puts `value` on the stack.
pub(crate) fn write(out: &mut Vec<u8>, value: &Value, depth: usize) -> Result<()> {
    check_depth(depth)?;
    match value {
        Value::None => out.push(NONE),
        Value::Bool(truth) => boolean(out, *truth),
        Value::Int(number) => int(out, *number),
        Value::BigInt(number) => long(out, number.as_le_bytes())?,
        Value::Float(number) => float(out, *number),
        Value::Complex(re, im) => {
            global(out, "builtins", "complex")?;
            float(out, *re);
            float(out, *im);
            out.extend([TUPLE2, REDUCE]);
        }
        Value::Str(text) => text_bytes(out, text.as_bytes()),
        Value::Surrogates(bytes) => text_bytes(out, bytes),
        Value::Bytes(content) => bytes(out, content),
        Value::ByteArray(content) => {
            global(out, "builtins", "bytearray")?;
            bytes(out, content);
            out.extend([TUPLE1, REDUCE]);
        }
        Value::List(items) => list(out, items, depth)?,
        Value::Tuple(items) => tuple(out, items, depth)?,
        Value::Dict(pairs) => {
            out.push(EMPTY_DICT);
            write_pairs(out, pairs, depth)?;
        }
        Value::Set(items) => {
            global(out, "builtins", "set")?;
            list(out, items, depth)?;
            out.extend([TUPLE1, REDUCE]);
        }
        Value::FrozenSet(items) => {
            global(out, "builtins", "frozenset")?;
            list(out, items, depth)?;
            out.extend([TUPLE1, REDUCE]);
        }
        Value::Slice(parts) => {
            global(out, "builtins", "slice")?;
            parts.iter().try_for_each(|part| write(out, part, depth + 1))?;
            out.extend([TUPLE3, REDUCE]);
        }
        Value::Range(start, stop, step) => {
            global(out, "builtins", "range")?;
            [start, stop, step].into_iter().for_each(|part| int(out, *part));
            out.extend([TUPLE3, REDUCE]);
        }
        Value::Array(array) => {
            global(out, "array", "array")?;
            text_bytes(out, array.typecode().encode_utf8(&mut [0; 4]).as_bytes());
            bytes(out, array.as_bytes());
            out.extend([TUPLE2, REDUCE]);
        }
        Value::Exception(exception) => {
            named(out, &exception.class)?;
            tuple(out, &exception.args, depth)?;
            out.push(REDUCE);
            write_state(out, exception.state.as_ref(), depth)?;
        }
        Value::Global(global) => named(out, global)?,
        Value::Object(object) => write_object(out, object, depth)?,
    }
    Ok(())
}

pub(crate) fn check_depth(depth: usize) -> Result<()> {
    match depth <= DEEPEST {
        true => Ok(()),
        false => Err(refused(format!("a value is nested deeper than {DEEPEST} times"))),
    }
}

fn refused(text: String) -> Error {
    Error::new(ErrorKind::Encode, text)
}

fn write_object(out: &mut Vec<u8>, object: &Object, depth: usize) -> Result<()> {
    write(out, &object.class, depth + 1)?;
    write(out, &object.args, depth + 1)?;
    match object.how {
        How::Call => out.push(REDUCE),
        How::New => out.push(NEWOBJ),
        How::NewWithKeywords => {
            write(out, &object.kwargs, depth + 1)?;
            out.push(NEWOBJ_EX);
        }
    }
    if !object.items.is_empty() {
        write_items(out, &object.items, depth)?;
    }
    if !object.pairs.is_empty() {
        write_pairs(out, &object.pairs, depth)?;
    }
    write_state(out, object.state.as_ref(), depth)
}

fn write_state(out: &mut Vec<u8>, state: Option<&Value>, depth: usize) -> Result<()> {
    if let Some(state) = state {
        write(out, state, depth + 1)?;
        out.push(BUILD);
    }
    Ok(())
}

fn list(out: &mut Vec<u8>, items: &[Value], depth: usize) -> Result<()> {
    out.push(EMPTY_LIST);
    write_items(out, items, depth)
}

/// Appends items to the list that is on the stack.
fn write_items(out: &mut Vec<u8>, items: &[Value], depth: usize) -> Result<()> {
    if items.is_empty() {
        return Ok(());
    }
    out.push(MARK);
    items.iter().try_for_each(|item| write(out, item, depth + 1))?;
    out.push(APPENDS);
    Ok(())
}

fn write_pairs(out: &mut Vec<u8>, pairs: &[(Value, Value)], depth: usize) -> Result<()> {
    if pairs.is_empty() {
        return Ok(());
    }
    out.push(MARK);
    for (key, value) in pairs {
        write(out, key, depth + 1)?;
        write(out, value, depth + 1)?;
    }
    out.push(SETITEMS);
    Ok(())
}

fn tuple(out: &mut Vec<u8>, items: &[Value], depth: usize) -> Result<()> {
    tuple_opens(out, items.len());
    items.iter().try_for_each(|item| write(out, item, depth + 1))?;
    tuple_closes(out, items.len());
    Ok(())
}

/// What stands before the items of a tuple.
pub(crate) fn tuple_opens(out: &mut Vec<u8>, len: usize) {
    if len > 3 {
        out.push(MARK);
    }
}

/// What stands behind them.
pub(crate) fn tuple_closes(out: &mut Vec<u8>, len: usize) {
    out.push(match len {
        0 => EMPTY_TUPLE,
        1 => TUPLE1,
        2 => TUPLE2,
        3 => TUPLE3,
        _ => TUPLE,
    });
}

pub(crate) fn boolean(out: &mut Vec<u8>, truth: bool) {
    out.push(if truth { NEWTRUE } else { NEWFALSE });
}

pub(crate) fn int(out: &mut Vec<u8>, number: i64) {
    if let Ok(number) = u8::try_from(number) {
        out.extend([BININT1, number]);
    } else if let Ok(number) = u16::try_from(number) {
        let [low, high] = number.to_le_bytes();
        out.extend([BININT2, low, high]);
    } else if let Ok(number) = i32::try_from(number) {
        out.push(BININT);
        out.extend(number.to_le_bytes());
    } else {
        out.extend([LONG1, 8]);
        out.extend(number.to_le_bytes());
    }
}

/// An integer in two's complement, the lowest byte first.
pub(crate) fn long(out: &mut Vec<u8>, bytes: &[u8]) -> Result<()> {
    match u8::try_from(bytes.len()) {
        Ok(len) => out.extend([LONG1, len]),
        Err(_) => {
            let len = i32::try_from(bytes.len());
            let len =
                len.map_err(|_too_large| refused("an integer of more than 2 GiB".to_owned()))?;
            out.push(LONG4);
            out.extend(len.to_le_bytes());
        }
    }
    out.extend_from_slice(bytes);
    Ok(())
}

pub(crate) fn float(out: &mut Vec<u8>, number: f64) {
    let mut whole = [BINFLOAT; 9];
    whole[1..].copy_from_slice(&number.to_be_bytes());
    out.extend_from_slice(&whole);
}

pub(crate) fn text_bytes(out: &mut Vec<u8>, text: &[u8]) {
    match u32::try_from(text.len()) {
        Ok(len) => {
            out.push(BINUNICODE);
            out.extend(len.to_le_bytes());
        }
        Err(_) => {
            out.push(BINUNICODE8);
            out.extend((text.len() as u64).to_le_bytes());
        }
    }
    out.extend_from_slice(text);
}

pub(crate) fn bytes(out: &mut Vec<u8>, content: &[u8]) {
    if let Ok(len) = u8::try_from(content.len()) {
        out.extend([SHORT_BINBYTES, len]);
    } else if let Ok(len) = u32::try_from(content.len()) {
        out.push(BINBYTES);
        out.extend(len.to_le_bytes());
    } else {
        out.push(BINBYTES8);
        out.extend((content.len() as u64).to_le_bytes());
    }
    out.extend_from_slice(content);
}

fn named(out: &mut Vec<u8>, class: &Global) -> Result<()> {
    global(out, &class.module, &class.name)
}

pub(crate) fn global(out: &mut Vec<u8>, module: &str, name: &str) -> Result<()> {
    if [module, name].iter().any(|part| part.contains('\n')) {
        return Err(refused(format!("the name of a class has a line break: {module:?} {name:?}")));
    }
    if name.contains('.') {
        look_into_classes(out);
    }
    out.push(GLOBAL);
    for part in [module, name] {
        out.extend_from_slice(part.as_bytes());
        out.push(b'\n');
    }
    Ok(())
}
