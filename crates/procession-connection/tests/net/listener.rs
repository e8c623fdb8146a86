//! Listening, connecting and accepting.

use std::os::fd::AsFd;
use std::time::Instant;

use procession_core::{Deadline, OsCode};
use procession_sys::poll::wait_readable;

use super::*;

fn now() -> Deadline {
    Deadline::after(Duration::ZERO)
}

// CPython: _TestListener.test_multiple_bind.
#[test]
fn an_address_has_one_listener() {
    for_each_kind("multiple-bind", |builder, address| {
        let listener = builder().address(&address).bind().unwrap();
        let refused = builder().address(listener.address()).bind().unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Os);
        assert_eq!(refused.os_code(), Some(procession_sys::net::ADDRESS_IN_USE), "{refused}");
        let (server, client) = meet(&listener, None);
        server.send_bytes(b"still there").unwrap();
        assert_eq!(client.recv_bytes().unwrap(), b"still there");
        let same = listener.address().clone();
        drop(listener);
        drop(Listener::bind(same).unwrap());
    });
}

// CPython: _TestListener.test_context.
#[test]
fn a_closed_listener_accepts_nobody() {
    for_each_kind("context", |builder, address| {
        let listener = builder().address(&address).bind().unwrap();
        let (server, client) = meet(&listener, None);
        // Whoever waits at the door finds it closed.
        let early = connect(listener.address(), None).unwrap();
        listener.close();
        listener.close();
        assert_eq!(kind(listener.accept()), ErrorKind::Closed);
        assert_eq!(kind(listener.try_accept()), ErrorKind::Closed);
        assert!(listener.incoming().next().is_none());
        assert_eq!(kind(early.recv_bytes()), ErrorKind::Closed);
        let refused = Client::connect(listener.address()).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Os, "{refused}");
        // Others may listen there, while this one is still a value.
        drop(Listener::bind(listener.address()).unwrap());
        server.send_bytes(b"connections stay").unwrap();
        assert_eq!(client.recv_bytes().unwrap(), b"connections stay");
        drop(client);
        assert_eq!(kind(server.recv_bytes()), ErrorKind::Closed);
    });
}

// CPython: _TestListener.test_abstract_socket.
#[test]
fn an_abstract_name_is_an_address() {
    let name = format!("@procession-abstract-{}", std::process::id());
    let listener = Listener::bind(&name).unwrap();
    assert_eq!(listener.address().to_string(), name);
    let (server, client) = meet(&listener, None);
    client.send_bytes(b"hello").unwrap();
    assert_eq!(server.recv_bytes().unwrap(), b"hello");
}

// CPython: _TestListenerClient.test_listener_client.
#[test]
fn a_client_of_each_kind_sends_a_value() {
    for_each_kind("listener-client", |builder, address| {
        for key in [None, Some(key(b"secret"))] {
            let builder = builder().address(&address);
            let builder = match &key {
                Some(key) => builder.authkey(key),
                None => builder,
            };
            let listener = builder.bind().unwrap();
            let (server, client) = meet(&listener, key.as_ref());
            client.send(("hello".to_owned(), 7u32)).unwrap();
            assert_eq!(server.recv::<(String, u32)>().unwrap(), ("hello".into(), 7));
            drop(client);
            assert_eq!(kind(server.recv_bytes()), ErrorKind::Closed);
        }
    });
}

// CPython: _TestListenerClient.test_issue14725.
#[test]
fn who_has_sent_and_gone_before_it_is_accepted_is_heard() {
    for_each_kind("issue14725", |builder, address| {
        let listener = builder().address(&address).bind().unwrap();
        let client = connect(listener.address(), None).unwrap();
        client.send_bytes(b"hello").unwrap();
        drop(client);
        let server = listener.accept_timeout(SOON).unwrap();
        assert_eq!(server.recv_bytes().unwrap(), b"hello");
        assert_eq!(kind(server.recv_bytes()), ErrorKind::Closed);
    });
}

// CPython: _TestListenerClient.test_issue16955.
#[test]
fn what_the_accepting_side_sends_can_be_polled_for() {
    for_each_pair("issue16955", |server, client| {
        server.send_bytes(b"hello").unwrap();
        drop(server);
        assert!(client.poll(SOON).unwrap());
        assert_eq!(client.recv_bytes().unwrap(), b"hello");
    });
}

#[test]
fn what_stands_right_behind_the_handshake_is_not_lost() {
    for family in [Family::Unix, Family::Tcp4, Family::Tcp6] {
        let listener = with_key(family).bind().unwrap();
        thread::scope(|scope| {
            scope.spawn(|| {
                let client = connect(listener.address(), Some(&key(b"secret"))).unwrap();
                (0..100u32).for_each(|number| client.send(number).unwrap());
            });
            let server = listener.accept_timeout(SOON).unwrap();
            (0..100u32).for_each(|number| assert_eq!(server.recv::<u32>().unwrap(), number));
        });
    }
}

// CPython: TestInvalidFamily.test_invalid_family.
#[test]
fn what_is_no_address_of_the_family_is_refused() {
    assert_eq!(kind(Listener::bind(r"\\.\test")), ErrorKind::InvalidInput);
    assert_eq!(kind(Client::connect(r"\\.\test")), ErrorKind::InvalidInput);
    for (family, address) in
        [(Family::Tcp4, "/tmp/x"), (Family::Unix, "127.0.0.1:0"), (Family::Tcp6, "127.0.0.1:0")]
    {
        let bound = Listener::builder().family(family).address(address).bind();
        assert_eq!(kind(bound), ErrorKind::InvalidInput);
    }
    let long = format!("/tmp/{}", "x".repeat(200));
    assert!(Listener::bind(&long).unwrap_err().to_string().contains("107"));
}

#[test]
fn a_family_has_an_address_of_its_own() {
    for (family, text) in
        [(Family::Unix, "/"), (Family::Tcp4, "127.0.0.1:"), (Family::Tcp6, "[::1]:")]
    {
        let listener = Listener::builder().family(family).bind().unwrap();
        assert!(listener.address().to_string().starts_with(text));
        assert_eq!(listener.address().family(), Some(family));
        let parsed: Address = listener.address().to_string().parse().unwrap();
        drop(connect(&parsed, None).unwrap());
        drop(listener.accept_timeout(SOON).unwrap());
    }
    let listener = Listener::bind("localhost:0").unwrap();
    let Address::Tcp(bound) = listener.address() else { panic!("{}", listener.address()) };
    drop(Client::builder(("localhost", bound.port())).timeout(SOON).connect().unwrap());
}

#[test]
fn the_last_client_that_was_accepted_is_known() {
    let listener = Listener::bind("127.0.0.1:0").unwrap();
    assert_eq!(listener.last_accepted(), None);
    let (_server, _client) = meet(&listener, None);
    let Some(Address::Tcp(from)) = listener.last_accepted() else { panic!("none") };
    assert!(from.ip().is_loopback());
    let local = Listener::new().unwrap();
    let (_server, _client) = meet(&local, None);
    assert_eq!(local.last_accepted(), None, "local clients have no name");
}

#[test]
fn an_accept_ends_at_its_deadline() {
    for key in [None, Some(key(b"secret"))] {
        let builder = Listener::builder();
        let listener = match &key {
            Some(key) => builder.authkey(key),
            None => builder,
        };
        let listener = listener.bind().unwrap();
        let short = Duration::from_millis(5);
        let start = Instant::now();
        assert_eq!(kind(listener.accept_timeout(short)), ErrorKind::TimedOut);
        assert!(start.elapsed() >= short);
        assert!(listener.try_accept().unwrap().is_none());
        thread::scope(|scope| {
            // The others keep their deadlines while one waits.
            let first = scope.spawn(|| listener.accept_timeout(SOON));
            assert_eq!(kind(listener.accept_timeout(short)), ErrorKind::TimedOut);
            drop(connect(listener.address(), key.as_ref()).unwrap());
            drop(first.join().unwrap().unwrap());
        });
    }
}

#[test]
fn a_close_ends_every_accept() {
    let listener = with_key(Family::Unix).bind().unwrap();
    thread::scope(|scope| {
        let waiting = [(); 3].map(|()| scope.spawn(|| kind(listener.accept())));
        // One of them has begun to wait when a stranger hears from it.
        let mut stranger = raw(listener.address());
        read_frame(&mut *stranger).unwrap();
        listener.close();
        for thread in waiting {
            assert_eq!(thread.join().unwrap(), ErrorKind::Closed);
        }
    });
}

#[test]
fn the_descriptor_of_a_listener_tells_of_clients() {
    for family in [Family::Unix, Family::Tcp4] {
        let listener = with_key(family).bind().unwrap();
        assert!(!wait_readable(&listener, now()).unwrap());
        thread::scope(|scope| {
            let client = scope.spawn(|| connect(listener.address(), Some(&key(b"secret"))));
            // Each step of the handshake is one reason to wake.
            let server = loop {
                assert!(wait_readable(listener.as_fd(), Deadline::after(SOON)).unwrap());
                if let Some(server) = listener.try_accept().unwrap() {
                    break server;
                }
            };
            client.join().unwrap().unwrap().send_bytes(b"hello").unwrap();
            assert_eq!(server.recv_bytes().unwrap(), b"hello");
        });
        assert!(!wait_readable(&listener, now()).unwrap());
        listener.close();
        assert!(wait_readable(&listener, now()).unwrap());
    }
}

#[test]
fn nobody_there_is_an_error_at_once() {
    let _calm = without_forks();
    let place = Place::new("nobody");
    let refused = Client::connect(place.path("socket")).unwrap_err();
    assert_eq!((refused.kind(), refused.os_code()), (ErrorKind::Os, Some(OsCode::from_raw(2))));
    let listener = Listener::bind("127.0.0.1:0").unwrap();
    let address = listener.address().clone();
    drop(listener);
    let refused = Client::connect(&address).unwrap_err();
    assert_eq!(refused.os_code(), Some(procession_sys::net::CONNECTION_REFUSED), "{refused}");
    let abstract_name = format!("@procession-nobody-{}", std::process::id());
    let refused = Client::connect(abstract_name).unwrap_err();
    assert_eq!(refused.os_code(), Some(procession_sys::net::CONNECTION_REFUSED));
}

#[test]
fn a_client_that_is_not_accepted_gives_up_at_its_deadline() {
    let short = Duration::from_millis(20);
    for family in [Family::Unix, Family::Tcp4] {
        // Nobody accepts, so nobody challenges.
        let listener = with_key(family).bind().unwrap();
        let start = Instant::now();
        let client = Client::builder(listener.address()).authkey(&key(b"secret")).timeout(short);
        assert_eq!(kind(client.connect()), ErrorKind::TimedOut);
        assert!(start.elapsed() >= short);
    }
    // Nor is there room to wait.
    let listener = Listener::builder().backlog(0).bind().unwrap();
    let mut waiting = Vec::new();
    let start = Instant::now();
    let failure = loop {
        match Client::builder(listener.address()).timeout(short).connect() {
            Ok(client) => waiting.push(client),
            Err(failure) => break failure,
        }
        assert!(waiting.len() < 10, "the backlog has no end");
    };
    assert_eq!(failure.kind(), ErrorKind::TimedOut, "{failure}");
    assert!(start.elapsed() >= short);
}
