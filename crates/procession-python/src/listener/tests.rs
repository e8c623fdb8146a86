//! Clients of ours, and strangers.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;

use super::*;
use crate::{Client, Value};

const LONG: Duration = Duration::from_secs(20);

fn key(text: &str) -> AuthKey {
    AuthKey::from(text.as_bytes())
}

fn port(listener: &Listener) -> u16 {
    match listener.address() {
        Address::Tcp(address) => address.port(),
        other => panic!("{other}"),
    }
}

#[test]
fn every_kind_of_address_lets_both_sides_talk() {
    let abstract_name = format!("@procession-python-{}", std::process::id());
    for address in [None, Some("127.0.0.1:0"), Some("localhost:0"), Some(&abstract_name)] {
        let secret = key("secret");
        let mut builder = Listener::builder().authkey(&secret);
        if let Some(address) = address {
            builder = builder.address(address);
        }
        let listener = builder.bind().unwrap();
        thread::scope(|scope| {
            let client = scope.spawn(|| {
                Client::builder(listener.address()).authkey(&secret).timeout(LONG).connect()
            });
            let server = listener.accept_timeout(LONG).unwrap();
            let client = client.join().unwrap().unwrap();
            client.send(&vec![1, 2]).unwrap();
            assert_eq!(server.recv::<Vec<u8>>().unwrap(), [1, 2]);
            server.send_bytes(&vec![3; 100_000]).unwrap();
            assert_eq!(client.recv_bytes_max(100_000).unwrap().len(), 100_000);
            drop(client);
            assert_eq!(server.recv_value().unwrap_err().kind(), ErrorKind::Closed);
        });
    }
}

#[test]
fn a_wrong_key_fails_on_both_sides_and_the_listener_goes_on() {
    let listener = Listener::builder().authkey(&key("right")).bind().unwrap();
    let connect = |text: &str| {
        Client::builder(listener.address()).authkey(&key(text)).timeout(LONG).connect()
    };
    thread::scope(|scope| {
        let client = scope.spawn(|| connect("wrong"));
        let error = listener.accept_timeout(LONG).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Authentication, "{error:?}");
        let error = client.join().unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Authentication, "{error:?}");
        let client = scope.spawn(|| connect("right"));
        listener.accept_timeout(LONG).unwrap().send(&1).unwrap();
        assert_eq!(client.join().unwrap().unwrap().recv::<u8>().unwrap(), 1);
    });
}

#[test]
fn silent_slow_and_hostile_clients_hold_up_nobody() {
    let secret = key("secret");
    let listener =
        Listener::builder().address("127.0.0.1:0").authkey(&secret).max_pending(4).bind().unwrap();
    let connect = || TcpStream::connect(("127.0.0.1", port(&listener))).unwrap();
    // More silent ones than there may be, and one that sends a byte.
    let silent: Vec<TcpStream> = (0..9).map(|_| connect()).collect();
    (&silent[8]).write_all(&[0]).unwrap();
    thread::scope(|scope| {
        let client = scope.spawn(|| {
            Client::builder(listener.address()).authkey(&secret).timeout(LONG).connect().unwrap()
        });
        drop(listener.accept_timeout(LONG).unwrap());
        drop(client.join().unwrap());
    });
    assert!(listener.dropped_clients() >= 5, "{}", listener.dropped_clients());
}

#[test]
fn what_no_client_would_say_is_refused() {
    let listener =
        Listener::builder().address("127.0.0.1:0").authkey(&key("secret")).bind().unwrap();
    for (nonsense, why) in [
        (&[0, 0, 1, 1][..], "257 bytes came"),
        (&[255, 255, 255, 254], "negative"),
        (&[255; 12], "bytes came"),
        (b"\0\0\0\x10aaaaaaaaaaaaaaaa", "does not know the key"),
        (b"GET / HTTP/1.1\r\n\r\n", "bytes came"),
        (b"\0\0\0\0", "does not know the key"),
    ] {
        let mut client = TcpStream::connect(("127.0.0.1", port(&listener))).unwrap();
        client.set_read_timeout(Some(LONG)).unwrap();
        client.write_all(nonsense).unwrap();
        let error = listener.accept_timeout(LONG).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Authentication);
        assert!(error.to_string().contains(why), "{error}");
        // And learns that nobody listens to it: the end, or a reset, once it has read what was said to it.
        client.read_to_end(&mut Vec::new()).ok();
    }
    let mut gone = TcpStream::connect(("127.0.0.1", port(&listener))).unwrap();
    gone.write_all(&[0]).unwrap();
    drop(gone);
    let error = listener.accept_timeout(LONG).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Authentication);
}

#[test]
fn a_client_that_is_silent_for_too_long_is_dropped() {
    let listener = Listener::builder()
        .address("127.0.0.1:0")
        .authkey(&key("secret"))
        .handshake_timeout(Duration::from_millis(20))
        .bind()
        .unwrap();
    let mut silent = TcpStream::connect(("127.0.0.1", port(&listener))).unwrap();
    assert_eq!(
        listener.accept_timeout(Duration::from_millis(200)).unwrap_err().kind(),
        ErrorKind::TimedOut
    );
    assert_eq!(listener.dropped_clients(), 1);
    let mut heard = Vec::new();
    silent.read_to_end(&mut heard).unwrap();
    assert!(heard[4..].starts_with(b"#CHALLENGE#{sha256}"), "{heard:?}");
    assert_eq!(heard.len(), 63);
}

#[test]
fn a_listener_that_is_silent_is_left_in_time() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let builder = Client::builder(silent.local_addr().unwrap()).authkey(&key("secret"));
    let error = builder.timeout(Duration::from_millis(20)).connect().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
}

#[test]
fn a_listener_without_a_key_lets_everybody_in_and_closing_refuses() {
    let listener = Listener::new().unwrap();
    let address = listener.address().clone();
    let Address::Path(path) = &address else { panic!("{address}") };
    let folder = path.parent().unwrap().to_owned();
    let client = Client::connect(&address).unwrap();
    let late = Client::connect(&address).unwrap();
    let server = listener.accept().unwrap();
    assert!(server.peer_credentials().is_some_and(|peer| peer.pid == std::process::id()));
    thread::scope(|scope| {
        let accepts = scope.spawn(|| {
            drop(listener.accept().unwrap());
            listener.accept().unwrap_err()
        });
        assert_eq!(late.recv_value().unwrap_err().kind(), ErrorKind::Closed);
        listener.close();
        assert_eq!(accepts.join().unwrap().kind(), ErrorKind::Closed);
    });
    assert_eq!(Client::connect(&address).unwrap_err().kind(), ErrorKind::Os);
    assert!(!folder.exists(), "nothing is left");
    // What was accepted goes on.
    client.send(&Value::None).unwrap();
    assert!(server.recv_value().unwrap().is_none());
}

#[test]
fn a_path_is_its_owners_and_is_not_taken_from_anybody() {
    let path = std::env::temp_dir().join(format!("procession-python-{}", std::process::id()));
    let listener = Listener::bind(&path).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::mode(&path.metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    assert!(Listener::bind(&path).is_err());
    drop(listener);
    assert!(!path.exists());
    drop(Listener::bind(&path).unwrap());
}

#[test]
fn messages_are_received_into_a_buffer() {
    let listener = Listener::new().unwrap();
    let client = Client::connect(listener.address()).unwrap();
    let server = listener.accept().unwrap();
    let mut buffer = [0; 4];
    client.send_bytes(b"four").unwrap();
    assert_eq!(server.recv_bytes_into(&mut buffer).unwrap(), 4);
    client.send_bytes(b"fives").unwrap();
    client.send_bytes(b"").unwrap();
    match server.recv_bytes_into(&mut buffer) {
        Err(procession_connection::RecvIntoError::TooShort(whole)) => assert_eq!(whole, b"fives"),
        other => panic!("{other:?}"),
    }
    assert_eq!(server.recv_bytes_into(&mut buffer).unwrap(), 0);
    assert!(!server.poll(Duration::ZERO).unwrap());
    assert!(matches!(
        server.recv_timeout::<u8>(Duration::from_millis(1)),
        Err(procession_connection::RecvTimeoutError::Timeout)
    ));
    // What is no pickle does not end the connection.
    client.send_bytes(b"nonsense").unwrap();
    assert_eq!(server.recv_value().unwrap_err().kind(), ErrorKind::Decode);
    client.send(&7).unwrap();
    let ready = procession_connection::wait(&[&server], LONG).unwrap();
    assert_eq!(ready, [0]);
    assert_eq!(server.recv::<u8>().unwrap(), 7);
}
