//! A process that is run one instruction at a time.

#![expect(unsafe_code, reason = "ptrace is not to be had otherwise")]

use std::io;

use procession_sys::signal;

/// A process under trace, stopped. Dropping it kills the process.
#[derive(Debug)]
pub(crate) struct Traced {
    pid: libc::pid_t,
    is_over: bool,
}

impl Traced {
    /// Stops the process `pid`, which has one thread, wherever it is.
    pub(crate) fn stop(pid: u32) -> io::Result<Self> {
        let pid = libc::pid_t::try_from(pid).map_err(io::Error::other)?;
        ptrace(libc::PTRACE_SEIZE, pid)?;
        let mut traced = Self { pid, is_over: false };
        ptrace(libc::PTRACE_INTERRUPT, pid)?;
        traced.wait()?;
        Ok(traced)
    }

    /// Runs one instruction; tells whether the process is still there.
    pub(crate) fn step(&mut self) -> io::Result<bool> {
        if !self.is_over {
            ptrace(libc::PTRACE_SINGLESTEP, self.pid)?;
            self.wait()?;
        }
        Ok(!self.is_over)
    }

    /// Kills it, and waits until it is dead.
    pub(crate) fn kill(mut self) -> io::Result<()> {
        self.end()
    }

    fn end(&mut self) -> io::Result<()> {
        if self.is_over {
            return Ok(());
        }
        // SAFETY: Sends a signal, to a process that is traced by this one and so has not been reaped.
        let sent = unsafe { libc::kill(self.pid, signal::KILL) };
        if sent != 0 {
            return Err(io::Error::last_os_error());
        }
        while !self.is_over {
            self.wait()?;
        }
        Ok(())
    }

    fn wait(&mut self) -> io::Result<()> {
        let mut status = 0;
        // SAFETY: Writes a number to where the pointer says, a local.
        let waited = unsafe { libc::waitpid(self.pid, &raw mut status, libc::__WALL) };
        if waited != self.pid {
            return Err(io::Error::last_os_error());
        }
        self.is_over = !libc::WIFSTOPPED(status);
        Ok(())
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        drop(self.end());
    }
}

fn ptrace(request: libc::c_uint, pid: libc::pid_t) -> io::Result<()> {
    // SAFETY: None of the requests that are made here reads or writes memory of this process; they take two arguments more,
    // of which these do without.
    let answer = unsafe { libc::ptrace(request, pid, 0usize, 0usize) };
    if answer == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
