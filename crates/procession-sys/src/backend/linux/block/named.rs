//! Blocks with a name: [`NamedBlock`].
//!
//! A name is that of a file in `/dev/shm`, which is what the C library's `shm_open` makes of it, and CPython of that.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, FallocateFlags, FileType, Mode, OFlags, fallocate, fstat, ftruncate, linkat, open,
};
use rustix::io::Errno;

use super::super::fd::above_streams;
use super::super::{call, fail};
use super::guard::Guard;
use super::{FileId, Mapping, SharedBytes, Writable, check_len, len_of};
use crate::Result;

/// Where the files are.
const FOLDER: &str = "/dev/shm";

/// The most bytes of a name: what a file may be called, less the slash that the standard wants before it.
pub const MOST_NAME: usize = 254;

/// Memory under a name, for whoever may open that: this user's processes, with its mode of 0600.
///
/// The name stays until somebody [unlinks](unlink) it; the memory until, besides, nobody has it mapped. Dropping a block
/// unmaps it, and leaves the name.
///
/// # What others can do
///
/// Who may open the file may cut it off. Touching what is gone does not kill this process: see [`is_torn`](Self::is_torn). For
/// that a handler of `SIGBUS` is set when a process first makes or opens such a block; what is not about blocks it leaves to the one
/// that was there. Another one that is set afterwards must do likewise.
#[derive(Debug)]
pub struct NamedBlock {
    // Dropped first.
    guard: Guard,
    mapping: Mapping,
    file: OwnedFd,
}

impl NamedBlock {
    /// Makes a block of `len` bytes, zero, under a name that is not taken.
    ///
    /// All of its memory is taken at once, and the name appears when all is ready: who is killed in the middle leaves nothing.
    ///
    /// # Errors
    ///
    /// [`EXISTS`](crate::OsCode::EXISTS) when the name is taken; [`INVALID`](crate::OsCode::INVALID) when it can be none, or `len`
    /// is zero; [`NO_SPACE`](crate::OsCode::NO_SPACE) when `/dev/shm` has not so much room, and
    /// [`NO_MEMORY`](crate::OsCode::NO_MEMORY) when the machine has not.
    ///
    /// # Source
    ///
    /// `shm_open(3)`; `open(2)`, `O_TMPFILE`; `ftruncate(2)`, `fallocate(2)`, `link(2)`, `mmap(2)`.
    pub fn create(name: &str, len: usize) -> Result<Self> {
        let path = path_of(name)?;
        let bytes = check_len(len)?;
        let subject = || path.clone();
        if rustix::fs::lstat(&path).is_ok() {
            // Told before memory is taken; the link below tells as well.
            return Err(fail("create", path, Errno::EXIST));
        }
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = above_streams(call("create", subject, || open(FOLDER, flags, mode))?)?;
        call("size", subject, || ftruncate(&file, bytes))?;
        let allocate = || fallocate(&file, FallocateFlags::empty(), 0, bytes);
        call("take the memory of", subject, allocate)?;
        let block = Self::of(file, len)?;
        let way = format!("/proc/self/fd/{}", block.file.as_raw_fd());
        let here = rustix::fs::CWD;
        let link = || linkat(here, &way, here, &path, AtFlags::SYMLINK_FOLLOW);
        call("create", subject, link)?;
        Ok(block)
    }

    /// Maps the block of that name, whoever made it, all of it.
    ///
    /// # Errors
    ///
    /// [`NOT_FOUND`](crate::OsCode::NOT_FOUND) when there is none; [`INVALID`](crate::OsCode::INVALID) when it can be none, is no
    /// block, or is empty (its maker may not be through yet); [`NOT_PERMITTED`](crate::OsCode::NOT_PERMITTED) or another code
    /// when this user may not write it.
    ///
    /// # Source
    ///
    /// `shm_open(3)`, `fstat(2)`, `mmap(2)`.
    pub fn attach(name: &str) -> Result<Self> {
        let path = path_of(name)?;
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = call("open", || path.clone(), || open(&path, flags, Mode::empty()))?;
        let file = above_streams(file)?;
        let status = call("look at", || path.clone(), || fstat(&file))?;
        if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
            return Err(fail("map", path, Errno::INVAL));
        }
        let len = len_of(file.as_fd())?;
        Self::of(file, len)
    }

    fn of(file: OwnedFd, len: usize) -> Result<Self> {
        let mapping = Mapping::of(file.as_fd(), len, Writable::Yes)?;
        let guard = Guard::watch(mapping.start().as_ptr().expose_provenance(), len)?;
        Ok(Self { guard, mapping, file })
    }

    /// How many bytes there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.mapping.len()
    }

    /// Whether there are none; never, as it happens.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes, which others may write at any time. Look at [`is_torn`](Self::is_torn) after using them.
    #[inline]
    pub fn bytes(&self) -> SharedBytes<'_> {
        self.mapping.bytes()
    }

    /// Whether somebody has cut off the file, and this process has touched what is gone, so that some of what it read is zero that
    /// was not, and some of what it wrote nobody sees. It stays so.
    #[inline]
    pub fn is_torn(&self) -> bool {
        self.guard.is_torn()
    }

    /// Which file it is.
    ///
    /// # Errors
    ///
    /// None in practice.
    ///
    /// # Source
    ///
    /// `fstat(2)`.
    pub fn id(&self) -> Result<FileId> {
        FileId::of(&self.file)
    }
}

impl AsFd for NamedBlock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Takes a name away. Who has the block mapped goes on.
///
/// # Errors
///
/// [`NOT_FOUND`](crate::OsCode::NOT_FOUND) when there is none; [`INVALID`](crate::OsCode::INVALID) when it can be none.
///
/// # Source
///
/// `shm_unlink(3)`.
pub fn unlink(name: &str) -> Result<()> {
    let path = path_of(name)?;
    call("unlink", || path.clone(), || rustix::fs::unlink(&path))
}

/// Which file has the name now.
///
/// # Errors
///
/// [`NOT_FOUND`](crate::OsCode::NOT_FOUND) when there is none; [`INVALID`](crate::OsCode::INVALID) when it can be none.
///
/// # Source
///
/// `lstat(2)`.
pub fn id_of_name(name: &str) -> Result<FileId> {
    let path = path_of(name)?;
    let status = call("look at", || path.clone(), || rustix::fs::lstat(&path))?;
    Ok(FileId { device: status.st_dev, inode: status.st_ino })
}

/// The names that begin with `prefix`, in no order.
///
/// # Errors
///
/// When there is no `/dev/shm`.
///
/// # Source
///
/// `readdir(3)`.
pub fn names(prefix: &str) -> Result<Vec<String>> {
    let failed = |error: &std::io::Error| {
        fail("list", FOLDER.to_owned(), Errno::from_io_error(error).unwrap_or(Errno::IO))
    };
    let entries = std::fs::read_dir(FOLDER).map_err(|error| failed(&error))?;
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        // What is gone since, or is no text, is none of ours.
        entry.ok()?.file_name().into_string().ok().filter(|name| name.starts_with(prefix))
    };
    Ok(entries.filter_map(name).collect())
}

/// The path of a name; one slash before it is the same name.
fn path_of(name: &str) -> Result<String> {
    let bare = name.strip_prefix('/').unwrap_or(name);
    let is_good =
        !matches!(bare, "" | "." | "..") && bare.len() <= MOST_NAME && !bare.contains(['/', '\0']);
    match is_good {
        true => Ok(format!("{FOLDER}/{bare}")),
        false => Err(fail("use the name", format!("{name:?}"), Errno::INVAL)),
    }
}

#[cfg(test)]
#[path = "named/tests.rs"]
mod tests;
