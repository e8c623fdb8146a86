//! The classes that are made into values: a fixed list of those that are data and nothing else. All others stay [`Object`]s.

use crate::value::{Array, Exception, Global, How, Object, Value};

/// The exceptions of `builtins`, up to CPython 3.14.
const BUILTIN_EXCEPTIONS: [&str; 70] = [
    "ArithmeticError",
    "AssertionError",
    "AttributeError",
    "BaseException",
    "BaseExceptionGroup",
    "BlockingIOError",
    "BrokenPipeError",
    "BufferError",
    "BytesWarning",
    "ChildProcessError",
    "ConnectionAbortedError",
    "ConnectionError",
    "ConnectionRefusedError",
    "ConnectionResetError",
    "DeprecationWarning",
    "EOFError",
    "EncodingWarning",
    "Exception",
    "ExceptionGroup",
    "FileExistsError",
    "FileNotFoundError",
    "FloatingPointError",
    "FutureWarning",
    "GeneratorExit",
    "ImportError",
    "ImportWarning",
    "IndentationError",
    "IndexError",
    "InterruptedError",
    "IsADirectoryError",
    "KeyError",
    "KeyboardInterrupt",
    "LookupError",
    "MemoryError",
    "ModuleNotFoundError",
    "NameError",
    "NotADirectoryError",
    "NotImplementedError",
    "OSError",
    "OverflowError",
    "PendingDeprecationWarning",
    "PermissionError",
    "ProcessLookupError",
    "PythonFinalizationError",
    "RecursionError",
    "ReferenceError",
    "ResourceWarning",
    "RuntimeError",
    "RuntimeWarning",
    "StopAsyncIteration",
    "StopIteration",
    "SyntaxError",
    "SyntaxWarning",
    "SystemError",
    "SystemExit",
    "TabError",
    "TimeoutError",
    "TypeError",
    "UnboundLocalError",
    "UnicodeDecodeError",
    "UnicodeEncodeError",
    "UnicodeError",
    "UnicodeTranslateError",
    "UnicodeWarning",
    "UserWarning",
    "ValueError",
    "Warning",
    "ZeroDivisionError",
    "_IncompleteInputError",
    "WindowsError",
];

/// The exceptions that belong to `multiprocessing`.
const OTHER_EXCEPTIONS: [(&str, &str); 10] = [
    ("_queue", "Empty"),
    ("multiprocessing.context", "AuthenticationError"),
    ("multiprocessing.context", "BufferTooShort"),
    ("multiprocessing.context", "ProcessError"),
    ("multiprocessing.context", "TimeoutError"),
    ("multiprocessing.managers", "RemoteError"),
    ("queue", "Empty"),
    ("queue", "Full"),
    ("queue", "ShutDown"),
    ("threading", "BrokenBarrierError"),
];

/// Whether it is an exception that is known as one.
pub(crate) fn is_exception(class: &Global) -> bool {
    match &class.module[..] {
        "builtins" => BUILTIN_EXCEPTIONS.contains(&&class.name[..]),
        module => OTHER_EXCEPTIONS.contains(&(module, &class.name[..])),
    }
}

/// What an object is, when it is of a class that is known, made in a way that is known.
pub(super) fn make(object: Object) -> Value {
    let is_plain = object.how == How::Call
        && object.items.is_empty()
        && object.pairs.is_empty()
        && matches!(object.args, Value::Tuple(_));
    let class = match &object.class {
        Value::Global(class) if is_plain => &**class,
        _ => return object.into(),
    };
    if is_exception(class) && matches!(object.state, None | Some(Value::Dict(_))) {
        return match Exception::from_value(object.into()) {
            Ok(exception) => exception.into(),
            Err(object) => object,
        };
    }
    if object.state.is_some() {
        return object.into();
    }
    match plain(class, object.args()) {
        Some(value) => value,
        None => unwrapped(object),
    }
}

/// Values that are made of small arguments.
fn plain(class: &Global, args: &[Value]) -> Option<Value> {
    Some(match ((&class.module[..], &class.name[..]), args) {
        (("builtins", "set"), []) => Value::Set(Vec::new()),
        (("builtins", "frozenset"), []) => Value::FrozenSet(Vec::new()),
        (("builtins", "bytearray"), []) => Value::ByteArray(Vec::new()),
        (("builtins", "bytes"), []) => Value::Bytes(Vec::new()),
        (("builtins", "complex"), [Value::Float(re), Value::Float(im)]) => Value::Complex(*re, *im),
        (("builtins", "slice"), [start, stop, step]) => {
            Value::Slice(Box::new([start.clone(), stop.clone(), step.clone()]))
        }
        (("builtins", "range"), [Value::Int(start), Value::Int(stop), Value::Int(step)])
            if *step != 0 =>
        {
            Value::Range(*start, *stop, *step)
        }
        // Protocol 2 has no bytes.
        (("_codecs", "encode"), [Value::Str(text), Value::Str(coding)]) if coding == "latin1" => {
            Value::Bytes(latin1(text)?)
        }
        (("builtins", "bytearray"), [Value::Str(text), Value::Str(coding)])
            if coding == "latin-1" =>
        {
            Value::ByteArray(latin1(text)?)
        }
        (("array", "array"), [Value::Str(typecode), Value::Bytes(bytes)]) => {
            Array::new(only(typecode)?, bytes.clone())?.into()
        }
        (
            ("array", "_array_reconstructor"),
            [Value::Global(class), Value::Str(typecode), Value::Int(format), Value::Bytes(bytes)],
        ) if class.is("array", "array") && is_native(only(typecode)?, *format) => {
            Array::new(only(typecode)?, bytes.clone())?.into()
        }
        _ => return None,
    })
}

/// Values that are made of one that moves.
fn unwrapped(mut object: Object) -> Value {
    let kind = match object.class() {
        Some(class) if class.module == "builtins" => class.name.clone(),
        _ => return object.into(),
    };
    let Value::Tuple(args) = &mut object.args else { return object.into() };
    let [argument] = &mut args[..] else { return object.into() };
    match (&kind[..], std::mem::take(argument)) {
        ("set", Value::List(items) | Value::Tuple(items)) => Value::Set(items),
        ("frozenset", Value::List(items) | Value::Tuple(items)) => Value::FrozenSet(items),
        ("list", Value::List(items)) => Value::List(items),
        ("bytearray", Value::Bytes(bytes)) => Value::ByteArray(bytes),
        (_, other) => {
            *argument = other;
            object.into()
        }
    }
}

fn latin1(text: &str) -> Option<Vec<u8>> {
    text.chars().map(|char| u8::try_from(char).ok()).collect()
}

fn only(text: &str) -> Option<char> {
    let mut chars = text.chars();
    chars.next().filter(|_| chars.next().is_none())
}

/// Whether numbers in this machine format (`array`'s `machine_format_code`) are those of an array of this kind here.
fn is_native(typecode: char, format: i64) -> bool {
    // From four on, the odd ones are big-endian; one and zero have no order.
    let ours = |little: i64| format == little + i64::from(cfg!(target_endian = "big"));
    match typecode {
        'B' => format == 0,
        'b' => format == 1,
        'H' => ours(2),
        'h' => ours(4),
        'I' => ours(6),
        'i' => ours(8),
        'L' | 'Q' => ours(10),
        'l' | 'q' => ours(12),
        'f' => ours(14),
        'd' => ours(16),
        _ => false,
    }
}
