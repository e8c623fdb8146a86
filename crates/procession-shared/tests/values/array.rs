//! Arrays, with and without a lock.

use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use procession::{Array, Plain, RawArray};
use procession_core::{ErrorKind, Message};
use procession_sync::{LockError, RLock};
use proptest::prelude::*;

use crate::lie::Bare;

#[derive(Debug, Clone, Copy, PartialEq, Plain)]
struct Odd {
    small: u8,
    wide: u32,
    is_set: bool,
}

/// Larger than the blocks in which items are taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Plain)]
struct Huge {
    letter: char,
    bytes: [u8; 5000],
}

fn sent<T: serde::Serialize + serde::de::DeserializeOwned>(value: &T) -> T {
    Message::encode(value).unwrap().decode().unwrap()
}

fn odd(number: u32) -> Odd {
    Odd { small: number.to_le_bytes()[0], wide: number, is_set: number.is_multiple_of(3) }
}

#[test]
fn new_items_are_zero() {
    for _ in 0..3 {
        for len in [0, 1, 12, 13, 500, 1024, 1025, 100_000] {
            let array = RawArray::<u32>::new(len).unwrap();
            assert_eq!(array.len(), len);
            assert!(array.to_vec().unwrap().iter().all(|item| *item == 0), "{len}");
            array.fill(u32::MAX).unwrap();
            assert!(array.iter().all(|item| item.unwrap() == u32::MAX), "{len}");
        }
    }
    assert!(!RawArray::<bool>::new(3).unwrap().get(2).unwrap());
    assert_eq!(RawArray::<char>::new(1).unwrap().get(0).unwrap(), '\0');
}

#[test]
fn types_without_zero_are_filled() {
    #[derive(Debug, Clone, Copy, PartialEq, Plain)]
    #[repr(u8)]
    enum Side {
        Left = 1,
        Right = 2,
    }
    let error = RawArray::<Side>::new(0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    assert!(error.to_string().starts_with("zero is no value of type"), "{error}");
    let sides = Array::filled(3, Side::Left).unwrap();
    sides.set(1, Side::Right).unwrap();
    assert_eq!(sides.to_vec().unwrap(), [Side::Left, Side::Right, Side::Left]);
}

#[test]
fn sizes_beyond_the_machine_are_errors() {
    for len in [usize::MAX, usize::MAX / 8, isize::MAX.unsigned_abs() / 8] {
        let error = RawArray::<u64>::new(len).unwrap_err();
        let kind = error.kind();
        assert!(matches!(kind, ErrorKind::TooLarge | ErrorKind::OutOfMemory), "{error}");
    }
}

#[test]
fn what_is_out_of_range_is_an_error_and_nothing_is_written() {
    let array = Array::from_slice(&[1u16, 2, 3]).unwrap();
    let raw = array.raw();
    let refused = |error: procession_core::Error, text: &str| {
        assert_eq!((error.kind(), &*error.to_string()), (ErrorKind::InvalidInput, text));
    };
    refused(raw.get(3).unwrap_err(), "item 3 of an array of 3");
    refused(raw.set(usize::MAX, 1).unwrap_err(), &format!("item {} of an array of 3", usize::MAX));
    refused(raw.fetch_add(3, 1).unwrap_err(), "item 3 of an array of 3");
    refused(raw.write(2, &[8, 9]).unwrap_err(), "items 2..4 of an array of 3");
    refused(
        raw.write(usize::MAX, &[8, 9]).unwrap_err(),
        &format!("items {0}..{0} of an array of 3", usize::MAX),
    );
    refused(raw.read(.., &mut [0; 2]).unwrap_err(), "3 items for a slice of 2");
    refused(raw.read(1..=1, &mut [0; 2]).unwrap_err(), "1 items for a slice of 2");
    refused(raw.read_vec(..=3).unwrap_err(), "items 0..4 of an array of 3");
    #[expect(clippy::reversed_empty_ranges, reason = "that is what is refused")]
    let reversed = raw.read_vec(2..1);
    refused(reversed.unwrap_err(), "items 2..1 of an array of 3");
    let last = raw.read_vec((Bound::Excluded(usize::MAX), Bound::Unbounded));
    refused(last.unwrap_err(), &format!("items {}..3 of an array of 3", usize::MAX));
    assert!(raw.read_vec(3..).unwrap().is_empty());
    raw.write(3, &[]).unwrap();
    let error = array.update_item(3, |item| item).unwrap_err();
    assert!(matches!(error, LockError::Failed(_)), "{error:?}");
    assert!(array.update(1..5, |_| panic!("not called")).is_err());
    assert!(!array.get_lock().is_locked());
    assert_eq!(array.to_vec().unwrap(), [1, 2, 3]);
}

#[test]
fn handles_are_one_array() {
    for len in [3, 5000] {
        let array = Array::from_iter((0..len).map(odd)).unwrap();
        let same = sent(&array);
        same.set(1, odd(77)).unwrap();
        assert_eq!(array.get(1).unwrap(), odd(77));
        let copy = array.copy().unwrap();
        copy.fill(odd(5)).unwrap();
        assert_eq!(same.get(2).unwrap(), odd(2));
        drop(array);
        assert_eq!(same.len(), len as usize);
        assert_eq!(same.read_vec(2..).unwrap(), (2..len).map(odd).collect::<Vec<_>>());
    }
}

#[test]
fn items_larger_than_a_block_are_whole() {
    let huge = |at: u8| Huge { letter: char::from(b'a' + at), bytes: [at; 5000] };
    let array = RawArray::from_slice(&[huge(0), huge(1), huge(2)]).unwrap();
    assert_eq!(array.to_vec().unwrap()[2], huge(2));
    array.write(1, &[huge(7), huge(8)]).unwrap();
    let mut two = [huge(0); 2];
    array.read(1.., &mut two).unwrap();
    assert_eq!(two, [huge(7), huge(8)]);
    array.fill(huge(9)).unwrap();
    assert!(array.iter().all(|item| item.unwrap() == huge(9)));
}

#[test]
fn handles_of_other_types_and_lengths_are_refused() {
    let array = RawArray::from_slice(&[1u32, 2]).unwrap();
    let message = Message::encode(&array).unwrap();
    let error = message.decode::<RawArray<i32>>().unwrap_err();
    assert!(format!("{error:?}").contains("another type than i32"), "{error:?}");
    let bare = Bare::array(6);
    for len in [13, usize::MAX / 4, usize::MAX / 4 + 1, usize::MAX] {
        let error = bare.as_array(u32::TYPE.to_bits(), len).decode::<RawArray<u32>>().unwrap_err();
        assert!(format!("{error:?}").contains("smaller than its items"), "{error:?}");
    }
    let honest = bare.as_array(u32::TYPE.to_bits(), 12).decode::<RawArray<u32>>().unwrap();
    assert_eq!(honest.to_vec().unwrap(), [0; 12]);
    assert!(Bare::value(6).as_array(u32::TYPE.to_bits(), 12).decode::<RawArray<u32>>().is_err());
}

#[test]
fn atomic_operations_are_of_one_item() {
    let array = RawArray::<u8>::from_slice(&[0, 255, 0]).unwrap();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| (0..1000).try_for_each(|_| array.fetch_add(1, 1).map(|_before| ())));
        }
    });
    assert_eq!(array.to_vec().unwrap(), [0, 207, 0]);
    assert_eq!(array.fetch_or(0, 6).unwrap(), 0);
    assert_eq!(array.fetch_and(0, 3).unwrap(), 6);
    assert_eq!(array.fetch_xor(0, 1).unwrap(), 2);
    assert_eq!(array.swap(2, 9).unwrap(), 0);
    assert_eq!(array.compare_exchange(2, 8, 1).unwrap(), Err(9));
    assert_eq!(array.compare_exchange(2, 9, 1).unwrap(), Ok(9));
    assert_eq!(array.to_vec().unwrap(), [3, 207, 1]);
    let floats = RawArray::from_slice(&[0.5f64; 3]).unwrap();
    assert_eq!(floats.fetch_add(1, 1.0).unwrap(), 0.5);
    assert_eq!((floats.fetch_max(1, 0.0).unwrap(), floats.fetch_min(2, 0.0).unwrap()), (1.5, 0.5));
    assert_eq!(floats.to_vec().unwrap(), [0.5, 1.5, 0.0]);
}

#[test]
fn updates_are_under_the_lock_and_whole() {
    let array = Array::<u64>::new(700).unwrap();
    let add = || {
        for _ in 0..200 {
            // Whoever could come in between, does.
            let all = |items: &mut [u64]| {
                thread::yield_now();
                items.iter_mut().for_each(|item| *item += 1);
            };
            let one = |item| {
                thread::yield_now();
                item + 1
            };
            array.update(.., all).unwrap();
            array.update_item(699, one).unwrap();
        }
    };
    thread::scope(|scope| {
        scope.spawn(add);
        scope.spawn(add);
    });
    let mut expected = vec![400; 700];
    expected[699] = 800;
    assert_eq!(array.to_vec().unwrap(), expected);
    let update = || {
        let change = |items: &mut [u64]| {
            items[0] = 1;
            panic!("on purpose")
        };
        array.update(.., change).map(drop)
    };
    assert!(catch_unwind(AssertUnwindSafe(update)).is_err());
    assert!(!array.get_lock().is_locked());
    assert_eq!(array.get(0).unwrap(), 400);
}

#[test]
fn a_guard_has_all_operations() {
    let lock = RLock::new().unwrap();
    let array = Array::synchronized(RawArray::from_slice(&[3i8, 2, 1]).unwrap(), lock.clone());
    let guard = array.lock().unwrap();
    guard.update(.., |items| items.sort_unstable()).unwrap();
    guard.update_item(0, |item| item - 10).unwrap();
    guard.fetch_add(1, 5).unwrap();
    assert_eq!(guard.to_vec().unwrap(), [-9, 7, 3]);
    assert_eq!(lock.depth(), 1);
    thread::scope(|scope| {
        scope.spawn(|| assert!(matches!(array.try_lock(), Err(LockError::TimedOut))));
    });
    drop(guard);
    assert_eq!(format!("{array:?}"), "Array { raw: [-9, 7, 3], lock: RLock(nobody, 0) }");
    let many = RawArray::<u8>::new(17).unwrap();
    assert_eq!(format!("{many:?}"), format!("[{}..]", "0, ".repeat(16)));
}

#[test]
fn strings_end_at_a_zero() {
    let text = Array::<u8>::new(5).unwrap();
    assert_eq!(text.value().unwrap(), b"");
    text.set_value(b"abcde").unwrap();
    assert_eq!(text.value().unwrap(), b"abcde");
    text.set_value(b"xy").unwrap();
    assert_eq!(
        (text.value().unwrap(), text.to_vec().unwrap()),
        (b"xy".to_vec(), b"xy\0de".to_vec())
    );
    text.set_raw(b"pqrs").unwrap();
    assert_eq!(text.value().unwrap(), b"pqrse");
    text.set_value(b"").unwrap();
    assert_eq!(text.to_vec().unwrap(), b"\0qrse");
    let Err(LockError::Failed(error)) = text.set_value(b"abcdef") else { panic!("too long") };
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert_eq!(error.to_string(), "a string of 6 bytes for an array of 5");
    assert!(text.set_raw(b"abcdef").is_err());
    assert_eq!(text.to_vec().unwrap(), b"\0qrse");
    let empty = RawArray::<u8>::new(0).unwrap();
    empty.set_value(b"").unwrap();
    assert_eq!(empty.value().unwrap(), b"");
}

#[test]
fn what_is_no_item_is_an_error_of_that_item() {
    // The same memory by two types: what a peer may write.
    let bare = Bare::array(1);
    let bytes: RawArray<u8> = bare.as_array(u8::TYPE.to_bits(), 4).decode().unwrap();
    let flags: RawArray<bool> = bare.as_array(bool::TYPE.to_bits(), 4).decode().unwrap();
    bytes.write(0, &[0, 1, 2, 1]).unwrap();
    assert!(flags.get(1).unwrap());
    assert_eq!(flags.get(2).unwrap_err().kind(), ErrorKind::Decode);
    assert_eq!(
        flags.to_vec().unwrap_err().to_string(),
        "the shared bytes are no value of type bool"
    );
    let seen: Vec<_> = flags.iter().map(Result::ok).collect();
    assert_eq!(seen, [Some(false), Some(true), None, Some(true)]);
    assert_eq!(flags.read_vec(..2).unwrap(), [false, true]);
    flags.set(2, true).unwrap();
    assert!(flags.to_vec().is_ok());
}

proptest! {
    #[test]
    fn it_is_as_a_vector(
        start in proptest::collection::vec(any::<u32>(), 0..2000),
        steps in proptest::collection::vec((0..6u8, any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u32>()), 0..20),
    ) {
        let mut numbers = start.clone();
        let mut odds: Vec<Odd> = start.iter().copied().map(odd).collect();
        let array = RawArray::from_slice(&numbers).unwrap();
        let structures = RawArray::from_slice(&odds).unwrap();
        for (what, a, b, number) in steps {
            let (a, b) = (a.index(numbers.len() + 1), b.index(numbers.len() + 1));
            let range = a.min(b)..a.max(b);
            match what {
                0 => {
                    array.fill(number).unwrap();
                    structures.fill(odd(number)).unwrap();
                    numbers.fill(number);
                    odds.fill(odd(number));
                }
                1 => {
                    let new: Vec<u32> = (0..).take(range.len()).map(|at| number.wrapping_mul(at)).collect();
                    let new_odds: Vec<Odd> = new.iter().copied().map(odd).collect();
                    array.write(range.start, &new).unwrap();
                    structures.write(range.start, &new_odds).unwrap();
                    numbers[range.clone()].copy_from_slice(&new);
                    odds[range].copy_from_slice(&new_odds);
                }
                2 => {
                    prop_assert_eq!(array.read_vec(range.clone()).unwrap(), &numbers[range.clone()]);
                    prop_assert_eq!(structures.read_vec(range.clone()).unwrap(), &odds[range]);
                }
                3 => {
                    let mut out = vec![1; range.len()];
                    array.read(range.clone(), &mut out).unwrap();
                    prop_assert_eq!(&out, &numbers[range]);
                }
                _ => {
                    prop_assert_eq!(array.set(a, number).is_ok(), a < numbers.len());
                    prop_assert_eq!(structures.set(a, odd(number)).is_ok(), a < numbers.len());
                    if let Some(item) = numbers.get_mut(a) {
                        *item = number;
                        odds[a] = odd(number);
                    }
                }
            }
        }
        prop_assert_eq!(array.iter().collect::<Result<Vec<_>, _>>().unwrap(), numbers);
        prop_assert_eq!(structures.iter().collect::<Result<Vec<_>, _>>().unwrap(), odds);
    }
}
