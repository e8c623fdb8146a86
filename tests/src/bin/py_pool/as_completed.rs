//! CPython's `AsCompletedTests`, of results that a pool makes.

use procession::{ReturnWhen, TaskError, as_completed, wait_for};
use procession_tests::SOON;

use crate::stage::{Row, SHORT, fail, gate, hold, pool, sqr, takes};

pub(crate) const ROWS: &[Row] = &[
    ("as_completed::no_timeout", no_timeout),
    ("as_completed::future_times_out", future_times_out),
    ("as_completed::correct_timeout_exception_msg", how_many_are_left),
];

/// All of them, each once: those that are there, and those that come.
fn no_timeout() {
    let (pool, gate) = (pool(4), gate());
    let calls = [
        pool.apply_async(fail, (0,)),
        pool.apply_async(sqr, (1,)),
        pool.apply_async(hold, (2, gate.clone())),
        pool.apply_async(hold, (3, gate.clone())),
    ];
    assert_eq!(wait_for(&calls[..2], ReturnWhen::AllCompleted, SOON).len(), 2);
    calls[2].cancel();
    let mut results = Vec::new();
    for (place, result) in as_completed(calls) {
        results.push((place, result.map_err(|error| matches!(error, TaskError::Cancelled { .. }))));
        if results.len() == 3 {
            gate.set().unwrap();
        }
    }
    results.sort_unstable();
    assert_eq!(results, [(0, Err(false)), (1, Ok(1)), (2, Err(true)), (3, Ok(3))]);
}

/// Other than in Python the time is that of `wait_for`, which says which are there.
fn future_times_out() {
    let (pool, gate) = (pool(2), gate());
    for timeout in [std::time::Duration::ZERO, SHORT] {
        let done = pool.apply_async(sqr, (1,));
        done.wait();
        let calls = [done, pool.apply_async(hold, (2, gate.clone()))];
        let there = takes(timeout, || wait_for(&calls, ReturnWhen::AllCompleted, timeout));
        assert_eq!(there, [0]);
        let mut results = as_completed(calls);
        let (place, result) = results.next().unwrap();
        assert_eq!((place, result.unwrap()), (0, 1));
    }
    gate.set().unwrap();
}

fn how_many_are_left() {
    let (pool, gate) = (pool(4), gate());
    let calls = [1, 2, 3, 4].map(|x| (x, gate.clone()));
    let calls = calls.map(|(x, gate)| match x {
        1 | 2 => pool.apply_async(sqr, (x,)),
        _ => pool.apply_async(hold, (x, gate)),
    });
    let mut results = as_completed(calls);
    let mut early = [results.next(), results.next()].map(|result| result.unwrap().1.unwrap());
    early.sort_unstable();
    assert_eq!((early, results.len(), results.size_hint()), ([1, 4], 2, (2, Some(2))));
    gate.set().unwrap();
    assert_eq!(results.count(), 2);
}
