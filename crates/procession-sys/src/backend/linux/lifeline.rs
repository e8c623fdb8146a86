//! Ends a process when another one is gone, without a thread and without its consent.
//!
//! The parent holds the writing end of a pipe into which nobody ever writes; the system closes it when the parent ends,
//! however it ends. The child has its own open file for the reading end and asks the system to send it `SIGKILL` as
//! soon as something happens there. That works while the child spins, blocks all signals, or never calls us again.

#![expect(unsafe_code, reason = "calls fcntl with commands that rustix does not offer")]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, fchmod};
use rustix::pipe::{PipeFlags, pipe_with};

use super::fd::name;
use super::{call, fail, poll};
use crate::{Deadline, Result};

/// `F_SETSIG` of `include/uapi/asm-generic/fcntl.h`; the same number on every Linux platform that we support.
const F_SETSIG: i32 = 10;

/// Makes a lifeline: the end whose last holder's death is watched, and the end to watch it with.
///
/// # Errors
///
/// When this process may open no more descriptors.
///
/// # Source
///
/// `pipe(2)`.
pub fn create() -> Result<(OwnedFd, OwnedFd)> {
    let (watched, held) = call("make a lifeline", String::new, || pipe_with(PipeFlags::CLOEXEC))?;
    // Whoever has the descriptor may open it anew, also after this process has become another user's.
    call("make a lifeline", String::new, || fchmod(&watched, Mode::from_raw_mode(0o444)))?;
    Ok((held, watched))
}

/// Arms the lifeline: this process is killed by `SIGKILL` once the last holder of the other end is gone.
///
/// Tells whether the holder is still there; when it is not, this process should end by itself. Keep the returned
/// descriptor: closing it disarms.
///
/// # Errors
///
/// When `/proc` is not mounted, or this process may open no more descriptors.
///
/// # Source
///
/// `fcntl(2)`: `F_SETOWN`, `F_SETSIG`, `O_ASYNC`. They belong to the open file, not to the descriptor, and several
/// children watch one pipe: so each opens it anew through `/proc/self/fd`.
pub fn arm(watched: BorrowedFd<'_>) -> Result<(OwnedFd, bool)> {
    let path = format!("/proc/self/fd/{}", watched.as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let own = call("open", || path.clone(), || rustix::fs::open(&path, flags, Mode::empty()))?;
    control(own.as_fd(), libc::F_SETOWN, super::process::id().cast_signed())?;
    control(own.as_fd(), F_SETSIG, libc::SIGKILL)?;
    control(own.as_fd(), libc::F_SETFL, libc::O_ASYNC | libc::O_NONBLOCK)?;
    // What happened before the line above raised no signal: look once.
    let gone = poll::wait_readable(&own, Deadline::after(<_>::default()))?;
    Ok((own, !gone))
}

fn control(fd: BorrowedFd<'_>, command: i32, argument: i32) -> Result<()> {
    // SAFETY: The descriptor is open, and the three commands take a number.
    match unsafe { libc::fcntl(fd.as_raw_fd(), command, argument) } {
        -1 => {
            let code = std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL);
            let code = rustix::io::Errno::from_raw_os_error(code);
            Err(fail("arm a lifeline on", name(fd), code))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_has_the_watched_end_may_open_it_anew() {
        let (_held, watched) = create().unwrap();
        let mode = rustix::fs::fstat(&watched).unwrap().st_mode;
        assert_eq!(mode & 0o777, 0o444, "a child of another user must be able to");
    }
}
