//! How values and arrays go from process to process.

use std::collections::BTreeMap;

use procession::prelude::*;
use procession::{RawArray, RawValue, ShareableList};
use serde::{Deserialize, Serialize};

use crate::stage::{Row, next, value};

pub(crate) const ROWS: &[Row] = &[
    ("handles::they_go_everywhere_and_stay_the_same", they_go_everywhere),
    ("handles::a_child_makes_them_and_returns_them", a_child_makes_them_and_returns_them),
    ("handles::a_task_of_a_pool_has_them", a_task_of_a_pool_has_them),
];

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Board {
    counts: BTreeMap<String, Value<u64>>,
    flags: RawArray<bool>,
    scores: Option<Array<f32>>,
    turn: RawValue<char>,
    names: ShareableList,
}

fn they_go_everywhere() {
    let board = Board {
        counts: BTreeMap::from([("a".into(), Value::new(1).unwrap())]),
        flags: RawArray::new(2).unwrap(),
        scores: Some(Array::new(2000).unwrap()),
        turn: RawValue::new('x').unwrap(),
        names: ShareableList::new(["Zoë", "Bob"]).unwrap(),
    };
    let (tx, rx) = pipe::<Board>().unwrap();
    let pass_on = |rx: Receiver<Board>| -> Board {
        let board = next(&rx);
        let grandchild = |board: Board| {
            board.counts["a"].update(|count| count + 41).unwrap();
            board.flags.set(1, true).unwrap();
            board.scores.unwrap().set(1999, 0.5).unwrap();
            board.turn.set('o').unwrap();
            board.names.set(1, 7).unwrap();
        };
        value(&Process::spawn(grandchild, (board.clone(),)).unwrap());
        board
    };
    let child = Process::spawn(pass_on, (rx,)).unwrap();
    tx.send(board.clone()).unwrap();
    let returned = value(&child);
    returned.counts["a"].update(|count| count + 100).unwrap();
    assert_eq!(board.counts["a"].get().unwrap(), 142);
    assert_eq!(board.flags.to_vec().unwrap(), [false, true]);
    assert_eq!(board.scores.unwrap().get(1999).unwrap(), 0.5);
    assert_eq!(board.turn.get().unwrap(), 'o');
    assert_eq!(board.names.to_vec().unwrap(), ["Zoë".into(), 7.into()]);
}

fn a_child_makes_them_and_returns_them() {
    let make = || (Value::new(5u8).unwrap(), Array::from_iter(0..5000u16).unwrap());
    let child = Process::spawn(make, ()).unwrap();
    let (number, numbers) = value(&child);
    drop(child);
    assert_eq!(number.update(|number| number + 1).unwrap(), 6);
    assert!(numbers.to_vec().unwrap().into_iter().eq(0..5000));
}

fn a_task_of_a_pool_has_them() {
    let pool = Pool::new().unwrap();
    let total = Value::new(0u64).unwrap();
    let squares = RawArray::<u64>::new(100).unwrap();
    let work = |(total, squares, number): (Value<u64>, RawArray<u64>, usize)| {
        let square = (number * number) as u64;
        squares.set(number, square).unwrap();
        total.update(|total| total + square).unwrap();
    };
    let tasks = (0..100).map(|number| (total.clone(), squares.clone(), number));
    pool.map(work, tasks.collect::<Vec<_>>()).unwrap();
    assert_eq!(total.get().unwrap(), 328_350);
    assert_eq!(squares.get(9).unwrap(), 81);
}
