//! Which places for chunks, and which extents, are free: a bit each, and one that says whether it has memory.
//!
//! All this follows from the directory and the records, and is [made anew](Books::count_anew) after a death.

use procession_core::Result;
use procession_sys::prim::Ordering::Relaxed;

use super::{Books, Record};
use crate::memory::{CHUNK_BYTES, CHUNKS, CLASSES, Extent, RESIDENT_AT, USED_AT, place_in};
use procession_sys::prim::Ordering::Acquire;

/// So much free memory stays with the queue at most: a fresh page costs some 5 µs on a virtual machine (`docs/benchmarks.md`), and 32
/// MiB are little beside what needs extents at all.
const KEPT: u64 = 32 << 20;

/// How much stays now: what was taken last, less for each that comes back. So a queue that is drained gives its memory back, and one
/// that is in use keeps it.
const BUDGET: u64 = 28;

/// Bytes of free memory that stayed; for each kind, in front of which word of bits there is none free, and which was used last.
const IDLE: u64 = 22;
const HINTS: u64 = 32;
const HIGH: u64 = 56;

/// The kinds: places for chunks, then the classes.
pub(super) const SLOTS: u64 = 0;

pub(super) fn of_class(class: u8) -> u64 {
    u64::from(class) + 1
}

fn class_of(kind: u64) -> Option<u8> {
    u8::try_from(kind.checked_sub(1)?).ok()
}

fn size(kind: u64) -> u64 {
    class_of(kind).map_or(CHUNK_BYTES, Extent::size)
}

fn count(kind: u64) -> u64 {
    class_of(kind).map_or(CHUNKS, |class| u64::from(Extent::count(class)))
}

fn row(base: u64, kind: u64, word: u64) -> u64 {
    base + kind * (CHUNKS / 8) + word * 8
}

impl Books<'_> {
    fn bits(&self, base: u64, kind: u64, word: u64) -> Result<u64> {
        Ok(self.memory.rows(row(base, kind, word), 1)?[0].load(Relaxed))
    }

    fn set_bits(&self, base: u64, kind: u64, word: u64, bits: u64) -> Result<()> {
        self.memory.rows(row(base, kind, word), 1)?[0].store(bits, Relaxed);
        Ok(())
    }

    /// Takes the lowest that is free.
    pub(super) fn take_bit(&self, kind: u64) -> Result<Option<u32>> {
        let words = count(kind).div_ceil(64);
        let mut word = self.get(HINTS + kind)?;
        while word < words && self.bits(USED_AT, kind, word)? == u64::MAX {
            word += 1;
        }
        self.set(HINTS + kind, word.min(words - 1))?;
        if word == words {
            return Ok(None);
        }
        let used = self.bits(USED_AT, kind, word)?;
        let bit = u64::from(used.trailing_ones());
        let number = word * 64 + bit;
        if number >= count(kind) {
            return Ok(None);
        }
        if number >= self.get(HIGH + kind)? {
            self.set(HIGH + kind, number + 1)?;
        }
        self.set_bits(USED_AT, kind, word, used | 1 << bit)?;
        self.set(BUDGET, (self.get(BUDGET)? + size(kind)).min(KEPT))?;
        let resident = self.bits(RESIDENT_AT, kind, word)?;
        match resident & 1 << bit {
            0 => self.set_bits(RESIDENT_AT, kind, word, resident | 1 << bit)?,
            _ => self.set(IDLE, self.get(IDLE)?.saturating_sub(size(kind)))?,
        }
        Ok(u32::try_from(number).ok())
    }

    /// Gives one back; beyond what is kept, with its memory.
    pub(super) fn give_bit(&self, kind: u64, number: u32) -> Result<()> {
        let budget = self.get(BUDGET)?;
        let budget = budget.saturating_sub(budget / 256 + size(kind) / 64);
        self.set(BUDGET, budget)?;
        let (word, bit) = (u64::from(number / 64), number % 64);
        self.set(IDLE, self.get(IDLE)? + size(kind))?;
        if self.get(IDLE)? > budget {
            self.empty(kind, word, bit)?;
        }
        let used = self.bits(USED_AT, kind, word)?;
        self.set_bits(USED_AT, kind, word, used & !(1 << bit))?;
        self.set(HINTS + kind, self.get(HINTS + kind)?.min(word))?;
        match self.get(IDLE)? > budget {
            true => self.empty_another(),
            false => Ok(()),
        }
    }

    /// Gives the memory of one back that is idle.
    fn empty(&self, kind: u64, word: u64, bit: u32) -> Result<()> {
        let number = u32::try_from(word * 64 + u64::from(bit)).unwrap_or(u32::MAX);
        match class_of(kind) {
            Some(class) => self.memory.punch(Extent { class, number })?,
            None => self.memory.punch_chunk(number)?,
        }
        let resident = self.bits(RESIDENT_AT, kind, word)?;
        self.set_bits(RESIDENT_AT, kind, word, resident & !(1 << bit))?;
        self.set(IDLE, self.get(IDLE)?.saturating_sub(size(kind)))
    }

    /// The same for the first that is found, from the largest on.
    fn empty_another(&self) -> Result<()> {
        for kind in (0..of_class(CLASSES)).rev() {
            for word in (0..self.get(HIGH + kind)?.div_ceil(64)).rev() {
                let idle = self.bits(RESIDENT_AT, kind, word)? & !self.bits(USED_AT, kind, word)?;
                if let Some(bit) = idle.checked_ilog2() {
                    return self.empty(kind, word, bit);
                }
            }
        }
        Ok(())
    }

    /// All extents that are not free.
    pub(crate) fn extents(&self) -> Result<Vec<(Extent, Record)>> {
        let mut found = Vec::new();
        for class in 0..CLASSES {
            for number in 0..u32::try_from(self.get(HIGH + of_class(class))?).unwrap_or(0) {
                let extent = Extent { class, number };
                match self.record(extent)? {
                    Record::Free => {}
                    record => found.push((extent, record)),
                }
            }
        }
        Ok(found)
    }

    /// Makes the bits anew from the directory and the records.
    pub(super) fn count_anew(&self) -> Result<()> {
        let kinds = of_class(CLASSES);
        for kind in 0..kinds {
            for word in 0..self.get(HIGH + kind)?.div_ceil(64) {
                self.set_bits(USED_AT, kind, word, 0)?;
            }
            self.set(HINTS + kind, 0)?;
        }
        for chunk in self.chunks()? {
            if let Some(place) = place_in(self.memory.entry(chunk)?.load(Acquire), chunk) {
                self.note_used(SLOTS, place)?;
            }
        }
        for (extent, _) in self.extents()? {
            self.note_used(of_class(extent.class), extent.number)?;
        }
        let mut idle = 0;
        for kind in 0..kinds {
            for word in 0..self.get(HIGH + kind)?.div_ceil(64) {
                let used = self.bits(USED_AT, kind, word)?;
                let resident = self.bits(RESIDENT_AT, kind, word)? | used;
                self.set_bits(RESIDENT_AT, kind, word, resident)?;
                idle += u64::from((resident & !used).count_ones()) * size(kind);
            }
        }
        self.set(IDLE, idle)
    }

    fn note_used(&self, kind: u64, number: u32) -> Result<()> {
        let (word, bit) = (u64::from(number / 64), number % 64);
        let used = self.bits(USED_AT, kind, word)?;
        self.set_bits(USED_AT, kind, word, used | 1 << bit)
    }
}
