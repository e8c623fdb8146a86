//! Receives messages with descriptors that it has no room for. Started with a low limit on descriptors.
#![expect(clippy::print_stdout, reason = "a helper program talks to its test")]
#![expect(clippy::unwrap_used, reason = "a failure here fails the test")]

use std::fs::File;
use std::os::fd::OwnedFd;

use procession::ErrorKind;
use procession::prelude::*;
use procession_core::{Courier, Message, OsCode};
use procession_sys::fd::{duplicate, open_descriptors};

type Loaded = (u32, Vec<u8>, Vec<Handle<File>>);

fn loaded(number: u32, len: usize, handles: usize) -> Loaded {
    let file = File::open("/dev/zero").unwrap();
    let copies = (0..handles).map(|_| Handle(file.try_clone().unwrap()));
    (number, vec![7; len], copies.collect())
}

/// Takes all the room for descriptors that there is, but for some.
fn fill(spare: usize) -> Vec<OwnedFd> {
    let mut held = Vec::new();
    while let Ok(fd) = duplicate(std::io::stdout()) {
        held.push(fd);
    }
    held.truncate(held.len() - spare);
    held
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: procession::Result<T>) {
    let error = result.unwrap_err();
    assert_eq!(
        (error.kind(), error.os_code()),
        (ErrorKind::Os, Some(OsCode::TOO_MANY_OPEN)),
        "{error:?}"
    );
}

#[track_caller]
fn whole(got: procession::Result<Loaded>, expected: (u32, usize, usize)) {
    let (number, bytes, handles) = got.unwrap();
    assert_eq!((number, bytes.len(), handles.len()), expected);
    for mut handle in handles {
        let mut byte = [1];
        std::io::Read::read_exact(&mut handle.0, &mut byte).unwrap();
        assert_eq!(byte, [0], "it is another descriptor");
    }
}

/// Of four messages in a pipe the second one brings `handles`, and there is room for `spare`.
fn second_of_four(len: usize, handles: usize, spare: usize, moves: Moves) {
    let (tx, mut rx) = pipe::<Loaded>().unwrap();
    tx.send(loaded(1, 0, 0)).unwrap();
    tx.send(loaded(2, len, handles)).unwrap();
    tx.send(loaded(3, 5, 0)).unwrap();
    let held = fill(spare);
    whole(rx.recv(), (1, 0, 0));
    if moves == Moves::Yes {
        // Handles are taken with their message, so where there is room again none is lost.
        drop(held);
        rx = Message::encode(&rx).unwrap().decode().unwrap();
        whole(rx.recv(), (2, len, handles));
        whole(rx.recv(), (3, 5, 0));
    } else {
        refused(rx.recv());
        whole(rx.recv(), (3, 5, 0));
        drop(held);
    }
    tx.send(loaded(4, 9, 2)).unwrap();
    whole(rx.recv(), (4, 9, 2));
    drop(tx);
    assert_eq!(rx.recv().unwrap_err().kind(), ErrorKind::Closed);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moves {
    No,
    Yes,
}

/// Packets of a courier, one of them with content in memory of its own.
fn packets() {
    let (near, far) = Courier::pair().unwrap();
    for (number, len, handles) in [(1, 0, 0), (2, 0, 1), (3, 100_000, 0), (4, 5, 0), (5, 9, 2)] {
        near.send(&Message::encode(&loaded(number, len, handles)).unwrap()).unwrap();
    }
    let recv = || far.recv().map(Option::unwrap).and_then(Message::decode);
    whole(recv(), (1, 0, 0));
    let held = fill(0);
    refused(recv());
    refused(recv());
    whole(recv(), (4, 5, 0));
    drop(held);
    whole(recv(), (5, 9, 2));
}

fn main() {
    procession::init();
    let before = open_descriptors().unwrap();
    let (mut pipes, limit) = (0, fill(0).len());
    // The last one is a bundle: its socket finds room, and what is in it does not.
    for (handles, spare) in [(1, 0), (5, 0), (5, 2), (300, 0), (300, 1), (300, 100)] {
        for len in [0, 5_000, 60_000] {
            second_of_four(len, handles, spare, Moves::No);
            pipes += 1;
        }
    }
    for len in [0, 60] {
        second_of_four(len, 1, 0, Moves::Yes);
        pipes += 1;
    }
    packets();
    assert_eq!(open_descriptors().unwrap(), before);
    println!("{pipes} pipes with a limit of about {limit}: done");
}
