//! CPython: `TestWait`; and waiting for thousands, and for processes together with what they send.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use procession::prelude::*;
use procession::{Address, Deadline, TryRecvError, Waitable, wait, wait_deadline};
use procession_sys::fd::open_descriptors;
use procession_tests::{Random, SOON, wait_until};

use crate::stage::{
    NOW, Row, SHORT, connect, has_room_for, is_in_threads, is_over, next, next_bytes, pause, takes,
    value,
};

pub(crate) const ROWS: &[Row] = &[
    ("waiting::wait", wait_for_connections),
    ("waiting::wait_slow", wait_slow),
    ("waiting::wait_socket", wait_socket),
    ("waiting::wait_socket_slow", wait_socket_slow),
    ("waiting::wait_timeout", wait_timeout),
    ("waiting::wait_integer", wait_integer),
    ("waiting::neg_timeout", neg_timeout),
    ("waiting::processes_and_what_they_send", processes_and_what_they_send),
    ("waiting::all_kinds_of_objects_at_once", all_kinds_of_objects_at_once),
    ("waiting::four_thousand_objects_at_once", four_thousand_objects_at_once),
];

const WRITERS: u32 = 4;
const MESSAGES: u32 = 10;

/// Some time or none, never the same.
fn dawdle(random: &mut Random) {
    pause(Duration::from_millis(random.below(15) as u64));
}

fn write(tx: Connection, number: u32, is_slow: bool) {
    let mut random = Random::from_environment();
    for message in 0..MESSAGES {
        if is_slow {
            dawdle(&mut random);
        }
        tx.send((message, number)).unwrap();
    }
}

/// Collects what several processes write, from whichever has something; each end is something as well.
fn collect(is_slow: bool) {
    let started = (0..WRITERS).map(|number| {
        let (rx, tx) = Connection::one_way().unwrap();
        (Process::spawn(write, (tx, number, is_slow)).unwrap(), rx)
    });
    let (children, mut readers): (Vec<_>, Vec<_>) = started.unzip();
    let mut messages = Vec::new();
    while !readers.is_empty() {
        let objects: Vec<&dyn Waitable> = readers.iter().map(|rx| rx as _).collect();
        let ready = wait(&objects, SOON).unwrap();
        assert!(!ready.is_empty() && ready.is_sorted());
        for place in ready.into_iter().rev() {
            match readers[place].try_recv::<(u32, u32)>() {
                Ok(message) => messages.push(message),
                Err(TryRecvError::Closed) => drop(readers.remove(place)),
                Err(other) => panic!("{other}"),
            }
        }
    }
    for number in 0..WRITERS {
        let of_one = messages.iter().filter(|message| message.1 == number);
        assert!(of_one.map(|message| message.0).eq(0..MESSAGES), "{messages:?}");
    }
    assert_eq!(messages.len(), (WRITERS * MESSAGES) as usize);
    children.iter().for_each(value);
}

fn wait_for_connections() {
    collect(false);
}

fn wait_slow() {
    collect(true);
}

fn write_to_socket(address: SocketAddr, is_slow: bool) {
    let mut random = Random::from_environment();
    let mut stream = TcpStream::connect(address).unwrap();
    for message in 0..MESSAGES {
        if is_slow {
            dawdle(&mut random);
        }
        stream.write_all(format!("{message}\n").as_bytes()).unwrap();
    }
}

fn collect_from_sockets(is_slow: bool) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let children = [(); WRITERS as usize]
        .map(|()| Process::spawn(write_to_socket, (address, is_slow)).unwrap());
    let mut streams = Vec::new();
    for number in 0..WRITERS {
        assert_eq!(wait(&[&listener], SOON).unwrap(), [0]);
        streams.push((number, listener.accept().unwrap().0));
    }
    let mut texts = BTreeMap::<u32, Vec<u8>>::new();
    while !streams.is_empty() {
        let objects: Vec<&dyn Waitable> = streams.iter().map(|(_, stream)| stream as _).collect();
        let ready = wait(&objects, SOON).unwrap();
        assert!(!ready.is_empty());
        for place in ready.into_iter().rev() {
            let mut bytes = [0; 32];
            let (number, stream) = &mut streams[place];
            match stream.read(&mut bytes).unwrap() {
                0 => drop(streams.remove(place)),
                count => texts.entry(*number).or_default().extend(&bytes[..count]),
            }
        }
    }
    let expected: String = (0..MESSAGES).map(|message| format!("{message}\n")).collect();
    assert_eq!(texts.len(), WRITERS as usize);
    assert!(texts.values().all(|text| text == expected.as_bytes()), "{texts:?}");
    children.iter().for_each(value);
}

fn wait_socket() {
    collect_from_sockets(false);
}

fn wait_socket_slow() {
    collect_from_sockets(true);
}

fn wait_timeout() {
    let work = |b: Connection, go: Receiver<()>| {
        next(&go);
        pause(SHORT / 2);
        b.send(0u8).unwrap();
        next(&go);
    };
    let ((a, _a), (b, theirs), (tell, go)) =
        (Connection::pair().unwrap(), Connection::pair().unwrap(), pipe().unwrap());
    let child = Process::spawn(work, (theirs, go)).unwrap();
    let long = 5 * SHORT;
    assert!(takes(long, || wait(&[&a, &b], long)).unwrap().is_empty());
    tell.send(()).unwrap();
    assert_eq!(wait(&[&a, &b], SOON).unwrap(), [1]);
    assert_eq!(wait_deadline(&[&b, &a], Deadline::NEVER).unwrap(), [0]);
    tell.send(()).unwrap();
    value(&child);
}

/// A process in the midst of connections; in Python an integer stands for it.
fn wait_integer() {
    let work = |go: Receiver<()>| {
        next(&go);
        pause(2 * SHORT);
    };
    let ((a, b), (tell, go)) = (Connection::pair().unwrap(), pipe().unwrap());
    let child = Process::spawn(work, (go,)).unwrap();
    let objects: [&dyn Waitable; 3] = [&a, &child, &b];
    assert!(wait(&objects, SHORT).unwrap().is_empty());
    tell.send(()).unwrap();
    assert_eq!(wait(&objects, SOON).unwrap(), [1]);
    a.send(0u8).unwrap();
    assert_eq!(wait(&objects, SOON).unwrap(), [1, 2]);
    b.send(0u8).unwrap();
    assert_eq!(wait(&objects, SOON).unwrap(), [0, 1, 2]);
    value(&child);
    assert_eq!(wait(&objects, NOW).unwrap(), [0, 1, 2], "it stays ready");
}

/// Lengths of time are not negative here: so, no time, and a moment that has passed.
fn neg_timeout() {
    let work = |b: Connection, go: Receiver<()>, tell: Sender<()>| {
        next(&go);
        b.send(0u8).unwrap();
        tell.send(()).unwrap();
        next(&go);
    };
    let ((a, theirs), (tell, go), (tx, told)) =
        (Connection::pair().unwrap(), pipe().unwrap(), pipe().unwrap());
    let child = Process::spawn(work, (theirs, go, tx)).unwrap();
    let past = Deadline::after(NOW);
    pause(SHORT / 10);
    for _ in 0..3 {
        assert!(wait(&[&a], NOW).unwrap().is_empty());
        assert!(wait_deadline(&[&a], past).unwrap().is_empty());
        assert!(wait(&[], NOW).unwrap().is_empty());
    }
    tell.send(()).unwrap();
    next(&told);
    for _ in 0..3 {
        assert_eq!(wait(&[&a], NOW).unwrap(), [0]);
        assert_eq!(wait_deadline(&[&a], past).unwrap(), [0]);
    }
    tell.send(()).unwrap();
    value(&child);
}

/// Sends what it is told to, until it is told no more.
fn relay(orders: Receiver<u32>, tx: Sender<u32>) {
    orders.iter().for_each(|order| tx.send(order.unwrap()).unwrap());
}

fn processes_and_what_they_send() {
    let start = || {
        let ((orders, rx), (tx, answers)) = (pipe().unwrap(), pipe().unwrap());
        (orders, answers, Process::spawn(relay, (rx, tx)).unwrap())
    };
    let ((order_1, rx_1, child_1), (order_2, rx_2, child_2)) = (start(), start());
    let objects: [&dyn Waitable; 6] = [&child_1, &rx_1, &child_2, &rx_2, &order_1, &order_2];
    assert!(wait(&objects, NOW).unwrap().is_empty());
    for number in 0..50 {
        order_2.send(number).unwrap();
        assert_eq!(wait(&objects, SOON).unwrap(), [3]);
        assert_eq!(next(&rx_2), number);
        assert!(wait(&objects, NOW).unwrap().is_empty());
    }
    order_1.send(1).unwrap();
    assert_eq!(wait(&objects, SOON).unwrap(), [1]);
    // What it has sent is there after its death, and its end comes behind that.
    if is_in_threads() {
        order_1.close();
    } else {
        child_1.kill().unwrap();
    }
    assert_eq!(wait(&objects[..1], SOON).unwrap(), [0]);
    wait_until("all that it had is something", || {
        let ready = wait(&objects, NOW).unwrap();
        // Of what was closed here nobody waits.
        ready.starts_with(&[0, 1]) && !ready.contains(&2) && !ready.contains(&3)
    });
    assert_eq!(next(&rx_1), 1);
    assert_eq!(wait(&objects[..4], SOON).unwrap(), [0, 1]);
    assert!(matches!(rx_1.try_recv(), Err(TryRecvError::Closed)));
    assert_eq!(child_1.join_timeout(SOON).unwrap().is_ok(), is_in_threads());
    // The other one is none the worse, and ends in order.
    order_2.send(2).unwrap();
    drop(order_2);
    value(&child_2);
    assert_eq!(wait(&[&child_2, &rx_2], NOW).unwrap(), [0, 1]);
    assert_eq!(next(&rx_2), 2);
    assert!(matches!(rx_2.try_recv(), Err(TryRecvError::Closed)));
}

fn all_kinds_of_objects_at_once() {
    let work = |address: Address, plain: SocketAddr, pipe_end: Connection, go: Receiver<u8>| {
        assert_eq!(next(&go), 0);
        let connection = connect(&address, None).unwrap();
        assert_eq!(next(&go), 1);
        connection.send_bytes(b"hello").unwrap();
        assert_eq!(next(&go), 2);
        let _stream = TcpStream::connect(plain).unwrap();
        assert_eq!(next(&go), 3);
        pipe_end.send_bytes(b"hello").unwrap();
        assert_eq!(next(&go), 4);
    };
    let (listener, plain) = (Listener::new().unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let ((end, theirs), (tell, go)) = (Connection::pair().unwrap(), pipe().unwrap());
    let args = (listener.address().clone(), plain.local_addr().unwrap(), theirs, go);
    let child = Process::spawn(work, args).unwrap();
    let idle = Connection::pair().unwrap();
    let listening = std::os::fd::AsFd::as_fd(&listener);
    let first: [&dyn Waitable; 5] = [&listening, &plain, &end, &child, &idle.0];
    assert!(wait(&first, NOW).unwrap().is_empty());
    tell.send(0).unwrap();
    assert_eq!(wait(&first, SOON).unwrap(), [0]);
    let server = listener.accept_timeout(SOON).unwrap();
    let objects: [&dyn Waitable; 6] = [&listening, &plain, &end, &child, &idle.0, &server];
    assert!(wait(&objects, NOW).unwrap().is_empty());
    let mut expected = Vec::new();
    for (order, place) in [(1, 5), (2, 1), (3, 2)] {
        tell.send(order).unwrap();
        assert_eq!(wait(&objects[place..=place], SOON).unwrap(), [0]);
        expected.push(place);
        expected.sort_unstable();
        assert_eq!(wait(&objects, SOON).unwrap(), expected);
    }
    assert_eq!(next_bytes(&server), b"hello");
    assert_eq!(wait(&objects, NOW).unwrap(), [1, 2]);
    tell.send(4).unwrap();
    value(&child);
    assert_eq!(wait(&objects, NOW).unwrap(), [1, 2, 3, 5]);
    assert_eq!(next_bytes(&end), b"hello");
    is_over(&end);
    is_over(&server);
}

const MANY: usize = 4000;
/// How many ends go in one message.
const AT_ONCE: usize = 100;

fn write_to_many(ends: Receiver<Vec<Sender<u32>>>, orders: Receiver<Vec<usize>>) {
    if !has_room_for(2 * MANY as u64 + 1000) {
        return;
    }
    let mut all = Vec::new();
    while all.len() < MANY {
        all.extend(next(&ends));
    }
    drop(ends);
    for order in &orders {
        for place in order.unwrap() {
            all[place].send(u32::try_from(place).unwrap()).unwrap();
        }
    }
}

fn four_thousand_objects_at_once() {
    // Two for each receiver, and two more once it is waited for; what is under way counts as well. Threads have both ends here.
    let needed = if is_in_threads() { 7 } else { 4 };
    if !has_room_for((needed * MANY + 2000) as u64) {
        return;
    }
    let before = open_descriptors().unwrap().len();
    let ((to, ends), (tell, orders)) = (pipe().unwrap(), pipe().unwrap());
    let child = Process::spawn(write_to_many, (ends, orders)).unwrap();
    let mut readers = Vec::new();
    while readers.len() < MANY {
        let (senders, some): (Vec<_>, Vec<_>) = (0..AT_ONCE).map(|_| pipe().unwrap()).unzip();
        to.send(senders).unwrap();
        readers.extend(some);
    }
    let objects: Vec<&dyn Waitable> = readers.iter().map(|rx| rx as _).collect();
    assert!(wait(&objects, NOW).unwrap().is_empty());
    let read = |place: usize| assert_eq!(next(&readers[place]) as usize, place);
    for order in [vec![3999], vec![0, 1, 1999, 3998, 3999], vec![2000]] {
        tell.send(order.clone()).unwrap();
        // Whichever comes first ends the wait.
        assert!(order.contains(&wait(&objects, SOON).unwrap()[0]));
        wait_until("all are there", || wait(&objects, NOW).unwrap() == order);
        order.into_iter().for_each(read);
        assert!(wait(&objects, NOW).unwrap().is_empty());
    }
    tell.send((0..MANY).collect()).unwrap();
    wait_until("all are there", || wait(&objects, NOW).unwrap().len() == MANY);
    (0..MANY).for_each(read);
    assert!(wait(&objects, NOW).unwrap().is_empty());
    drop(tell);
    wait_until("all ends are there", || wait(&objects, NOW).unwrap().len() == MANY);
    assert!(readers.iter().all(|rx| matches!(rx.try_recv(), Err(TryRecvError::Closed))));
    value(&child);
    drop((readers, child, to));
    assert!(open_descriptors().unwrap().len() <= before + 5, "nothing is left of them");
}
