//! The hooks that crates above register, to be run for every process that died.

use std::panic::{AssertUnwindSafe, catch_unwind};

use procession_sys::wipe::SetOnce;

use super::recovery::{DeadProcess, Step, Undertaker, hook_panicked};
use crate::{Error, ErrorKind, Result};

/// How many hooks there can be. Each kind of shared object has one, and there are a dozen kinds.
const MOST: usize = 16;

static HOOKS: [SetOnce<Hook>; MOST] = [const { SetOnce::new() }; MOST];

#[derive(Debug)]
struct Hook {
    name: &'static str,
    run: fn(&DeadProcess),
}

/// Has `run` called for every process of the family that died, by whichever process recovers it; in the order in which
/// hooks were registered. Registering a name again changes nothing.
///
/// Any process may have to recover any other: register before the process joins the family, in all of them.
///
/// A hook must be *idempotent*. When the process that runs it dies, another one runs all hooks again, from the first. It
/// runs once at a time for one dead process; but any number of dead processes are recovered at once. It must not wait for
/// other processes: while it does, what the dead process held stays held. If it panics, the recovery is given up and
/// left to whoever looks next.
///
/// # Errors
///
/// [`ErrorKind::TooLarge`] when there are too many hooks.
pub fn register_recovery(name: &'static str, run: fn(&DeadProcess)) -> Result<()> {
    let is_there = HOOKS.iter().any(|place| {
        let hook = place.get().unwrap_or_else(|| place.set(Hook { name, run }));
        hook.name == name
    });
    let full = || Error::new(ErrorKind::TooLarge, format!("more than {MOST} recovery hooks"));
    is_there.then_some(()).ok_or_else(full)
}

/// Runs the registered hooks.
#[derive(Debug)]
pub(super) struct Registered;

impl Undertaker for Registered {
    fn run_hooks(&self, dead: &DeadProcess) -> Result<()> {
        for hook in HOOKS.iter().map_while(SetOnce::get) {
            // A hook sees a plain value, so that nothing half done is seen after it.
            catch_unwind(AssertUnwindSafe(|| (hook.run)(dead)))
                .map_err(|_panic| hook_panicked(hook.name))?;
        }
        Ok(())
    }

    fn survives(&self, _step: Step) -> bool {
        true
    }
}
