//! What a queue is made of: the words of its object, and its file.
//!
//! | words of the object | what |
//! |---|---|
//! | 0, 1 | how often a death was noted, and up to which of these it was settled |
//! | 2, 3 | the bells of getters and putters |
//! | 4 | how many items there may be; zero if any number |
//! | 5 | who makes fences: see [`Fences`] |
//! | 8 to 71 | debts: a bit for each process whose death is not settled |
//! | 72 | the bell of those who wait until all is done |
//! | 73 | up to where all is done |
//! | 74 | whether an item may have been given back |
//! | 75 | how often the depot got room |
//! | 76 | whether getters say when an item is done (bit 0), and how often an item may be tried (16 to 31); zero if any number |
//! | 80 | tail |
//! | 96 | head |
//!
//! | region of the file | what |
//! |---|---|
//! | 0 | the books: see [`Books`](crate::books::Books) |
//! | 1 | chunks of slots |
//! | 2 to 17 | extents of 64 KiB, 128 KiB, .. 2 GiB |

use std::os::fd::OwnedFd;

use procession_core::arena::{Kind, OWN_WORDS, Object};
use procession_core::{Error, ErrorKind, Result, waiting};
use procession_sys::barrier;
use procession_sys::block::SharedBytes;
use procession_sys::prim::Ordering::{Acquire, Relaxed, SeqCst};
use procession_sys::prim::{AtomicBool, AtomicU64};
use procession_sys::sparse::SparseFile;

use crate::raw::bell::Bell;
use crate::raw::line::{Line, STRIDE, Slots, Trail};
use crate::raw::stamp::Position;

/// Of the object's words.
pub(crate) const NOTED: usize = 0;
pub(crate) const SETTLED: usize = 1;
const GETTERS: usize = 2;
const PUTTERS: usize = 3;
const LIMIT: usize = 4;
const FENCES: usize = 5;
const _: () = assert!(FENCES < OWN_WORDS, "the arena's words are the arena's");
pub(crate) const DEBTS: usize = 8;
pub(crate) const DEBT_WORDS: usize = 64;
const JOINERS: usize = 72;
const DONE: usize = 73;
const RETURNED: usize = 74;
const DEPOT_ROOM: usize = 75;
const TRAITS: usize = 76;
const TAIL: usize = 80;
const HEAD: usize = 96;
const OBJECT_WORDS: usize = 112;

/// Slots of a chunk.
pub(crate) const CHUNK: u64 = 256;
const CHUNK_BITS: u32 = 8;
/// Chunks that there can be at a time: entries of the directory.
pub(crate) const CHUNKS: u64 = 1 << 20;
/// All bits of a chunk's number.
pub(crate) const CHUNK_NUMBERS: u64 = (1 << 40) - 1;
/// Words of a slot: the stamp, the [`Payload`](crate::payload::Payload), what is inline.
pub(crate) const SLOT_WORDS: usize = 8;
const SLOT_BYTES: u64 = 64;
const _: () = assert!(CHUNK.is_multiple_of(STRIDE), "whoever ends a chunk moves tail and head");
const CHUNK_WORDS: usize = (1 << CHUNK_BITS) * SLOT_WORDS;

/// Classes of extents.
pub(crate) const CLASSES: u8 = 16;
/// The least extent is 2 to this long.
const LEAST_BITS: u32 = 16;

/// The word of the books that says how many bytes of items there may be; zero if any number.
const BYTE_LIMIT: u64 = 15;

/// Where things lie in region 0, in bytes.
pub(crate) const USED_AT: u64 = 1 << 20;
pub(crate) const RESIDENT_AT: u64 = 4 << 20;
const DIRECTORY_AT: u64 = 8 << 20;
const RECORDS_AT: u64 = 16 << 20;
const RECORDS_STEP: u64 = 16 << 20;

/// A page of the directory, in bytes.
const PAGE: u64 = 4096;

const BOOKS: usize = 0;
const SLOTS: usize = 1;
const FIRST_CLASS: usize = 2;

/// The first window of each region: a chunk or extent lies in one window.
const WINDOWS: [u32; FIRST_CLASS + CLASSES as usize] = {
    let mut windows = [20; FIRST_CLASS + CLASSES as usize];
    let mut class = 0;
    while class < CLASSES {
        let bits = LEAST_BITS + class as u32;
        if bits > 20 {
            windows[FIRST_CLASS + class as usize] = bits;
        }
        class += 1;
    }
    windows
};

const MAGIC: u64 = u64::from_le_bytes(*b"prcssnQ\x01");

/// An extent: its class, and which of these it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Extent {
    pub(crate) class: u8,
    pub(crate) number: u32,
}

impl Extent {
    /// How many there are of a class.
    pub(crate) fn count(class: u8) -> u32 {
        1 << (20 - class)
    }

    pub(crate) fn size(class: u8) -> u64 {
        1 << (LEAST_BITS + u32::from(class))
    }

    /// The smallest class that so many bytes fit into.
    pub(crate) fn class_for(len: u64) -> Option<u8> {
        let bits = len.max(1).next_power_of_two().ilog2().max(LEAST_BITS);
        u8::try_from(bits - LEAST_BITS).ok().filter(|class| *class < CLASSES)
    }
}

/// What a queue is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Traits {
    /// How many items there may be.
    pub(crate) items: Option<u64>,
    /// How many bytes of items.
    pub(crate) bytes: Option<u64>,
    /// Whether getters say when an item is done.
    pub(crate) is_joinable: bool,
    /// How often an item may be tried.
    pub(crate) attempts: Option<u16>,
}

/// Who makes a fence between what he puts and his look at the bell. Who does not relies on sleepers to have the system make one
/// [everywhere](barrier::everywhere), which is worth a hundred fences: a process that never spins makes its own, because others fall
/// asleep for each of its items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fences {
    /// All, so far.
    All = 0,
    /// Not all.
    Some = 1,
    /// All have to: whoever made the queue found that the system cannot.
    Must = 2,
}

/// The words and the file.
#[derive(Debug)]
pub(crate) struct Memory {
    words: &'static [AtomicU64],
    pub(crate) file: SparseFile,
    trail: Trail,
    pub(crate) traits: Traits,
    /// Whether this process makes fences.
    is_fenced: AtomicBool,
}

impl Memory {
    /// A new queue's, whose first position is `start`.
    pub(crate) fn create(traits: Traits, start: Position) -> Result<(Object, Self)> {
        let file = SparseFile::create(&WINDOWS)?;
        let fences = if barrier::take_part().is_ok() { Fences::All } else { Fences::Must };
        let object = Object::new(Kind::QUEUE, OBJECT_WORDS, |words, _| {
            // ORDERING: Relaxed: nobody else has the object yet.
            words[LIMIT].store(traits.items.unwrap_or(0), Relaxed);
            let attempts = u64::from(traits.attempts.unwrap_or(0));
            words[TRAITS].store(u64::from(traits.is_joinable) | attempts << 16, Relaxed);
            words[FENCES].store(fences as u64, Relaxed);
            words[TAIL].store(start.bits(), Relaxed);
            words[HEAD].store(start.bits(), Relaxed);
            words[DONE].store(start.bits(), Relaxed);
        })?;
        file.words(BOOKS, BYTE_LIMIT * 8, 1)?[0].store(traits.bytes.unwrap_or(0), Relaxed);
        let this = Self::over(&object, file)?;
        this.books(0)?.store(MAGIC, Relaxed);
        Ok((object, this))
    }

    /// That of a queue that was received.
    pub(crate) fn open(object: &Object, file: OwnedFd) -> Result<Self> {
        let strange = || Error::new(ErrorKind::Decode, "not the memory of a queue");
        let file = SparseFile::open(file, &WINDOWS).map_err(|error| strange().caused_by(&error))?;
        if object.words().len() < OBJECT_WORDS {
            return Err(strange());
        }
        let this = Self::over(object, file)?;
        if this.books(0)?.load(Relaxed) == MAGIC { Ok(this) } else { Err(strange()) }
    }

    fn over(object: &Object, file: SparseFile) -> Result<Self> {
        let words = object.words();
        let trail = Trail::at(Position::new(words[HEAD].load(Relaxed)));
        let is_set = |number: u64| (number != 0).then_some(number);
        let others = words[TRAITS].load(Relaxed);
        let attempts = u16::try_from(others >> 16).unwrap_or(u16::MAX);
        let traits = Traits {
            items: is_set(words[LIMIT].load(Relaxed)),
            bytes: is_set(file.words(BOOKS, BYTE_LIMIT * 8, 1)?[0].load(Relaxed)),
            is_joinable: others & 1 != 0,
            attempts: (attempts != 0).then_some(attempts),
        };
        Ok(Self { words, file, trail, traits, is_fenced: AtomicBool::new(true) })
    }

    /// Says whether this process, which is about to use the queue, makes fences.
    ///
    /// # Errors
    ///
    /// When it may not take part in the system's barriers, although others rely on that.
    pub(crate) fn take_part(&self) -> Result<()> {
        let fences = &self.words[FENCES];
        let mut is_fenced = fences.load(Acquire) == Fences::Must as u64;
        if !is_fenced {
            barrier::take_part()?;
            is_fenced = waiting::yields();
        }
        if !is_fenced {
            // ORDERING: SeqCst: comes before what is published without a fence. Who has announced himself and sees none
            // of this is seen by whoever publishes then.
            let _known =
                fences.compare_exchange(Fences::All as u64, Fences::Some as u64, SeqCst, Acquire);
        }
        self.is_fenced.store(is_fenced, Relaxed);
        Ok(())
    }

    /// The fence between the announcement of who is about to sleep and his last look.
    pub(crate) fn fence_for_sleep(&self) -> Result<()> {
        match self.words[FENCES].load(SeqCst) == Fences::Some as u64 {
            true => Ok(barrier::everywhere()?),
            false => Ok(()),
        }
    }

    #[inline(always)]
    pub(crate) fn line(&self) -> Line<'_, &Self> {
        // ORDERING: Relaxed: this process wrote it, before it used the queue.
        let is_fenced = self.is_fenced.load(Relaxed);
        Line { slots: self, trail: &self.trail, limit: self.traits.items, is_fenced }
    }

    /// The position behind what this process took last.
    pub(crate) fn taken(&self) -> Position {
        self.trail.taken()
    }

    #[inline(always)]
    pub(crate) fn getters(&self) -> Bell<'static, AtomicU64> {
        getters(self.words)
    }

    #[inline(always)]
    pub(crate) fn putters(&self) -> Bell<'static, AtomicU64> {
        putters(self.words)
    }

    /// For those who wait until all is done.
    pub(crate) fn joiners(&self) -> Bell<'static, AtomicU64> {
        joiners(self.words)
    }

    /// Up to where all slots are done; not beyond the first that is not.
    pub(crate) fn done(&self) -> &'static AtomicU64 {
        &self.words[DONE]
    }

    /// Not zero if an item may have been given back.
    #[inline(always)]
    pub(crate) fn returned(&self) -> &'static AtomicU64 {
        &self.words[RETURNED]
    }

    /// How often the depot got room.
    pub(crate) fn depot_room(&self) -> &'static AtomicU64 {
        &self.words[DEPOT_ROOM]
    }

    pub(crate) fn words(&self) -> &'static [AtomicU64] {
        self.words
    }

    /// A word of the books.
    #[inline]
    pub(crate) fn books(&self, index: u64) -> Result<&AtomicU64> {
        Ok(&self.file.words(BOOKS, index * 8, 1)?[0])
    }

    /// Words of the books, from a byte on.
    pub(crate) fn rows(&self, at: u64, words: usize) -> Result<&[AtomicU64]> {
        Ok(self.file.words(BOOKS, at, words)?)
    }

    /// Where the directory says what a chunk is in.
    #[inline(always)]
    pub(crate) fn entry(&self, chunk: u64) -> Result<&AtomicU64> {
        let at = DIRECTORY_AT + chunk % CHUNKS * 8;
        Ok(&self.file.words(BOOKS, at, 1)?[0])
    }

    /// Gives the page of the directory back whose last entry is that of `chunk`, if it is; all its entries are zero.
    pub(crate) fn punch_directory(&self, chunk: u64) -> Result<()> {
        if !(chunk + 1).is_multiple_of(PAGE / 8) {
            return Ok(());
        }
        let end = DIRECTORY_AT + (chunk % CHUNKS + 1) * 8;
        Ok(self.file.punch(BOOKS, end - PAGE, PAGE)?)
    }

    /// The record of an extent: two words.
    pub(crate) fn record(&self, extent: Extent) -> Result<&[AtomicU64]> {
        let start = RECORDS_AT + RECORDS_STEP * u64::from(extent.class);
        Ok(self.file.words(BOOKS, start + u64::from(extent.number) * 16, 2)?)
    }

    /// The slots in a place for a chunk.
    pub(crate) fn chunk(&self, place: u32) -> Result<&[AtomicU64]> {
        let bytes = CHUNK * SLOT_BYTES;
        Ok(self.file.words(SLOTS, u64::from(place) * bytes, CHUNK_WORDS)?)
    }

    /// Bytes of an extent.
    #[inline]
    pub(crate) fn bytes(&self, extent: Extent, at: u32, len: u64) -> Result<SharedBytes<'_>> {
        let Extent { class, number } = extent;
        let size = Extent::size(class);
        if class >= CLASSES || number >= Extent::count(class) || u64::from(at) + len > size {
            return Err(Error::new(ErrorKind::Broken, "the queue's memory was written over"));
        }
        let inner = u64::from(at % 8);
        let words = usize::try_from((inner + len).div_ceil(8)).unwrap_or(usize::MAX);
        let start = u64::from(number) * size + u64::from(at) - inner;
        let words = self.file.words(FIRST_CLASS + usize::from(class), start, words)?;
        let bytes = SharedBytes::of_words(words);
        let start = usize::try_from(inner).unwrap_or_default();
        let end = start + usize::try_from(len).unwrap_or(usize::MAX);
        Ok(bytes.get(start..end).unwrap_or(bytes))
    }

    /// Gives the pages of an extent back to the system.
    pub(crate) fn punch(&self, extent: Extent) -> Result<()> {
        let size = Extent::size(extent.class);
        let region = FIRST_CLASS + usize::from(extent.class);
        Ok(self.file.punch(region, u64::from(extent.number) * size, size)?)
    }

    /// The same for a place for a chunk.
    pub(crate) fn punch_chunk(&self, place: u32) -> Result<()> {
        let bytes = CHUNK * SLOT_BYTES;
        Ok(self.file.punch(SLOTS, u64::from(place) * bytes, bytes)?)
    }
}

/// Bytes that a chunk takes.
pub(crate) const CHUNK_BYTES: u64 = CHUNK * SLOT_BYTES;

pub(crate) fn getters(words: &'static [AtomicU64]) -> Bell<'static, AtomicU64> {
    Bell(&words[GETTERS])
}

pub(crate) fn joiners(words: &'static [AtomicU64]) -> Bell<'static, AtomicU64> {
    Bell(&words[JOINERS])
}

pub(crate) fn putters(words: &'static [AtomicU64]) -> Bell<'static, AtomicU64> {
    Bell(&words[PUTTERS])
}

/// The chunk that a position lies in.
#[inline(always)]
pub(crate) fn chunk_of(position: Position) -> u64 {
    position.bits() >> CHUNK_BITS
}

/// The first position of a chunk.
pub(crate) fn start_of(chunk: u64) -> Position {
    Position::new(chunk << CHUNK_BITS)
}

/// What the directory says of a chunk in a place.
pub(crate) fn entry_for(chunk: u64, place: u32) -> u64 {
    chunk << 21 | u64::from(place + 1)
}

/// Where a directory's entry says that the chunk is, if it is of that chunk.
#[inline(always)]
pub(crate) fn place_in(entry: u64, chunk: u64) -> Option<u32> {
    let place = u32::try_from(entry & ((1 << 21) - 1)).ok()?.checked_sub(1)?;
    (entry >> 21 == chunk && u64::from(place) < CHUNKS).then_some(place)
}

impl<'a> Slots for &'a Memory {
    type Word = AtomicU64;
    /// Its words.
    type Slot = &'a [AtomicU64];

    #[inline(always)]
    fn head(&self) -> &AtomicU64 {
        &self.words[HEAD]
    }

    #[inline(always)]
    fn tail(&self) -> &AtomicU64 {
        &self.words[TAIL]
    }

    #[inline(always)]
    fn slot(&self, position: Position) -> Result<Option<Self::Slot>> {
        let chunk = chunk_of(position);
        // ORDERING: Acquire: pairs with the Release of whoever attached the chunk, after its slots.
        let Some(place) = place_in(self.entry(chunk)?.load(Acquire), chunk) else {
            return Ok(None);
        };
        let memory: &'a Memory = self;
        let at = u64::from(place) * CHUNK_BYTES + position.bits() % CHUNK * SLOT_BYTES;
        Ok(Some(memory.file.words(SLOTS, at, SLOT_WORDS)?))
    }

    #[inline(always)]
    fn word<'b>(&'b self, slot: &'b Self::Slot) -> &'b AtomicU64 {
        &slot[0]
    }
}
