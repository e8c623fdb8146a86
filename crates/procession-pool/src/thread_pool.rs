//! Pools of threads: [`ThreadPool`].
//!
//! | part | where | what it is |
//! |---|---|---|
//! | crew | `crew` | the threads, and the desk from which they take jobs |
//! | job | `job` | one call: items that wait, and results that nobody has fetched |
//! | stream | `stream` | whoever fetches results while tasks run, and feeds items |
//! | promise | `result` | a result that somebody waits for later |

mod builder;
mod crew;
mod job;
mod result;
mod stream;
mod tasks;

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;

use procession_core::{Error, ErrorKind, Result};

use crate::TaskError;
use crate::pool::check_workers;

use crew::{Closing, Crew};
use tasks::Options;

pub use builder::ThreadBuilder;
pub use result::ThreadResult;
pub use stream::{ThreadImap, ThreadImapUnordered};
pub use tasks::{ThreadTarget, ThreadTasks};

/// Worker threads that run functions on the items of a sequence: what [`Pool`](crate::Pool) is, without processes.
///
/// For what waits (files, sockets, children), and for data that cannot leave this process: functions may capture, and arguments and values are
/// moved, never encoded. What a task does to the memory of this process it does to everybody's: a panic fails its task alone, but an abort, a crash or
/// `exit` ends the process.
///
/// Any number of threads may use a pool at the same time; their calls share the workers fairly. A task may use the pool that it runs in: while it waits, it
/// runs what it waits for itself.
///
/// # Drop, kill, fork
///
/// **A thread cannot be ended from outside.** So there are no timeouts, and [`terminate`](Self::terminate), [`cancel`](ThreadResult::cancel) and dropping the pool
/// end what waits; a task that runs goes on, and its worker ends when it returns. Dropping the pool does not wait for that; [`join`](Self::join) does. Tasks
/// that run when `main` returns end with the process, in the middle.
///
/// Workers stand still between two chunks of tasks while this process forks; while one runs a task that takes longer than a second, a fork is refused. A forked
/// child cannot use the pool: calls resolve as [`NotCalled`](TaskError::NotCalled), and dropping it there does nothing.
///
/// # Source
///
/// CPython `multiprocessing.pool.ThreadPool`.
///
/// # Examples
///
/// ```
/// # fn main() -> procession_core::Result<()> {
/// use procession_pool::ThreadPool;
///
/// let words = vec!["one", "three"];
/// let pool = ThreadPool::new()?;
/// assert_eq!(pool.map(move |nth: usize| words[nth].len(), 0..2)?, [3, 5]);
/// # Ok(())
/// # }
/// ```
pub struct ThreadPool {
    crew: Arc<Crew>,
}

impl ThreadPool {
    /// Starts a pool with one worker for each processor that this process may use.
    ///
    /// # Errors
    ///
    /// As [`ThreadBuilder::build`].
    pub fn new() -> Result<Self> {
        Self::builder().build()
    }

    /// Describes a pool before it is started.
    pub fn builder() -> ThreadBuilder {
        ThreadBuilder::new()
    }

    pub(crate) fn from_crew(crew: Arc<Crew>) -> Self {
        Self { crew }
    }

    pub(crate) fn crew(&self) -> &Arc<Crew> {
        &self.crew
    }

    /// How many workers the pool has.
    pub fn workers(&self) -> usize {
        self.crew.workers()
    }

    /// Gives the pool so many workers from now on: starts those that are missing, or has as many end, when they have done what they run. Does not wait for the
    /// latter.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) for more than 4096 workers; [`Os`](ErrorKind::Os) when the system has no room for another thread: then there
    /// are fewer.
    pub fn resize(&self, workers: NonZeroUsize) -> Result<()> {
        check_workers(workers)?;
        self.crew.resize(workers.get())
    }

    /// A view of this pool that says how tasks are run: chunks, windows.
    pub fn tasks(&self) -> ThreadTasks<'_> {
        ThreadTasks { pool: self, options: Options::default() }
    }

    /// Calls `function` with `args` in a worker, and waits for what it returns.
    ///
    /// # Errors
    ///
    /// [`TaskError`], with index 0.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = procession_pool::ThreadPool::new()?;
    /// assert_eq!(pool.apply(|a: u8, b: u8| a + b, (1, 2))?, 3);
    /// # Ok(())
    /// # }
    /// ```
    pub fn apply<F, A>(&self, function: F, args: A) -> Result<F::Output, TaskError>
    where
        F: ThreadTarget<A, Output: Send + 'static>,
        A: Send + 'static,
    {
        self.tasks().apply(function, args)
    }

    /// Calls `function` with `args` in a worker, and does not wait.
    #[doc(alias = "submit")]
    pub fn apply_async<F, A>(&self, function: F, args: A) -> ThreadResult<F::Output>
    where
        F: ThreadTarget<A, Output: Send + 'static>,
        A: Send + 'static,
    {
        self.tasks().apply_async(function, args)
    }

    /// Calls `function` with each item, and returns the values in the order of the items.
    ///
    /// The items are taken from `items` as workers come to need them, by the thread that calls. The first task that fails ends the call: tasks that were not started
    /// are not, but for what a worker begins at that moment; the values so far are dropped. [`try_map`](Self::try_map) goes on instead.
    ///
    /// # Errors
    ///
    /// The [`TaskError`] that came first.
    ///
    /// # Panics
    ///
    /// When `items` does: with the same.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = procession_pool::ThreadPool::new()?;
    /// let lines = "one\ntwo words".lines();
    /// assert_eq!(pool.map(|line: &str| line.split(' ').count(), lines)?, [1, 2]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn map<F, T, R, I>(&self, function: F, items: I) -> Result<Vec<R>, TaskError>
    where
        F: Fn(T) -> R + Send + Sync + 'static,
        T: Send + 'static,
        R: Send + 'static,
        I: IntoIterator<Item = T>,
    {
        self.tasks().map(function, items)
    }

    /// As [`map`](Self::map), and appends the values to `values`, whose memory can so be used again. Those in front of the first error are there when it
    /// returns one.
    ///
    /// # Errors
    ///
    /// As [`map`](Self::map).
    pub fn map_into<F, T, R, I>(
        &self,
        function: F,
        items: I,
        values: &mut Vec<R>,
    ) -> Result<(), TaskError>
    where
        F: Fn(T) -> R + Send + Sync + 'static,
        T: Send + 'static,
        R: Send + 'static,
        I: IntoIterator<Item = T>,
    {
        self.tasks().map_into(function, items, values)
    }

    /// Calls `function` with each item, and returns what became of each, in the order of the items.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = procession_pool::ThreadPool::new()?;
    /// let halves = pool.try_map(|x: u32| { assert!(x % 2 == 0, "odd"); x / 2 }, 4..7);
    /// assert_eq!(halves[0].as_ref().unwrap(), &2);
    /// assert!(halves[1].as_ref().unwrap_err().to_string().ends_with("odd"));
    /// assert_eq!(halves[2].as_ref().unwrap(), &3);
    /// # Ok(())
    /// # }
    /// ```
    pub fn try_map<F, T, R, I>(&self, function: F, items: I) -> Vec<Result<R, TaskError>>
    where
        F: Fn(T) -> R + Send + Sync + 'static,
        T: Send + 'static,
        R: Send + 'static,
        I: IntoIterator<Item = T>,
    {
        self.tasks().try_map(function, items)
    }

    /// As [`map`](Self::map), for a function of several arguments: each item is the tuple of them.
    ///
    /// # Errors
    ///
    /// As [`map`](Self::map).
    pub fn starmap<F, A, I>(&self, function: F, items: I) -> Result<Vec<F::Output>, TaskError>
    where
        F: ThreadTarget<A, Output: Send + 'static>,
        A: Send + 'static,
        I: IntoIterator<Item = A>,
    {
        self.tasks().starmap(function, items)
    }

    /// As [`map`](Self::map), and does not wait. All items are taken at once; all tasks are run, also when one has failed.
    pub fn map_async<F, T, R, I>(&self, function: F, items: I) -> ThreadResult<Vec<R>>
    where
        F: Fn(T) -> R + Send + Sync + 'static,
        T: Send + 'static,
        R: Send + 'static,
        I: IntoIterator<Item = T>,
    {
        self.tasks().map_async(function, items)
    }

    /// As [`starmap`](Self::starmap), and does not wait: see [`map_async`](Self::map_async).
    pub fn starmap_async<F, A, I>(&self, function: F, items: I) -> ThreadResult<Vec<F::Output>>
    where
        F: ThreadTarget<A, Output: Send + 'static>,
        A: Send + 'static,
        I: IntoIterator<Item = A>,
    {
        self.tasks().starmap_async(function, items)
    }

    /// Calls `function` with each item, and gives the results in the order of the items, each as soon as it and all before it are there.
    ///
    /// Items are taken lazily, by the thread that asks for results: at most [`window`](ThreadImap::window) of them are under way. When the input panics, what came before it
    /// is given first. Dropping the iterator drops what is left.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = procession_pool::ThreadPool::new()?;
    /// let mut squares = pool.imap(|x: u64| x * x, 0..);
    /// assert_eq!(squares.nth(5).unwrap()?, 25);
    /// # Ok(())
    /// # }
    /// ```
    pub fn imap<F, T, R, I>(&self, function: F, items: I) -> ThreadImap<'_, R, I::IntoIter>
    where
        F: Fn(T) -> R + Send + Sync + 'static,
        T: Send + 'static,
        R: Send + 'static,
        I: IntoIterator<Item = T>,
    {
        self.tasks().imap(function, items)
    }

    /// Calls `function` with each item, and gives the results as they come. Otherwise as [`imap`](Self::imap).
    pub fn imap_unordered<F, T, R, I>(
        &self,
        function: F,
        items: I,
    ) -> ThreadImapUnordered<'_, R, I::IntoIter>
    where
        F: Fn(T) -> R + Send + Sync + 'static,
        T: Send + 'static,
        R: Send + 'static,
        I: IntoIterator<Item = T>,
    {
        self.tasks().imap_unordered(function, items)
    }

    /// No further call begins: those that do resolve as [`PoolClosed`](TaskError::PoolClosed). The workers end when what has begun is done.
    pub fn close(&self) {
        self.end(Closing::Drain);
    }

    /// Drops what waits: it resolves as [`PoolClosed`](TaskError::PoolClosed). A task that runs goes on to its end, and counts; then its worker ends.
    pub fn terminate(&self) {
        self.end(Closing::Now);
    }

    fn end(&self, closing: Closing) {
        if self.crew.is_here() {
            self.crew.close(closing);
        }
    }

    /// Waits until the workers of a pool that was closed, or terminated, have ended: for a task that never returns, for ever.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) when it was neither, or a task of this pool asks, which would wait for itself;
    /// [`Unsupported`](ErrorKind::Unsupported) in a forked child.
    pub fn join(&self) -> Result<()> {
        self.crew.check_owner()?;
        let text = match self.crew.is_own_thread() {
            true => "a task cannot join the pool that it runs in",
            false if self.crew.is_closing() => {
                self.crew.join();
                return Ok(());
            }
            false => "a pool is closed or terminated before it is joined",
        };
        Err(Error::new(ErrorKind::InvalidInput, text))
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        self.terminate();
    }
}

impl fmt::Debug for ThreadPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadPool").field("workers", &self.workers()).finish_non_exhaustive()
    }
}
