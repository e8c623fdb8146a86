//! CPython: `_TestPollEintr`, `TestIgnoreEINTR`: signals with a handler end no wait. One by one, while a process sleeps in each
//! of its calls; and ten thousand in a second, in both processes, during everything that these do with connections.

#![expect(unsafe_code, reason = "sets timers and handlers, which the library has no need for")]

use std::ffi::c_int;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::OnceLock;

use procession::prelude::*;
use procession::wait;
use procession_sys::memory::SharedWords;
use procession_sys::prim::Ordering::SeqCst;
use procession_sys::{fd, pidfd, signal};
use procession_tests::{SOON, wait_until};

use crate::stage::{
    Folder, LOCAL, Peer, Row, SOCKETS, are, by_each_way, connect, is_over, key, mark_of, marked,
    next, next_bytes, next_of, pattern, value,
};

pub(crate) const ROWS: &[Row] = &[
    ("signals::poll_eintr", poll_eintr),
    ("signals::ignore", ignore),
    ("signals::ignore_listener", ignore_listener),
    ("signals::a_storm_during_an_echo_of_all_sizes", echo_in_a_storm),
    ("signals::a_storm_during_handshakes", handshakes_in_a_storm),
    ("signals::a_storm_while_handles_travel", handles_in_a_storm),
    ("signals::a_storm_while_processes_come_and_go", processes_in_a_storm),
];

/// How often a process is interrupted in each of its waits.
const TIMES: u64 = 20;

/// How many signals this process has caught, where others can see it.
static CAUGHT: OnceLock<SharedWords> = OnceLock::new();

extern "C" fn catch(_signal: c_int) {
    if let Some(words) = CAUGHT.get() {
        words.word(0).fetch_add(1, SeqCst);
    }
}

fn caught() -> u64 {
    CAUGHT.get().map_or(0, |words| words.word(0).load(SeqCst))
}

/// Has a signal interrupt whatever this process waits in, and be counted there.
fn interrupt_calls_by(number: c_int, words: SharedWords) {
    CAUGHT.get_or_init(|| words);
    // SAFETY: All zeros are an action: the default one, without flags. So calls that it interrupts fail, instead of being repeated.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = catch as extern "C" fn(c_int) as libc::sighandler_t;
    // SAFETY: The handler takes a number and touches an atomic and nothing else; the pointer is to a local; the old action is not
    // asked for.
    assert_eq!(unsafe { libc::sigaction(number, &raw const action, std::ptr::null_mut()) }, 0);
}

/// Memory for a counter, and what another process opens it by.
fn counter() -> (SharedWords, Handle<OwnedFd>) {
    let words = SharedWords::create(1).unwrap();
    let copy = Handle(fd::duplicate(words.as_fd()).unwrap());
    (words, copy)
}

/// Opens the counter, and has this process be interrupted.
fn be_interrupted(counter: Handle<OwnedFd>) {
    interrupt_calls_by(signal::USER_1, SharedWords::open(counter.into_inner()).unwrap());
}

/// Interrupts a process in its sleep, many times.
fn interrupt(pid: u32, counter: &SharedWords) {
    let sleeps = || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/stat")).unwrap();
        stat.rsplit_once(") ").unwrap().1.starts_with('S')
    };
    let caught = || counter.word(0).load(SeqCst);
    let (victim, before) = (pidfd::open(pid).unwrap(), caught());
    for time in 0..TIMES {
        wait_until("it sleeps", sleeps);
        assert!(pidfd::signal(&victim, signal::USER_1).unwrap());
        wait_until("it has caught the signal", || caught() > before + time);
    }
}

/// In all that waits until a message has come.
fn poll_eintr() {
    let work = |peer: Peer, counter: Handle<OwnedFd>| {
        be_interrupted(counter);
        let connection = peer.meet();
        let ready = || connection.send(std::process::id()).unwrap();
        ready();
        assert!(connection.poll(SOON).unwrap());
        assert_eq!(next_bytes(&connection), b"to poll");
        ready();
        assert_eq!(wait(&[&connection], SOON).unwrap(), [0]);
        assert_eq!(next_bytes(&connection), b"to wait");
        ready();
        assert_eq!(next_bytes(&connection), b"to receive for a while");
        ready();
        assert_eq!(connection.recv_bytes().unwrap(), b"to receive");
    };
    let (words, _) = counter();
    let start = |peer| {
        let copy = Handle(fd::duplicate(words.as_fd()).unwrap());
        Process::spawn(work, (peer, copy)).unwrap()
    };
    by_each_way(start, |_, connection| {
        for message in [&b"to poll"[..], b"to wait", b"to receive for a while", b"to receive"] {
            interrupt(next_of(&connection), &words);
            assert!(connection.try_recv_bytes().is_err(), "it waits");
            connection.send_bytes(message).unwrap();
        }
        is_over(&connection);
    });
}

/// Far more than a pipe or a socket holds.
const LARGE: usize = 64 << 20;

/// While a process receives, and while it sends more than there is room for.
fn ignore() {
    let work = |peer: Peer, counter: Handle<OwnedFd>| {
        be_interrupted(counter);
        let connection = peer.meet();
        connection.send(std::process::id()).unwrap();
        let small = connection.recv_bytes().unwrap();
        connection.send_bytes(&small).unwrap();
        connection.send_bytes(&pattern(LARGE)).unwrap();
        are(&connection.recv_bytes().unwrap(), &pattern(LARGE));
    };
    let (words, _) = counter();
    let start = |peer| {
        let copy = Handle(fd::duplicate(words.as_fd()).unwrap());
        Process::spawn(work, (peer, copy)).unwrap()
    };
    by_each_way(start, |_, connection| {
        let pid = next_of(&connection);
        interrupt(pid, &words);
        connection.send_bytes(b"1234").unwrap();
        assert_eq!(next_bytes(&connection), b"1234");
        // It waits for room by now.
        interrupt(pid, &words);
        are(&next_bytes(&connection), &pattern(LARGE));
        interrupt(pid, &words);
        connection.send_bytes(&pattern(LARGE)).unwrap();
        is_over(&connection);
    });
}

/// While a process accepts, with and without a key; and while one waits for a listener to know the key.
fn ignore_listener() {
    let serve = |counter: Handle<OwnedFd>, tx: Sender<(u32, procession::Address)>| {
        be_interrupted(counter);
        let folder = Folder::new();
        for way in SOCKETS {
            for has_key in [false, true] {
                let builder = Listener::builder().address(way.address(&folder));
                let builder = if has_key { builder.authkey(&key(b"key")) } else { builder };
                let listener = builder.bind().unwrap();
                tx.send((std::process::id(), listener.address().clone())).unwrap();
                listener.accept().unwrap().send("welcome").unwrap();
            }
        }
    };
    let ((words, copy), (tx, rx)) = (counter(), pipe().unwrap());
    let child = Process::spawn(serve, (copy, tx)).unwrap();
    for _ in SOCKETS {
        for secret in [None, Some(&b"key"[..])] {
            let (pid, address) = next(&rx);
            interrupt(pid, &words);
            let client = connect(&address, secret).unwrap();
            assert_eq!(next_of::<String>(&client), "welcome");
            is_over(&client);
        }
    }
    value(&child);
    let greet = |counter: Handle<OwnedFd>, address: procession::Address, tx: Sender<u32>| {
        be_interrupted(counter);
        tx.send(std::process::id()).unwrap();
        let client = Client::builder(&address).authkey(&key(b"key")).connect().unwrap();
        assert_eq!(next_of::<String>(&client), "welcome");
    };
    let listener = Listener::builder().authkey(&key(b"key")).bind().unwrap();
    let ((words, copy), (tx, rx)) = (counter(), pipe().unwrap());
    let child = Process::spawn(greet, (copy, listener.address().clone(), tx)).unwrap();
    interrupt(next(&rx), &words);
    listener.accept_timeout(SOON).unwrap().send("welcome").unwrap();
    value(&child);
}

/// In microseconds.
const EVERY: libc::suseconds_t = 100;

fn set_timer(every: libc::suseconds_t) {
    let every = libc::timeval { tv_sec: 0, tv_usec: every };
    let timer = libc::itimerval { it_interval: every, it_value: every };
    // SAFETY: The pointer is to a local; the old value is not asked for.
    let set = unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut()) };
    assert_eq!(set, 0);
}

/// Does that while this process is interrupted ten thousand times a second, wherever it is.
fn storm(work: impl FnOnce()) {
    interrupt_calls_by(libc::SIGALRM, SharedWords::create(1).unwrap());
    let before = caught();
    set_timer(EVERY);
    work();
    set_timer(0);
    assert!(caught() > before, "nothing came");
}

const SIZES: [usize; 14] =
    [0, 1, 7, 8, 100, 4095, 4096, 20_000, 65_536, 65_537, 262_144, 300_000, 1_000_003, 5 << 20];

fn echo_in_a_storm() {
    let work = |peer: Peer| {
        let connection = peer.meet();
        storm(|| {
            for _ in SIZES {
                assert!(connection.poll(SOON).unwrap());
                let bytes = connection.recv_bytes().unwrap();
                connection.send_bytes(&bytes).unwrap();
                let bytes: Vec<u8> = connection.recv().unwrap();
                connection.send(bytes).unwrap();
            }
        });
        assert!(caught() > 50, "{} signals came", caught());
    };
    let check = |connection: Connection| {
        for size in SIZES {
            let (sent, mut room) = (pattern(size), vec![0; size]);
            connection.send_bytes(&sent).unwrap();
            assert!(connection.poll(SOON).unwrap());
            assert_eq!(connection.recv_bytes_into_timeout(&mut room, SOON).unwrap(), size);
            are(&room, &sent);
            connection.send(&sent).unwrap();
            assert_eq!(wait(&[&connection], SOON).unwrap(), [0]);
            are(&next_of::<Vec<u8>>(&connection), &sent);
        }
        is_over(&connection);
    };
    let start = |peer| Process::spawn(work, (peer,)).unwrap();
    by_each_way(start, |_, connection| storm(|| check(connection)));
}

fn handshakes_in_a_storm() {
    const TIMES: u32 = 20;
    let work = |addresses: Receiver<procession::Address>| {
        storm(|| {
            for address in &addresses {
                let address = address.unwrap();
                for number in 0..TIMES {
                    let client = connect(&address, Some(b"key")).unwrap();
                    client.send(number).unwrap();
                    assert_eq!(next_of::<u32>(&client), number);
                }
            }
        });
    };
    let (tell, addresses) = pipe().unwrap();
    let child = Process::spawn(work, (addresses,)).unwrap();
    storm(|| {
        let folder = Folder::new();
        for way in SOCKETS {
            let builder = Listener::builder().address(way.address(&folder)).authkey(&key(b"key"));
            let listener = builder.bind().unwrap();
            tell.send(listener.address().clone()).unwrap();
            for number in 0..TIMES {
                let server = listener.accept_timeout(SOON).unwrap();
                assert_eq!(next_of::<u32>(&server), number);
                server.send(number).unwrap();
            }
        }
        drop(tell);
        value(&child);
    });
}

type Loaded = (Vec<u8>, Vec<Handle<UnixStream>>);

fn handles_in_a_storm() {
    let work = |peer: Peer| {
        let connection = peer.meet();
        storm(|| {
            for count in 0..100 {
                let (bytes, handles): Loaded = next_of(&connection);
                assert!(handles.iter().map(mark_of).eq(0..count % 30));
                let marks = (0..count % 30).rev().map(marked).collect();
                connection.send::<Loaded>((bytes, marks)).unwrap();
            }
        });
    };
    let check = |connection: Connection| {
        for count in 0..100 {
            let bytes = pattern(count as usize * 1000);
            let marks = (0..count % 30).map(marked).collect();
            connection.send::<Loaded>((bytes.clone(), marks)).unwrap();
            let (back, handles): Loaded = next_of(&connection);
            assert!(back == bytes);
            assert!(handles.iter().map(mark_of).eq((0..count % 30).rev()));
        }
        is_over(&connection);
    };
    for way in LOCAL {
        let start = |peer| Process::spawn(work, (peer,)).unwrap();
        way.with(start, |connection| storm(|| check(connection)));
    }
}

fn processes_in_a_storm() {
    let work = |rx: Receiver<u32>, tx: Sender<u32>| {
        storm(|| rx.iter().for_each(|number| tx.send(number.unwrap() + 1).unwrap()));
    };
    storm(|| {
        for number in 0..10 {
            let ((to, theirs), (tx, rx)) = (pipe().unwrap(), pipe().unwrap());
            let child = Process::spawn(work, (theirs, tx)).unwrap();
            to.send(number).unwrap();
            assert_eq!(wait(&[&rx], SOON).unwrap(), [0]);
            assert_eq!(next(&rx), number + 1);
            // Long enough for it to be interrupted.
            assert!(wait(&[&rx, &child], crate::stage::SHORT / 10).unwrap().is_empty());
            drop(to);
            value(&child);
        }
    });
}
