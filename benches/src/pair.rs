//! Two processes with a [`Line`] between them, one forked from the other.
//!
//! The peers' workspace includes this file by path, so it stands on `std` and `libc` alone.
#![expect(unsafe_code, reason = "fork and waitpid: nothing above them takes part")]

use std::io::{self, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::line::{Line, Step, follow, lead};

/// Leads over `mine` while a fork follows over `theirs`. No thread may have been started before.
///
/// A line whose ends do not notice each other's death (shared memory) makes this wait for a follower that failed, until somebody
/// kills it: `cage` does.
///
/// # Errors
/// There is no process to be had, or one of the two failed.
pub fn measure_forked<L: Line>(mut mine: L, mut theirs: L, steps: &[Step]) -> io::Result<()> {
    // SAFETY: no other thread runs, so the child is a whole program.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            // Whoever waits at the other end learns when this process is gone.
            drop(mine);
            let followed = catch_unwind(AssertUnwindSafe(|| follow(&mut theirs, steps)));
            let status = match followed {
                Ok(Ok(())) => 0,
                Ok(Err(error)) => {
                    // The status says that something is wrong, if this cannot say what.
                    writeln!(io::stderr(), "the follower: {error}").ok();
                    1
                }
                // The panic has said why.
                Err(_) => 1,
            };
            // SAFETY: ends the process; nothing after it runs.
            unsafe { libc::_exit(status) }
        }
        child => {
            drop(theirs);
            let led = lead(&mut mine, steps);
            if led.is_err() {
                // SAFETY: a child that was not reaped yet; a signal touches no memory here.
                unsafe { libc::kill(child, libc::SIGKILL) };
            }
            let reaped = reap(child);
            led.and(reaped)
        }
    }
}

fn reap(child: libc::pid_t) -> io::Result<()> {
    let mut status = 0;
    // SAFETY: `status` is an integer that the call may write.
    if unsafe { libc::waitpid(child, &raw mut status, 0) } < 0 {
        return Err(io::Error::last_os_error());
    }
    match status {
        0 => Ok(()),
        _ => Err(io::Error::other(format!("the follower ended with wait status {status}"))),
    }
}
