//! The memory of arguments and values: one sparse file that a pool shares with its workers.
//!
//! Arguments lie in blocks of powers of two of bytes, which the pool alone gives out and takes back: a worker that dies has nothing to give back. A
//! block that was used is used again, the last one first, so that its pages are warm; pages of free blocks beyond [`MOST_WARM`] go back to the
//! system, and nearly all when there was nothing to do for a moment.

use std::os::fd::OwnedFd;

use procession_core::{Error, ErrorKind, Result};
use procession_sys::prim::AtomicU64;
use procession_sys::sparse::{REGION_BITS, SparseFile};

use procession_sys::words;

/// The region of arguments.
const ARGUMENTS: usize = 0;
/// The region of outboxes.
pub(crate) const OUTBOXES: usize = 1;
/// How long the part of one outbox is: 2 to this.
pub(crate) const OUTBOX_BITS: u32 = 19;

/// How long the first window of each region is.
const WINDOWS: [u32; 2] = [21, 20];

/// The shortest block: 2 to this.
const LEAST: u32 = 8;

/// How many bytes of free blocks keep their pages while there is something to do; when there is not, [`LITTLE`].
const MOST_WARM: u64 = 32 << 20;

const LITTLE: u64 = 1 << 20;

/// A block of which pages can be given back.
const PAGES: u32 = 16;

pub(crate) fn create() -> Result<SparseFile> {
    Ok(SparseFile::create(&WINDOWS)?)
}

pub(crate) fn open(file: OwnedFd) -> Result<SparseFile> {
    Ok(SparseFile::open(file, &WINDOWS)?)
}

/// The words of `len` bytes of arguments.
#[inline]
fn row(file: &SparseFile, at: u64, len: u64) -> Result<&[AtomicU64]> {
    let words = usize::try_from(len.div_ceil(8)).map_err(|_too_long| full())?;
    Ok(file.words(ARGUMENTS, at, words)?)
}

/// Writes arguments into a block that was reserved for as many.
pub(crate) fn write(file: &SparseFile, block: Block, bytes: &[u8]) {
    if let Ok(words) = row(file, block.at, bytes.len() as u64) {
        // It is mapped since then.
        words::write(words, bytes);
    }
}

/// Appends `len` bytes of arguments to `out`.
pub(crate) fn read(file: &SparseFile, at: u64, len: usize, out: &mut Vec<u8>) -> Result<()> {
    words::append(row(file, at, len as u64)?, len, out);
    Ok(())
}

/// Which blocks are free.
#[derive(Debug)]
pub(crate) struct Blocks {
    /// Where nothing was given out so far.
    end: u64,
    /// By the binary logarithm of their length.
    free: Vec<Vec<u64>>,
    /// How many bytes of free blocks may have pages.
    warm: u64,
}

/// Some bytes of arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) at: u64,
    bits: u32,
}

impl Blocks {
    pub(crate) fn new() -> Self {
        Self { end: 0, free: (0..=REGION_BITS).map(|_| Vec::new()).collect(), warm: 0 }
    }

    /// A block for so many bytes of arguments.
    pub(crate) fn reserve(&mut self, file: &SparseFile, len: usize) -> Result<Block> {
        let len = len as u64;
        let bits = len.max(1).next_power_of_two().ilog2().max(LEAST);
        let block = self.give(bits)?;
        if let Err(error) = row(file, block.at, len) {
            self.take_back(file, block);
            return Err(error);
        }
        Ok(block)
    }

    fn give(&mut self, bits: u32) -> Result<Block> {
        let class = self.free.get_mut(bits as usize).ok_or_else(full)?;
        if let Some(at) = class.pop() {
            self.warm = self.warm.saturating_sub(1 << bits);
            return Ok(Block { at, bits });
        }
        if let Some(at) = self.split(bits) {
            return Ok(Block { at, bits });
        }
        let mut at = self.end.next_multiple_of(1 << bits);
        if bits > WINDOWS[ARGUMENTS] {
            // Not across the end of the first window; the others end at powers of two.
            at = at.max(1 << bits);
        }
        if at + (1 << bits) > 1 << REGION_BITS {
            return Err(full());
        }
        // What lies between is given out as smaller blocks, the first one first.
        let known = self.free[WINDOWS[ARGUMENTS] as usize].len();
        while self.end < at {
            let bits = self.end.trailing_zeros().min(WINDOWS[ARGUMENTS]);
            self.free[bits as usize].push(self.end);
            self.end += 1 << bits;
        }
        self.free[WINDOWS[ARGUMENTS] as usize][known..].reverse();
        self.end = at + (1 << bits);
        Ok(Block { at, bits })
    }

    /// Whether free blocks have more pages than they need when there is nothing to do.
    pub(crate) fn is_warm(&self) -> bool {
        self.warm > LITTLE
    }

    /// Gives pages of free blocks back.
    pub(crate) fn cool(&mut self, file: &SparseFile) {
        for (bits, blocks) in self.free.iter().enumerate().skip(PAGES as usize) {
            for at in blocks {
                // Then its pages stay.
                drop(file.punch(ARGUMENTS, *at, 1 << bits));
            }
        }
        self.warm = 0;
    }

    /// A part of a longer block, if one is free that is not too long.
    fn split(&mut self, bits: u32) -> Option<u64> {
        let longer =
            (bits + 1..=WINDOWS[ARGUMENTS]).find(|bits| !self.free[*bits as usize].is_empty())?;
        let at = self.free[longer as usize].pop()?;
        self.warm = self.warm.saturating_sub(1 << bits);
        for bits in bits..longer {
            self.free[bits as usize].push(at + (1 << bits));
        }
        Some(at)
    }

    pub(crate) fn take_back(&mut self, file: &SparseFile, block: Block) {
        let len = 1 << block.bits;
        if block.bits >= PAGES && self.warm + len > MOST_WARM {
            // Then its pages stay.
            drop(file.punch(ARGUMENTS, block.at, len));
        } else {
            self.warm += len;
        }
        self.free[block.bits as usize].push(block.at);
    }
}

fn full() -> Error {
    Error::new(ErrorKind::Encode, "the arguments under way take more than 64 GiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(blocks: &mut Blocks, file: &SparseFile, bytes: &[u8]) -> Block {
        let block = blocks.reserve(file, bytes.len()).unwrap();
        write(file, block, bytes);
        block
    }

    #[test]
    fn blocks_hold_what_was_put_and_do_not_overlap() {
        let file = create().unwrap();
        let mut blocks = Blocks::new();
        let mut kept = Vec::new();
        for round in 0..300usize {
            let bytes = vec![u8::try_from(round % 251).unwrap(); (round * 7919) % 90_000];
            let block = put(&mut blocks, &file, &bytes);
            kept.push((block, bytes));
            if round % 3 == 0 {
                let (block, _) = kept.swap_remove(round % kept.len());
                blocks.take_back(&file, block);
            }
        }
        for (block, bytes) in kept {
            let mut out = Vec::new();
            read(&file, block.at, bytes.len(), &mut out).unwrap();
            assert_eq!(out, bytes);
        }
    }

    #[test]
    fn free_memory_goes_back_but_for_what_is_kept_warm() {
        let file = create().unwrap();
        let mut blocks = Blocks::new();
        let all: Vec<_> = (0..40).map(|_| put(&mut blocks, &file, &vec![1; 1 << 20])).collect();
        assert!(file.resident().unwrap() >= 40 << 20);
        for block in all {
            blocks.take_back(&file, block);
        }
        assert!(file.resident().unwrap() <= MOST_WARM);
        assert!(blocks.is_warm());
        blocks.cool(&file);
        assert!(file.resident().unwrap() <= LITTLE);
        assert!(!blocks.is_warm());
    }
}
