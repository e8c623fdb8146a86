//! The child's side: from the first message to the end of the process.

use std::io::Write;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use procession_core::family::Family;
use procession_core::{Courier, Error, ErrorKind, Handle, Message, Result, exit};
use procession_sys::{pidfd, process, spawn, stdio};
use serde::Serialize;

use crate::report::{Report, VALUE};
use crate::request::Request;
use crate::status::Panic;
use crate::trampoline::Reply;
use crate::{after_fork, panic};

/// What a process exits with whose function panicked or was not called, as in Python.
pub(crate) const FAILED: i32 = 1;

/// Ends a process that was started to play a part and has lost what tells it which: the program must not run in its place.
pub(crate) fn lost(error: &dyn std::fmt::Display) -> ! {
    // Nobody else can be told.
    drop(writeln!(
        std::io::stderr(),
        "a process that `procession` started cannot go on: {error}; was descriptor 3 closed before `init()`?"
    ));
    exit(FAILED)
}

/// Runs the function that this process was started for, and ends the process.
pub(crate) fn run_as_child() -> ! {
    let bootstrap = spawn::take_bootstrap().unwrap_or_else(|error| lost(&error));
    run_and_exit(Courier::from(bootstrap), Origin::Program)
}

/// What a process was before it was told what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// This program, executed anew.
    Program,
    /// A copy of its parent, with all that is in its memory.
    Copy,
}

/// Runs the function that the other end of `courier` asks for, and ends the process.
pub(crate) fn run_and_exit(courier: Courier, origin: Origin) -> ! {
    let code = run(&Arc::new(courier), origin);
    end(code, origin)
}

/// Tells that the function is not called, and why, and ends the process.
pub(crate) fn refuse(courier: &Courier, error: Error, origin: Origin) -> ! {
    end(report(courier, Report::NotStarted(error)), origin)
}

/// Ends the process as befits it.
pub(crate) fn end(code: i32, origin: Origin) -> ! {
    match origin {
        Origin::Program => exit(code),
        Origin::Copy => {
            exit::run();
            // Exit handlers of C are the parent's.
            flush_and_exit(code)
        }
    }
}

/// Ends the process as a program ends: exit handlers run and buffers are flushed.
#[expect(clippy::exit, reason = "the end of a child")]
pub(crate) fn exit(code: i32) -> ! {
    std::process::exit(code)
}

/// Becomes what `settle_in` makes of this fork, calls `function`, and ends the process.
pub(crate) fn run_forked<R: Serialize>(
    courier: Courier,
    buffers: Buffers,
    settle_in: impl FnOnce(&Arc<Courier>) -> Result<()>,
    function: impl FnOnce() -> R,
) -> ! {
    let courier = Arc::new(courier);
    let settled = settle_in(&courier);
    let call = || match Message::encode_behind(vec![VALUE], &function()) {
        Ok(value) => Ok(Reply::Value(value)),
        Err(error) => Ok(Reply::Unsendable(error)),
    };
    let code = match settled {
        Ok(()) => answer(&courier, call),
        Err(error) => report(&courier, Report::NotStarted(error)),
    };
    exit::run();
    // Exit handlers of C are the parent's: they were registered for its end, and it will run them.
    match buffers {
        Buffers::Ours => flush_and_exit(code),
        Buffers::Unknown => exit_now(code),
    }
}

/// Ends the process without exit handlers, but with what an exit does to the buffers of the standard streams.
pub(crate) fn flush_and_exit(code: i32) -> ! {
    // Whoever reads it is gone: nobody needs to know here.
    drop(std::io::stdout().flush());
    drop(stdio::flush_c());
    exit_now(code)
}

fn exit_now(code: i32) -> ! {
    process::exit_now(u8::try_from(code).unwrap_or(u8::MAX))
}

/// Whose the buffers of the standard streams are in a fork.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Buffers {
    Ours,
    /// Another thread of the parent may have been in the middle of them, with their locks held.
    Unknown,
}

fn run(courier: &Arc<Courier>, origin: Origin) -> i32 {
    let request = match receive(courier) {
        Ok(Some(request)) => request,
        // The parent is gone or has thought better of it.
        Ok(None) => return FAILED,
        Err(error) => return report(courier, Report::NotStarted(error)),
    };
    let function = request.function;
    let introduced = if request.introduce { introduce(courier) } else { Ok(()) };
    let arguments = match introduced.and_then(|()| courier.recv()) {
        Ok(Some(arguments)) => arguments,
        Ok(None) => return FAILED,
        Err(error) => return report(courier, Report::NotStarted(error)),
    };
    // Nothing comes from the parent any more: what comes is its end.
    let settled = request.birth.settle_in(courier).and_then(|()| match origin {
        Origin::Program => Ok(()),
        Origin::Copy => settle_as_copy(),
    });
    if let Err(error) = settled {
        return report(courier, Report::NotStarted(error));
    }
    answer(courier, || function.call(arguments, vec![VALUE]))
}

/// In a copy: it holds what its memory refers to, and its program may have something to do about being a copy.
fn settle_as_copy() -> Result<()> {
    // A fork that its parent has made itself was given this from the beginning. Here it was the template that held it.
    Family::current()?.me()?;
    after_fork::run();
    Ok(())
}

/// Says that this process is there, and knows what it is here for.
pub(crate) fn introduce(courier: &Courier) -> Result<()> {
    let pid = process::id();
    let started = Report::Started(pid, Handle(pidfd::open(pid)?));
    courier.send(&started.into_message()?)
}

/// Calls, and tells what became of it; returns the code to exit with.
fn answer(courier: &Arc<Courier>, call: impl FnOnce() -> Result<Reply>) -> i32 {
    if cfg!(panic = "abort") {
        let last_words = Arc::clone(courier);
        panic::set_last_words(move |panic: &Panic| {
            report(&last_words, Report::Panicked(panic.clone()));
        });
    }
    report(courier, report_of(panic::catch(AssertUnwindSafe(call))))
}

/// What to tell of a call.
pub(crate) fn report_of(outcome: Result<Result<Reply>, Panic>) -> Report {
    match outcome {
        Ok(Ok(Reply::Value(value))) => Report::Value(value),
        Ok(Ok(Reply::Refused(error)) | Err(error)) => Report::NotStarted(error),
        Ok(Ok(Reply::Unsendable(error))) => Report::Unsendable(error),
        Err(panic) => Report::Panicked(panic),
    }
}

/// The first message, if it is meant for this process.
fn receive(courier: &Courier) -> Result<Option<Request>> {
    let Some(message) = courier.recv()? else { return Ok(None) };
    let request: Request = message.decode().map_err(|error| other_build(&error))?;
    if let Some(pid) = request.pid.filter(|pid| *pid != process::id()) {
        let text = format!("process {} got what is meant for {pid}", process::id());
        return Err(Error::new(ErrorKind::InvalidInput, text));
    }
    if !request.build.is_here()? {
        return Err(Error::new(
            ErrorKind::BuildMismatch,
            "the program that was started is another build than the one that started it",
        ));
    }
    Ok(Some(request))
}

/// Another build may not even understand the question.
fn other_build(error: &Error) -> Error {
    let text = "the program that was started does not understand the one that started it";
    Error::new(ErrorKind::BuildMismatch, text).caused_by(error)
}

/// Tells the parent what became of the function; returns the code to exit with.
fn report(courier: &Courier, report: Report) -> i32 {
    let code = if matches!(report, Report::Value(_)) { 0 } else { FAILED };
    let sent = report.into_message().and_then(|message| courier.send(&message));
    match sent {
        Ok(()) => code,
        // Nobody is there any more who wants to know.
        Err(error) if error.kind() == ErrorKind::Closed => code,
        Err(error) => {
            // The system has no room for the answer; a short one may pass. If not, the parent sees a death without one.
            let short = Report::Unsendable(error).into_message();
            drop(short.and_then(|message| courier.send(&message)));
            FAILED
        }
    }
}
