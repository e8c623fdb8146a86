//! Clients that are silent, slow or many.

use std::time::Instant;

use procession_core::{Deadline, OsCode};
use procession_sys::poll::wait_readable;
use procession_sys::socket::{self, Block};

use super::fork::alone;
use super::*;

#[test]
fn silent_clients_do_not_hold_up_an_honest_one() {
    for family in [Family::Unix, Family::Tcp4] {
        // They are silent for longer than the test may take.
        let listener = with_key(family).handshake_timeout(4 * SOON).backlog(400).bind().unwrap();
        let mut silent: Vec<_> = (0..200).map(|_| raw(listener.address())).collect();
        // Some say a little.
        for (number, client) in silent.iter_mut().enumerate() {
            client.write_all(&[0, 0, 0, 64, 1, 2, 3][..number % 8]).unwrap();
        }
        let start = Instant::now();
        let (server, client) = meet(&listener, Some(&key(b"secret")));
        let took = start.elapsed();
        client.send_bytes(b"hello").unwrap();
        assert_eq!(server.recv_bytes().unwrap(), b"hello");
        assert_eq!(listener.dropped_clients(), 0);
        // A machine may be busy; but it was not for their time to be over.
        assert!(took < SOON, "{took:?}");
        println!("{family:?}: served behind 200 silent clients within {took:?}");
        assert!(silent.iter_mut().all(|client| read_frame(&mut **client).is_some()));
    }
}

#[test]
fn a_silent_or_slow_client_is_dropped_when_its_time_is_over() {
    let short = Duration::from_millis(30);
    let listener = with_key(Family::Unix).handshake_timeout(short).bind().unwrap();
    let mut silent = raw(listener.address());
    let mut slow = raw(listener.address());
    thread::scope(|scope| {
        scope.spawn(|| {
            read_frame(&mut *slow).unwrap();
            // It says a byte from time to time, which gives it no more time.
            let mut rest = frame(&[1; 64]).into_iter();
            while let Some(byte) = rest.next()
                && slow.write_all(&[byte]).is_ok()
            {
                drop(listener.accept_timeout(Duration::from_millis(2)));
            }
            assert!(rest.next().is_some());
        });
        let start = Instant::now();
        read_until_closed(&mut *silent, &listener);
        assert!(start.elapsed() >= short);
    });
    while listener.dropped_clients() < 2 {
        assert_eq!(kind(listener.accept_timeout(short)), ErrorKind::TimedOut);
    }
}

/// Reads, while somebody accepts, until the listener has closed the connection.
fn read_until_closed(client: &mut dyn Raw, listener: &Listener) {
    thread::scope(|scope| {
        let read = scope.spawn(|| while read_frame(client).is_some() {});
        while !read.is_finished() {
            assert_eq!(
                kind(listener.accept_timeout(Duration::from_millis(5))),
                ErrorKind::TimedOut
            );
        }
    });
}

#[test]
fn time_in_which_nobody_accepts_is_not_counted_against_clients() {
    let short = Duration::from_millis(50);
    let listener = with_key(Family::Unix).handshake_timeout(short).bind().unwrap();
    let (_near, quiet) = UnixStream::pair().unwrap();
    thread::scope(|scope| {
        let client = scope.spawn(|| connect(listener.address(), Some(&key(b"secret"))).unwrap());
        // It is let in and challenged; then nobody cares for long.
        assert!(wait_readable(&listener, Deadline::after(SOON)).unwrap());
        assert!(listener.try_accept().unwrap().is_none());
        assert!(!wait_readable(&quiet, Deadline::after(3 * short)).unwrap());
        let server = listener.accept_timeout(SOON).unwrap();
        client.join().unwrap().send_bytes(b"hello").unwrap();
        assert_eq!(server.recv_bytes().unwrap(), b"hello");
    });
    assert_eq!(listener.dropped_clients(), 0);
}

#[test]
fn of_too_many_clients_the_oldest_is_dropped() {
    let listener = with_key(Family::Unix).max_pending(3).bind().unwrap();
    let mut silent: Vec<_> = (0..5).map(|_| raw(listener.address())).collect();
    while listener.dropped_clients() < 2 {
        assert!(listener.try_accept().unwrap().is_none());
    }
    // All were challenged; the first two find their connection closed.
    for client in &mut silent {
        assert_eq!(read_frame(&mut **client).unwrap().len(), 48);
    }
    assert!(silent[..2].iter_mut().all(|client| read_frame(&mut **client).is_none()));
    let (server, client) = meet(&listener, Some(&key(b"secret")));
    client.send_bytes(b"hello").unwrap();
    assert_eq!(server.recv_bytes().unwrap(), b"hello");
    assert_eq!(listener.dropped_clients(), 3);
}

#[test]
fn handles_of_strangers_are_not_taken() {
    let listener = with_key(Family::Unix).bind().unwrap();
    let Address::Path(path) = listener.address() else { panic!("no path") };
    let (near, far) = UnixStream::pair().unwrap();
    let client = UnixStream::connect(path).unwrap();
    assert!(listener.try_accept().unwrap().is_none());
    // A part of an answer, with a descriptor.
    socket::send(&client, &[&frame(&[1; 64])[..40]], &[std::os::fd::AsFd::as_fd(&far)], Block::No)
        .unwrap();
    assert!(listener.try_accept().unwrap().is_none());
    drop(far);
    // Nobody has it: the other end hangs up.
    near.set_read_timeout(Some(SOON)).unwrap();
    assert_eq!((&near).read(&mut [0]).unwrap(), 0);
}

#[test]
fn without_descriptors_a_client_goes_on_waiting() {
    // In a process of its own, because others of this one need descriptors.
    alone(|| {
        use procession_sys::surroundings::{Resource, limit, set_limit};
        for with in [false, true] {
            let listener = if with { with_key(Family::Unix) } else { Listener::builder() };
            let listener = listener.bind().unwrap();
            let mut first = raw(listener.address());
            let mut second = raw(listener.address());
            let before = limit(Resource::Descriptors);
            let open = procession_sys::fd::open_descriptors().unwrap();
            let soft = open.last().map(|last| u64::try_from(*last).unwrap() + 3);
            let mut filling = Vec::new();
            set_limit(Resource::Descriptors, (soft, before.1)).unwrap();
            while let Ok(copy) = procession_sys::fd::duplicate(&listener) {
                filling.push(copy);
            }
            for _ in 0..2 {
                let refused = listener.accept_timeout(SOON).unwrap_err();
                assert_eq!(refused.os_code(), Some(OsCode::TOO_MANY_OPEN), "{refused}");
            }
            // One more is enough for clients in their handshakes to come one after the other.
            if with {
                assert!(filling.pop().is_some());
                assert!(listener.try_accept().unwrap().is_none());
                assert_eq!(listener.dropped_clients(), 1);
                assert_eq!(read_frame(&mut *second).unwrap().len(), 48);
                read_frame(&mut *first).unwrap();
                assert_eq!(read_frame(&mut *first), None);
            }
            set_limit(Resource::Descriptors, before).unwrap();
            drop(filling);
            if with {
                assert!(listener.try_accept().unwrap().is_none());
            } else {
                drop(listener.accept_timeout(SOON).unwrap());
            }
            drop((first, second));
        }
    });
}
