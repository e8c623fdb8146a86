//! CPython: `_TestPoll`.

use procession::prelude::*;
use procession_tests::SOON;

use crate::stage::{
    NOW, Peer, Row, SHORT, Way, by_each_way, is_over, next_bytes, next_of, pause, value,
};

pub(crate) const ROWS: &[Row] = &[
    ("polling::empty_string", empty_string),
    ("polling::strings", strings),
    ("polling::boundaries", boundaries),
    ("polling::dont_merge", dont_merge),
];

fn empty_string() {
    let work = |peer: Peer| {
        let connection = peer.meet();
        assert_eq!(next_bytes(&connection), b"go");
        pause(SHORT / 2);
        connection.send_bytes(b"").unwrap();
        assert_eq!(next_bytes(&connection), b"");
    };
    let check = |_: Way, connection: Connection| {
        assert!(!connection.poll(NOW).unwrap());
        connection.send_bytes(b"go").unwrap();
        for _ in 0..3 {
            assert!(connection.poll(SOON).unwrap());
            assert!(connection.poll(NOW).unwrap());
        }
        assert_eq!(next_bytes(&connection), b"");
        assert!(!connection.poll(NOW).unwrap());
        connection.send_bytes(b"").unwrap();
        is_over(&connection);
    };
    by_each_way(|peer| Process::spawn(work, (peer,)).unwrap(), check);
}

const STRINGS: [&[u8]; 8] = [b"hello", b"", b"a", b"b", b"", b"bye", b"", b"lop"];

fn strings() {
    let work = |peer: Peer| {
        let connection = peer.meet();
        for string in STRINGS {
            // That it polls is nothing to the other side.
            assert!(!connection.poll(NOW).unwrap());
            connection.send_bytes(string).unwrap();
            assert!(connection.poll(SOON).unwrap());
            assert_eq!(next_bytes(&connection), string);
        }
    };
    let check = |_: Way, connection: Connection| {
        for string in STRINGS {
            assert!((0..200).any(|_| connection.poll(SHORT).unwrap()));
            let came = next_bytes(&connection);
            assert_eq!(came, string);
            assert!(!connection.poll(NOW).unwrap());
            connection.send_bytes(&came).unwrap();
        }
        is_over(&connection);
    };
    by_each_way(|peer| Process::spawn(work, (peer,)).unwrap(), check);
}

/// An end has one holder: so the other process polls with the end itself, and gives it back with what has come.
fn boundaries() {
    let work = |connection: Connection| {
        assert!(connection.poll(SOON).unwrap());
        connection
    };
    let write = |peer: Peer| {
        let connection = peer.meet();
        connection.send_bytes(b"first message").unwrap();
        connection.send_bytes(b"second").unwrap();
        assert_eq!(next_bytes(&connection), b"both");
    };
    let check = |_: Way, mut connection: Connection| {
        for _ in 0..2 {
            connection = value(&Process::spawn(work, (connection,)).unwrap());
        }
        assert_eq!(next_bytes(&connection), b"first message");
        connection = value(&Process::spawn(work, (connection,)).unwrap());
        assert_eq!(next_bytes(&connection), b"second");
        assert!(!connection.poll(NOW).unwrap());
        connection.send_bytes(b"both").unwrap();
        is_over(&connection);
    };
    by_each_way(|peer| Process::spawn(write, (peer,)).unwrap(), check);
}

fn dont_merge() {
    let work = |peer: Peer| {
        let connection = peer.meet();
        for message in [&b"a"[..], b"b", b"c", b"d"] {
            connection.send_bytes(message).unwrap();
        }
        assert_eq!(next_of::<u8>(&connection), 7);
    };
    let check = |_: Way, connection: Connection| {
        for message in [&b"a"[..], b"b", b"c", b"d"] {
            assert!(connection.poll(SOON).unwrap());
            assert!(connection.poll(NOW).unwrap());
            assert_eq!(next_bytes(&connection), message);
        }
        assert!(!connection.poll(NOW).unwrap());
        connection.send(7u8).unwrap();
        is_over(&connection);
    };
    by_each_way(|peer| Process::spawn(work, (peer,)).unwrap(), check);
}
