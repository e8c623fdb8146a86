//! A call that somebody waits for later.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use procession_core::Deadline;
use procession_sys::prim::{Mutex, lock};
use serde::de::DeserializeOwned;

use crate::TaskError;
use crate::dispatch::Shared;
use crate::job::{Job, Outcome};
use crate::pool::{decode, store};

/// What comes of a call that does not wait: [`Pool::apply_async`](crate::Pool::apply_async), [`Pool::map_async`](crate::Pool::map_async). It resolves once: as the
/// value, or the error of the task that failed first. A future, too, of any runtime.
///
/// # Drop, kill, fork
///
/// Dropping it leaves the tasks as they are: they run, and nobody hears of them. [`cancel`](Self::cancel) ends them. When the pool is dropped or
/// terminated, it resolves as [`PoolClosed`](TaskError::PoolClosed).
///
/// # Source
///
/// CPython `multiprocessing.pool.AsyncResult`, `concurrent.futures.Future`.
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # procession_process::init();
/// # let pool = procession_pool::Pool::builder().workers(std::num::NonZeroUsize::MIN).build()?;
/// let sum = pool.apply_async(|a: u32, b: u32| a + b, (1, 2));
/// let lengths = pool.map_async(|word: String| word.len(), ["one", "three"].map(String::from));
/// assert_eq!(sum.get()?, 3);
/// assert_eq!(lengths.get()?, [3, 5]);
/// # Ok(())
/// # }
/// ```
#[must_use = "it resolves whether or not anybody looks; say so by `drop`"]
pub struct AsyncResult<R> {
    call: Arc<Call<R>>,
    shared: Arc<Shared>,
}

struct Call<R> {
    job: Arc<Job>,
    /// Makes one result of the outcomes.
    collect: fn(&Job) -> Result<R, TaskError>,
    result: Mutex<Option<Result<R, TaskError>>>,
}

impl<R> Call<R> {
    /// Whether it went well; for when it is over.
    fn look<T>(&self, look: impl FnOnce(&Result<R, TaskError>) -> T) -> T {
        let mut result = lock(&self.result);
        look(result.get_or_insert_with(|| (self.collect)(&self.job)))
    }

    fn take(&self) -> Result<R, TaskError> {
        let taken = lock(&self.result).take();
        taken.unwrap_or_else(|| (self.collect)(&self.job))
    }
}

impl<R: DeserializeOwned> AsyncResult<R> {
    /// Of one task.
    pub(crate) fn of_one(job: Arc<Job>, shared: Arc<Shared>) -> Self {
        Self::new(job, shared, |job| match job.take_outcomes().pop_front() {
            Some(outcome) => decode(outcome),
            None => Err(TaskError::Cancelled { index: 0 }),
        })
    }
}

impl<R: DeserializeOwned> AsyncResult<Vec<R>> {
    /// Of many tasks.
    pub(crate) fn of_many(job: Arc<Job>, shared: Arc<Shared>) -> Self {
        Self::new(job, shared, |job| {
            let mut values = Vec::new();
            for outcome in job.take_outcomes() {
                let Outcome { index, .. } = outcome;
                store(&mut values, index, decode(outcome)?);
            }
            Ok(values.into_iter().flatten().collect())
        })
    }
}

impl<R> AsyncResult<R> {
    fn new(job: Arc<Job>, shared: Arc<Shared>, collect: fn(&Job) -> Result<R, TaskError>) -> Self {
        Self { call: Arc::new(Call { job, collect, result: Mutex::new(None) }), shared }
    }

    /// Has `tell` called when the result is there.
    pub(crate) fn when_ready(&self, tell: impl FnOnce() + Send + 'static) {
        self.call.job.when_over(tell);
    }

    /// Waits for the result.
    ///
    /// # Errors
    ///
    /// The [`TaskError`] of the task that failed first.
    pub fn get(self) -> Result<R, TaskError> {
        self.call.job.wait_until(Deadline::NEVER);
        self.call.take()
    }

    /// Waits for the result, at most `timeout`, on the monotonic clock; gives itself back when it is not there in time.
    ///
    /// # Errors
    ///
    /// Itself.
    pub fn get_timeout(self, timeout: Duration) -> Result<Result<R, TaskError>, Self> {
        match self.wait_timeout(timeout) {
            true => Ok(self.call.take()),
            false => Err(self),
        }
    }

    /// Waits until the result is there.
    pub fn wait(&self) {
        self.call.job.wait_until(Deadline::NEVER);
    }

    /// Waits until the result is there, at most `timeout`; tells whether it is.
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.call.job.wait_until(Deadline::after(timeout))
    }

    /// Whether the result is there.
    pub fn is_ready(&self) -> bool {
        self.call.job.is_over()
    }

    /// Whether the call went well; nothing when that is not known yet.
    #[doc(alias = "successful")]
    pub fn is_successful(&self) -> Option<bool> {
        self.is_ready().then(|| self.call.look(Result::is_ok))
    }

    /// Ends the tasks that are not done: those that wait are never started, those that run are ended with their workers, as when
    /// they [time out](crate::Tasks::timeout). They resolve as [`Cancelled`](TaskError::Cancelled).
    pub fn cancel(&self) {
        self.call.job.cancel();
        self.shared.look();
    }
}

impl<R: Send + 'static> AsyncResult<R> {
    /// Calls `callback` with the result when it is there: in the pool's own thread, or at once when it is there already.
    /// The pool does nothing else meanwhile. A callback that panics is told of by the panic, and forgotten.
    #[doc(alias = "callback")]
    #[doc(alias = "error_callback")]
    pub fn on_done(self, callback: impl FnOnce(&Result<R, TaskError>) + Send + 'static) -> Self {
        let call = Arc::clone(&self.call);
        self.call.job.when_over(move || call.look(callback));
        self
    }
}

impl<R> Future for AsyncResult<R> {
    type Output = Result<R, TaskError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if !self.is_ready() {
            let waker = cx.waker().clone();
            self.call.job.when_over(|| waker.wake());
            return Poll::Pending;
        }
        Poll::Ready(self.call.take())
    }
}

impl<R> fmt::Debug for AsyncResult<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncResult").field("is_ready", &self.is_ready()).finish_non_exhaustive()
    }
}
