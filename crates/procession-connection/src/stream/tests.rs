//! Streams over a local pair of sockets and over TCP.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use procession_core::Message;
use procession_sys::fd::duplicate;

use super::reader::AHEAD;
use super::*;
use crate::transport::Body;

mod handles;
mod threads;

fn now() -> Deadline {
    Deadline::PAST
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(20))
}

fn local() -> (OwnedFd, OwnedFd) {
    let (one, other) = UnixStream::pair().unwrap();
    (one.into(), other.into())
}

fn tcp() -> (OwnedFd, OwnedFd) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (one.into(), listener.accept().unwrap().0.into())
}

fn both_kinds() -> [(OwnedFd, OwnedFd); 2] {
    [local(), tcp()]
}

fn streams((one, other): (OwnedFd, OwnedFd)) -> (Stream, Stream) {
    (Stream::new(one).unwrap(), Stream::new(other).unwrap())
}

fn outgoing(bytes: &[u8]) -> Outgoing<'_> {
    Outgoing { parts: [bytes, &[]], handles: &[], announced: 0 }
}

#[track_caller]
fn send(stream: &Stream, bytes: &[u8]) {
    assert_eq!(stream.send(&outgoing(bytes), soon()).unwrap(), Sent::Yes);
}

/// More bytes than the system keeps on their way: 36 MiB by TCP, since Linux 6.17.
const MORE_THAN_HELD: usize = 64 << 20;

const ANY: Room<'_> = Room::AtMost(u64::MAX);

/// The next message, if there is one, or the end.
#[track_caller]
fn take(stream: &Stream) -> Option<Vec<u8>> {
    recv(stream, now())
}

#[track_caller]
fn recv(stream: &Stream, deadline: Deadline) -> Option<Vec<u8>> {
    match stream.recv(ANY, deadline).unwrap() {
        Next::Message(message) => Some(message.body.into_vec()),
        Next::Nothing => None,
        Next::Closed => panic!("closed"),
    }
}

#[track_caller]
fn is_closed(stream: &Stream) -> bool {
    matches!(stream.recv(ANY, soon()).unwrap(), Next::Closed)
}

fn kind_of_failure(stream: &Stream) -> Option<ErrorKind> {
    stream.recv(ANY, soon()).err().map(|error| error.kind())
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

fn frame(bytes: &[u8]) -> Vec<u8> {
    let head = crate::frame::Head::new(bytes.len()).unwrap();
    [head.bytes(), bytes].concat()
}

const SIZES: [usize; 12] =
    [0, 1, 127, 128, 129, 4096, AHEAD - 5, AHEAD - 4, AHEAD - 3, AHEAD, 1 << 18, (3 << 20) + 7];

#[test]
fn messages_of_all_sizes_come_whole_and_in_order() {
    for pair in both_kinds() {
        let (tx, rx) = streams(pair);
        thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..3 {
                    SIZES.iter().for_each(|size| send(&tx, &pattern(*size)));
                }
            });
            for size in SIZES {
                assert_eq!(recv(&rx, soon()), Some(pattern(size)));
            }
            let mut slice = vec![0; 4 << 20];
            for size in SIZES {
                let Next::Message(message) = rx.recv(Room::Slice(&mut slice), soon()).unwrap()
                else {
                    panic!("no message")
                };
                assert!(matches!(message.body, Body::InPlace(len) if len == size));
                assert_eq!(slice[..size], pattern(size));
            }
            // A slice that is too short is not used.
            for size in SIZES {
                let room = &mut slice[..size.saturating_sub(1)];
                let Next::Message(message) = rx.recv(Room::Slice(room), Deadline::NEVER).unwrap()
                else {
                    panic!("no message")
                };
                match message.body {
                    Body::InPlace(0) => assert_eq!(size, 0),
                    body => assert_eq!(body.into_vec(), pattern(size)),
                }
            }
        });
        drop(tx);
        assert!(is_closed(&rx));
        assert!(is_closed(&rx), "the end stays");
    }
}

#[test]
fn parts_are_one_message() {
    let (tx, rx) = streams(local());
    let message = Outgoing { parts: [b"one", b" message"], handles: &[], announced: 0 };
    assert_eq!(tx.send(&message, Deadline::NEVER).unwrap(), Sent::Yes);
    assert_eq!(take(&rx), Some(b"one message".to_vec()));
}

#[test]
fn a_receive_that_ends_in_the_middle_loses_nothing() {
    for (raw, rx) in both_kinds() {
        let (mut raw, rx) = (std::fs::File::from(raw), Stream::new(rx).unwrap());
        let mut slice = vec![0; AHEAD * 4];
        for size in [0, 1, 9, AHEAD - 4, AHEAD + 1, AHEAD * 3] {
            let bytes = frame(&pattern(size));
            let steps: Vec<&[u8]> = match size {
                0..=9 => bytes.chunks(1).collect(),
                _ => bytes.chunks(AHEAD / 3 + 1).collect(),
            };
            let (last, before) = steps.split_last().unwrap();
            for (number, step) in before.iter().enumerate() {
                raw.write_all(step).unwrap();
                // Each way of looking takes a part.
                let deadline = Deadline::after(Duration::from_micros(500));
                match number % 3 {
                    0 => assert!(matches!(rx.recv(ANY, deadline).unwrap(), Next::Nothing)),
                    1 => assert!(!rx.poll(deadline).unwrap()),
                    _ => {
                        let room = Room::Slice(&mut slice);
                        assert!(matches!(rx.recv(room, deadline).unwrap(), Next::Nothing));
                        slice.fill(0xEE);
                    }
                }
            }
            raw.write_all(last).unwrap();
            assert!(rx.poll(soon()).unwrap());
            assert!(rx.poll(now()).unwrap(), "looking takes nothing");
            if size % 2 == 0 {
                let Next::Message(message) = rx.recv(Room::Slice(&mut slice), now()).unwrap()
                else {
                    panic!("no message")
                };
                assert!(matches!(message.body, Body::InPlace(len) if len == size));
                assert_eq!(slice[..size], pattern(size));
            } else {
                assert_eq!(take(&rx), Some(pattern(size)));
            }
            assert_eq!(take(&rx), None);
        }
    }
}

#[test]
fn a_send_that_ends_in_the_middle_goes_on_before_the_next() {
    for pair in both_kinds() {
        let (tx, rx) = streams(pair);
        let long = pattern(MORE_THAN_HELD);
        assert_eq!(tx.send(&outgoing(&long), now()).unwrap(), Sent::Begun);
        assert_eq!(tx.send(&outgoing(b"not yet"), now()).unwrap(), Sent::No);
        assert!(!tx.flush(now()).unwrap());
        thread::scope(|scope| {
            scope.spawn(|| send(&tx, b"behind"));
            assert_eq!(recv(&rx, soon()), Some(long.clone()));
            assert_eq!(recv(&rx, soon()), Some(b"behind".to_vec()));
        });
        assert!(tx.flush(now()).unwrap());
    }
}

#[test]
fn a_send_without_room_sends_nothing() {
    let (tx, rx) = streams(local());
    let mut gone = 0u32;
    // Short ones go whole or not at all.
    while tx.send(&outgoing(&gone.to_le_bytes()), now()).unwrap() == Sent::Yes {
        gone += 1;
    }
    let start = Instant::now();
    let deadline = Deadline::after(Duration::from_millis(3));
    assert_eq!(tx.send(&outgoing(b"none"), deadline).unwrap(), Sent::No);
    assert!(start.elapsed() >= Duration::from_millis(3));
    for number in 0..gone {
        assert_eq!(take(&rx), Some(number.to_le_bytes().to_vec()));
    }
    assert_eq!(take(&rx), None);
}

#[test]
fn an_end_between_messages_is_the_end_and_one_inside_is_told() {
    for cut in [1, 3, 4, 5, 8] {
        for (raw, rx) in both_kinds() {
            let (mut raw, rx) = (std::fs::File::from(raw), Stream::new(rx).unwrap());
            raw.write_all(&frame(b"whole")).unwrap();
            raw.write_all(&frame(b"never")[..cut]).unwrap();
            drop(raw);
            assert_eq!(recv(&rx, soon()), Some(b"whole".to_vec()));
            assert!(rx.poll(soon()).unwrap());
            assert_eq!(kind_of_failure(&rx), Some(ErrorKind::Torn));
            assert!(is_closed(&rx));
        }
    }
    // Of a long one, into memory and into a slice.
    for into_slice in [false, true] {
        let (raw, rx) = local();
        let (mut raw, rx) = (std::fs::File::from(raw), Stream::new(rx).unwrap());
        raw.write_all(&frame(&pattern(AHEAD * 2))[..AHEAD + 50]).unwrap();
        drop(raw);
        let mut slice = vec![0; AHEAD * 2];
        let room = if into_slice { Room::Slice(&mut slice) } else { ANY };
        assert_eq!(rx.recv(room, soon()).err().unwrap().kind(), ErrorKind::Torn);
        assert!(is_closed(&rx));
    }
}

#[test]
fn nonsense_is_an_error_and_closes_the_connection() {
    let huge = [&[255u8; 4][..], &u64::MAX.to_be_bytes()].concat();
    let cases = [(vec![255, 255, 255, 254], ErrorKind::Decode), (huge, ErrorKind::TooLarge)];
    for (bytes, kind) in cases {
        let (raw, rx) = local();
        let (mut raw, rx) = (std::fs::File::from(raw), Stream::new(rx).unwrap());
        raw.write_all(&bytes).unwrap();
        assert!(rx.poll(soon()).unwrap());
        assert_eq!(kind_of_failure(&rx), Some(kind));
        assert!(is_closed(&rx));
        assert!(raw.write_all(b"more").is_err(), "the other end learns it");
    }
}

#[test]
fn a_message_longer_than_allowed_is_an_error_and_the_last() {
    for (size, most) in [(6, 5), (AHEAD * 2, 5), (1, 0)] {
        let (tx, rx) = streams(local());
        send(&tx, &pattern(size));
        let failed = rx.recv(Room::AtMost(most), soon()).err().unwrap();
        assert_eq!(failed.kind(), ErrorKind::TooLarge);
        assert!(is_closed(&rx));
        assert_eq!(tx.send(&outgoing(b"more"), soon()).unwrap_err().kind(), ErrorKind::Closed);
    }
    let (tx, rx) = streams(local());
    send(&tx, b"exact");
    assert!(matches!(rx.recv(Room::AtMost(5), soon()).unwrap(), Next::Message(_)));
}

#[test]
fn an_announced_length_takes_no_memory() {
    let (raw, rx) = local();
    let (mut raw, rx) = (std::fs::File::from(raw), Stream::new(rx).unwrap());
    let head = crate::frame::Head::new(1 << 30).unwrap();
    raw.write_all(head.bytes()).unwrap();
    raw.write_all(&[0; 100]).unwrap();
    assert!(!rx.poll(Deadline::after(Duration::from_millis(2))).unwrap());
    let reader = rx.reader.try_take().unwrap();
    assert!(reader.partial().unwrap().bytes.capacity() <= 2 << 20);
}

#[test]
fn a_close_is_seen_at_both_ends() {
    for pair in both_kinds() {
        let (tx, rx) = streams(pair);
        send(&tx, b"before");
        tx.close();
        tx.close();
        assert_eq!(tx.send(&outgoing(b"x"), soon()).unwrap_err().kind(), ErrorKind::Closed);
        assert_eq!(kind_of_failure(&tx), Some(ErrorKind::Closed));
        assert_eq!(tx.poll(now()).unwrap_err().kind(), ErrorKind::Closed);
        assert_eq!(recv(&rx, soon()), Some(b"before".to_vec()));
        assert!(is_closed(&rx));
    }
}

#[test]
fn the_descriptor_tells_the_truth() {
    for pair in both_kinds() {
        let (tx, rx) = streams(pair);
        let is_readable = || poll::wait_readable(rx.as_fd().unwrap(), now()).unwrap();
        let becomes_readable = || poll::wait_readable(rx.as_fd().unwrap(), soon()).unwrap();
        // Asked for when some lie in the stream already.
        (0..3).for_each(|number| send(&tx, &[number]));
        assert_eq!(recv(&rx, soon()), Some(vec![0]));
        assert!(is_readable());
        assert_eq!(take(&rx), Some(vec![1]));
        assert!(is_readable());
        assert_eq!(take(&rx), Some(vec![2]));
        assert!(!is_readable());
        for size in [0, 1, AHEAD * 2] {
            send(&tx, &pattern(size));
            send(&tx, &pattern(size));
            assert!(becomes_readable());
            assert!(rx.poll(soon()).unwrap());
            assert!(is_readable());
            assert_eq!(recv(&rx, soon()), Some(pattern(size)));
            assert!(becomes_readable());
            assert_eq!(recv(&rx, soon()), Some(pattern(size)));
            assert!(!is_readable());
        }
        send(&tx, b"last");
        drop(tx);
        assert_eq!(recv(&rx, soon()), Some(b"last".to_vec()));
        assert!(becomes_readable());
        assert!(is_closed(&rx));
        assert!(is_readable(), "the end stays");
    }
}

#[test]
fn a_stream_takes_along_what_is_half_here_and_half_gone() {
    let (raw, rx) = local();
    let copy = duplicate(&raw).unwrap();
    let mut raw = std::fs::File::from(raw);
    let travel = |stream: Stream| -> Stream { Message::encode(&stream).unwrap().decode().unwrap() };
    let mut rx = Stream::new(rx).unwrap();
    for size in [9, AHEAD * 2] {
        let bytes = [frame(b"first"), frame(b"second"), frame(&pattern(size)), frame(b"last")];
        let bytes = bytes.concat();
        let cut = bytes.len() - 10;
        raw.write_all(&bytes[..cut]).unwrap();
        assert_eq!(recv(&rx, soon()), Some(b"first".to_vec()));
        rx = travel(rx);
        assert_eq!(take(&rx), Some(b"second".to_vec()));
        assert_eq!(take(&rx), None);
        rx = travel(rx);
        raw.write_all(&bytes[cut..]).unwrap();
        assert_eq!(recv(&rx, soon()), Some(pattern(size)));
        rx = travel(rx);
        assert_eq!(recv(&rx, soon()), Some(b"last".to_vec()));
    }
    // What it has begun to send.
    let long = pattern(MORE_THAN_HELD);
    assert_eq!(rx.send(&outgoing(&long), now()).unwrap(), Sent::Begun);
    rx = travel(rx);
    let far = Stream::new(copy).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| send(&rx, b"behind"));
        assert_eq!(recv(&far, soon()), Some(long.clone()));
        assert_eq!(recv(&far, soon()), Some(b"behind".to_vec()));
    });
}

#[test]
fn a_stream_of_something_else_is_refused() {
    let (packets, _other) = socket::seqpacket_pair().unwrap();
    assert_eq!(Stream::new(packets).unwrap_err().kind(), ErrorKind::Os);
    let file = std::fs::File::open("/dev/null").unwrap();
    assert_eq!(Stream::new(file.into()).unwrap_err().kind(), ErrorKind::Os);
}
