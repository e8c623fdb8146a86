//! What threads leave each other at one socket.

use std::os::fd::AsFd;
use std::thread;
use std::time::Duration;

use super::*;

const NOW: Duration = Duration::ZERO;

fn now() -> Deadline {
    Deadline::after(NOW)
}

fn is_readable(end: &Endpoint) -> bool {
    poll::wait_readable(end.as_fd(), now()).unwrap()
}

fn take(end: &Endpoint) -> Option<Vec<u8>> {
    match end.recv(now()).unwrap() {
        Next::Message(message) => Some(message),
        Next::Nothing => None,
        Next::Closed => panic!("closed"),
    }
}

/// As if a thread slept at the socket, which it does without the lock.
fn somebody_sleeps(end: &Endpoint) {
    lock(&end.reader).polled = true;
}

#[test]
fn what_a_sleeping_thread_waits_for_stays_in_the_socket() {
    for len in [0, 1, 10_000] {
        let (tx, rx) = Endpoint::pair().unwrap();
        tx.send(&vec![1u8; len]).unwrap();
        tx.send(&vec![2u8; len]).unwrap();
        somebody_sleeps(&rx);
        assert_eq!(take(&rx), Some(vec![1; len]));
        assert!(lock(&rx.reader).ahead().is_empty());
        assert!(is_readable(&rx), "the second message is what the thread is woken for");
        assert_eq!(take(&rx), Some(vec![2; len]));
        assert!(!is_readable(&rx));
        assert_eq!(take(&rx), None);
    }
}

#[test]
fn a_look_does_not_hide_a_message_from_a_sleeping_thread() {
    for len in [0, 1, 10_000] {
        let (tx, rx) = Endpoint::pair().unwrap();
        somebody_sleeps(&rx);
        assert!(!rx.poll(now()).unwrap());
        tx.send(&vec![1u8; len]).unwrap();
        for _ in 0..3 {
            assert!(rx.poll(now()).unwrap());
            assert!(is_readable(&rx));
        }
        assert_eq!(take(&rx), Some(vec![1; len]));
        assert!(!rx.poll(now()).unwrap());
    }
}

#[test]
fn a_look_at_nonsense_and_at_the_end_wakes_a_sleeping_thread() {
    let (raw, rx) = Endpoint::pair().unwrap();
    socket::send(&raw.socket, &[&[0; 4]], &[], Block::Yes).unwrap();
    somebody_sleeps(&rx);
    assert!(rx.poll(now()).unwrap());
    assert!(is_readable(&rx));
    assert!(rx.recv::<u8>(now()).is_err());
    assert!(matches!(rx.recv::<u8>(now()), Ok(Next::Closed)));

    let (raw, rx) = Endpoint::pair().unwrap();
    socket::send(&raw.socket, &[&[0, 0, 0, 2, 0]], &[], Block::Yes).unwrap();
    drop(raw);
    somebody_sleeps(&rx);
    assert!(rx.poll(now()).unwrap());
    assert!(is_readable(&rx));
    assert!(rx.recv::<u8>(now()).is_err());
    assert!(matches!(rx.recv::<u8>(now()), Ok(Next::Closed)));
    assert!(is_readable(&rx));
}

#[test]
fn a_thread_that_waits_for_its_turn_gets_it_when_the_other_leaves() {
    let (_tx, rx) = Endpoint::pair().unwrap();
    somebody_sleeps(&rx);
    thread::scope(|scope| {
        let second = scope.spawn(|| rx.poll(Deadline::after(Duration::from_secs(20))).unwrap());
        while lock(&rx.reader).waiting == 0 {
            thread::yield_now();
        }
        // The thread at the socket leaves with a frame, and left another one here.
        let mut reader = lock(&rx.reader);
        *reader = Reader::with(vec![0, 0, 0, 2, 0, 7], [].into(), false);
        reader.waiting = 1;
        drop(reader);
        assert!(rx.poll(now()).unwrap(), "a thread that leaves wakes the next one");
        assert!(second.join().unwrap());
    });
    assert_eq!(lock(&rx.reader).waiting, 0);
}

#[test]
fn a_turn_that_does_not_come_ends_with_the_deadline() {
    let (tx, rx) = Endpoint::pair().unwrap();
    somebody_sleeps(&rx);
    let short = Duration::from_millis(5);
    let start = std::time::Instant::now();
    assert!(matches!(rx.recv::<u8>(Deadline::after(short)), Ok(Next::Nothing)));
    assert!(start.elapsed() >= short);
    tx.send(&7u8).unwrap();
    assert!(matches!(rx.recv::<u8>(now()), Ok(Next::Message(7))));
}

#[test]
fn buffers_are_kept_and_hold_what_follows() {
    let (tx, rx) = Endpoint::pair().unwrap();
    // Half of the next frame behind a large one, which takes the buffer along.
    let large = vec![1u8; 100_000];
    tx.send(&large).unwrap();
    tx.send(&vec![2u8; 9]).unwrap();
    assert_eq!(take(&rx), Some(large.clone()));
    let len = lock(&rx.reader).buffer_len();
    assert!(len > large.len(), "{len} bytes are kept");
    assert_eq!(take(&rx), Some(vec![2; 9]));
    assert_eq!(take(&rx), None);
    assert_eq!(lock(&rx.reader).buffer_len(), len);
    // A large one that does not lie at the front of the buffer.
    tx.send(&vec![3u8; 9]).unwrap();
    let large = vec![4u8; 70_000];
    tx.send(&large).unwrap();
    assert_eq!(take(&rx), Some(vec![3; 9]));
    assert!(lock(&rx.reader).ahead().len() > large.len());
    assert_eq!(take(&rx), Some(large));
    assert_eq!(lock(&rx.reader).buffer_len(), len);
}
