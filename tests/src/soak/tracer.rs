//! A process that is traced: it runs one instruction at a time, to its next system call, or until it touches a word.

#![expect(unsafe_code, reason = "ptrace is not to be had otherwise")]

use std::io;

use procession_sys::signal;

/// What a watch is for, as the register has it.
const WRITE: usize = 0b01;
const TOUCH: usize = 0b11;

/// A process under trace, stopped. Dropping it kills the process.
#[derive(Debug)]
pub(super) struct Tracer {
    pid: libc::pid_t,
    is_over: bool,
}

impl Tracer {
    /// Stops the process `pid`, which has one thread, wherever it is.
    pub(super) fn stop(pid: u32) -> io::Result<Self> {
        let pid = libc::pid_t::try_from(pid).map_err(io::Error::other)?;
        let mut tracer = Self { pid, is_over: false };
        tracer.request(libc::PTRACE_SEIZE, 0, 0)?;
        tracer.request(libc::PTRACE_INTERRUPT, 0, 0)?;
        tracer.wait(0)?;
        Ok(tracer)
    }

    /// Runs one instruction; tells whether the process is still there.
    pub(super) fn step(&mut self) -> io::Result<bool> {
        if !self.is_over {
            self.request(libc::PTRACE_SINGLESTEP, 0, 0)?;
            self.wait(0)?;
        }
        Ok(!self.is_over)
    }

    /// Runs until a system call begins or ends; tells whether one did before `is_done`.
    pub(super) fn run_to_call(&mut self, is_done: &dyn Fn() -> bool) -> io::Result<bool> {
        self.run(libc::PTRACE_SYSCALL, is_done)
    }

    /// Runs until the eight bytes at this address are read or written; tells whether they were before `is_done`.
    pub(super) fn run_to_touch(&mut self, at: u64, is_done: &dyn Fn() -> bool) -> io::Result<bool> {
        self.run_to(at, TOUCH, is_done)
    }

    /// The same, until they are written.
    pub(super) fn run_to_write(&mut self, at: u64, is_done: &dyn Fn() -> bool) -> io::Result<bool> {
        self.run_to(at, WRITE, is_done)
    }

    fn run_to(&mut self, at: u64, access: usize, is_done: &dyn Fn() -> bool) -> io::Result<bool> {
        self.set_watch(at, access)?;
        let is_touched = self.run(libc::PTRACE_CONT, is_done)?;
        self.set_watch(at, 0)?;
        Ok(is_touched)
    }

    fn run(&mut self, how: libc::c_uint, is_done: &dyn Fn() -> bool) -> io::Result<bool> {
        self.request(how, 0, 0)?;
        while !self.wait(libc::WNOHANG)? {
            if is_done() {
                self.request(libc::PTRACE_INTERRUPT, 0, 0)?;
                self.wait(0)?;
                return Ok(false);
            }
            std::thread::yield_now();
        }
        Ok(true)
    }

    /// Debug registers 0 and 7 (Intel SDM, volume 3, 18.2): one address, eight bytes.
    #[cfg(target_arch = "x86_64")]
    fn set_watch(&self, at: u64, access: usize) -> io::Result<()> {
        let register = |number: usize| std::mem::offset_of!(libc::user, u_debugreg) + number * 8;
        let control = if access == 0 { 0 } else { 0b10_00 << 16 | access << 16 | 1 };
        // The address may not change while it is watched.
        self.request(libc::PTRACE_POKEUSER, register(7), 0)?;
        self.request(libc::PTRACE_POKEUSER, register(0), usize::try_from(at).unwrap_or(0))?;
        self.request(libc::PTRACE_POKEUSER, register(7), control)
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn set_watch(&self, _at: u64, _access: usize) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Kills it, and waits until it is dead.
    pub(super) fn kill(mut self) -> io::Result<()> {
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
            self.wait(0)?;
        }
        Ok(())
    }

    /// Waits until it has stopped or ended; tells whether it has.
    fn wait(&mut self, how: libc::c_int) -> io::Result<bool> {
        let mut status = 0;
        // SAFETY: Writes a number to where the pointer says, a local.
        let waited = unsafe { libc::waitpid(self.pid, &raw mut status, libc::__WALL | how) };
        match waited {
            0 => Ok(false),
            pid if pid == self.pid => {
                self.is_over = !libc::WIFSTOPPED(status);
                Ok(true)
            }
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn request(&self, request: libc::c_uint, address: usize, data: usize) -> io::Result<()> {
        // SAFETY: None of the requests that are made here reads or writes memory of this process.
        let answer = unsafe { libc::ptrace(request, self.pid, address, data) };
        if answer == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        drop(self.end());
    }
}
