//! What callers and the dispatcher share.

use std::sync::Arc;

use procession_core::{Error, Result};
use procession_sys::doorbell::Doorbell;
use procession_sys::prim::{AtomicBool, Mutex, Ordering, lock};

use crate::job::{Job, Refused};

/// What callers and the dispatcher share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(super) bell: Doorbell,
    /// Whether the bell has been rung and not been heard yet: saves ringing it for each of many tasks.
    pub(super) rung: AtomicBool,
    /// Whether a job has been abandoned since the dispatcher looked.
    pub(super) abandoned: AtomicBool,
    pub(super) inbox: Mutex<Inbox>,
}

#[derive(Debug, Default)]
pub(super) struct Inbox {
    pub(super) jobs: Vec<Arc<Job>>,
    pub(super) closing: Closing,
    /// How many workers there shall be, when somebody has said so since the dispatcher looked.
    pub(super) wanted: Option<usize>,
    /// Why the pool is out of order, if it is: there is no dispatcher any more.
    pub(super) broken: Option<Error>,
    /// The process numbers of the workers, by seat.
    pub(super) pids: Vec<Option<u32>>,
}

/// Whether a pool ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Closing {
    #[default]
    No,
    /// When what has begun is done.
    Drain,
    Now,
}

impl Shared {
    pub(crate) fn new() -> Result<Self> {
        let inbox = Mutex::new(Inbox::default());
        let (rung, abandoned) = (AtomicBool::new(false), AtomicBool::new(false));
        Ok(Self { bell: Doorbell::new()?, rung, abandoned, inbox })
    }

    /// Hands over a job.
    pub(crate) fn begin(&self, job: Arc<Job>) {
        let mut inbox = lock(&self.inbox);
        let refused = match &inbox.broken {
            Some(error) => Refused::Broken(error.clone()),
            None if inbox.closing != Closing::No => Refused::Closed,
            None => return inbox.jobs.push(job),
        };
        drop(inbox);
        job.refuse(&refused);
    }

    /// Makes the dispatcher look for tasks.
    pub(crate) fn ring(&self) {
        // ORDERING: pairs with the swap in `Dispatcher::turn`: whoever finds the flag set knows that the dispatcher will
        // look after this call, and so will see what was done before it.
        if !self.rung.swap(true, Ordering::AcqRel) {
            // Cannot fail for a doorbell; and a dispatcher that missed a bell hears the next one.
            drop(self.bell.ring());
        }
    }

    /// Gives a job up: what it waits for is forgotten, what workers have of it is skipped.
    pub(crate) fn abandon(&self, job: &Job) {
        job.abandon();
        self.look();
    }

    /// Makes the dispatcher look for jobs that were given up, or cancelled.
    pub(crate) fn look(&self) {
        // ORDERING: pairs with the swap in `Dispatcher::turn`; the ring behind it makes the dispatcher look.
        self.abandoned.store(true, Ordering::Release);
        self.ring();
    }

    pub(crate) fn close(&self, closing: Closing) {
        {
            let mut inbox = lock(&self.inbox);
            inbox.closing = inbox.closing.max(closing);
        }
        self.ring();
    }

    /// Says how many workers there shall be.
    pub(crate) fn resize(&self, workers: usize) {
        lock(&self.inbox).wanted = Some(workers);
        self.ring();
    }

    pub(crate) fn is_closing(&self) -> bool {
        lock(&self.inbox).closing != Closing::No
    }

    pub(crate) fn worker_pids(&self) -> Vec<u32> {
        lock(&self.inbox).pids.iter().copied().flatten().collect()
    }
}
