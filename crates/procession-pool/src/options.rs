//! How tasks are run: [`Tasks`], a view of a pool that says so.

use std::num::NonZeroUsize;
use std::time::Duration;

use procession_process::Target;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::pool::Pool;
use crate::{AsyncResult, Imap, ImapUnordered, TaskError};

/// How long a worker that was asked to end may take before it is killed, when nobody says.
const GRACE: Duration = Duration::from_secs(2);

/// How long the second attempt waits when nobody says.
const BACKOFF: Duration = Duration::from_millis(100);

/// The longest that an attempt waits.
const MOST_BACKOFF: Duration = Duration::from_secs(30);

/// See [`Tasks`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options {
    pub(crate) timeout: Option<Duration>,
    pub(crate) grace: Duration,
    /// How long a task may take to end by itself before its worker is asked to.
    pub(crate) notice: Option<Duration>,
    /// After how many tasks that failed no further one is begun.
    pub(crate) most_failures: Option<NonZeroUsize>,
    /// Under which title it is shown how far it is.
    pub(crate) progress: Option<&'static str>,
    /// How often a task is tried.
    pub(crate) attempts: u32,
    pub(crate) retry_panics: bool,
    pub(crate) backoff: Duration,
    pub(crate) chunk: Option<NonZeroUsize>,
    pub(crate) window: Option<NonZeroUsize>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            timeout: None,
            grace: GRACE,
            notice: None,
            most_failures: None,
            progress: None,
            attempts: 1,
            retry_panics: false,
            backoff: BACKOFF,
            chunk: None,
            window: None,
        }
    }
}

impl Options {
    /// How long to wait before a task is tried again that was tried so often and failed so; nothing if it is not.
    pub(crate) fn retry(&self, tries: u32, error: &TaskError) -> Option<Duration> {
        let is_retried = match error {
            TaskError::WorkerDied { .. } | TaskError::TimedOut { .. } => true,
            TaskError::Panicked { .. } => self.retry_panics,
            _ => false,
        };
        let pause = self.backoff.saturating_mul(2u32.saturating_pow(tries.saturating_sub(1)));
        (is_retried && tries < self.attempts).then_some(pause.min(MOST_BACKOFF))
    }
}

/// A pool, and how tasks are run there: [`Pool::tasks`]. It has the methods of the pool.
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # procession_process::init();
/// # let pool = procession_pool::Pool::builder().workers(std::num::NonZeroUsize::MIN).build()?;
/// use std::time::Duration;
/// use procession_pool::TaskError;
///
/// let tasks = pool.tasks().timeout(Duration::from_millis(200));
/// let results = tasks.try_map(|x: u32| { if x == 1 { loop { std::hint::spin_loop() } } x }, 0..3);
/// assert_eq!(results[0].as_ref().unwrap(), &0);
/// assert!(matches!(results[1], Err(TaskError::TimedOut { index: 1, .. })));
/// assert_eq!(results[2].as_ref().unwrap(), &2);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy)]
#[must_use = "this says how, and runs nothing"]
pub struct Tasks<'pool> {
    pub(crate) pool: &'pool Pool,
    pub(crate) options: Options,
}

impl<'pool> Tasks<'pool> {
    /// How long a task may run, from the moment at which its function is called; waiting for a worker does not count. One that
    /// takes longer is ended with its worker, by `SIGTERM`, and by `SIGKILL` when that has taken the [grace](Self::grace); it resolves
    /// as [`TimedOut`](TaskError::TimedOut), and another worker takes the seat. Other tasks are not concerned.
    #[doc(alias = "time_limit")]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.options.timeout = Some(timeout);
        self
    }

    /// How long a worker may take to end by itself when its task has timed out or was cancelled: two seconds if nobody says.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.options.grace = grace;
        self
    }

    /// How long a task that has timed out, or was cancelled, may go on after it [can see](crate::TaskContext::is_cancelled) that, before its worker is
    /// asked to end: when it returns in that time, what it returns counts, and the worker lives on. Without this, its worker is asked at
    /// once.
    pub fn notice(mut self, notice: Duration) -> Self {
        self.options.notice = Some(notice);
        self
    }

    /// Takes no further item when so many tasks have failed, and ends those that are under way: they are
    /// [`Cancelled`](TaskError::Cancelled). For [`try_map`](Self::try_map) and the iterators, which give the results of all items that were taken; the others
    /// end with the first failure, or with the last task.
    ///
    /// # Source
    ///
    /// GNU parallel, `--halt now,fail=N`.
    pub fn stop_after(mut self, failures: NonZeroUsize) -> Self {
        self.options.most_failures = Some(failures);
        self
    }

    /// Shows on the terminal, under this title, how many tasks are done, how fast they come and when the last one will have: for the maps and the iterators, which
    /// draw it while results are fetched, ten times a second at most. Nothing is written when standard error is no terminal, or without the crate's
    /// feature `progress`.
    ///
    /// # Source
    ///
    /// The `indicatif` crate.
    pub fn progress(mut self, title: &'static str) -> Self {
        self.options.progress = Some(title);
        self
    }

    /// How often a task is tried in all when its worker dies, or it times out. Without this, once: whoever kills one worker may kill
    /// the next. A task whose argument holds handles is tried once.
    #[doc(alias = "retries")]
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.options.attempts = attempts.max(1);
        self
    }

    /// Tries tasks again that panicked, too.
    pub fn retry_panics(mut self) -> Self {
        self.options.retry_panics = true;
        self
    }

    /// How long the second attempt waits, a tenth of a second if nobody says; each further one twice as long, half a minute at most.
    pub fn backoff(mut self, backoff: Duration) -> Self {
        self.options.backoff = backoff;
        self
    }

    /// How many items a worker gets at once. Without this, as many as take it 0.3 ms, and fewer towards the end.
    #[doc(alias = "chunksize")]
    pub fn chunk(mut self, items: NonZeroUsize) -> Self {
        self.options.chunk = Some(items);
        self
    }

    /// How many items may be under way at most: see [`Imap::window`].
    pub fn window(mut self, items: NonZeroUsize) -> Self {
        self.options.window = Some(items);
        self
    }

    /// As [`Pool::apply`].
    ///
    /// # Errors
    ///
    /// As [`Pool::apply`].
    pub fn apply<F, A>(self, function: F, args: A) -> Result<F::Output, TaskError>
    where
        F: Target<A>,
        F::Output: Serialize + DeserializeOwned + 'static,
        A: Serialize + DeserializeOwned + 'static,
    {
        self.pool.call_by(self.options, function, args)
    }

    /// As [`Pool::apply_async`].
    pub fn apply_async<F, A>(self, function: F, args: A) -> AsyncResult<F::Output>
    where
        F: Target<A>,
        F::Output: Serialize + DeserializeOwned + 'static,
        A: Serialize + DeserializeOwned + 'static,
    {
        self.pool.apply_by(self.options, function, args)
    }

    /// As [`Pool::map`].
    ///
    /// # Errors
    ///
    /// As [`Pool::map`].
    pub fn map<F, T, R, I>(self, function: F, items: I) -> Result<Vec<R>, TaskError>
    where
        F: Fn(T) -> R + Copy + Send + 'static,
        T: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
        I: IntoIterator<Item = T>,
    {
        self.pool.map_by::<F, (T,), _>(self.options, function, items.into_iter().map(one))
    }

    /// As [`Pool::map_into`].
    ///
    /// # Errors
    ///
    /// As [`Pool::map_into`].
    pub fn map_into<F, T, R, I>(
        self,
        function: F,
        items: I,
        values: &mut Vec<R>,
    ) -> Result<(), TaskError>
    where
        F: Fn(T) -> R + Copy + Send + 'static,
        T: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
        I: IntoIterator<Item = T>,
    {
        self.pool.stream(self.options, function, items).append_to(values)
    }

    /// As [`Pool::try_map`].
    pub fn try_map<F, T, R, I>(self, function: F, items: I) -> Vec<Result<R, TaskError>>
    where
        F: Fn(T) -> R + Copy + Send + 'static,
        T: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
        I: IntoIterator<Item = T>,
    {
        self.pool.try_map_by::<F, (T,), _>(self.options, function, items.into_iter().map(one))
    }

    /// As [`Pool::starmap`].
    ///
    /// # Errors
    ///
    /// As [`Pool::map`].
    pub fn starmap<F, A, I>(self, function: F, items: I) -> Result<Vec<F::Output>, TaskError>
    where
        F: Target<A>,
        F::Output: Serialize + DeserializeOwned + 'static,
        A: Serialize + DeserializeOwned + 'static,
        I: IntoIterator<Item = A>,
    {
        self.pool.map_by(self.options, function, items)
    }

    /// As [`Pool::map_async`].
    pub fn map_async<F, T, R, I>(self, function: F, items: I) -> AsyncResult<Vec<R>>
    where
        F: Fn(T) -> R + Copy + Send + 'static,
        T: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
        I: IntoIterator<Item = T>,
    {
        self.pool.map_async_by::<F, (T,), _>(self.options, function, items.into_iter().map(one))
    }

    /// As [`Pool::starmap_async`].
    pub fn starmap_async<F, A, I>(self, function: F, items: I) -> AsyncResult<Vec<F::Output>>
    where
        F: Target<A>,
        F::Output: Serialize + DeserializeOwned + 'static,
        A: Serialize + DeserializeOwned + 'static,
        I: IntoIterator<Item = A>,
    {
        self.pool.map_async_by(self.options, function, items)
    }

    /// As [`Pool::imap`].
    pub fn imap<F, T, R, I>(self, function: F, items: I) -> Imap<'pool, R, I::IntoIter>
    where
        F: Fn(T) -> R + Copy + Send + 'static,
        T: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
        I: IntoIterator<Item = T>,
    {
        Imap::new(self.pool.stream(self.options, function, items))
    }

    /// As [`Pool::imap_unordered`].
    pub fn imap_unordered<F, T, R, I>(
        self,
        function: F,
        items: I,
    ) -> ImapUnordered<'pool, R, I::IntoIter>
    where
        F: Fn(T) -> R + Copy + Send + 'static,
        T: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
        I: IntoIterator<Item = T>,
    {
        ImapUnordered::new(self.pool.stream(self.options, function, items))
    }
}

/// The arguments of a function of one.
pub(crate) fn one<T>(item: T) -> (T,) {
    (item,)
}
