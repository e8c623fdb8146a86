//! One connection of a client: a request to the manager, or calls of methods.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::arguments::Arguments;
use super::core::Core;
use super::managed::{Answer, Caller, Managed, raise};
use crate::connection::Connection;
use crate::manager::message::{Token, kind};
use crate::value::{Exception, Value};

/// Serves a connection by a thread, unless there are too many.
pub(super) fn start(core: &Arc<Core>, connection: Connection) {
    let connection = Arc::new(connection);
    let Some(number) = core.welcome(&connection) else { return };
    let thread = {
        let core = Arc::clone(core);
        std::thread::Builder::new().name("procession-python".into()).spawn(move || {
            // What an object of the program's own does here and there ends this connection at most.
            let served = catch_unwind(AssertUnwindSafe(|| serve(&core, &connection, number)));
            let has_called = served.unwrap_or(true);
            drop(connection);
            core.leave(number, has_called);
        })
    };
    if thread.is_err() {
        // Nobody would serve it: the client gets the end.
        core.leave(number, false);
    }
}

/// Serves until the client is gone; tells whether it has called methods.
fn serve(core: &Core, connection: &Connection, number: u64) -> bool {
    let Ok(pickle) = connection.recv_bytes() else { return false };
    let (reply, calls) = match parse(&pickle, connection) {
        Ok((_, function, arguments)) if function == "accept_connection" => {
            (arguments.one("name").map(|_name| Value::None), true)
        }
        Ok((_, function, arguments)) => (ask(core, &function, arguments), false),
        Err(exception) => (Err(exception), false),
    };
    let is_fine = reply.is_ok();
    let reply = match reply {
        Ok(value) => pair(kind::RETURN, value),
        Err(exception) => pair(kind::TRACEBACK, traceback(&exception)),
    };
    if !send(connection, &reply) || !calls || !is_fine {
        return false;
    }
    let caller = Caller::new(number, connection, core);
    while let Ok(pickle) = connection.recv_bytes() {
        let reply = match parse(&pickle, connection) {
            Ok((ident, method, arguments)) => call(core, &ident, &method, arguments, &caller),
            Err(exception) => pair(kind::TRACEBACK, traceback(&exception)),
        };
        if !send(connection, &reply) {
            break;
        }
    }
    true
}

/// What a request is: for whom, what, with what.
fn parse(pickle: &[u8], connection: &Connection) -> Result<(String, String, Arguments), Exception> {
    let request = Value::from_bytes_within(pickle, connection.limits());
    let request = request.map_err(|error| raise("ValueError", error.to_string()))?;
    let no_request = || raise("ValueError", "a request is four things");
    let parts = match request {
        Value::Tuple(parts) | Value::List(parts) => parts,
        _ => return Err(no_request()),
    };
    let [ident, Value::Str(name), args, Value::Dict(kwargs)] =
        <[Value; 4]>::try_from(parts).map_err(|_other| no_request())?
    else {
        return Err(no_request());
    };
    let (Value::Tuple(positional) | Value::List(positional)) = args else {
        return Err(no_request());
    };
    let keywords = kwargs.into_iter().map(|(name, value)| match name {
        Value::Str(name) => Ok((name, value)),
        _ => Err(raise("TypeError", "keywords must be strings")),
    });
    let keywords = keywords.collect::<Result<_, _>>()?;
    let ident = match ident {
        Value::Str(ident) => ident,
        _ => String::new(),
    };
    Ok((ident, name, Arguments { positional, keywords }))
}

/// What a client asks of the manager itself.
fn ask(core: &Core, function: &str, mut arguments: Arguments) -> Result<Value, Exception> {
    match function {
        "dummy" => arguments.none().map(|()| Value::None),
        "create" => {
            if arguments.positional.is_empty() {
                return Err(raise("TypeError", "missing a required argument: 'typeid'"));
            }
            let Value::Str(typeid) = arguments.positional.remove(0) else {
                return Err(raise("TypeError", "the name of a type is a str"));
            };
            keep_inside(core, &arguments);
            let (ident, methods) = core.create(&typeid, arguments)?;
            Ok(Value::Tuple(vec![ident.into(), names(methods)]))
        }
        "incref" => core.incref(&text(arguments.one("ident")?)?).map(|()| Value::None),
        "decref" => core.decref(&text(arguments.one("ident")?)?).map(|()| Value::None),
        "get_methods" => {
            let token = arguments.one("token")?;
            let no_token = || raise("TypeError", "a token was expected");
            let (token, _) = Token::from_value(&token).ok_or_else(no_token)?;
            Ok(names(core.object(&token.ident)?.0.methods()))
        }
        "number_of_objects" => arguments.none().map(|()| core.number_of_objects().into()),
        "debug_info" => arguments.none().map(|()| core.debug_info().into()),
        "shutdown" => {
            arguments.none()?;
            core.end();
            Ok(Value::None)
        }
        other => Err(raise("AssertionError", format!("'{other}' is no function of the manager"))),
    }
}

/// Calls a method of an object, and says what to answer.
fn call(
    core: &Core,
    ident: &str,
    method: &str,
    arguments: Arguments,
    caller: &Caller<'_>,
) -> Value {
    let (object, typeid) = match core.object(ident) {
        Ok(found) => found,
        Err(exception) => return pair(kind::TRACEBACK, traceback(&exception)),
    };
    keep_inside(core, &arguments);
    let called = match object.has_method(method) {
        // A panic is the caller's exception, and ends neither the server nor this connection.
        true => catch_unwind(AssertUnwindSafe(|| object.call(method, arguments, caller)))
            .unwrap_or_else(|panic| Err(panicked(&*panic))),
        false => match without(&*object, method) {
            Some(answer) => answer,
            None => {
                let methods = object.methods();
                let text =
                    format!("method '{method}' of '{typeid}' object is not in exposed={methods:?}");
                return pair(kind::TRACEBACK, traceback(&raise("AttributeError", text)));
            }
        },
    };
    match called {
        Ok(Answer::Value(value)) => pair(kind::RETURN, value),
        Ok(Answer::Object(typeid, object)) => {
            let (ident, methods) = core.add(typeid, object);
            let token = Token { typeid: typeid.to_owned(), ident };
            let token = token.to_value(&core.address);
            pair(kind::PROXY, Value::Tuple(vec![names(methods), token]))
        }
        Err(exception) => pair(kind::ERROR, exception.into()),
    }
}

/// What every object can, without saying so.
fn without(object: &dyn Managed, method: &str) -> Option<Result<Answer, Exception>> {
    match method {
        "__repr__" | "__str__" => Some(Ok(object.repr().into())),
        "#GETVALUE" => Some(object.value().map(Answer::Value)),
        _ => None,
    }
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> Exception {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    let text = text.unwrap_or_else(|| "something that is no text".to_owned());
    raise("RuntimeError", format!("the method panicked: {text}"))
}

fn keep_inside(core: &Core, arguments: &Arguments) {
    let keywords = arguments.keywords.iter().map(|(_, value)| value);
    arguments.positional.iter().chain(keywords).for_each(|value| core.keep_inside(value));
}

/// Sends an answer; tells whether the client is there yet.
fn send(connection: &Connection, reply: &Value) -> bool {
    let sent = match reply.to_bytes() {
        Ok(pickle) => connection.send_bytes(&pickle),
        Err(error) => {
            let text = pair(kind::UNSERIALIZABLE, error.to_string().into());
            text.to_bytes().and_then(|pickle| connection.send_bytes(&pickle))
        }
    };
    sent.is_ok()
}

fn pair(kind: &str, value: Value) -> Value {
    Value::Tuple(vec![kind.into(), value])
}

fn names(names: Vec<String>) -> Value {
    Value::Tuple(names.into_iter().map(Value::Str).collect())
}

fn text(value: Value) -> Result<String, Exception> {
    match value {
        Value::Str(text) => Ok(text),
        other => Err(raise("TypeError", format!("a str was expected, not {}", other.type_name()))),
    }
}

/// What a client prints of an error of the manager itself. There are no frames of Python's to be shown.
fn traceback(exception: &Exception) -> Value {
    let text = format!("Traceback (most recent call last):\n  (a manager in Rust)\n{exception}\n");
    text.into()
}
