//! Copies this process.

#![expect(unsafe_code, reason = "fork is not safe in general")]

use rustix::io::Errno;

use super::fail;
use crate::Result;

/// Which of the two this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forked {
    /// The copy.
    Child,
    /// The process that called.
    Parent {
        /// The number of the copy, which is this process's child.
        child: u32,
    },
}

/// Copies this process; returns in both.
///
/// The copy has the calling thread only, and all descriptors. The C library's handlers (`pthread_atfork`) run.
///
/// # Safety
///
/// This process has no other thread that could hold a lock of the allocator, the standard library or the program at this
/// moment: nobody would ever release it in the copy.
///
/// # Errors
///
/// When the system has no room for another process.
///
/// # Source
///
/// `fork(2)`.
pub unsafe fn fork() -> Result<Forked> {
    // SAFETY: The caller answers for other threads.
    match unsafe { libc::fork() } {
        0 => Ok(Forked::Child),
        -1 => {
            let code = std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EAGAIN);
            Err(fail("fork", String::new(), Errno::from_raw_os_error(code)))
        }
        child => Ok(Forked::Parent { child: child.cast_unsigned() }),
    }
}

/// How many threads this process has.
///
/// # Errors
///
/// When `/proc` is not mounted.
///
/// # Source
///
/// `proc(5)`, `/proc/self/task`.
pub fn thread_count() -> Result<usize> {
    match std::fs::read_dir("/proc/self/task") {
        Ok(tasks) => Ok(tasks.count()),
        Err(error) => {
            let code = Errno::from_io_error(&error).unwrap_or(Errno::IO);
            Err(fail("count threads in", "/proc/self/task".into(), code))
        }
    }
}
