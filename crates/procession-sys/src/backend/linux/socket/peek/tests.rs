//! Packets that stay where they are.

use std::os::fd::{AsFd, BorrowedFd};

use super::super::super::fd::open_descriptors;
use super::super::super::surroundings::{Resource, limit, set_limit};
use super::super::super::testing::alone;
use super::super::above_streams;
use super::super::{Block, send, seqpacket_pair};
use super::*;

fn put(socket: &OwnedFd, text: &[u8; 3], handles: &[BorrowedFd<'_>]) {
    assert_eq!(send(socket, &[text], handles, Block::No).unwrap(), 3);
}

/// What the next peek sees.
fn seen(socket: &OwnedFd) -> Option<[u8; 3]> {
    let mut bytes = [0; 3];
    peek(socket, &mut bytes, None).unwrap().map(|received| {
        assert_eq!(received, Received { bytes: 3, handles_lost: false });
        bytes
    })
}

#[test]
fn each_peek_looks_behind_the_one_before_once_a_place_is_set() {
    let (near, far) = seqpacket_pair().unwrap();
    for text in [b"one", b"two", b"six"] {
        put(&near, text, &[]);
    }
    assert_eq!(
        (peek_place(&far).unwrap(), seen(&far), seen(&far)),
        (None, Some(*b"one"), Some(*b"one"))
    );
    set_peek_place(&far, Some(0)).unwrap();
    assert_eq!([(); 4].map(|()| seen(&far)), [Some(*b"one"), Some(*b"two"), Some(*b"six"), None]);
    assert_eq!(peek_place(&far).unwrap(), Some(9));
    set_peek_place(&far, Some(6)).unwrap();
    assert_eq!(seen(&far), Some(*b"six"));
    set_peek_place(&far, None).unwrap();
    assert_eq!(seen(&far), Some(*b"one"));
    assert_eq!(set_peek_place(&far, Some(usize::MAX)).unwrap_err().code(), OsCode::INVALID);
}

#[test]
fn what_is_taken_out_is_in_front_and_the_place_moves_with_it() {
    let (near, far) = seqpacket_pair().unwrap();
    for text in [b"one", b"two", b"six"] {
        put(&near, text, &[]);
    }
    set_peek_place(&far, Some(6)).unwrap();
    assert!(discard(&far).unwrap());
    assert_eq!((peek_place(&far).unwrap(), seen(&far)), (Some(3), Some(*b"six")));
    set_peek_place(&far, Some(0)).unwrap();
    assert!(discard(&far).unwrap());
    assert_eq!((peek_place(&far).unwrap(), seen(&far)), (Some(0), Some(*b"six")));
    assert!(discard(&far).unwrap());
    assert_eq!((discard(&far).unwrap(), seen(&far)), (false, None));
}

#[test]
fn a_peek_copies_descriptors_only_when_asked() {
    alone(|| {
        let (near, far) = seqpacket_pair().unwrap();
        let (pipe, kept) = rustix::pipe::pipe().unwrap();
        put(&near, b"two", &[kept.as_fd(), near.as_fd()]);
        drop(kept);
        let open = open_descriptors().unwrap();
        assert_eq!(seen(&far), Some(*b"two"));
        assert_eq!(open_descriptors().unwrap(), open);
        for _ in 0..2 {
            let mut handles = Vec::new();
            let received = peek(&far, &mut [0; 3], Some(&mut handles)).unwrap();
            assert_eq!(received, Some(Received { bytes: 3, handles_lost: false }));
            assert_eq!(handles.len(), 2);
            for handle in &handles {
                let flags = rustix::io::fcntl_getfd(handle).unwrap();
                assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
            }
            assert_eq!(rustix::io::write(&handles[0], b"x").unwrap(), 1);
        }
        assert_eq!(rustix::io::read(&pipe, &mut [0; 3]).unwrap(), 2);
        assert!(discard(&far).unwrap());
        assert_eq!(rustix::io::read(&pipe, &mut [0; 3]).unwrap(), 0, "somebody has the other end");
        assert_eq!(open_descriptors().unwrap(), open);
    });
}

#[test]
fn a_packet_is_as_before_when_its_descriptors_or_bytes_do_not_fit() {
    alone(|| {
        let (near, far) = seqpacket_pair().unwrap();
        put(&near, b"two", &[near.as_fd(), far.as_fd()]);
        let mut handles = Vec::new();
        let error = peek(&far, &mut [0; 2], Some(&mut handles)).unwrap_err();
        assert_eq!((error.code(), handles.len()), (OsCode::TRUNCATED, 0));

        let open = open_descriptors().unwrap();
        let (_, most) = limit(Resource::Descriptors);
        let free = u64::try_from(above_streams(far.try_clone().unwrap()).unwrap().as_raw_fd());
        let before = limit(Resource::Descriptors);
        set_limit(Resource::Descriptors, (Some(free.unwrap() + 1), most)).unwrap();
        let received = peek(&far, &mut [0; 3], Some(&mut handles)).unwrap();
        assert_eq!(received, Some(Received { bytes: 3, handles_lost: true }));
        assert_eq!(handles.len(), 0);
        set_limit(Resource::Descriptors, before).unwrap();
        assert_eq!(open_descriptors().unwrap(), open);
        assert!(!peek(&far, &mut [0; 3], Some(&mut handles)).unwrap().unwrap().handles_lost);
        assert_eq!(handles.len(), 2);
    });
}

#[test]
fn a_buffer_is_raised_and_never_lowered() {
    let (near, _far) = seqpacket_pair().unwrap();
    let before = sockopt::socket_send_buffer_size(&near).unwrap();
    raise_send_buffer(&near, 1).unwrap();
    assert_eq!(sockopt::socket_send_buffer_size(&near).unwrap(), before);
    let most = std::fs::read_to_string("/proc/sys/net/core/wmem_max").unwrap();
    let most: usize = most.trim().parse().unwrap();
    raise_send_buffer(&near, 1 << 30).unwrap();
    let raised = sockopt::socket_send_buffer_size(&near).unwrap();
    assert_eq!(raised, 2 * most);
}
