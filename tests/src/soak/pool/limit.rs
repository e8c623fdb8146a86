//! Limits of this process on what the system gives it.

#![expect(unsafe_code, reason = "limits are not to be had otherwise")]

use std::io;

/// What is limited.
#[derive(Debug, Clone, Copy)]
pub(super) enum Limited {
    /// Bytes of addresses.
    Memory,
    /// One more than the highest number of a descriptor.
    Descriptors,
}

/// Lets this process have no more than that from now on, or all that it could have; tells what it could have before.
pub(super) fn set(what: Limited, limit: Option<u64>) -> io::Result<u64> {
    let what = match what {
        Limited::Memory => libc::RLIMIT_AS,
        Limited::Descriptors => libc::RLIMIT_NOFILE,
    };
    let mut now = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a value of the type that the call fills, and that lives as long as the call.
    if unsafe { libc::getrlimit(what, &raw mut now) } < 0 {
        return Err(io::Error::last_os_error());
    }
    let before = now.rlim_cur;
    now.rlim_cur = limit.map_or(now.rlim_max, |limit| limit.min(now.rlim_max));
    // SAFETY: the pointer is to a value of the type that the call reads, and that lives as long as the call.
    match unsafe { libc::setrlimit(what, &raw const now) } {
        0 => Ok(before),
        _ => Err(io::Error::last_os_error()),
    }
}
