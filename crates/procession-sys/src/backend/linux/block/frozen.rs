//! [`FrozenBlock`]: bytes that nobody can write.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use memmap2::Mmap;
use rustix::fs::{SealFlags, fcntl_add_seals, fcntl_get_seals};
use rustix::io::Errno;

use super::super::fd::name;
use super::super::memory::map_failed;
use super::super::{call, fail};
use super::{Block, FileId, Mapping, Writable, len_of};
use crate::{OsError, Result};

/// Memory without a name that nobody can write, in whatever process; so it is plain bytes.
#[derive(Debug)]
pub struct FrozenBlock {
    file: OwnedFd,
    mapping: Mmap,
}

/// Why a block was not frozen, and the block.
pub struct NotFrozen {
    /// What the system said.
    pub error: OsError,
    /// The block as it was; none if it could not be mapped again.
    pub block: Option<Block>,
}

impl FrozenBlock {
    pub(super) fn of(block: Block) -> std::result::Result<Self, NotFrozen> {
        let Block { file, mapping } = block;
        let (len, writable) = (mapping.len(), mapping.writable);
        // What is mapped for writing cannot be sealed.
        drop(mapping);
        let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        let sealed = call("freeze", || name(file.as_fd()), || fcntl_add_seals(&file, seals));
        match sealed {
            Ok(()) => Self::open(file).map_err(|error| NotFrozen { error, block: None }),
            Err(error) => Err(Self::give_back(error, file, len, writable)),
        }
    }

    fn give_back(error: OsError, file: OwnedFd, len: usize, writable: Writable) -> NotFrozen {
        let mapped = Mapping::of(file.as_fd(), len, writable);
        let mapped = mapped.or_else(|_sealed| Mapping::of(file.as_fd(), len, Writable::No));
        let block = mapped.ok().map(|mapping| Block { file, mapping });
        NotFrozen { error, block }
    }

    /// Maps what another process has frozen.
    ///
    /// # Errors
    ///
    /// [`NOT_PERMITTED`](crate::OsCode::NOT_PERMITTED) when the file is not sealed against writing and shrinking;
    /// [`INVALID`](crate::OsCode::INVALID) when it is empty, or no memory at all; other codes when the system cannot map it.
    ///
    /// # Source
    ///
    /// `fcntl(2)` on `F_GET_SEALS`, `mmap(2)`.
    #[expect(unsafe_code, reason = "maps what cannot change")]
    pub fn open(file: OwnedFd) -> Result<Self> {
        let fd = file.as_fd();
        let needed = SealFlags::WRITE | SealFlags::SHRINK;
        let seals = call("read the seals of", || name(fd), || fcntl_get_seals(fd))?;
        if !seals.contains(needed) {
            return Err(fail("map", name(fd), Errno::PERM));
        }
        len_of(fd)?;
        // SAFETY: The file is sealed against writing and shrinking, and seals cannot be taken away, so the bytes stay
        // as they are and stay there for as long as the mapping lives.
        let mapping = unsafe { Mmap::map(&fd) }.map_err(|error| map_failed(fd, &error))?;
        Ok(Self { file, mapping })
    }

    /// The bytes.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.mapping
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

impl AsFd for FrozenBlock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl fmt::Debug for NotFrozen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::fd::duplicate;
    use super::super::{HugePages, PrivateBlock};
    use super::*;
    use crate::OsCode;

    fn block(content: &[u8]) -> Block {
        let block = Block::anonymous(content.len(), HugePages::No).unwrap();
        block.bytes().write(0, content);
        block
    }

    #[test]
    fn what_is_frozen_keeps_its_bytes_and_cannot_be_written() {
        let frozen = block(b"content").freeze().unwrap();
        assert_eq!(frozen.bytes(), b"content");
        assert_eq!(rustix::io::pwrite(&frozen, b"x", 0), Err(Errno::PERM));
        let copy = duplicate(&frozen).unwrap();
        assert!(!Block::open(copy).unwrap().bytes().is_writable());
        let there = FrozenBlock::open(duplicate(&frozen).unwrap()).unwrap();
        assert_eq!((there.bytes(), there.id()), (frozen.bytes(), frozen.id()));
        let mut private = PrivateBlock::new(3, HugePages::No).unwrap();
        private.bytes_mut().copy_from_slice(b"own");
        assert_eq!(private.freeze().unwrap().bytes(), b"own");
    }

    #[test]
    fn what_somebody_else_may_write_is_given_back() {
        let here = block(b"content");
        let there = Block::open(duplicate(&here).unwrap()).unwrap();
        let refused = here.freeze().unwrap_err();
        assert_eq!(refused.error.code(), OsCode::BUSY);
        let here = refused.block.unwrap();
        there.bytes().write(0, b"C");
        assert_eq!(here.bytes().read_vec(), b"Content");
        here.bytes().write(6, b"T");
        drop(there);
        assert_eq!(here.freeze().unwrap().bytes(), b"ContenT");
    }

    #[test]
    fn what_is_not_frozen_is_refused() {
        let here = block(b"content");
        let refused = FrozenBlock::open(duplicate(&here).unwrap()).unwrap_err();
        assert_eq!(refused.code(), OsCode::NOT_PERMITTED);
        here.seal_future_write().unwrap();
        let refused = FrozenBlock::open(duplicate(&here).unwrap()).unwrap_err();
        assert_eq!(refused.code(), OsCode::NOT_PERMITTED, "its writer goes on");
        let (pipe, _writer) = rustix::pipe::pipe().unwrap();
        assert_eq!(FrozenBlock::open(pipe).unwrap_err().code(), OsCode::INVALID);
    }
}
