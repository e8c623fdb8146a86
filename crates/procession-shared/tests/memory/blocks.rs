//! Blocks without a name.

use std::sync::atomic::Ordering::Relaxed;

use procession_core::{ErrorKind, Message};
use procession_shared::{HugePages, Plain, SharedMemory};

use super::sent;

#[derive(Debug, Clone, Copy, PartialEq, Plain)]
struct Point {
    x: f64,
    label: char,
}

#[test]
fn a_block_is_as_long_as_was_asked_and_zero() {
    for size in [1, 10, 4096, 4097, 1 << 20] {
        let memory = SharedMemory::new(size).unwrap();
        assert_eq!((memory.size(), memory.name(), memory.is_writable()), (size, None, true));
        assert!(memory.read_vec(0..size).unwrap() == vec![0; size]);
    }
}

#[test]
fn what_is_written_is_read_through_every_handle() {
    let memory = SharedMemory::new(10_000).unwrap();
    let (clone, received) = (memory.clone(), sent(&memory).unwrap());
    memory.write(9_000, b"hello").unwrap();
    let mut out = [0; 5];
    clone.read(9_000, &mut out).unwrap();
    assert_eq!(&out, b"hello");
    assert_eq!(received.read_vec(9_000..9_005).unwrap(), b"hello");
    received.fill(3).unwrap();
    assert_eq!(memory.read_vec(9_998..10_000).unwrap(), [3, 3]);
    assert!(memory.is_same(&received) && !memory.is_same(&SharedMemory::new(1).unwrap()));
}

#[test]
fn whatever_is_out_of_range_is_an_error_and_writes_nothing() {
    let memory = SharedMemory::new(100).unwrap();
    let view = memory.view().unwrap();
    let reversed = std::ops::Range { start: 5, end: 4 };
    let refused = [
        memory.write(96, b"hello").unwrap_err(),
        memory.write(usize::MAX, b"x").unwrap_err(),
        memory.read(100, &mut [0]).unwrap_err(),
        memory.read_vec(0..101).unwrap_err(),
        memory.read_vec(reversed).unwrap_err(),
        memory.read_vec(101..101).unwrap_err(),
        view.get::<u64>(93).unwrap_err(),
        view.set(97, 1u32).unwrap_err(),
        view.set(usize::MAX, 1u8).unwrap_err(),
        view.atomic_u32(100).map(drop).unwrap_err(),
        view.atomic_u32(2).map(drop).unwrap_err(),
    ];
    for error in refused {
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    }
    assert!(memory.read_vec(0..100).unwrap() == [0; 100]);
    memory.write(100, b"").unwrap();
    assert_eq!((view.len(), view.is_empty()), (100, false));
}

#[test]
fn values_have_types_and_places() {
    let memory = SharedMemory::new(64).unwrap();
    let view = memory.view().unwrap();
    let point = Point { x: -0.5, label: 'ü' };
    view.set(8, point).unwrap();
    view.set(27, 0x0102_0304u32).unwrap();
    assert_eq!(view.get::<Point>(8).unwrap(), point);
    assert_eq!(view.get::<u32>(27).unwrap(), 0x0102_0304);
    view.atomic_u64(40).unwrap().fetch_add(7, Relaxed);
    assert_eq!(sent(&memory).unwrap().view().unwrap().atomic_u64(40).unwrap().load(Relaxed), 7);
    view.set(16, u32::MAX).unwrap();
    assert_eq!(view.get::<Point>(8).unwrap_err().kind(), ErrorKind::Decode, "no such letter");
    assert_eq!(view.get::<bool>(16).unwrap_err().kind(), ErrorKind::Decode);
}

#[test]
fn sizes_that_cannot_be_are_refused() {
    for huge in [HugePages::No, HugePages::Try, HugePages::Require] {
        let make = |size| SharedMemory::options().huge_pages(huge).make(size).unwrap_err().kind();
        assert_eq!(make(0), ErrorKind::InvalidInput);
        assert_eq!(make(usize::MAX), ErrorKind::OutOfMemory);
        assert_eq!(make(1 << 60), ErrorKind::OutOfMemory);
    }
    assert_eq!(SharedMemory::recycled(0).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(SharedMemory::from_slice(&[]).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn a_block_grows_by_a_new_one() {
    let small = SharedMemory::from_slice(b"content").unwrap();
    let large = small.grow(100_000).unwrap();
    assert_eq!(large.size(), 100_000);
    assert_eq!(large.read_vec(0..9).unwrap(), b"content\0\0");
    large.write(0, b"C").unwrap();
    assert_eq!(small.read_vec(0..1).unwrap(), b"c");
    for size in [0, 7] {
        assert_eq!(small.grow(size).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}

#[test]
fn a_block_is_mapped_once_however_often_it_is_received() {
    let memory = SharedMemory::new(64).unwrap();
    let mappings = || {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        maps.matches("memfd:procession-block").count()
    };
    let before = mappings();
    let received: Vec<SharedMemory> = (0..50).map(|_| sent(&memory).unwrap()).collect();
    assert!(mappings() < before + 40, "other tests make some");
    received[49].write(0, b"same").unwrap();
    drop(memory);
    assert_eq!(received[0].read_vec(0..4).unwrap(), b"same");
}

#[test]
fn a_single_writer_keeps_others_from_writing() {
    let memory = SharedMemory::new(4096).unwrap().into_single_writer().unwrap();
    memory.write(0, b"news").unwrap();
    assert!(memory.is_writable());
    // Once more is no error.
    let memory = memory.into_single_writer().unwrap();
    memory.write(0, b"more").unwrap();
    assert_eq!(sent(&memory).unwrap().read_vec(0..4).unwrap(), b"more");
}

#[test]
fn what_is_on_its_way_is_not_kept_to_oneself() {
    let memory = SharedMemory::new(4096).unwrap();
    let message = Message::encode(&memory).unwrap();
    let refused = memory.clone().into_single_writer().unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidInput);
    drop(message);
    memory.into_single_writer().unwrap();
}

#[test]
fn a_handle_is_small_however_large_the_block() {
    let size = |size| {
        let memory = SharedMemory::new(size).unwrap();
        Message::encode(&memory).unwrap().bytes().len()
    };
    assert!(size(1) < 32 && size(64 << 20) < 32);
}

#[test]
fn hostile_handles_are_errors() {
    let memory = SharedMemory::new(100).unwrap();
    let (bytes, handles) = Message::encode(&memory).unwrap().into_parts();
    drop(handles);
    // Without its descriptors.
    let refused = Message::decode_parts::<SharedMemory>(&bytes, Vec::new()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Decode);
    for len in 0..bytes.len() {
        let (_, handles) = Message::encode(&memory).unwrap().into_parts();
        Message::decode_parts::<SharedMemory>(&bytes[..len], handles).unwrap_err();
    }
    // With other descriptors, or the right ones in another order.
    let (bytes, mut handles) = Message::encode(&memory).unwrap().into_parts();
    handles.reverse();
    Message::decode_parts::<SharedMemory>(&bytes, handles).unwrap_err();
    let (bytes, handles) = Message::encode(&memory).unwrap().into_parts();
    let mut other: Vec<_> =
        handles.iter().map(|_| std::fs::File::open("/").unwrap().into()).collect();
    Message::decode_parts::<SharedMemory>(&bytes, std::mem::take(&mut other)).unwrap_err();
    // With a size beyond what is there: the last byte of the message.
    let (mut bytes, handles) = Message::encode(&memory).unwrap().into_parts();
    assert_eq!(bytes.pop(), Some(100));
    bytes.extend([0xFF, 0x7F]);
    drop(memory);
    let refused = Message::decode_parts::<SharedMemory>(&bytes, handles).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Decode, "{refused}");
    assert!(refused.to_string().contains("not a block"), "{refused}");
}
