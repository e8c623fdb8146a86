//! Blocks of memory that processes share.
//!
//! * [`SharedBytes`]: a view of bytes that others may write at any time. It copies in and out, and has words as atomics;
//!   nobody ever gets a plain reference to such bytes.
//! * [`PrivateBlock`]: memory of this process alone that becomes one of the next two: plain bytes until then.
//! * [`Block`]: memory without a name, for whoever has its descriptor; it cannot shrink.
//! * [`FrozenBlock`]: the same when nobody can write it any more: plain bytes.
//! * [`NamedBlock`]: memory under a name in `/dev/shm`, as CPython has it. Whoever may open it may cut it off; who reads what
//!   is not there then gets zeros and is told ([`NamedBlock::is_torn`]), instead of being killed by the system.

mod anonymous;
mod bytes;
mod copy;
mod frozen;
mod guard;
mod named;

pub use anonymous::{Block, HugePages, PrivateBlock};
pub use bytes::{SharedBytes, Writable};
pub use frozen::{FrozenBlock, NotFrozen};
pub use named::{MOST_NAME, NamedBlock, id_of_name, names, unlink};

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::ptr::NonNull;

use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::fstat;
use rustix::io::Errno;

use super::fd::name;
use super::memory::{map_failed, size_of_file};
use super::{call, cgroup, fail};
use crate::Result;

/// Which file a block is: as long as anybody has it, no other has the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId {
    /// Of the file system.
    pub device: u64,
    /// Of the file in it.
    pub inode: u64,
}

impl FileId {
    /// That of `file`.
    ///
    /// # Errors
    ///
    /// None in practice.
    ///
    /// # Source
    ///
    /// `fstat(2)`.
    pub fn of(file: impl AsFd) -> Result<Self> {
        let file = file.as_fd();
        let status = call("look at", || name(file), || fstat(file))?;
        Ok(Self { device: status.st_dev, inode: status.st_ino })
    }
}

/// How many bytes of memory this process may have at most: what the machine has, or what its control groups grant.
///
/// # Source
///
/// `sysinfo(2)`; the kernel's `admin-guide/cgroup-v2.rst`, `memory.max`.
pub fn memory_limit() -> u64 {
    let about = rustix::system::sysinfo();
    let machine = (about.totalram as u64).saturating_mul(u64::from(about.mem_unit));
    cgroup::memory(Path::new("/")).map_or(machine, |granted| granted.min(machine))
}

/// How many bytes a page of memory has.
///
/// # Source
///
/// `getpagesize(2)`.
pub fn page_size() -> usize {
    rustix::param::page_size()
}

/// A mapping of a whole file that is shared.
#[derive(Debug)]
struct Mapping {
    raw: MmapRaw,
    writable: Writable,
}

impl Mapping {
    /// Maps the `len` bytes of a file.
    fn of(file: BorrowedFd<'_>, len: usize, writable: Writable) -> Result<Self> {
        let mut options = MmapOptions::new();
        options.len(len);
        let raw = match writable {
            Writable::Yes => options.map_raw(&file),
            Writable::No => options.map_raw_read_only(&file),
        };
        raw.map(|raw| Self { raw, writable }).map_err(|error| map_failed(file, &error))
    }

    fn start(&self) -> NonNull<u8> {
        // A mapping is nowhere near null.
        NonNull::new(self.raw.as_mut_ptr()).unwrap_or(NonNull::dangling())
    }

    fn len(&self) -> usize {
        self.raw.len()
    }

    #[expect(unsafe_code, reason = "the mapping is there as long as this")]
    fn bytes(&self) -> SharedBytes<'_> {
        // SAFETY: The mapping has these bytes, for writing if so, until it is dropped; nobody in this process reaches them but
        // through such views, as the types that have a mapping see to.
        unsafe { SharedBytes::new(self.start(), self.len(), self.writable) }
    }
}

/// The length of a file as that of memory; an error when it is empty or does not fit.
fn len_of(file: BorrowedFd<'_>) -> Result<usize> {
    let len = usize::try_from(size_of_file(file)?).unwrap_or(usize::MAX);
    match len {
        0 => Err(fail("map", name(file), Errno::INVAL)),
        len if isize::try_from(len).is_err() => Err(fail("map", name(file), Errno::NOMEM)),
        len => Ok(len),
    }
}

/// Whether a block may be `len` bytes long.
fn check_len(len: usize) -> Result<u64> {
    let text = || format!("a block of {len} bytes");
    match (len, isize::try_from(len)) {
        (0, _) => Err(fail("make", text(), Errno::INVAL)),
        (_, Err(_too_large)) => Err(fail("make", text(), Errno::NOMEM)),
        (len, Ok(_)) => Ok(len as u64),
    }
}
