//! The processes that this one started and that have not been found to have ended.
//!
//! Each is on the list from its start until somebody learns of its end: whoever joins it, the reaper when its handle was
//! dropped, [`active_children`], or the end of this process. A forked child has a list of its own.

use std::sync::Arc;
use std::time::Duration;

use procession_core::{Deadline, Result, exit};
use procession_sys::poll;
use procession_sys::wipe::{PerProcess, PerProcessGuard};

use crate::builder::OnDrop;
use crate::child::Child;
use crate::{ending, requester, template};

type List = Vec<Arc<Child>>;

static CHILDREN: PerProcess<List> = PerProcess::new();

/// How long to wait for the status of a child that has ended, before looking at everything else again.
const PATIENCE: Duration = Duration::from_millis(100);

/// Puts a child on the list.
pub(crate) fn add(child: Child) -> Result<Arc<Child>> {
    exit::set_children_hook(end_all)?;
    let child = Arc::new(child);
    CHILDREN.lock()?.push(Arc::clone(&child));
    Ok(child)
}

/// Takes a child off the list that has ended.
pub(crate) fn remove(child: &Child) {
    // Without the memory for the lock it is not on the list.
    if let Ok(mut children) = CHILDREN.lock()
        && let Some(at) = children.iter().position(|known| std::ptr::eq(Arc::as_ptr(known), child))
    {
        children.swap_remove(at);
    }
}

/// The list while this process forks: in the child, nothing of it is kept.
pub(crate) fn forking() -> Result<PerProcessGuard<'static, List>> {
    Ok(CHILDREN.lock()?)
}

/// The processes that this one started and that are alive, in no particular order, whether or not their handles were
/// dropped. Those that have ended are reaped by the way.
///
/// # Errors
///
/// [`ErrorKind::Os`](procession_core::ErrorKind::Os) when the system is out of memory.
///
/// # Source
///
/// CPython `multiprocessing.active_children()`.
///
/// # Examples
///
/// ```
/// # use procession_process as procession;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # procession::init();
/// use procession::{Process, active_children};
///
/// let (reader, writer) = std::io::pipe()?;
/// let wait = || std::io::stdin().read_line(&mut String::new()).is_ok();
/// let child = Process::builder().stdin(reader).spawn(wait, ())?;
/// assert_eq!(active_children()?[0].pid(), child.pid());
/// drop(writer);
/// child.join()?;
/// assert!(active_children()?.is_empty());
/// # Ok(())
/// # }
/// ```
pub fn active_children() -> Result<Vec<Arc<Child>>> {
    requester::bury();
    template::bury();
    let mut children: Vec<_> = CHILDREN.lock()?.clone();
    // One that cannot be asked is listed.
    children.retain(|child| child.is_alive().unwrap_or(true));
    Ok(children)
}

/// At the end of this process: daemons are ended, the others waited for. When the process was told to end, all are ended.
fn end_all() {
    loop {
        let Ok(children) = CHILDREN.lock().map(|children| children.clone()) else { return };
        let is_waited_for = |child: &Arc<Child>| {
            let is_self = child.is_thread() && (child.is_daemon() || child.is_current_thread());
            !child.outlives_parent() && !is_self
        };
        let children: Vec<_> = children.into_iter().filter(is_waited_for).collect();
        if children.is_empty() {
            return;
        }
        let is_ended = |child: &&Arc<Child>| child.is_daemon() || ending::has_begun();
        end(children.iter().filter(is_ended));
        // Daemons that are left end with this process.
        for child in children.iter().filter(|child| !is_ended(child)) {
            while matches!(wait_or_be_told(child), Ok(false)) {
                if ending::has_begun() {
                    break;
                }
            }
        }
        if children.iter().all(|child| is_ended(&child)) {
            return;
        }
    }
}

/// Waits until the child has ended, or this process is told to end.
fn wait_or_be_told(child: &Child) -> Result<bool> {
    let mut watches = vec![poll::Watch::readable(child)];
    watches.extend(ending::bell().map(poll::Watch::readable));
    poll::wait(&mut watches, Deadline::NEVER)?;
    // Who forked it may be about to tell how it ended.
    let patience = if watches[0].is_ready() { PATIENCE } else { Duration::ZERO };
    child.wait(patience)
}

fn end<'a>(children: impl Iterator<Item = &'a Arc<Child>> + Clone) {
    for child in children.clone() {
        // A thread cannot be ended; it ends with this process.
        drop(child.terminate());
    }
    let deadline = Deadline::after(OnDrop::GRACE);
    let ends = |child: &Arc<Child>| child.is_thread() || child.wait_until(deadline).unwrap_or(true);
    for child in children {
        if !ends(child) {
            drop(child.kill());
            drop(child.wait_until(Deadline::NEVER));
        }
    }
}
