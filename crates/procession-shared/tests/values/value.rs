//! Values, with and without a lock.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Duration;

use procession::{Plain, RawValue, Value};
use procession_core::{ErrorKind, Message};
use procession_sync::{LockError, RLock};
use proptest::prelude::*;

use crate::lie::Bare;

#[derive(Debug, Clone, Copy, PartialEq, Plain)]
struct Point {
    x: f64,
    y: f64,
    tag: u8,
}

/// More than fits into the first place of an object.
#[derive(Debug, Clone, Copy, PartialEq, Plain)]
struct Large {
    head: u8,
    numbers: [u64; 40],
    tail: char,
}

/// The same handle, as a process gets it that it is sent to.
fn sent<T: serde::Serialize + serde::de::DeserializeOwned>(value: &T) -> T {
    Message::encode(value).unwrap().decode().unwrap()
}

#[test]
fn handles_are_one_value() {
    let point = RawValue::new(Point { x: 1.0, y: 2.0, tag: 3 }).unwrap();
    let same = sent(&point);
    same.set(Point { x: 4.0, ..point.get().unwrap() }).unwrap();
    assert_eq!(point.get().unwrap(), Point { x: 4.0, y: 2.0, tag: 3 });
    let copy = point.copy().unwrap();
    copy.set(Point { x: 5.0, y: 5.0, tag: 5 }).unwrap();
    assert_eq!(same.get().unwrap().x, 4.0);
    drop(point);
    assert_eq!(same.clone().get().unwrap().tag, 3);
    assert_eq!(format!("{same:?}"), "RawValue(Point { x: 4.0, y: 2.0, tag: 3 })");
}

#[test]
fn large_values_are_whole() {
    let value = Large { head: 0xFF, numbers: [u64::MAX; 40], tail: char::MAX };
    let large = Value::new(value).unwrap();
    assert_eq!(sent(&large).get().unwrap(), value);
    // What the arena needs of the object for itself is not overwritten.
    let raw = RawValue::new([0xFFu8; 48]).unwrap();
    assert_eq!(sent(&sent(&raw)).get().unwrap(), [0xFF; 48]);
    let raw = RawValue::new([0xFFu8; 49]).unwrap();
    assert_eq!(sent(&sent(&raw)).get().unwrap(), [0xFF; 49]);
    let largest = RawValue::new([7u8; 65_472]).unwrap();
    assert_eq!(largest.get().unwrap()[65_471], 7);
    assert_eq!(RawValue::new([7u8; 65_473]).unwrap_err().kind(), ErrorKind::TooLarge);
}

#[test]
fn what_is_no_value_is_an_error() {
    #[derive(Clone, Copy, Debug, Plain)]
    #[repr(u8)]
    enum Side {
        Left = 1,
    }
    let memory = RawValue::new(2u8).unwrap();
    let error = Message::encode(&memory).unwrap().decode::<RawValue<bool>>().unwrap_err();
    assert!(format!("{error:?}").contains("another type than bool"), "{error:?}");
    // The same memory by two types: what a peer may write.
    let bare = Bare::value(1);
    let number: RawValue<u8> = bare.as_value(u8::TYPE.to_bits()).decode().unwrap();
    let side: RawValue<Side> = bare.as_value(Side::TYPE.to_bits()).decode().unwrap();
    let locked = Value::synchronized(side.clone(), RLock::new().unwrap());
    assert_eq!(side.get().unwrap_err().kind(), ErrorKind::Decode);
    let error = locked.update(|_| panic!("not called")).unwrap_err();
    assert!(matches!(error, LockError::Failed(_)), "{error:?}");
    assert!(!locked.get_lock().is_locked());
    assert!(format!("{side:?}").starts_with("RawValue(the shared bytes are no value of type"));
    number.set(1).unwrap();
    assert!(matches!(side.get(), Ok(Side::Left)));
}

#[test]
fn a_handle_of_another_kind_is_refused() {
    let lock = RLock::new().unwrap();
    let lie = Message::encode(&(u64::TYPE.to_bits(), lock)).unwrap();
    let error = lie.decode::<RawValue<u64>>().unwrap_err();
    assert!(format!("{error:?}").contains("not a shared object of this kind"), "{error:?}");
    let error = Bare::array(1).as_value(u64::TYPE.to_bits()).decode::<RawValue<u64>>().unwrap_err();
    assert!(format!("{error:?}").contains("not a shared object of this kind"), "{error:?}");
}

#[test]
fn a_handle_to_too_little_memory_is_refused() {
    let error =
        Bare::value(9).as_value(Large::TYPE.to_bits()).decode::<RawValue<Large>>().unwrap_err();
    assert!(format!("{error:?}").contains("smaller than its type"), "{error:?}");
    let whole =
        Bare::value(64).as_value(Large::TYPE.to_bits()).decode::<RawValue<Large>>().unwrap();
    assert_eq!(whole.get().unwrap().numbers, [0; 40]);
}

#[test]
fn threads_add_up() {
    let raw = RawValue::new(0i64).unwrap();
    let float = RawValue::new(0f64).unwrap();
    let locked = Value::new(0u32).unwrap();
    let add = || {
        for _ in 0..10_000 {
            raw.fetch_add(3).unwrap();
            float.fetch_add(0.5).unwrap();
        }
        for _ in 0..500 {
            // Whoever could come in between, does.
            let slowly = |count| {
                thread::yield_now();
                count + 1
            };
            locked.update(slowly).unwrap();
        }
    };
    thread::scope(|scope| {
        scope.spawn(add);
        scope.spawn(add);
    });
    assert_eq!(raw.get().unwrap(), 60_000);
    assert_eq!(float.get().unwrap(), 10_000.0);
    assert_eq!(locked.get().unwrap(), 1000);
}

macro_rules! numbers_do_what_atomics_do {
    ($($name:ident $number:ident,)*) => { $(
        proptest! {
            #[test]
            fn $name(start: $number, steps in proptest::collection::vec((0..9u8, any::<$number>()), 0..40)) {
                let value = RawValue::new(start).unwrap();
                let mut model = start;
                for (what, operand) in steps {
                    let before = model;
                    let found = match what {
                        0 => { model = model.wrapping_add(operand); value.fetch_add(operand) }
                        1 => { model = model.wrapping_sub(operand); value.fetch_sub(operand) }
                        2 => { model = model.max(operand); value.fetch_max(operand) }
                        3 => { model = model.min(operand); value.fetch_min(operand) }
                        4 => { model &= operand; value.fetch_and(operand) }
                        5 => { model |= operand; value.fetch_or(operand) }
                        6 => { model ^= operand; value.fetch_xor(operand) }
                        7 => { model = operand; value.swap(operand) }
                        _ => {
                            let missed = value.compare_exchange(operand, 0).unwrap();
                            prop_assert_eq!(missed, if operand == before { Ok(before) } else { Err(before) });
                            value.set(before).unwrap();
                            model = operand;
                            value.compare_exchange(before, operand).unwrap().map_err(|_| unreachable!())
                        }
                    };
                    prop_assert_eq!(found.unwrap(), before);
                    prop_assert_eq!(value.get().unwrap(), model);
                }
            }
        }
    )* };
}

numbers_do_what_atomics_do! {
    bytes u8,
    signed_bytes i8,
    halves u16,
    signed_halves i16,
    words u32,
    signed_words i32,
    longs u64,
    signed_longs i64,
    sizes usize,
    signed_sizes isize,
}

#[test]
fn floats_have_their_operations() {
    let float = RawValue::new(1.5f32).unwrap();
    assert_eq!(float.fetch_add(2.0).unwrap(), 1.5);
    assert_eq!(float.fetch_sub(1.0).unwrap(), 3.5);
    assert_eq!(float.fetch_max(2.0).unwrap(), 2.5);
    assert_eq!(float.fetch_max(9.0).unwrap(), 2.5);
    assert_eq!(float.fetch_min(-1.0).unwrap(), 9.0);
    assert_eq!(float.swap(0.0).unwrap(), -1.0);
    assert_eq!(float.compare_exchange(-0.0, 4.0).unwrap(), Err(0.0), "by their bits");
    assert_eq!(float.compare_exchange(0.0, f32::NAN).unwrap(), Ok(0.0));
    assert!(float.get().unwrap().is_nan());
}

#[test]
fn a_lock_is_given_or_made() {
    let lock = RLock::new().unwrap();
    let (a, b) = (Value::with_lock(1u8, &lock).unwrap(), Value::with_lock(2u8, &lock).unwrap());
    let guard = a.lock().unwrap();
    assert!(lock.is_locked());
    thread::scope(|scope| {
        let other = || {
            assert!(matches!(b.try_lock(), Err(LockError::TimedOut)));
            assert!(matches!(b.lock_timeout(Duration::ZERO), Err(LockError::TimedOut)));
            // Without the lock nobody is kept from it.
            b.raw().set(3).unwrap();
        };
        scope.spawn(other);
    });
    // It is recursive.
    b.update(|two| two + 1).unwrap();
    drop(guard);
    assert_eq!((a.get().unwrap(), b.get().unwrap()), (1, 4));
    let wrapped = Value::synchronized(b.raw().clone(), RLock::new().unwrap());
    assert_eq!(wrapped.replace(5).unwrap(), 4);
    assert_eq!(b.get().unwrap(), 5);
    assert_eq!(a.copy().unwrap().get_lock().depth(), 0);
    assert_eq!(format!("{a:?}"), "Value { raw: RawValue(1), lock: RLock(nobody, 0) }");
}

#[test]
fn a_guard_has_all_operations() {
    let value = Value::new(10u16).unwrap();
    let mut guard = value.lock().unwrap();
    assert_eq!(guard.replace(11).unwrap(), 10);
    assert_eq!(guard.update(|eleven| eleven * 2).unwrap(), 22);
    assert_eq!(guard.fetch_add(1).unwrap(), 22);
    guard.set(guard.get().unwrap() + 1).unwrap();
    assert!(!guard.is_after_death());
    guard.repair();
    assert_eq!(value.get_lock().depth(), 1);
    drop(guard);
    assert_eq!(value.get().unwrap(), 24);
    assert!(!value.get_lock().is_locked());
}

#[test]
fn a_panic_leaves_the_value_and_unlocks_it() {
    let value = Value::new(7i32).unwrap();
    let update = || value.update(|_| panic!("on purpose")).map(drop);
    assert!(catch_unwind(AssertUnwindSafe(update)).is_err());
    assert_eq!(value.get_lock().depth(), 0);
    assert_eq!(value.get().unwrap(), 7);
}
