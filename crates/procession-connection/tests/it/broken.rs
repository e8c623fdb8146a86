//! Streams that go wrong: both ends learn it.

use std::error::Error as _;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use procession_connection::{RecvTimeoutError, TryRecvError, pipe};
use procession_core::{Deadline, Error, ErrorKind};
use procession_sys::poll;

use crate::pipe::{SOON, receiver_of};

#[test]
fn nonsense_ends_the_wait_of_whoever_sends_it() {
    let (raw, end) = UnixStream::pair().unwrap();
    let rx = receiver_of::<Vec<u8>>(end.into());
    let (ends, ended) = mpsc::channel();
    let writer = thread::spawn(move || {
        // More than the socket holds.
        let result = (&raw).write_all(&vec![255; 4 << 20]);
        ends.send(result.is_err()).unwrap();
    });
    assert_eq!(rx.recv().unwrap_err().kind(), ErrorKind::TooLarge);
    assert!(ended.recv_timeout(SOON).unwrap(), "it is told that nobody reads on");
    writer.join().unwrap();
    // The receiver lives, and has nothing more to say.
    assert!(matches!(rx.try_recv(), Err(TryRecvError::Closed)));
}

#[test]
fn a_look_leaves_an_error_to_the_receiver() {
    let (raw, end) = UnixStream::pair().unwrap();
    let rx = receiver_of::<Vec<u8>>(end.into());
    (&raw).write_all(&[255; 12]).unwrap();
    assert!(rx.poll(SOON).unwrap());
    assert!(rx.poll(Duration::ZERO).unwrap());
    assert_eq!(rx.recv().unwrap_err().kind(), ErrorKind::TooLarge);
    assert_eq!(rx.recv().unwrap_err().kind(), ErrorKind::Closed);
}

#[test]
fn a_sender_that_fails_inside_a_message_tells_the_receiver() {
    let (tx, rx) = pipe::<Vec<u8>>().unwrap();
    tx.send(vec![1]).unwrap();
    // What makes a call fail half way: the system gives up after this time without room.
    let same = UnixStream::from(tx.as_fd().try_clone_to_owned().unwrap());
    same.set_write_timeout(Some(Duration::from_millis(20))).unwrap();
    let error = tx.send(vec![2; 4 << 20]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Os, "{error:?}");
    assert_eq!(tx.send(vec![3]).unwrap_err().kind(), ErrorKind::Closed);
    // The sender is still there.
    assert_eq!(rx.recv_timeout(SOON).unwrap(), [1]);
    match rx.recv_timeout(SOON) {
        Err(RecvTimeoutError::Failed(error)) => assert_eq!(error.kind(), ErrorKind::Torn),
        other => panic!("{other:?}"),
    }
    assert!(matches!(rx.recv_timeout(SOON), Err(RecvTimeoutError::Closed)));
    drop(tx);
}

#[test]
fn a_failure_is_the_source_of_what_reports_it() {
    let broken = || Error::new(ErrorKind::Torn, "half a message");
    let tried = TryRecvError::Failed(broken());
    assert_eq!(tried.source().unwrap().to_string(), "half a message");
    let waited = RecvTimeoutError::Failed(broken());
    let source = waited.source().unwrap().downcast_ref::<Error>().unwrap();
    assert_eq!(source.kind(), ErrorKind::Torn);
    assert!(waited.to_string().contains("half a message"), "{waited}");
    assert!(TryRecvError::Empty.source().is_none() && TryRecvError::Closed.source().is_none());
    assert!(RecvTimeoutError::Timeout.source().is_none());
    assert!(RecvTimeoutError::Closed.source().is_none());
    assert_eq!(Error::from(waited).kind(), ErrorKind::Torn);
}

#[test]
fn messages_that_were_read_ahead_show_in_poll() {
    let (tx, rx) = pipe::<u32>().unwrap();
    assert!(!rx.poll(Duration::ZERO).unwrap());
    for number in 0..3 {
        tx.send(number).unwrap();
    }
    for number in 0..3 {
        assert!(rx.poll(Duration::ZERO).unwrap());
        assert_eq!(rx.recv().unwrap(), number);
    }
    assert!(!rx.poll(Duration::ZERO).unwrap());
}

#[test]
fn receiving_until_empty_before_each_wait_for_the_descriptor_misses_nothing() {
    const MESSAGES: usize = 2000;
    let (tx, rx) = pipe::<Vec<usize>>().unwrap();
    thread::scope(|scope| {
        scope.spawn(move || {
            for number in 0..MESSAGES {
                let len = if number % 50 == 0 { 5_000 } else { 1 };
                tx.send(vec![number; len]).unwrap();
                if number % 3 == 0 {
                    thread::yield_now();
                }
            }
        });
        let mut expected = 0;
        'open: loop {
            loop {
                match rx.try_recv() {
                    Ok(message) => assert_eq!(message[0], expected),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Closed) => break 'open,
                    Err(TryRecvError::Failed(error)) => panic!("{error:?}"),
                }
                expected += 1;
            }
            assert!(poll::wait_readable(&rx, Deadline::after(SOON)).unwrap());
        }
        assert_eq!(expected, MESSAGES);
    });
}
