//! This process and its kin.

#![expect(unsafe_code, reason = "calls the C library")]

use rustix::io::Errno;
use rustix::process::{Pid, getpid, getppid};

use super::{call, fail};
use crate::Result;

/// A process for ever: its number together with the moment when it started, because numbers are reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The process number.
    pub pid: u32,
    /// When it started, in clock ticks since the machine booted.
    pub start_ticks: u64,
}

/// The number of this process.
///
/// # Source
///
/// `getpid(2)`.
pub fn id() -> u32 {
    getpid().as_raw_nonzero().get().cast_unsigned()
}

/// The number of this process's parent, as the system sees it: zero when it is in another pid namespace.
///
/// # Source
///
/// `getppid(2)`.
pub fn parent_id() -> u32 {
    Pid::as_raw(getppid()).cast_unsigned()
}

/// Looks up the identity of the process `pid`.
///
/// # Errors
///
/// [`NO_PROCESS`](crate::OsCode::NO_PROCESS) when there is no such process (a zombie still is one).
///
/// # Source
///
/// `proc(5)`, `/proc/[pid]/stat`, field 22.
pub fn identity(pid: u32) -> Result<Identity> {
    let gone = || fail("identify", format!("process {pid}"), Errno::SRCH);
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).map_err(|_no_file| gone())?;
    // The second field is the program's name in parentheses, and may hold spaces and parentheses itself.
    let fields = text.rsplit_once(") ").ok_or_else(gone)?.1;
    let start_ticks = fields.split(' ').nth(19).and_then(|field| field.parse().ok());
    Ok(Identity { pid, start_ticks: start_ticks.ok_or_else(gone)? })
}

/// Ends this process at once: no destructors, no exit handlers, nothing flushed.
///
/// # Source
///
/// `_exit(2)`.
pub fn exit_now(code: u8) -> ! {
    // SAFETY: Ending the process is always sound.
    unsafe { libc::_exit(i32::from(code)) }
}

/// Kills the child `pid`, which nobody has waited for yet, and reaps it.
///
/// # Errors
///
/// [`NO_CHILD`](crate::OsCode::NO_CHILD) when somebody else reaped it first.
///
/// # Source
///
/// `kill(2)`, `waitid(2)`.
pub fn kill_and_reap(pid: u32) -> Result<()> {
    let subject = || format!("process {pid}");
    let Some(raw) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return Err(fail("kill", subject(), Errno::SRCH));
    };
    call("kill", subject, || rustix::process::kill_process(raw, rustix::process::Signal::KILL))?;
    let options = rustix::process::WaitIdOptions::EXITED;
    call("wait for", subject, || {
        rustix::process::waitid(rustix::process::WaitId::Pid(raw), options).map(drop)
    })
}

/// Names this thread for `ps`, `top` and debuggers; on the main thread that is the name of the process.
///
/// Longer names are cut after 15 bytes.
///
/// # Errors
///
/// [`INVALID`](crate::OsCode::INVALID) when the name holds a zero byte.
///
/// # Source
///
/// `prctl(2)`, `PR_SET_NAME`.
pub fn set_thread_name(name: &str) -> Result<()> {
    let failed = |code| fail("name a thread", name.into(), code);
    let name = std::ffi::CString::new(name).map_err(|_zero_byte| failed(Errno::INVAL))?;
    call("name a thread", String::new, || rustix::thread::set_name(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_of_this_process_is_stable() {
        let first = identity(id()).unwrap();
        assert_eq!(first.pid, std::process::id());
        assert!(first.start_ticks > 0);
        assert_eq!(identity(id()).unwrap(), first);
    }

    #[test]
    fn no_process_has_no_identity() {
        let error = identity(u32::MAX).unwrap_err();
        assert_eq!(error.code(), crate::OsCode::NO_PROCESS);
    }
}
