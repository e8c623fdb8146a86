//! Several results at once.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use procession_core::Deadline;
use procession_sys::prim::{Condvar, Mutex, PoisonError, lock};

use crate::{AsyncResult, TaskError};

/// The places of results, in the order in which they came.
#[derive(Debug, Default)]
struct Arrivals {
    places: Mutex<VecDeque<usize>>,
    changed: Condvar,
}

impl Arrivals {
    fn of<'a, R: 'a>(results: impl IntoIterator<Item = &'a AsyncResult<R>>) -> Arc<Self> {
        let this = Arc::new(Self::default());
        for (place, result) in results.into_iter().enumerate() {
            let arrivals = Arc::clone(&this);
            result.when_ready(move || {
                lock(&arrivals.places).push_back(place);
                arrivals.changed.notify_all();
            });
        }
        this
    }

    /// The next one; nothing when none comes until the deadline.
    fn next(&self, deadline: Deadline) -> Option<usize> {
        let mut places = lock(&self.places);
        loop {
            if let Some(place) = places.pop_front() {
                return Some(place);
            }
            places = match deadline.remaining() {
                None => self.changed.wait(places).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => return None,
                Some(left) => {
                    let woken = self.changed.wait_timeout(places, left);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

/// What [`wait_for`] waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReturnWhen {
    /// One result, of whatever sort.
    FirstCompleted,
    /// One error, or all results.
    FirstError,
    /// All results.
    AllCompleted,
}

/// Waits for some of these, at most `timeout` on the monotonic clock; tells which are there, by their places, in the order in which they came.
///
/// # Source
///
/// CPython `concurrent.futures.wait`.
pub fn wait_for<R>(results: &[AsyncResult<R>], when: ReturnWhen, timeout: Duration) -> Vec<usize> {
    let (arrivals, deadline) = (Arrivals::of(results), Deadline::after(timeout));
    let mut there = Vec::new();
    while there.len() < results.len() {
        let Some(place) = arrivals.next(deadline) else { break };
        there.push(place);
        let is_error = || results[place].is_successful() == Some(false);
        if when == ReturnWhen::FirstCompleted || when == ReturnWhen::FirstError && is_error() {
            break;
        }
    }
    // And those that came meanwhile.
    there.extend(std::iter::from_fn(|| arrivals.next(Deadline::PAST)));
    there
}

/// The results in the order in which they come, each with its place.
///
/// # Source
///
/// CPython `concurrent.futures.as_completed`.
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # procession_process::init();
/// # let pool = procession_pool::Pool::builder().workers(std::num::NonZeroUsize::MIN).build()?;
/// let calls: Vec<_> = (0..3).map(|x: u32| pool.apply_async(|x: u32| x * 2, (x,))).collect();
/// for (place, result) in procession_pool::as_completed(calls) {
///     assert_eq!(result? as usize, 2 * place);
/// }
/// # Ok(())
/// # }
/// ```
pub fn as_completed<R>(results: impl IntoIterator<Item = AsyncResult<R>>) -> AsCompleted<R> {
    let results: Vec<_> = results.into_iter().collect();
    let arrivals = Arrivals::of(&results);
    let left = results.len();
    AsCompleted { results: results.into_iter().map(Some).collect(), arrivals, left }
}

/// The results of [`as_completed`].
#[derive(Debug)]
pub struct AsCompleted<R> {
    results: Vec<Option<AsyncResult<R>>>,
    arrivals: Arc<Arrivals>,
    left: usize,
}

impl<R> Iterator for AsCompleted<R> {
    type Item = (usize, Result<R, TaskError>);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let place = self.arrivals.next(Deadline::NEVER)?;
        let result = self.results[place].take()?;
        Some((place, result.get()))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<R> ExactSizeIterator for AsCompleted<R> {}
