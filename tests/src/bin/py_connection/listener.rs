//! CPython: `_TestListener`, `_TestListenerClient`, `TestInvalidFamily`, `TestTimeouts`.

use procession::connection::Family;
use procession::prelude::*;
use procession::{Address, ErrorKind, OsCode};
use procession_sys::net::{ADDRESS_IN_USE, CONNECTION_REFUSED};
use procession_tests::SOON;

use crate::stage::{
    Folder, NOW, Peer, Row, SHORT, SOCKETS, by_each_way, connect, is_over, key, kind, next,
    next_bytes, next_of, pause, value,
};

pub(crate) const ROWS: &[Row] = &[
    ("listener::multiple_bind", multiple_bind),
    ("listener::context", context),
    ("listener::empty_authkey", empty_authkey),
    ("listener::abstract_socket", abstract_socket),
    ("listener::listener_client", listener_client),
    ("listener::issue14725", issue14725),
    ("listener::issue16955", issue16955),
    ("listener::invalid_family", invalid_family),
    ("listener::timeout", timeout),
    ("listener::a_killed_listener_is_found_out_and_followed", killed),
];

/// What the system has against listening there.
fn refusal(address: Address) -> Option<OsCode> {
    Listener::bind(address).err().map(|error| error.os_code().unwrap())
}

fn refusal_there(address: &Address) -> Option<OsCode> {
    let ask = |address: Address| refusal(address).map(OsCode::raw);
    value(&Process::spawn(ask, (address.clone(),)).unwrap()).map(OsCode::from_raw)
}

fn multiple_bind() {
    let folder = Folder::new();
    for way in SOCKETS {
        let listener = Listener::bind(way.address(&folder)).unwrap();
        let address = listener.address().clone();
        for _ in 0..2 {
            assert_eq!(refusal(address.clone()), Some(ADDRESS_IN_USE), "{way:?}");
            assert_eq!(refusal_there(&address), Some(ADDRESS_IN_USE), "{way:?}");
        }
        // It is none the worse for that.
        let client = connect(&address, None).unwrap();
        listener.accept_timeout(SOON).unwrap().send(7u8).unwrap();
        assert_eq!(next_of::<u8>(&client), 7);
        drop(listener);
        assert_eq!(refusal_there(&address), None, "{way:?}");
        assert_eq!(refusal(address), None, "{way:?}");
    }
}

/// The scope of each of the three ends what it is about, and nothing else.
fn context() {
    let work = |addresses: Receiver<Address>, tx: Sender<bool>| {
        while let Ok(address) = addresses.recv() {
            let is_let_in = match connect(&address, None) {
                Ok(client) => {
                    client.send(1729u32).unwrap();
                    is_over(&client);
                    true
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Os, "{error}");
                    false
                }
            };
            tx.send(is_let_in).unwrap();
        }
    };
    let ((to, addresses), (tx, rx)) = (pipe().unwrap(), pipe().unwrap());
    let child = Process::spawn(work, (addresses, tx)).unwrap();
    let folder = Folder::new();
    for way in SOCKETS {
        let listener = Listener::bind(way.address(&folder)).unwrap();
        let address = listener.address().clone();
        to.send(address.clone()).unwrap();
        {
            let server = listener.accept_timeout(SOON).unwrap();
            assert_eq!(next_of::<u32>(&server), 1729);
        }
        assert!(next(&rx));
        to.send(address.clone()).unwrap();
        let server = listener.accept_timeout(SOON).unwrap();
        listener.close();
        assert_eq!(kind(listener.accept()), ErrorKind::Closed);
        assert_eq!(kind(listener.try_accept()), ErrorKind::Closed);
        assert!(listener.incoming().next().is_none());
        // Who was accepted stays.
        assert_eq!(next_of::<u32>(&server), 1729);
        drop(server);
        assert!(next(&rx));
        to.send(address).unwrap();
        assert!(!next(&rx), "nobody listens any more");
    }
    drop(to);
    value(&child);
}

/// What becomes of a client with this key, or none.
fn knock(address: Address, key: Option<Vec<u8>>) -> Result<String, bool> {
    let connected = connect(&address, key.as_deref());
    let client = connected.map_err(|error| error.kind() == ErrorKind::Authentication)?;
    client.send_bytes(b"hello").unwrap();
    // Who has no key takes the challenge for a message, and says what is no answer to it.
    let answer = client.recv_bytes_timeout(SOON).unwrap();
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn empty_authkey() {
    let folder = Folder::new();
    for way in SOCKETS {
        let builder = Listener::builder().address(way.address(&folder)).authkey(&key(b""));
        let listener = builder.bind().unwrap();
        let knocks = |key: Option<&[u8]>| {
            let args = (listener.address().clone(), key.map(<[u8]>::to_vec));
            Process::spawn(knock, args).unwrap()
        };
        let child = knocks(Some(b""));
        let server = listener.accept_timeout(SOON).unwrap();
        assert_eq!(next_bytes(&server), b"hello");
        server.send_bytes(b"welcome").unwrap();
        assert_eq!(value(&child).unwrap(), "welcome");
        for wrong in [&b"x"[..], &[0]] {
            let child = knocks(Some(wrong));
            assert_eq!(kind(listener.accept_timeout(SOON)), ErrorKind::Authentication);
            assert!(value(&child).unwrap_err());
        }
        // No key is not an empty one.
        let child = knocks(None);
        assert_eq!(kind(listener.accept_timeout(SOON)), ErrorKind::Authentication);
        assert_ne!(value(&child).unwrap(), "welcome");
    }
}

fn abstract_socket() {
    let serve = |tx: Sender<Address>, seen: Receiver<()>| {
        let name = format!("@procession-something-{}", std::process::id());
        let listener = Listener::bind(&name).unwrap();
        assert_eq!(listener.address().to_string(), name);
        tx.send(listener.address().clone()).unwrap();
        listener.accept_timeout(SOON).unwrap().send(name).unwrap();
        next(&seen);
    };
    let ((tx, rx), (go, seen)) = (pipe().unwrap(), pipe().unwrap());
    let child = Process::spawn(serve, (tx, seen)).unwrap();
    let address = next(&rx);
    let Address::Abstract(name) = &address else { panic!("{address}") };
    assert!(name.starts_with(b"procession-something-"));
    let client = connect(&address, None).unwrap();
    assert_eq!(next_of::<String>(&client), address.to_string());
    assert_eq!(refusal(address.clone()), Some(ADDRESS_IN_USE));
    go.send(()).unwrap();
    value(&child);
    // It goes with its owner.
    let refused = connect(&address, None).unwrap_err();
    assert_eq!(refused.os_code(), Some(CONNECTION_REFUSED), "{refused}");
}

fn listener_client() {
    let work = |address: Address, key: Option<Vec<u8>>| {
        connect(&address, key.as_deref()).unwrap().send("hello").unwrap();
    };
    let folder = Folder::new();
    for way in SOCKETS {
        for secret in [None, Some(b"secret".to_vec())] {
            let builder = Listener::builder().address(way.address(&folder));
            let listener = match &secret {
                Some(bytes) => builder.authkey(&key(bytes)).bind().unwrap(),
                None => builder.bind().unwrap(),
            };
            let args = (listener.address().clone(), secret);
            let child = Process::spawn(work, args).unwrap();
            let server = listener.accept_timeout(SOON).unwrap();
            assert_eq!(next_of::<String>(&server), "hello");
            is_over(&server);
            value(&child);
        }
    }
}

fn issue14725() {
    let work = |address: Address| {
        connect(&address, None).unwrap().send("hello").unwrap();
    };
    let folder = Folder::new();
    for way in SOCKETS {
        let listener = Listener::bind(way.address(&folder)).unwrap();
        value(&Process::spawn(work, (listener.address().clone(),)).unwrap());
        let server = listener.accept_timeout(SOON).unwrap();
        assert_eq!(next_of::<String>(&server), "hello");
        is_over(&server);
    }
}

fn issue16955() {
    let serve = |listens: Sender<Address>, go: Receiver<()>| {
        for way in SOCKETS {
            let folder = Folder::new();
            let listener = Listener::bind(way.address(&folder)).unwrap();
            listens.send(listener.address().clone()).unwrap();
            let server = listener.accept_timeout(SOON).unwrap();
            next(&go);
            server.send_bytes(b"hello").unwrap();
            drop(server);
            next(&go);
        }
    };
    let ((listens, addresses), (go, wait)) = (pipe().unwrap(), pipe().unwrap());
    let child = Process::spawn(serve, (listens, wait)).unwrap();
    for _ in SOCKETS {
        let client = connect(&next(&addresses), None).unwrap();
        assert!(!client.poll(NOW).unwrap());
        go.send(()).unwrap();
        assert!(client.poll(SOON).unwrap());
        assert_eq!(next_bytes(&client), b"hello");
        is_over(&client);
        go.send(()).unwrap();
    }
    value(&child);
}

/// Also `test_invalid_family_win32`, as far as there is such a thing: what is no address of a family.
fn invalid_family() {
    let refuse = || {
        for nowhere in [r"\\.\test", r"\\.\pipe\test", "", "test", "localhost", "unix:", "a:b:1"] {
            assert_eq!(kind(Listener::bind(nowhere)), ErrorKind::InvalidInput, "{nowhere}");
            assert_eq!(kind(Client::connect(nowhere)), ErrorKind::InvalidInput, "{nowhere}");
        }
        for (family, address) in [
            (Family::Tcp4, "/var/test.pipe"),
            (Family::Tcp6, "@test"),
            (Family::Unix, "127.0.0.1:0"),
            (Family::Tcp6, "127.0.0.1:0"),
            (Family::Tcp4, "[::1]:0"),
        ] {
            let bound = Listener::builder().family(family).address(address).bind();
            assert_eq!(kind(bound), ErrorKind::InvalidInput, "{family:?} {address}");
        }
    };
    refuse();
    value(&Process::spawn(refuse, ()).unwrap());
}

/// Nothing has a limit of time that nobody gave it.
fn timeout() {
    let work = |peer: Peer, tx: Sender<u8>| {
        pause(2 * SHORT);
        tx.send(123).unwrap();
        pause(2 * SHORT);
        let connection = peer.meet();
        pause(2 * SHORT);
        connection.send(456u32).unwrap();
        assert_eq!(connection.recv::<u8>().unwrap(), 7);
    };
    let listener = Listener::bind("127.0.0.1:0").unwrap();
    let (tx, rx) = pipe().unwrap();
    let peer = Peer::Connects(listener.address().clone());
    let child = Process::spawn(work, (peer, tx)).unwrap();
    assert_eq!(rx.recv().unwrap(), 123);
    let server = listener.accept().unwrap();
    assert_eq!(server.recv::<u32>().unwrap(), 456);
    pause(2 * SHORT);
    server.send(7u8).unwrap();
    value(&child);
    by_each_way(
        |peer| {
            let late = |peer: Peer| {
                let connection = peer.meet();
                pause(SHORT);
                connection.send(1u8).unwrap();
            };
            Process::spawn(late, (peer,)).unwrap()
        },
        |_, connection| assert_eq!(connection.recv::<u8>().unwrap(), 1),
    );
}

fn killed() {
    let serve = |address: Address, tx: Sender<Address>| {
        let listener = Listener::bind(address).unwrap();
        tx.send(listener.address().clone()).unwrap();
        let _server = listener.accept().unwrap();
        tx.send(listener.address().clone()).unwrap();
        loop {
            std::thread::park();
        }
    };
    let folder = Folder::new();
    for way in SOCKETS {
        let (tx, rx) = pipe().unwrap();
        let child = Process::<()>::spawn(serve, (way.address(&folder), tx)).unwrap();
        let address = next(&rx);
        let client = connect(&address, None).unwrap();
        next(&rx);
        let waits = connect(&address, None).unwrap();
        child.kill().unwrap();
        is_over(&client);
        // Nobody will ever accept it.
        assert!(waits.poll(SOON).unwrap());
        assert!(matches!(kind(waits.recv_bytes()), ErrorKind::Closed | ErrorKind::Os));
        assert!(child.join_timeout(SOON).unwrap().is_err());
        let refused = connect(&address, None).unwrap_err();
        assert_eq!(refused.os_code(), Some(CONNECTION_REFUSED), "{refused}");
        assert_eq!(refusal_there(&address), None, "{way:?}");
    }
}
