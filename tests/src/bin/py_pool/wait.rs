//! CPython's `WaitTests`, of results that a pool makes.

use procession::{AsyncResult, Event, Pool, ReturnWhen, wait_for};
use procession_tests::SOON;

use crate::stage::{Row, SHORT, fail, gate, hold, pool, sqr, takes};

pub(crate) const ROWS: &[Row] = &[
    ("wait::first_completed", first_completed),
    ("wait::first_completed_some_already_completed", some_already_completed),
    ("wait::first_exception", first_exception),
    ("wait::first_exception_some_already_complete", first_exception_some_already_complete),
    ("wait::first_exception_one_already_failed", one_already_failed),
    ("wait::all_completed", all_completed),
    ("wait::timeout", timeout),
];

/// A call that is done.
fn done(pool: &Pool) -> AsyncResult<i64> {
    let call = pool.apply_async(sqr, (3,));
    call.wait();
    call
}

/// A call that has failed.
fn failed(pool: &Pool) -> AsyncResult<i64> {
    let call = pool.apply_async(fail, (3,));
    call.wait();
    call
}

/// Some that were cancelled.
fn cancelled(pool: &Pool, gate: &Event) -> AsyncResult<i64> {
    let call = pool.apply_async(hold, (3, gate.clone()));
    call.cancel();
    call.wait();
    call
}

fn sorted(mut places: Vec<usize>) -> Vec<usize> {
    places.sort_unstable();
    places
}

fn first_completed() {
    let (pool, gate, other) = (pool(2), gate(), gate());
    let calls =
        [pool.apply_async(hold, (1, gate.clone())), pool.apply_async(hold, (2, other.clone()))];
    other.set().unwrap();
    assert_eq!(wait_for(&calls, ReturnWhen::FirstCompleted, SOON), [1]);
    gate.set().unwrap();
    assert_eq!(wait_for(&calls, ReturnWhen::AllCompleted, SOON).len(), 2);
}

fn some_already_completed() {
    let (pool, gate) = (pool(2), gate());
    let calls = [
        cancelled(&pool, &gate),
        failed(&pool),
        pool.apply_async(hold, (1, gate.clone())),
        done(&pool),
    ];
    let there = wait_for(&calls, ReturnWhen::FirstCompleted, SOON);
    assert_eq!(sorted(there), [0, 1, 3]);
    gate.set().unwrap();
}

/// A value is no reason to go on.
fn first_exception() {
    let (pool, first, second, third) = (pool(3), gate(), gate(), gate());
    let late = |gate: Event| fail(hold(1, gate));
    let calls = [
        pool.apply_async(hold, (1, first.clone())),
        pool.apply_async(late, (second.clone(),)),
        pool.apply_async(hold, (2, third.clone())),
    ];
    first.set().unwrap();
    let in_vain = takes(SHORT, || wait_for(&calls, ReturnWhen::FirstError, SHORT));
    assert_eq!(in_vain, [0]);
    second.set().unwrap();
    assert_eq!(wait_for(&calls, ReturnWhen::FirstError, SOON), [0, 1]);
    third.set().unwrap();
}

/// Other than in Python what was cancelled is an error as any other.
fn first_exception_some_already_complete() {
    let (pool, gate, other) = (pool(2), gate(), gate());
    let late = |gate: Event| fail(hold(1, gate));
    let calls = [
        done(&pool),
        pool.apply_async(late, (other.clone(),)),
        pool.apply_async(hold, (1, gate.clone())),
    ];
    other.set().unwrap();
    assert_eq!(wait_for(&calls, ReturnWhen::FirstError, SOON), [0, 1]);
    let calls = [cancelled(&pool, &gate), pool.apply_async(hold, (1, gate.clone()))];
    assert_eq!(wait_for(&calls, ReturnWhen::FirstError, SOON), [0]);
    gate.set().unwrap();
}

fn one_already_failed() {
    let (pool, gate) = (pool(1), gate());
    let calls = [failed(&pool), pool.apply_async(hold, (1, gate.clone()))];
    assert_eq!(wait_for(&calls, ReturnWhen::FirstError, SOON), [0]);
    gate.set().unwrap();
}

fn all_completed() {
    let (pool, gate) = (pool(2), gate());
    let calls = [
        done(&pool),
        cancelled(&pool, &gate),
        failed(&pool),
        pool.apply_async(sqr, (1,)),
        pool.apply_async(fail, (1,)),
    ];
    let there = wait_for(&calls, ReturnWhen::AllCompleted, SOON);
    assert_eq!(sorted(there), [0, 1, 2, 3, 4]);
}

fn timeout() {
    let (pool, gate) = (pool(2), gate());
    let calls = [
        cancelled(&pool, &gate),
        failed(&pool),
        pool.apply_async(hold, (1, gate.clone())),
        done(&pool),
    ];
    let there = takes(SHORT, || wait_for(&calls, ReturnWhen::AllCompleted, SHORT));
    assert_eq!(sorted(there), [0, 1, 3]);
    gate.set().unwrap();
    assert_eq!(wait_for(&calls, ReturnWhen::AllCompleted, SOON).len(), 4);
}
