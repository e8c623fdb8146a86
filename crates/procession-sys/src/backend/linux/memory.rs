//! Anonymous memory that processes share: memfds, seals, mappings.

#![expect(unsafe_code, reason = "maps memory; see SharedWords and SealedMapping")]

use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use memmap2::{Mmap, MmapMut, MmapOptions, MmapRaw};
use rustix::fs::{
    FallocateFlags, MemfdFlags, SealFlags, fallocate, fcntl_add_seals, fcntl_get_seals, fstat,
    ftruncate,
};
use rustix::io::Errno;

use super::fd::{above_streams, name};
use super::{call, fail};
use crate::Result;
use crate::prim::AtomicU64;

/// Makes an anonymous file in memory from `content`, and seals it: nobody can write, shrink or grow it, ever.
///
/// The file is gone with its last descriptor and mapping. The content is written, not mapped, which takes half the
/// time (`docs/benchmarks.md`: a fresh page costs 5 µs on a virtual machine).
///
/// # Errors
///
/// When the system is out of memory or this process may open no more descriptors.
///
/// # Source
///
/// `memfd_create(2)`, `fcntl(2)` on `F_ADD_SEALS`.
pub fn sealed_from(content: &[u8]) -> Result<OwnedFd> {
    let file = create("procession-message")?;
    let mut rest = content;
    while !rest.is_empty() {
        let written = call("fill", || name(file.as_fd()), || rustix::io::write(&file, rest))?;
        rest = &rest[written..];
    }
    let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    call("seal", || name(file.as_fd()), || fcntl_add_seals(&file, seals))?;
    Ok(file)
}

pub(super) fn create(label: &str) -> Result<OwnedFd> {
    let file = call("make memory", String::new, || {
        rustix::fs::memfd_create(label, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
    })?;
    above_streams(file)
}

pub(super) fn size_of_file(file: BorrowedFd<'_>) -> Result<u64> {
    let status = call("measure", || name(file), || fstat(file))?;
    u64::try_from(status.st_size).map_err(|_negative| fail("measure", name(file), Errno::OVERFLOW))
}

/// A file made by [`sealed_from`], in this process's address space. Nobody can change it, so it is plain bytes.
#[derive(Debug)]
pub struct SealedMapping(Option<Mmap>);

impl SealedMapping {
    /// Maps `file`, which may come from a process that we do not trust.
    ///
    /// # Errors
    ///
    /// [`NOT_PERMITTED`](crate::OsCode::NOT_PERMITTED) when the file is not sealed against writing and shrinking; other
    /// codes when the system cannot map it.
    ///
    /// # Source
    ///
    /// `mmap(2)`, `fcntl(2)` on `F_GET_SEALS`.
    pub fn new(file: impl AsFd) -> Result<Self> {
        let file = file.as_fd();
        let needed = SealFlags::WRITE | SealFlags::SHRINK;
        let seals = call("read the seals of", || name(file), || fcntl_get_seals(file))?;
        if !seals.contains(needed) {
            return Err(fail("map", name(file), Errno::PERM));
        }
        if size_of_file(file)? == 0 {
            return Ok(Self(None));
        }
        // SAFETY: The file is sealed against writing and shrinking, and seals cannot be taken away, so the bytes stay
        // as they are and stay there for as long as the mapping lives.
        let mapping = unsafe { Mmap::map(&file) };
        mapping.map(|mapping| Self(Some(mapping))).map_err(|error| map_failed(file, &error))
    }

    /// The content of the file.
    pub fn bytes(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }
}

pub(super) fn map_failed(file: BorrowedFd<'_>, error: &std::io::Error) -> crate::OsError {
    let code = Errno::from_io_error(error).unwrap_or(Errno::NOMEM);
    fail("map", name(file), code)
}

/// Zeroed memory of a fixed size that processes share, word by word.
///
/// Other processes may write it at any time, so it is never seen through a plain reference: its words are atomics.
/// The descriptor ([`AsFd`]) is sent to whoever shall share it.
#[derive(Debug)]
pub struct SharedWords {
    file: OwnedFd,
    mapping: MmapRaw,
    words: usize,
}

impl SharedWords {
    const WORD: usize = size_of::<AtomicU64>();

    /// Makes `words` zeroed words; their number can change no more.
    ///
    /// # Errors
    ///
    /// When the system is out of memory or descriptors, or `words` is zero.
    ///
    /// # Source
    ///
    /// `memfd_create(2)`, `ftruncate(2)`, `fcntl(2)` on `F_ADD_SEALS`, `mmap(2)`.
    pub fn create(words: usize) -> Result<Self> {
        let file = create("procession-words")?;
        let bytes = u64::try_from(words.saturating_mul(Self::WORD)).unwrap_or(u64::MAX);
        call("size", || name(file.as_fd()), || ftruncate(&file, bytes))?;
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        call("seal", || name(file.as_fd()), || fcntl_add_seals(&file, seals))?;
        Self::open(file)
    }

    /// Maps words that another process made.
    ///
    /// # Errors
    ///
    /// [`NOT_PERMITTED`](crate::OsCode::NOT_PERMITTED) when the file could be shrunk under our feet;
    /// [`INVALID`](crate::OsCode::INVALID) when it is empty; other codes when the system cannot map it.
    ///
    /// # Source
    ///
    /// `mmap(2)`, `fcntl(2)` on `F_GET_SEALS`.
    pub fn open(file: OwnedFd) -> Result<Self> {
        let seals = call("read the seals of", || name(file.as_fd()), || fcntl_get_seals(&file))?;
        if !seals.contains(SealFlags::SHRINK) {
            return Err(fail("map", name(file.as_fd()), Errno::PERM));
        }
        let bytes = size_of_file(file.as_fd())?;
        let words = usize::try_from(bytes).unwrap_or(usize::MAX) / Self::WORD;
        if words == 0 {
            return Err(fail("map", name(file.as_fd()), Errno::INVAL));
        }
        let mapping = MmapOptions::new()
            .len(words * Self::WORD)
            .map_raw(&file)
            .map_err(|error| map_failed(file.as_fd(), &error))?;
        Ok(Self { file, mapping, words })
    }

    /// How many words there are.
    pub fn len(&self) -> usize {
        self.words
    }

    /// Whether there are none; never, as it happens.
    pub fn is_empty(&self) -> bool {
        self.words == 0
    }

    /// The word at `index`.
    ///
    /// # Panics
    ///
    /// When there is no such word.
    #[inline(always)]
    #[track_caller]
    pub fn word(&self, index: usize) -> &AtomicU64 {
        assert!(index < self.words, "word {index} of {}", self.words);
        #[expect(clippy::cast_ptr_alignment, reason = "a mapping starts on a page")]
        let words = self.mapping.as_mut_ptr().cast::<u64>();
        debug_assert!(words.is_aligned(), "a mapping starts on a page");
        // SAFETY: `index` is below the number of words that fit into the mapping, so the word lies inside it.
        let address = unsafe { words.add(index) };
        // SAFETY: 1. A page-aligned mapping plus a multiple of 8 is aligned. 2. The memory stays mapped while `self`
        // lives, and the file cannot shrink (sealed). 3. Everybody, in every process, uses it through atomics only.
        unsafe { AtomicU64::from_ptr(address) }
    }
}

impl SharedWords {
    /// The `len` words from `start` on.
    ///
    /// # Panics
    ///
    /// When there are no such words.
    #[inline(always)]
    #[track_caller]
    pub fn words(&self, start: usize, len: usize) -> &[AtomicU64] {
        let end = start.checked_add(len);
        assert!(end.is_some_and(|end| end <= self.words), "{len} words at {start}");
        #[expect(clippy::cast_ptr_alignment, reason = "a mapping starts on a page")]
        let words = self.mapping.as_mut_ptr().cast::<AtomicU64>();
        // SAFETY: `start` is at most the number of words that fit into the mapping.
        let first = unsafe { words.add(start) };
        // SAFETY: As for `word`, of which these are `len` in a row, all inside the mapping.
        unsafe { std::slice::from_raw_parts(first, len) }
    }

    /// Gives the memory of the `len` words from `start` on back to the system; they read zero from then on. For whole pages:
    /// of a page that the words do not fill, only they are zeroed.
    ///
    /// # Errors
    ///
    /// When the range is empty, or not of these words.
    ///
    /// # Source
    ///
    /// `fallocate(2)`, `FALLOC_FL_PUNCH_HOLE`.
    pub fn discard(&self, start: usize, len: usize) -> Result<()> {
        let bytes =
            |words: usize| u64::try_from(words.saturating_mul(Self::WORD)).unwrap_or(u64::MAX);
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let discard = || fallocate(&self.file, flags, bytes(start), bytes(len));
        call("give back memory of", || name(self.file.as_fd()), discard)
    }
}

impl AsFd for SharedWords {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Gives memory that the allocator holds and nobody uses back to the system, where the allocator can do that.
///
/// # Source
///
/// `malloc_trim(3)` of the GNU C library.
pub fn give_back_free() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: It may be called at any time.
        let _was_any = unsafe { libc::malloc_trim(0) };
    }
}

/// Zeroed memory of this process alone, straight from the system: what is never touched costs nothing.
///
/// The allocator gives large zeroed memory untouched as well, but only until it has seen as large a block freed; from then on,
/// and so in every process forked from such a one, it clears what it gives.
#[derive(Debug)]
pub struct Scratch(MmapMut);

impl Scratch {
    /// Maps `len` bytes.
    ///
    /// # Errors
    ///
    /// When the system is out of memory, or `len` is zero.
    ///
    /// # Source
    ///
    /// `mmap(2)`, `MAP_PRIVATE | MAP_ANONYMOUS`.
    pub fn new(len: usize) -> Result<Self> {
        MmapMut::map_anon(len).map(Self).map_err(|error| {
            let code = Errno::from_io_error(&error).unwrap_or(Errno::NOMEM);
            fail("map", format!("{len} bytes of memory"), code)
        })
    }
}

impl Deref for Scratch {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prim::Ordering::Relaxed;

    #[test]
    fn sealed_content_comes_back_and_cannot_be_written() {
        let file = sealed_from(b"content").unwrap();
        assert_eq!(SealedMapping::new(&file).unwrap().bytes(), b"content");
        assert_eq!(rustix::io::pwrite(&file, b"x", 0), Err(Errno::PERM));
    }

    #[test]
    fn empty_content_is_fine() {
        let file = sealed_from(b"").unwrap();
        assert_eq!(SealedMapping::new(&file).unwrap().bytes(), b"");
    }

    #[test]
    fn unsealed_memory_is_refused() {
        let file = create("test").unwrap();
        rustix::io::write(&file, b"content").unwrap();
        let refused = SealedMapping::new(&file).unwrap_err();
        assert_eq!(refused.code(), crate::OsCode::NOT_PERMITTED);
        assert_eq!(SharedWords::open(file).unwrap_err().code(), crate::OsCode::NOT_PERMITTED);
    }

    #[test]
    fn two_mappings_share_their_words() {
        let here = SharedWords::create(3).unwrap();
        let there = SharedWords::open(super::super::fd::duplicate(&here).unwrap()).unwrap();
        assert_eq!(there.len(), 3);
        here.word(2).store(7, Relaxed);
        assert_eq!(there.word(2).load(Relaxed), 7);
        assert_eq!(there.word(0).load(Relaxed), 0);
        assert_eq!(there.words(1, 2)[1].load(Relaxed), 7);
        here.discard(0, 3).unwrap();
        assert_eq!(there.word(2).load(Relaxed), 0);
    }

    #[test]
    #[should_panic(expected = "2 words at 2")]
    fn words_beyond_the_end_are_not_there() {
        SharedWords::create(3).unwrap().words(2, 2);
    }
}
