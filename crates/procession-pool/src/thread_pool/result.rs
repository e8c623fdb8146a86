//! A call in threads that somebody waits for later.

use std::fmt;
use std::mem;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use procession_core::Deadline;
use procession_process::panic;
use procession_sys::prim::{Condvar, Mutex, lock};

use crate::TaskError;

use super::crew::{Crew, Source, wait_until};
use super::job::Why;

/// What is called with a result.
type Callback<R> = Box<dyn FnOnce(&Result<R, TaskError>) + Send>;

/// A result that comes once.
pub(crate) struct Promise<R> {
    state: Mutex<State<R>>,
    kept: Condvar,
}

struct State<R> {
    /// Absent until all callbacks have seen it, and once it was fetched.
    result: Option<Result<R, TaskError>>,
    is_kept: bool,
    callbacks: Vec<Callback<R>>,
    waker: Option<Waker>,
}

impl<R> Promise<R> {
    pub(crate) fn new() -> Arc<Self> {
        let state = State { result: None, is_kept: false, callbacks: Vec::new(), waker: None };
        Arc::new(Self { state: Mutex::new(state), kept: Condvar::new() })
    }

    /// Shows the result to all callbacks, then to whoever waits.
    pub(crate) fn keep(&self, result: Result<R, TaskError>) {
        loop {
            let mut state = lock(&self.state);
            let callbacks = mem::take(&mut state.callbacks);
            if callbacks.is_empty() {
                (state.result, state.is_kept) = (Some(result), true);
                let waker = state.waker.take();
                drop(state);
                self.kept.notify_all();
                // The waker is somebody's, too.
                drop(panic::catch(AssertUnwindSafe(|| waker.map(Waker::wake))));
                return;
            }
            drop(state);
            for callback in callbacks {
                // Whoever panics has said so.
                drop(panic::catch(AssertUnwindSafe(|| callback(&result))));
            }
        }
    }
}

/// What comes of a call of a [`ThreadPool`](crate::ThreadPool) that does not wait. It resolves once: as the value, or the error of the task that failed
/// first. A future, too, of any runtime.
///
/// # Drop, kill, fork
///
/// Dropping it leaves the tasks as they are: they run, and nobody hears of them. When the pool is dropped or terminated, it resolves as
/// [`PoolClosed`](TaskError::PoolClosed), unless all of it is running. In a forked child it is [`NotCalled`](TaskError::NotCalled) at once.
///
/// # Source
///
/// CPython `multiprocessing.pool.AsyncResult`, `concurrent.futures.Future`.
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = procession_pool::ThreadPool::new()?;
/// let greeting = String::from("hello ");
/// let text = pool.apply_async(move |name: &'static str| greeting.clone() + name, ("bob",));
/// assert_eq!(text.get()?, "hello bob");
/// # Ok(())
/// # }
/// ```
#[must_use = "it resolves whether or not anybody looks; say so by `drop`"]
pub struct ThreadResult<R> {
    promise: Arc<Promise<R>>,
    crew: Arc<Crew>,
    /// Absent when nothing was ever under way.
    job: Option<Arc<dyn Source>>,
}

impl<R> ThreadResult<R> {
    pub(crate) fn new(
        promise: Arc<Promise<R>>,
        crew: Arc<Crew>,
        job: Option<Arc<dyn Source>>,
    ) -> Self {
        Self { promise, crew, job }
    }

    /// Waits for the result.
    ///
    /// # Errors
    ///
    /// The [`TaskError`] of the task that failed first.
    pub fn get(self) -> Result<R, TaskError> {
        self.wait();
        self.take()
    }

    /// What nobody here can wait for.
    fn elsewhere(&self) -> Option<TaskError> {
        let error = self.crew.check_owner().err()?;
        Some(TaskError::NotCalled { index: 0, error })
    }

    /// Waits for the result, at most `timeout`, on the monotonic clock; gives itself back when it is not there in time.
    ///
    /// # Errors
    ///
    /// Itself.
    pub fn get_timeout(self, timeout: Duration) -> Result<Result<R, TaskError>, Self> {
        match self.wait_timeout(timeout) {
            false if self.crew.is_here() => Err(self),
            _ => Ok(self.take()),
        }
    }

    /// Waits until the result is there, and all callbacks have seen it.
    pub fn wait(&self) {
        self.wait_until(Deadline::NEVER);
    }

    /// Waits until the result is there, at most `timeout`; tells whether it is.
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.wait_until(Deadline::after(timeout))
    }

    /// Whether the result is there, and all callbacks have seen it.
    pub fn is_ready(&self) -> bool {
        self.crew.is_here() && lock(&self.promise.state).is_kept
    }

    /// Whether the call went well; nothing when that is not known yet.
    #[doc(alias = "successful")]
    pub fn is_successful(&self) -> Option<bool> {
        match self.is_ready() {
            true => lock(&self.promise.state).result.as_ref().map(Result::is_ok),
            false => None,
        }
    }

    /// Drops the tasks that wait: they are never started, and resolve as [`Cancelled`](TaskError::Cancelled). Those that run go on, since a thread
    /// cannot be ended from outside.
    pub fn cancel(&self) {
        if let Some(job) = &self.job
            && self.crew.is_here()
        {
            job.refuse(&Why::Cancelled);
        }
    }

    fn wait_until(&self, deadline: Deadline) -> bool {
        if !self.crew.is_here() {
            return false;
        }
        loop {
            // In a worker of this pool: it may be the only one.
            if let Some(job) = &self.job
                && !self.is_ready()
                && self.crew.help(&**job)
            {
                continue;
            }
            let state = lock(&self.promise.state);
            if state.is_kept {
                return true;
            }
            if deadline.has_passed() {
                return false;
            }
            drop(wait_until(&self.promise.kept, state, deadline));
        }
    }

    /// What is there, once.
    fn take(&self) -> Result<R, TaskError> {
        if let Some(error) = self.elsewhere() {
            return Err(error);
        }
        lock(&self.promise.state).result.take().expect("it is fetched once, when it is there")
    }
}

impl<R: Send + 'static> ThreadResult<R> {
    /// Calls `callback` with the result when it is there: in the worker that has run the last task, or at once when it is there already. Whoever
    /// fetches the result waits until it was called. A callback that panics is told of by the panic, and forgotten.
    #[doc(alias = "callback")]
    #[doc(alias = "error_callback")]
    pub fn on_done(self, callback: impl FnOnce(&Result<R, TaskError>) + Send + 'static) -> Self {
        if !self.crew.is_here() {
            return self;
        }
        let mut state = lock(&self.promise.state);
        if state.is_kept {
            // Nobody else has this handle, so that nobody waits for the lock.
            if let Some(result) = &state.result {
                drop(panic::catch(AssertUnwindSafe(|| callback(result))));
            }
        } else {
            state.callbacks.push(Box::new(callback));
        }
        drop(state);
        self
    }
}

impl<R> Future for ThreadResult<R> {
    type Output = Result<R, TaskError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(error) = self.elsewhere() {
            return Poll::Ready(Err(error));
        }
        let mut state = lock(&self.promise.state);
        if !state.is_kept {
            state.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        drop(state);
        Poll::Ready(self.take())
    }
}

impl<R> fmt::Debug for ThreadResult<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadResult").field("is_ready", &self.is_ready()).finish_non_exhaustive()
    }
}
