//! What is particular to pipes in shared memory: streams of bytes, timeouts in the middle, descriptors to poll, moved ends.

use std::fs::File;
use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use procession_connection::{
    Connection, Duplex, RecvIntoError, RecvTimeoutError, SendTimeoutError, Sender, TryRecvError,
    TrySendError, duplex, pipe, wait,
};
use procession_core::{Deadline, ErrorKind, Handle, Message};
use procession_sys::poll;

use crate::pipe::SOON;

const NOW: Duration = Duration::ZERO;
const SHORT: Duration = Duration::from_millis(2);

fn is_readable(fd: &impl AsFd) -> bool {
    poll::wait_readable(fd, Deadline::after(NOW)).unwrap()
}

/// Bytes that tell where they belong.
fn pattern(len: usize) -> Vec<u8> {
    (0..=250u8).cycle().step_by(7).take(len).collect()
}

#[test]
fn bytes_of_every_length_arrive_as_one_message() {
    let (left, right) = Connection::pair().unwrap();
    thread::scope(|scope| {
        let lengths = [0, 1, 7, 8, 9, 127, 128, 129, 4096, 65_536, 65_537, 300_000, 5 << 20];
        let echo = scope.spawn(move || {
            while let Ok(bytes) = right.recv_bytes() {
                right.send_bytes(&bytes).unwrap();
            }
        });
        let mut buffer = vec![0; 5 << 20];
        for len in lengths {
            let sent = pattern(len);
            left.send_bytes(&sent).unwrap();
            assert!(left.recv_bytes_timeout(SOON).unwrap() == sent, "{len} bytes");
            left.send_bytes(&sent).unwrap();
            assert_eq!(left.recv_bytes_into_timeout(&mut buffer, SOON).unwrap(), len);
            assert!(buffer[..len] == sent, "{len} bytes in place");
        }
        drop(left);
        echo.join().unwrap();
    });
}

#[test]
fn a_short_buffer_gives_the_message_back_and_the_connection_goes_on() {
    let (left, right) = Connection::pair().unwrap();
    for len in [10, 1000, 100_000] {
        let sent = pattern(len);
        left.send_bytes(&sent).unwrap();
        left.send_bytes(b"next").unwrap();
        let mut buffer = [0; 9];
        match right.recv_bytes_into(&mut buffer) {
            Err(RecvIntoError::TooShort(message)) => assert!(message == sent),
            other => panic!("{other:?}"),
        }
        assert_eq!(right.recv_bytes_into(&mut buffer).unwrap(), 4);
        assert_eq!(&buffer[..4], b"next");
    }
}

#[test]
fn a_message_beyond_the_maximum_is_the_last() {
    let (left, right) = Connection::pair().unwrap();
    left.send_bytes(b"12345").unwrap();
    assert_eq!(right.recv_bytes_max(5).unwrap(), b"12345");
    left.send_bytes(b"123456").unwrap();
    assert_eq!(right.recv_bytes_max(5).unwrap_err().kind(), ErrorKind::TooLarge);
    assert_eq!(right.recv_bytes().unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(left.send_bytes(b"x").unwrap_err().kind(), ErrorKind::Closed);
    // The other way is open.
    right.send_bytes(b"back").unwrap();
    assert_eq!(left.recv_bytes().unwrap(), b"back");
}

#[test]
fn one_way_ends_refuse_the_other_way() {
    let (rx, tx) = Connection::one_way().unwrap();
    assert!(rx.is_readable() && !rx.is_writable() && tx.is_writable() && !tx.is_readable());
    assert_eq!(rx.send_bytes(b"x").unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(tx.recv_bytes().unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(tx.poll(NOW).unwrap_err().kind(), ErrorKind::Unsupported);
    tx.send(7u8).unwrap();
    assert!(rx.poll(NOW).unwrap());
    assert_eq!(rx.recv::<u8>().unwrap(), 7);
}

#[test]
fn a_timeout_in_the_middle_of_receiving_loses_nothing() {
    let (left, right) = Connection::pair().unwrap();
    let sent = pattern(3 << 20);
    thread::scope(|scope| {
        scope.spawn(|| left.send_bytes(&sent).unwrap());
        let mut buffer = vec![0; sent.len()];
        // Into the slice or not, in turn, and most of them in the middle.
        let mut timeouts = 0;
        loop {
            let moment = Deadline::after(Duration::from_micros(20));
            let done = match timeouts % 3 {
                0 => right.recv_bytes_deadline(moment).map(|bytes| buffer.copy_from_slice(&bytes)),
                _ => {
                    right.recv_bytes_into_deadline(&mut buffer, moment).map(drop).map_err(|error| {
                        match error {
                            RecvIntoError::Timeout => RecvTimeoutError::Timeout,
                            other => panic!("{other}"),
                        }
                    })
                }
            };
            match done {
                Ok(()) => break,
                Err(RecvTimeoutError::Timeout) => timeouts += 1,
                Err(other) => panic!("{other}"),
            }
        }
        assert!(buffer == sent);
    });
}

#[test]
fn a_send_that_gives_up_takes_back_what_was_seen_of_it() {
    let (tx, rx) = pipe::<Vec<u8>>().unwrap();
    for round in 0..3u8 {
        // Longer than the pipe, so that a part of it is in the way; then in full.
        match tx.send_timeout(vec![round; 1 << 20], SHORT) {
            Err(SendTimeoutError::Timeout(message)) => assert_eq!(message.len(), 1 << 20),
            other => panic!("{other:?}"),
        }
        assert!(!rx.poll(NOW).unwrap(), "a part is no message");
        tx.send(vec![round; 10]).unwrap();
        assert_eq!(rx.recv_timeout(SOON).unwrap(), [round; 10]);
        thread::scope(|scope| {
            scope.spawn(|| tx.send(vec![round; 1 << 20]).unwrap());
            assert_eq!(rx.recv_timeout(SOON).unwrap(), vec![round; 1 << 20]);
        });
    }
    assert_eq!(tx.unread(), 0);
}

#[test]
fn handles_of_a_message_that_was_taken_back_are_not_those_of_the_next() {
    type Loaded = (Vec<u8>, Handle<File>);
    let (tx, rx) = pipe::<Loaded>().unwrap();
    let open = |path| Handle(File::open(path).unwrap());
    assert!(tx.send_timeout((vec![1; 1 << 20], open("/dev/null")), SHORT).is_err());
    tx.send((vec![2], open("/dev/zero"))).unwrap();
    let (_, file) = rx.recv_timeout(SOON).unwrap();
    let mut byte = [9];
    assert_eq!(std::io::Read::read(&mut &file.0, &mut byte).unwrap(), 1, "it is /dev/zero");
}

#[test]
fn a_full_pipe_says_so_and_has_room_again() {
    let (tx, rx) = pipe::<Vec<u8>>().unwrap();
    let mut sent = 0;
    loop {
        match tx.try_send(vec![1; 1000]) {
            Ok(()) => sent += 1,
            Err(TrySendError::Full(message)) => break assert_eq!(message.len(), 1000),
            Err(other) => panic!("{other}"),
        }
    }
    assert!(sent > 200, "{sent}");
    assert_eq!(tx.unread(), sent);
    let start = Instant::now();
    assert!(matches!(tx.send_timeout(vec![1; 1000], SHORT), Err(SendTimeoutError::Timeout(_))));
    assert!(start.elapsed() >= SHORT);
    assert_eq!(rx.iter().take(usize::try_from(sent).unwrap()).count() as u64, sent);
    assert_eq!(tx.unread(), 0);
    tx.try_send(vec![2]).unwrap();
    assert_eq!(rx.recv().unwrap(), [2]);
}

#[test]
fn the_descriptor_tells_the_truth_at_every_moment() {
    let (tx, rx) = pipe::<Vec<u8>>().unwrap();
    tx.send(vec![1]).unwrap();
    assert!(is_readable(&rx), "from the first call on");
    rx.recv().unwrap();
    assert!(!is_readable(&rx));
    for number in 0..3 {
        tx.send(vec![number]).unwrap();
    }
    for number in 0..3 {
        assert!(is_readable(&rx));
        assert_eq!(rx.recv().unwrap(), [number]);
    }
    assert!(!is_readable(&rx));
    assert!(matches!(rx.try_recv(), Err(TryRecvError::Empty)));
    assert!(!is_readable(&rx));
    // One that streams.
    thread::scope(|scope| {
        scope.spawn(|| tx.send(vec![7; 1 << 20]).unwrap());
        assert!(poll::wait_readable(&rx, Deadline::after(SOON)).unwrap());
        assert_eq!(rx.recv_timeout(SOON).unwrap().len(), 1 << 20);
    });
    assert!(!is_readable(&rx));
    drop(tx);
    assert!(poll::wait_readable(&rx, Deadline::after(SOON)).unwrap());
    assert!(matches!(rx.try_recv(), Err(TryRecvError::Closed)));
    assert!(is_readable(&rx), "the end stays");
}

#[test]
fn receiving_what_the_descriptor_tells_misses_nothing() {
    const MESSAGES: usize = 3000;
    let (tx, rx) = pipe::<(usize, Vec<u8>)>().unwrap();
    thread::scope(|scope| {
        scope.spawn(move || {
            for number in 0..MESSAGES {
                let len = [0, 100, 5_000, 90_000][number % 97 % 4];
                tx.send((number, vec![1; len])).unwrap();
                if number % 5 == 0 {
                    thread::yield_now();
                }
            }
        });
        for expected in 0..MESSAGES {
            // One message for each wait: what is left must show.
            assert!(poll::wait_readable(&rx, Deadline::after(SOON)).unwrap());
            match rx.try_recv() {
                Ok((number, _)) => assert_eq!(number, expected),
                Err(TryRecvError::Empty) => {
                    // A part of one that streams: the descriptor tells of more than messages.
                    assert_eq!(rx.recv_timeout(SOON).unwrap().0, expected);
                }
                Err(other) => panic!("{other}"),
            }
        }
        assert!(poll::wait_readable(&rx, Deadline::after(SOON)).unwrap());
        assert!(matches!(rx.try_recv(), Err(TryRecvError::Closed)));
    });
}

#[test]
fn one_of_many_is_found_and_the_end_is_something() {
    let pipes: Vec<_> = (0..20).map(|_| pipe::<u32>().unwrap()).collect();
    let objects: Vec<&dyn procession_connection::Waitable> =
        pipes.iter().map(|(_, rx)| rx as _).collect();
    assert!(wait(&objects, NOW).unwrap().is_empty());
    pipes[7].0.send(7).unwrap();
    pipes[9].0.send(9).unwrap();
    pipes[13].0.close();
    assert_eq!(wait(&objects, SOON).unwrap(), [7, 9, 13]);
    assert_eq!(pipes[7].1.recv().unwrap(), 7);
    assert_eq!(wait(&[objects[7], objects[9], objects[9]], SOON).unwrap(), [1, 2]);
    thread::scope(|scope| {
        scope.spawn(|| pipes[3].0.send(3).unwrap());
        assert_eq!(wait(&objects[..5], SOON).unwrap(), [3]);
    });
    let start = Instant::now();
    assert!(wait(&[], SHORT).unwrap().is_empty());
    assert!(start.elapsed() >= SHORT);
}

#[test]
fn an_end_that_came_back_from_a_message_is_the_end() {
    let (tx, rx) = pipe::<u8>().unwrap();
    // Encoded, and the message was destroyed.
    drop(Message::encode(&(&tx, &rx)).unwrap());
    tx.send(1).unwrap();
    assert_eq!(rx.recv_timeout(SOON).unwrap(), 1);
    // Encoded, and used before the message was read.
    let message = Message::encode(&tx).unwrap();
    tx.send(2).unwrap();
    assert_eq!(message.decode::<Sender<u8>>().unwrap_err().kind(), ErrorKind::Decode);
    assert_eq!(rx.recv_timeout(SOON).unwrap(), 2);
}

#[test]
fn an_end_whose_message_was_destroyed_is_closed_once_it_is_dropped() {
    let (tx, rx) = pipe::<u8>().unwrap();
    let message = Message::encode(&tx).unwrap();
    drop(tx);
    assert!(matches!(rx.recv_timeout(SHORT), Err(RecvTimeoutError::Timeout)), "it is under way");
    drop(message);
    assert!(matches!(rx.recv_timeout(SOON), Err(RecvTimeoutError::Closed)));
}

#[test]
fn a_connection_is_a_typed_end_and_back() {
    let (left, right) = Connection::pair().unwrap();
    let left: Duplex<u32, String> = left.into_duplex().unwrap();
    left.send(7).unwrap();
    assert_eq!(right.recv::<u32>().unwrap(), 7);
    right.send("answer").unwrap();
    assert_eq!(left.recv().unwrap(), "answer");
    let (tx, rx) = left.split().unwrap();
    tx.send(8).unwrap();
    assert_eq!(Connection::from(tx).unread(), Some(1));
    assert_eq!(right.recv::<u32>().unwrap(), 8);
    drop(right);
    assert_eq!(Connection::from(rx).recv_bytes().unwrap_err().kind(), ErrorKind::Closed);
    assert!(Connection::one_way().unwrap().0.into_duplex::<u8, u8>().is_err());
}

#[test]
fn closing_is_seen_here_and_there_and_once_is_enough() {
    let (left, right) = duplex::<u8, u8>().unwrap();
    left.send(1).unwrap();
    left.close();
    left.close();
    assert_eq!(left.send(2).unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(left.recv().unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(right.recv().unwrap(), 1);
    assert_eq!(right.recv().unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(right.send(3).unwrap_err().kind(), ErrorKind::Closed);
}

#[test]
fn a_sleeper_is_woken_by_whatever_it_waits_for() {
    for _ in 0..20 {
        let (tx, rx) = pipe::<Vec<u8>>().unwrap();
        thread::scope(|scope| {
            let receiver =
                scope.spawn(|| (0..3).map(|_| rx.recv_timeout(SOON).unwrap().len()).sum::<usize>());
            // Long enough that it sleeps on the word, and then on the socket.
            for pause in [0, 5, 30] {
                assert!(!wait_a_little(pause));
                tx.send(vec![1; 10]).unwrap();
            }
            assert_eq!(receiver.join().unwrap(), 30);
        });
    }
}

/// Waits for something that does not happen.
fn wait_a_little(millis: u64) -> bool {
    let (_tx, rx) = pipe::<u8>().unwrap();
    rx.poll(Duration::from_millis(millis)).unwrap()
}

#[test]
fn closing_tells_the_threads_that_wait() {
    for pause in [0, 5, 40] {
        let (tx, rx) = pipe::<Vec<u8>>().unwrap();
        thread::scope(|scope| {
            let receives = scope.spawn(|| rx.recv());
            assert!(!wait_a_little(pause));
            rx.close();
            assert_eq!(receives.join().unwrap().unwrap_err().kind(), ErrorKind::Closed);
        });
        assert_eq!(tx.send(vec![1]).unwrap_err().kind(), ErrorKind::Closed);
        let (tx, rx) = pipe::<Vec<u8>>().unwrap();
        thread::scope(|scope| {
            let sends = scope.spawn(|| while tx.send(vec![1; 10_000]).is_ok() {});
            assert!(!wait_a_little(pause + 1));
            tx.close();
            sends.join().unwrap();
        });
        assert!(rx.iter().all(|message| message.unwrap() == [1; 10_000]));
    }
}

#[test]
fn a_descriptor_is_made_while_a_thread_receives() {
    for pause in [0, 5, 40] {
        let (tx, rx) = pipe::<u8>().unwrap();
        thread::scope(|scope| {
            let receives = scope.spawn(|| rx.recv_timeout(SOON).unwrap());
            assert!(!wait_a_little(pause));
            assert!(wait(&[&rx], SHORT).unwrap().is_empty());
            tx.send(1).unwrap();
            assert_eq!(receives.join().unwrap(), 1);
            tx.send(2).unwrap();
            assert_eq!(wait(&[&rx], SOON).unwrap(), [0]);
            assert_eq!(rx.recv().unwrap(), 2);
        });
    }
}

#[test]
fn a_message_that_a_look_has_taken_ahead_comes_into_the_buffer() {
    let (left, right) = Connection::pair().unwrap();
    for len in [65_537, 300_000] {
        let sent = pattern(len);
        thread::scope(|scope| {
            scope.spawn(|| left.send_bytes(&sent).unwrap());
            assert!(right.poll(SOON).unwrap());
            assert_eq!(left.unread(), Some(1), "nobody has received it");
            let mut buffer = vec![0; len];
            assert_eq!(right.recv_bytes_into_timeout(&mut buffer, SOON).unwrap(), len);
            assert!(buffer == sent);
        });
        assert_eq!(left.unread(), Some(0));
    }
}

#[test]
fn what_could_not_be_sent_does_not_count_as_unread() {
    let (tx, rx) = pipe::<u8>().unwrap();
    tx.send(1).unwrap();
    tx.send(2).unwrap();
    assert_eq!(rx.recv().unwrap(), 1);
    drop(rx);
    assert_eq!(tx.send(3).unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(tx.unread(), 1);
}
