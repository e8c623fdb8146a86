//! Reaps processes whose handles were dropped, so that no zombie stays.
//!
//! One thread, started when the first such process is handed over, waits for all of them. A process that somebody else
//! reaped meanwhile is none of its business any more.
//!
//! After a fork the child has no such thread, and none of the processes is its child; the first process of its own that
//! it drops starts a thread of its own.

use std::sync::Arc;
use std::time::Duration;

use procession_core::{Deadline, Result, threads};
use procession_sys::doorbell::Doorbell;
use procession_sys::poll::{self, Watch};
use procession_sys::wipe::PerProcess;

use crate::child::Child;

#[derive(Default)]
struct Reaper {
    /// While the thread runs.
    bell: Option<Arc<Doorbell>>,
    /// Handed over, and not yet seen by the thread.
    arrivals: Vec<Arc<Child>>,
}

static REAPER: PerProcess<Reaper> = PerProcess::new();

/// Reaps the process when it ends.
pub(crate) fn reap_when_it_ends(child: Arc<Child>) {
    if let Err(error) = hand_over(child) {
        // Out of threads or descriptors. The process ends with this one, and is reaped then.
        tracing::warn!(%error, "a process was dropped that nobody can wait for");
    }
}

fn hand_over(child: Arc<Child>) -> Result<()> {
    let mut reaper = REAPER.lock()?;
    let bell = match &reaper.bell {
        Some(bell) => Arc::clone(bell),
        None => {
            let bell = Arc::new(Doorbell::new()?);
            let (to_hear, to_ring) = (Arc::clone(&bell), Arc::clone(&bell));
            // Should the ring fail, whoever forks is told that this thread does not come to rest.
            let ring = move || drop(to_ring.ring());
            let _thread = threads::start("procession-reap", ring, move |member| {
                run(member, &to_hear);
            })?;
            Arc::clone(reaper.bell.insert(bell))
        }
    };
    reaper.arrivals.push(child);
    Ok(bell.ring()?)
}

fn run(member: &threads::Member, bell: &Doorbell) {
    let mut waiting = Vec::new();
    loop {
        member.rest();
        if let Err(error) = turn(&mut waiting, bell) {
            tracing::error!(%error, "processes that were dropped are not reaped any more");
            // The next one that is dropped starts another thread.
            if let Ok(mut reaper) = REAPER.lock() {
                reaper.bell = None;
            }
            return;
        }
    }
}

/// Waits for something to happen, and sees to it.
fn turn(waiting: &mut Vec<Arc<Child>>, bell: &Doorbell) -> Result<()> {
    let mut watches: Vec<_> = waiting.iter().map(|child| Watch::readable(&**child)).collect();
    watches.push(Watch::readable(bell));
    poll::wait(&mut watches, Deadline::NEVER)?;
    let ready: Vec<bool> = watches.iter().map(Watch::is_ready).collect();
    let mut ready = ready.iter();
    // A debugger may make the descriptor readable before its time, and a fork server may not have told yet how the process
    // ended: then it is waited for again.
    waiting.retain(|child| {
        let ended = ready.next().is_some_and(|ready| *ready);
        !ended || !child.wait(Duration::from_millis(100)).unwrap_or(true)
    });
    bell.silence()?;
    waiting.append(&mut REAPER.lock()?.arrivals);
    Ok(())
}
