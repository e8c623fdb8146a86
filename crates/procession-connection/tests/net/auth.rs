//! Who knows the key and who does not, each seen from both sides.

use std::os::unix::net::UnixListener;

use procession_connection::{answer_challenge, deliver_challenge};

use super::*;

const FAMILIES: [Family; 3] = [Family::Unix, Family::Tcp4, Family::Tcp6];

/// A listener of a test's own, and where it is.
fn fake(place: &Place) -> (UnixListener, Address) {
    let path = place.path("fake");
    (UnixListener::bind(&path).unwrap(), Address::Path(path))
}

/// How a client with the key fares with a listener that does as `play` says.
fn client_against(name: &str, play: impl FnOnce(UnixStream) + Send) -> ErrorKind {
    let place = Place::new(name);
    let (fake, address) = fake(&place);
    thread::scope(|scope| {
        let client = scope.spawn(|| kind(connect(&address, Some(&key(b"secret")))));
        play(fake.accept().unwrap().0);
        client.join().unwrap()
    })
}

// CPython: _TestListener.test_empty_authkey.
#[test]
fn an_empty_key_is_a_key() {
    for family in FAMILIES {
        let listener = Listener::builder().family(family).authkey(&key(b"")).bind().unwrap();
        let (server, client) = meet(&listener, Some(&key(b"")));
        client.send_bytes(b"hello").unwrap();
        assert_eq!(server.recv_bytes().unwrap(), b"hello");
        thread::scope(|scope| {
            let client = scope.spawn(|| kind(connect(listener.address(), Some(&key(b"x")))));
            assert_eq!(kind(listener.accept_timeout(SOON)), ErrorKind::Authentication);
            assert_eq!(client.join().unwrap(), ErrorKind::Authentication);
        });
    }
}

#[test]
fn a_wrong_key_is_refused_on_both_sides_and_the_listener_goes_on() {
    for family in FAMILIES {
        let listener = with_key(family).bind().unwrap();
        for wrong in [&b"Secret"[..], b"", b"secret "] {
            thread::scope(|scope| {
                let client = scope.spawn(|| kind(connect(listener.address(), Some(&key(wrong)))));
                let refused = listener.accept_timeout(SOON).unwrap_err();
                assert_eq!(refused.kind(), ErrorKind::Authentication);
                assert!(refused.to_string().contains("does not know the key"), "{refused}");
                assert_eq!(client.join().unwrap(), ErrorKind::Authentication);
            });
        }
        let (server, client) = meet(&listener, Some(&key(b"secret")));
        client.send_bytes(b"hello").unwrap();
        assert_eq!(server.recv_bytes().unwrap(), b"hello");
    }
}

#[test]
fn the_pair_of_calls_is_what_listener_and_client_do() {
    let secret = key(b"secret");
    // A listener with the key, and a client that answers by hand.
    let listener = with_key(Family::Unix).bind().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            let client = connect(listener.address(), None).unwrap();
            answer_challenge(&client, &secret).unwrap();
            deliver_challenge(&client, &secret).unwrap();
            client.send_bytes(b"hello").unwrap();
        });
        let server = listener.accept_timeout(SOON).unwrap();
        assert_eq!(server.recv_bytes().unwrap(), b"hello");
    });
    // The other way round.
    let listener = Listener::new().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            let client = connect(listener.address(), Some(&secret)).unwrap();
            client.send_bytes(b"hello").unwrap();
        });
        let server = listener.accept_timeout(SOON).unwrap();
        deliver_challenge(&server, &secret).unwrap();
        answer_challenge(&server, &secret).unwrap();
        assert_eq!(server.recv_bytes().unwrap(), b"hello");
    });
}

#[test]
fn one_challenge_by_itself_proves_each_side_to_the_other() {
    for_each_pair("one-challenge", |server, client| {
        thread::scope(|scope| {
            let answer = scope.spawn(|| answer_challenge(&client, &key(b"one")));
            deliver_challenge(&server, &key(b"one")).unwrap();
            answer.join().unwrap().unwrap();
            let answer = scope.spawn(|| kind(answer_challenge(&client, &key(b"other"))));
            assert_eq!(kind(deliver_challenge(&server, &key(b"one"))), ErrorKind::Authentication);
            assert_eq!(answer.join().unwrap(), ErrorKind::Authentication);
        });
    });
}

// CPython: OtherTest.test_deliver_challenge_auth_failure.
#[test]
fn rubbish_as_an_answer_is_refused() {
    for rubbish in [&b"something bogus"[..], b"", &[0; 64], &[0; 5000]] {
        let listener = Listener::new().unwrap();
        let mut peer = raw(listener.address());
        let server = listener.accept_timeout(SOON).unwrap();
        peer.write_all(&frame(rubbish)).unwrap();
        let refused = deliver_challenge(&server, &key(b"abc"));
        assert_eq!(kind(refused), ErrorKind::Authentication);
    }
}

// CPython: OtherTest.test_answer_challenge_auth_failure.
#[test]
fn rubbish_as_a_challenge_or_as_a_verdict_is_refused() {
    let challenge = [&b"procession auth1"[..], &[7; 32]].concat();
    for (first, then) in [
        (&b"something bogus"[..], None),
        (b"", None),
        (&[0; 48], None),
        (&challenge, Some(&b"something bogus"[..])),
        (&challenge, Some(b"")),
        (&challenge, Some(&[0; 32])),
    ] {
        let listener = Listener::new().unwrap();
        let mut peer = raw(listener.address());
        let server = listener.accept_timeout(SOON).unwrap();
        peer.write_all(&frame(first)).unwrap();
        if let Some(then) = then {
            peer.write_all(&frame(then)).unwrap();
        }
        assert_eq!(kind(answer_challenge(&server, &key(b"abc"))), ErrorKind::Authentication);
    }
}

#[test]
fn one_side_without_a_key_does_not_get_through() {
    // The client has none: what it sends is no answer.
    let listener = with_key(Family::Unix).bind().unwrap();
    let client = connect(listener.address(), None).unwrap();
    client.send_bytes(b"hello").unwrap();
    assert_eq!(kind(listener.accept_timeout(SOON)), ErrorKind::Authentication);
    // The listener has none: it waits for a message and the client for a challenge, until one of them has enough.
    let listener = Listener::new().unwrap();
    let client = Client::builder(listener.address()).authkey(&key(b"secret"));
    let client = client.timeout(Duration::from_millis(10)).connect();
    assert_eq!(kind(client), ErrorKind::TimedOut);
}

#[test]
fn a_recorded_handshake_opens_no_door() {
    let place = Place::new("replay");
    let (fake, address) = fake(&place);
    let listener = with_key(Family::Unix).bind().unwrap();
    // Somebody between the two passes on all they say, and keeps it.
    let (said_by_client, said_by_listener) = thread::scope(|scope| {
        let client = scope.spawn(|| connect(&address, Some(&key(b"secret"))).unwrap());
        let server = scope.spawn(|| listener.accept_timeout(SOON).unwrap());
        let mut to_client = fake.accept().unwrap().0;
        let mut to_listener = raw(listener.address());
        let (mut by_client, mut by_listener) = (Vec::new(), Vec::new());
        // Who speaks when: challenge, answer, verdict; then the other way round.
        for listener_speaks in [true, false, true, false, true, false] {
            if listener_speaks {
                let said = read_frame(&mut *to_listener).unwrap();
                to_client.write_all(&frame(&said)).unwrap();
                by_listener.push(said);
            } else {
                let said = read_frame(&mut to_client).unwrap();
                to_listener.write_all(&frame(&said)).unwrap();
                by_client.push(said);
            }
        }
        drop((client.join().unwrap(), server.join().unwrap()));
        (by_client, by_listener)
    });
    // To the same listener, which may have refused it before all is said.
    let mut client = raw(listener.address());
    said_by_client.iter().for_each(|said| drop(client.write_all(&frame(said))));
    assert_eq!(kind(listener.accept_timeout(SOON)), ErrorKind::Authentication);
    let answers: Vec<_> = std::iter::from_fn(|| read_frame(&mut *client)).collect();
    assert!(!answers.iter().skip(1).any(|said| said_by_listener.contains(said)));
    // To a client.
    let failed = client_against("replay-client", |mut stream| {
        said_by_listener.iter().for_each(|said| drop(stream.write_all(&frame(said))));
        while read_frame(&mut stream).is_some() {}
    });
    assert_eq!(failed, ErrorKind::Authentication);
}

#[test]
fn what_a_side_says_is_of_no_use_against_itself() {
    let listener = with_key(Family::Unix).bind().unwrap();
    // The listener's challenge comes back: as it is, and as an answer to itself.
    for as_answer in [false, true] {
        let mut client = raw(listener.address());
        thread::scope(|scope| {
            let accepted = scope.spawn(|| kind(listener.accept_timeout(SOON)));
            let mut said = read_frame(&mut *client).unwrap();
            if as_answer {
                said = [&said[16..], &said[16..]].concat();
            }
            client.write_all(&frame(&said)).unwrap();
            assert_eq!(accepted.join().unwrap(), ErrorKind::Authentication);
        });
        assert_eq!(read_frame(&mut *client), Some(vec![0; 32]), "a refusal says nothing");
        assert_eq!(read_frame(&mut *client), None);
    }
    // The challenge of one connection is given to a client of the same key, and its answer to the listener: by who is between the
    // two that works, up to here. But then what the client proves does not make it a listener.
    let failed = client_against("mirror", |mut stream| {
        stream.write_all(&frame(&[&b"procession auth1"[..], &[7; 32]].concat())).unwrap();
        let answer = read_frame(&mut stream).unwrap();
        stream.write_all(&frame(&answer[32..])).unwrap();
        assert_eq!(read_frame(&mut stream), None, "the client says nothing more");
    });
    assert_eq!(failed, ErrorKind::Authentication);
}

#[test]
fn a_handshake_that_is_cut_off_fails() {
    let listener = with_key(Family::Unix).bind().unwrap();
    for said in [&b""[..], &[0, 0], &[0, 0, 0, 64], &frame(&[1; 64])[..40]] {
        let mut client = raw(listener.address());
        client.write_all(said).unwrap();
        client.finish();
        assert_eq!(kind(listener.accept_timeout(SOON)), ErrorKind::Authentication, "{said:?}");
    }
    let challenge = frame(&[&b"procession auth1"[..], &[7; 32]].concat());
    for said in [&challenge[..0], &challenge[..3], &challenge[..4], &challenge[..51], &challenge] {
        let failed = client_against("cut", |mut stream| stream.write_all(said).unwrap());
        assert_eq!(failed, ErrorKind::Authentication);
    }
}

#[test]
fn a_frame_that_is_too_long_fails_before_it_is_there() {
    let listener = with_key(Family::Unix).bind().unwrap();
    let gigabyte = [&[255; 4][..], &(1u64 << 30).to_be_bytes()].concat();
    let negative = [255, 255, 255, 254];
    for said in [&[0, 0, 1, 1][..], &[0, 0, 0, 65], &[64, 0, 0, 0], &gigabyte, &negative] {
        let mut client = raw(listener.address());
        client.write_all(said).unwrap();
        assert_eq!(kind(listener.accept_timeout(SOON)), ErrorKind::Authentication, "{said:?}");
        read_frame(&mut *client).unwrap();
        assert_eq!(read_frame(&mut *client), Some(vec![0; 32]));
        let failed = client_against("long", |mut stream| {
            stream.write_all(said).unwrap();
            drop(read_frame(&mut stream));
        });
        assert_eq!(failed, ErrorKind::Authentication);
    }
}

#[test]
fn noise_and_other_protocols_fail() {
    let http = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let tls = [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xFC][..], &[3; 512]].concat();
    let cpython = frame(&[&b"#CHALLENGE#{sha256}"[..], &[b'x'; 40]].concat());
    let mut noise = vec![0; 4096];
    procession_sys::random::fill(&mut noise[4..]).unwrap();
    for family in FAMILIES {
        let listener = with_key(family).bind().unwrap();
        for said in [&http[..], &tls, &cpython, &noise] {
            let mut client = raw(listener.address());
            client.write_all(said).unwrap();
            assert_eq!(kind(listener.accept_timeout(SOON)), ErrorKind::Authentication);
        }
    }
    for said in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], &tls, &cpython, &noise] {
        let failed = client_against("noise", |mut stream| {
            stream.write_all(said).unwrap();
            while stream.read(&mut [0; 100]).is_ok_and(|came| came > 0) {}
        });
        assert_eq!(failed, ErrorKind::Authentication);
    }
}
