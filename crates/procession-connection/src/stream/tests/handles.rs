//! Descriptors that ride on messages.

use std::io::Read;

use procession_core::bundle::MOST;

use super::*;

fn with_handles<'a>(bytes: &'a [u8], handles: &'a [OwnedFd]) -> Outgoing<'a> {
    Outgoing { parts: [bytes, &[]], handles, announced: 0 }
}

/// The reading end of a socket that holds the byte `mark`.
fn marked(mark: u8) -> OwnedFd {
    let (mut near, far) = UnixStream::pair().unwrap();
    near.write_all(&[mark]).unwrap();
    far.into()
}

fn mark_of(handle: OwnedFd) -> u8 {
    let mut byte = [0];
    UnixStream::from(handle).read_exact(&mut byte).unwrap();
    byte[0]
}

#[track_caller]
fn marks(stream: &Stream) -> (Vec<u8>, Vec<u8>) {
    let Next::Message(message) = stream.recv(ANY, soon()).unwrap() else { panic!("no message") };
    assert!(!message.handles_lost);
    assert_eq!(message.announced, message.handles.len());
    (message.body.into_vec(), message.handles.into_iter().map(mark_of).collect())
}

#[test]
fn handles_come_with_their_message() {
    let (tx, rx) = streams(local());
    let send = |bytes: &[u8], marks: &[u8]| {
        let handles: Vec<OwnedFd> = marks.iter().map(|mark| marked(*mark)).collect();
        assert_eq!(tx.send(&with_handles(bytes, &handles), soon()).unwrap(), Sent::Yes);
    };
    // All of them wait in the socket before the first is received.
    let long = pattern(AHEAD * 2);
    send(b"none", &[]);
    send(b"one", &[1]);
    send(b"", &[2, 3]);
    send(&long, &[4]);
    send(b"none", &[]);
    send(b"last", &[5, 6]);
    assert_eq!(marks(&rx), (b"none".to_vec(), vec![]));
    assert_eq!(marks(&rx), (b"one".to_vec(), vec![1]));
    assert!(rx.poll(now()).unwrap());
    assert_eq!(marks(&rx), (vec![], vec![2, 3]));
    assert_eq!(marks(&rx), (long, vec![4]));
    let rx: Stream = Message::encode(&rx).unwrap().decode().unwrap();
    assert_eq!(marks(&rx), (b"none".to_vec(), vec![]));
    // Its handles have come and travel with the stream.
    assert!(rx.poll(now()).unwrap());
    let rx: Stream = Message::encode(&rx).unwrap().decode().unwrap();
    assert_eq!(marks(&rx), (b"last".to_vec(), vec![5, 6]));
}

#[test]
fn as_many_handles_as_one_message_carries() {
    let (tx, rx) = streams(local());
    let handles: Vec<OwnedFd> =
        (0..MOST).map(|mark| marked(u8::try_from(mark % 256).unwrap())).collect();
    assert_eq!(tx.send(&with_handles(b"many", &handles), soon()).unwrap(), Sent::Yes);
    let (_, marks) = marks(&rx);
    assert!(marks.iter().copied().eq((0..MOST).map(|mark| u8::try_from(mark % 256).unwrap())));
}

#[test]
fn a_message_with_handles_does_not_go_by_tcp_and_nothing_is_sent() {
    let (tx, rx) = streams(tcp());
    let handles = [marked(1)];
    let refused = tx.send(&with_handles(b"one", &handles), soon()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
    assert!(refused.to_string().contains("TCP"), "{refused}");
    send(&tx, b"next");
    assert_eq!(recv(&rx, soon()), Some(b"next".to_vec()));
}

#[test]
fn who_sends_handles_without_end_is_cut_off() {
    let (raw, rx) = local();
    let rx = Stream::new(rx).unwrap();
    let handles: Vec<OwnedFd> = (0..250).map(|_| duplicate(&raw).unwrap()).collect();
    let borrowed: Vec<_> = handles.iter().map(AsFd::as_fd).collect();
    // One message, each byte of which brings some.
    for byte in [0, 0, 0, 9, 1, 1, 1] {
        if socket::send(&raw, &[&[byte]], &borrowed, Block::No).is_err() {
            break;
        }
    }
    assert_eq!(kind_of_failure(&rx), Some(ErrorKind::Decode));
    assert!(is_closed(&rx));
    assert!(socket::send(&raw, &[b"x"], &[], Block::No).is_err());
}
