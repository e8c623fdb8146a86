//! Sequences that are frozen and sent.

use procession::Pool;
use procession::prelude::*;
use procession_shared::{SharedSlice, SharedVec};
use procession_tests::SOON;

use crate::{Row, value};

pub(crate) const ROWS: &[Row] = &[
    ("sequences::a_gibibyte_arrives_without_being_copied", a_gibibyte),
    ("sequences::each_worker_of_a_pool_has_the_same", each_worker_of_a_pool_has_the_same),
    ("sequences::it_outlives_its_maker", it_outlives_its_maker),
];

fn a_gibibyte() {
    let len = 1 << 27;
    let mut numbers = SharedVec::<u64>::zeroed(len).unwrap();
    numbers[len - 1] = 42;
    let numbers = numbers.freeze().unwrap();
    let child = |numbers: SharedSlice<u64>| (numbers.len(), numbers[numbers.len() - 1]);
    let child = Process::spawn(child, (numbers.clone(),)).unwrap();
    assert_eq!(value(&child), (len, 42));
}

fn each_worker_of_a_pool_has_the_same() {
    let numbers: Vec<u32> = (0..100_000).collect();
    let all = SharedSlice::from_slice(&numbers).unwrap();
    let parts: Vec<SharedSlice<u32>> =
        (0..20).map(|at| all.slice(at * 5000..(at + 1) * 5000).unwrap()).collect();
    let sum = |part: SharedSlice<u32>| part.iter().map(|number| u64::from(*number)).sum::<u64>();
    let pool = Pool::new().unwrap();
    let sums: Vec<u64> = pool.map(sum, parts).unwrap();
    assert_eq!(sums.iter().sum::<u64>(), 99_999 * 100_000 / 2);
}

fn it_outlives_its_maker() {
    let (tx, rx) = pipe::<SharedSlice<u16>>().unwrap();
    let make = |tx: Sender<SharedSlice<u16>>| {
        tx.send(SharedSlice::from_slice(&[1, 2, 3]).unwrap()).unwrap();
    };
    let child = Process::spawn(make, (tx,)).unwrap();
    value(&child);
    let received = rx.recv_timeout(SOON).unwrap();
    assert_eq!(received[..], [1, 2, 3]);
}
