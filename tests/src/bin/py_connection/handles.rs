//! CPython: `TestInvalidHandle`, `TestCloseFds`; and what messages carry beside bytes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::os::unix::net::UnixStream;

use procession::prelude::*;
use procession::{Address, ErrorKind, RecvTimeoutError, Waitable, wait};
use procession_sys::fd::open_descriptors;
use procession_tests::{SOON, wait_until};
use serde::{Deserialize, Serialize};

use crate::stage::{
    Folder, LOCAL, NOW, Peer, Row, SHORT, Way, connect, has_room_for, is_over, kind, mark_of,
    marked, next, next_bytes, next_of, text_of, value,
};

pub(crate) const ROWS: &[Row] = &[
    ("handles::invalid_handles", invalid_handles),
    ("handles::closefd", closefd),
    ("handles::a_child_keeps_no_end_open_that_it_was_not_given", keeps_no_end_open),
    ("handles::a_child_keeps_no_socket_open_that_it_was_not_given", keeps_no_socket_open),
    ("handles::hundreds_in_a_message", hundreds_in_a_message),
    ("handles::nested_in_a_struct", nested_in_a_struct),
    ("handles::an_end_in_a_message_in_a_message", an_end_in_a_message_in_a_message),
    ("handles::ends_in_messages_that_nobody_reads_are_closed", never_read),
];

/// What is no such handle is an error where it comes out, and nothing else suffers.
fn invalid_handles() {
    let work = |peer: Peer| {
        let connection = peer.meet();
        let folder = Folder::new();
        connection.send(Handle(folder.file("file"))).unwrap();
        connection.send(Handle(UnixStream::pair().unwrap().0)).unwrap();
        connection.send(Handle(folder.file("other"))).unwrap();
        connection.send((1u32, 2u32, 3u32)).unwrap();
        connection.send(Connection::pair().unwrap()).unwrap();
        connection.send(7u8).unwrap();
        assert_eq!(next_of::<u8>(&connection), 8);
    };
    for way in LOCAL {
        way.with(
            |peer| Process::spawn(work, (peer,)).unwrap(),
            |connection| {
                assert!(connection.poll(SOON).unwrap());
                let descriptors = open_descriptors().unwrap().len();
                assert_eq!(kind(connection.recv::<Sender<u8>>()), ErrorKind::Decode);
                assert_eq!(kind(connection.recv::<Receiver<u8>>()), ErrorKind::Decode);
                assert_eq!(kind(connection.recv::<Two>()), ErrorKind::Decode);
                assert_eq!(kind(connection.recv::<Connection>()), ErrorKind::Decode);
                assert_eq!(kind(connection.recv_bytes()), ErrorKind::Decode);
                // As many as the other side's process, and what makes an end one that can be waited for, cost.
                assert!(open_descriptors().unwrap().len() <= descriptors + 2, "all are closed");
                assert_eq!(next_of::<u8>(&connection), 7);
                connection.send(8u8).unwrap();
            },
        );
    }
}

/// Two handles where one came.
type Two = (Handle<File>, Handle<File>);

/// `tests/src/bin/py_streams.rs` asks the same of any sockets: here, of all that connections are made of.
fn closefd() {
    let count = || open_descriptors().unwrap().len();
    // So that a fork server is there before.
    value(&Process::spawn(count, ()).unwrap());
    let before = value(&Process::spawn(count, ()).unwrap());
    let pipes: Vec<_> = (0..50).map(|_| pipe::<u8>().unwrap()).collect();
    pipes.iter().for_each(|(_, rx)| assert!(wait(&[rx], NOW).unwrap().is_empty()));
    let listeners = [(); 10].map(|()| Listener::new().unwrap());
    let clients = listeners.each_ref().map(|listener| connect(listener.address(), None).unwrap());
    let servers = listeners.each_ref().map(|listener| listener.accept_timeout(SOON).unwrap());
    assert_eq!(value(&Process::spawn(count, ()).unwrap()), before);
    // What it is given is all that it has more.
    let given = |end: Connection, rx: Receiver<u8>| {
        assert_eq!(next(&rx), 1);
        end.send_bytes(b"hello").unwrap();
        open_descriptors().unwrap().len()
    };
    let [server, ..] = servers;
    let (tx, rx) = pipe().unwrap();
    tx.send(1).unwrap();
    let with_two = value(&Process::spawn(given, (server, rx)).unwrap());
    assert!(with_two > before && with_two <= before + 4, "{with_two} of {before}");
    assert_eq!(next_bytes(&clients[0]), b"hello");
    drop((pipes, listeners));
}

/// Says that it runs, and waits for the end of its pipe.
fn linger(tx: Sender<()>, rx: Receiver<()>) {
    tx.send(()).unwrap();
    assert!(matches!(rx.recv_timeout(SOON), Err(RecvTimeoutError::Closed)));
}

fn while_a_child_runs(check: impl FnOnce()) {
    let ((started, starts), (keep, wait)) = (pipe().unwrap(), pipe::<()>().unwrap());
    let child = Process::spawn(linger, (started, wait)).unwrap();
    next(&starts);
    check();
    drop(keep);
    value(&child);
}

fn keeps_no_end_open() {
    let (tx, rx) = pipe::<u8>().unwrap();
    let (lost, found) = pipe::<u8>().unwrap();
    let (left, right) = Connection::pair().unwrap();
    while_a_child_runs(|| {
        tx.send(1).unwrap();
        drop((tx, found, right));
        assert_eq!(next(&rx), 1);
        assert!(matches!(rx.recv_timeout(SOON), Err(RecvTimeoutError::Closed)));
        assert_eq!(kind(lost.send(1)), ErrorKind::Closed);
        is_over(&left);
    });
}

fn keeps_no_socket_open() {
    let folder = Folder::new();
    for way in [Way::Path, Way::Abstract, Way::Tcp4, Way::Tcp6] {
        let listener = Listener::bind(way.address(&folder)).unwrap();
        let address: Address = listener.address().clone();
        let client = connect(&address, None).unwrap();
        let server = listener.accept_timeout(SOON).unwrap();
        while_a_child_runs(|| {
            drop((listener, server));
            is_over(&client);
            assert_eq!(kind(connect(&address, None)), ErrorKind::Os);
            drop(Listener::bind(address).unwrap());
        });
    }
}

type Loaded = (u32, Vec<Handle<UnixStream>>);

/// More than the system moves at once, in one message; back and forth.
fn hundreds_in_a_message() {
    const COUNTS: [u32; 7] = [0, 1, 252, 253, 254, 506, 700];
    let work = |peer: Peer| {
        assert!(has_room_for(2500));
        let connection = peer.meet();
        for expected in COUNTS {
            let (count, handles): Loaded = next_of(&connection);
            assert_eq!(count, expected);
            let marks: Vec<u32> = handles.iter().map(mark_of).collect();
            assert!(marks.into_iter().eq(0..count), "in their order");
            connection.send::<Loaded>((count, (0..count).rev().map(marked).collect())).unwrap();
        }
    };
    // Both ends of each, twice while they are under way.
    if !has_room_for(2500) {
        return;
    }
    for way in LOCAL {
        way.with(
            |peer| Process::spawn(work, (peer,)).unwrap(),
            |connection| {
                let before = open_descriptors().unwrap().len();
                for count in COUNTS {
                    let loaded: Loaded = (count, (0..count).map(marked).collect());
                    connection.send(loaded).unwrap();
                    let (same, handles): Loaded = next_of(&connection);
                    assert_eq!(same, count);
                    assert!(handles.iter().map(mark_of).eq((0..count).rev()));
                }
                is_over(&connection);
                // An end knows the other side's process by a descriptor, from a wait on.
                let after = open_descriptors().unwrap().len();
                assert!(after <= before + 2, "{after} after {before}");
            },
        );
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Crate {
    named: BTreeMap<String, Sender<u32>>,
    chosen: Option<(u8, Choice)>,
    none: Option<Receiver<u32>>,
    connection: Connection,
    file: Handle<File>,
    address: Address,
}

#[derive(Debug, Serialize, Deserialize)]
enum Choice {
    Nothing,
    Many { receivers: Vec<Receiver<String>>, answer: Box<Duplex<u32, String>>, text: String },
}

fn unpack(mut all: Crate) -> Crate {
    for (name, tx) in &all.named {
        tx.send(u32::try_from(name.len()).unwrap()).unwrap();
    }
    let Some((7, Choice::Many { receivers, answer, text })) = &all.chosen else {
        panic!("{all:?}")
    };
    let texts: Vec<String> = receivers.iter().map(next).collect();
    assert_eq!(texts, ["0", "1", "2"]);
    answer.send(41).unwrap();
    assert_eq!(answer.recv_timeout(SOON).unwrap(), *text);
    assert!(all.none.is_none());
    all.connection.send_bytes(b"by a socket").unwrap();
    connect(&all.address, None).unwrap().send_bytes(b"by an address").unwrap();
    all.file.write_all(b"by a file").unwrap();
    all
}

fn nested_in_a_struct() {
    let work = |all: Crate, rx: Receiver<Crate>, tx: Sender<Crate>| {
        tx.send(unpack(next(&rx))).unwrap();
        unpack(all)
    };
    let folder = Folder::new();
    let (pack, look) = (|| Other::pack(&folder), |all: &mut Other| all.look());
    let ((to, theirs), (tx, rx)) = (pipe().unwrap(), pipe().unwrap());
    let ((all, mut first), (message, mut second)) = (pack(), pack());
    let child = Process::spawn(work, (all, theirs, tx)).unwrap();
    to.send(message).unwrap();
    look(&mut second);
    look(&mut first);
    // What came back works here as well.
    for (back, other) in [(next(&rx), &second), (value(&child), &first)] {
        back.named["two"].send(5).unwrap();
        assert_eq!(next(&other.named["two"]), 5);
        drop(back);
        assert_eq!(kind(other.named["one"].recv()), ErrorKind::Closed);
        is_over(&other.server);
    }
}

/// The other ends.
#[derive(Debug)]
struct Other {
    named: BTreeMap<String, Receiver<u32>>,
    answer: Duplex<String, u32>,
    listener: Listener,
    server: Connection,
    file: File,
}

impl Other {
    fn pack(folder: &Folder) -> (Crate, Self) {
        let (mut named, mut others) = (BTreeMap::new(), BTreeMap::new());
        for name in ["one", "two", "three"] {
            let (tx, rx) = pipe().unwrap();
            named.insert(name.to_owned(), tx);
            others.insert(name.to_owned(), rx);
        }
        let receivers = (0..3).map(|number| {
            let (tx, rx) = pipe::<String>().unwrap();
            tx.send(number.to_string()).unwrap();
            rx
        });
        let (theirs, answer) = duplex().unwrap();
        let many = Choice::Many {
            receivers: receivers.collect(),
            answer: Box::new(theirs),
            text: "text".into(),
        };
        let listener = Listener::new().unwrap();
        let connection = connect(listener.address(), None).unwrap();
        let server = listener.accept_timeout(SOON).unwrap();
        let name = format!("file-{}", std::fs::read_dir(folder.path(".")).unwrap().count());
        let file = folder.file(&name);
        let address = listener.address().clone();
        let copy = Handle(file.try_clone().unwrap());
        let chosen = Some((7, many));
        let all = Crate { named, chosen, none: None, connection, file: copy, address };
        (all, Self { named: others, answer, listener, server, file })
    }

    #[track_caller]
    fn look(&mut self) {
        for (name, rx) in &self.named {
            assert_eq!(next(rx) as usize, name.len());
        }
        assert_eq!(self.answer.recv_timeout(SOON).unwrap(), 41);
        self.answer.send("text".into()).unwrap();
        assert_eq!(next_bytes(&self.server), b"by a socket");
        let client = self.listener.accept_timeout(SOON).unwrap();
        assert_eq!(next_bytes(&client), b"by an address");
        is_over(&client);
        wait_until("the file is written", || text_of(&mut self.file) == "by a file");
    }
}

type Inner = Receiver<(String, Sender<u32>)>;

/// An end lies in a pipe that nobody has read, whose own end lies in another, and so on: whoever reads the last of them has it.
fn an_end_in_a_message_in_a_message() {
    let open = |outermost: Receiver<Receiver<Inner>>| {
        let outer = next(&outermost);
        let inner = next(&outer);
        let (text, tx) = next(&inner);
        assert_eq!(text, "inside");
        tx.send(41).unwrap();
        let again = next(&inner).1;
        again.send(42).unwrap();
        assert!(matches!(inner.recv_timeout(SOON), Err(RecvTimeoutError::Closed)));
    };
    for is_started_first in [true, false] {
        let ((to, outermost), (out, outer), (inn, inner), (tx, rx), (tx_2, rx_2)) = (
            pipe().unwrap(),
            pipe::<Inner>().unwrap(),
            pipe().unwrap(),
            pipe().unwrap(),
            pipe().unwrap(),
        );
        let fill = || {
            inn.send(("inside".to_owned(), tx)).unwrap();
            out.send(inner).unwrap();
            to.send(outer).unwrap();
            // Into one that is under way already.
            inn.send(("later".to_owned(), tx_2)).unwrap();
            drop((inn, out, to));
        };
        let child = if is_started_first {
            let child = Process::spawn(open, (outermost,)).unwrap();
            fill();
            child
        } else {
            fill();
            Process::spawn(open, (outermost,)).unwrap()
        };
        for (rx, expected) in [(rx, 41), (rx_2, 42)] {
            assert_eq!(next(&rx), expected);
            assert!(matches!(rx.recv_timeout(SOON), Err(RecvTimeoutError::Closed)));
        }
        value(&child);
    }
}

fn never_read() {
    let drop_it = |rx: Receiver<Receiver<Inner>>, is_read: bool| {
        assert!(rx.poll(SOON).unwrap());
        if is_read {
            drop(next(&rx));
        }
    };
    let park = |_rx: Receiver<Receiver<Inner>>, tx: Sender<()>| {
        tx.send(()).unwrap();
        loop {
            std::thread::park();
        }
    };
    for how in 0..3u8 {
        let ((to, outermost), (out, outer), (inn, inner), (tx, rx)) =
            (pipe().unwrap(), pipe::<Inner>().unwrap(), pipe().unwrap(), pipe().unwrap());
        inn.send(("inside".to_owned(), tx)).unwrap();
        out.send(inner).unwrap();
        to.send(outer).unwrap();
        assert!(matches!(rx.recv_timeout(SHORT), Err(RecvTimeoutError::Timeout)), "under way");
        if how < 2 {
            value(&Process::spawn(drop_it, (outermost, how == 1)).unwrap());
        } else if !crate::stage::is_in_threads() {
            let (started, starts) = pipe().unwrap();
            let child = Process::<()>::spawn(park, (outermost, started)).unwrap();
            next(&starts);
            child.kill().unwrap();
            assert!(child.join_timeout(SOON).unwrap().is_err());
        } else {
            drop(outermost);
        }
        let objects: [&dyn Waitable; 1] = [&rx];
        assert_eq!(wait(&objects, SOON).unwrap(), [0]);
        assert!(matches!(rx.recv_timeout(SOON), Err(RecvTimeoutError::Closed)), "{how}");
        wait_until("the outer ones are closed", || {
            out.try_send(pipe().unwrap().1).is_err() && to.try_send(pipe().unwrap().1).is_err()
        });
    }
}
