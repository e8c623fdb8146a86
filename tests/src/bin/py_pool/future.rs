//! CPython's `FutureTests`, of results that a pool makes.

use std::sync::mpsc;
use std::thread;

use procession::{AsyncResult, Event, TaskError};
use procession_tests::{SOON, wait_until};

use crate::stage::{Row, SHORT, fail, gate, goes_on, hold, meet, pool, sqr, takes};

pub(crate) const ROWS: &[Row] = &[
    ("future::done_callback_with_result", done_callback_with_result),
    ("future::done_callback_with_exception", done_callback_with_exception),
    ("future::done_callback_with_cancel", done_callback_with_cancel),
    ("future::done_callback_raises", done_callback_raises),
    ("future::done_callback_already_successful", done_callback_already_successful),
    ("future::done_callback_already_failed", done_callback_already_failed),
    ("future::done_callback_already_cancelled", done_callback_already_cancelled),
    ("future::done_callback_raises_already_succeeded", done_callback_raises_already_succeeded),
    ("future::repr", repr),
    ("future::cancel", cancel),
    ("future::cancelled", cancelled),
    ("future::done", done),
    ("future::running", running),
    ("future::result_with_timeout", result_with_timeout),
    ("future::result_with_success", result_with_success),
    ("future::result_with_cancel", result_with_cancel),
    ("future::exception_with_timeout", exception_with_timeout),
    ("future::exception_with_success", exception_with_success),
];

/// What a callback was told: the value, or the error.
type Told = Result<i64, TaskError>;

/// The call, and what its callback will be told.
fn told_of(call: AsyncResult<i64>) -> (AsyncResult<i64>, mpsc::Receiver<Told>) {
    let (told, tells) = mpsc::channel();
    // Who has seen enough may be gone.
    (call.on_done(move |result| drop(told.send(result.clone()))), tells)
}

/// The callback was called, and is not called again.
#[track_caller]
fn told_once(tells: &mpsc::Receiver<Told>) -> Told {
    let told = tells.recv_timeout(SOON).unwrap();
    assert_eq!(tells.recv().map(drop), Err(mpsc::RecvError), "a callback is there once");
    told
}

fn is_cancelled(told: &Told) -> bool {
    matches!(told, Err(TaskError::Cancelled { index: 0 }))
}

fn is_panic(told: &Told) -> bool {
    matches!(told, Err(TaskError::Panicked { index: 0, panic }) if panic.message == "on purpose: 5")
}

fn done_callback_with_result() {
    let (pool, gate) = (pool(1), gate());
    let (call, tells) = told_of(pool.apply_async(hold, (5, gate.clone())));
    assert_eq!(tells.try_recv().map(drop), Err(mpsc::TryRecvError::Empty));
    gate.set().unwrap();
    assert_eq!(told_once(&tells).unwrap(), 5);
    assert_eq!(call.get().unwrap(), 5);
}

fn done_callback_with_exception() {
    let (pool, gate) = (pool(1), gate());
    let late = |gate: Event| fail(hold(5, gate));
    let (call, tells) = told_of(pool.apply_async(late, (gate.clone(),)));
    assert_eq!(tells.try_recv().map(drop), Err(mpsc::TryRecvError::Empty));
    gate.set().unwrap();
    assert!(is_panic(&told_once(&tells)) && is_panic(&call.get()));
}

fn done_callback_with_cancel() {
    let (pool, gate) = (pool(1), gate());
    let held = pool.apply_async(hold, (5, gate.clone()));
    let (call, tells) = told_of(pool.apply_async(sqr, (5,)));
    call.cancel();
    assert!(is_cancelled(&told_once(&tells)) && is_cancelled(&call.get()));
    gate.set().unwrap();
    assert_eq!(held.get().unwrap(), 5);
}

/// A callback that panics keeps nobody from being told, in the order in which they came.
fn done_callback_raises() {
    let (pool, gate) = (pool(1), gate());
    let (told, tells) = mpsc::channel();
    let (first, second) = (told.clone(), told);
    let call = pool
        .apply_async(hold, (5, gate.clone()))
        .on_done(move |_| {
            first.send(1).unwrap();
            panic!("on purpose");
        })
        .on_done(move |_| second.send(2).unwrap());
    gate.set().unwrap();
    assert_eq!(tells.iter().collect::<Vec<_>>(), [1, 2]);
    assert_eq!(call.get().unwrap(), 5);
    goes_on(&pool);
}

/// It is called at once, here.
fn done_callback_already_successful() {
    let pool = pool(1);
    let call = pool.apply_async(sqr, (5,));
    call.wait();
    let (call, tells) = told_of(call);
    assert_eq!(tells.try_recv().unwrap().unwrap(), 25);
    assert_eq!((told_of(call).1.try_recv().unwrap().unwrap(), tells.try_iter().count()), (25, 0));
}

fn done_callback_already_failed() {
    let pool = pool(1);
    let call = pool.apply_async(fail, (5,));
    call.wait();
    let (call, tells) = told_of(call);
    assert!(is_panic(&tells.try_recv().unwrap()) && is_panic(&call.get()));
}

fn done_callback_already_cancelled() {
    let (pool, gate) = (pool(1), gate());
    let held = pool.apply_async(hold, (5, gate.clone()));
    let call = pool.apply_async(sqr, (5,));
    call.cancel();
    let (call, tells) = told_of(call);
    assert!(is_cancelled(&tells.try_recv().unwrap()) && is_cancelled(&call.get()));
    gate.set().unwrap();
    held.wait();
}

fn done_callback_raises_already_succeeded() {
    let pool = pool(1);
    let call = pool.apply_async(sqr, (5,));
    call.wait();
    let call = call.on_done(|_| panic!("on purpose"));
    let (call, tells) = told_of(call);
    assert_eq!(tells.try_recv().unwrap().unwrap(), 25);
    assert_eq!(call.get().unwrap(), 25);
}

fn repr() {
    let (pool, gate) = (pool(1), gate());
    let call = pool.apply_async(hold, (5, gate.clone()));
    assert_eq!(format!("{call:?}"), "AsyncResult { is_ready: false, .. }");
    gate.set().unwrap();
    call.wait();
    assert_eq!(format!("{call:?}"), "AsyncResult { is_ready: true, .. }");
}

/// What waits, and other than in Python what runs; not what is done.
fn cancel() {
    let (pool, begun) = (pool(1), gate());
    let never = |begun: Event| -> i64 {
        begun.set().unwrap();
        loop {
            thread::park();
        }
    };
    let running = pool.apply_async(never, (begun.clone(),));
    let waiting = pool.apply_async(sqr, (2,));
    meet(&begun);
    for call in [&waiting, &running] {
        call.cancel();
        call.cancel();
    }
    assert!(is_cancelled(&waiting.get()) && is_cancelled(&running.get()));
    let done = pool.apply_async(sqr, (2,));
    done.wait();
    done.cancel();
    assert_eq!(done.get().unwrap(), 4);
    let failed = pool.apply_async(fail, (5,));
    failed.wait();
    failed.cancel();
    assert!(is_panic(&failed.get()));
}

/// Only what was cancelled says so.
fn cancelled() {
    let (pool, gate) = (pool(1), gate());
    let held = pool.apply_async(hold, (5, gate.clone()));
    let waiting = pool.map_async(sqr, 0..10);
    waiting.cancel();
    let error = waiting.get().unwrap_err();
    assert!(
        matches!(error, TaskError::Cancelled { .. }) && error.to_string().contains("cancelled")
    );
    assert_eq!(held.is_successful(), None);
    gate.set().unwrap();
    assert!(!is_cancelled(&held.get()) && !is_cancelled(&pool.apply(fail, (5,))));
}

fn done() {
    let (pool, gate) = (pool(1), gate());
    let held = pool.apply_async(hold, (5, gate.clone()));
    let [waiting, cancelled] = [2, 3].map(|x| pool.apply_async(sqr, (x,)));
    let failed = pool.apply_async(fail, (5,));
    cancelled.cancel();
    let are_done = || [&held, &waiting, &cancelled, &failed].map(AsyncResult::is_ready);
    assert_eq!(are_done(), [false, false, true, false]);
    gate.set().unwrap();
    wait_until("all are done", || are_done() == [true; 4]);
    let are_good = [&held, &waiting, &cancelled, &failed].map(AsyncResult::is_successful);
    assert_eq!(are_good, [Some(true), Some(true), Some(false), Some(false)]);
}

/// One that runs, and one that waits, are not done; which of the two it is, nobody tells.
fn running() {
    let (pool, gate) = (pool(1), gate());
    let calls = [1, 2].map(|x| pool.apply_async(hold, (x, gate.clone())));
    assert!(calls.iter().all(|call| !call.is_ready() && call.is_successful().is_none()));
    gate.set().unwrap();
    assert_eq!(calls.map(|call| call.get().unwrap()), [1, 2]);
}

fn result_with_timeout() {
    let (pool, gate) = (pool(1), gate());
    let held = pool.apply_async(hold, (5, gate.clone()));
    let waiting = pool.apply_async(fail, (5,));
    let cancelled = pool.apply_async(sqr, (5,));
    let held = held.get_timeout(std::time::Duration::ZERO).unwrap_err();
    let held = takes(SHORT, || held.get_timeout(SHORT)).unwrap_err();
    cancelled.cancel();
    assert!(is_cancelled(&cancelled.get_timeout(SHORT).unwrap()));
    gate.set().unwrap();
    assert_eq!(held.get_timeout(SOON).unwrap().unwrap(), 5);
    assert!(is_panic(&waiting.get_timeout(SOON).unwrap()));
}

/// Who waits is woken by what the worker returns.
fn result_with_success() {
    let (pool, gate) = (pool(1), gate());
    let call = pool.apply_async(hold, (42, gate.clone()));
    thread::scope(|scope| {
        let waiter = scope.spawn(|| call.get());
        gate.wait_timeout(SHORT).unwrap_err();
        gate.set().unwrap();
        assert_eq!(waiter.join().unwrap().unwrap(), 42);
    });
}

/// And by who cancels it.
fn result_with_cancel() {
    let (pool, gate) = (pool(1), gate());
    let call = pool.apply_async(hold, (42, gate.clone()));
    thread::scope(|scope| {
        let waiter = scope.spawn(|| call.wait_timeout(SOON));
        gate.wait_timeout(SHORT).unwrap_err();
        call.cancel();
        assert!(waiter.join().unwrap());
    });
    assert!(is_cancelled(&call.get()));
}

fn exception_with_timeout() {
    let (pool, gate) = (pool(1), gate());
    let late = |gate: Event| fail(hold(5, gate));
    let call = pool.apply_async(late, (gate.clone(),));
    assert!(!takes(SHORT, || call.wait_timeout(SHORT)));
    assert_eq!(call.is_successful(), None);
    gate.set().unwrap();
    assert!(call.wait_timeout(SOON));
    assert_eq!(call.is_successful(), Some(false));
    assert!(is_panic(&call.get()));
}

fn exception_with_success() {
    let (pool, gate) = (pool(1), gate());
    let late = |gate: Event| fail(hold(5, gate));
    let call = pool.apply_async(late, (gate.clone(),));
    thread::scope(|scope| {
        let waiter = scope.spawn(|| call.get());
        gate.wait_timeout(SHORT).unwrap_err();
        gate.set().unwrap();
        assert!(is_panic(&waiter.join().unwrap()));
    });
}
