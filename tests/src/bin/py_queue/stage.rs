//! What the rows have in common.

use std::time::{Duration, Instant};

use procession::Process;
use procession_tests::SOON;
use serde::{Deserialize, Serialize};

/// A row: its name, and what it does.
pub(crate) type Row = (&'static str, fn());

/// A time that passes in vain: that of CPython's tests.
pub(crate) const SHORT: Duration = Duration::from_millis(200);

/// What a child returned.
#[track_caller]
pub(crate) fn value<R: Serialize + for<'de> Deserialize<'de> + 'static>(child: &Process<R>) -> R {
    child.join_timeout(SOON).unwrap().unwrap()
}

/// That this took at least so long.
#[track_caller]
pub(crate) fn takes<T>(least: Duration, call: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = call();
    let passed = start.elapsed();
    assert!(passed >= least, "{passed:?} is less than {least:?}");
    result
}

/// That an error says that the queue is closed.
#[track_caller]
pub(crate) fn is_closed(error: impl Into<procession::Error>) {
    let error = error.into();
    assert_eq!(error.kind(), procession::ErrorKind::Closed);
    assert!(error.to_string().contains("is closed"), "{error}");
}
