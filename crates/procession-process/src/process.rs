//! A process that was started, as its parent sees it.
//!
//! The process is known by its pidfd, so that its number may be reused without harm. It ends first and is asked
//! afterwards: whoever waits, waits for the pidfd alone; then the process is reaped, and what it sent before it ended is
//! read from the socket, where it lies complete or not at all.

use std::fmt;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use procession_core::{Courier, Deadline, Error, ErrorKind, Message, Received, Result};
use procession_sys::prim::{Mutex, lock};
use procession_sys::{pidfd, poll, signal};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::builder::Builder;
use crate::reaper;
use crate::report::Report;
use crate::status::{Death, ExitStatus, JoinError};
use crate::target::Target;

/// A running process, whose function returns an `R`.
///
/// Any number of threads may wait for it, signal it and ask about it at the same time.
///
/// # Drop, kill, fork
///
/// Dropping the handle detaches: the process goes on, nobody learns its result, and it is reaped when it ends.
///
/// **A process ends with this one at the latest**, whether this one returns from `main`, exits, or is killed by `SIGKILL`:
/// the system kills it. So `join` what must not be cut short. A process that closes descriptors that are not its own (all
/// above 2, say) loses that tie, and its way to answer.
///
/// A process that a forked child of this one inherits is not that child's: it can signal it, and not wait for it.
///
/// # Source
///
/// CPython `multiprocessing.Process`.
#[must_use = "the process is detached when its handle is dropped"]
pub struct Process<R = ()> {
    child: Option<Child>,
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

    pub(crate) fn new(child: Child) -> Self {
        Self { child: Some(child), returns: PhantomData }
    }

    fn child(&self) -> &Child {
        self.child.as_ref().expect("a handle gives up its child only when it is dropped")
    }

    /// The process number.
    pub fn pid(&self) -> u32 {
        self.child().pid
    }

    /// The name.
    pub fn name(&self) -> &str {
        self.child().name()
    }

    /// Whether the process has not ended yet. A process that was found to have ended is reaped.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Os`] when the system cannot tell.
    pub fn is_alive(&self) -> Result<bool> {
        self.child().wait(Deadline::after(Duration::ZERO)).map(|ended| !ended)
    }

    /// How the process ended, or `None` while it runs.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Os`] when the system cannot tell.
    #[doc(alias = "exitcode")]
    pub fn exit_status(&self) -> Result<Option<ExitStatus>> {
        self.child().wait(Deadline::after(Duration::ZERO))?;
        Ok(lock(&self.child().end).as_ref().map(|end| end.status))
    }

    /// Asks the process to end: `SIGTERM`. Nothing of its function is undone, and a function may block the signal. Does
    /// nothing to a process that has ended.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Os`] when the process has become another user's.
    pub fn terminate(&self) -> Result<()> {
        self.signal(signal::TERMINATE)
    }

    /// Ends the process: `SIGKILL`. Does nothing to a process that has ended.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Os`] when the process has become another user's.
    pub fn kill(&self) -> Result<()> {
        self.signal(signal::KILL)
    }

    /// Sends a signal to the process, and never to another one. Does nothing to a process that has ended.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Os`] when there is no such signal, or the process has become another user's.
    pub fn signal(&self, number: i32) -> Result<()> {
        let _was_there = pidfd::signal(&self.child().pidfd, number)?;
        Ok(())
    }

    /// A descriptor that becomes readable when the process has ended, for `poll` and its kin.
    pub fn sentinel(&self) -> BorrowedFd<'_> {
        self.child().pidfd.as_fd()
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
        self.child().wait(Deadline::NEVER).map_err(JoinError::Value)?;
        self.child().answer()
    }

    /// Waits until the process has ended, at most this long; `None` when it still runs.
    ///
    /// # Errors
    ///
    /// As [`join`](Self::join).
    pub fn join_timeout(&self, timeout: Duration) -> Option<Result<R, JoinError>> {
        match self.child().wait(Deadline::after(timeout)) {
            Ok(false) => None,
            Ok(true) => Some(self.child().answer()),
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

impl<R> AsFd for Process<R> {
    /// The [sentinel](Self::sentinel).
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.sentinel()
    }
}

impl<R> fmt::Debug for Process<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut this = f.debug_struct("Process");
        this.field("name", &self.name()).field("pid", &self.pid());
        // Without waiting for a thread that is just finding out.
        match lock(&self.child().end).as_ref() {
            Some(end) => this.field("ended", &end.status),
            None => this.field("ended", &false),
        };
        this.finish()
    }
}

impl<R> Drop for Process<R> {
    fn drop(&mut self) {
        if let Some(child) = self.child.take() {
            child.detach();
        }
    }
}

/// The part that does not depend on the type that the function returns.
pub(crate) struct Child {
    pid: u32,
    name: String,
    pidfd: OwnedFd,
    courier: Courier,
    reaped_by: ReapedBy,
    /// What the process said so far, until it has ended.
    heard: Mutex<Option<Result<Report>>>,
    /// INVARIANT: set once, by whoever learns how the process ended; the lock is taken before that of `heard`.
    end: Mutex<Option<End>>,
}

/// Whose child the process is for the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReapedBy {
    Us,
    /// Which tells how it ended in the courier, behind what the process says.
    ForkServer,
}

struct End {
    status: ExitStatus,
    answer: Answer,
}

/// What the process said before it ended.
enum Answer {
    Value(Message),
    /// The value held handles and was handed out.
    Taken,
    None(JoinError),
}

/// How long a status that the fork server cannot tell any more is asked for: until whoever inherits the child reaps it. Half
/// of the 100 ms within which whoever waits for a dead process has an answer.
const STATUS_OF_STRANGER: Duration = Duration::from_millis(50);

impl Child {
    pub(crate) fn new(
        pid: u32,
        name: String,
        pidfd: OwnedFd,
        courier: Courier,
        reaped_by: ReapedBy,
    ) -> Self {
        let (heard, end) = (Mutex::new(None), Mutex::new(None));
        Self { pid, name, pidfd, courier, reaped_by, heard, end }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Waits until the process has ended, and its status is known; tells whether it is.
    fn wait(&self, deadline: Deadline) -> Result<bool> {
        loop {
            if lock(&self.end).is_some() {
                return Ok(true);
            }
            // Outside of the lock, so that other threads can wait and look as well.
            if !poll::wait_readable(&self.pidfd, deadline)? {
                return Ok(false);
            }
            let mut end = lock(&self.end);
            if end.is_some() {
                return Ok(true);
            }
            let status = match self.reaped_by {
                // A debugger may make the descriptor readable before its time: then there is nothing to reap yet.
                ReapedBy::Us => match pidfd::try_reap(&self.pidfd)? {
                    None => continue,
                    Some(ended) => {
                        self.listen();
                        ended.into()
                    }
                },
                ReapedBy::ForkServer => match self.listen() {
                    Some(status) => status,
                    None => {
                        drop(end);
                        if !poll::wait_readable(&self.courier, deadline)? {
                            return Ok(false);
                        }
                        continue;
                    }
                },
            };
            tracing::debug!(pid = self.pid, name = self.name, %status, "process ended");
            *end = Some(End { status, answer: self.last_answer(status) });
            return Ok(true);
        }
    }

    /// Receives what has arrived from a process that has ended; tells how it ended, if that is said or cannot be any more.
    fn listen(&self) -> Option<ExitStatus> {
        let mut heard = lock(&self.heard);
        loop {
            match self.courier.try_recv() {
                Ok(Received::Message(message)) => match Report::from_message(message) {
                    Ok(Report::Ended(status)) => return Some(status),
                    report => *heard = Some(report),
                },
                Ok(Received::Nothing) => return None,
                // The fork server is gone as well.
                Ok(Received::Closed) => return Some(self.status_of_stranger()),
                Err(error) => *heard = Some(Err(error)),
            }
        }
    }

    fn status_of_stranger(&self) -> ExitStatus {
        let deadline = Deadline::after(STATUS_OF_STRANGER);
        loop {
            if let Some(ended) = pidfd::status_of_stranger(&self.pidfd) {
                return ended.into();
            }
            if self.reaped_by == ReapedBy::Us || deadline.has_passed() {
                return ExitStatus::Unknown;
            }
            // No descriptor tells when somebody else reaps. This wait ends by its time; should it fail, the loop does.
            drop(poll::wait(&mut [], Deadline::after(Duration::from_millis(1))));
        }
    }

    /// The answer of a process that has ended, with this status.
    fn last_answer(&self, status: ExitStatus) -> Answer {
        Answer::None(match lock(&self.heard).take() {
            Some(Ok(Report::Value(message))) => return Answer::Value(message),
            Some(Ok(Report::Panicked(panic))) => JoinError::Panicked(panic),
            Some(Ok(Report::NotStarted(error))) => JoinError::NotStarted(error),
            Some(Ok(Report::Unsendable(error)) | Err(error)) => JoinError::Value(error),
            Some(Ok(Report::Started(..) | Report::Ended(_))) | None => {
                JoinError::Died(Death { name: self.name.clone(), pid: self.pid, status })
            }
        })
    }

    fn answer<R: DeserializeOwned>(&self) -> Result<R, JoinError> {
        let mut end = lock(&self.end);
        let answer = &mut end.as_mut().expect("asked after the end").answer;
        match answer {
            Answer::None(error) => Err(error.clone()),
            Answer::Taken => {
                let text = "the return value holds handles, and was handed out before";
                Err(JoinError::Value(Error::new(ErrorKind::Taken, text)))
            }
            Answer::Value(message) if message.handles().is_empty() => {
                Message::decode_parts(&message.bytes()[1..], Vec::new()).map_err(JoinError::Value)
            }
            Answer::Value(_) => {
                let Answer::Value(message) = std::mem::replace(answer, Answer::Taken) else {
                    unreachable!("matched above")
                };
                let mut message = message;
                message.advance(1);
                message.decode().map_err(JoinError::Value)
            }
        }
    }

    /// Gives the process up: when it ends, it is reaped.
    fn detach(self) {
        // What cannot be found out now, the reaper will.
        if self.reaped_by == ReapedBy::Us
            && !self.wait(Deadline::after(Duration::ZERO)).unwrap_or(false)
        {
            reaper::reap_when_it_ends(self.pidfd);
        }
    }
}
