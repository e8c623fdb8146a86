//! Connections between this process and real CPythons, each that is installed of 3.6 to 3.13: in both roles, over every kind of address,
//! with values of all kinds, with keys that are right and wrong, and with peers that are killed.

#![expect(clippy::unwrap_used, reason = "helpers of tests are not seen as tests")]

#[path = "python_peer/support.rs"]
mod support;

use std::time::Duration;

use procession_core::ErrorKind;
use procession_core::authkey::AuthKey;
use procession_python::{
    Address, Array, BigInt, Client, Connection, Digests, Exception, Global, Listener, Object, Value,
};
use procession_tests::watchdog;
use support::{Python, Script, hex, pythons};

const LONG: Duration = Duration::from_secs(60);

fn key() -> AuthKey {
    AuthKey::from(&b"secret"[..])
}

fn listener(address: Option<&str>, key: &AuthKey) -> Listener {
    let builder = Listener::builder().authkey(key).handshake_timeout(LONG);
    match address {
        Some(address) => builder.address(address).bind().unwrap(),
        None => builder.bind().unwrap(),
    }
}

/// An address as an expression of Python's.
fn expression(address: &Address) -> String {
    match address {
        Address::Tcp(address) => format!("('{}', {})", address.ip(), address.port()),
        Address::Path(path) => format!("{:?}", path.display().to_string()),
        Address::Abstract(name) => format!("'\\0{}'", String::from_utf8_lossy(name)),
        other @ Address::Host { .. } => panic!("{other}"),
    }
}

/// Python listens at an address that this expression makes.
fn connect(python: &Python, what: &str, address: &str, key: &AuthKey) -> (Script, Connection) {
    let mut script =
        Script::start(python, "peer.py", &["listen", what, address, &hex(key.as_bytes())]);
    let client = Client::builder(script.line()).authkey(key).timeout(LONG).connect();
    (script, client.unwrap_or_else(|error| panic!("{error:?}, {python:?}")))
}

/// Python connects to us.
fn accept(python: &Python, what: &str, listener: &Listener, key: &AuthKey) -> (Script, Connection) {
    let address = expression(listener.address());
    let script =
        Script::start(python, "peer.py", &["connect", what, &address, &hex(key.as_bytes())]);
    let server = listener.accept_timeout(LONG);
    (script, server.unwrap_or_else(|error| panic!("{error:?}, {python:?}")))
}

/// Each role over each kind of address that this release has.
fn each_way(python: &Python, what: &str, mut check: impl FnMut(Script, Connection)) {
    let key = key();
    let pid = std::process::id();
    let name = format!("procession-python-peer-{pid}-{what}");
    let mut theirs = vec!["None".to_owned(), "('127.0.0.1', 0)".to_owned()];
    let mut ours = vec![None, Some("127.0.0.1:0".to_owned())];
    // 3.6 takes an abstract name for a path.
    if python.minor > 6 {
        theirs.push(format!("'\\0{name}-theirs-{}'", python.minor));
        ours.push(Some(format!("@{name}-ours-{}", python.minor)));
    }
    for address in theirs {
        let (script, connection) = connect(python, what, &address, &key);
        check(script, connection);
    }
    for address in ours {
        let listener = listener(address.as_deref(), &key);
        let (script, connection) = accept(python, what, &listener, &key);
        check(script, connection);
    }
}

/// Sends back what comes, as a value, or says why it is none.
fn echo(connection: &Connection) {
    loop {
        match connection.recv_value() {
            Ok(Value::Str(text)) if text == "stop" => break,
            Ok(value) => connection.send(&value).unwrap(),
            Err(error) => connection.send(&("error", format!("{:?}", error.kind()))).unwrap(),
        }
    }
}

#[test]
fn everything_that_python_sends_comes_back_as_it_was() {
    let _dog = watchdog(600);
    for python in pythons() {
        each_way(&python, "ask", |mut script, connection| {
            echo(&connection);
            let said = script.line();
            let count: u32 = said.strip_prefix("equal ").unwrap().parse().unwrap();
            assert!(count > 300, "{said}");
            script.ends();
        });
    }
}

/// Values of every kind.
fn values() -> Vec<Value> {
    let numbers = [0, -1, 255, 256, 65_536, i64::from(i32::MIN), i64::MAX, i64::MIN];
    let text = ["", "é", "\0", &"x".repeat(300)];
    let mut values: Vec<Value> = numbers.map(Value::Int).to_vec();
    values.extend(text.map(Value::from));
    values.extend([u128::MAX.into(), i128::MIN.into(), BigInt::from_le_bytes(&[0x7f; 400])]);
    let array = |typecode, bytes: &[u8]| Value::from(Array::new(typecode, bytes.to_vec()).unwrap());
    let (one, two) = (Value::Int(1), Value::Int(2));
    let pairs = vec![(one.clone(), "a".into()), ("b".into(), Value::None)];
    values.extend([
        Value::None,
        true.into(),
        false.into(),
        0.5.into(),
        f64::NEG_INFINITY.into(),
        Value::Complex(1.0, -2.0),
        Value::Surrogates(b"a\xed\xb2\x80".to_vec()),
        Value::Bytes(vec![0; 300]),
        Value::Bytes(vec![]),
        Value::ByteArray(b"abc".to_vec()),
        Value::ByteArray(vec![]),
        Value::List(vec![]),
        Value::List(vec![one.clone(); 3000]),
        Value::Dict(pairs.clone()),
        Value::Dict(vec![]),
        Value::Set(vec![two.clone()]),
        Value::Set(vec![]),
        Value::FrozenSet(vec![one.clone()]),
        Value::Slice(Box::new([one.clone(), Value::None, two.clone()])),
        Value::Range(0, 5, 1),
        Value::Range(5, -5, -2),
        array('h', &[1, 0, 255, 255]),
        array('d', &0.25f64.to_ne_bytes()),
        Exception::builtin("ValueError", vec!["bad".into()]).into(),
        Exception::builtin("OSError", vec![5.into(), "io".into()]).into(),
        Global::new("builtins", "len").into(),
        Object::call(Global::new("decimal", "Decimal"), vec!["1.50".into()]).into(),
    ]);
    values.extend((0..6).map(|len| Value::Tuple(vec![one.clone(); len])));
    values.push(Value::List(values.clone()));
    values
}

/// Whether Python has given it back as it was. A set of one item has one order; `OSError` finds its own class.
fn assert_same(got: &Value, value: &Value, python: &str) {
    assert_eq!(got, value, "{python}");
}

#[test]
fn everything_that_we_send_comes_back_as_it_was() {
    let _dog = watchdog(600);
    for python in pythons() {
        each_way(&python, "echo", |mut script, connection| {
            for value in values() {
                connection.send(&value).unwrap();
                let got = connection.recv_value().unwrap();
                assert_same(&got, &value, &format!("{python:?}"));
            }
            // Ordinary types.
            let sent = (vec![Some("a".to_owned()), None], [1.5, 2.5], u64::MAX, 'é');
            connection.send(&sent).unwrap();
            let got: (Vec<Option<String>>, [f64; 2], u64, char) = connection.recv().unwrap();
            assert_eq!(got, sent);
            drop(connection);
            assert_eq!(script.line(), "end");
            script.ends();
        });
    }
}

#[test]
fn a_wrong_key_fails_on_both_sides() {
    let _dog = watchdog(300);
    for python in pythons() {
        let (right, wrong) = (key(), AuthKey::from(&b"Secret"[..]));
        for address in ["None", "('127.0.0.1', 0)"] {
            let arguments = ["listen", "echo", address, &hex(right.as_bytes())];
            let mut script = Script::start(&python, "peer.py", &arguments);
            let client = Client::builder(script.line()).authkey(&wrong).timeout(LONG).connect();
            assert_eq!(client.unwrap_err().kind(), ErrorKind::Authentication, "{python:?}");
            assert!(script.line().starts_with("refused"), "{python:?}");
            script.ends();
        }
        for address in [None, Some("127.0.0.1:0")] {
            let listener = listener(address, &right);
            let address = expression(listener.address());
            let arguments = ["connect", "echo", &address, &hex(wrong.as_bytes())];
            let mut script = Script::start(&python, "peer.py", &arguments);
            let error = listener.accept_timeout(LONG).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Authentication, "{python:?}");
            assert!(script.line().starts_with("refused"), "{python:?}");
            script.ends();
        }
    }
}

#[test]
fn md5_is_refused_where_only_modern_digests_are_allowed() {
    let _dog = watchdog(300);
    for python in pythons() {
        let (key, is_modern) = (key(), python.minor >= 12);
        let bound = Listener::builder().authkey(&key).digests(Digests::Modern).bind().unwrap();
        let address = expression(bound.address());
        let arguments = ["connect", "echo", &address, &hex(key.as_bytes())];
        let script = Script::start(&python, "peer.py", &arguments);
        let accepted = bound.accept_timeout(LONG);
        assert_eq!(accepted.is_ok(), is_modern, "{python:?}: {accepted:?}");
        drop((accepted, script));
        let arguments = ["listen", "echo", "None", &hex(key.as_bytes())];
        let mut script = Script::start(&python, "peer.py", &arguments);
        let builder = Client::builder(script.line()).authkey(&key).digests(Digests::Modern);
        assert_eq!(builder.timeout(LONG).connect().is_ok(), is_modern, "{python:?}");
    }
}

#[test]
fn who_waits_for_a_python_that_is_killed_learns_it() {
    let _dog = watchdog(300);
    for python in pythons() {
        let listener = listener(None, &key());
        let (mut script, connection) = accept(&python, "echo", &listener, &key());
        connection.send(&1).unwrap();
        assert_eq!(connection.recv::<u8>().unwrap(), 1);
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| connection.recv_value());
            script.running.0.kill().unwrap();
            assert_eq!(waits.join().unwrap().unwrap_err().kind(), ErrorKind::Closed);
        });
        assert_eq!(connection.recv_value().unwrap_err().kind(), ErrorKind::Closed);
        // In its handshake.
        let arguments = ["listen", "echo", "('127.0.0.1', 0)", &hex(key().as_bytes())];
        let mut script = Script::start(&python, "peer.py", &arguments);
        let address: Address = script.line().parse().unwrap();
        let silent = Client::connect(&address).unwrap();
        script.running.0.kill().unwrap();
        script.running.0.wait().unwrap();
        while silent.recv_bytes().is_ok() {}
        let refused = Client::builder(&address).authkey(&key()).timeout(LONG).connect();
        assert!(refused.is_err());
    }
}
