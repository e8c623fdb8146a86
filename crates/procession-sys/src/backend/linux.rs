//! Linux: descriptors for everything, futexes, pidfds, memfds.

pub mod barrier;
pub mod block;
mod cgroup;
pub mod claim;
pub mod clock;
pub mod cpu;
pub mod doorbell;
pub mod fd;
pub mod file_lock;
pub mod fork;
pub mod futex;
pub mod image;
pub mod lifeline;
pub mod memory;
pub mod net;
pub mod oom;
pub mod pidfd;
pub mod poll;
pub mod process;
pub mod random;
pub mod signal;
pub mod socket;
pub mod sparse;
pub mod spawn;
mod stat;
pub mod stdio;
pub mod surroundings;
pub mod terminal;
#[cfg(test)]
mod testing;
pub mod tree;
pub mod usage;
pub mod user;
pub mod wipe;

use rustix::io::{Errno, retry_on_intr};

use crate::error::{OsCode, OsError};

/// Runs a call again while signals interrupt it, and names it in the error: the one place that knows EINTR.
fn call<T>(
    operation: &'static str,
    subject: impl FnOnce() -> String,
    f: impl FnMut() -> rustix::io::Result<T>,
) -> crate::Result<T> {
    retry_on_intr(f).map_err(|code| fail(operation, subject(), code))
}

/// What a function of the C library answered that leaves its error in `errno`.
fn checked(answer: i32) -> rustix::io::Result<()> {
    match answer {
        0 => Ok(()),
        _ => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL)),
    }
}

fn fail(operation: &'static str, subject: String, code: Errno) -> OsError {
    OsError::new(operation, subject, OsCode::from_raw(code.raw_os_error()))
}
