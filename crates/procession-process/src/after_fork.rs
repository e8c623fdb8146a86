//! What a forked process does first.

use procession_sys::prim::{Mutex, lock};

static HOOKS: Mutex<Vec<fn()>> = Mutex::new(Vec::new());

/// Has `function` called in every process that is forked from this one by this library, before anything else of it runs,
/// in the order of registration: to draw new random seeds, say, or to forget what is the parent's.
///
/// That is every process of the start method `fork`; and of `forkserver`, when it is called before
/// [`init()`](crate::init) or from a [preloaded function](crate::preload_fork_server). A fork of somebody else's does not call it.
///
/// # Source
///
/// CPython `multiprocessing.util.register_after_fork()`.
pub fn after_fork(function: fn()) {
    lock(&HOOKS).push(function);
}

/// In the child.
pub(crate) fn run() {
    let hooks = lock(&HOOKS).clone();
    for hook in hooks {
        hook();
    }
}
