//! What a pool shall be, before it is started.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;

use procession_core::Result;
use procession_process::Context;

use crate::dispatch::{self, Shared};
use crate::pool::Pool;

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
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self { workers: None, name: "Pool".into(), context: None }
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

    /// Starts the workers by the method of `context`; without this, by the default method.
    pub fn context(mut self, context: Context) -> Self {
        self.context = Some(context);
        self
    }

    /// Starts the pool.
    ///
    /// # Errors
    ///
    /// [`NotInitialized`](procession_core::ErrorKind::NotInitialized) when `init()` did not run in this process,
    /// [`Os`](procession_core::ErrorKind::Os) when the system has no room for the workers. None is left then.
    pub fn build(self) -> Result<Pool> {
        let usable = || thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let workers = self.workers.unwrap_or_else(usable).get();
        let context = self.context.unwrap_or_default();
        let shared = Arc::new(Shared::new()?);
        let dispatcher = dispatch::start(Arc::clone(&shared), workers, &self.name, context)?;
        Ok(Pool::from_parts(shared, workers, dispatcher))
    }
}
