//! CPython's `_TestValue`, and what of values it does not ask.

use procession::RawValue;
use procession::prelude::*;

use crate::stage::{Row, value};

pub(crate) const ROWS: &[Row] = &[
    ("value::value", locked),
    ("value::rawvalue", rawvalue),
    ("value::getobj_getlock", getobj_getlock),
    ("value::counts_under_the_lock_are_exact", counts_under_the_lock_are_exact),
    ("value::counts_without_a_lock_are_exact", counts_without_a_lock_are_exact),
    ("value::a_release_is_seen_with_what_was_done_before", a_release_is_seen),
];

/// As in CPython's test: integers of three sizes, a float, and a byte; here all that are plain, and structures.
macro_rules! codes_values {
    ($check:ident) => {
        $check!(i32, 4343, 24_234);
        $check!(f64, 3.625, -4.25);
        $check!(i16, -232, 234);
        $check!(i64, 1 << 33, 1 << 34);
        $check!(u8, b'x', b'y');
        $check!(bool, false, true);
        $check!(char, 'x', '\u{10FFFF}');
        $check!([u16; 3], [1, 2, 3], [u16::MAX; 3]);
        $check!(u64, 0, u64::MAX);
    };
}

fn locked() {
    macro_rules! check {
        ($ty:ty, $before:expr, $after:expr) => {
            let shared = Value::<$ty>::new($before).unwrap();
            assert_eq!(shared.get().unwrap(), $before);
            let change = |shared: Value<$ty>| {
                assert_eq!(shared.get().unwrap(), $before);
                shared.set($after).unwrap();
            };
            value(&Process::spawn(change, (shared.clone(),)).unwrap());
            assert_eq!(shared.get().unwrap(), $after);
        };
    }
    codes_values!(check);
}

fn rawvalue() {
    macro_rules! check {
        ($ty:ty, $before:expr, $after:expr) => {
            let shared = RawValue::<$ty>::new($before).unwrap();
            assert_eq!(shared.get().unwrap(), $before);
            let change = |shared: RawValue<$ty>| {
                assert_eq!(shared.get().unwrap(), $before);
                shared.set($after).unwrap();
            };
            value(&Process::spawn(change, (shared.clone(),)).unwrap());
            assert_eq!(shared.get().unwrap(), $after);
        };
    }
    codes_values!(check);
}

/// That a raw value has no lock, and that nothing else is taken for one, says the compiler.
fn getobj_getlock() {
    let own = Value::new(5).unwrap();
    assert_eq!((own.get_lock().depth(), own.raw().get().unwrap()), (0, 5));
    let lock = RLock::new().unwrap();
    let given = Value::with_lock(6, &lock).unwrap();
    let look = |given: Value<i32>, lock: RLock| {
        let _guard = lock.lock().unwrap();
        assert!(given.get_lock().owner().unwrap().is_this_thread, "it is that very lock");
        given.raw().set(7).unwrap();
    };
    value(&Process::spawn(look, (given.clone(), lock.clone())).unwrap());
    assert_eq!(given.get().unwrap(), 7);
    assert!(!lock.is_locked() && !own.get_lock().is_locked());
}

#[derive(Debug, Clone, Copy, PartialEq, Plain)]
struct Sums {
    count: u32,
    sum: u64,
    squares: [f64; 2],
}

fn counts_under_the_lock_are_exact() {
    const COUNTS: u32 = 1000;
    let zero = Sums { count: 0, sum: 0, squares: [0.0; 2] };
    let sums = Value::new(zero).unwrap();
    let add = |sums: Value<Sums>| {
        for number in 0..COUNTS {
            let change = |Sums { count, sum, squares: [even, odd] }| {
                // Whoever could come in between, does.
                std::thread::yield_now();
                let squares = [even + 1.0, odd - 1.0];
                Sums { count: count + 1, sum: sum + u64::from(number), squares }
            };
            sums.update(change).unwrap();
        }
    };
    let children: Vec<_> = (0..3).map(|_| Process::spawn(add, (sums.clone(),)).unwrap()).collect();
    children.iter().for_each(value);
    let count = 3 * COUNTS;
    let expected = Sums {
        count,
        sum: 3 * u64::from(COUNTS) * u64::from(COUNTS - 1) / 2,
        squares: [f64::from(count), -f64::from(count)],
    };
    assert_eq!(sums.get().unwrap(), expected);
}

fn counts_without_a_lock_are_exact() {
    const COUNTS: i64 = 10_000;
    let (number, float) = (RawValue::new(0i64).unwrap(), RawValue::new(0f32).unwrap());
    let small = RawValue::new(0u8).unwrap();
    let add = |number: RawValue<i64>, float: RawValue<f32>, small: RawValue<u8>| {
        for _ in 0..COUNTS {
            number.fetch_sub(2).unwrap();
            float.fetch_add(0.5).unwrap();
            small.fetch_add(1).unwrap();
        }
    };
    let start = |_| Process::spawn(add, (number.clone(), float.clone(), small.clone())).unwrap();
    let children: Vec<_> = (0..3).map(start).collect();
    children.iter().for_each(value);
    assert_eq!(number.get().unwrap(), -6 * COUNTS);
    assert_eq!(float.get().unwrap(), 15_000.0);
    assert_eq!(small.get().unwrap(), 48, "30,000 without what does not fit");
}

fn a_release_is_seen() {
    const ROUNDS: u64 = 20_000;
    let (data, flag) = (RawValue::new(0u64).unwrap(), RawValue::new(0u64).unwrap());
    let write = |data: RawValue<u64>, flag: RawValue<u64>| {
        for round in 1..=ROUNDS {
            data.set(round).unwrap();
            flag.set(round).unwrap();
        }
    };
    let child = Process::spawn(write, (data.clone(), flag.clone())).unwrap();
    let mut seen = 0;
    while seen < ROUNDS {
        seen = flag.get().unwrap();
        let found = data.get().unwrap();
        assert!(found >= seen, "{found} is older than {seen}");
    }
    value(&child);
}
