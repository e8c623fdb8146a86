//! Forked processes, and the memory that they share with their parent.
#![expect(unsafe_code, reason = "fork, mmap and waitpid are the contender: nothing above them")]

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::atomic::AtomicU64;

use crate::board::{Board, WORDS};
use crate::crew::Crew;
use crate::sync::Bench;

/// Puts `value` into memory of its own that this process and its forks share, for as long as any
/// of them lives. It begins a page, so it shares a cache line with nothing else.
///
/// # Errors
/// The system has no memory to map.
///
/// # Panics
/// The type is aligned to more than a page.
pub fn share<T: Sync>(value: T) -> io::Result<&'static T> {
    let size = size_of::<T>().max(1);
    let (access, flags) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
    // SAFETY: the system chooses a new place, where nothing else lies.
    let place = unsafe { libc::mmap(ptr::null_mut(), size, access, flags, -1, 0) };
    if place == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let place = place.cast::<T>();
    assert!(place.is_aligned(), "a mapping is aligned to a page");
    // SAFETY: the place is new, large enough, aligned, and may be written.
    unsafe { place.write(value) };
    // SAFETY: the place holds a value and is never unmapped; this is the only way to it.
    Ok(unsafe { &*place })
}

/// Processes forked from this one, which must have no other thread.
#[derive(Debug, Clone, Copy)]
pub struct Forks;

impl Bench<'static, Forks> {
    /// Measures processes that are forked.
    ///
    /// # Errors
    /// The system has no memory to map.
    pub fn forked() -> io::Result<Self> {
        let words = share([const { AtomicU64::new(0) }; WORDS])?;
        Ok(Self { crew: Forks, board: Board::over(|index| &words[index]) })
    }
}

impl Crew for Forks {
    /// One that fails takes the others along, so that nobody waits for the dead.
    fn run<T>(
        &self,
        size: usize,
        role: impl Fn(usize) + Sync,
        lead: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        let mut members = Vec::new();
        for seat in 0..size {
            match fork(|| role(seat)) {
                Ok(pid) => members.push(pid),
                Err(error) => {
                    kill(&members);
                    reap(members).ok();
                    return Err(error);
                }
            }
        }
        let led = lead();
        if led.is_err() {
            kill(&members);
        }
        let reaped = reap(members);
        let led = led?;
        reaped.map(|()| led)
    }
}

/// Forks a child that calls `role` and ends.
fn fork(role: impl FnOnce()) -> io::Result<libc::pid_t> {
    // SAFETY: no other thread runs, so the child is a whole program.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            let status = i32::from(catch_unwind(AssertUnwindSafe(role)).is_err());
            // SAFETY: ends the process; nothing after it runs.
            unsafe { libc::_exit(status) }
        }
        pid => Ok(pid),
    }
}

/// Waits for the end of all, whoever ends first.
fn reap(mut members: Vec<libc::pid_t>) -> io::Result<()> {
    let mut outcome = Ok(());
    while !members.is_empty() {
        let mut status = 0;
        // SAFETY: `status` is an integer that the call may write.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, 0) };
        if pid < 0 {
            return Err(io::Error::last_os_error());
        }
        members.retain(|member| *member != pid);
        if status != 0 && outcome.is_ok() {
            let problem = format!("a forked process ended with wait status {status}");
            outcome = Err(io::Error::other(problem));
            kill(&members);
        }
    }
    outcome
}

fn kill(members: &[libc::pid_t]) {
    for pid in members {
        // SAFETY: a child that was not reaped yet; a signal touches no memory here.
        unsafe { libc::kill(*pid, libc::SIGKILL) };
    }
}
