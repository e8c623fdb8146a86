//! A call that somebody waits for later.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use procession_core::Deadline;
use procession_sys::prim::{Condvar, Mutex, MutexGuard, PoisonError, lock};
use serde::de::DeserializeOwned;

use crate::dispatch::Shared;
use crate::job::{Job, Until, call_all};
use crate::piece::{Parcel, decode_word};
use crate::pool::{decode, the_only};
use crate::{Progress, TaskError};

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
    state: Mutex<CallState<R>>,
    /// A callback was called.
    called: Condvar,
}

struct CallState<R> {
    result: Option<Result<R, TaskError>>,
    /// How many callbacks have not been called, which look at the result.
    callbacks: usize,
}

impl<R> Call<R> {
    /// Whether it went well; for when it is over.
    fn look<T>(&self, look: impl FnOnce(&Result<R, TaskError>) -> T) -> T {
        let mut state = lock(&self.state);
        look(state.result.get_or_insert_with(|| (self.collect)(&self.job)))
    }

    /// Waits until all callbacks have seen the result of a job that is over.
    fn wait_for_callbacks(&self) -> MutexGuard<'_, CallState<R>> {
        let mut state = lock(&self.state);
        while state.callbacks > 0 {
            state = self.called.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state
    }

    fn take(&self) -> Result<R, TaskError> {
        let mut state = self.wait_for_callbacks();
        state.result.take().unwrap_or_else(|| (self.collect)(&self.job))
    }

    /// Shows a callback the result.
    fn call(&self, callback: impl FnOnce(&Result<R, TaskError>)) {
        let mut state = lock(&self.state);
        let result = state.result.get_or_insert_with(|| (self.collect)(&self.job));
        let called = catch_unwind(AssertUnwindSafe(|| callback(result)));
        state.callbacks -= 1;
        drop(state);
        self.called.notify_all();
        // Whoever calls callbacks forgets it.
        drop(called);
    }
}

impl<R: DeserializeOwned> AsyncResult<R> {
    /// Of one task.
    pub(crate) fn of_one(job: Arc<Job>, shared: Arc<Shared>) -> Self {
        Self::new(job, shared, |job| the_only(job.take_parcel()))
    }
}

impl<R: DeserializeOwned> AsyncResult<Vec<R>> {
    /// Of many tasks.
    pub(crate) fn of_many(job: Arc<Job>, shared: Arc<Shared>) -> Self {
        Self::new(job, shared, |job| {
            let mut parcels = Vec::new();
            for parcel in job.take_parcels() {
                parcels.push(parcel.into_result()?);
            }
            parcels.sort_unstable_by_key(Parcel::first);
            let mut all = Vec::with_capacity(parcels.iter().map(Parcel::count).sum());
            for parcel in parcels {
                match parcel {
                    Parcel::One(outcome) => all.push(decode(outcome)?),
                    Parcel::Word(index, word) => all.push(decode_word(index, word)?),
                    Parcel::Values(mut values) => values.append_to(&mut all)?,
                }
            }
            Ok(all)
        })
    }
}

impl<R> AsyncResult<R> {
    fn new(job: Arc<Job>, shared: Arc<Shared>, collect: fn(&Job) -> Result<R, TaskError>) -> Self {
        let state = Mutex::new(CallState { result: None, callbacks: 0 });
        Self { call: Arc::new(Call { job, collect, state, called: Condvar::new() }), shared }
    }

    /// Has `tell` called when the result is there.
    pub(crate) fn when_ready(&self, tell: impl FnOnce() + Send + 'static) {
        call_all(self.call.job.when_over(tell));
    }

    /// Waits for the result.
    ///
    /// # Errors
    ///
    /// The [`TaskError`] of the task that failed first.
    pub fn get(self) -> Result<R, TaskError> {
        self.shared.wait(&self.call.job, Until::Over, Deadline::NEVER);
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

    /// Waits until the result is there, and all callbacks have seen it.
    pub fn wait(&self) {
        self.shared.wait(&self.call.job, Until::Over, Deadline::NEVER);
        drop(self.call.wait_for_callbacks());
    }

    /// Waits until the result is there, at most `timeout`; tells whether it is. When it is, callbacks are waited for, however long they take.
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        let is_over = self.shared.wait(&self.call.job, Until::Over, Deadline::after(timeout));
        if is_over {
            drop(self.call.wait_for_callbacks());
        }
        is_over
    }

    /// Whether the result is there, and all callbacks have seen it.
    pub fn is_ready(&self) -> bool {
        self.call.job.is_over() && lock(&self.call.state).callbacks == 0
    }

    /// Whether the call went well; nothing when that is not known yet.
    #[doc(alias = "successful")]
    pub fn is_successful(&self) -> Option<bool> {
        self.is_ready().then(|| self.call.look(Result::is_ok))
    }

    /// How far the task is that runs now, as it [has said](crate::TaskContext::report_progress); of several, the first one that has said something.
    /// Nothing before, and when all is done.
    pub fn progress(&self) -> Option<Progress> {
        self.shared.progress(&self.call.job)
    }

    /// Ends the tasks that are not done: those that wait are never started, those that run are ended with their workers, as when
    /// they [time out](crate::Tasks::timeout). They resolve as [`Cancelled`](TaskError::Cancelled), unless they return in the
    /// [time they are given](crate::Tasks::notice) for that.
    pub fn cancel(&self) {
        self.shared.cancel(&self.call.job);
    }
}

impl<R: Send + 'static> AsyncResult<R> {
    /// Calls `callback` with the result when it is there: in the pool's own thread, or in one that waits for a result of this pool, or at
    /// once when it is there already. That thread does nothing else meanwhile, and whoever fetches the result waits until it was called. A callback that panics is told of by the panic, and forgotten.
    #[doc(alias = "callback")]
    #[doc(alias = "error_callback")]
    pub fn on_done(self, callback: impl FnOnce(&Result<R, TaskError>) + Send + 'static) -> Self {
        let call = Arc::clone(&self.call);
        lock(&self.call.state).callbacks += 1;
        call_all(self.call.job.when_over(move || call.call(callback)));
        self
    }
}

impl<R> Future for AsyncResult<R> {
    type Output = Result<R, TaskError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if !self.call.job.is_over() {
            let waker = cx.waker().clone();
            call_all(self.call.job.when_over(|| waker.wake()));
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
