//! A process whose function returns a value.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use procession_connection::Waitable;
use procession_core::{Deadline, Error, ErrorKind, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::builder::{Builder, OnDrop};
use crate::child::Child;
use crate::reaper;
use crate::status::JoinError;
use crate::target::Target;

/// A process that was started, and whose function returns an `R`: a [`Child`] that can be joined.
///
/// Any number of threads may wait for it, signal it and ask about it at the same time.
///
/// # Drop, kill, fork
///
/// Dropping the handle detaches, unless [`OnDrop`] says otherwise: the process goes on, nobody learns its result, and it is
/// reaped when it ends.
///
/// **When this process ends in order** (it returns from `main`, or calls `exit`) it waits for the processes that it started,
/// whether or not their handles were dropped; [daemons](Builder::daemon) it ends instead. **When it is killed**, by `SIGKILL`, by
/// another signal or by an abort, the system kills all of them at once, and those that they have started. A process that
/// [outlives its parent](Builder::outlive_parent) is exempt from both; one that closes descriptors that are not its own (all
/// above 2, say) loses the tie, and its way to answer.
///
/// Threads that a process leaves running when its function returns end with it.
///
/// A process that a forked child of this one inherits is not that child's: there, asking about it is an error, and
/// dropping it does nothing.
///
/// # Source
///
/// CPython `multiprocessing.Process`.
#[must_use = "the process is detached when its handle is dropped"]
pub struct Process<R = ()> {
    child: Arc<Child>,
    on_drop: OnDrop,
    returns: PhantomData<fn() -> R>,
}

impl Process {
    /// Describes a process before it is started.
    pub fn builder() -> Builder {
        Builder::default()
    }
}

impl<R> Process<R> {
    /// Starts a process that calls `function` with `args`, and returns at once.
    ///
    /// The process runs this same program, from its [`init()`](crate::init) on. It has a copy of the environment and the
    /// same working directory, standard output and standard error; its standard input is `/dev/null`; it has no other
    /// descriptor of this process but those in `args`, and nothing of this process's memory.
    ///
    /// `args` is the tuple of arguments, taken by value: handles in it (ends of pipes, files) move.
    ///
    /// # Errors
    ///
    /// [`NotInitialized`](ErrorKind::NotInitialized) when `init()` did not run in this process;
    /// [`Encode`](ErrorKind::Encode) when an argument cannot be encoded; [`Unsupported`](ErrorKind::Unsupported) for a
    /// function of a library that was loaded at run time; [`Os`](ErrorKind::Os) when the system has no room for another
    /// process. No process is left then.
    ///
    /// # Examples
    ///
    /// ```
    /// # use procession_process as procession;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # procession::init();
    /// use procession::Process;
    ///
    /// fn shout(text: String) -> String {
    ///     text.to_uppercase()
    /// }
    ///
    /// let child = Process::spawn(shout, ("hello".into(),))?;
    /// assert_eq!(child.join()?, "HELLO");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// A closure that captures something does not compile; what it needs is an argument:
    ///
    /// ```compile_fail
    /// # use procession_process::Process;
    /// let factor = 3;
    /// let child = Process::spawn(move |x: i32| x * factor, (14,));
    /// ```
    #[doc(alias = "start")]
    pub fn spawn<F, A>(function: F, args: A) -> Result<Self>
    where
        F: Target<A, Output = R>,
        R: Serialize + DeserializeOwned + 'static,
        A: Serialize + DeserializeOwned + 'static,
    {
        Process::builder().spawn(function, args)
    }

    pub(crate) fn new(child: Arc<Child>, on_drop: OnDrop) -> Self {
        Self { child, on_drop, returns: PhantomData }
    }

    /// Lets go of everything that is kept of a process that has ended, its return value included.
    ///
    /// # Errors
    ///
    /// The process itself while it runs, or when another process started it.
    ///
    /// # Source
    ///
    /// CPython `Process.close()`.
    pub fn close(self) -> Result<(), (Self, Error)> {
        match self.child.is_alive() {
            Ok(false) => Ok(()),
            Ok(true) => {
                let text = format!("could not close process {} while it runs", self.child.name());
                Err((self, Error::new(ErrorKind::InvalidInput, text)))
            }
            Err(error) => Err((self, error)),
        }
    }

    /// Gives the process up: it goes on, and is reaped when it ends.
    pub fn detach(mut self) {
        self.on_drop = OnDrop::Detach;
    }
}

impl<R: DeserializeOwned> Process<R> {
    /// Waits until the process has ended, and returns what its function returned.
    ///
    /// May be called again, by any thread, and answers the same; but a value that holds handles is handed out once.
    ///
    /// # Errors
    ///
    /// [`JoinError`]: the function panicked, the process died before it returned, or the value cannot be had.
    pub fn join(&self) -> Result<R, JoinError> {
        self.child.wait_until(Deadline::NEVER).map_err(JoinError::Value)?;
        self.child.answer()
    }

    /// Waits until the process has ended, at most this long; `None` when it still runs.
    ///
    /// # Errors
    ///
    /// As [`join`](Self::join).
    pub fn join_timeout(&self, timeout: Duration) -> Option<Result<R, JoinError>> {
        match self.child.wait(timeout) {
            Ok(false) => None,
            Ok(true) => Some(self.child.answer()),
            Err(error) => Some(Err(JoinError::Value(error))),
        }
    }

    /// What the function returned, if the process has ended.
    ///
    /// # Errors
    ///
    /// As [`join`](Self::join).
    pub fn try_join(&self) -> Option<Result<R, JoinError>> {
        self.join_timeout(Duration::ZERO)
    }
}

impl<R> Deref for Process<R> {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.child
    }
}

impl<R> AsFd for Process<R> {
    /// The [sentinel](Child::sentinel).
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.child.sentinel()
    }
}

impl<R> Waitable for Process<R> {
    /// Ready once the process has ended.
    fn readable_fd(&self) -> Result<BorrowedFd<'_>> {
        Ok(self.child.sentinel())
    }
}

impl<R> fmt::Debug for Process<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Process").field(&self.child).finish()
    }
}

impl<R> Drop for Process<R> {
    fn drop(&mut self) {
        if !self.child.is_ours() {
            return;
        }
        self.child.close_pipes();
        match self.on_drop {
            OnDrop::Detach => {}
            // What cannot be waited for now, the reaper will.
            OnDrop::Join => drop(self.child.wait_until(Deadline::NEVER)),
            OnDrop::Terminate => drop(self.child.end(OnDrop::GRACE)),
        }
        if !self.child.wait(Duration::ZERO).unwrap_or(false) {
            reaper::reap_when_it_ends(Arc::clone(&self.child));
        }
    }
}
