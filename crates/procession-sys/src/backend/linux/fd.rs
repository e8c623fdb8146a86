//! Descriptors: copies and flags.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::fcntl_dupfd_cloexec;

use super::call;
use crate::Result;

/// The lowest number that a copy may get: 0, 1 and 2 are the standard streams, whatever is open now.
const FIRST_FREE: i32 = 3;

/// Makes a second descriptor for the same open file, close-on-exec, never one of the standard streams.
///
/// # Errors
///
/// When this process may open no more descriptors.
///
/// # Source
///
/// `fcntl(2)`, `F_DUPFD_CLOEXEC`.
pub fn duplicate(fd: impl AsFd) -> Result<OwnedFd> {
    let fd = fd.as_fd();
    call("duplicate", || name(fd), || fcntl_dupfd_cloexec(fd, FIRST_FREE))
}

/// The same descriptor, unless its number is that of a standard stream, which this process has closed: then a copy with another
/// number, lest what is printed goes there.
pub(super) fn above_streams(fd: OwnedFd) -> Result<OwnedFd> {
    match fd.as_raw_fd() < FIRST_FREE {
        true => duplicate(&fd),
        false => Ok(fd),
    }
}

/// Makes `target` (0, 1 or 2) a copy of `fd`; what `target` was before is closed.
///
/// # Errors
///
/// When the system refuses the copy.
///
/// # Source
///
/// `dup2(2)`.
pub fn replace_standard_stream(fd: impl AsFd, target: StandardStream) -> Result<()> {
    let fd = fd.as_fd();
    call(
        "redirect a standard stream to",
        || name(fd),
        || match target {
            StandardStream::Input => rustix::stdio::dup2_stdin(fd),
            StandardStream::Output => rustix::stdio::dup2_stdout(fd),
            StandardStream::Error => rustix::stdio::dup2_stderr(fd),
        },
    )
}

/// One of the three streams that every process has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StandardStream {
    /// Descriptor 0.
    Input,
    /// Descriptor 1.
    Output,
    /// Descriptor 2.
    Error,
}

/// The numbers of all descriptors that this process has open, in ascending order.
///
/// The descriptor that the listing itself needs is not among them.
///
/// # Errors
///
/// When `/proc` is not mounted.
///
/// # Source
///
/// `proc(5)`, `/proc/self/fd`.
pub fn open_descriptors() -> Result<Vec<i32>> {
    let path = "/proc/self/fd";
    let directory = call(
        "open",
        || path.into(),
        || {
            use rustix::fs::{Mode, OFlags};
            rustix::fs::open(
                path,
                OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
                Mode::empty(),
            )
        },
    )?;
    let own = directory.as_raw_fd();
    let entries = call("list", || path.into(), || rustix::fs::Dir::read_from(&directory))?;
    let mut numbers = Vec::new();
    for entry in entries {
        let entry = call(
            "list",
            || path.into(),
            || match &entry {
                Ok(entry) => Ok(entry.file_name().to_string_lossy().into_owned()),
                Err(code) => Err(*code),
            },
        )?;
        numbers.extend(entry.parse::<i32>().ok().filter(|number| *number != own));
    }
    // `read_from` opens the directory once more; that descriptor is closed again by now.
    numbers.retain(|number| is_open(*number));
    numbers.sort_unstable();
    Ok(numbers)
}

fn is_open(number: i32) -> bool {
    rustix::fs::readlink(format!("/proc/self/fd/{number}"), Vec::new()).is_ok()
}

pub(super) fn name(fd: BorrowedFd<'_>) -> String {
    format!("descriptor {}", fd.as_raw_fd())
}
