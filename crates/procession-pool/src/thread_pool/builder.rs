//! What a pool of threads shall be, before it is started.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;

use procession_core::Result;
use procession_process::cpu_count;

use crate::pool::check_workers;

use super::ThreadPool;
use super::crew::{Crew, Plan};

/// Describes a pool of threads before it is started.
///
/// # Examples
///
/// ```
/// # fn main() -> procession_core::Result<()> {
/// use procession_pool::ThreadPool;
/// use std::num::NonZeroUsize;
///
/// let pool = ThreadPool::builder().workers(NonZeroUsize::MIN).name("Render").build()?;
/// assert_eq!(pool.workers(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "a builder starts nothing until `build` is called"]
pub struct ThreadBuilder {
    workers: Option<NonZeroUsize>,
    plan: Plan,
}

impl ThreadBuilder {
    pub(crate) fn new() -> Self {
        let plan = Plan { name: "ThreadPool".into(), initializer: None, tasks_per_worker: None };
        Self { workers: None, plan }
    }

    /// How many workers; without this, one for each processor that this process may use, which heeds its affinity and its control group's quota.
    pub fn workers(mut self, workers: NonZeroUsize) -> Self {
        self.workers = Some(workers);
        self
    }

    /// What the pool is called; its workers are called `NAMEWorker-1`, `NAMEWorker-2`, and so on, for `ps` and debuggers. Without this, `ThreadPool`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.plan.name = name.into();
        self
    }

    /// Has each worker run exactly so many tasks, after which another thread takes its seat: for functions that leave something in their thread. What a task
    /// runs itself while it waits for others of the same pool does not count.
    #[doc(alias = "maxtasksperchild")]
    pub fn tasks_per_worker(mut self, tasks: NonZeroUsize) -> Self {
        self.plan.tasks_per_worker = Some(tasks);
        self
    }

    /// Has each worker call `function` before its first task, also one that replaces another.
    ///
    /// One that panics is called again, after growing pauses; when ten in a row have panicked and no worker is ready, the pool is out of order, and every task
    /// resolves as [`PoolBroken`](crate::TaskError::PoolBroken).
    ///
    /// # Source
    ///
    /// CPython `ThreadPool(initializer=.., initargs=..)`. There a worker whose initializer fails is gone, and the pool waits for ever.
    pub fn initializer(mut self, function: impl Fn() + Send + Sync + 'static) -> Self {
        self.plan.initializer = Some(Arc::new(function));
        self
    }

    /// Starts the pool.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](procession_core::ErrorKind::InvalidInput) for more than 4096 workers; [`Os`](procession_core::ErrorKind::Os) when the system has
    /// no room for the threads. None is left then.
    pub fn build(self) -> Result<ThreadPool> {
        let workers = self.workers.map_or_else(cpu_count, Ok)?;
        check_workers(workers)?;
        Ok(ThreadPool::from_crew(Crew::start(self.plan, workers.get())?))
    }
}

impl fmt::Debug for ThreadBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { workers, plan } = self;
        f.debug_struct("ThreadBuilder")
            .field("workers", workers)
            .field("name", &plan.name)
            .field("tasks_per_worker", &plan.tasks_per_worker)
            .finish_non_exhaustive()
    }
}
