//! How tasks are run in threads: [`ThreadTasks`], a view of a pool that says so.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use procession_core::Deadline;
use procession_process::panic;

use crate::TaskError;

use super::ThreadPool;
use super::crew::Source;
use super::job::{Job, Parcel, Wait};
use super::result::{Promise, ThreadResult};
use super::stream::{Stream, ThreadImap, ThreadImapUnordered};

/// A function that runs in a thread: any `Fn` of up to eight arguments, with all that it captures, if that may go to another thread.
///
/// `Args` is the tuple of its arguments. A closure's argument types are written out (`|path: PathBuf, n: usize| ..`): the compiler does not infer them
/// through this trait. Implemented here for all such functions; there is nothing to implement elsewhere.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot run in another thread with the arguments `{Args}`",
    label = "not a function of these arguments that other threads may call",
    note = "its arguments are given as a tuple: `(a, b)`, `(a,)`, `()`"
)]
pub trait ThreadTarget<Args>: Send + Sync + 'static {
    /// What the function returns.
    type Output;

    /// Calls the function.
    fn call(&self, args: Args) -> Self::Output;
}

macro_rules! target {
    ($($arg:ident $Arg:ident),*) => {
        impl<Function, Output, $($Arg),*> ThreadTarget<($($Arg,)*)> for Function
        where
            Function: Fn($($Arg),*) -> Output + Send + Sync + 'static,
        {
            type Output = Output;

            fn call(&self, ($($arg,)*): ($($Arg,)*)) -> Output {
                self($($arg),*)
            }
        }
    };
}

target!();
target!(a A);
target!(a A, b B);
target!(a A, b B, c C);
target!(a A, b B, c C, d D);
target!(a A, b B, c C, d D, e E);
target!(a A, b B, c C, d D, e E, f F);
target!(a A, b B, c C, d D, e E, f F, g G);
target!(a A, b B, c C, d D, e E, f F, g G, h H);

/// See [`ThreadTasks`].
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Options {
    pub(crate) chunk: Option<NonZeroUsize>,
    pub(crate) window: Option<NonZeroUsize>,
}

/// A pool of threads, and how tasks are run there: [`ThreadPool::tasks`]. It has the methods of the pool.
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::num::NonZeroUsize;
///
/// let pool = procession_pool::ThreadPool::new()?;
/// let twenty = NonZeroUsize::new(20).unwrap();
/// let squares = pool.tasks().chunk(twenty).map(|x: u64| x * x, 0..100)?;
/// assert_eq!(squares[99], 9801);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy)]
#[must_use = "this says how, and runs nothing"]
pub struct ThreadTasks<'pool> {
    pub(crate) pool: &'pool ThreadPool,
    pub(crate) options: Options,
}

impl<'pool> ThreadTasks<'pool> {
    /// How many items a worker takes at once. Without this, as many as take it 0.2 ms, and fewer towards the end.
    #[doc(alias = "chunksize")]
    pub fn chunk(mut self, items: NonZeroUsize) -> Self {
        self.options.chunk = Some(items);
        self
    }

    /// How many items may be under way at most: see [`ThreadImap::window`].
    pub fn window(mut self, items: NonZeroUsize) -> Self {
        self.options.window = Some(items);
        self
    }

    /// As [`ThreadPool::apply`].
    ///
    /// # Errors
    ///
    /// As [`ThreadPool::apply`].
    pub fn apply<F, A>(self, function: F, args: A) -> Result<F::Output, TaskError>
    where
        F: ThreadTarget<A, Output: Send + 'static>,
        A: Send + 'static,
    {
        let job = self.job(move |args| function.call(args));
        job.add(&mut vec![args]);
        job.seal();
        match job.wait(1, Deadline::NEVER) {
            Wait::Here(parcels) => the_only(parcels),
            Wait::Nothing | Wait::Late => unreachable!("one is under way until it is done"),
        }
    }

    /// As [`ThreadPool::apply_async`].
    pub fn apply_async<F, A>(self, function: F, args: A) -> ThreadResult<F::Output>
    where
        F: ThreadTarget<A, Output: Send + 'static>,
        A: Send + 'static,
    {
        let job = self.job(move |args| function.call(args));
        self.submit(job, VecDeque::from([args]), the_only)
    }

    /// As [`ThreadPool::map`].
    ///
    /// # Errors
    ///
    /// As [`ThreadPool::map`].
    pub fn map<F, T, R, I>(self, function: F, items: I) -> Result<Vec<R>, TaskError>
    where
        F: Fn(T) -> R + Send + Sync + 'static,
        T: Send + 'static,
        R: Send + 'static,
        I: IntoIterator<Item = T>,
    {
        let mut values = Vec::new();
        self.map_into(function, items, &mut values)?;
        Ok(values)
    }

    /// As [`ThreadPool::map_into`].
    ///
    /// # Errors
    ///
    /// As [`ThreadPool::map`].
    pub fn map_into<F, T, R, I>(
        self,
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
        self.stream(function, items).append_to(values)
    }

    /// As [`ThreadPool::try_map`].
    pub fn try_map<F, T, R, I>(self, function: F, items: I) -> Vec<Result<R, TaskError>>
    where
        F: Fn(T) -> R + Send + Sync + 'static,
        T: Send + 'static,
        R: Send + 'static,
        I: IntoIterator<Item = T>,
    {
        self.stream(function, items).collect_each()
    }

    /// As [`ThreadPool::starmap`].
    ///
    /// # Errors
    ///
    /// As [`ThreadPool::map`].
    pub fn starmap<F, A, I>(self, function: F, items: I) -> Result<Vec<F::Output>, TaskError>
    where
        F: ThreadTarget<A, Output: Send + 'static>,
        A: Send + 'static,
        I: IntoIterator<Item = A>,
    {
        self.map(move |args| function.call(args), items)
    }

    /// As [`ThreadPool::map_async`].
    pub fn map_async<F, T, R, I>(self, function: F, items: I) -> ThreadResult<Vec<R>>
    where
        F: Fn(T) -> R + Send + Sync + 'static,
        T: Send + 'static,
        R: Send + 'static,
        I: IntoIterator<Item = T>,
    {
        // Before it begins: the input may panic.
        let items: VecDeque<T> = items.into_iter().collect();
        self.submit(self.job(function), items, |mut parcels| {
            // The first failure that came; if there is none, they stand in order.
            if let Some(failed) = parcels.iter().position(Parcel::is_failure) {
                parcels.swap(0, failed);
            } else {
                parcels.sort_unstable_by_key(Parcel::first);
            }
            let mut values = Vec::new();
            if parcels.len() > 1 {
                values.reserve(parcels.iter().map(Parcel::len).sum());
            }
            parcels.into_iter().try_for_each(|parcel| parcel.append_to(&mut values))?;
            Ok(values)
        })
    }

    /// As [`ThreadPool::starmap_async`].
    pub fn starmap_async<F, A, I>(self, function: F, items: I) -> ThreadResult<Vec<F::Output>>
    where
        F: ThreadTarget<A, Output: Send + 'static>,
        A: Send + 'static,
        I: IntoIterator<Item = A>,
    {
        self.map_async(move |args| function.call(args), items)
    }

    /// As [`ThreadPool::imap`].
    pub fn imap<F, T, R, I>(self, function: F, items: I) -> ThreadImap<'pool, R, I::IntoIter>
    where
        F: Fn(T) -> R + Send + Sync + 'static,
        T: Send + 'static,
        R: Send + 'static,
        I: IntoIterator<Item = T>,
    {
        ThreadImap::new(self.stream(function, items))
    }

    /// As [`ThreadPool::imap_unordered`].
    pub fn imap_unordered<F, T, R, I>(
        self,
        function: F,
        items: I,
    ) -> ThreadImapUnordered<'pool, R, I::IntoIter>
    where
        F: Fn(T) -> R + Send + Sync + 'static,
        T: Send + 'static,
        R: Send + 'static,
        I: IntoIterator<Item = T>,
    {
        ThreadImapUnordered::new(self.stream(function, items))
    }

    fn stream<F, T, R, I>(self, function: F, items: I) -> Stream<'pool, R, I::IntoIter>
    where
        F: Fn(T) -> R + Send + Sync + 'static,
        T: Send + 'static,
        R: Send + 'static,
        I: IntoIterator<Item = T>,
    {
        Stream::new(self.pool.crew(), self.options, function, items.into_iter())
    }

    /// A call that has begun.
    fn job<T, R>(self, function: impl Fn(T) -> R + Send + Sync + 'static) -> Arc<Job<T, R>>
    where
        T: Send + 'static,
        R: Send + 'static,
    {
        let job = Job::new(Arc::clone(self.pool.crew()), function, self.options.chunk);
        job.begin();
        Arc::new(job)
    }

    /// Has all of it run, and one result made of the results.
    fn submit<T, R, V>(
        self,
        job: Arc<Job<T, R>>,
        items: VecDeque<T>,
        collect: impl FnOnce(Vec<Parcel<R>>) -> Result<V, TaskError> + Send + 'static,
    ) -> ThreadResult<V>
    where
        T: Send + 'static,
        R: Send + 'static,
        V: Send + 'static,
    {
        let promise = Promise::new();
        let kept = Arc::clone(&promise);
        job.submit(items, move |parcels| {
            // Dropping values may panic.
            let collected = panic::catch(AssertUnwindSafe(|| collect(parcels)));
            let failed = |panic| Err(TaskError::Panicked { index: 0, panic });
            kept.keep(collected.unwrap_or_else(failed));
        });
        let job: Arc<dyn Source> = job;
        ThreadResult::new(promise, Arc::clone(self.pool.crew()), Some(job))
    }
}

/// Of one item.
fn the_only<R>(parcels: Vec<Parcel<R>>) -> Result<R, TaskError> {
    let result = parcels.into_iter().flatten().next();
    result.expect("each item has a result")
}
