//! Memory that processes share, far larger than what is in it: [`SparseFile`].
//!
//! A file of regions of 64 GiB that is mapped in windows, each when it is first needed. Pages that nobody has written do not
//! exist, and can be given back.

#![expect(unsafe_code, reason = "maps memory; see SharedWords")]

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr;

use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{
    FallocateFlags, SealFlags, fallocate, fcntl_add_seals, fcntl_get_seals, ftruncate,
};
use rustix::io::Errno;

use super::fd::name;
use super::memory::{create, map_failed, size_of_file};
use super::{call, fail};
use crate::Result;
use crate::prim::Ordering::{AcqRel, Acquire, Release};
use crate::prim::{AtomicPtr, AtomicU64};

/// How long a region is: 2 to this.
pub const REGION_BITS: u32 = 36;

const WORD: u64 = size_of::<AtomicU64>() as u64;

/// A file in memory of regions of 64 GiB, zero where nobody has written.
///
/// Others may write it at any time; it is seen as words that are atomics. It cannot shrink or grow. What is not touched takes
/// addresses only, and those only as windows of it are used: the first window of a region has the length that its user gives, and each
/// further one ends at twice the end of the one in front of it.
///
/// Dropping it unmaps it; the memory goes when nobody has it mapped or has its descriptor.
#[derive(Debug)]
pub struct SparseFile {
    file: OwnedFd,
    /// The first window of each region is 2 to this long.
    first: Box<[u32]>,
    /// [`WINDOWS`] for each region, one after the other.
    windows: Box<[Window]>,
}

/// Windows of a region, at most.
const WINDOWS: usize = REGION_BITS as usize + 1;

#[derive(Debug)]
struct Window {
    /// INVARIANT: null, or where `mapping` begins.
    begin: AtomicPtr<AtomicU64>,
    /// INVARIANT: null, or a box that this owns; once it is a box it stays that.
    mapping: AtomicPtr<MmapRaw>,
}

impl SparseFile {
    /// Makes a file with a region for each number in `first`, whose first window is 2 to that long.
    ///
    /// # Errors
    ///
    /// When the system is out of memory or descriptors.
    ///
    /// # Source
    ///
    /// `memfd_create(2)`, `ftruncate(2)`, `fcntl(2)` on `F_ADD_SEALS`.
    pub fn create(first: &[u32]) -> Result<Self> {
        let file = create("procession-sparse")?;
        call("size", || name(file.as_fd()), || ftruncate(&file, total(first)))?;
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        call("seal", || name(file.as_fd()), || fcntl_add_seals(&file, seals))?;
        Ok(Self::of(file, first))
    }

    /// The file that another process made, with the same regions.
    ///
    /// # Errors
    ///
    /// [`NOT_PERMITTED`](crate::OsCode::NOT_PERMITTED) when it could be shrunk under our feet;
    /// [`INVALID`](crate::OsCode::INVALID) when it has another length.
    ///
    /// # Source
    ///
    /// `fcntl(2)` on `F_GET_SEALS`, `fstat(2)`.
    pub fn open(file: OwnedFd, first: &[u32]) -> Result<Self> {
        let seals = call("read the seals of", || name(file.as_fd()), || fcntl_get_seals(&file))?;
        if !seals.contains(SealFlags::SHRINK) {
            return Err(fail("map", name(file.as_fd()), Errno::PERM));
        }
        if size_of_file(file.as_fd())? != total(first) {
            return Err(fail("map", name(file.as_fd()), Errno::INVAL));
        }
        Ok(Self::of(file, first))
    }

    fn of(file: OwnedFd, first: &[u32]) -> Self {
        let window = |_| Window {
            begin: AtomicPtr::new(ptr::null_mut()),
            mapping: AtomicPtr::new(ptr::null_mut()),
        };
        let windows = (0..first.len() * WINDOWS).map(window).collect();
        Self { file, first: first.into(), windows }
    }

    /// The `len` words from the byte `at` of a region on, which lie in one window.
    ///
    /// # Errors
    ///
    /// When the system cannot map the window.
    ///
    /// # Panics
    ///
    /// When they do not lie in one window, or are not aligned.
    ///
    /// # Source
    ///
    /// `mmap(2)`.
    #[inline]
    #[track_caller]
    pub fn words(&self, region: usize, at: u64, len: usize) -> Result<&[AtomicU64]> {
        let first = self.first[region];
        let number = at.checked_ilog2().map_or(0, |bits| (bits + 1).saturating_sub(first));
        // ORDERING: Acquire: pairs with the store in `map`.
        let begin = self.windows[region * WINDOWS + number as usize].begin.load(Acquire);
        let begin = if begin.is_null() { self.map(region, number)? } else { begin };
        let start = at - start_of(first, number);
        let bytes = (len as u64).checked_mul(WORD);
        let end = bytes.and_then(|bytes| bytes.checked_add(start));
        assert!(end.is_some_and(|end| end <= len_of(first, number)), "{len} words at {at}");
        assert!(start.is_multiple_of(WORD), "words at {at}");
        let words = begin.wrapping_add(usize::try_from(start / WORD).unwrap_or(usize::MAX));
        // SAFETY: They lie inside the mapping, as was checked, aligned, and stay mapped as long as `self`; the file cannot shrink; in
        // every process they are used through atomics, or copies that are opaque to the compiler.
        Ok(unsafe { std::slice::from_raw_parts(words, len) })
    }

    #[cold]
    fn map(&self, region: usize, number: u32) -> Result<*mut AtomicU64> {
        let first = self.first[region];
        let offset = (region as u64) << REGION_BITS | start_of(first, number);
        let mapping = MmapOptions::new()
            .offset(offset)
            .len(usize::try_from(len_of(first, number)).unwrap_or(usize::MAX))
            .map_raw(&self.file)
            .map_err(|error| map_failed(self.file.as_fd(), &error))?;
        let ours = Box::into_raw(Box::new(mapping));
        let window = &self.windows[region * WINDOWS + number as usize];
        // ORDERING: AcqRel: whoever finds the box finds the mapping. A lock would stay locked in a fork.
        let mapping = match window.mapping.compare_exchange(ptr::null_mut(), ours, AcqRel, Acquire)
        {
            // SAFETY: The window owns it from now on, and as long as `self`.
            Ok(_) => unsafe { &*ours },
            Err(theirs) => {
                // SAFETY: It is from `into_raw` above, and nobody else has seen it.
                drop(unsafe { Box::from_raw(ours) });
                // SAFETY: By the window's invariant it is a box that stays as long as `self`.
                unsafe { &*theirs }
            }
        };
        #[expect(clippy::cast_ptr_alignment, reason = "a mapping starts on a page")]
        let begin = mapping.as_mut_ptr().cast::<AtomicU64>();
        // ORDERING: Release: whoever finds where it begins finds the mapping.
        window.begin.store(begin, Release);
        Ok(begin)
    }

    /// Gives the memory of the `len` bytes from `at` of a region on back to the system; they read zero from then on. For whole
    /// pages.
    ///
    /// # Errors
    ///
    /// When the range is empty, or not of this file.
    ///
    /// # Source
    ///
    /// `fallocate(2)`, `FALLOC_FL_PUNCH_HOLE`.
    pub fn punch(&self, region: usize, at: u64, len: u64) -> Result<()> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let offset = (region as u64) << REGION_BITS | at;
        let punch = || fallocate(&self.file, flags, offset, len);
        call("give back memory of", || name(self.file.as_fd()), punch)
    }

    /// How many bytes of memory the file takes.
    ///
    /// # Errors
    ///
    /// None in practice.
    ///
    /// # Source
    ///
    /// `fstat(2)`, `st_blocks`.
    pub fn resident(&self) -> Result<u64> {
        let status = call("look at", || name(self.file.as_fd()), || rustix::fs::fstat(&self.file))?;
        Ok(u64::try_from(status.st_blocks).unwrap_or_default() * 512)
    }
}

/// Where a window begins in its region.
fn start_of(first: u32, number: u32) -> u64 {
    if number == 0 { 0 } else { 1 << (first + number - 1) }
}

/// How long a window is.
fn len_of(first: u32, number: u32) -> u64 {
    if number == 0 { 1 << first } else { start_of(first, number) }
}

fn total(first: &[u32]) -> u64 {
    (first.len() as u64) << REGION_BITS
}

impl AsFd for SparseFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        let mapping = *self.mapping.get_mut();
        if !mapping.is_null() {
            // SAFETY: By the invariant it is a box that this owns, and nobody borrows it any more.
            drop(unsafe { Box::from_raw(mapping) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prim::Ordering::Relaxed;

    const FIRST: [u32; 2] = [20, 16];

    fn word(file: &SparseFile, region: usize, at: u64) -> &AtomicU64 {
        &file.words(region, at, 1).unwrap()[0]
    }

    #[test]
    fn words_are_where_they_were_written_in_every_window() {
        let here = SparseFile::create(&FIRST).unwrap();
        let copy = super::super::fd::duplicate(&here).unwrap();
        let there = SparseFile::open(copy, &FIRST).unwrap();
        let mut number = 1;
        for region in 0..2 {
            for at in [0, 8, (1 << 16) - 8, 1 << 16, (1 << 20) - 8, 1 << 20, 3 << 20, (1 << 36) - 8]
            {
                word(&here, region, at).store(number, Relaxed);
                number += 1;
            }
        }
        let mut number = 1;
        for region in 0..2 {
            for at in [0, 8, (1 << 16) - 8, 1 << 16, (1 << 20) - 8, 1 << 20, 3 << 20, (1 << 36) - 8]
            {
                assert_eq!(word(&there, region, at).load(Relaxed), number, "{region} {at}");
                number += 1;
            }
        }
    }

    #[test]
    fn what_is_given_back_is_zero_and_takes_no_memory() {
        let file = SparseFile::create(&FIRST).unwrap();
        assert_eq!(file.resident().unwrap(), 0);
        for word in file.words(1, 1 << 16, 8192).unwrap() {
            word.store(1, Relaxed);
        }
        assert_eq!(file.resident().unwrap(), 1 << 16);
        file.punch(1, 1 << 16, 1 << 16).unwrap();
        assert_eq!(file.resident().unwrap(), 0);
        assert_eq!(word(&file, 1, 1 << 16).load(Relaxed), 0);
    }

    #[test]
    fn other_files_are_refused() {
        let other = create("test").unwrap();
        let refused = SparseFile::open(other, &FIRST).unwrap_err();
        assert_eq!(refused.code(), crate::OsCode::NOT_PERMITTED);
        let longer = SparseFile::create(&[20]).unwrap();
        let copy = super::super::fd::duplicate(&longer).unwrap();
        assert_eq!(SparseFile::open(copy, &FIRST).unwrap_err().code(), crate::OsCode::INVALID);
    }

    #[test]
    #[should_panic(expected = "2 words at 1048568")]
    fn words_do_not_cross_the_end_of_a_window() {
        drop(SparseFile::create(&FIRST).unwrap().words(0, (1 << 20) - 8, 2));
    }
}
