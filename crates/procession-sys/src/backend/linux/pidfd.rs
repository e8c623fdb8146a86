//! A process by descriptor: the name that is never reused.

#![expect(
    unsafe_code,
    reason = "asks a pidfd by ioctl, and what a child has used, which rustix does not offer"
)]

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{fstat, fstatfs};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::fd::{above_streams, name};
use super::{call, checked, fail};
use crate::{OsCode, Result};

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It called `exit` with this code, 0 to 255.
    Exited(u8),
    /// A signal killed it.
    Signaled {
        /// The signal's number.
        signal: i32,
        /// Whether a core was written.
        core_dumped: bool,
    },
    /// It ended, and nobody can say how: the host reaped it first, or ignores `SIGCHLD`.
    Unknown,
}

/// What is known of a process that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reaped {
    /// How it ended.
    pub ended: Ended,
    /// How many bytes of its memory were resident at most, in steps of 1024; nothing when the host reaped it first.
    pub peak_resident: Option<u64>,
}

impl From<Ended> for Reaped {
    fn from(ended: Ended) -> Self {
        Self { ended, peak_resident: None }
    }
}

/// Opens a descriptor for the process `pid`; it becomes readable when the process has ended.
///
/// For a child that has not been waited for, the number cannot have been reused.
///
/// # Errors
///
/// [`NO_PROCESS`](OsCode::NO_PROCESS) when there is no such process.
///
/// # Source
///
/// `pidfd_open(2)`.
pub fn open(pid: u32) -> Result<OwnedFd> {
    let subject = || format!("process {pid}");
    let Some(raw) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return Err(fail("open", subject(), Errno::SRCH));
    };
    above_streams(call("open", subject, || pidfd_open(raw, PidfdFlags::empty()))?)
}

/// A number that tells the process behind `process` from all others that have, had or will have its number `pid`, until the
/// machine is started anew.
///
/// Linux numbers all processes for its own use (the inode of a pidfd) from 6.9 on. Before, it is the tick in which the process
/// started, of 10 ms as a rule: it tells apart who did not get the number in the tick in which another had begun and ended.
///
/// # Errors
///
/// [`NO_PROCESS`](OsCode::NO_PROCESS) on an older system, when the process has ended and was reaped.
///
/// # Source
///
/// `fstat(2)`, `fstatfs(2)`, `PID_FS_MAGIC` in `include/uapi/linux/magic.h`; `proc_pid_stat(5)`.
pub fn birth(process: impl AsFd, pid: u32) -> Result<u64> {
    let process = process.as_fd();
    let kind = call("look at", || name(process), || fstatfs(process))?;
    if u64::try_from(kind.f_type) == Ok(PID_FS_MAGIC) {
        return Ok(call("look at", || name(process), || fstat(process))?.st_ino);
    }
    super::process::identity(pid).map(|identity| identity.start_ticks)
}

/// "PIDF".
const PID_FS_MAGIC: u64 = 0x5049_4446;

/// Sends `signal` to the process, or only looks when it is zero; tells whether there still was one.
///
/// # Errors
///
/// [`INVALID`](OsCode::INVALID) when there is no such signal, [`NOT_PERMITTED`](OsCode::NOT_PERMITTED) when the process
/// belongs to somebody else.
///
/// # Source
///
/// `pidfd_send_signal(2)`.
pub fn signal(process: impl AsFd, signal: i32) -> Result<bool> {
    let process = process.as_fd();
    let send = || {
        // SAFETY: The descriptor is open; without a description of the signal the system makes one.
        let answer = unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                process.as_raw_fd(),
                signal,
                std::ptr::null::<libc::siginfo_t>(),
                0u32,
            )
        };
        match answer {
            0 => Ok(()),
            _ => {
                Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL))
            }
        }
    };
    match call("signal", || name(process), send) {
        Ok(()) => Ok(true),
        Err(error) if error.code() == OsCode::NO_PROCESS => Ok(false),
        Err(error) => Err(error),
    }
}

/// Reaps the child behind `process` if it has ended: afterwards it is no zombie, and its number is free.
///
/// # Errors
///
/// None in practice: a child that somebody else reaped has ended as [`Ended::Unknown`].
///
/// # Source
///
/// `waitid(2)`, `P_PIDFD` (Linux 5.4), with the fifth argument of the system's own call; `getrusage(2)`, `ru_maxrss`.
pub fn try_reap(process: impl AsFd) -> Result<Option<Reaped>> {
    let process = process.as_fd();
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    let reap = || {
        // SAFETY: Both pointers are valid for writing what the call writes there, or nothing.
        let answer = unsafe {
            libc::syscall(
                libc::SYS_waitid,
                libc::P_PIDFD,
                process.as_raw_fd(),
                info.as_mut_ptr(),
                libc::WEXITED | libc::WNOHANG,
                usage.as_mut_ptr(),
            )
        };
        checked(i32::try_from(answer).unwrap_or(-1))
    };
    match call("wait for", || name(process), reap) {
        Ok(()) => {}
        Err(error) if error.code() == OsCode::NO_CHILD => {
            // Not ours to wait for any more. It may still run: then its descriptor is not readable yet.
            let ended = super::poll::wait_readable(process, crate::Deadline::PAST)?;
            let status = || status_of_stranger(process).unwrap_or(Ended::Unknown);
            return Ok(ended.then(|| status().into()));
        }
        Err(error) => return Err(error),
    }
    // SAFETY: All bits zero are a description, and the system writes a whole one or none.
    let info = unsafe { info.assume_init() };
    // SAFETY: As above.
    let usage = unsafe { usage.assume_init() };
    if info.si_signo == 0 {
        return Ok(None);
    }
    // SAFETY: The system has described the end of a child.
    let status = unsafe { info.si_status() };
    let ended = match info.si_code {
        libc::CLD_EXITED => Ended::Exited((status & 0xff).try_into().unwrap_or(u8::MAX)),
        libc::CLD_KILLED => Ended::Signaled { signal: status, core_dumped: false },
        libc::CLD_DUMPED => Ended::Signaled { signal: status, core_dumped: true },
        _ => Ended::Unknown,
    };
    let peak = u64::try_from(usage.ru_maxrss).ok().map(|kib| kib.saturating_mul(1024));
    Ok(Some(Reaped { ended, peak_resident: peak }))
}

/// How the process behind `process` ended, which need not be a child, after whoever had to has reaped it; `None` before
/// that, and on systems that do not tell.
///
/// # Source
///
/// `PIDFD_GET_INFO` with `PIDFD_INFO_EXIT` (Linux 6.15), `include/uapi/linux/pidfd.h`.
pub fn status_of_stranger(process: impl AsFd) -> Option<Ended> {
    let mut info = Info { mask: INFO_EXIT, ..Info::default() };
    // SAFETY: The request writes at most as many bytes as its number says, which is the size of `Info`, all of whose bits
    // may have any value.
    let answer = unsafe {
        libc::ioctl(process.as_fd().as_raw_fd(), GET_INFO, std::ptr::from_mut(&mut info))
    };
    if answer != 0 || info.mask & INFO_EXIT == 0 {
        return None;
    }
    let status = info.exit_status;
    Some(match status & 0x7f {
        0 => Ended::Exited((status >> 8 & 0xff).try_into().unwrap_or(u8::MAX)),
        signal => Ended::Signaled { signal, core_dumped: status & 0x80 != 0 },
    })
}

/// `struct pidfd_info`, as Linux 6.13 defines it: later versions are longer, and accept this one.
#[derive(Default)]
#[repr(C)]
struct Info {
    mask: u64,
    control_group: u64,
    pid: u32,
    thread_group: u32,
    parent: u32,
    users_and_groups: [u32; 8],
    exit_status: i32,
}

const INFO_EXIT: u64 = 1 << 3;

/// `_IOWR(0xff, 11, struct pidfd_info)`.
const GET_INFO: libc::Ioctl = 0xc000_ff0b | (size_of::<Info>() as libc::Ioctl) << 16;
const _: () = assert!(size_of::<Info>() == 64);
