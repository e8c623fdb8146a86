//! What a process inherits beside its program, and another one can be made to have.

mod processors;
mod resource;

pub use processors::{affinity, set_affinity};
pub use resource::{Limit, Resource, limit, set_limit};

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::fd::above_streams;
use super::wipe::PerProcess;
use super::{call, fail};
use crate::Result;

/// What a process inherits beside its program, its descriptors and its environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surroundings {
    /// The working directory's path.
    pub directory: PathBuf,
    /// The permissions that new files do not get.
    pub umask: u32,
    /// The priority, from -20 (the most) to 19.
    pub nice: i32,
    /// The limits on resources, in the order of [`Resource::ALL`].
    pub limits: Vec<Limit>,
    /// The processors that the calling thread may use.
    pub processors: Vec<u16>,
}

impl Surroundings {
    /// What this process, and the calling thread of it, have now.
    ///
    /// # Errors
    ///
    /// When the working directory was removed, or `/proc` is not mounted.
    ///
    /// # Source
    ///
    /// `getcwd(2)`, `proc(5)` (`/proc/self/status`: there is no other way to read the umask without changing it),
    /// `getpriority(2)`, `getrlimit(2)`, `sched_getaffinity(2)`.
    pub fn of_this_process() -> Result<Self> {
        let none = String::new;
        let directory =
            call("find the working directory", none, || rustix::process::getcwd(Vec::new()))?;
        let directory = std::ffi::OsString::from(
            <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(directory.as_bytes()),
        );
        let nice = call("read the priority", none, || rustix::process::getpriority_process(None))?;
        Ok(Self {
            directory: directory.into(),
            umask: umask()?,
            nice,
            limits: Resource::ALL.map(limit).to_vec(),
            processors: affinity()?,
        })
    }

    /// Makes this process, and the calling thread of it, have what differs between `self` and `present`. The working
    /// directory is entered by [`enter_directory`].
    ///
    /// # Errors
    ///
    /// When the system refuses: a limit above the present maximum, a priority that only the superuser may have.
    ///
    /// # Source
    ///
    /// `umask(2)`, `setpriority(2)`, `setrlimit(2)`, `sched_setaffinity(2)`.
    pub fn apply_over(&self, present: &Self) -> Result<()> {
        if self.umask != present.umask {
            rustix::process::umask(Mode::from_bits_truncate(self.umask));
        }
        if self.nice != present.nice {
            set_nice(self.nice)?;
        }
        if self.processors != present.processors {
            set_affinity(&self.processors)?;
        }
        let limits = Resource::ALL.into_iter().zip(self.limits.iter().zip(&present.limits));
        for (resource, (wanted, present)) in limits {
            if wanted != present {
                set_limit(resource, *wanted)?;
            }
        }
        Ok(())
    }
}

/// Gives the calling thread the priority `nice`, from -20 (the most) to 19; what lies beyond is cut.
///
/// Threads that it starts afterwards inherit it; in a process with one thread it is the priority of the process.
///
/// # Errors
///
/// [`NOT_PERMITTED`](crate::OsCode::NOT_PERMITTED) or `EACCES` when only the superuser may have it.
///
/// # Source
///
/// `setpriority(2)`; that it is about one thread: "C library/kernel differences".
pub fn set_nice(nice: i32) -> Result<()> {
    call("change the priority", String::new, || rustix::process::setpriority_process(None, nice))
}

/// Where this process reads about itself; kept open, because opening costs as much as reading.
static STATUS: PerProcess<Option<OwnedFd>> = PerProcess::new();

/// Closes what this process keeps open to read its surroundings, until it does so again; lest forks inherit it.
///
/// # Source
///
/// `close(2)`.
pub fn let_go() {
    // Without the memory for the lock nothing is open.
    if let Ok(mut status) = STATUS.lock() {
        *status = None;
    }
}

fn umask() -> Result<u32> {
    let path = "/proc/self/status";
    let mut status = STATUS.lock()?;
    let status = match &mut *status {
        Some(status) => status,
        none => {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            let open = || rustix::fs::open(path, flags, Mode::empty());
            none.insert(above_streams(call("open", || path.into(), open)?)?)
        }
    };
    // The second line, behind the name of the program.
    let mut start = [0; 256];
    let len = call("read", || path.into(), || rustix::io::pread(&*status, &mut start, 0))?;
    let text = String::from_utf8_lossy(&start[..len]);
    let value = text.lines().find_map(|line| line.strip_prefix("Umask:"));
    let value = value.and_then(|value| u32::from_str_radix(value.trim(), 8).ok());
    value.ok_or_else(|| fail("read", path.into(), Errno::INVAL))
}

/// The working directory, as a descriptor that another process can [enter](enter_directory).
///
/// # Errors
///
/// When this process may open no more descriptors.
///
/// # Source
///
/// `open(2)`, `O_PATH`.
pub fn working_directory() -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    call("open", || "the working directory".into(), || rustix::fs::open(".", flags, Mode::empty()))
}

/// Makes `directory` the working directory.
///
/// # Errors
///
/// When this process may not enter it.
///
/// # Source
///
/// `fchdir(2)`.
pub fn enter_directory(directory: impl AsFd) -> Result<()> {
    let directory = directory.as_fd();
    call("enter", || super::fd::name(directory), || rustix::process::fchdir(directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_can_be_applied() {
        let present = Surroundings::of_this_process().unwrap();
        assert!(present.directory.is_absolute() && !present.processors.is_empty());
        assert_eq!(present.limits.len(), Resource::ALL.len());
        let mut other = present.clone();
        other.umask ^= 0o007;
        other.apply_over(&present).unwrap();
        assert_eq!(Surroundings::of_this_process().unwrap(), other);
        present.apply_over(&other).unwrap();
        assert_eq!(Surroundings::of_this_process().unwrap(), present);
    }

    use super::super::testing::alone;

    #[test]
    fn the_priority_can_be_lowered() {
        alone(|| {
            let nice = || rustix::process::getpriority_process(None).unwrap();
            let lower = (nice() + 1).min(19);
            set_nice(lower).unwrap();
            assert_eq!(nice(), lower);
            set_nice(99).unwrap();
            assert_eq!(nice(), 19);
        });
    }
}
