//! Templates: copies of this process that start copies of themselves when they are asked to.
//!
//! A fork needs a process without other threads, and gives a copy of what is there at that moment. A template is forked at such
//! a moment and stays as it is; so that processes can be copied from it later, whatever became of this one. It serves as the
//! fork server does ([`server`]), and who may die when stands in `docs/start-methods.md`.
//!
//! What is shared by whom:
//!
//! * this process has the way to the template ([`Line`]) and its pidfd;
//! * each child of it that is not known to have ended has the handle, since the template tells how it ended;
//! * a fork of this process lets go of both, as of all that is its parent's.

use std::ffi::OsString;
use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};
use std::time::Duration;

use procession_core::family::{Family, ProcessId};
use procession_core::{Courier, Error, ErrorKind, Result, lifeline};
use procession_sys::fork::Forked;
use procession_sys::prim::{Mutex, lock};
use procession_sys::wipe::{PerProcess, PerProcessGuard};
use procession_sys::{Deadline, pidfd, poll, process, signal};

use crate::builder::Builder;
use crate::requester::Line;
use crate::start::{Context, StartMethod};
use crate::{ExitStatus, fork, launch, server, stream};

/// How long a template that has hung up may take to end.
const DYING: Duration = Duration::from_millis(100);

pub(crate) type List = Vec<Weak<Shared>>;

/// Those of this process.
static TEMPLATES: PerProcess<List> = PerProcess::new();

/// A copy of this process as it was, from which processes are copied later: [`Context::template`].
///
/// It runs nothing of the program and uses no processor: it waits to be told to fork. Its memory, and that of the processes that
/// are copied from it, is shared with this process until one of them writes to it.
///
/// # Drop, kill, fork
///
/// The template ends when the last handle was dropped and no process that was copied from it runs any more, and when this process ends,
/// also by `SIGKILL`. When somebody kills *it*, the processes that were copied from it live on, and nobody is told how
/// they end on a system older than Linux 6.15 ([`Unknown`](ExitStatus::Unknown)); no other can be started, and starting one is an error that says so. A
/// forked child cannot use the handle; dropping it there does nothing.
///
/// # Examples
///
/// ```
/// # use procession_process as procession;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # procession::init();
/// use procession::{Context, StartMethod};
/// use std::sync::OnceLock;
///
/// static TABLE: OnceLock<Vec<u64>> = OnceLock::new();
/// TABLE.set((0..1000).collect()).unwrap();
/// let template = Context::new(StartMethod::Fork).template()?;
/// // From now on this process may have as many threads as it likes.
/// std::thread::scope(|scope| {
///     scope.spawn(|| {
///         let sum = || TABLE.get().map(|table| table.iter().sum::<u64>());
///         let child = template.process().spawn(sum, ()).unwrap();
///         assert_eq!(child.join().unwrap(), Some(499_500));
///     });
/// });
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Template(Arc<Shared>);

pub(crate) struct Shared {
    /// The process that made it.
    owner: u32,
    pid: u32,
    pidfd: OwnedFd,
    /// Its place in the process table.
    member: ProcessId,
    /// Absent once it is known to have ended, and in forks of this process.
    line: Mutex<Option<Line>>,
    /// How it ended, once it has been reaped.
    end: Mutex<Option<ExitStatus>>,
}

impl Context {
    /// Copies this process as it is now, to be what processes are copied from later. The method must be
    /// [`Fork`](StartMethod::Fork).
    ///
    /// The price is that of one fork of this process, here and for each process that is started from the template.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](ErrorKind::Unsupported) while other threads run, which are named; [`InvalidInput`](ErrorKind::InvalidInput)
    /// for a context of another method; [`Os`](ErrorKind::Os) when the system has no room for a process or descriptors.
    pub fn template(self) -> Result<Template> {
        match self.start_method() {
            StartMethod::Fork => Template::new(),
            method => {
                let text = format!(
                    "a template is a fork of this process, and the context's method is `{method}`"
                );
                Err(Error::new(ErrorKind::InvalidInput, text))
            }
        }
    }
}

impl Template {
    fn new() -> Result<Self> {
        let (control, theirs) = Courier::pair()?;
        let watched = lifeline::for_server()?;
        let reservation = Family::current()?.reserve()?;
        let invitation = reservation.invitation_for_fork();
        // So that it finds it open, as all that is copied from it.
        stream::kept_null()?;
        let line = Line::new(control)?;
        let child = match fork::copy(&invitation)? {
            Forked::Child => {
                // The parent's: the copy must not give the slot back, and does not.
                drop((line, reservation));
                server::run_as_template(theirs, watched, invitation)
            }
            Forked::Parent { child } => child,
        };
        drop((theirs, watched));
        let pidfd = match launch::first_word(line.courier()) {
            Ok(Some((_pid, pidfd))) => pidfd,
            failed => {
                // When it is no child any more, this program reaps children that are not its own; nothing is left to do.
                drop(process::kill_and_reap(child));
                let text = "the template ended before it had begun";
                return Err(failed.err().unwrap_or_else(|| Error::new(ErrorKind::Broken, text)));
            }
        };
        tracing::debug!(pid = child, "template forked");
        let shared = Arc::new(Shared {
            owner: process::id(),
            pid: child,
            pidfd,
            member: reservation.commit(),
            line: Mutex::new(Some(line)),
            end: Mutex::new(None),
        });
        let mut templates = TEMPLATES.lock()?;
        templates.retain(|known| known.strong_count() > 0);
        templates.push(Arc::downgrade(&shared));
        drop(templates);
        Ok(Self(shared))
    }

    /// Describes a process, which will be a copy of the template, before it is started.
    ///
    /// It has the memory and the descriptors that the template has, and what any process inherits from this one at the moment of
    /// its start: working directory, environment, standard output and error, limits. Its arguments are encoded. `SIGCHLD` has its
    /// default action there. Functions given to [`after_fork`](crate::after_fork) before the template was made are called in it, once. It may be started while other threads
    /// run; what it starts itself by `fork` are copies of it, not of the template.
    pub fn process(&self) -> Builder {
        Context::new(StartMethod::Fork).process().of_template(self.clone())
    }

    /// The number of the template's process.
    pub fn pid(&self) -> u32 {
        self.0.pid
    }

    /// Whether processes can be copied from it. In a forked child of the process that made it they cannot.
    pub fn is_alive(&self) -> bool {
        self.0.is_ours() && !self.0.has_ended(Duration::ZERO)
    }

    /// Asks for a copy that has this environment, and does what `tell` tells it through the courier.
    pub(crate) fn ask(
        &self,
        environment: &[(OsString, OsString)],
        tell: impl Fn(&Courier) -> Result<()>,
    ) -> Result<Courier> {
        if !self.0.is_ours() {
            let text = format!("the template of process {}", self.0.owner);
            return Err(Error::new(ErrorKind::InvalidInput, text));
        }
        if self.0.has_ended(Duration::ZERO) {
            return Err(self.gone());
        }
        match &*lock(&self.0.line) {
            Some(line) => line.ask(environment, tell),
            None => Err(self.gone()),
        }
    }

    /// Why there is no copy, although one was asked for.
    pub(crate) fn why_silent(&self) -> Error {
        if self.0.has_ended(DYING) {
            return self.gone();
        }
        let text = "the template could not take the order: it may be out of descriptors";
        Error::new(ErrorKind::Broken, text)
    }

    fn gone(&self) -> Error {
        let how = match *lock(&self.0.end) {
            Some(status) => status.to_string(),
            None => "is ending".into(),
        };
        let text = format!(
            "the template (pid {}) {how}: no process can be copied any more from what this program was",
            self.0.pid
        );
        Error::new(ErrorKind::Died, text)
    }
}

impl Shared {
    fn is_ours(&self) -> bool {
        self.owner == process::id()
    }

    /// Whether the template is gone, or goes within this time. One that is gone is reaped.
    fn has_ended(&self, patience: Duration) -> bool {
        let mut end = lock(&self.end);
        if end.is_some() {
            return true;
        }
        // A system that cannot tell has other troubles: the order finds out.
        if !poll::wait_readable(&self.pidfd, Deadline::after(patience)).unwrap_or(false) {
            return false;
        }
        let Ok(Some(ended)) = pidfd::try_reap(&self.pidfd) else { return false };
        let status = ExitStatus::from(ended.ended);
        tracing::debug!(pid = self.pid, %status, "template ended");
        *end = Some(status);
        drop(end);
        lock(&self.line).take();
        if let Some(family) = Family::existing()
            && let Err(error) = family.bury_child(self.member, false)
        {
            tracing::error!(pid = self.pid, %error, "could not recover what a dead template held");
        }
        true
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if self.is_ours() && lock(&self.end).is_none() {
            // It ends by itself when nobody is at the other end. But it does nothing, and nothing is copied from it: it may go at
            // once, if this process may still kill it. When it is gone already, it is reaped.
            drop(lock(&self.line).take());
            drop(pidfd::signal(&self.pidfd, signal::KILL));
            while !self.has_ended(Duration::from_secs(1)) {
                tracing::debug!(pid = self.pid, "waiting for a template to end");
            }
        }
    }
}

/// The list while this process forks.
pub(crate) fn forking() -> Result<PerProcessGuard<'static, List>> {
    Ok(TEMPLATES.lock()?)
}

/// In a fork of this process: closes what ties these templates to it, whoever else has a handle.
pub(crate) fn let_go(templates: impl Iterator<Item = Weak<Shared>>) {
    for template in templates.filter_map(|template| template.upgrade()) {
        // Held by a thread that is not here: then the caller of the fork answers for it.
        if let Ok(mut line) = template.line.try_lock() {
            *line = None;
        }
    }
}

/// Reaps templates that have ended.
pub(crate) fn bury() {
    let templates = TEMPLATES.lock().map(|templates| templates.clone());
    for template in templates.into_iter().flatten().filter_map(|template| template.upgrade()) {
        template.has_ended(Duration::ZERO);
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { owner, pid, .. } = self;
        f.debug_struct("Shared").field("pid", pid).field("owner", owner).finish_non_exhaustive()
    }
}
