//! The pool's face.

use std::fmt;
use std::num::NonZeroUsize;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::thread::JoinHandle;

use procession_core::{Error, ErrorKind, Message, Result};
use procession_process::trampoline::FunctionRef;
use procession_process::{Target, panic};
use procession_sys::prim::{AtomicUsize, Mutex, Ordering, lock};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::builder::Builder;
use crate::dispatch::{Closing, MOST_WORKERS, Shared};
use crate::job::{Job, Outcome, Task};
use crate::options::Options;
use crate::stream::{Imap, ImapUnordered, Stream};
use crate::{AsyncResult, TaskError, Tasks};

/// Worker processes that run functions of this program on the items of a sequence.
///
/// A task that panics fails alone; a task whose worker dies fails alone, with the worker's process number and signal, and
/// another worker takes the seat. Any number of threads may use a pool at the same time; their calls share the workers
/// fairly.
///
/// # Drop, kill, fork
///
/// Dropping the pool ends its workers. Calls have returned by then, but tasks of a `map` that failed or a stream that was
/// dropped may still be running: those are killed in the middle. The workers end with the process that the pool is in, also
/// when that is killed by `SIGKILL`. A forked child cannot use the pool; dropping it there does nothing.
///
/// A terminal's Ctrl-C reaches the workers as it reaches this process: they are in its process group.
///
/// # Source
///
/// CPython `multiprocessing.pool.Pool`, except that there a task whose worker dies never ends.
///
/// # Examples
///
/// ```
/// # fn main() -> procession_core::Result<()> {
/// # procession_process::init();
/// let pool = procession_pool::Pool::new()?;
/// assert_eq!(pool.map(|x: i64| x * x, 0..4)?, [0, 1, 4, 9]);
/// # Ok(())
/// # }
/// ```
pub struct Pool {
    shared: Arc<Shared>,
    workers: AtomicUsize,
    /// The process that the dispatcher is a thread of.
    owner: u32,
    dispatcher: Mutex<Option<JoinHandle<()>>>,
}

impl Pool {
    /// Starts a pool with one worker for each processor that this process may use.
    ///
    /// # Errors
    ///
    /// As [`Builder::build`].
    pub fn new() -> Result<Self> {
        Self::builder().build()
    }

    /// Describes a pool before it is started.
    pub fn builder() -> Builder {
        Builder::new()
    }

    pub(crate) fn from_parts(
        shared: Arc<Shared>,
        workers: usize,
        dispatcher: JoinHandle<()>,
    ) -> Self {
        Self {
            shared,
            workers: AtomicUsize::new(workers),
            owner: procession_sys::process::id(),
            dispatcher: Mutex::new(Some(dispatcher)),
        }
    }

    /// How many workers the pool has.
    pub fn workers(&self) -> usize {
        self.workers.load(Ordering::Relaxed)
    }

    /// Gives the pool so many workers from now on: starts those that are missing, or has as many end, when they have done
    /// what they were told. Does not wait for either.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) for more than 4096 workers.
    pub fn resize(&self, workers: NonZeroUsize) -> Result<()> {
        check_workers(workers)?;
        self.workers.store(workers.get(), Ordering::Relaxed);
        self.shared.resize(workers.get());
        Ok(())
    }

    /// The process numbers of the workers that run now, in the order of their seats.
    ///
    /// One may have ended when the call returns; its successor has another number.
    pub fn worker_pids(&self) -> Vec<u32> {
        self.shared.worker_pids()
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
    /// # procession_process::init();
    /// # let pool = procession_pool::Pool::builder().workers(std::num::NonZeroUsize::MIN).build()?;
    /// assert_eq!(pool.apply(|a: u8, b: u8| a + b, (1, 2))?, 3);
    /// # Ok(())
    /// # }
    /// ```
    pub fn apply<F, A>(&self, function: F, args: A) -> Result<F::Output, TaskError>
    where
        F: Target<A>,
        F::Output: Serialize + DeserializeOwned + 'static,
        A: Serialize + DeserializeOwned + 'static,
    {
        self.tasks().apply(function, args)
    }

    /// Calls `function` with `args` in a worker, and does not wait.
    #[doc(alias = "submit")]
    pub fn apply_async<F, A>(&self, function: F, args: A) -> AsyncResult<F::Output>
    where
        F: Target<A>,
        F::Output: Serialize + DeserializeOwned + 'static,
        A: Serialize + DeserializeOwned + 'static,
    {
        self.tasks().apply_async(function, args)
    }

    /// A view of this pool that says how tasks are run: timeouts, attempts, chunks.
    pub fn tasks(&self) -> Tasks<'_> {
        Tasks { pool: self, options: Options::default() }
    }

    /// Calls `function` with each item, and returns the values in the order of the items.
    ///
    /// The items are taken from `items` as workers come to need them, not all at once. The first task that fails ends the
    /// call: tasks that were not started are not, but for what a worker begins at that moment; the values so far are dropped. [`try_map`](Self::try_map) goes on
    /// instead.
    ///
    /// # Errors
    ///
    /// The [`TaskError`] that came first.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # procession_process::init();
    /// # let pool = procession_pool::Pool::builder().workers(std::num::NonZeroUsize::MIN).build()?;
    /// let words = ["one", "three"].map(String::from);
    /// assert_eq!(pool.map(|word| word.len(), words)?, [3, 5]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn map<F, T, R, I>(&self, function: F, items: I) -> Result<Vec<R>, TaskError>
    where
        F: Fn(T) -> R + Copy + Send + 'static,
        T: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
        I: IntoIterator<Item = T>,
    {
        self.tasks().map(function, items)
    }

    /// As [`map`](Self::map), for a function of several arguments: each item is the tuple of them.
    ///
    /// # Errors
    ///
    /// As [`map`](Self::map).
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # procession_process::init();
    /// # let pool = procession_pool::Pool::builder().workers(std::num::NonZeroUsize::MIN).build()?;
    /// assert_eq!(pool.starmap(|a: u32, b: u32| a * b, [(1, 2), (3, 4)])?, [2, 12]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn starmap<F, A, I>(&self, function: F, items: I) -> Result<Vec<F::Output>, TaskError>
    where
        F: Target<A>,
        F::Output: Serialize + DeserializeOwned + 'static,
        A: Serialize + DeserializeOwned + 'static,
        I: IntoIterator<Item = A>,
    {
        self.tasks().starmap(function, items)
    }

    /// As [`map`](Self::map), and does not wait. All items are taken at once; all tasks are run, also when one has failed.
    pub fn map_async<F, T, R, I>(&self, function: F, items: I) -> AsyncResult<Vec<R>>
    where
        F: Fn(T) -> R + Copy + Send + 'static,
        T: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
        I: IntoIterator<Item = T>,
    {
        self.tasks().map_async(function, items)
    }

    /// As [`starmap`](Self::starmap), and does not wait: see [`map_async`](Self::map_async).
    pub fn starmap_async<F, A, I>(&self, function: F, items: I) -> AsyncResult<Vec<F::Output>>
    where
        F: Target<A>,
        F::Output: Serialize + DeserializeOwned + 'static,
        A: Serialize + DeserializeOwned + 'static,
        I: IntoIterator<Item = A>,
    {
        self.tasks().starmap_async(function, items)
    }

    /// Calls `function` with each item, and returns what became of each, in the order of the items.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # procession_process::init();
    /// # let pool = procession_pool::Pool::builder().workers(std::num::NonZeroUsize::MIN).build()?;
    /// let halves = pool.try_map(|x: u32| { assert!(x % 2 == 0, "odd"); x / 2 }, 4..7);
    /// assert_eq!(halves[0].as_ref().unwrap(), &2);
    /// assert!(halves[1].as_ref().unwrap_err().to_string().ends_with("odd"));
    /// assert_eq!(halves[2].as_ref().unwrap(), &3);
    /// # Ok(())
    /// # }
    /// ```
    pub fn try_map<F, T, R, I>(&self, function: F, items: I) -> Vec<Result<R, TaskError>>
    where
        F: Fn(T) -> R + Copy + Send + 'static,
        T: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
        I: IntoIterator<Item = T>,
    {
        self.tasks().try_map(function, items)
    }

    /// Calls `function` with each item, and gives the results in the order of the items, each as soon as it and all before
    /// it are there.
    ///
    /// Items are taken lazily: at most [`window`](Imap::window) of them are under way, waiting ones and fetched-ahead
    /// results included. Dropping the iterator drops what is left.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # procession_process::init();
    /// # let pool = procession_pool::Pool::builder().workers(std::num::NonZeroUsize::MIN).build()?;
    /// let mut squares = pool.imap(|x: u64| x * x, 0..);
    /// assert_eq!(squares.nth(5).unwrap()?, 25);
    /// # Ok(())
    /// # }
    /// ```
    pub fn imap<F, T, R, I>(&self, function: F, items: I) -> Imap<'_, R, I::IntoIter>
    where
        F: Fn(T) -> R + Copy + Send + 'static,
        T: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
        I: IntoIterator<Item = T>,
    {
        self.tasks().imap(function, items)
    }

    /// Calls `function` with each item, and gives the results as they come.
    ///
    /// Items are taken lazily: at most [`window`](ImapUnordered::window) of them are under way. Dropping the iterator drops
    /// what is left.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # procession_process::init();
    /// # let pool = procession_pool::Pool::builder().workers(std::num::NonZeroUsize::MIN).build()?;
    /// let mut sum = 0;
    /// for square in pool.imap_unordered(|x: u64| x * x, 0..4) {
    ///     sum += square?;
    /// }
    /// assert_eq!(sum, 14);
    /// # Ok(())
    /// # }
    /// ```
    pub fn imap_unordered<F, T, R, I>(
        &self,
        function: F,
        items: I,
    ) -> ImapUnordered<'_, R, I::IntoIter>
    where
        F: Fn(T) -> R + Copy + Send + 'static,
        T: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
        I: IntoIterator<Item = T>,
    {
        self.tasks().imap_unordered(function, items)
    }

    /// No further call begins: those that do resolve as [`PoolClosed`](TaskError::PoolClosed). The workers end when what has begun is done.
    pub fn close(&self) {
        self.shared.close(Closing::Drain);
    }

    /// Ends the workers at once. What was not done resolves as [`PoolClosed`](TaskError::PoolClosed).
    pub fn terminate(&self) {
        self.shared.close(Closing::Now);
    }

    /// Waits until the workers of a pool that was closed, or terminated, have ended.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) when it was neither.
    pub fn join(&self) -> Result<()> {
        if !self.shared.is_closing() {
            let text = "a pool is closed or terminated before it is joined";
            return Err(Error::new(ErrorKind::InvalidInput, text));
        }
        self.end();
        Ok(())
    }

    /// Waits for the end of the dispatcher.
    fn end(&self) {
        let mut dispatcher = lock(&self.dispatcher);
        if let Some(dispatcher) = dispatcher.take()
            && dispatcher.join().is_err()
        {
            tracing::error!("the pool's dispatcher panicked");
        }
    }

    pub(crate) fn apply_by<F, A>(
        &self,
        options: Options,
        function: F,
        args: A,
    ) -> AsyncResult<F::Output>
    where
        F: Target<A>,
        F::Output: Serialize + DeserializeOwned + 'static,
        A: Serialize + DeserializeOwned + 'static,
    {
        let job = self.submit(options, FunctionRef::of(function), std::iter::once(args));
        AsyncResult::of_one(job, Arc::clone(&self.shared))
    }

    pub(crate) fn map_async_by<F, A, I>(
        &self,
        options: Options,
        function: F,
        items: I,
    ) -> AsyncResult<Vec<F::Output>>
    where
        F: Target<A>,
        F::Output: Serialize + DeserializeOwned + 'static,
        A: Serialize + DeserializeOwned + 'static,
        I: IntoIterator<Item = A>,
    {
        let job = self.submit(options, FunctionRef::of(function), items.into_iter());
        AsyncResult::of_many(job, Arc::clone(&self.shared))
    }

    /// A job of all these.
    fn submit<A: Serialize>(
        &self,
        options: Options,
        function: Result<FunctionRef>,
        items: impl Iterator<Item = A>,
    ) -> Arc<Job> {
        let not_called = |index, error| {
            let result = Err(TaskError::NotCalled { index, error });
            Outcome { index, result }
        };
        let function = match function {
            Ok(function) => function,
            Err(error) => {
                let job = Job::new(None, options);
                job.submit_resolved(not_called(0, error));
                job.seal();
                return Arc::new(job);
            }
        };
        let job = Arc::new(Job::new(Some(function), options));
        for (index, args) in items.enumerate() {
            // The handles in the arguments exist once: the message holds them from then on.
            match Message::encode(&args) {
                Ok(argument) => job.submit(Task::new(index, argument)),
                Err(error) => job.submit_resolved(not_called(index, error)),
            }
        }
        job.seal();
        self.shared.begin(Arc::clone(&job));
        self.shared.ring();
        job
    }

    pub(crate) fn map_by<F, A, I>(
        &self,
        options: Options,
        function: F,
        items: I,
    ) -> Result<Vec<F::Output>, TaskError>
    where
        F: Target<A>,
        F::Output: Serialize + DeserializeOwned + 'static,
        A: Serialize + DeserializeOwned + 'static,
        I: IntoIterator<Item = A>,
    {
        let mut values = Vec::new();
        for (index, result) in self.bulk(options, FunctionRef::of(function), items) {
            store(&mut values, index, result?);
        }
        Ok(values.into_iter().flatten().collect())
    }

    pub(crate) fn try_map_by<F, A, I>(
        &self,
        options: Options,
        function: F,
        items: I,
    ) -> Vec<Result<F::Output, TaskError>>
    where
        F: Target<A>,
        F::Output: Serialize + DeserializeOwned + 'static,
        A: Serialize + DeserializeOwned + 'static,
        I: IntoIterator<Item = A>,
    {
        let mut results = Vec::new();
        for (index, result) in self.bulk(options, FunctionRef::of(function), items) {
            store(&mut results, index, result);
        }
        results.into_iter().flatten().collect()
    }

    /// Of a function of one argument.
    pub(crate) fn stream<F, T, R, I>(
        &self,
        options: Options,
        function: F,
        items: I,
    ) -> Stream<'_, R, I::IntoIter>
    where
        F: Fn(T) -> R + Copy + Send + 'static,
        T: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
        I: IntoIterator<Item = T>,
    {
        // An item travels as the tuple of the function's one argument, which is encoded as the item itself.
        let function = FunctionRef::of::<F, (T,)>(function);
        Stream::new(&self.shared, self.workers(), function, options, items.into_iter())
    }

    /// A stream for a caller that keeps all results anyway.
    fn bulk<R, I: IntoIterator>(
        &self,
        options: Options,
        function: Result<FunctionRef>,
        items: I,
    ) -> Stream<'_, R, I::IntoIter> {
        let mut stream =
            Stream::new(&self.shared, self.workers(), function, options, items.into_iter());
        stream.set_default_window(BULK_WINDOW * self.workers());
        stream
    }
}

pub(crate) fn check_workers(workers: NonZeroUsize) -> Result<()> {
    match workers.get() <= MOST_WORKERS {
        true => Ok(()),
        false => {
            let text = format!("a pool has {MOST_WORKERS} workers at most");
            Err(Error::new(ErrorKind::InvalidInput, text))
        }
    }
}

/// How many items per worker are under way in a `map`: enough to give workers many at once.
const BULK_WINDOW: usize = 256;

pub(crate) fn store<T>(slots: &mut Vec<Option<T>>, index: usize, value: T) {
    if slots.len() <= index {
        slots.resize_with(index + 1, || None);
    }
    slots[index] = Some(value);
}

/// The value of an outcome.
pub(crate) fn decode<R: DeserializeOwned>(outcome: Outcome) -> Result<R, TaskError> {
    let Outcome { index, result } = outcome;
    let failed = |error| TaskError::Value { index, error };
    // A panic of the value's `Deserialize` is that task's, and must not lose its place.
    let decoded = panic::catch(AssertUnwindSafe(|| result.map(Message::decode)));
    decoded
        .map_err(|panic| failed(Error::new(ErrorKind::Panicked, panic.to_string())))??
        .map_err(failed)
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("workers", &self.worker_pids()).finish()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if self.owner != procession_sys::process::id() {
            // The thread is not here, and the bell is its process's.
            return;
        }
        self.terminate();
        self.end();
    }
}
