//! What a pool shall be, before it is started.

use std::num::NonZeroUsize;
use std::sync::Arc;

use procession_core::{Error, ErrorKind, Result};
use procession_process::trampoline::FunctionRef;
use procession_process::{Context, StartMethod, Target, cpu_count};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::dispatch::{self, Shared};
use crate::pool::{Pool, check_workers};
use crate::worker::Initializer;

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
    name: String,
    context: Option<Context>,
    initializer: Option<Arc<Initializer>>,
    tasks_per_worker: Option<NonZeroUsize>,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            workers: None,
            name: "Pool".into(),
            context: None,
            initializer: None,
            tasks_per_worker: None,
        }
    }

    /// How many workers; without this, one for each processor that this process may use, which heeds its affinity and its
    /// control group's quota.
    pub fn workers(mut self, workers: NonZeroUsize) -> Self {
        self.workers = Some(workers);
        self
    }

    /// What the pool is called; its workers are called `NAMEWorker-1`, `NAMEWorker-2`, and so on. Without this, `Pool`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Has each worker run exactly so many tasks, after which another one takes its seat: for functions that leave something behind.
    #[doc(alias = "maxtasksperchild")]
    #[doc(alias = "max_tasks_per_child")]
    pub fn tasks_per_worker(mut self, tasks: NonZeroUsize) -> Self {
        self.tasks_per_worker = Some(tasks);
        self
    }

    /// Starts the workers by the method of `context`; without this, by the default method.
    pub fn context(mut self, context: Context) -> Self {
        self.context = Some(context);
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
        self.initializer = Some(Arc::new(Initializer::new(FunctionRef::of(function)?, &args)?));
        Ok(self)
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
        let workers = self.workers.map_or_else(cpu_count, Ok)?;
        check_workers(workers)?;
        let workers = workers.get();
        let context = self.context.unwrap_or_default();
        if context.start_method() == StartMethod::Thread {
            let text = "a pool of threads is not there yet";
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        let shared = Arc::new(Shared::new()?);
        let Self { name, initializer, tasks_per_worker, .. } = self;
        let dispatcher = dispatch::start(
            Arc::clone(&shared),
            workers,
            &name,
            context,
            initializer,
            tasks_per_worker,
        )?;
        Ok(Pool::from_parts(shared, workers, dispatcher))
    }
}
