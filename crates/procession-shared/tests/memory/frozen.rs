//! Sequences that are frozen and sent.

use procession_core::{ErrorKind, Message};
use procession_shared::{Plain, SharedSlice, SharedVec};

use super::sent;

#[derive(Debug, Clone, Copy, PartialEq, Plain)]
struct Entry {
    key: u16,
    is_set: bool,
    value: f64,
}

fn entry(at: usize) -> Entry {
    let key = u16::try_from(at).unwrap();
    Entry { key, is_set: at.is_multiple_of(2), value: f64::from(key) / 4.0 }
}

#[test]
fn numbers_are_a_slice_before_and_after() {
    let mut vec = SharedVec::<u32>::zeroed(100_000).unwrap();
    assert_eq!((vec.len(), vec.is_empty(), vec[99_999]), (100_000, false, 0));
    for (at, number) in (0..).zip(vec.iter_mut()) {
        *number = at * 3;
    }
    vec.set(0, 7).unwrap();
    assert_eq!((vec.get(0), vec.get(100_000)), (Some(7), None));
    assert_eq!(vec.set(100_000, 1).unwrap_err().kind(), ErrorKind::InvalidInput);
    let slice = vec.freeze().unwrap();
    assert_eq!((slice.len(), slice[0], slice[99_999]), (100_000, 7, 299_997));
    assert_eq!(slice.as_ref().iter().next_back(), Some(&299_997));
    let received = sent(&slice).unwrap();
    assert!(received[..] == slice[..] && received.shares_with(&slice));
    assert_eq!(received.as_ptr(), slice.as_ptr(), "it is not mapped twice");
}

#[test]
fn structures_are_values() {
    let vec = SharedVec::from_fn(1000, entry).unwrap();
    assert_eq!(vec.get(999), Some(entry(999)));
    let slice = vec.freeze().unwrap();
    assert_eq!(slice.get(5).unwrap(), entry(5));
    assert_eq!(slice.get(1000).unwrap_err().kind(), ErrorKind::InvalidInput);
    let all: Vec<Entry> = sent(&slice).unwrap().values().map(Result::unwrap).collect();
    assert!(all == (0..1000).map(entry).collect::<Vec<_>>());
    let pairs = SharedSlice::from_slice(&[[1u8, 2], [3, 4]]).unwrap();
    assert_eq!(pairs.get(1).unwrap(), [3, 4]);
    assert_eq!(SharedSlice::from_slice(&[entry(1)]).unwrap().get(0).unwrap(), entry(1));
}

#[test]
fn parts_share_the_block() {
    let all = SharedSlice::from_slice(&[1u16, 2, 3, 4, 5]).unwrap();
    let part = all.slice(1..=3).unwrap();
    assert_eq!((&part[..], &part.slice(1..).unwrap()[..]), (&[2, 3, 4][..], &[3, 4][..]));
    let received = sent(&part.slice(2..).unwrap()).unwrap();
    assert_eq!(received[..], [4]);
    assert!(received.shares_with(&all) && part.slice(3..3).unwrap().is_empty());
    drop(all);
    assert_eq!(part[..], [2, 3, 4]);
    let outside: [(std::ops::Bound<usize>, std::ops::Bound<usize>); 3] = [
        (std::ops::Bound::Included(0), std::ops::Bound::Included(3)),
        (std::ops::Bound::Excluded(usize::MAX), std::ops::Bound::Unbounded),
        (std::ops::Bound::Included(2), std::ops::Bound::Excluded(1)),
    ];
    for range in outside {
        assert_eq!(part.slice(range).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}

#[test]
fn nothing_is_a_sequence_as_well() {
    let none = SharedSlice::<u64>::from_slice(&[]).unwrap();
    assert!(none.is_empty() && none[..].is_empty() && sent(&none).unwrap().is_empty());
    let mut vec = SharedVec::<i8>::zeroed(0).unwrap();
    assert!(vec.is_empty() && vec.iter_mut().next().is_none());
}

#[test]
fn what_cannot_be_is_refused() {
    #[derive(Debug, Clone, Copy, PartialEq, Plain)]
    #[repr(u8)]
    enum Side {
        Left = 1,
        Right = 2,
    }
    let refused = SharedVec::<Side>::zeroed(3).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidInput, "zero is no side");
    let sides = SharedSlice::from_slice(&[Side::Right, Side::Left]).unwrap();
    assert_eq!(sides.get(0).unwrap(), Side::Right);
    let refused = SharedVec::<u64>::zeroed(usize::MAX / 8).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::OutOfMemory);
    assert_eq!(SharedVec::<u64>::zeroed(usize::MAX).unwrap_err().kind(), ErrorKind::OutOfMemory);
}

#[test]
fn another_type_and_hostile_places_are_errors() {
    let numbers = SharedSlice::from_slice(&[1u32; 10]).unwrap();
    let as_other = |message: Message| message.decode::<SharedSlice<f32>>().unwrap_err();
    assert_eq!(as_other(Message::encode(&numbers).unwrap()).kind(), ErrorKind::Decode);
    // The last two bytes are start and length.
    for (start, len) in [(0, 11), (10, 1), (11, 0), (100, 100)] {
        let (mut bytes, handles) = Message::encode(&numbers).unwrap().into_parts();
        let end = bytes.len();
        bytes[end - 2..].copy_from_slice(&[start, len]);
        let refused = Message::decode_parts::<SharedSlice<u32>>(&bytes, handles).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Decode, "{start} {len}");
    }
    // So many that the end comes round.
    let (mut bytes, handles) = Message::encode(&numbers).unwrap().into_parts();
    bytes.truncate(bytes.len() - 1);
    bytes.extend([0xFF; 9]);
    bytes.push(1);
    Message::decode_parts::<SharedSlice<u32>>(&bytes, handles).unwrap_err();
    // Another file, which anybody may write.
    let memory = procession_shared::SharedMemory::new(4096).unwrap();
    let (_, mut writable) = Message::encode(&memory).unwrap().into_parts();
    let (bytes, handles) = Message::encode(&numbers).unwrap().into_parts();
    writable.truncate(handles.len());
    Message::decode_parts::<SharedSlice<u32>>(&bytes, writable).unwrap_err();
}

#[test]
fn a_huge_slice_is_a_small_message() {
    let vec = SharedVec::<u8>::zeroed(1 << 30).unwrap().freeze().unwrap();
    let message = Message::encode(&vec).unwrap();
    assert!(message.bytes().len() < 40, "{}", message.bytes().len());
    assert_eq!(message.decode::<SharedSlice<u8>>().unwrap().len(), 1 << 30);
}
