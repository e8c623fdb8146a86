//! Blocks without a name: [`PrivateBlock`], [`Block`].

#![expect(unsafe_code, reason = "sees as plain bytes what no other process has")]

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    MemfdFlags, OFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fcntl_getfl, ftruncate,
};
use rustix::io::Errno;
use rustix::mm::{Advice, madvise};

use super::super::fd::{above_streams, name};
use super::super::memory::create;
use super::super::random;
use super::super::wipe::WipedWord;
use super::super::{call, fail};
use super::frozen::{FrozenBlock, NotFrozen};
use super::{FileId, Mapping, SharedBytes, Writable, check_len, len_of};
use crate::Result;
use crate::prim::AtomicU64;
use crate::prim::Ordering::Relaxed;

/// The bytes of a huge page: see [`create_huge`].
const HUGE_PAGE: usize = 2 << 20;

/// A random number of this process, zero in a fork of it that has not asked.
static ME: WipedWord = WipedWord::new();

/// Whether the memory is in pages of 2 MiB instead of 4 KiB: fewer faults, and fewer misses of the processor's translation cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HugePages {
    /// Ordinary pages.
    #[default]
    No,
    /// Huge pages where the system gives them to those who ask (`/sys/kernel/mm/transparent_hugepage/shmem_enabled`).
    Try,
    /// Huge pages from those that the administrator has set aside (`vm.nr_hugepages`), or an error. The block is as long as a
    /// whole number of them.
    Require,
}

/// Memory of this process alone, with a file, to be shared or frozen: plain bytes until then.
///
/// # Fork
///
/// The memory would be shared with a forked child, so the child does not get at it: it can drop it, and nothing else.
#[derive(Debug)]
pub struct PrivateBlock {
    block: Block,
    /// Whose it is, and where to find out who asks.
    owner: u64,
    me: &'static AtomicU64,
}

impl PrivateBlock {
    /// Makes a block of `len` bytes, zero.
    ///
    /// Memory is taken from the system as it is touched.
    ///
    /// # Errors
    ///
    /// [`INVALID`](crate::OsCode::INVALID) when `len` is zero; [`NO_MEMORY`](crate::OsCode::NO_MEMORY) when it is beyond the
    /// machine; others when this process is out of descriptors, or may not have the pages.
    ///
    /// # Source
    ///
    /// As [`Block::anonymous`].
    pub fn new(len: usize, huge: HugePages) -> Result<Self> {
        Self::of(Block::anonymous(len, huge)?)
    }

    /// A block that no other process has, and whose descriptor nobody else has or had.
    fn of(block: Block) -> Result<Self> {
        let me = ME.get()?;
        if me.load(Relaxed) == 0 {
            let mut token = [0; 8];
            random::fill(&mut token)?;
            // Another thread may have been faster; zero means nobody.
            let token = u64::from_ne_bytes(token) | 1;
            let _first = me.compare_exchange(0, token, Relaxed, Relaxed);
        }
        Ok(Self { block, owner: me.load(Relaxed), me })
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.block.len()
    }

    /// Whether there are none; never, as it happens.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes.
    ///
    /// # Panics
    ///
    /// In a fork of the process that made the block.
    #[inline]
    #[track_caller]
    pub fn bytes(&self) -> &[u8] {
        self.check_owner();
        // SAFETY: The bytes are mapped as long as `self` is borrowed. Nobody else has the file, and forks do not get here: so they
        // change through `bytes_mut` only.
        unsafe { std::slice::from_raw_parts(self.block.mapping.start().as_ptr(), self.len()) }
    }

    /// The bytes, for writing.
    ///
    /// # Panics
    ///
    /// In a fork of the process that made the block.
    #[inline]
    #[track_caller]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.check_owner();
        let start = self.block.mapping.start().as_ptr();
        // SAFETY: As for `bytes`; and `self` is borrowed for writing.
        unsafe { std::slice::from_raw_parts_mut(start, self.len()) }
    }

    #[inline]
    #[track_caller]
    fn check_owner(&self) {
        // ORDERING: Relaxed: the number stands for itself, and a process writes it once.
        assert!(
            self.me.load(Relaxed) == self.owner,
            "a fork does not have its parent's own memory"
        );
    }

    /// Shares the block from now on.
    pub fn share(self) -> Block {
        self.block
    }

    /// Sees to it that nobody can write the block, ever.
    ///
    /// # Errors
    ///
    /// As [`Block::freeze`]; in a fork, [`NOT_PERMITTED`](crate::OsCode::NOT_PERMITTED).
    ///
    /// # Source
    ///
    /// As [`Block::freeze`].
    pub fn freeze(self) -> std::result::Result<FrozenBlock, NotFrozen> {
        if self.me.load(Relaxed) != self.owner {
            let error = fail("freeze", name(self.block.as_fd()), Errno::PERM);
            return Err(NotFrozen { error, block: None });
        }
        self.block.freeze()
    }
}

/// Memory without a name that every process has which has its descriptor ([`AsFd`]). It cannot shrink or grow.
///
/// Dropping it unmaps it; the memory goes when nobody has it mapped or has its descriptor, however they end.
#[derive(Debug)]
pub struct Block {
    pub(super) file: OwnedFd,
    pub(super) mapping: Mapping,
}

impl Block {
    /// Makes a block of `len` bytes, zero.
    ///
    /// Memory is taken from the system as it is touched.
    ///
    /// # Errors
    ///
    /// [`INVALID`](crate::OsCode::INVALID) when `len` is zero; [`NO_MEMORY`](crate::OsCode::NO_MEMORY) when it is beyond the
    /// machine; others when this process is out of descriptors, or may not have the pages.
    ///
    /// # Source
    ///
    /// `memfd_create(2)`, `ftruncate(2)`, `fcntl(2)` on `F_ADD_SEALS`, `mmap(2)`, `madvise(2)` on `MADV_HUGEPAGE`.
    pub fn anonymous(len: usize, huge: HugePages) -> Result<Self> {
        check_len(len)?;
        let (file, len) = match huge {
            HugePages::Require => (create_huge()?, round_up(len)?),
            HugePages::No | HugePages::Try => (create("procession-block")?, len),
        };
        let text = || format!("a block to {len} bytes");
        call("size", text, || ftruncate(&file, len as u64))?;
        let seals = SealFlags::SHRINK | SealFlags::GROW;
        call("seal", || name(file.as_fd()), || fcntl_add_seals(&file, seals))?;
        let mapping = Mapping::of(file.as_fd(), len, Writable::Yes)?;
        // A shorter block would take the memory of a whole huge page.
        if huge == HugePages::Try && len >= HUGE_PAGE {
            let start = mapping.start().as_ptr().cast();
            // SAFETY: The range is that of a mapping, and what is advised changes no bytes. A system that knows no huge pages
            // refuses, which is as good.
            let _advised = unsafe { madvise(start, len, Advice::LinuxHugepage) };
        }
        Ok(Self { file, mapping })
    }

    /// Maps a block that another process made: for reading only, if it is sealed against writing or the descriptor is for
    /// reading.
    ///
    /// # Errors
    ///
    /// [`NOT_PERMITTED`](crate::OsCode::NOT_PERMITTED) when the file could be shrunk under our feet;
    /// [`INVALID`](crate::OsCode::INVALID) when it is empty, or no memory at all; other codes when the system cannot map it.
    ///
    /// # Source
    ///
    /// `fcntl(2)` on `F_GET_SEALS` and `F_GETFL`, `mmap(2)`.
    pub fn open(file: OwnedFd) -> Result<Self> {
        let fd = file.as_fd();
        let seals = call("read the seals of", || name(fd), || fcntl_get_seals(fd))?;
        if !seals.contains(SealFlags::SHRINK) {
            return Err(fail("map", name(fd), Errno::PERM));
        }
        let flags = call("look at", || name(fd), || fcntl_getfl(fd))?;
        let is_sealed = seals.intersects(SealFlags::WRITE | SealFlags::FUTURE_WRITE);
        let writable = match is_sealed || flags & OFlags::RWMODE != OFlags::RDWR {
            true => Writable::No,
            false => Writable::Yes,
        };
        let mapping = Mapping::of(fd, len_of(fd)?, writable)?;
        Ok(Self { file, mapping })
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

    /// The bytes, which others may write at any time.
    #[inline]
    pub fn bytes(&self) -> SharedBytes<'_> {
        self.mapping.bytes()
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

    /// Sees to it that whoever has mapped it for writing by now can go on, and nobody else ever can.
    ///
    /// # Errors
    ///
    /// [`NOT_PERMITTED`](crate::OsCode::NOT_PERMITTED) when that was done before; [`INVALID`](crate::OsCode::INVALID) before Linux
    /// 5.1.
    ///
    /// # Source
    ///
    /// `fcntl(2)`, `F_SEAL_FUTURE_WRITE`.
    pub fn seal_future_write(&self) -> Result<()> {
        let seals = SealFlags::FUTURE_WRITE | SealFlags::SEAL;
        call("seal", || name(self.as_fd()), || fcntl_add_seals(&self.file, seals))
    }

    /// Sees to it that nobody can write the block, ever.
    ///
    /// # Errors
    ///
    /// With the block as it was: [`BUSY`](crate::OsCode::BUSY) when another process has it mapped for writing,
    /// [`NOT_PERMITTED`](crate::OsCode::NOT_PERMITTED) when it cannot be sealed any more.
    ///
    /// # Source
    ///
    /// `fcntl(2)`, `F_SEAL_WRITE`.
    pub fn freeze(self) -> std::result::Result<FrozenBlock, NotFrozen> {
        FrozenBlock::of(self)
    }
}

impl AsFd for Block {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// A file of huge pages, of 2 MiB: the only size that all of the processors have of which this is built for one.
fn create_huge() -> Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC
        | MemfdFlags::ALLOW_SEALING
        | MemfdFlags::HUGETLB
        | MemfdFlags::HUGE_2MB;
    above_streams(call("make memory of huge pages", String::new, || {
        rustix::fs::memfd_create("procession-block", flags)
    })?)
}

fn round_up(len: usize) -> Result<usize> {
    let rounded = len.checked_next_multiple_of(HUGE_PAGE).unwrap_or(usize::MAX);
    check_len(rounded).map(|_| rounded)
}

#[cfg(test)]
mod tests {
    use super::super::super::fd::duplicate;
    use super::super::super::pidfd::Ended;
    use super::super::super::testing::Child;
    use super::*;
    use crate::OsCode;

    fn block(len: usize) -> Block {
        Block::anonymous(len, HugePages::No).unwrap()
    }

    /// The block as somebody else has it.
    fn other(block: &Block) -> Block {
        Block::open(duplicate(block).unwrap()).unwrap()
    }

    fn code<T: std::fmt::Debug>(refused: Result<T>) -> OsCode {
        refused.unwrap_err().code()
    }

    #[test]
    fn a_block_is_zero_and_is_seen_by_all_who_have_it() {
        let (here, size) = (block(10_000), 10_000);
        let there = other(&here);
        assert_eq!((here.len(), there.len(), here.is_empty()), (size, size, false));
        assert!(here.bytes().read_vec().iter().all(|byte| *byte == 0));
        here.bytes().write(9_998, &[1, 2]);
        there.bytes().store(0, [3]);
        assert_eq!((there.bytes().load(9_998), here.bytes().load(0)), ([1, 2], [3]));
        assert_eq!(here.id(), there.id());
        assert_ne!(here.id(), block(1).id());
    }

    #[test]
    fn lengths_of_zero_and_beyond_the_machine_are_refused() {
        for huge in [HugePages::No, HugePages::Try, HugePages::Require] {
            assert_eq!(code(Block::anonymous(0, huge)), OsCode::INVALID);
            assert_eq!(code(Block::anonymous(usize::MAX, huge)), OsCode::NO_MEMORY);
            assert_eq!(code(Block::anonymous(isize::MAX as usize + 1, huge)), OsCode::NO_MEMORY);
            // As much as a length can say, and more than an address can.
            Block::anonymous(isize::MAX as usize, huge).unwrap_err();
        }
    }

    #[test]
    fn a_block_cannot_be_cut_or_extended() {
        let block = block(4096);
        assert_eq!(ftruncate(&block.file, 0), Err(Errno::PERM));
        assert_eq!(ftruncate(&block.file, 8192), Err(Errno::PERM));
    }

    #[test]
    fn what_is_no_block_is_refused() {
        let unsealed = create("test").unwrap();
        ftruncate(&unsealed, 100).unwrap();
        assert_eq!(code(Block::open(unsealed)), OsCode::NOT_PERMITTED);
        let empty = create("test").unwrap();
        fcntl_add_seals(&empty, SealFlags::SHRINK).unwrap();
        assert_eq!(code(Block::open(empty)), OsCode::INVALID);
        let (pipe, _writer) = rustix::pipe::pipe().unwrap();
        assert_eq!(code(Block::open(pipe)), OsCode::INVALID);
        let directory = std::fs::File::open("/").unwrap();
        assert_eq!(code(Block::open(directory.into())), OsCode::INVALID);
        let immense = create("test").unwrap();
        ftruncate(&immense, i64::MAX as u64).unwrap();
        fcntl_add_seals(&immense, SealFlags::SHRINK).unwrap();
        Block::open(immense).unwrap_err();
    }

    #[test]
    fn who_maps_a_block_of_a_single_writer_reads_only() {
        let writer = block(4096);
        writer.seal_future_write().unwrap();
        let reader = other(&writer);
        assert!(!reader.bytes().is_writable() && writer.bytes().is_writable());
        writer.bytes().write(5, b"news");
        assert_eq!(&reader.bytes().load(5), b"news");
        assert_eq!(rustix::io::pwrite(&reader.file, b"x", 0), Err(Errno::PERM));
        assert_eq!(code(writer.seal_future_write()), OsCode::NOT_PERMITTED);
        assert_eq!(writer.freeze().unwrap_err().error.code(), OsCode::NOT_PERMITTED);
    }

    #[test]
    fn huge_pages_are_tried_or_required() {
        let block = Block::anonymous(3 << 20, HugePages::Try).unwrap();
        block.bytes().store((3 << 20) - 1, [1]);
        match Block::anonymous(100, HugePages::Require) {
            Ok(block) => assert_eq!(block.len(), 2 << 20),
            // None are set aside.
            Err(error) => assert_eq!(error.code(), OsCode::NO_MEMORY),
        }
    }

    #[test]
    fn a_private_block_is_plain_bytes_until_it_is_shared() {
        let mut private = PrivateBlock::new(5000, HugePages::No).unwrap();
        private.bytes_mut()[4999] = 7;
        assert_eq!((private.bytes()[4999], private.len(), private.is_empty()), (7, 5000, false));
        let shared = private.share();
        assert_eq!(other(&shared).bytes().load(4999), [7]);
    }

    #[test]
    fn a_fork_does_not_get_at_its_parents_private_block() {
        let private = PrivateBlock::new(10, HugePages::No).unwrap();
        let child = Child::run(|| {
            let refused = std::panic::catch_unwind(|| private.bytes().len()).is_err();
            let own = PrivateBlock::new(10, HugePages::No).unwrap();
            u8::from(!refused) + own.bytes()[0]
        });
        assert_eq!(child.ended(), Ended::Exited(0));
        assert_eq!(private.bytes(), [0; 10]);
        let mut slot = Some(private);
        let child = Child::run(|| {
            let refused = slot.take().unwrap().freeze().unwrap_err();
            u8::from(refused.error.code() != OsCode::NOT_PERMITTED)
        });
        assert_eq!(child.ended(), Ended::Exited(0));
    }
}
