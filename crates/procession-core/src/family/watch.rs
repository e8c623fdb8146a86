//! The watch: one thread per process, as long as somebody there waits for a process that may die.
//!
//! It polls the pidfds of the observed processes. When one has ended it notes that in the table and recovers it, or leaves
//! that to whoever was faster; the hooks wake who waits. No process watches for all: a stopped one would blind everybody.
//!
//! After a fork the child observes nobody and has no thread; its first observation starts one.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use procession_sys::doorbell::Doorbell;
use procession_sys::poll::{self, Watch};
use procession_sys::wipe::PerProcess;
use procession_sys::{Deadline, OsError};

use super::Family;
use super::oracle::{Life, System, life};
use super::stamp::ProcessId;
use crate::{Result, threads};

/// How long the thread stays when nobody is observed any more: waits follow each other.
const LINGER: Duration = Duration::from_secs(1);
/// How long it leaves a process alone that it cannot look at: this process has no descriptors left, say.
const RETRY: Duration = Duration::from_millis(50);

#[derive(Debug, Default)]
struct Watcher {
    /// While the thread runs.
    bell: Option<Arc<Doorbell>>,
    observed: Vec<Observed>,
}

#[derive(Debug)]
struct Observed {
    id: ProcessId,
    /// How many observations there are.
    count: usize,
    /// Whether this process took it over from a dead parent: then it is observed until its end.
    adopted: bool,
    pidfd: Arc<OwnedFd>,
    /// Whether the end of `pidfd` is the end of the process.
    known: bool,
}

static WATCHER: PerProcess<Watcher> = PerProcess::new();

/// As long as this lives, this process learns of the death of another at once, and sees to its recovery.
#[must_use = "the process is observed until this is dropped"]
#[derive(Debug)]
pub struct Observation {
    id: ProcessId,
    /// Whose observation it is: after a fork the child's copy means nothing.
    observer: ProcessId,
    family: &'static Family,
}

impl Observation {
    /// Whom it is about.
    pub fn id(&self) -> ProcessId {
        self.id
    }
}

impl Drop for Observation {
    fn drop(&mut self) {
        if self.family.peek_me() != Some(self.observer) {
            return;
        }
        let Ok(mut watcher) = WATCHER.lock() else { return };
        if let Some(at) = watcher.observed.iter().position(|observed| observed.id == self.id) {
            watcher.observed[at].count = watcher.observed[at].count.saturating_sub(1);
            if watcher.observed[at].count == 0 && !watcher.observed[at].adopted {
                watcher.observed.swap_remove(at);
            }
            if let (true, Some(bell)) = (watcher.observed.is_empty(), &watcher.bell) {
                // So that the thread sees that it has nothing to do. If that fails, it stays.
                let rung = bell.ring();
                debug_assert!(rung.is_ok(), "{rung:?}");
            }
        }
    }
}

/// Observes `id` for the caller; `None` when it is dead already, and recovered, or about to be.
pub(super) fn observe(family: &'static Family, id: ProcessId) -> Result<Option<Observation>> {
    let observer = family.me()?;
    let is_observed = add(family, id, false)?;
    Ok(is_observed.then_some(Observation { id, observer, family }))
}

/// Observes a process to its end; tells whether it lives.
pub(super) fn adopt(family: &'static Family, id: ProcessId) -> Result<bool> {
    add(family, id, true)
}

fn add(family: &'static Family, id: ProcessId, adopted: bool) -> Result<bool> {
    let mut watcher = WATCHER.lock()?;
    let count = usize::from(!adopted);
    if let Some(there) = watcher.observed.iter_mut().find(|observed| observed.id == id) {
        there.count += count;
        there.adopted |= adopted;
        return Ok(true);
    }
    let (pidfd, known) = match life(family.table(), &System, id)? {
        Life::Alive { process, known } => (Arc::new(process), known),
        // A process that has not arrived is its parent's to wait for.
        Life::Dead | Life::Pending => return Ok(false),
    };
    let bell = match &watcher.bell {
        Some(bell) => Arc::clone(bell),
        None => start(family)?,
    };
    watcher.observed.push(Observed { id, count, adopted, pidfd, known });
    bell.ring()?;
    watcher.bell = Some(bell);
    Ok(true)
}

/// Starts the thread; it waits for the lock that the caller holds.
fn start(family: &'static Family) -> Result<Arc<Doorbell>> {
    let bell = Arc::new(Doorbell::new()?);
    let (for_thread, to_ring) = (Arc::clone(&bell), Arc::clone(&bell));
    // Should the ring fail, whoever forks is told that this thread does not come to rest.
    threads::start(
        "procession-watch",
        move || drop(to_ring.ring()),
        move |member| {
            let mut retry = false;
            loop {
                member.rest();
                match turn(&for_thread, retry) {
                    Ok(Some(seen)) => {
                        retry = false;
                        for id in seen {
                            retry |= !see_to(family, id);
                        }
                    }
                    Ok(None) => return,
                    // Out of memory for the list: somebody's death is not seen before there is some again.
                    Err(_) => retry = true,
                }
            }
        },
    )?;
    Ok(bell)
}

/// Waits until observed processes end, and names them; `None` when nobody has been observed for a while, which ends
/// the thread.
fn turn(bell: &Doorbell, retry: bool) -> Result<Option<Vec<ProcessId>>, OsError> {
    let observed: Vec<_> = {
        let watcher = WATCHER.lock()?;
        let pidfd = |observed: &Observed| (observed.id, Arc::clone(&observed.pidfd));
        watcher.observed.iter().map(pidfd).collect()
    };
    if retry {
        poll::wait_readable(bell, Deadline::after(RETRY))?;
    }
    let mut watches = vec![Watch::readable(bell)];
    watches.extend(observed.iter().map(|(_, pidfd)| Watch::readable(pidfd)));
    let patience = if observed.is_empty() { Deadline::after(LINGER) } else { Deadline::NEVER };
    let ready = poll::wait(&mut watches, patience)?;
    bell.silence()?;
    if ready == 0 {
        let mut watcher = WATCHER.lock()?;
        if watcher.observed.is_empty() {
            watcher.bell = None;
            return Ok(None);
        }
    }
    let seen = observed.iter().zip(&watches[1..]).filter(|(_, watch)| watch.is_ready());
    Ok(Some(seen.map(|((id, _), _)| *id).collect()))
}

/// The pidfd of `id` has become readable; `false` when this must be called again.
fn see_to(family: &'static Family, id: ProcessId) -> bool {
    let is_known = {
        let Ok(watcher) = WATCHER.lock() else { return false };
        let Some(at) = watcher.observed.iter().position(|observed| observed.id == id) else {
            return true;
        };
        watcher.observed[at].known
    };
    if !is_known {
        match life(family.table(), &System, id) {
            Ok(Life::Dead) => {}
            // It was another process with its number; or it has joined meanwhile.
            Ok(Life::Alive { process, known }) => return replace(id, process, known),
            Ok(Life::Pending) | Err(_) => return false,
        }
    }
    // Who observes it may only now look at what it waited for: the process is off the list once it is recovered.
    let recovered = family.mark_dead(id);
    if let Ok(mut watcher) = WATCHER.lock() {
        watcher.observed.retain(|observed| observed.id != id);
    }
    // A hook that failed is not tried again and again; the next who looks does.
    drop(recovered);
    true
}

fn replace(id: ProcessId, process: OwnedFd, known: bool) -> bool {
    let Ok(mut watcher) = WATCHER.lock() else { return false };
    if let Some(there) = watcher.observed.iter_mut().find(|observed| observed.id == id) {
        there.pidfd = Arc::new(process);
        there.known = known;
    }
    true
}
