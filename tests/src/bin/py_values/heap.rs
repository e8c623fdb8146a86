//! CPython's `_TestHeap`, asked of what can be seen: memory that is taken and given back, again and again.

use procession::RawArray;
use procession::prelude::*;
use procession::shared::pool;
use procession_core::family::Family;
use procession_sys::fd::open_descriptors;
use procession_tests::{Random, wait_until};

use crate::stage::{Row, next, value};

pub(crate) const ROWS: &[Row] = &[
    ("heap::heap", heap),
    ("heap::what_others_let_go_is_given_back", what_others_let_go_is_given_back),
];

/// An array that has nothing but its own number in it.
struct Owned {
    numbers: RawArray<u32>,
    number: u32,
}

impl Owned {
    fn new(len: usize, number: u32) -> Self {
        let numbers = RawArray::new(len).unwrap();
        assert!(numbers.to_vec().unwrap().iter().all(|item| *item == 0), "it begins as zero");
        numbers.fill(number).unwrap();
        Self { numbers, number }
    }

    fn is_whole(&self) -> bool {
        self.numbers.to_vec().unwrap().iter().all(|item| *item == self.number)
    }
}

/// Sizes over many orders of magnitude, as those of CPython's test: most are small.
fn size(random: &mut Random) -> usize {
    let most = 1 << random.below(15);
    random.below(most) + 1
}

fn heap() {
    const MOST: usize = 50;
    let mut random = Random::from_environment();
    let family = Family::current().unwrap();
    // What only the first needs.
    drop(RawArray::<u8>::new(10_000).unwrap());
    pool::trim().unwrap();
    let (objects, files) = (family.objects(), open_descriptors().unwrap().len());
    let mut live: Vec<Owned> = Vec::new();
    for number in 1..=5000 {
        live.push(Owned::new(size(&mut random), number));
        if live.len() > MOST {
            for _ in 0..random.below(MOST) {
                let gone = live.swap_remove(random.below(live.len()));
                assert!(gone.is_whole(), "nobody wrote over {}", gone.number);
            }
        }
    }
    assert!(live.iter().all(Owned::is_whole));
    live.clear();
    pool::trim().unwrap();
    assert_eq!(family.objects(), objects, "all is given back");
    assert_eq!(open_descriptors().unwrap().len(), files);
}

fn what_others_let_go_is_given_back() {
    let family = Family::current().unwrap();
    let (tx, rx) = pipe::<Vec<Array<u64>>>().unwrap();
    let make = |tx: Sender<Vec<Array<u64>>>| {
        let arrays = [1, 10, 100, 1000].map(|len| Array::filled(len, 7u64).unwrap());
        tx.send(arrays.into()).unwrap();
    };
    let objects = family.objects();
    value(&Process::spawn(make, (tx,)).unwrap());
    let arrays = next(&rx);
    assert!(family.objects() >= objects + 8, "arrays and locks");
    // They outlive their maker.
    assert!(arrays.iter().all(|array| array.to_vec().unwrap().iter().all(|item| *item == 7)));
    drop((arrays, rx));
    wait_until("all is given back", || family.collect().is_ok() && family.objects() <= objects);
}
