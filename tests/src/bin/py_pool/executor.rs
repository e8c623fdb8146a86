//! CPython's `ExecutorTest`: what its executors of threads and of processes have in common.

use procession::{TaskError, pipe};
use serde::{Deserialize, Serialize};

use crate::stage::{Row, SHORT, gate, goes_on, hold, many, pass, pool, sqr, squares};

pub(crate) const ROWS: &[Row] = &[
    ("executor::submit", submit),
    ("executor::submit_keyword", submit_keyword),
    ("executor::map", map),
    ("executor::map_exception", map_exception),
    ("executor::map_timeout", map_timeout),
    ("executor::shutdown_race_issue12456", shutdown_race),
];

fn power(base: i64, exponent: u32) -> i64 {
    base.pow(exponent)
}

fn submit() {
    let pool = pool(2);
    let call = pool.apply_async(power, (2, 8));
    assert_eq!(call.get().unwrap(), 256);
}

/// Arguments whose names a function of the pool has as well.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Keywords {
    function: i64,
    args: Vec<i64>,
    tasks: Option<String>,
}

/// Keywords are the fields of a struct. A call without a function does not compile.
fn submit_keyword() {
    let pool = pool(2);
    let keywords = || Keywords { function: 1, args: vec![2], tasks: None };
    let back = |keywords: Keywords, and: i64| (keywords, and);
    assert_eq!(pool.apply_async(back, (keywords(), 8)).get().unwrap(), (keywords(), 8));
}

fn map() {
    let pool = pool(2);
    let pairs = || (0..10).zip(0..10);
    let powers: Vec<_> = pairs().map(|(base, exponent)| power(base, exponent)).collect();
    assert_eq!(pool.starmap(power, pairs()).unwrap(), powers);
    assert_eq!(pool.tasks().chunk(many(3)).starmap(power, pairs()).unwrap(), powers);
    let pair = |(base, exponent)| power(base, exponent);
    assert!(pool.imap(pair, pairs()).map(Result::unwrap).eq(powers));
}

/// The results before the task that fails are given, then its error; other than in Python the iterator goes on.
fn map_exception() {
    let pool = pool(2);
    let divide = |(a, b): (i64, i64)| match a.checked_div(b) {
        Some(quotient) => quotient,
        None => panic!("on purpose: {a} / {b}"),
    };
    let mut quotients = pool.imap(divide, [(1, 2), (9, 3), (1, 0), (8, 2)]);
    assert_eq!(quotients.next().unwrap().unwrap(), 0);
    assert_eq!(quotients.next().unwrap().unwrap(), 3);
    let error = quotients.next().unwrap().unwrap_err();
    assert!(error.to_string().contains("1 / 0") && error.index() == 2, "{error}");
    assert_eq!(quotients.next().unwrap().unwrap(), 4);
    assert!(quotients.next().is_none());
}

/// The time is each task's own, from its beginning: those that end in time are kept.
fn map_timeout() {
    let (pool, gate) = (pool(2), gate());
    let tasks = pool.tasks().timeout(SHORT);
    let never = |(x, is_late, gate)| match is_late {
        true => hold(x, gate),
        false => x,
    };
    let mut results = tasks.imap(never, (0..3).map(|x| (x, x == 2, gate.clone())));
    assert_eq!(results.next().unwrap().unwrap(), 0);
    assert_eq!(results.next().unwrap().unwrap(), 1);
    let error = results.next().unwrap().unwrap_err();
    assert!(matches!(error, TaskError::TimedOut { index: 2, ran_for } if ran_for >= SHORT));
    assert!(results.next().is_none());
    goes_on(&pool);
}

/// A pool that is closed while more wait than it has workers ends, and has done them all.
fn shutdown_race() {
    for _ in 0..10 {
        let pool = pool(2);
        let (tx, rx) = pipe::<()>().unwrap();
        let call = pool.map_async(sqr, 0..3);
        let late = pool.apply_async(
            |tx: procession::Sender<()>| {
                pass(SHORT / 10);
                tx.send(()).unwrap();
            },
            (tx,),
        );
        pool.close();
        pool.join().unwrap();
        assert_eq!(call.get().unwrap(), squares(0..3));
        late.get().unwrap();
        rx.recv().unwrap();
    }
}
