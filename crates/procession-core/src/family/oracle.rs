//! Whether a process lives, in the words of the operating system.

use std::os::fd::OwnedFd;

use procession_sys::{Deadline, OsCode, OsError, pidfd, poll, process};

use super::stamp::{ProcessId, State};
use super::table::{Entry, Table};
use super::words::Words;
use crate::Result;

/// What is asked of the operating system; the tests' has eight process numbers and reuses them all the time.
pub(super) trait Oracle {
    /// A process, held so that its number says nothing any more: a pidfd.
    type Process;

    /// The process that has the number `pid` now, if any has. A zombie still is one.
    fn open(&self, pid: u32) -> Result<Option<Self::Process>>;

    /// What tells the process, which had the number `pid` when it was opened, from others that have had it or will; `None` when
    /// it has ended and nobody knows any more.
    fn birth(&self, process: &Self::Process, pid: u32) -> Result<Option<u64>>;

    /// Whether the process has ended; a zombie has.
    fn has_ended(&self, process: &Self::Process) -> Result<bool>;
}

/// The operating system.
#[derive(Debug, Clone, Copy)]
pub(super) struct System;

impl Oracle for System {
    type Process = OwnedFd;

    fn open(&self, pid: u32) -> Result<Option<OwnedFd>> {
        unless_gone(pidfd::open(pid))
    }

    fn birth(&self, process: &OwnedFd, pid: u32) -> Result<Option<u64>> {
        unless_gone(pidfd::birth(process, pid))
    }

    fn has_ended(&self, process: &OwnedFd) -> Result<bool> {
        Ok(poll::wait_readable(process, Deadline::PAST)?)
    }
}

/// This process, as it writes itself down.
pub(super) fn this_process() -> Result<Entry> {
    let pid = process::id();
    Ok(Entry { pid, birth: pidfd::birth(pidfd::open(pid)?, pid)? })
}

fn unless_gone<T>(answer: Result<T, OsError>) -> Result<Option<T>> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.code() == OsCode::NO_PROCESS => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What is known of a process.
#[derive(Debug)]
pub(super) enum Life<P> {
    /// It has ended, for good and certain.
    Dead,
    /// Its slot is reserved; it may not exist yet. Its parent answers for it.
    Pending,
    /// It is alive. `known` is false while it has not said when it started, so that `process` might be another process
    /// that got its number: the end of that proves nothing then.
    Alive { process: P, known: bool },
}

/// Looks whether `id` lives, in the table first and then in the system.
pub(super) fn life<W: Words, O: Oracle>(
    table: &Table<W>,
    oracle: &O,
    id: ProcessId,
) -> Result<Life<O::Process>> {
    let (pid, birth) = match table.state_of(id) {
        None | Some(State::Free | State::Dead { .. } | State::Recovered | State::Unknown) => {
            return Ok(Life::Dead);
        }
        Some(State::Joining { .. }) => return Ok(Life::Pending),
        Some(State::Arriving { pid }) => (pid, None),
        Some(State::Live) => match table.entry(id) {
            Some(entry) => (entry.pid, Some(entry.birth)),
            // It was live a moment ago: only death ends that.
            None => return Ok(Life::Dead),
        },
    };
    let Some(process) = oracle.open(pid)? else { return Ok(Life::Dead) };
    // Where it is the start of whoever has the number now, it is read after the process was opened: if it is the right one,
    // then what was opened is the right process, because the number was its own all the time in between.
    let is_another = match birth {
        Some(birth) => oracle.birth(&process, pid)? != Some(birth),
        None => false,
    };
    if is_another || oracle.has_ended(&process)? {
        return Ok(Life::Dead);
    }
    Ok(Life::Alive { process, known: birth.is_some() })
}
