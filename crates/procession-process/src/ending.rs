//! When this process is told to end: by Ctrl-C, or by `SIGTERM`.
//!
//! Nothing happens unless the program asks for it, with [`exit_on_interrupt`], [`drain_on_interrupt`] or [`exit_on_terminate`]. Then a signal handler rings a
//! bell, and a thread that waits for it exits the process as `main` would have: with finalizers and exit handlers, and
//! every child ended. The next signal of the same kind kills at once, in the handler, whatever the threads do.

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use procession_core::{Deadline, Result, exit, threads};
use procession_sys::doorbell::Doorbell;
use procession_sys::wipe::PerProcess;
use procession_sys::{fork, poll, process, signal};

use crate::run;

/// What a shell adds to the number of the signal that ended a program.
const SIGNALED: i32 = 128;

#[derive(Default)]
struct Watch {
    /// What signal handlers ring, while a thread of this process waits for it.
    bell: Option<&'static Doorbell>,
    /// Rung for good when the process was told to end.
    told: Option<&'static Doorbell>,
    /// Whether it was.
    begun: bool,
    /// Whether the first Ctrl-C only drains, and whether it has.
    drains: bool,
    has_drained: bool,
    /// What is called then.
    drained: Vec<(u64, Arc<dyn Fn() + Send + Sync>)>,
    added: u64,
}

/// Of this process alone: a fork shares neither bells nor what was said.
static WATCH: PerProcess<Watch> = PerProcess::new();

/// Has Ctrl-C end this program in order: one line on standard error, all children ended, finalizers run, exit code 130. A second
/// Ctrl-C kills it, and with it all its children.
///
/// Processes that are started from now on leave Ctrl-C to this one, so that they say nothing of their own.
///
/// Without this, Ctrl-C ends this program and its children at once, without a word, as it ends any program. A program that has
/// a handler of its own for `SIGINT` keeps it, unless it calls this; its children leave Ctrl-C to it as well.
///
/// # Fork
///
/// A forked child does not inherit this.
///
/// # Errors
///
/// [`ErrorKind::Os`](procession_core::ErrorKind::Os) when the system has no room for a thread or descriptors.
///
/// # Examples
///
/// ```
/// # use procession_process as procession;
/// # fn main() -> procession_core::Result<()> {
/// procession::init();
/// procession::exit_on_interrupt()?;
/// # Ok(())
/// # }
/// ```
pub fn exit_on_interrupt() -> Result<()> {
    let bell = watch()?;
    WATCH.lock()?.drains = false;
    Ok(signal::catch(signal::INTERRUPT, bell, 1)?)
}

/// Has the first Ctrl-C finish what pools are at: one line on standard error says so, tasks that have not begun are cancelled, and those that run are
/// waited for. Then the program goes on, whose calls return with that. A second Ctrl-C ends it as [`exit_on_interrupt`] does, with what
/// runs; a third one kills it.
///
/// Processes that are started from now on leave Ctrl-C to this one.
///
/// # Fork
///
/// A forked child does not inherit this.
///
/// # Errors
///
/// As [`exit_on_interrupt`].
///
/// # Source
///
/// Celery's "warm" and "cold" shutdown.
pub fn drain_on_interrupt() -> Result<()> {
    let bell = watch()?;
    {
        let mut watch = WATCH.lock()?;
        (watch.drains, watch.has_drained) = (true, false);
    }
    Ok(signal::catch(signal::INTERRUPT, bell, 2)?)
}

/// Calls `drain` when the first Ctrl-C comes of a program that has asked to [drain](drain_on_interrupt), in a thread that waits for signals; until
/// this is dropped.
///
/// # Errors
///
/// [`ErrorKind::Os`](procession_core::ErrorKind::Os) when the system is out of memory.
pub fn on_drain(drain: impl Fn() + Send + Sync + 'static) -> Result<OnDrain> {
    let mut watch = WATCH.lock()?;
    watch.added += 1;
    let number = watch.added;
    watch.drained.push((number, Arc::new(drain)));
    Ok(OnDrain { number, pid: process::id() })
}

/// See [`on_drain`].
#[derive(Debug)]
#[must_use = "it is not called any more when this is dropped"]
pub struct OnDrain {
    number: u64,
    pid: u32,
}

impl Drop for OnDrain {
    fn drop(&mut self) {
        // A forked child has none.
        if self.pid == process::id()
            && let Ok(mut watch) = WATCH.lock()
        {
            watch.drained.retain(|(number, _)| *number != self.number);
        }
    }
}

/// Has `SIGTERM` end this process in order: all children ended, finalizers run, exit code 143. A second one kills it, and with
/// it all its children.
///
/// To be called in the program itself, or in a process that was started, by the function that it runs: so that
/// [`terminate`](crate::Child::terminate) lets it tidy up. What its function holds is not dropped.
///
/// # Fork
///
/// A forked child does not inherit this.
///
/// # Errors
///
/// As [`exit_on_interrupt`].
pub fn exit_on_terminate() -> Result<()> {
    Ok(signal::catch(signal::TERMINATE, watch()?, 1)?)
}

/// Whether this process was told to end.
pub(crate) fn has_begun() -> bool {
    WATCH.lock().is_ok_and(|watch| watch.begun)
}

/// Becomes readable when this process is told to end.
pub(crate) fn bell() -> Option<&'static Doorbell> {
    WATCH.lock().ok()?.told
}

/// The bell that signal handlers ring, and somebody who listens.
fn watch() -> Result<&'static Doorbell> {
    let mut watch = WATCH.lock()?;
    if let Some(bell) = watch.bell {
        return Ok(bell);
    }
    // For good: a handler may ring at any time.
    let (bell, told) = (Box::new(Doorbell::new()?), Box::new(Doorbell::new()?));
    let (bell, told): (&'static Doorbell, &'static Doorbell) = (Box::leak(bell), Box::leak(told));
    // Should the ring fail, whoever forks is told that this thread does not come to rest.
    let _thread = threads::start(
        "procession-end",
        move || drop(bell.ring()),
        move |member| {
            loop {
                member.rest();
                let waited =
                    poll::wait_readable(bell, Deadline::NEVER).and_then(|_| bell.silence());
                if waited.is_err() {
                    // The second signal still kills.
                    return;
                }
                let times = signal::times_caught(signal::INTERRUPT);
                if times > 0 && !drain(times) {
                    // Nobody else can be told.
                    drop(writeln!(std::io::stderr(), "interrupted"));
                    end_as(signal::INTERRUPT);
                }
                if signal::times_caught(signal::TERMINATE) > 0 {
                    end_as(signal::TERMINATE);
                }
            }
        },
    )?;
    (watch.bell, watch.told) = (Some(bell), Some(told));
    Ok(bell)
}

/// Has pools finish, if that is what Ctrl-C does now, or has done.
fn drain(times: u32) -> bool {
    let drained = {
        let Ok(mut watch) = WATCH.lock() else { return false };
        if !watch.drains || times > 1 {
            return false;
        }
        if std::mem::replace(&mut watch.has_drained, true) {
            return true;
        }
        watch.drained.iter().map(|(_, drain)| Arc::clone(drain)).collect::<Vec<_>>()
    };
    let text = "interrupted: what runs is finished; Ctrl-C again to end it";
    // Nobody else can be told.
    drop(writeln!(std::io::stderr(), "{text}"));
    for drain in drained {
        // Whoever panics has said so, and the others are called all the same.
        drop(catch_unwind(AssertUnwindSafe(|| drain())));
    }
    true
}

fn end_as(signal: i32) -> ! {
    let code = SIGNALED + signal;
    let own = fork::thread_id();
    // Another thread may be exiting already, and wait for children: then it does the last step instead.
    let last = exit::Finalizer::new(i32::MIN, move || {
        if fork::thread_id() != own {
            run::flush_and_exit(code);
        }
    });
    // Without memory for it, the exit code is that of the other thread.
    drop(last.map(exit::Finalizer::keep));
    // It was locked before, so that its memory is there; and ringing cannot fail for a doorbell.
    if let Ok(mut watch) = WATCH.lock() {
        watch.begun = true;
        drop(watch.told.map(Doorbell::ring));
    }
    // Waits for ever when another thread exits.
    run::exit(code)
}
