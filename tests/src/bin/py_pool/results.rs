//! CPython's `_TestPool` and `_TestPoolWorkerErrors`: callbacks and errors.

use std::sync::mpsc;
use std::time::Duration;

use procession::{ErrorKind, Event, Panic, TaskError};
use procession_tests::SOON;
use serde::{Deserialize, Serialize};

use crate::stage::{
    ON_PURPOSE, Row, SHORT, Unsendable, fail, gate, goes_on, pass, pool, sqr, squares, takes,
};

pub(crate) const ROWS: &[Row] = &[
    ("pool::map_async_callbacks", map_async_callbacks),
    ("pool::traceback", traceback),
    ("pool::wrapped_exception", errors_are_values),
    ("pool::map_no_failfast", map_no_failfast),
    ("errors::async_error_callback", async_error_callback),
    ("errors::unpickleable_result", values_that_cannot_be_sent),
];

/// One callback for both: it is called once, with all the values or with the error.
fn map_async_callbacks() {
    let pool = pool(1);
    let (told, tells) = mpsc::channel();
    let read = |text: String| match text.parse::<i64>() {
        Ok(number) => number,
        Err(error) => panic!("{ON_PURPOSE}: {error}"),
    };
    for (texts, expected) in [(["1", "2"], Ok(vec![1, 2])), (["1", "a"], Err(1))] {
        let told = told.clone();
        let call = pool.map_async(read, texts.map(String::from)).on_done(move |result| {
            told.send(result.as_ref().cloned().map_err(TaskError::index)).unwrap();
        });
        call.wait();
        assert_eq!(tells.recv_timeout(SOON).unwrap(), expected);
        assert_eq!(call.get().map_err(|error| error.index()), expected);
    }
    drop(told);
    assert_eq!(tells.iter().count(), 0, "each is called once");
}

#[inline(never)]
fn the_place_of_the_panic() -> i64 {
    panic!("{ON_PURPOSE}: 123")
}

/// What a panic said, where, and who had called.
fn traceback() {
    let pool = pool(1);
    let line = line!() - 6;
    let error = pool.apply(the_place_of_the_panic, ()).unwrap_err();
    let text = error.to_string();
    let TaskError::Panicked { index: 0, panic } = error else { panic!("{error}") };
    let Panic { message, location, backtrace, .. } = &panic;
    assert_eq!(*message, format!("{ON_PURPOSE}: 123"));
    assert!(location.contains(&format!("results.rs:{line}:")), "{location}");
    let is_off = std::env::var_os("RUST_BACKTRACE").is_some_and(|value| value == "0");
    assert!(is_off || backtrace.contains("the_place_of_the_panic"), "{backtrace}");
    assert!(text.contains(message) && text.contains(location), "{text}");
    goes_on(&pool);
}

/// An error as programs have them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Refusal {
    Odd(i64),
    Named { text: String },
}

fn judge(x: i64) -> Result<i64, Refusal> {
    match x {
        7 => Err(Refusal::Named { text: "seven".into() }),
        x if x % 2 == 1 => Err(Refusal::Odd(x)),
        x => Ok(x),
    }
}

/// What a function returns as an error arrives as it was, by each call and each start method.
fn errors_are_values() {
    let pool = pool(2);
    let expected: Vec<_> = (0..10).map(judge).collect();
    assert_eq!(pool.apply(judge, (7,)).unwrap(), expected[7]);
    assert_eq!(pool.map(judge, 0..10).unwrap(), expected);
    assert_eq!(pool.map_async(judge, 0..10).get().unwrap(), expected);
    assert!(pool.imap(judge, 0..10).map(Result::unwrap).eq(expected));
}

/// How long a panic's message is: longer than any pipe has room for.
const LONG: usize = 1 << 20;

fn fail_at_length(wait: Duration) {
    pass(wait);
    panic!("{ON_PURPOSE}: {}", "x".repeat(LONG))
}

/// With `map_async` and `try_map` all tasks are done, and all errors are there. Other than in Python `map` itself ends with the first
/// one, though another task is running.
fn map_no_failfast() {
    let pool = pool(2);
    let waits = [Duration::ZERO, SHORT];
    let is_long = |error: &TaskError, at: usize| {
        let TaskError::Panicked { index, panic } = error else { panic!("{error}") };
        assert_eq!((*index, panic.message.len() > LONG), (at, true));
    };
    let error = takes(SHORT, || pool.map_async(fail_at_length, waits).get()).unwrap_err();
    // Whichever came first: to tell of a panic takes as long as it takes.
    is_long(&error, error.index());
    let results = takes(SHORT, || pool.try_map(fail_at_length, waits));
    for (at, result) in results.iter().enumerate() {
        is_long(result.as_ref().unwrap_err(), at);
    }
    let (gate, done) = (gate(), gate());
    let wait_or_fail = |wait: Option<(Event, Event)>| match wait {
        Some((gate, done)) => {
            gate.wait().unwrap();
            done.set().unwrap();
        }
        None => fail_at_length(Duration::ZERO),
    };
    let error = pool.map(wait_or_fail, [Some((gate.clone(), done.clone())), None]).unwrap_err();
    is_long(&error, 1);
    assert!(!done.is_set().unwrap());
    gate.set().unwrap();
    assert_eq!(pool.map(sqr, 0..10).unwrap(), squares(0..10));
    pool.close();
    pool.join().unwrap();
}

/// The callback and the caller are told the same.
fn async_error_callback() {
    let pool = pool(2);
    let (told, tells) = mpsc::channel();
    let call = pool.apply_async(fail, (5,)).on_done(move |result| {
        told.send(result.as_ref().unwrap_err().to_string()).unwrap();
    });
    call.wait();
    let text = tells.recv_timeout(SOON).unwrap();
    let error = call.get().unwrap_err();
    assert!(
        matches!(&error, TaskError::Panicked { panic, .. } if panic.message == "on purpose: 5")
    );
    assert_eq!(error.to_string(), text);
    assert_eq!(tells.iter().count(), 0);
}

/// Twenty values: each is an error of its own task, and the workers live on.
fn values_that_cannot_be_sent() {
    let pool = pool(2);
    pool.map(sqr, 0..10).unwrap();
    let before = pool.worker_pids();
    for x in 0..20 {
        let (told, tells) = mpsc::channel();
        let call = pool.apply_async(|_: i64| Unsendable, (x,)).on_done(move |result| {
            told.send(result.as_ref().unwrap_err().to_string()).unwrap();
        });
        call.wait();
        let text = tells.recv_timeout(SOON).unwrap();
        let error = call.get().unwrap_err();
        assert_eq!(error.to_string(), text);
        assert!(text.contains("Unsendable"), "what it was: {text}");
        let TaskError::Value { index: 0, error } = error else { panic!("{error}") };
        assert_eq!(error.kind(), ErrorKind::Encode);
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(cause, "this cannot be written");
    }
    goes_on(&pool);
    assert_eq!(pool.worker_pids(), before);
}
