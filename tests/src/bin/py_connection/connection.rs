//! CPython: `_TestConnection`.

use std::cell::RefCell;
use std::fs::File;
use std::io::Write;
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};

use procession::prelude::*;
use procession::{Address, ErrorKind, RecvIntoError, RecvTimeoutError, TryRecvError};

use crate::stage::{
    Folder, LOCAL, NOW, Peer, Row, SHORT, SOCKETS, Way, are, by_each_way, connect, is_over, kind,
    next, next_bytes, next_of, pattern, takes, text_of, value,
};
use procession_tests::{SOON, wait_until};

pub(crate) const ROWS: &[Row] = &[
    ("connection::connection", connection),
    ("connection::duplex_false", duplex_false),
    ("connection::spawn_close", spawn_close),
    ("connection::spawn_close_of_what_a_closure_captured", spawn_close_of_what_is_captured),
    ("connection::sendbytes", sendbytes),
    ("connection::fd_transfer", fd_transfer),
    ("connection::large_fd_transfer", large_fd_transfer),
    ("connection::missing_fd_transfer", missing_fd_transfer),
    ("connection::context", context),
    ("connection::polled_for_and_then_received_into_a_buffer", polled_then_received),
];

type Values = (Vec<Option<f64>>, String);

const VALUES: usize = 2;
/// The last message of those that are to come back.
const SENTINEL: &[u8] = b"";

fn echo(peer: Peer) {
    let connection = peer.meet();
    for _ in 0..VALUES {
        let values: Values = connection.recv().unwrap();
        connection.send(values).unwrap();
    }
    loop {
        let bytes = connection.recv_bytes().unwrap();
        if bytes == SENTINEL {
            break;
        }
        connection.send_bytes(&bytes).unwrap();
    }
}

fn connection() {
    by_each_way(
        |peer| Process::spawn(echo, (peer,)).unwrap(),
        |way, connection| {
            assert!(connection.is_readable() && connection.is_writable());
            assert!(connection.as_fd().as_raw_fd() > 2);
            for values in [(vec![Some(1.0), Some(2.25), None], "text".into()), (vec![], "".into())]
            {
                connection.send::<&Values>(&values).unwrap();
                assert!(connection.poll(SOON).unwrap());
                assert_eq!(next_of::<Values>(&connection), values);
            }
            assert!(!connection.poll(NOW).unwrap());
            assert!(!takes(SHORT, || connection.poll(SHORT)).unwrap());
            assert!(matches!(connection.try_recv::<u8>(), Err(TryRecvError::Empty)));
            assert!(matches!(connection.recv_timeout::<u8>(SHORT), Err(RecvTimeoutError::Timeout)));
            let long = b"latin".repeat(10);
            connection.send_bytes(&long).unwrap();
            assert_eq!(next_bytes(&connection), long);
            into_a_buffer(&connection);
            let really_big = vec![b'X'; 16 << 20];
            connection.send_bytes(&really_big).unwrap();
            assert!(next_bytes(&connection) == really_big);
            connection.send_bytes(SENTINEL).unwrap();
            is_over(&connection);
            assert!(matches!(connection.try_recv_bytes(), Err(TryRecvError::Closed)));
            assert!(matches!(connection.recv_timeout::<u8>(NOW), Err(RecvTimeoutError::Closed)));
            if way == Way::Pipe {
                // The two ways of a pipe end one after the other.
                wait_until("nobody receives", || connection.send_bytes(b"x").is_err());
                assert_eq!(kind(connection.send_bytes(b"x")), ErrorKind::Closed);
            }
        },
    );
}

fn into_a_buffer(connection: &Connection) {
    let numbers: Vec<u8> = (0..4i32).flat_map(i32::to_ne_bytes).collect();
    for offset in [0, 12, 24] {
        let mut buffer = [7; 40];
        connection.send_bytes(&numbers).unwrap();
        let count = connection.recv_bytes_into_timeout(&mut buffer[offset..], SOON).unwrap();
        assert_eq!(count, numbers.len());
        assert_eq!(buffer[offset..offset + count], numbers);
        assert!(buffer[..offset].iter().chain(&buffer[offset + count..]).all(|byte| *byte == 7));
    }
    let mut short = [0; 40];
    for text in [b"short by far".repeat(10), b"x".repeat(41)] {
        connection.send_bytes(&text).unwrap();
        match connection.recv_bytes_into_timeout(&mut short, SOON) {
            Err(RecvIntoError::TooShort(message)) => assert_eq!(message, text),
            other => panic!("{other:?}"),
        }
    }
}

fn duplex_false() {
    let work = |tx: Connection, rx: Connection| {
        assert!(tx.is_writable() && !tx.is_readable() && rx.is_readable() && !rx.is_writable());
        assert_eq!(next_of::<u8>(&rx), 1);
        assert_eq!(kind(rx.send(2u8)), ErrorKind::Unsupported);
        assert_eq!(kind(tx.recv::<u8>()), ErrorKind::Unsupported);
        assert_eq!(kind(tx.recv_bytes()), ErrorKind::Unsupported);
        assert_eq!(kind(tx.poll(NOW)), ErrorKind::Unsupported);
        tx.send(3u8).unwrap();
    };
    let ((rx, their_tx), (their_rx, tx)) =
        (Connection::one_way().unwrap(), Connection::one_way().unwrap());
    let child = Process::spawn(work, (their_tx, their_rx)).unwrap();
    assert!(tx.is_writable() && !tx.is_readable() && rx.is_readable() && !rx.is_writable());
    tx.send(1u8).unwrap();
    assert_eq!(next_of::<u8>(&rx), 3);
    assert_eq!(kind(rx.send_bytes(b"x")), ErrorKind::Unsupported);
    assert_eq!(kind(tx.recv::<u8>()), ErrorKind::Unsupported);
    assert_eq!(kind(tx.poll(NOW)), ErrorKind::Unsupported);
    is_over(&rx);
    value(&child);
    assert_eq!(kind(tx.send(4u8)), ErrorKind::Closed);
}

/// The child's end goes with the call that starts it, so that there is nothing to close here.
fn spawn_close() {
    let echo = |connection: Connection| {
        let bytes = next_bytes(&connection);
        connection.send_bytes(&bytes).unwrap();
    };
    let (ours, theirs) = Connection::pair().unwrap();
    let child = Process::spawn(echo, (theirs,)).unwrap();
    ours.send_bytes(b"hello").unwrap();
    assert_eq!(next_bytes(&ours), b"hello");
    is_over(&ours);
    value(&child);
    // Over a socket, whose copies are the system's.
    let folder = Folder::new();
    for way in SOCKETS {
        let listener = Listener::bind(way.address(&folder)).unwrap();
        let ours = connect(listener.address(), None).unwrap();
        let child = Process::spawn(echo, (listener.accept_timeout(SOON).unwrap(),)).unwrap();
        ours.send_bytes(b"hello").unwrap();
        assert_eq!(next_bytes(&ours), b"hello");
        is_over(&ours);
        value(&child);
    }
}

fn spawn_close_of_what_is_captured() {
    let (ours, theirs) = Connection::pair().unwrap();
    let echo = move || {
        let bytes = next_bytes(&theirs);
        theirs.send_bytes(&bytes).unwrap();
    };
    let child = Process::<()>::builder().spawn_closure(echo).unwrap();
    ours.send_bytes(b"hello").unwrap();
    assert_eq!(next_bytes(&ours), b"hello");
    is_over(&ours);
    value(&child);
}

const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz";
const SLICES: [std::ops::Range<usize>; 6] = [0..26, 5..26, 7..15, 26..26, 0..0, 25..26];

fn sendbytes() {
    let work = |peer: Peer| {
        let connection = peer.meet();
        SLICES.into_iter().for_each(|slice| connection.send_bytes(&LETTERS[slice]).unwrap());
    };
    let check = |_: Way, connection: Connection| {
        for slice in SLICES {
            assert_eq!(next_bytes(&connection), &LETTERS[slice]);
        }
        is_over(&connection);
    };
    by_each_way(|peer| Process::spawn(work, (peer,)).unwrap(), check);
}

/// What opens another file then has its number, unless a copy of its own came.
fn write_through(peer: Peer, crowd: usize) {
    let connection = peer.meet();
    let crowd: Vec<File> = (0..crowd).map(|_| File::open("/dev/null").unwrap()).collect();
    let mut file: Handle<File> = next_of(&connection);
    assert!(crowd.is_empty() || file.as_raw_fd() >= 256, "{}", file.as_raw_fd());
    file.write_all(b"foo").unwrap();
}

#[track_caller]
fn transfer(crowd: usize) {
    let folder = Folder::new();
    let _crowd: Vec<File> = (0..crowd).map(|_| File::open("/dev/null").unwrap()).collect();
    for way in LOCAL {
        way.with(
            |peer| Process::spawn(write_through, (peer, crowd)).unwrap(),
            |connection| {
                let mut file = folder.file(&format!("{way:?}"));
                assert!(crowd == 0 || file.as_raw_fd() >= 256);
                connection.send(Handle(file.try_clone().unwrap())).unwrap();
                is_over(&connection);
                assert_eq!(text_of(&mut file), "foo");
            },
        );
    }
}

fn fd_transfer() {
    transfer(0);
    // As an argument and as a result.
    let folder = Folder::new();
    let mut file = folder.file("file");
    let write = |mut file: Handle<File>| {
        file.write_all(b"foo").unwrap();
        file
    };
    let child = Process::spawn(write, (Handle(file.try_clone().unwrap()),)).unwrap();
    value(&child).write_all(b"bar").unwrap();
    assert_eq!(text_of(&mut file), "foobar");
    // Not to another machine, whatever it is; the connection goes on.
    let work = |peer: Peer| assert_eq!(next_of::<u8>(&peer.meet()), 7);
    let check = |connection: Connection| {
        let refused = connection.send(Handle(folder.file("refused")));
        assert_eq!(kind(refused), ErrorKind::Unsupported);
        std::fs::remove_file(folder.path("refused")).unwrap();
        connection.send(7u8).unwrap();
    };
    for way in [Way::Tcp4, Way::Tcp6] {
        way.with(|peer| Process::spawn(work, (peer,)).unwrap(), check);
    }
}

fn large_fd_transfer() {
    transfer(300);
}

/// Somebody who connects and speaks for itself.
fn raw(address: &Address) -> Box<dyn Write> {
    match address {
        Address::Path(path) => Box::new(UnixStream::connect(path).unwrap()),
        Address::Abstract(name) => {
            let name = SocketAddr::from_abstract_name(name).unwrap();
            Box::new(UnixStream::connect_addr(&name).unwrap())
        }
        Address::Tcp(address) => Box::new(TcpStream::connect(address).unwrap()),
        Address::Host { .. } => panic!("a host has to be looked up"),
    }
}

fn missing_fd_transfer() {
    // What a message with a handle looks like, whatever its first bytes are for; nothing comes with it.
    const MESSAGES: [&[u8]; 4] = [&[1, 0], &[0], &[1], &[1, 1, 0, 0]];
    let work = |peer: Peer| {
        let Peer::Connects(address) = peer else { panic!("{peer:?}") };
        let mut stream = raw(&address);
        for message in MESSAGES {
            let len = u32::try_from(message.len()).unwrap();
            stream.write_all(&[&len.to_be_bytes(), message].concat()).unwrap();
        }
    };
    for way in SOCKETS {
        way.with(
            |peer| Process::spawn(work, (peer,)).unwrap(),
            |connection| {
                for _ in MESSAGES {
                    assert!(connection.poll(SOON).unwrap());
                    assert_eq!(kind(connection.recv::<Handle<File>>()), ErrorKind::Decode);
                }
                is_over(&connection);
            },
        );
    }
    // A value where a handle is expected, by each way: an error, and the connection goes on.
    let work = |peer: Peer| {
        let connection = peer.meet();
        connection.send(0u32).unwrap();
        connection.send(1u8).unwrap();
    };
    let check = |_: Way, connection: Connection| {
        assert!(connection.poll(SOON).unwrap());
        assert_eq!(kind(connection.recv::<Handle<File>>()), ErrorKind::Decode);
        assert_eq!(next_of::<u8>(&connection), 1);
    };
    by_each_way(|peer| Process::spawn(work, (peer,)).unwrap(), check);
}

fn context() {
    // A scope, one that is left early, and a close before its end.
    let work = |peer: Peer, how: u8, seen: Receiver<()>| {
        let leave = |connection: Connection| -> Option<()> {
            connection.send_bytes(b"last").ok()?;
            (how == 0).then_some(())?;
            connection.send_bytes(b"really").ok()
        };
        let connection = peer.meet();
        if how < 2 {
            assert_eq!(leave(connection).is_some(), how == 0);
        } else {
            connection.send_bytes(b"last").unwrap();
            connection.close();
            connection.close();
            assert_eq!(kind(connection.recv::<u8>()), ErrorKind::Closed);
            assert_eq!(kind(connection.recv_bytes()), ErrorKind::Closed);
            assert_eq!(kind(connection.send_bytes(b"more")), ErrorKind::Closed);
            assert_eq!(kind(connection.send(1u8)), ErrorKind::Closed);
        }
        // The process lives on until its parent has seen the end.
        next(&seen);
    };
    for how in 0..3u8 {
        let seen = RefCell::new(pipe().unwrap().0);
        let start = |peer| {
            let (tx, rx) = pipe().unwrap();
            *seen.borrow_mut() = tx;
            Process::spawn(work, (peer, how, rx)).unwrap()
        };
        let check = |_: Way, connection: Connection| {
            assert_eq!(next_bytes(&connection), b"last");
            if how == 0 {
                assert_eq!(next_bytes(&connection), b"really");
            }
            is_over(&connection);
            seen.borrow().send(()).unwrap();
        };
        by_each_way(start, check);
    }
}

/// Of a long message the poll takes a part, or all.
fn polled_then_received() {
    const SIZES: [usize; 7] = [0, 100, 65_536, 65_537, 262_144, 300_000, 5 << 20];
    let work = |peer: Peer| {
        let connection = peer.meet();
        for size in SIZES {
            connection.send_bytes(&pattern(size)).unwrap();
            assert_eq!(next_bytes(&connection), b"next");
        }
    };
    let check = |_: Way, connection: Connection| {
        let mut room = vec![0xFF; 6 << 20];
        for size in SIZES {
            assert!(connection.poll(SOON).unwrap());
            room.fill(0xFF);
            assert_eq!(connection.recv_bytes_into_timeout(&mut room, SOON).unwrap(), size);
            are(&room[..size], &pattern(size));
            assert!(room[size..].iter().all(|byte| *byte == 0xFF));
            connection.send_bytes(b"next").unwrap();
        }
        is_over(&connection);
    };
    by_each_way(|peer| Process::spawn(work, (peer,)).unwrap(), check);
}
