//! What a pool shall be, before it is started.

use std::fmt::Display;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use procession_core::{Error, ErrorKind, Result};
use procession_process::trampoline::FunctionRef;
use procession_process::{Context, StartMethod, Target, cpu_count, on_drain};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::dispatch::{self, Plan, Shared};
use crate::pool::{Pool, check_workers};
use crate::state_pool::StateBuilder;
use crate::tokens::{self, Tokens};
use crate::worker::{Initializer, keep};

/// Describes a pool before it is started.
///
/// # Examples
///
/// ```
/// # fn main() -> procession_core::Result<()> {
/// # procession_process::init();
/// use procession_pool::Pool;
/// use std::num::NonZeroUsize;
///
/// let pool = Pool::builder().workers(NonZeroUsize::MIN).name("Render").build()?;
/// assert_eq!(pool.workers(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "a builder starts nothing until `build` is called"]
pub struct Builder {
    workers: Option<NonZeroUsize>,
    plan: Plan,
}

/// How workers are bound to processors.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Pin {
    /// Each to one of those that this process may use: the worker in seat `n` to the `n`-th, from the beginning again when there are more
    /// workers.
    Spread,
    /// Each to a set of processors, numbered from zero: the worker in seat `n` to the `n`-th set, from the beginning again when there are
    /// more workers.
    Sets(Vec<Vec<u16>>),
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self { workers: None, plan: Plan::default() }
    }

    /// How many workers; without this, one for each processor that this process may use, which heeds its affinity and its
    /// control group's quota. In the worker of a pool, without this: one, and one more for each of those processors that no worker of that pool has,
    /// and no other pool in one, so that pools within pools do not have more workers than there are processors.
    pub fn workers(mut self, workers: NonZeroUsize) -> Self {
        self.workers = Some(workers);
        self
    }

    /// What the pool is called; its workers are called `NAMEWorker-1`, `NAMEWorker-2`, and so on. Without this, `Pool`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.plan.name = name.into();
        self
    }

    /// Has each worker run exactly so many tasks, after which another one takes its seat: for functions that leave something behind.
    #[doc(alias = "maxtasksperchild")]
    #[doc(alias = "max_tasks_per_child")]
    pub fn tasks_per_worker(mut self, tasks: NonZeroUsize) -> Self {
        self.plan.tasks_per_worker = Some(tasks);
        self
    }

    /// Has another worker take the place of one that has more than so many bytes of resident memory when it has done a task, shared ones
    /// included: for functions that leave memory behind. The other one is there before it ends.
    ///
    /// # Source
    ///
    /// `proc(5)`, `/proc/[pid]/stat`.
    #[doc(alias = "max_memory_per_child")]
    pub fn memory_per_worker(mut self, bytes: u64) -> Self {
        self.plan.memory_per_worker = Some(bytes);
        self
    }

    /// Has another worker take the place of one that was started so long ago, when that has done what it is doing then. The other one is there
    /// before it ends.
    pub fn age_per_worker(mut self, age: Duration) -> Self {
        self.plan.age_per_worker = Some(age);
        self
    }

    /// Binds workers to processors.
    ///
    /// # Source
    ///
    /// `sched_setaffinity(2)`.
    pub fn pin(mut self, pin: Pin) -> Self {
        self.plan.pin = Some(pin);
        self
    }

    /// How many threads libraries start in each worker that ask the environment for it; without this, as many as there are processors for each
    /// worker, one at least, so that all of them together do not start more than there are.
    ///
    /// Each worker has `OMP_NUM_THREADS`, `OPENBLAS_NUM_THREADS`, `MKL_NUM_THREADS`, `BLIS_NUM_THREADS`, `VECLIB_MAXIMUM_THREADS`,
    /// `NUMEXPR_NUM_THREADS` and `RAYON_NUM_THREADS` in its environment, but for those that stand in that of this process. Not under the start method
    /// `fork`, whose workers have libraries that may have read them.
    pub fn threads_per_worker(mut self, threads: NonZeroUsize) -> Self {
        self.plan.threads_per_worker = Some(threads);
        self
    }

    /// Keeps the end of what each worker writes to its standard error, which goes on to that of this process, to be told with its
    /// [death](crate::TaskError::WorkerDied). What workers write goes through a pipe then: it is no terminal for them.
    pub fn capture_stderr(mut self) -> Self {
        self.plan.captures_stderr = true;
        self
    }

    /// Starts the workers by the method of `context`; without this, by the default method.
    pub fn context(mut self, context: Context) -> Self {
        self.plan.context = context;
        self
    }

    /// Has each worker call `function` with `args` before its first task, also one that replaces another.
    ///
    /// A worker whose initializer panics ends, and another one is started; when ten in a row have, the pool is out of order, and
    /// every task resolves as [`PoolBroken`](crate::TaskError::PoolBroken).
    ///
    /// # Errors
    ///
    /// [`Encode`](procession_core::ErrorKind::Encode) when an argument cannot be encoded;
    /// [`Unsupported`](procession_core::ErrorKind::Unsupported) for a function of a library that was loaded at run time.
    ///
    /// # Source
    ///
    /// CPython `Pool(initializer=.., initargs=..)`.
    pub fn initializer<F, A>(mut self, function: F, args: A) -> Result<Self>
    where
        F: Target<A, Output = ()>,
        A: Serialize + DeserializeOwned + 'static,
    {
        let call = move |args: A| {
            function.call(args);
            Ok::<(), Error>(())
        };
        let initializer = Initializer::new(FunctionRef::of::<_, (A,)>(call)?, &args)?;
        self.plan.initializer = Some(Arc::new(initializer));
        Ok(self)
    }

    /// Has each worker keep what `function` makes of `args`, before its first task, also one that replaces another: a model that takes long to load, a
    /// connection. Tasks of the pool have it, one at a time: see [`StatePool`](crate::StatePool).
    ///
    /// When `function` fails, its worker ends, and another one is started; when ten in a row have, the pool is out of order, and every task resolves as
    /// [`PoolBroken`](crate::TaskError::PoolBroken), with the last error. When a task panics, what its worker keeps is dropped and made
    /// anew.
    ///
    /// # Errors
    ///
    /// As [`initializer`](Self::initializer), whose place this takes.
    pub fn init<F, A, S, E>(mut self, function: F, args: A) -> Result<StateBuilder<S>>
    where
        F: Target<A, Output = Result<S, E>>,
        A: Serialize + DeserializeOwned + 'static,
        S: 'static,
        E: Display + 'static,
    {
        let call = move |args: A| match function.call(args) {
            Ok(state) => {
                keep(state);
                Ok(())
            }
            Err(error) => Err(Error::new(ErrorKind::Other, error.to_string())),
        };
        let initializer = Initializer::new(FunctionRef::of::<_, (A,)>(call)?, &args)?;
        self.plan.initializer = Some(Arc::new(initializer));
        Ok(StateBuilder::new(self))
    }

    /// Has each worker call this when it ends in order.
    pub(crate) fn exit(mut self, function: FunctionRef) -> Self {
        self.plan.exit = Some(function);
        self
    }

    /// Starts the pool.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](procession_core::ErrorKind::InvalidInput) for more than 4096 workers;
    /// [`NotInitialized`](procession_core::ErrorKind::NotInitialized) when `init()` did not run in this process,
    /// [`Unsupported`](procession_core::ErrorKind::Unsupported) when the context's method is `thread`, or it is `fork` and other
    /// threads run; [`Os`](procession_core::ErrorKind::Os) when the system has no room for the workers. None is left then.
    pub fn build(self) -> Result<Pool> {
        let Self { workers, mut plan } = self;
        let processors = cpu_count()?;
        let tokens = workers.is_none().then(|| Tokens::take(processors)).flatten();
        let workers = workers.unwrap_or_else(|| tokens.as_ref().map_or(processors, Tokens::count));
        check_workers(workers)?;
        if plan.context.start_method() == StartMethod::Thread {
            let text = "workers that are threads have a pool of their own: `ThreadPool`";
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        // Before there is anything that a worker is given anew.
        plan.template = match plan.context.start_method() {
            StartMethod::Fork => Some(plan.context.template()?),
            _ => None,
        };
        plan.workers = workers.get();
        plan.processors = processors.get();
        let shared = Arc::new(Shared::new(tokens::left(processors, workers))?);
        let to_drain = Arc::downgrade(&shared);
        let on_drain = on_drain(move || {
            if let Some(shared) = to_drain.upgrade() {
                shared.close_and_cancel();
            }
        })?;
        let keeper = dispatch::start(Arc::clone(&shared), plan)?;
        Ok(Pool::from_parts(shared, workers.get(), keeper, tokens, on_drain))
    }
}
