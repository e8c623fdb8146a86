//! Streams that go wrong: both ends learn it.

use std::error::Error as _;
use std::thread;
use std::time::Duration;

use procession_connection::{RecvTimeoutError, TryRecvError, pipe};
use procession_core::{Deadline, Error, ErrorKind};
use procession_sys::poll;

use crate::pipe::SOON;

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
