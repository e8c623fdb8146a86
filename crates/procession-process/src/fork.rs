//! The start method `fork`: the process is a copy of this one.
//!
//! What can go wrong with that, and what is done about it:
//!
//! * *Other threads* are not in the copy, and what they were in the middle of stays so. So a process that has any but ours is
//!   not forked, unless the caller answers for them. Ours stand still meanwhile ([`procession_core::threads`]).
//! * *What belongs to this process* (its children, its fork server, its lifeline) is not the child's: the child lets go of
//!   it first. What is cached behind locks is in memory that forks wipe ([`procession_sys::wipe`]).
//! * *Text in buffers* would be written by both: the buffers of the standard library and of C are flushed before.
//! * *The stack* of the caller is in the copy: the child never returns to it, but ends as any child does.

#![expect(unsafe_code, reason = "forks, and changes the environment of a process without threads")]

use std::ffi::OsString;
use std::io::Write;
use std::sync::Arc;

use procession_core::family::Invitation;
use procession_core::holder::Holder;
use procession_core::{Courier, Error, ErrorKind, Message, Result, lifeline, threads};
use procession_sys::fork::{self, Forked};
use procession_sys::signal::{self, Disposition};
use procession_sys::wipe::PerProcessGuard;
use procession_sys::{pidfd, process, stdio};
use serde::Serialize;

use crate::builder::Builder;
use crate::child::{Body, Child, ReapedBy};
use crate::plan::Plan;
use crate::run::Buffers;
use crate::{after_fork, children, requester, run, stream, template};

impl Builder {
    /// Lets the start method `fork` copy this process although other threads run.
    ///
    /// # Safety
    ///
    /// The child has the calling thread only. Whatever another one was in the middle of stays so for ever: a lock that it
    /// held is never released, data that it changed are half changed. So until it executes another program the
    /// child must not touch what another thread may hold or change at that moment: locks of the program and of its
    /// libraries, standard output and error, the environment, a subscriber of `tracing`. The allocator is safe (glibc sees
    /// to that), and so are the objects of this library that the child is given.
    pub unsafe fn fork_despite_threads(mut self) -> Self {
        self.despite_threads = true;
        self
    }
}

/// Forks a process that calls `function`.
pub(crate) fn fork<R: Serialize>(plan: Plan, function: impl FnOnce() -> R) -> Result<Child> {
    let (courier, theirs) = Courier::pair()?;
    if plan.birth.input.is_none() {
        // So that the child finds it open.
        stream::kept_null()?;
    }
    // Where the program does not leave it to us to reap, a child that ends at once is gone before it can be named.
    let is_ours_to_reap = signal::disposition(signal::CHILD)? == Disposition::Default;
    let still = Still::new(match plan.despite_threads {
        true => Others::AnsweredFor,
        false => Others::Refused,
    })?;
    // SAFETY: There is no other thread but ours, which stand still and hold nothing; or the caller answers for the others
    // (`Builder::fork_despite_threads`).
    match unsafe { fork::fork() }? {
        Forked::Child => {
            // It has what its parent has; so that its death is noticed, it says first who it is.
            plan.birth.invitation.arrive(process::id());
            drop(courier);
            still.let_go();
            let buffers = match plan.despite_threads {
                true => Buffers::Unknown,
                false => Buffers::Ours,
            };
            let settle_in = |courier: &Arc<Courier>| {
                if !is_ours_to_reap {
                    courier.recv()?;
                }
                settle_in(plan, courier)
            };
            run::run_forked(theirs, buffers, settle_in, function)
        }
        Forked::Parent { child } => {
            plan.birth.invitation.arrive(child);
            // It has not been waited for: the number is its own.
            let pidfd = pidfd::open(child).inspect_err(|_no_room| {
                drop(process::kill_and_reap(child));
            })?;
            if !is_ours_to_reap {
                // If it is dead, its pidfd tells.
                drop(courier.send(&Message::from_parts(Vec::new(), Vec::new())));
            }
            let heir = Holder::of_process(child, &pidfd);
            let body = Body::process(pidfd, courier, ReapedBy::Us);
            // What it captured is dropped here when nobody stands still any more.
            drop((still, theirs));
            match heir {
                Ok(heir) => heir.hand_over(|| drop(function)),
                Err(_it_is_gone) => drop(function),
            }
            Ok(Child::new(child, plan.into_traits(), body))
        }
    }
}

/// Copies this process, and nothing else: to be a template. In the copy, nothing is left that is the parent's, and `invitation`
/// has been used.
///
/// Whoever gets [`Forked::Child`] must not return to its own caller.
pub(crate) fn copy(invitation: &Invitation) -> Result<Forked> {
    let still = Still::new(Others::Refused)?;
    // SAFETY: There is no other thread but ours, which stand still and hold nothing.
    let forked = unsafe { fork::fork() }?;
    match forked {
        Forked::Child => {
            invitation.arrive(process::id());
            still.let_go();
        }
        Forked::Parent { child } => invitation.arrive(child),
    }
    Ok(forked)
}

/// What becomes of threads that are not ours when this process is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Others {
    /// There must not be any.
    Refused,
    /// The caller answers for them.
    AnsweredFor,
}

/// This process while it is copied: our threads stand still, and what the copy shall let go of is whole.
struct Still {
    connection: PerProcessGuard<'static, Option<requester::Connection>>,
    lifeline: lifeline::Forking,
    children: PerProcessGuard<'static, Vec<Arc<Child>>>,
    templates: PerProcessGuard<'static, template::List>,
    /// The last to be dropped.
    standing: threads::StandStill,
}

impl Still {
    fn new(others: Others) -> Result<Self> {
        // So that what it holds is known to be inherited.
        Holder::me()?;
        let standing = threads::stand_still()?;
        if others == Others::Refused {
            refuse_threads(&standing)?;
            // Whoever reads it is gone: nobody needs to know here.
            drop(std::io::stdout().flush());
        }
        drop(stdio::flush_c());
        // In this order, which is that of whoever takes more than one of them.
        let connection = requester::forking()?;
        let lifeline = lifeline::Forking::new()?;
        let children = children::forking()?;
        let templates = template::forking()?;
        Ok(Self { connection, lifeline, children, templates, standing })
    }

    /// In the copy: lets go of what is the parent's.
    fn let_go(self) {
        let Self { mut connection, lifeline, mut children, mut templates, standing } = self;
        connection.take();
        drop(connection);
        for child in children.drain(..) {
            child.let_go();
        }
        drop(children);
        template::let_go(templates.drain(..));
        drop(templates);
        lifeline.let_go();
        drop(standing);
    }
}

fn refuse_threads(standing: &threads::StandStill) -> Result<()> {
    let others = standing.others()?;
    if others.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = others.iter().map(|thread| format!("`{}`", thread.name)).collect();
    let text = format!(
        "could not fork while other threads run ({}): what they hold would stay locked in the child for ever; start them \
         later, use another start method, or see `Builder::fork_despite_threads`",
        names.join(", ")
    );
    Err(Error::new(ErrorKind::Unsupported, text))
}

fn settle_in(plan: Plan, courier: &Arc<Courier>) -> Result<()> {
    if plan.changes_environment {
        replace_environment(plan.environment);
    }
    // The parent's: the child's copy must not give the slot back, and does not.
    drop(plan.reservation);
    if plan.birth.input.is_none() {
        stream::discard_input()?;
    }
    plan.birth.settle_in(courier)?;
    after_fork::run();
    Ok(())
}

/// Makes the environment of a forked process what `wanted` says.
#[expect(clippy::disallowed_methods, reason = "a fork has one thread")]
pub(crate) fn replace_environment(wanted: Vec<(OsString, OsString)>) {
    for (name, _) in std::env::vars_os() {
        if !wanted.iter().any(|(wanted, _)| *wanted == name) {
            // SAFETY: This process has one thread.
            unsafe { std::env::remove_var(name) };
        }
    }
    for (name, value) in wanted {
        // SAFETY: This process has one thread.
        unsafe { std::env::set_var(name, value) };
    }
}
