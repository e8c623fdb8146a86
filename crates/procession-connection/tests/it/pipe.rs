//! Pipes between threads.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use procession_connection::{Duplex, Receiver, Sender, TryRecvError};
use procession_connection::{duplex, pipe};
use procession_core::{ErrorKind, Handle, Message};
use proptest::prelude::*;

/// Long enough that it never passes on a working machine, short enough to fail a hung test.
pub(crate) const SOON: Duration = Duration::from_secs(20);

fn recv<T: serde::de::DeserializeOwned>(rx: &Receiver<T>) -> T {
    rx.recv_timeout(SOON).unwrap()
}

#[test]
fn ends_go_to_other_threads() {
    fn goes_everywhere<T: Send + Sync>() {}
    goes_everywhere::<Sender<std::cell::Cell<u8>>>();
    goes_everywhere::<Receiver<std::cell::Cell<u8>>>();
    goes_everywhere::<Duplex<u8, std::cell::Cell<u8>>>();
}

#[test]
fn a_large_message_passes_while_both_sides_work() {
    let (tx, rx) = pipe::<Vec<u8>>().unwrap();
    let large = vec![7u8; 20 << 20];
    thread::scope(|scope| {
        let expected = large.clone();
        scope.spawn(move || assert!(recv(&rx) == expected));
        tx.send(large).unwrap();
    });
}

#[test]
fn a_message_of_another_type_is_an_error_and_the_pipe_goes_on() {
    let (tx, rx) = pipe::<u8>().unwrap();
    // The same end as another type, and back.
    let other: Sender<(u32, String)> = Message::encode(&tx).unwrap().decode().unwrap();
    assert_eq!(tx.send(7).unwrap_err().kind(), ErrorKind::Taken);
    other.send((1, "x".into())).unwrap();
    let back: Sender<u8> = Message::encode(&other).unwrap().decode().unwrap();
    back.send(7).unwrap();
    drop((tx, other, back));
    assert_eq!(rx.recv().unwrap_err().kind(), ErrorKind::Decode);
    assert_eq!(recv(&rx), 7);
    assert_eq!(rx.iter().count(), 0);
}

#[test]
fn an_end_moves_with_what_it_has_read_ahead() {
    let (tx, rx) = pipe::<(u8, Handle<UnixStream>)>().unwrap();
    let (keep, _) = UnixStream::pair().unwrap();
    for number in 0..3 {
        tx.send((number, Handle(keep.try_clone().unwrap()))).unwrap();
    }
    assert_eq!(recv(&rx).0, 0);
    assert!(rx.poll(Duration::ZERO).unwrap());
    let (carrier, at_other_side) = pipe::<Receiver<(u8, Handle<UnixStream>)>>().unwrap();
    carrier.send(rx).unwrap();
    let rx = recv(&at_other_side);
    assert_eq!((recv(&rx).0, recv(&rx).0), (1, 2));
    drop(tx);
    assert!(matches!(rx.try_recv(), Err(TryRecvError::Closed)));
}

#[test]
fn a_moved_sender_leaves_no_holder_behind() {
    let (tx, rx) = pipe::<u8>().unwrap();
    let (carrier, at_other_side) = pipe::<Sender<u8>>().unwrap();
    carrier.send(tx).unwrap();
    let tx = recv(&at_other_side);
    tx.send(1).unwrap();
    drop(tx);
    assert_eq!(recv(&rx), 1);
    assert!(matches!(rx.try_recv(), Err(TryRecvError::Closed)));
}

#[test]
fn threads_share_the_ends_and_every_message_goes_to_one_of_them() {
    let (tx, rx) = pipe::<u32>().unwrap();
    let total: u32 = thread::scope(|scope| {
        let receivers: Vec<_> = (0..3)
            .map(|_| scope.spawn(|| rx.iter().map(|number| number.unwrap()).sum::<u32>()))
            .collect();
        let senders: Vec<_> = (0..3)
            .map(|thread| {
                let tx = &tx;
                scope.spawn(move || {
                    for number in (0..3000).filter(|number| number % 3 == thread) {
                        tx.send(number).unwrap();
                    }
                })
            })
            .collect();
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        tx.close();
        receivers.into_iter().map(|receiver| receiver.join().unwrap()).sum()
    });
    assert_eq!(total, (0..3000).sum());
}

#[test]
fn duplex_ends_answer_each_other() {
    let (client, server) = duplex::<u32, String>().unwrap();
    thread::scope(|scope| {
        scope.spawn(move || {
            for request in &server {
                server.send(request.unwrap().to_string()).unwrap();
            }
        });
        for number in 0..100 {
            client.send(number).unwrap();
            assert_eq!(client.recv_timeout(SOON).unwrap(), number.to_string());
        }
        drop(client);
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever goes in comes out, in order, each message with its own handles, wherever reads happen to cut the stream.
    #[test]
    fn any_sequence_of_messages_arrives(
        messages in prop::collection::vec((0usize..20_000, 0usize..4), 1..30),
        many in 240usize..300,
    ) {
        type Loaded = (Vec<u8>, Vec<Handle<OwnedFd>>);
        let (tx, rx) = pipe::<Loaded>().unwrap();
        let marks: Vec<_> = (0..4).map(|_| UnixStream::pair().unwrap()).collect();
        let inode = |fd: &OwnedFd| std::fs::File::from(fd.try_clone().unwrap()).metadata().map(|m| std::os::unix::fs::MetadataExt::ino(&m)).unwrap();
        let expected: Vec<u64> = marks.iter().map(|(one, _)| inode(&one.try_clone().unwrap().into())).collect();
        let mut sizes = messages.clone();
        sizes.push((1, many));
        let sent = sizes.clone();
        thread::scope(|scope| {
            scope.spawn(move || {
                for (len, count) in sent {
                    let handles = (0..count)
                        .map(|i| Handle(marks[i % 4].0.try_clone().unwrap().into()))
                        .collect();
                    tx.send((vec![7; len], handles)).unwrap();
                }
            });
            for (len, count) in sizes {
                let (bytes, handles) = recv(&rx);
                assert_eq!((bytes.len(), handles.len()), (len, count));
                for (i, handle) in handles.iter().enumerate() {
                    assert_eq!(inode(handle), expected[i % 4]);
                }
            }
            assert!(rx.recv().is_err());
        });
    }
}
