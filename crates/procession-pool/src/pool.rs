//! The pool's face.

use std::convert::Infallible;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::JoinHandle;

use procession_core::exit::Finalizer;
use procession_core::{Deadline, Error, ErrorKind, Message, Result};
use procession_process::trampoline::FunctionRef;
use procession_process::{OnDrain, Target};
use procession_sys::prim::{AtomicUsize, Mutex, Ordering, lock};
use procession_sys::wipe::{PerProcess, WipedWord};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::builder::Builder;
use crate::dispatch::{Closing, Force, Load, MOST_WORKERS, Shared};
use crate::job::{Job, Outcome, Until};
use crate::options::Options;
use crate::piece::{Packed, Packer, Parcel, catch_decoding, decode_word};
use crate::stream::{Imap, ImapUnordered, Stream};
use crate::tokens::Tokens;
use crate::{AsyncResult, Stats, TaskError, Tasks, Timeline};

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
/// A terminal's Ctrl-C reaches the workers as it reaches this process: they are in its process group. Unless the program has asked for something
/// else: [`exit_on_interrupt`](procession_process::exit_on_interrupt), or [`drain_on_interrupt`](procession_process::drain_on_interrupt), which cancels what
/// has not begun and lets the rest finish.
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
    /// The process that made it.
    owner: u32,
    keeper: Mutex<Option<JoinHandle<()>>>,
    /// Processors of the pool that this process is a worker of.
    _tokens: Option<Tokens>,
    _on_drain: OnDrain,
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
        keeper: JoinHandle<()>,
        tokens: Option<Tokens>,
        on_drain: OnDrain,
    ) -> Self {
        // If there is no such word, no pool can be used, which each use says.
        let owner = procession_sys::process::id();
        if let Ok(word) = HERE.get() {
            word.store(owner.into(), Ordering::Relaxed);
        }
        let workers = AtomicUsize::new(workers);
        Self {
            shared,
            workers,
            owner,
            keeper: Mutex::new(Some(keeper)),
            _tokens: tokens,
            _on_drain: on_drain,
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

    /// What the pool has done since it was started, and what its workers do now.
    ///
    /// To know what a part of a program has done, take a reading before and [one after](Stats::since).
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # procession_process::init();
    /// # let pool = procession_pool::Pool::builder().workers(std::num::NonZeroUsize::MIN).build()?;
    /// pool.map(|x: u64| x + 1, 0..1000)?;
    /// let stats = pool.stats();
    /// assert_eq!(stats.tasks, 1000);
    /// println!("{stats}");
    /// # Ok(())
    /// # }
    /// ```
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// Records from now on when which worker runs what, for a [`timeline`](Self::timeline). It costs each chunk of tasks some tens of
    /// nanoseconds.
    pub fn record(&self) {
        self.shared.record();
    }

    /// What was [recorded](Self::record), and ends the recording. Chunks that run now are not in it.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # procession_process::init();
    /// # let pool = procession_pool::Pool::builder().workers(std::num::NonZeroUsize::MIN).build()?;
    /// pool.record();
    /// pool.map(|x: u64| x + 1, 0..1000)?;
    /// let mut json = Vec::new();
    /// pool.timeline().write(&mut json)?; // or a file, to be opened by ui.perfetto.dev
    /// assert!(json.starts_with(b"{"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn timeline(&self) -> Timeline {
        self.shared.take_timeline()
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

    /// As [`map`](Self::map), and appends the values to `values`, whose memory can so be used again. Those in front of the first
    /// error are there when it returns one.
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
    /// let mut squares = Vec::new();
    /// for start in [0, 2] {
    ///     pool.map_into(|x: u64| x * x, start..start + 2, &mut squares)?;
    /// }
    /// assert_eq!(squares, [0, 1, 4, 9]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn map_into<F, T, R, I>(
        &self,
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
        self.tasks().map_into(function, items, values)
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

    /// Closes the pool and waits for the ends of the workers. With `cancel_pending`, no task is begun any more: those that
    /// wait resolve as [`Cancelled`](TaskError::Cancelled), those that run are waited for.
    ///
    /// # Source
    ///
    /// CPython `concurrent.futures.Executor.shutdown(wait=True, cancel_futures=..)`.
    pub fn shutdown(&self, cancel_pending: bool) {
        match cancel_pending {
            true => self.shared.close_and_cancel(),
            false => self.shared.close(Closing::Drain),
        }
        self.end();
    }

    /// Closes the pool and sends each worker `SIGTERM`, whatever it does; kills those that have not ended after two seconds. What was not done resolves as
    /// [`PoolClosed`](TaskError::PoolClosed). Returns when all have ended.
    ///
    /// # Source
    ///
    /// CPython `concurrent.futures.ProcessPoolExecutor.terminate_workers` (3.14).
    pub fn terminate_workers(&self) {
        self.shared.close_by(Force::Terminate);
        self.end();
    }

    /// As [`terminate_workers`](Self::terminate_workers), by `SIGKILL`.
    ///
    /// # Source
    ///
    /// CPython `concurrent.futures.ProcessPoolExecutor.kill_workers` (3.14).
    pub fn kill_workers(&self) {
        self.shared.close_by(Force::Kill);
        self.end();
    }

    /// A pool for everybody in this process, made when it is asked for the first time, with one worker for each processor that this process may
    /// use. It ends with the process; and when somebody has closed it, the next who asks gets another.
    ///
    /// # Errors
    ///
    /// As [`Builder::build`].
    ///
    /// # Source
    ///
    /// `loky.get_reusable_executor`.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # procession_process::init();
    /// use procession_pool::Pool;
    ///
    /// assert_eq!(Pool::global()?.map(|x: u32| x + 1, 0..3)?, [1, 2, 3]);
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "get_reusable_executor")]
    pub fn global() -> Result<Arc<Self>> {
        let mut global = GLOBAL.lock()?;
        if let Some(pool) = &*global
            && !pool.shared.is_closing()
        {
            return Ok(Arc::clone(pool));
        }
        let pool = Arc::new(Self::new()?);
        Finalizer::new(0, || drop(GLOBAL.lock().map(|mut global| global.take())))?.keep();
        *global = Some(Arc::clone(&pool));
        Ok(pool)
    }

    /// What its workers have left that ended in order.
    pub(crate) fn take_partings(&self) -> Vec<Message> {
        self.shared.take_partings()
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

    /// Waits for the end of the keeper.
    fn end(&self) {
        let mut keeper = lock(&self.keeper);
        if let Some(keeper) = keeper.take()
            && keeper.join().is_err()
        {
            tracing::error!("the pool's keeper panicked");
        }
    }

    pub(crate) fn call_by<F, A>(
        &self,
        options: Options,
        function: F,
        args: A,
    ) -> Result<F::Output, TaskError>
    where
        F: Target<A>,
        F::Output: Serialize + DeserializeOwned + 'static,
        A: Serialize + DeserializeOwned + 'static,
    {
        let not_called = |error| TaskError::NotCalled { index: 0, error };
        let function = FunctionRef::of(function).map_err(not_called)?;
        self.check_owner().map_err(not_called)?;
        let mut packer = Packer::default();
        let piece = match packer.add(0, args).map_err(not_called)? {
            Packed::Added => packer.take().unwrap_or_default(),
            Packed::Alone(piece) => piece,
        };
        let (job, load) = self.shared.submit_one(function, options, piece);
        self.shared.wait_from(&job, Until::Over, Deadline::NEVER, load);
        let parcel = Arc::try_unwrap(job).map_or_else(|job| job.take_parcel(), Job::into_parcel);
        the_only(parcel)
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
        let function = FunctionRef::of(function);
        let (job, _) = self.submit(options, function, std::iter::once(args), true);
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
        let (job, _) = self.submit(options, FunctionRef::of(function), items.into_iter(), true);
        AsyncResult::of_many(job, Arc::clone(&self.shared))
    }

    /// A job of all these, of which nobody else waits for each result if it `is_detached`.
    pub(crate) fn submit<A: Serialize>(
        &self,
        options: Options,
        function: Result<FunctionRef>,
        items: impl Iterator<Item = A>,
        is_detached: bool,
    ) -> (Arc<Job>, Option<Load>) {
        let not_called = |index, error| {
            let result = Err(TaskError::NotCalled { index, error });
            Outcome { index, result }
        };
        let function = match function.and_then(|function| self.check_owner().map(|()| function)) {
            Ok(function) => function,
            Err(error) => {
                let job = Job::new(None, options, is_detached);
                job.submit_resolved(not_called(0, error));
                // Nobody has had the time to wait for it.
                drop(job.seal());
                return (Arc::new(job), None);
            }
        };
        let job = Arc::new(Job::new(Some(function), options, is_detached));
        self.shared.begin(&job);
        let mut packer = Packer::default();
        let mut pieces = Vec::new();
        for (index, args) in items.enumerate() {
            // The handles in the arguments exist once: the piece holds them from then on.
            match packer.add(index, args) {
                Ok(Packed::Added) if packer.len() < PACKED => {}
                Ok(Packed::Added) => pieces.extend(packer.take()),
                Ok(Packed::Alone(piece)) => {
                    pieces.extend(packer.take());
                    pieces.push(piece);
                }
                Err(error) => {
                    pieces.extend(packer.take());
                    job.submit_resolved(not_called(index, error));
                }
            }
        }
        pieces.extend(packer.take());
        let load = self.shared.submit(&job, pieces, true);
        if is_detached {
            self.shared.watch();
        }
        (job, load)
    }

    fn is_here(&self) -> bool {
        HERE.get().is_ok_and(|word| word.load(Ordering::Relaxed) == u64::from(self.owner))
    }

    /// A pool is its process's alone.
    fn check_owner(&self) -> Result<()> {
        match self.is_here() {
            true => Ok(()),
            false => {
                let text = "a forked child cannot use its parent's pool";
                Err(Error::new(ErrorKind::Unsupported, text))
            }
        }
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
        self.bulk(options, FunctionRef::of(function), items).append_to(&mut values)?;
        Ok(values)
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
        let results = self.bulk(options, FunctionRef::of(function), items);
        let Ok(results) = in_order(results.map(Ok::<_, Infallible>));
        results
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
        self.bulk(options, FunctionRef::of::<F, (T,)>(function), items)
    }

    fn bulk<R, I: IntoIterator>(
        &self,
        options: Options,
        function: Result<FunctionRef>,
        items: I,
    ) -> Stream<'_, R, I::IntoIter> {
        let function = function.and_then(|function| self.check_owner().map(|()| function));
        Stream::new(&self.shared, self.workers(), function, options, items.into_iter())
    }
}

/// What [`Pool::global`] gives, in each process its own.
static GLOBAL: PerProcess<Option<Arc<Pool>>> = PerProcess::new();

/// The number of a process that has made a pool; wiped in its forks. To ask the system for each task takes longer.
static HERE: WipedWord = WipedWord::new();

pub(crate) fn check_workers(workers: NonZeroUsize) -> Result<()> {
    match workers.get() <= MOST_WORKERS {
        true => Ok(()),
        false => {
            let text = format!("a pool has {MOST_WORKERS} workers at most");
            Err(Error::new(ErrorKind::InvalidInput, text))
        }
    }
}

/// How many bytes of arguments are kept together.
const PACKED: usize = 1 << 20;

/// The values in the order of their places, or the first error.
pub(crate) fn in_order<T, E>(
    values: impl Iterator<Item = Result<(usize, T), E>>,
) -> Result<Vec<T>, E> {
    let mut slots = Vec::new();
    for value in values {
        let (place, value) = value?;
        if slots.len() <= place {
            slots.resize_with(place + 1, || None);
        }
        slots[place] = Some(value);
    }
    Ok(slots.into_iter().flatten().collect())
}

/// What became of the only task of a job that is over.
pub(crate) fn the_only<R: DeserializeOwned>(parcel: Option<Parcel>) -> Result<R, TaskError> {
    match parcel {
        Some(Parcel::One(outcome)) => decode(outcome),
        Some(Parcel::Word(index, word)) => decode_word(index, word),
        Some(Parcel::Values(mut values)) => {
            let value = values.next_value().map(|(_, value)| value);
            value.unwrap_or(Err(TaskError::Cancelled { index: 0 }))
        }
        None => Err(TaskError::Cancelled { index: 0 }),
    }
}

/// The value of an outcome. A panic of its `Deserialize` is that task's.
pub(crate) fn decode<R: DeserializeOwned>(outcome: Outcome) -> Result<R, TaskError> {
    let Outcome { index, result } = outcome;
    let message = result?;
    catch_decoding(|| message.decode()).map_err(|error| TaskError::Value { index, error })
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("workers", &self.worker_pids()).finish()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if !self.is_here() {
            // The thread is not here, and the bell is its process's.
            return;
        }
        self.terminate();
        self.end();
    }
}
