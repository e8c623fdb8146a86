//! A process that was started, as its parent sees it, whatever its function returns.
//!
//! The process is known by its pidfd, so that its number may be reused without harm. It ends first and is asked
//! afterwards: whoever waits, waits for the pidfd alone; then the process is reaped, and what it sent before it ended is
//! read from the socket, where it lies complete or not at all.
//!
//! Under the start method `thread` there is a thread instead, which rings a bell when it is done.

use std::fmt;
use std::io::{PipeReader, PipeWriter};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use procession_connection::Waitable;
use procession_core::family::{Family, ProcessId};
use procession_core::{Courier, Deadline, Error, ErrorKind, Message, Received, Result};
use procession_sys::doorbell::Doorbell;
use procession_sys::prim::Ordering::Relaxed;
use procession_sys::prim::{AtomicBool, Mutex, lock};
use procession_sys::{pidfd, poll, process, signal, tree};
use serde::de::DeserializeOwned;

use crate::report::Report;
use crate::start::StartMethod;
use crate::status::{Death, ExitStatus, JoinError, Reason};
use crate::stream::Pipes;
use crate::template::Template;
use crate::{children, in_thread, memory_events};

/// A process that this one started, without the type of what its function returns: what a
/// [`Process`](crate::Process) derefs to, and what [`active_children`](crate::active_children) lists.
///
/// Any number of threads may wait for it, signal it and ask about it at the same time. In a forked child of the process
/// that started it, whatever waits for it or signals it is an error: it is the other's.
pub struct Child {
    /// The process that started it.
    owner: u32,
    pid: u32,
    name: String,
    is_daemon: bool,
    outlives_parent: bool,
    method: StartMethod,
    body: Body,
    /// Its place in the process table.
    member: Option<ProcessId>,
    /// What it is a copy of, which is there until it has told how the process ended.
    template: Mutex<Option<Template>>,
    /// The ends of its standard streams that nobody has taken.
    pipes: Mutex<Pipes>,
    /// Whether this process has asked it to end.
    asked: AtomicBool,
    /// What the process said so far, until it has ended.
    heard: Mutex<Option<Result<Report>>>,
    /// INVARIANT: set once, by whoever learns how the process ended; the lock is taken before that of `heard`.
    end: Mutex<Option<End>>,
}

/// What a child is made of.
pub(crate) enum Body {
    Process {
        pidfd: OwnedFd,
        /// What ties the process to this one, and so is not left to when the last handle is dropped: a fork of this process
        /// lets go of it first of all. Absent after that.
        courier: Mutex<Option<Arc<Courier>>>,
        reaped_by: ReapedBy,
    },
    /// A thread of this process, which puts its report there and rings.
    Thread(Arc<Booth>),
}

/// Where a thread that stands for a process leaves its report.
#[derive(Debug)]
pub(crate) struct Booth {
    pub(crate) done: Doorbell,
    pub(crate) report: Mutex<Option<Report>>,
}

/// Whose child the process is for the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReapedBy {
    Us,
    /// Which tells how it ended in the courier, behind what the process says.
    ForkServer,
}

/// What is known of a child when it has been started.
pub(crate) struct Traits {
    pub(crate) name: String,
    pub(crate) is_daemon: bool,
    pub(crate) outlives_parent: bool,
    pub(crate) method: StartMethod,
    pub(crate) member: Option<ProcessId>,
    pub(crate) template: Option<Template>,
    pub(crate) pipes: Pipes,
}

struct End {
    status: ExitStatus,
    peak_memory: Option<u64>,
    answer: Answer,
}

/// What the process said before it ended.
enum Answer {
    Value(Message),
    /// The value held handles and was handed out.
    Taken,
    None(JoinError),
}

/// How long a status that the fork server cannot tell any more is asked for: until whoever inherits the child reaps it. A third
/// of the 100 ms within which whoever waits for a dead process has an answer.
const STATUS_OF_STRANGER: Duration = Duration::from_millis(33);

/// How long it takes a fork server that runs to reap a child and tell of it, with some room.
const A_WHILE: Duration = Duration::from_micros(60);

impl Body {
    pub(crate) fn process(pidfd: OwnedFd, courier: Courier, reaped_by: ReapedBy) -> Self {
        Self::Process { pidfd, courier: Mutex::new(Some(Arc::new(courier))), reaped_by }
    }
}

impl Child {
    pub(crate) fn new(pid: u32, traits: Traits, body: Body) -> Self {
        let Traits { name, is_daemon, outlives_parent, method, member, template, pipes } = traits;
        memory_events::note();
        Self {
            owner: process::id(),
            pid,
            name,
            is_daemon,
            outlives_parent,
            method,
            body,
            member,
            template: Mutex::new(template),
            pipes: Mutex::new(pipes),
            asked: AtomicBool::new(false),
            heard: Mutex::new(None),
            end: Mutex::new(None),
        }
    }

    /// The process number. Under the start method `thread`, that of this process.
    #[doc(alias = "ident")]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is ended, not waited for, when this process ends. See [`Builder::daemon`](crate::Builder::daemon).
    pub fn is_daemon(&self) -> bool {
        self.is_daemon
    }

    /// How it was started.
    pub fn start_method(&self) -> StartMethod {
        self.method
    }

    /// Whether the process has not ended yet. A process that was found to have ended is reaped.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Os`] when the system cannot tell; [`ErrorKind::InvalidInput`] when another process started it.
    pub fn is_alive(&self) -> Result<bool> {
        self.wait(Duration::ZERO).map(|ended| !ended)
    }

    /// Waits until the process has ended, at most this long; tells whether it has. What its function returned stays where
    /// it is.
    ///
    /// # Errors
    ///
    /// As [`is_alive`](Self::is_alive).
    pub fn wait(&self, timeout: Duration) -> Result<bool> {
        self.wait_until(Deadline::after(timeout))
    }

    /// How the process ended, or `None` while it runs. A thread that stands for a process exits with 0, or with 1 when its
    /// function panicked.
    ///
    /// # Errors
    ///
    /// As [`is_alive`](Self::is_alive).
    #[doc(alias = "exitcode")]
    pub fn exit_status(&self) -> Result<Option<ExitStatus>> {
        self.wait(Duration::ZERO)?;
        Ok(lock(&self.end).as_ref().map(|end| end.status))
    }

    /// Asks the process to run its interrupt: `SIGINT`. Without a handler of its own that ends it. Does nothing to a process
    /// that has ended.
    ///
    /// # Errors
    ///
    /// As [`signal`](Self::signal).
    pub fn interrupt(&self) -> Result<()> {
        self.end_by(signal::INTERRUPT)
    }

    /// Asks the process to end: `SIGTERM`. Nothing of its function is undone, unless the process asked for that
    /// ([`exit_on_terminate`](crate::exit_on_terminate)), and a function may block the signal. Does nothing to a process that has
    /// ended. Processes that it started end with it.
    ///
    /// # Errors
    ///
    /// As [`signal`](Self::signal).
    pub fn terminate(&self) -> Result<()> {
        self.end_by(signal::TERMINATE)
    }

    /// Ends the process: `SIGKILL`. Does nothing to a process that has ended. Processes that it started end with it.
    ///
    /// # Errors
    ///
    /// As [`signal`](Self::signal).
    pub fn kill(&self) -> Result<()> {
        self.end_by(signal::KILL)
    }

    /// Ends the process and all that descend from it, whoever started them: each gets `SIGTERM`, and `SIGKILL` if it is
    /// there after `grace`. When this returns, the process has ended.
    ///
    /// What descends from it is what the system says: a process whose parent ended before this call (a daemon in the sense
    /// of Unix) is not found.
    ///
    /// # Errors
    ///
    /// As [`signal`](Self::signal).
    pub fn terminate_tree(&self, grace: Duration) -> Result<()> {
        let pidfd = self.pidfd("end the tree of")?;
        if self.wait(Duration::ZERO)? {
            return Ok(());
        }
        self.asked.store(true, Relaxed);
        let mut family = self.descendants(pidfd)?;
        let _was_there = pidfd::signal(pidfd, signal::TERMINATE)?;
        for member in &family {
            let _was_there = pidfd::signal(member, signal::TERMINATE)?;
        }
        let deadline = Deadline::after(grace);
        let mut in_time = poll::wait_readable(pidfd, deadline)?;
        for member in &family {
            in_time &= poll::wait_readable(member, deadline)?;
        }
        if !in_time {
            // Those that came meanwhile, as long as there are any.
            loop {
                let late = self.descendants(pidfd)?;
                for member in family.iter().chain(&late) {
                    let _was_there = pidfd::signal(member, signal::KILL)?;
                }
                if late.is_empty() {
                    break;
                }
                family.extend(late);
            }
            let _was_there = pidfd::signal(pidfd, signal::KILL)?;
            for member in &family {
                poll::wait_readable(member, Deadline::NEVER)?;
            }
        }
        self.wait_until(Deadline::NEVER).map(drop)
    }

    /// Those that descend from it, as far as it has not ended: then its number may be another's, and what that one has started
    /// is none of ours.
    fn descendants(&self, pidfd: &OwnedFd) -> Result<Vec<OwnedFd>> {
        let found = tree::descendants(self.pid)?;
        match poll::wait_readable(pidfd, Deadline::PAST)? {
            true => Ok(Vec::new()),
            false => Ok(found.into_iter().map(|(_, pidfd)| pidfd).collect()),
        }
    }

    /// Sends a signal to the process, and never to another one. Does nothing to a process that has ended.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Os`] when there is no such signal, or the process has become another user's;
    /// [`ErrorKind::Unsupported`] under the start method `thread`; [`ErrorKind::InvalidInput`] when another process started
    /// it.
    pub fn signal(&self, number: i32) -> Result<()> {
        let _was_there = pidfd::signal(self.pidfd("signal")?, number)?;
        Ok(())
    }

    /// Tells the process to end, kills it if it is there after `grace`, and waits for it. A thread is waited for.
    pub(crate) fn end(&self, grace: Duration) -> Result<()> {
        if !self.is_thread() {
            self.terminate()?;
            if !self.wait(grace)? {
                self.kill()?;
            }
        }
        self.wait_until(Deadline::NEVER).map(drop)
    }

    fn end_by(&self, number: i32) -> Result<()> {
        self.asked.store(true, Relaxed);
        self.signal(number)
    }

    fn pidfd(&self, what: &str) -> Result<&OwnedFd> {
        self.check_owner()?;
        match &self.body {
            Body::Process { pidfd, .. } => Ok(pidfd),
            Body::Thread(_) => {
                let text = format!("could not {what} {}: it is a thread", self.name);
                Err(Error::new(ErrorKind::Unsupported, text))
            }
        }
    }

    /// A descriptor that becomes readable when the process has ended, for `poll` and its kin.
    pub fn sentinel(&self) -> BorrowedFd<'_> {
        match &self.body {
            Body::Process { pidfd, .. } => pidfd.as_fd(),
            Body::Thread(booth) => booth.done.as_fd(),
        }
    }

    /// The writing end of its standard input, once, if that is [piped](crate::Stream::piped). Until it is taken or the handle is
    /// dropped, the process waits for input.
    pub fn take_stdin(&self) -> Option<PipeWriter> {
        lock(&self.pipes).input.take()
    }

    /// The reading end of its standard output, once, if that is [piped](crate::Stream::piped).
    pub fn take_stdout(&self) -> Option<PipeReader> {
        lock(&self.pipes).output.take()
    }

    /// The reading end of its standard error, once, if that is [piped](crate::Stream::piped).
    pub fn take_stderr(&self) -> Option<PipeReader> {
        lock(&self.pipes).error_output.take()
    }

    /// Lets go of the ends of its standard streams.
    pub(crate) fn close_pipes(&self) {
        *lock(&self.pipes) = Pipes::default();
    }

    pub(crate) fn outlives_parent(&self) -> bool {
        self.outlives_parent
    }

    pub(crate) fn is_thread(&self) -> bool {
        matches!(self.body, Body::Thread(_))
    }

    pub(crate) fn is_current_thread(&self) -> bool {
        match &self.body {
            Body::Process { .. } => false,
            Body::Thread(booth) => in_thread::is_current(booth),
        }
    }

    pub(crate) fn is_ours(&self) -> bool {
        self.owner == process::id()
    }

    /// In a fork of the process that started it: closes what ties the child to that process, whoever else has a handle.
    pub(crate) fn let_go(&self) {
        if let Body::Process { courier, .. } = &self.body {
            // Held by a thread that is not here: then the caller of the fork answers for it.
            if let Ok(mut courier) = courier.try_lock() {
                *courier = None;
            }
        }
    }

    fn check_owner(&self) -> Result<()> {
        match self.is_ours() {
            true => Ok(()),
            false => {
                let text = format!("{} is a child of process {}", self.name, self.owner);
                Err(Error::new(ErrorKind::InvalidInput, text))
            }
        }
    }

    /// Waits until the process has ended, and its status is known; tells whether it is.
    pub(crate) fn wait_until(&self, deadline: Deadline) -> Result<bool> {
        self.check_owner()?;
        loop {
            if lock(&self.end).is_some() {
                return Ok(true);
            }
            // Outside of the lock, so that other threads can wait and look as well.
            if !poll::wait_readable(self.sentinel(), deadline)? {
                return Ok(false);
            }
            let mut end = lock(&self.end);
            if end.is_some() {
                return Ok(true);
            }
            let (status, peak_memory) = match &self.body {
                Body::Thread(booth) => {
                    *lock(&self.heard) = lock(&booth.report).take().map(Ok);
                    (self.status_of_thread(), None)
                }
                // A debugger may make the descriptor readable before its time: then there is nothing to reap yet.
                Body::Process { pidfd, courier, reaped_by: ReapedBy::Us } => {
                    match pidfd::try_reap(pidfd)? {
                        None => continue,
                        Some(reaped) => {
                            if let Some(courier) = lock(courier).clone() {
                                self.listen(pidfd, &courier, ReapedBy::Us);
                            }
                            (reaped.ended.into(), reaped.peak_resident)
                        }
                    }
                }
                Body::Process { pidfd, courier, reaped_by } => {
                    let Some(courier) = lock(courier).clone() else {
                        return Err(Error::new(
                            ErrorKind::InvalidInput,
                            "the child of another process",
                        ));
                    };
                    match self.listen_a_while(pidfd, &courier, *reaped_by) {
                        Some(ended) => ended,
                        None => {
                            drop(end);
                            if !poll::wait_readable(&*courier, deadline)? {
                                return Ok(false);
                            }
                            continue;
                        }
                    }
                }
            };
            tracing::debug!(pid = self.pid, name = self.name, %status, "process ended");
            let answer = self.last_answer(status, peak_memory);
            *end = Some(End { status, peak_memory, answer });
            drop(end);
            self.bury(status);
            return Ok(true);
        }
    }

    /// What follows from the end, once.
    fn bury(&self, status: ExitStatus) {
        children::remove(self);
        let in_order = status.code().is_some();
        let recovered = match (self.member, Family::existing()) {
            (Some(member), Some(family)) => family.bury_child(member, in_order),
            _ => Ok(()),
        };
        if let Err(error) = recovered {
            // What it held stays held until somebody else looks.
            tracing::error!(pid = self.pid, %error, "could not recover what a dead process held");
        }
        // Dropped outside of the lock: it may be the last.
        let template = lock(&self.template).take();
        drop(template);
    }

    fn status_of_thread(&self) -> ExitStatus {
        ExitStatus::Exited(match &*lock(&self.heard) {
            Some(Ok(Report::Value(_))) => 0,
            _ => 1,
        })
    }

    /// As [`listen`](Self::listen), for as long as it takes a fork server that runs to tell how its child ended: to go to sleep
    /// and be woken takes longer than that.
    fn listen_a_while(
        &self,
        pidfd: &OwnedFd,
        courier: &Courier,
        reaped_by: ReapedBy,
    ) -> Option<(ExitStatus, Option<u64>)> {
        let begin = Instant::now();
        loop {
            let ended = self.listen(pidfd, courier, reaped_by);
            if ended.is_some() || begin.elapsed() > A_WHILE {
                return ended;
            }
            thread::yield_now();
        }
    }

    /// Receives what has arrived from a process that has ended; tells how it ended and how much memory it had, if that is said or cannot be any more.
    fn listen(
        &self,
        pidfd: &OwnedFd,
        courier: &Courier,
        reaped_by: ReapedBy,
    ) -> Option<(ExitStatus, Option<u64>)> {
        let mut heard = lock(&self.heard);
        loop {
            match courier.try_recv() {
                Ok(Received::Message(message)) => match Report::from_message(message) {
                    Ok(Report::Ended(status, peak)) => return Some((status, peak)),
                    report => *heard = Some(report),
                },
                Ok(Received::Nothing) => return None,
                Ok(Received::Closed) if reaped_by == ReapedBy::Us => return None,
                // The fork server is gone as well.
                Ok(Received::Closed) => return Some((status_of_stranger(pidfd), None)),
                Err(error) => *heard = Some(Err(error)),
            }
        }
    }

    /// The answer of a process that has ended, with this status.
    fn last_answer(&self, status: ExitStatus, peak_memory: Option<u64>) -> Answer {
        Answer::None(match lock(&self.heard).take() {
            Some(Ok(Report::Value(message))) => return Answer::Value(message),
            Some(Ok(Report::Panicked(panic))) => JoinError::Panicked(panic),
            Some(Ok(Report::NotStarted(error))) => JoinError::NotStarted(error),
            Some(Ok(Report::Unsendable(error)) | Err(error)) => JoinError::Value(error),
            Some(Ok(Report::Started(..) | Report::Ended(..))) | None => {
                JoinError::Died(self.death_with(status, peak_memory))
            }
        })
    }

    /// The death of this child, which ended with that status.
    pub fn death(&self, status: ExitStatus) -> Death {
        let peak_memory = lock(&self.end).as_ref().and_then(|end| end.peak_memory);
        self.death_with(status, peak_memory)
    }

    fn death_with(&self, status: ExitStatus, peak_memory: Option<u64>) -> Death {
        let reason = if self.asked.load(Relaxed) {
            Reason::Asked
        } else if status.signal() == Some(signal::KILL) && memory_events::has_killed() {
            Reason::OutOfMemory
        } else {
            Reason::Unknown
        };
        Death { name: self.name.clone(), pid: self.pid, status, reason, peak_memory }
    }

    pub(crate) fn answer<R: DeserializeOwned>(&self) -> Result<R, JoinError> {
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
                let Answer::Value(mut message) = std::mem::replace(answer, Answer::Taken) else {
                    unreachable!("matched above")
                };
                message.advance(1);
                message.decode().map_err(JoinError::Value)
            }
        }
    }
}

fn status_of_stranger(pidfd: &OwnedFd) -> ExitStatus {
    let deadline = Deadline::after(STATUS_OF_STRANGER);
    loop {
        if let Some(ended) = pidfd::status_of_stranger(pidfd) {
            return ended.into();
        }
        if deadline.has_passed() {
            return ExitStatus::Unknown;
        }
        // No descriptor tells when somebody else reaps. This wait ends by its time; should it fail, the loop does.
        drop(poll::wait(&mut [], Deadline::after(Duration::from_millis(1))));
    }
}

impl AsFd for Child {
    /// The [sentinel](Self::sentinel).
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.sentinel()
    }
}

impl Waitable for Child {
    /// Ready once the process has ended.
    fn readable_fd(&self) -> Result<BorrowedFd<'_>> {
        Ok(self.sentinel())
    }
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut this = f.debug_struct("Child");
        this.field("name", &self.name).field("pid", &self.pid).field("parent", &self.owner);
        // Without waiting for a thread that is just finding out.
        match lock(&self.end).as_ref() {
            Some(end) => this.field("ended", &end.status),
            None => this.field("ended", &false),
        };
        if self.is_daemon {
            this.field("is_daemon", &true);
        }
        this.finish()
    }
}
