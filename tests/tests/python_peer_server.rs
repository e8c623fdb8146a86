//! A manager of ours that real CPythons use by stock code, each that is installed of 3.6 to 3.13: every type, objects of one's own, errors,
//! references, and clients that are killed.

#![expect(clippy::unwrap_used, reason = "helpers of tests are not seen as tests")]

#[path = "python_peer/support.rs"]
mod support;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use procession_core::ErrorKind;
use procession_core::authkey::AuthKey;
use procession_python::{
    Address, Answer, Arguments, Exception, Listener, Manager, Server, ServerBuilder, Service, Value,
};
use procession_sys::prim::AtomicU64;
use procession_sys::prim::Ordering::Relaxed;
use procession_tests::{wait_until, watchdog};
use support::{Python, Script, hex, pythons};

const LONG: Duration = Duration::from_secs(60);

struct Maths(i64);

fn key() -> AuthKey {
    AuthKey::from(&b"abracadabra"[..])
}

fn maths(arguments: Arguments) -> Result<Arc<Service<Maths>>, Exception> {
    let (base,): (i64,) = arguments.extract()?;
    let service = Service::new(Maths(base))
        .method("add", |maths: &Maths, (x, y): (i64, i64)| Ok(maths.0 + x + y))
        .method("fail", |_: &Maths, (why,): (String,)| -> Result<(), _> {
            Err(Exception::builtin("ValueError", vec![why.into()]))
        })
        .method("panic", |_: &Maths, (): ()| -> Result<(), _> { panic!("on purpose") })
        .raw_method("same", |_: &Maths, arguments| arguments.one("thing").map(Answer::Value));
    Ok(Arc::new(service))
}

fn builder(address: &Address) -> ServerBuilder {
    let counter = Service::new(AtomicU64::new(0))
        .method("count", |count: &AtomicU64, (): ()| Ok(count.fetch_add(1, Relaxed)));
    Server::builder(address, &key()).register("Maths", maths).share("shared", Arc::new(counter))
}

/// A path of its own, or a port.
fn addresses(what: &str) -> [Address; 2] {
    let name = format!("procession-python-{what}-{}", std::process::id());
    [std::env::temp_dir().join(name).into(), "127.0.0.1:0".parse().unwrap()]
}

fn expression(address: &Address) -> String {
    match address {
        Address::Tcp(address) => format!("('{}', {})", address.ip(), address.port()),
        Address::Path(path) => format!("{:?}", path.display().to_string()),
        other => panic!("{other}"),
    }
}

fn user(python: &Python, what: &str, server: &Server, key: &AuthKey) -> Script {
    let address = expression(server.address());
    Script::start(python, "user.py", &[what, &address, &hex(key.as_bytes())])
}

#[test]
fn stock_code_uses_everything_as_if_it_were_pythons() {
    let _dog = watchdog(900);
    for python in pythons() {
        for address in addresses("everything") {
            let server = builder(&address).start().unwrap();
            let mut script = user(&python, "everything", &server, &key());
            assert_eq!(script.line(), "fine", "{python:?}");
            script.ends();
            // What lies in another one stays, as in CPython; all else has gone with its proxies.
            wait_until("all references are given up", || server.number_of_objects() == 0);
            let mut script = user(&python, "shutdown", &server, &key());
            assert!(server.wait(LONG));
            script.running.0.wait().unwrap();
        }
    }
}

#[test]
fn rust_uses_a_manager_of_rust() {
    let _dog = watchdog(300);
    let server = builder(&addresses("rust")[0]).start().unwrap();
    let manager = Manager::connect(server.address(), &key()).unwrap();
    let dict = manager.dict().unwrap();
    dict.insert("k", vec![1, 2]).unwrap();
    assert_eq!(dict.get::<Vec<u8>>("k").unwrap(), Some(vec![1, 2]));
    assert_eq!(
        dict.iter().unwrap().iter::<String>().map(Result::unwrap).collect::<Vec<_>>(),
        ["k"]
    );
    let set = manager.set().unwrap();
    set.add((1, "x")).unwrap();
    assert!(set.contains((1.0, "x")).unwrap() && set.len().unwrap() == 1);
    assert_eq!(manager.number_of_objects().unwrap(), 2);
    let maths = manager.create("Maths", (1,)).unwrap();
    assert_eq!(maths.call::<i64>("add", (1, 1)).unwrap(), 3);
    let panicked = maths.call::<()>("panic", ()).unwrap_err();
    assert!(panicked.is("RuntimeError") && panicked.to_string().contains("on purpose"));
    drop((dict, set, maths));
    assert_eq!(server.number_of_objects(), 0);
    manager.shutdown().unwrap();
    assert!(server.wait(LONG));
}

#[test]
fn a_client_that_is_killed_while_it_waits_takes_nothing_along() {
    let _dog = watchdog(300);
    for python in pythons() {
        let server = shared_queue();
        let manager = Manager::connect(server.address(), &key()).unwrap();
        let queue = manager.create("Queue", ()).unwrap();
        let mut script = user(&python, "wait", &server, &key());
        assert_eq!(script.line(), "waits");
        script.running.0.kill().unwrap();
        script.running.0.wait().unwrap();
        queue.call::<()>("put", ("kept",)).unwrap();
        let kept = queue.call_timeout::<String>("get", (true, 20), LONG).unwrap();
        assert_eq!(kept, "kept", "{python:?}");
        // And one that lives gets what it waits for.
        let mut script = user(&python, "wait", &server, &key());
        assert_eq!(script.line(), "waits");
        queue.call::<()>("put", ("seen",)).unwrap();
        assert_eq!(script.line(), "got seen");
        script.ends();
    }
}

/// A server whose queue is the same for all.
fn shared_queue() -> Server {
    let address = &addresses("shared")[1];
    Server::builder(address, &key()).share_one("Queue").start().unwrap()
}

#[test]
fn a_server_that_ends_lets_nobody_wait() {
    let _dog = watchdog(300);
    let server = builder(&addresses("ends")[0]).start().unwrap();
    let manager = Manager::connect(server.address(), &key()).unwrap();
    let queue = manager.queue(0).unwrap();
    assert_eq!(queue.len().unwrap(), 0);
    std::thread::scope(|scope| {
        let ends = scope.spawn(|| server.shutdown());
        let error: procession_core::Error = queue.get::<u8>().unwrap_err().into();
        assert!(matches!(error.kind(), ErrorKind::Closed | ErrorKind::Other), "{error:?}");
        ends.join().unwrap();
    });
    assert!(Manager::connect(server.address(), &key()).is_err());
}

#[test]
fn hostile_clients_are_refused_and_others_served() {
    let _dog = watchdog(300);
    let address = &addresses("hostile")[0];
    let server = builder(address).max_connections(8).start().unwrap();
    let Address::Path(path) = server.address() else { panic!("a path") };
    // Without the key.
    for nonsense in
        [&b""[..], b"\0\0\0\x04abcd", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"]
    {
        let mut stranger = UnixStream::connect(path).unwrap();
        stranger.set_read_timeout(Some(LONG)).unwrap();
        stranger.write_all(nonsense).unwrap();
        if !nonsense.is_empty() {
            stranger.read_to_end(&mut Vec::new()).ok();
        }
    }
    // With the key, and nothing that makes sense.
    let connect = || {
        let builder = procession_python::Client::builder(server.address()).authkey(&key());
        builder.timeout(LONG).connect().unwrap()
    };
    let refused = |pickle: &[u8]| {
        let client = connect();
        client.send_bytes(pickle).unwrap();
        let (kind, text): (String, String) = client.recv().unwrap();
        assert_eq!(kind, "#TRACEBACK");
        assert_eq!(client.recv_value().unwrap_err().kind(), ErrorKind::Closed);
        text
    };
    let request = |name: &str, args: Value| {
        let none = Value::Dict(vec![]);
        Value::Tuple(vec![Value::None, name.into(), args, none]).to_bytes().unwrap()
    };
    let one = |value: Value| Value::Tuple(vec![value]);
    assert!(refused(b"nonsense").contains("pickle"));
    assert!(refused(&Value::None.to_bytes().unwrap()).contains("four"));
    assert!(refused(&request("nosuch", Value::Tuple(vec![]))).contains("no function"));
    assert!(refused(&request("create", Value::Tuple(vec![]))).contains("typeid"));
    assert!(refused(&request("create", one("nosuch".into()))).contains("KeyError"));
    assert!(refused(&request("incref", one("ffff".into()))).contains("KeyError"));
    assert!(refused(&request("decref", one(5.into()))).contains("TypeError"));
    assert!(refused(&request("dummy", Value::Int(5))).contains("four"));
    assert!(refused(&request("get_methods", one(Value::None))).contains("token"));
    // One that is given up too often.
    let list = connect();
    list.send_bytes(&request("create", one("list".into()))).unwrap();
    let (_, (ident, _)): (String, (String, Vec<String>)) = list.recv().unwrap();
    let give_up = request("decref", one(ident.into()));
    let client = connect();
    client.send_bytes(&give_up).unwrap();
    assert_eq!(client.recv::<(String, ())>().unwrap().0, "#RETURN");
    assert!(refused(&give_up).contains("KeyError"));
    // More connections than there may be.
    let held: Vec<_> = (0..9).map(|_| connect()).collect();
    wait_until("one is refused", || server.refused_connections() > 0);
    drop(held);
    let mut manager = Manager::connect(server.address(), &key());
    wait_until("there is room again", || {
        manager = Manager::connect(server.address(), &key());
        manager.is_ok()
    });
    assert_eq!(manager.unwrap().list(&[1]).unwrap().len().unwrap(), 1);
    assert!(Listener::bind(path).is_err());
}
