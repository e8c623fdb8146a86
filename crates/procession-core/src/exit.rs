//! What happens at the end of a process.
//!
//! The order, which is Python's (`multiprocessing.util._exit_function`):
//!
//! 1. finalizers of priority zero and above, the highest first; among equals the one that was added last first;
//! 2. the hook for children, in one step: daemons are ended, the others waited for;
//! 3. finalizers below zero, in the same order.
//!
//! It happens once, when the process exits: by a return from `main`, by `std::process::exit`, or, in a process that was
//! started to run a function, when that has returned or panicked. It does not happen when the process is killed, aborts
//! or calls `_exit`. Finalizers may add finalizers: those run as well.
//!
//! A forked process starts with none: what was its parent's to finalize stays its parent's.

use std::fmt;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};

use procession_sys::prim::AtomicBool;
use procession_sys::prim::Ordering::{AcqRel, Relaxed};
use procession_sys::process;
use procession_sys::wipe::{PerProcess, SetOnce};

use crate::Result;

static FINALIZERS: PerProcess<Finalizers> = PerProcess::new();
static CHILDREN: SetOnce<fn()> = SetOnce::new();

#[derive(Default)]
struct Finalizers {
    /// In ascending order of priority and number: the last one runs first.
    pending: Vec<Entry>,
    added: u64,
    /// Whether the process is exiting.
    exiting: bool,
}

struct Entry {
    priority: i32,
    number: u64,
    run: Box<dyn FnOnce() + Send>,
}

/// Something to do once: when this is dropped, or at the end of the process, or when it is [called](Self::call),
/// whichever comes first.
///
/// # Drop, kill, fork
///
/// Dropping it does it; [`keep`](Self::keep) leaves it to the end of the process. It is not done when the process is killed. In a
/// forked child it is never done, neither at the end nor when it is dropped: it is the parent's.
///
/// # Source
///
/// CPython `multiprocessing.util.Finalize`.
///
/// # Examples
///
/// ```
/// # use procession_core as procession;
/// # fn main() -> procession::Result<()> {
/// use procession::exit::Finalizer;
///
/// let path = std::env::temp_dir().join("procession-example");
/// std::fs::write(&path, "something").unwrap();
/// let for_later = path.clone();
/// let finalizer = Finalizer::new(0, move || drop(std::fs::remove_file(for_later)))?;
/// assert!(finalizer.is_pending());
/// drop(finalizer);
/// assert!(!path.exists());
/// # Ok(())
/// # }
/// ```
#[must_use = "it is done when this is dropped"]
#[derive(Debug)]
pub struct Finalizer {
    /// Zero is none.
    number: u64,
    /// Whose it is.
    pid: u32,
}

impl Finalizer {
    /// Adds something to do. `priority` says when at the end of the process: see the [module](self).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Os`](crate::ErrorKind::Os) when the system is out of memory.
    pub fn new(priority: i32, run: impl FnOnce() + Send + 'static) -> Result<Self> {
        at_exit()?;
        let mut finalizers = FINALIZERS.lock()?;
        finalizers.added += 1;
        let number = finalizers.added;
        let at = finalizers.pending.partition_point(|entry| entry.priority <= priority);
        finalizers.pending.insert(at, Entry { priority, number, run: Box::new(run) });
        Ok(Self { number, pid: process::id() })
    }

    /// Does it now, unless it was done or cancelled; tells whether this call did it.
    pub fn call(&self) -> bool {
        match self.take() {
            Some(entry) => {
                (entry.run)();
                true
            }
            None => false,
        }
    }

    /// Leaves it to the end of the process.
    pub fn keep(self) {
        // It has nothing else to drop.
        let _kept = ManuallyDrop::new(self);
    }

    /// Forgets it; tells whether it was still to be done.
    #[must_use = "it may have been done already"]
    pub fn cancel(&self) -> bool {
        self.take().is_some()
    }

    /// Whether it is still to be done, by this process.
    #[doc(alias = "still_active")]
    pub fn is_pending(&self) -> bool {
        let is_there = |finalizers: &Finalizers| {
            finalizers.pending.iter().any(|entry| entry.number == self.number)
        };
        self.pid == process::id() && FINALIZERS.lock().is_ok_and(|all| is_there(&all))
    }

    fn take(&self) -> Option<Entry> {
        if self.pid != process::id() {
            return None;
        }
        let mut finalizers = FINALIZERS.lock().ok()?;
        let at = finalizers.pending.iter().position(|entry| entry.number == self.number)?;
        Some(finalizers.pending.remove(at))
    }
}

impl Drop for Finalizer {
    fn drop(&mut self) {
        self.call();
    }
}

impl fmt::Debug for Finalizers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Finalizers").field("pending", &self.pending.len()).finish_non_exhaustive()
    }
}

/// Says what is done about children at the end of a process. Once; for the crate that starts them.
///
/// # Errors
///
/// As [`Finalizer::new`].
pub fn set_children_hook(hook: fn()) -> Result<()> {
    CHILDREN.set(hook);
    at_exit()
}

/// Whether this process is exiting.
pub fn is_exiting() -> bool {
    FINALIZERS.lock().is_ok_and(|finalizers| finalizers.exiting)
}

/// Runs what there is to run at the end of the process. The second call finds nothing to do.
pub fn run() {
    if let Ok(mut finalizers) = FINALIZERS.lock() {
        finalizers.exiting = true;
    }
    run_down_to(0);
    if let Some(hook) = CHILDREN.get() {
        guarded(hook);
    }
    run_down_to(i32::MIN);
}

fn run_down_to(least: i32) {
    loop {
        let next = {
            let Ok(mut finalizers) = FINALIZERS.lock() else { return };
            finalizers.pending.pop_if(|entry| entry.priority >= least)
        };
        match next {
            Some(entry) => guarded(entry.run),
            None => return,
        }
    }
}

/// One that panics does not keep the others from running; the panic hook has told.
fn guarded(run: impl FnOnce()) {
    drop(catch_unwind(AssertUnwindSafe(run)));
}

/// Has the end of the process come through here. Once per program: forks inherit it.
fn at_exit() -> Result<()> {
    extern "C" fn handler() {
        run();
    }
    static REGISTERED: AtomicBool = AtomicBool::new(false);
    // ORDERING: AcqRel: only for the order among callers; the handler reads nothing that is written here.
    if !REGISTERED.swap(true, AcqRel)
        && let Err(error) = process::at_exit(handler)
    {
        REGISTERED.store(false, Relaxed);
        return Err(error.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use procession_sys::prim::{Mutex, lock};

    use super::*;

    #[test]
    fn finalizers_run_once_and_in_order() {
        static ORDER: Mutex<Vec<&str>> = Mutex::new(Vec::new());
        let add =
            |priority, name| Finalizer::new(priority, move || lock(&ORDER).push(name)).unwrap();
        set_children_hook(|| lock(&ORDER).push("children")).unwrap();
        let kept = [
            add(0, "zero, first"),
            add(-5, "minus five"),
            add(10, "ten"),
            add(0, "zero, second"),
            Finalizer::new(3, || panic!("on purpose")).unwrap(),
            Finalizer::new(2, || {
                Finalizer::new(1, || lock(&ORDER).push("added late")).unwrap().keep();
            })
            .unwrap(),
        ];
        drop(add(7, "dropped"));
        let called = add(7, "called");
        assert!(called.is_pending() && called.call() && !called.call() && !called.is_pending());
        let cancelled = add(7, "cancelled");
        assert!(cancelled.cancel() && !cancelled.cancel() && !cancelled.call());
        assert!(!is_exiting());
        run();
        assert!(is_exiting());
        run();
        drop(kept);
        let expected = [
            "dropped",
            "called",
            "ten",
            "added late",
            "zero, second",
            "zero, first",
            "children",
            "minus five",
            "children",
        ];
        assert_eq!(*lock(&ORDER), expected);
    }
}
