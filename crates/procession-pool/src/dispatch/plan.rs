//! What the workers of a pool shall be.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use procession_core::Result;
use procession_process::trampoline::FunctionRef;
use procession_process::{Builder as ProcessBuilder, Context, StartMethod, Stream, Template};
use procession_sys::surroundings;

use crate::Pin;
use crate::worker::Initializer;

/// What workers shall be.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) workers: usize,
    pub(crate) name: String,
    pub(crate) context: Context,
    /// What workers are copies of, when they are forks: this process has other threads by the time when one is replaced.
    pub(crate) template: Option<Template>,
    pub(crate) initializer: Option<Arc<Initializer>>,
    pub(crate) exit: Option<FunctionRef>,
    /// After how many tasks a worker is replaced.
    pub(crate) tasks_per_worker: Option<NonZeroUsize>,
    /// With how many bytes of resident memory, and at which age.
    pub(crate) memory_per_worker: Option<u64>,
    pub(crate) age_per_worker: Option<Duration>,
    pub(crate) pin: Option<Pin>,
    pub(crate) threads_per_worker: Option<NonZeroUsize>,
    pub(crate) captures_stderr: bool,
    /// How many processors there are for the workers.
    pub(crate) processors: usize,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            workers: 1,
            name: "Pool".into(),
            context: Context::default(),
            template: None,
            initializer: None,
            exit: None,
            tasks_per_worker: None,
            memory_per_worker: None,
            age_per_worker: None,
            pin: None,
            threads_per_worker: None,
            captures_stderr: false,
            processors: 1,
        }
    }
}

/// Where libraries look how many threads they shall start.
const THREAD_LIMITS: [&str; 7] = [
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "RAYON_NUM_THREADS",
];

impl Plan {
    /// The process of a worker, but for its name.
    pub(super) fn process(&self, seat: usize) -> Result<ProcessBuilder> {
        let process = match &self.template {
            Some(template) => template.process(),
            None => self.context.process(),
        };
        let mut process = process.daemon(true);
        if self.context.start_method() != StartMethod::Fork {
            let share = self.processors / self.workers.max(1);
            let threads = self.threads_per_worker.map_or(share.max(1), NonZeroUsize::get);
            for name in THREAD_LIMITS {
                if std::env::var_os(name).is_none() {
                    process = process.env(name, threads.to_string());
                }
            }
        }
        if self.captures_stderr {
            process = process.stderr(Stream::piped());
        }
        Ok(match &self.pin {
            None => process,
            Some(Pin::Spread) => {
                let usable = surroundings::affinity()?;
                process.affinity(usable.get(seat % usable.len().max(1)).copied())
            }
            Some(Pin::Sets(sets)) => match sets.get(seat % sets.len().max(1)) {
                Some(set) => process.affinity(set.iter().copied()),
                None => process,
            },
        })
    }
}
