//! CPython's tests of initializers of executors.

use procession::{Pool, TaskError};
use procession_sys::prim::{AtomicU64, Ordering};
use procession_tests::{children, wait_until};

use crate::stage::{ON_PURPOSE, Row, many, sqr};

pub(crate) const ROWS: &[Row] =
    &[("init::initializer", initializer), ("init::failing_initializer", failing_initializer)];

static STATE: AtomicU64 = AtomicU64::new(0);

/// It ran in every worker before its first task, and nowhere else.
fn initializer() {
    let builder = Pool::builder().workers(many(3)).tasks_per_worker(many(4));
    let begin = |state: u64| {
        STATE.fetch_add(state, Ordering::Relaxed);
    };
    let pool = builder.initializer(begin, (7,)).unwrap().build().unwrap();
    let seen = pool.map(|_: u32| STATE.load(Ordering::Relaxed), 0..60).unwrap();
    assert!(seen.iter().all(|state| *state == 7), "{seen:?}");
    assert_eq!(STATE.load(Ordering::Relaxed), 0);
}

/// Every call ends with that, those that come late as well; and nobody is left.
fn failing_initializer() {
    let builder = Pool::builder().workers(many(2));
    let begin = || panic!("{ON_PURPOSE}: no state");
    let pool = builder.initializer(begin, ()).unwrap().build().unwrap();
    let early: Vec<_> = (0..5).map(|x| pool.apply_async(sqr, (x,))).collect();
    let is_broken = |error: TaskError| {
        let TaskError::PoolBroken { error, .. } = error else { panic!("{error}") };
        // It says why.
        let first = std::error::Error::source(&error);
        let mut causes = std::iter::successors(first, |error| error.source());
        assert!(causes.any(|cause| cause.to_string().contains("no state")), "{error:?}");
    };
    for call in early {
        is_broken(call.get().unwrap_err());
    }
    is_broken(pool.apply(sqr, (1,)).unwrap_err());
    is_broken(pool.map(sqr, 0..10).unwrap_err());
    wait_until("nobody is left", || children().is_empty());
    assert!(pool.worker_pids().is_empty());
}
