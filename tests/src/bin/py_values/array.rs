//! CPython's `_TestArray`, and what of arrays it does not ask.

use procession::RawArray;
use procession::prelude::*;

use crate::stage::{Row, next, value};

pub(crate) const ROWS: &[Row] = &[
    ("array::array", array),
    ("array::array_from_size", array_from_size),
    ("array::rawarray", rawarray),
    ("array::getobj_getlock_obj", getobj_getlock_obj),
    ("array::large_arrays_are_shared", large_arrays_are_shared),
    ("array::items_of_several_writers_are_exact", items_of_several_writers_are_exact),
];

const NUMBERS: [i32; 10] = [680, 626, 934, 821, 150, 233, 548, 982, 714, 831];

fn add_up(numbers: &mut [i32]) {
    for at in 1..numbers.len() {
        numbers[at] += numbers[at - 1];
    }
}

fn array() {
    let numbers = Array::from_slice(&NUMBERS).unwrap();
    let mut model = NUMBERS.to_vec();
    assert_eq!(numbers.len(), model.len());
    assert_eq!(numbers.get(3).unwrap(), model[3]);
    assert_eq!(numbers.read_vec(2..7).unwrap(), &model[2..7]);
    numbers.write(4, &[1, 2, 3, 4]).unwrap();
    model[4..8].copy_from_slice(&[1, 2, 3, 4]);
    assert_eq!(numbers.to_vec().unwrap(), model);
    add_up(&mut model);
    let change = |numbers: Array<i32>| numbers.update(.., add_up).map_err(Into::into);
    let child: Process<procession::Result<()>> =
        Process::spawn(change, (numbers.clone(),)).unwrap();
    value(&child).unwrap();
    assert_eq!(numbers.to_vec().unwrap(), model);
}

fn rawarray() {
    let numbers = RawArray::from_slice(&NUMBERS).unwrap();
    let mut model = NUMBERS.to_vec();
    assert_eq!(numbers.len(), model.len());
    assert_eq!(numbers.get(3).unwrap(), model[3]);
    assert_eq!(numbers.read_vec(2..7).unwrap(), &model[2..7]);
    numbers.write(4, &[1, 2, 3, 4]).unwrap();
    model[4..8].copy_from_slice(&[1, 2, 3, 4]);
    assert_eq!(numbers.to_vec().unwrap(), model);
    add_up(&mut model);
    let change = |numbers: RawArray<i32>| {
        for at in 1..numbers.len() {
            let sum = numbers.get(at).unwrap() + numbers.get(at - 1).unwrap();
            numbers.set(at, sum).unwrap();
        }
    };
    value(&Process::spawn(change, (numbers.clone(),)).unwrap());
    let items: Vec<i32> = numbers.iter().map(Result::unwrap).collect();
    assert_eq!(items, model);
}

/// Also where the memory was used before.
fn array_from_size() {
    for len in [10, 100, 100_000] {
        for _ in 0..3 {
            let numbers = Array::<i32>::new(len).unwrap();
            assert_eq!(numbers.len(), len);
            assert!(numbers.to_vec().unwrap().iter().all(|number| *number == 0));
            let fill = |numbers: Array<i32>| numbers.fill(-1).unwrap();
            value(&Process::spawn(fill, (numbers.clone(),)).unwrap());
            assert!(numbers.to_vec().unwrap().iter().all(|number| *number == -1));
        }
    }
}

/// What a raw array does not have, the compiler says.
fn getobj_getlock_obj() {
    let lock = RLock::new().unwrap();
    let own = Array::from_iter(0..10).unwrap();
    let given = Array::synchronized(RawArray::from_iter(0..10).unwrap(), lock.clone());
    assert_eq!(own.raw().to_vec().unwrap(), given.raw().to_vec().unwrap());
    let look = |own: Array<i32>, given: Array<i32>, lock: RLock| {
        let guard = given.lock().unwrap();
        assert!(lock.owner().unwrap().is_this_thread, "it is that very lock");
        assert!(!own.get_lock().is_locked());
        guard.set(0, 5).unwrap();
    };
    value(&Process::spawn(look, (own, given.clone(), lock.clone())).unwrap());
    assert_eq!(given.get(0).unwrap(), 5);
    assert!(!lock.is_locked());
}

/// 8 MiB, which go to a child, by pipe to another, and come back.
fn large_arrays_are_shared() {
    const LEN: usize = 1 << 20;
    let numbers = Array::<u64>::new(LEN).unwrap();
    let (tx, rx) = pipe::<Array<u64>>().unwrap();
    let (back, returned) = pipe::<Array<u64>>().unwrap();
    let receive = |rx: Receiver<Array<u64>>, back: Sender<Array<u64>>| {
        let numbers = next(&rx);
        let half: Vec<u64> = (0..LEN as u64 / 2).collect();
        numbers.write(LEN / 2, &half).unwrap();
        back.send(numbers).unwrap();
    };
    let other = Process::spawn(receive, (rx, back)).unwrap();
    let write = |numbers: Array<u64>, tx: Sender<Array<u64>>| {
        let half: Vec<u64> = (0..LEN as u64 / 2).collect();
        numbers.write(0, &half).unwrap();
        tx.send(numbers).unwrap();
    };
    let child = Process::spawn(write, (numbers.clone(), tx)).unwrap();
    value(&child);
    let same = next(&returned);
    value(&other);
    let half = 0..LEN as u64 / 2;
    assert!(numbers.to_vec().unwrap().into_iter().eq(half.clone().chain(half)));
    same.set(7, 1).unwrap();
    assert_eq!(numbers.get(7).unwrap(), 1);
}

/// Neighbours in a word, each with its writer, and one that all write.
fn items_of_several_writers_are_exact() {
    const COUNTS: u16 = 20_000;
    let bytes = RawArray::<u16>::new(4).unwrap();
    let count = |bytes: RawArray<u16>, mine: usize| {
        for round in 1..=COUNTS {
            bytes.set(mine, round).unwrap();
            assert_eq!(bytes.get(mine).unwrap(), round, "a neighbour's write does not undo it");
            bytes.fetch_add(3, 1).unwrap();
        }
    };
    let start = |mine| Process::spawn(count, (bytes.clone(), mine)).unwrap();
    let children: Vec<_> = (0..3usize).map(start).collect();
    children.iter().for_each(value);
    assert_eq!(bytes.to_vec().unwrap(), [COUNTS, COUNTS, COUNTS, 60_000]);
}
