//! The threads that run methods of users' types, so that nobody else waits for them.
//!
//! A thread is started when there is more to run than threads that are idle, up to a limit; one that has been idle for a while ends. What finds
//! neither waits its turn: 64 methods that wait for something hold up the next one, and nothing else.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use procession_core::{Error, ErrorKind, Result};
use procession_process::panic;
use procession_sys::prim::{Condvar, Mutex, PoisonError, lock};

use super::Shared;
use super::context::Caller;
use crate::custom::{Erased, Given, Maker, Told, within};

/// How many methods run at once, of all objects.
const THREADS: usize = 64;
/// How long a thread without work stays.
const IDLE: Duration = Duration::from_secs(10);

/// What is to be run.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) caller: Caller,
    pub(super) what: What,
    /// Its name.
    pub(super) function: String,
    pub(super) signature: u64,
    pub(super) bytes: Vec<u8>,
    /// Objects that the arguments mention, which the server's own session holds for that.
    pub(super) mentions: Vec<u64>,
}

#[derive(Debug)]
pub(super) enum What {
    Make(Maker, u64),
    Call(Arc<dyn Erased>),
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Ran {
    Made(Arc<dyn Erased>, u64),
    Told(Told),
}

/// Work, and how many are there for it.
#[derive(Debug, Default)]
pub(super) struct Executor {
    work: Mutex<Work>,
    bell: Condvar,
}

#[derive(Debug, Default)]
struct Work {
    jobs: VecDeque<Job>,
    /// Values that are gone, whose own code runs when they are dropped.
    dead: Vec<Arc<dyn Erased>>,
    threads: usize,
    idle: usize,
}

impl Executor {
    pub(super) fn run(&self, shared: &Arc<Shared>, job: Job) {
        let mut work = lock(&self.work);
        work.jobs.push_back(job);
        self.see_to(shared, work.jobs.len(), &mut work);
    }

    pub(super) fn bury(&self, shared: &Arc<Shared>, dead: Vec<Arc<dyn Erased>>) {
        let mut work = lock(&self.work);
        work.dead.extend(dead);
        self.see_to(shared, 1, &mut work);
    }

    /// Sees to it that somebody does the work.
    fn see_to(&self, shared: &Arc<Shared>, pending: usize, work: &mut Work) {
        if work.idle >= pending || work.threads >= THREADS {
            self.bell.notify_one();
            return;
        }
        let thread = Arc::clone(shared);
        match super::start("manager-method", move || thread.executor().work(&thread)) {
            Ok(_thread) => work.threads += 1,
            Err(error) if work.threads == 0 => {
                tracing::warn!(%error, "a manager cannot run a method");
                // They are told, instead of waiting for ever.
                for job in std::mem::take(&mut work.jobs) {
                    shared.refuse(job.caller, error.clone());
                }
            }
            Err(_others_do) => self.bell.notify_one(),
        }
    }

    fn work(&self, shared: &Arc<Shared>) {
        let mut work = lock(&self.work);
        loop {
            if let Some(job) = work.jobs.pop_front() {
                drop(work);
                let caller = job.caller;
                shared.finish(caller, run(shared, job));
                work = lock(&self.work);
            } else if let Some(dead) = work.dead.pop() {
                drop(work);
                // The message was printed, and nobody else is concerned.
                drop(panic::catch(AssertUnwindSafe(|| within(shared, || drop(dead)))));
                work = lock(&self.work);
            } else {
                work.idle += 1;
                let waited = self.bell.wait_timeout(work, IDLE);
                let (woken, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
                work = woken;
                work.idle -= 1;
                if timeout.timed_out() && work.jobs.is_empty() && work.dead.is_empty() {
                    work.threads -= 1;
                    return;
                }
            }
        }
    }
}

fn run(shared: &Arc<Shared>, job: Job) -> Result<Ran> {
    let session = shared.session()?;
    let Job { what, function, signature, bytes, mentions, .. } = job;
    let given = Given { session: &session, bytes: &bytes, mentions, signature };
    let act = || match what {
        What::Make(maker, fingerprint) => {
            maker(&function, given).map(|made| Ran::Made(made, fingerprint))
        }
        What::Call(value) => value.call(&function, given).map(Ran::Told),
    };
    panic::catch(AssertUnwindSafe(|| within(shared, act))).unwrap_or_else(|panic| {
        let text = format!("`{function}` panicked: {} ({})", panic.message, panic.location);
        let backtrace = Error::new(ErrorKind::Other, panic.backtrace);
        Err(Error::new(ErrorKind::Panicked, text).caused_by(&backtrace))
    })
}
