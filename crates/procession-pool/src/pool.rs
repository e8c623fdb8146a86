//! The pool's face.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::thread::JoinHandle;

use procession_core::{Error, ErrorKind, Message, Result};
use procession_process::trampoline::FunctionRef;
use procession_process::{Target, panic};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::TaskError;
use crate::builder::Builder;
use crate::dispatch::Shared;
use crate::job::{Job, Outcome, Task};
use crate::stream::{Imap, ImapUnordered, Stream};

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
    workers: usize,
    /// The process that the dispatcher is a thread of.
    owner: u32,
    dispatcher: Option<JoinHandle<()>>,
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
        Self { shared, workers, owner: procession_sys::process::id(), dispatcher: Some(dispatcher) }
    }

    /// How many workers the pool has.
    pub fn workers(&self) -> usize {
        self.workers
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
        let not_called = |error| TaskError::NotCalled { index: 0, error };
        let function = FunctionRef::of(function).map_err(not_called)?;
        let argument = Message::encode(&args).map_err(not_called)?;
        // The handles in the arguments exist once: the message holds them now.
        drop(args);
        let job = Arc::new(Job::new(function));
        job.submit(Task::new(0, argument));
        self.shared.begin(Arc::clone(&job));
        self.shared.ring();
        decode(job.next_outcome())
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
        let mut values = Vec::new();
        for (index, result) in self.bulk(function, items) {
            store(&mut values, index, result?);
        }
        Ok(values.into_iter().flatten().collect())
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
        let mut results = Vec::new();
        for (index, result) in self.bulk(function, items) {
            store(&mut results, index, result);
        }
        results.into_iter().flatten().collect()
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
        Imap::new(self.stream(function, items))
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
        ImapUnordered::new(self.stream(function, items))
    }

    fn stream<F, T, R, I>(&self, function: F, items: I) -> Stream<'_, R, I::IntoIter>
    where
        F: Fn(T) -> R + Copy + Send + 'static,
        T: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
        I: IntoIterator<Item = T>,
    {
        // An item travels as the tuple of the function's one argument, which is encoded as the item itself.
        let function = FunctionRef::of::<F, (T,)>(function);
        Stream::new(&self.shared, self.workers, function, items.into_iter())
    }

    /// A stream for a caller that keeps all results anyway.
    fn bulk<F, T, R, I>(&self, function: F, items: I) -> Stream<'_, R, I::IntoIter>
    where
        F: Fn(T) -> R + Copy + Send + 'static,
        T: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
        I: IntoIterator<Item = T>,
    {
        let mut stream = self.stream(function, items);
        stream.set_window(BULK_WINDOW * self.workers);
        stream
    }
}

/// How many items per worker are under way in a `map`: enough to give workers many at once.
const BULK_WINDOW: usize = 256;

fn store<T>(slots: &mut Vec<Option<T>>, index: usize, value: T) {
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
            self.dispatcher = None;
            return;
        }
        self.shared.close();
        if let Some(dispatcher) = self.dispatcher.take()
            && dispatcher.join().is_err()
        {
            tracing::error!("the pool's dispatcher panicked");
        }
    }
}
