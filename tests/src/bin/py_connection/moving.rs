//! CPython: `_TestPicklingConnections`; and what moves with a connection that is sent.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;

use procession::prelude::*;
use procession::{Address, ErrorKind, RecvTimeoutError, SendTimeoutError};
use procession_tests::SOON;

use crate::stage::{
    Folder, NOW, Row, SHORT, SOCKETS, Way, are, connect, is_over, kind, mark_of, marked, next,
    next_bytes, next_of, pattern, pause, value,
};

pub(crate) const ROWS: &[Row] = &[
    ("moving::pickling", pickling),
    ("moving::access", access),
    ("moving::a_connection_goes_round", a_connection_goes_round),
    ("moving::between_one_message_and_the_next", between_one_message_and_the_next),
    ("moving::with_what_was_read_ahead", with_what_was_read_ahead),
    ("moving::with_a_part_of_a_message", with_a_part_of_a_message),
    ("moving::with_the_rest_of_a_message", with_the_rest_of_a_message),
];

/// Accepts at all kinds of addresses, and hands on whom it has accepted.
fn accept(
    tx: Sender<Address>,
    connections: Sender<Connection>,
    streams: Sender<Handle<TcpStream>>,
) {
    let folder = Folder::new();
    for way in SOCKETS {
        let listener = Listener::bind(way.address(&folder)).unwrap();
        tx.send(listener.address().clone()).unwrap();
        connections.send(listener.accept_timeout(SOON).unwrap()).unwrap();
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    tx.send(Address::Tcp(listener.local_addr().unwrap())).unwrap();
    streams.send(Handle(listener.accept().unwrap().0)).unwrap();
}

/// Connects where it is told to, and says what it is told to, in capitals.
fn remote(rx: Receiver<(Address, String)>, plain: Receiver<(Address, String)>) {
    for message in &rx {
        let (address, text) = message.unwrap();
        let connection = connect(&address, None).unwrap();
        connection.send(text.to_uppercase()).unwrap();
        assert_eq!(next_of::<String>(&connection), "thanks");
    }
    let (address, text) = next(&plain);
    let Address::Tcp(address) = address else { panic!("{address}") };
    TcpStream::connect(address).unwrap().write_all(text.to_uppercase().as_bytes()).unwrap();
}

fn pickling() {
    let ((tell, addresses), (connections, accepted), (streams, plain_accepted)) =
        (pipe().unwrap(), pipe().unwrap(), pipe().unwrap());
    let ((to, told), (to_plain, plain_told)) = (pipe().unwrap(), pipe().unwrap());
    let accepts = Process::spawn(accept, (tell, connections, streams)).unwrap();
    let connects = Process::spawn(remote, (told, plain_told)).unwrap();
    for way in SOCKETS {
        to.send((next(&addresses), format!("This connection uses {way:?}"))).unwrap();
        let connection = next(&accepted);
        let text: String = next_of(&connection);
        assert_eq!(text, format!("THIS CONNECTION USES {}", format!("{way:?}").to_uppercase()));
        connection.send("thanks").unwrap();
        is_over(&connection);
    }
    drop(to);
    to_plain.send((next(&addresses), "This connection uses a normal socket".into())).unwrap();
    let mut text = String::new();
    next(&plain_accepted).read_to_string(&mut text).unwrap();
    assert_eq!(text, "THIS CONNECTION USES A NORMAL SOCKET");
    value(&accepts);
    value(&connects);
}

fn access() {
    let work = |connection: Connection| {
        let tx: Connection = next_of(&connection);
        assert!(tx.is_writable() && !tx.is_readable());
        tx.send("all is well").unwrap();
        assert_eq!(kind(tx.recv::<u8>()), ErrorKind::Unsupported);
        drop(tx);
        let rx: Connection = next_of(&connection);
        assert!(rx.is_readable() && !rx.is_writable());
        let text: String = next_of(&rx);
        assert_eq!(kind(rx.send(1u8)), ErrorKind::Unsupported);
        connection.send(text.repeat(2)).unwrap();
    };
    let (connection, theirs) = Connection::pair().unwrap();
    let child = Process::spawn(work, (theirs,)).unwrap();
    let (rx, tx) = Connection::one_way().unwrap();
    connection.send(tx).unwrap();
    assert_eq!(next_of::<String>(&rx), "all is well");
    is_over(&rx);
    let (rx, tx) = Connection::one_way().unwrap();
    connection.send(rx).unwrap();
    tx.send("foobar").unwrap();
    assert_eq!(next_of::<String>(&connection), "foobarfoobar");
    value(&child);
    assert_eq!(kind(tx.send(1u8)), ErrorKind::Closed);
}

/// Both ends of a connection, each through several processes; nothing gets lost or out of order.
fn a_connection_goes_round() {
    const ROUNDS: u32 = 5;
    let pass = |rx: Receiver<Connection>, tx: Sender<Connection>, is_sending: bool| {
        for round in 0..ROUNDS {
            let connection = next(&rx);
            for number in 0..10u32 {
                if is_sending {
                    connection.send(10 * round + number).unwrap();
                } else {
                    assert_eq!(next_of::<u32>(&connection), 10 * round + number);
                }
            }
            tx.send(connection).unwrap();
        }
    };
    let folder = Folder::new();
    for way in [Way::Pipe].into_iter().chain(SOCKETS) {
        let (left, right) = if way == Way::Pipe {
            Connection::pair().unwrap()
        } else {
            let listener = Listener::bind(way.address(&folder)).unwrap();
            let client = connect(listener.address(), None).unwrap();
            (listener.accept_timeout(SOON).unwrap(), client)
        };
        let start = |is_sending: bool| {
            let ((to, rx), (tx, from)) = (pipe().unwrap(), pipe().unwrap());
            (to, from, Process::spawn(pass, (rx, tx, is_sending)).unwrap())
        };
        let (mut ends, children) = ((left, right), [start(true), start(false)]);
        for _ in 0..ROUNDS {
            children[0].0.send(ends.0).unwrap();
            // It may be at the other one's before the first has come back.
            children[1].0.send(ends.1).unwrap();
            ends = (next(&children[0].1), next(&children[1].1));
        }
        children.iter().for_each(|(_, _, child)| value(child));
        ends.1.send_bytes(b"still there").unwrap();
        assert_eq!(next_bytes(&ends.0), b"still there");
        drop(ends.0);
        is_over(&ends.1);
    }
}

/// All messages are there; three processes take turns at reading them. None comes twice.
fn between_one_message_and_the_next() {
    const MESSAGES: u32 = 12;
    let read = |rx: Receiver<u32>, connection: Connection, expected: u32| {
        assert_eq!(next(&rx), expected);
        assert_eq!(next_of::<u32>(&connection), expected);
        (rx, connection)
    };
    let folder = Folder::new();
    for way in [Way::Pipe].into_iter().chain(SOCKETS) {
        let (left, right) = if way == Way::Pipe {
            Connection::pair().unwrap()
        } else {
            let listener = Listener::bind(way.address(&folder)).unwrap();
            let client = connect(listener.address(), None).unwrap();
            (listener.accept_timeout(SOON).unwrap(), client)
        };
        let (tx, rx) = pipe().unwrap();
        for number in 0..MESSAGES {
            tx.send(number).unwrap();
            left.send(number).unwrap();
        }
        let mut ends = (rx, right);
        for number in 0..MESSAGES {
            ends = match number % 3 {
                0 => read(ends.0, ends.1, number),
                _ => value(&Process::spawn(read, (ends.0, ends.1, number)).unwrap()),
            };
        }
        drop((tx, left));
        assert!(matches!(ends.0.recv_timeout(SOON), Err(RecvTimeoutError::Closed)));
        is_over(&ends.1);
    }
}

type Loaded = (u32, Vec<Handle<UnixStream>>);

/// Reads what another process has not read.
fn read_on(rx: Receiver<Connection>, tells_all: Sender<()>) {
    let connection = next(&rx);
    for number in 1..40u32 {
        assert_eq!(next_of::<u32>(&connection), number);
    }
    are(&next_bytes(&connection), &pattern(300_000));
    assert_eq!(next_bytes(&connection), b"last");
    connection.send_bytes(b"thanks").unwrap();
    tells_all.send(()).unwrap();
}

fn with_what_was_read_ahead() {
    let write = |address: Address| {
        let connection = connect(&address, None).unwrap();
        (0..40u32).for_each(|number| connection.send(number).unwrap());
        connection.send_bytes(&pattern(300_000)).unwrap();
        connection.send_bytes(b"last").unwrap();
        assert_eq!(next_bytes(&connection), b"thanks");
    };
    let folder = Folder::new();
    for way in SOCKETS {
        let ((to, rx), (tell, told)) = (pipe().unwrap(), pipe().unwrap());
        let reader = Process::spawn(read_on, (rx, tell)).unwrap();
        let listener = Listener::bind(way.address(&folder)).unwrap();
        let writer = Process::spawn(write, (listener.address().clone(),)).unwrap();
        let server = listener.accept_timeout(SOON).unwrap();
        assert_eq!(next_of::<u32>(&server), 0);
        assert!(server.poll(SOON).unwrap());
        to.send(server).unwrap();
        next(&told);
        value(&writer);
        value(&reader);
    }
    handles_that_were_read_ahead();
}

/// The same with descriptors, which come before the messages that they belong to are read.
fn handles_that_were_read_ahead() {
    let write = |address: Address, seen: Receiver<()>| {
        let connection = connect(&address, None).unwrap();
        for number in 0..20 {
            connection.send::<Loaded>((number, (0..number).map(marked).collect())).unwrap();
        }
        next(&seen);
    };
    let read = |rx: Receiver<Connection>| {
        let connection = next(&rx);
        for expected in 1..20 {
            let (number, handles): Loaded = next_of(&connection);
            assert_eq!(number, expected);
            assert!(handles.iter().map(mark_of).eq(0..number));
        }
    };
    let folder = Folder::new();
    for way in [Way::Path, Way::Abstract] {
        let ((to, rx), (saw, seen)) = (pipe().unwrap(), pipe().unwrap());
        let reader = Process::spawn(read, (rx,)).unwrap();
        let listener = Listener::bind(way.address(&folder)).unwrap();
        let writer = Process::spawn(write, (listener.address().clone(), seen)).unwrap();
        let server = listener.accept_timeout(SOON).unwrap();
        assert_eq!(next_of::<Loaded>(&server).0, 0);
        assert!(server.poll(SOON).unwrap());
        to.send(server).unwrap();
        value(&reader);
        saw.send(()).unwrap();
        value(&writer);
    }
}

const PART: usize = 30_000;

/// One process has read the beginning of a message, another one reads its end.
fn with_a_part_of_a_message() {
    let write = |address: Address, go: Receiver<()>| {
        let mut stream: Box<dyn Write> = match address {
            Address::Path(path) => Box::new(UnixStream::connect(path).unwrap()),
            Address::Tcp(address) => Box::new(TcpStream::connect(address).unwrap()),
            other => panic!("{other}"),
        };
        let message = pattern(3 * PART);
        let len = u32::try_from(message.len()).unwrap().to_be_bytes();
        // In the middle of what says how long it is, and then in the middle of itself.
        let bytes = [&len[..], &message].concat();
        for part in [&bytes[..2], &bytes[2..PART], &bytes[PART..]] {
            next(&go);
            stream.write_all(part).unwrap();
            stream.flush().unwrap();
        }
        next(&go);
    };
    let pass = |rx: Receiver<Connection>, tx: Sender<Connection>| {
        let connection = next(&rx);
        let nothing = connection.recv_bytes_timeout(SHORT);
        assert!(matches!(nothing, Err(RecvTimeoutError::Timeout)), "{nothing:?}");
        assert!(connection.try_recv_bytes().is_err());
        tx.send(connection).unwrap();
    };
    let folder = Folder::new();
    for way in [Way::Path, Way::Tcp4] {
        let listener = Listener::bind(way.address(&folder)).unwrap();
        let (go, wait) = pipe().unwrap();
        let writer = Process::spawn(write, (listener.address().clone(), wait)).unwrap();
        let mut server = listener.accept_timeout(SOON).unwrap();
        for _ in 0..2 {
            go.send(()).unwrap();
            let ((to, rx), (tx, from)) = (pipe().unwrap(), pipe().unwrap());
            let passing = Process::spawn(pass, (rx, tx)).unwrap();
            to.send(server).unwrap();
            server = next(&from);
            value(&passing);
        }
        go.send(()).unwrap();
        are(&next_bytes(&server), &pattern(3 * PART));
        go.send(()).unwrap();
        is_over(&server);
        value(&writer);
    }
}

/// More than the system holds: 36 MiB by TCP, since Linux 6.17.
const LONG: usize = 64 << 20;

/// One process has sent the beginning of a message when its time was up, another one sends the end of it.
fn with_the_rest_of_a_message() {
    let read = |address: Address, go: Receiver<()>| {
        let connection = connect(&address, None).unwrap();
        next(&go);
        are(&next_bytes(&connection), &pattern(LONG));
        assert_eq!(next_bytes(&connection), b"more");
        is_over(&connection);
    };
    let send_on = |connection: Connection, go: Sender<()>| {
        assert!(!connection.flush(NOW).unwrap());
        go.send(()).unwrap();
        assert!(connection.flush(SOON).unwrap());
        connection.send_bytes(b"more").unwrap();
    };
    let folder = Folder::new();
    for way in SOCKETS {
        let listener = Listener::bind(way.address(&folder)).unwrap();
        let (go, wait) = pipe().unwrap();
        let reader = Process::spawn(read, (listener.address().clone(), wait)).unwrap();
        let server = listener.accept_timeout(SOON).unwrap();
        let sent = server.send_bytes_timeout(&pattern(LONG), SHORT);
        assert!(matches!(sent, Err(SendTimeoutError::Unfinished)), "{sent:?}");
        pause(SHORT);
        value(&Process::spawn(send_on, (server, go)).unwrap());
        value(&reader);
    }
}
