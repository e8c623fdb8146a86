//! What the rows have in common.

use std::num::NonZeroUsize;
use std::panic::{self, AssertUnwindSafe};
use std::thread;
use std::time::{Duration, Instant};

use procession::{Event, Pool, TaskError};
use procession_tests::SOON;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

/// A row: its name, and what it does.
pub(crate) type Row = (&'static str, fn());

/// A time that passes in vain.
pub(crate) const SHORT: Duration = Duration::from_millis(150);

/// What a panic on purpose says at first.
pub(crate) const ON_PURPOSE: &str = "on purpose";

/// Panics on purpose are not printed, in whatever process.
pub(crate) fn be_silent_about_what_is_on_purpose() {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let is_on_purpose = info.payload().is::<Stop>()
            || info.payload_as_str().is_some_and(|text| text.starts_with(ON_PURPOSE));
        if !is_on_purpose {
            usual(info);
        }
    }));
}

/// A number that is not zero.
#[track_caller]
pub(crate) fn many(number: usize) -> NonZeroUsize {
    NonZeroUsize::new(number).unwrap()
}

/// A pool of so many workers, by the row's method.
#[track_caller]
pub(crate) fn pool(workers: usize) -> Pool {
    Pool::builder().workers(many(workers)).build().unwrap()
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

/// What many tasks do.
pub(crate) fn sqr(x: i64) -> i64 {
    x * x
}

/// Squares of these, in their order.
pub(crate) fn squares(items: impl IntoIterator<Item = i64>) -> Vec<i64> {
    items.into_iter().map(sqr).collect()
}

/// What a task does that takes so long.
pub(crate) fn pass(duration: Duration) {
    let start = Instant::now();
    while let Some(left) = duration.checked_sub(start.elapsed()).filter(|left| !left.is_zero()) {
        thread::park_timeout(left);
    }
}

/// What a task does that ends when it is told to.
pub(crate) fn hold(item: i64, gate: Event) -> i64 {
    gate.wait().unwrap();
    item
}

/// What a task does that fails.
pub(crate) fn fail(item: i64) -> i64 {
    panic!("{ON_PURPOSE}: {item}")
}

/// An event that is not set.
#[track_caller]
pub(crate) fn gate() -> Event {
    Event::new().unwrap()
}

/// Waits for an event, not for ever.
#[track_caller]
pub(crate) fn meet(event: &Event) {
    event.wait_timeout(SOON).unwrap();
}

/// What an input panics with: it must arrive as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stop(pub(crate) usize);

/// An input of so many numbers that panics where it is told to, and goes on behind it. Its length is a lie.
pub(crate) struct Stopping {
    next: i64,
    end: i64,
    stop: usize,
}

impl Stopping {
    pub(crate) fn at(stop: usize) -> Self {
        Self { next: 0, end: 20, stop }
    }

    /// All but where it panics.
    pub(crate) fn others(stop: usize) -> Vec<i64> {
        let stop = i64::try_from(stop).unwrap();
        squares((0..20).filter(|x| *x != stop))
    }
}

impl Iterator for Stopping {
    type Item = i64;

    fn next(&mut self) -> Option<i64> {
        let item = (self.next < self.end).then_some(self.next)?;
        self.next += 1;
        if usize::try_from(item).is_ok_and(|item| item == self.stop) {
            panic::panic_any(Stop(self.stop));
        }
        Some(item)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::MAX, None)
    }
}

/// What an input panicked with in this call, or what the call returned.
pub(crate) fn stopped<T>(call: impl FnOnce() -> T) -> Result<T, Stop> {
    let result = panic::catch_unwind(AssertUnwindSafe(call));
    result.map_err(|payload| match payload.downcast_ref::<Stop>() {
        Some(stop) => *stop,
        None => panic::resume_unwind(payload),
    })
}

/// A value that cannot be written, nor read.
#[derive(Debug)]
pub(crate) struct Unsendable;

impl Serialize for Unsendable {
    fn serialize<S: Serializer>(&self, _serializer: S) -> Result<S::Ok, S::Error> {
        Err(ser::Error::custom("this cannot be written"))
    }
}

impl<'de> Deserialize<'de> for Unsendable {
    fn deserialize<D: Deserializer<'de>>(_deserializer: D) -> Result<Self, D::Error> {
        Err(de::Error::custom("this cannot be read"))
    }
}

/// That the pool goes on.
#[track_caller]
pub(crate) fn goes_on(pool: &Pool) {
    assert_eq!(pool.map(sqr, 0..10).unwrap(), squares(0..10));
}

/// That the pool takes no further task, by any of its calls.
#[track_caller]
pub(crate) fn takes_nothing(pool: &Pool) {
    let is_closed = |error: TaskError| {
        assert!(matches!(error, TaskError::PoolClosed { .. }), "{error}");
    };
    is_closed(pool.apply(sqr, (1,)).unwrap_err());
    is_closed(pool.apply_async(sqr, (1,)).get().unwrap_err());
    is_closed(pool.map(sqr, 0..3).unwrap_err());
    is_closed(pool.map_async(sqr, 0..3).get().unwrap_err());
    is_closed(pool.starmap(sqr, [(1,), (2,)]).unwrap_err());
    is_closed(pool.starmap_async(sqr, [(1,), (2,)]).get().unwrap_err());
    is_closed(pool.imap(sqr, 0..3).next().unwrap().unwrap_err());
    is_closed(pool.imap_unordered(sqr, 0..3).next().unwrap().unwrap_err());
}
