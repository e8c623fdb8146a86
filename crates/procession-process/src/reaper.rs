//! Reaps processes whose handles were dropped, so that no zombie stays.
//!
//! One thread, started when the first such process is handed over, waits for the pidfds of all of them. It knows nothing
//! but descriptors: a process that somebody else reaped meanwhile is none of its business any more.
//!
//! After a fork the child has no such thread, and none of the processes is its child; the first process of its own that
//! it drops starts a thread of its own.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread;

use procession_sys::doorbell::Doorbell;
use procession_sys::poll::{self, Watch};
use procession_sys::prim::{Mutex, lock};
use procession_sys::{Deadline, OsError, pidfd, process, signal};

struct Reaper {
    /// The process that the thread belongs to.
    pid: u32,
    bell: Doorbell,
    /// Handed over, and not yet seen by the thread.
    arrivals: Mutex<Vec<OwnedFd>>,
}

static REAPER: Mutex<Option<Arc<Reaper>>> = Mutex::new(None);

/// Reaps the process behind `pidfd` when it ends.
pub(crate) fn reap_when_it_ends(pidfd: OwnedFd) {
    let handed_over = reaper().and_then(|reaper| {
        lock(&reaper.arrivals).push(pidfd);
        Ok(reaper.bell.ring()?)
    });
    if let Err(error) = handed_over {
        // Out of threads or descriptors. The process ends with this one, and is reaped then.
        tracing::warn!(%error, "a process was dropped that nobody can wait for");
    }
}

fn reaper() -> Result<Arc<Reaper>, procession_core::Error> {
    let mut current = lock(&REAPER);
    if let Some(reaper) = current.as_ref().filter(|reaper| reaper.pid == process::id()) {
        return Ok(Arc::clone(reaper));
    }
    let reaper = Arc::new(Reaper {
        pid: process::id(),
        bell: Doorbell::new()?,
        arrivals: Mutex::new(Vec::new()),
    });
    let for_thread = Arc::clone(&reaper);
    let thread = thread::Builder::new().name("procession-reap".into());
    signal::while_blocked(|| thread.spawn(move || for_thread.run()))??;
    Ok(Arc::clone(current.insert(reaper)))
}

impl Reaper {
    fn run(&self) {
        let mut waiting = Vec::new();
        loop {
            if let Err(error) = self.turn(&mut waiting) {
                tracing::error!(%error, "processes that were dropped are not reaped any more");
                // The next one that is dropped starts another thread.
                lock(&REAPER).take_if(|current| std::ptr::eq(Arc::as_ptr(current), self));
                return;
            }
        }
    }

    /// Waits for something to happen, and sees to it.
    fn turn(&self, waiting: &mut Vec<OwnedFd>) -> Result<(), OsError> {
        let mut watches: Vec<_> = waiting.iter().map(Watch::readable).collect();
        watches.push(Watch::readable(&self.bell));
        poll::wait(&mut watches, Deadline::NEVER)?;
        let ready: Vec<bool> = watches.iter().map(Watch::is_ready).collect();
        let mut ready = ready.iter();
        waiting.retain(|pidfd| {
            let ended = ready.next().is_some_and(|ready| *ready);
            // A debugger may make the descriptor readable before its time: then the process is waited for again.
            !ended || matches!(pidfd::try_reap(pidfd), Ok(None))
        });
        self.bell.silence()?;
        waiting.append(&mut lock(&self.arrivals));
        Ok(())
    }
}
