//! The books: which chunks and extents there are. Changed under the book lock only; read by lookups at any time.
//!
//! Each change can be cut off at any instruction by the death of its maker: the next holder of the lock is told, and
//! [`mend`](Books::mend)s: it repeats an unfinished retirement, and makes the bitmaps anew from the directory and the
//! records. So a record is written before an extent's bit goes, and after it was set; and the directory names a chunk last.

mod bits;

use std::collections::HashMap;

use procession_core::{Deadline, Error, ErrorKind, Result};
use procession_sync::{Lock, LockError, LockGuard};
use procession_sys::prim::AtomicU64;
use procession_sys::prim::Ordering::{Acquire, Relaxed, Release, SeqCst};

use crate::memory::{
    CHUNK, CHUNK_NUMBERS, CHUNKS, Extent, Memory, SLOT_WORDS, chunk_of, entry_for, place_in,
    start_of,
};
use crate::payload::{Payload, len_of};
use crate::raw::Word;
use crate::raw::line::{Ours, Slots};
use crate::raw::stamp::{Position, Stamp, State};

/// Words of the books: the next chunk to attach, the oldest one; the one that is being retired, and one; how many bytes of items there
/// are, where there is a bound; what the last item was called in the depot.
const NEXT: u64 = 16;
const LOW: u64 = 17;
const RETIRING: u64 = 18;
const BYTES: u64 = 26;
const LAST_TAG: u64 = 27;

/// A count of items that nobody will get, in three words: how many; the position that is being counted, and one; how many
/// before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tally(u64);

impl Tally {
    /// Their getters died.
    pub(crate) const LOST: Self = Self(19);
    /// They were tried as often as they may be.
    pub(crate) const EXHAUSTED: Self = Self(23);
}

/// What an extent is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Record {
    Free,
    /// Its owner puts items there.
    Open {
        owner: u16,
    },
    /// So many items were put there.
    Full {
        items: u32,
    },
    /// One item; nobody's owner is [`NOBODY`].
    Single {
        owner: u16,
    },
}

/// No process has this number.
pub(crate) const NOBODY: u16 = u16::MAX;

impl Record {
    fn to_bits(self) -> u64 {
        match self {
            Self::Free => 0,
            Self::Open { owner } => 1 | u64::from(owner) << 16,
            Self::Full { items } => 2 | u64::from(items) << 32,
            Self::Single { owner } => 3 | u64::from(owner) << 16,
        }
    }

    fn from_bits(bits: u64) -> Self {
        let owner = u16::try_from(bits >> 16 & 0xffff).unwrap_or(NOBODY);
        match bits & 3 {
            1 => Self::Open { owner },
            2 => Self::Full { items: u32::try_from(bits >> 32).unwrap_or(0) },
            3 => Self::Single { owner },
            _ => Self::Free,
        }
    }
}

/// An item that was given back.
struct Returned<'a> {
    ours: Ours<&'a [AtomicU64]>,
    /// The stamp of its slot.
    bits: u64,
    /// Whether it was given back an odd number of times.
    is_odd: bool,
}

/// The books, opened: nobody else changes them while this lives.
#[derive(Debug)]
pub(crate) struct Books<'a> {
    pub(crate) memory: &'a Memory,
    _guard: LockGuard<'a>,
}

impl<'a> Books<'a> {
    /// Opens the books, after their last holder put in order if he died; nothing when somebody else has them until the deadline.
    pub(crate) fn open(
        memory: &'a Memory,
        lock: &'a Lock,
        deadline: Deadline,
    ) -> Result<Option<Self>> {
        match lock.lock_deadline(deadline) {
            Ok(guard) => Ok(Some(Self { memory, _guard: guard })),
            Err(LockError::OwnerDied(guard)) => {
                let mut this = Self { memory, _guard: guard };
                this.mend()?;
                this._guard.repair();
                Ok(Some(this))
            }
            Err(LockError::TimedOut) => Ok(None),
            Err(LockError::Failed(error)) => Err(error),
        }
    }

    /// Those of a new queue.
    pub(crate) fn begin(memory: &Memory, start: Position) -> Result<()> {
        for word in [NEXT, LOW] {
            memory.books(word)?.store(chunk_of(start), Relaxed);
        }
        Ok(())
    }

    fn get(&self, word: u64) -> Result<u64> {
        Ok(self.memory.books(word)?.load(Relaxed))
    }

    fn set(&self, word: u64, value: u64) -> Result<()> {
        // ORDERING: Release: in the order of the program, for whoever is told of our death.
        self.memory.books(word)?.store(value, Release);
        Ok(())
    }

    /// The chunks that there are.
    pub(crate) fn chunks(&self) -> Result<impl Iterator<Item = u64> + use<>> {
        let (low, next) = (self.get(LOW)?, self.get(NEXT)?);
        let count = next.wrapping_sub(low) & CHUNK_NUMBERS;
        Ok((0..count).map(move |step| low.wrapping_add(step) & CHUNK_NUMBERS))
    }

    /// The slots of a chunk.
    pub(crate) fn slots(&self, chunk: u64) -> Result<Option<&'a [AtomicU64]>> {
        match place_in(self.memory.entry(chunk)?.load(Acquire), chunk) {
            Some(place) => self.memory.chunk(place).map(Some),
            None => Ok(None),
        }
    }

    /// Sees to it that the chunk of `position` has slots, if it is the next one; retires what can be.
    pub(crate) fn attach(&self, position: Position) -> Result<()> {
        self.retire()?;
        let chunk = chunk_of(position);
        let (low, next) = (self.get(LOW)?, self.get(NEXT)?);
        let count = next.wrapping_sub(low) & CHUNK_NUMBERS;
        let is_there = chunk.wrapping_sub(low) & CHUNK_NUMBERS < count;
        if chunk != next && !is_there || self.slots(chunk)?.is_some() {
            return Ok(());
        }
        if count >= CHUNKS {
            let text = "the queue has no room for more than 268 million items";
            return Err(Error::new(ErrorKind::TooLarge, text));
        }
        let place = self.take_bit(bits::SLOTS)?.ok_or_else(full)?;
        if chunk == next {
            // Counted before it is named: what is named is counted.
            self.set(NEXT, next.wrapping_add(1) & CHUNK_NUMBERS)?;
        }
        let slots = self.memory.chunk(place)?.chunks_exact(SLOT_WORDS);
        for (step, slot) in (0..).zip(slots) {
            let free = Stamp::new(start_of(chunk).plus(step), State::Free);
            slot[0].store(free.to_bits(), Relaxed);
        }
        // ORDERING: Release: whoever finds the chunk finds its slots.
        self.memory.entry(chunk)?.store(entry_for(chunk, place), Release);
        Ok(())
    }

    /// Retires the oldest chunks, as far as all their slots are done.
    pub(crate) fn retire(&self) -> Result<()> {
        loop {
            let (low, next) = (self.get(LOW)?, self.get(NEXT)?);
            if low == next {
                return Ok(());
            }
            let Some(slots) = self.slots(low)? else { return Ok(()) };
            if !is_done(low, slots) {
                return Ok(());
            }
            self.set(RETIRING, low + 1)?;
            self.retire_one(low)?;
            self.set(RETIRING, 0)?;
        }
    }

    /// Takes a chunk away, all of whose slots are done. Can be repeated.
    fn retire_one(&self, chunk: u64) -> Result<()> {
        let end = start_of(chunk).plus(CHUNK);
        for word in [self.memory.tail(), self.memory.head(), self.memory.done()] {
            loop {
                let at = Position::new(word.load(Acquire));
                if chunk_of(at) != chunk || word.exchange(at.bits(), end.bits()) {
                    break;
                }
            }
        }
        let entry = self.memory.entry(chunk)?;
        if let Some(place) = place_in(entry.load(Acquire), chunk) {
            let slots = self.memory.chunk(place)?;
            let mut released = HashMap::new();
            for slot in slots.chunks_exact(SLOT_WORDS) {
                if let Payload::Span { extent, .. } = Payload::read(slot) {
                    *released.entry(extent).or_insert(0) += 1;
                }
            }
            for (extent, items) in released {
                self.release(extent, items, chunk)?;
            }
            // ORDERING: SeqCst: head and tail were moved before.
            entry.store(0, SeqCst);
            self.give_bit(bits::SLOTS, place)?;
        }
        let count = self.get(NEXT)?.wrapping_sub(chunk) & CHUNK_NUMBERS;
        if count < CHUNKS / 2 {
            // Nobody has come round to its page again.
            self.memory.punch_directory(chunk)?;
        }
        self.set(LOW, chunk.wrapping_add(1) & CHUNK_NUMBERS)
    }

    /// So many items of a span are gone with a chunk, which is counted once.
    fn release(&self, extent: Extent, items: u32, chunk: u64) -> Result<()> {
        let record = self.memory.record(extent)?;
        let kind = Record::from_bits(record[0].load(Relaxed));
        if !matches!(kind, Record::Open { .. } | Record::Full { .. }) {
            return Ok(());
        }
        let (count, last) = released(record);
        if last != chunk {
            record[1].store(released_bits(count + items, chunk), Release);
        }
        self.free_if_empty(extent)
    }

    fn free_if_empty(&self, extent: Extent) -> Result<()> {
        let record = self.memory.record(extent)?;
        match Record::from_bits(record[0].load(Relaxed)) {
            Record::Full { items } if items == released(record).0 => self.free(extent),
            _ => Ok(()),
        }
    }

    /// Takes an extent for the process in slot `owner`.
    pub(crate) fn take_extent(&self, class: u8, record: Record) -> Result<Extent> {
        let number = self.take_bit(bits::of_class(class))?.ok_or_else(full)?;
        let extent = Extent { class, number };
        let words = self.memory.record(extent)?;
        // The chunk in front of all that there are: none that is retired from now on is taken for counted.
        let before = self.get(LOW)?.wrapping_sub(1) & CHUNK_NUMBERS;
        words[1].store(released_bits(0, before), Relaxed);
        words[0].store(record.to_bits(), Release);
        Ok(extent)
    }

    /// Frees an extent that nobody needs.
    pub(crate) fn free(&self, extent: Extent) -> Result<()> {
        self.memory.record(extent)?[0].store(Record::Free.to_bits(), Release);
        self.give_bit(bits::of_class(extent.class), extent.number)
    }

    /// Frees an item's extent that is the owner's, who got the item.
    pub(crate) fn free_single(&self, extent: Extent, owner: u16) -> Result<()> {
        match self.record(extent)? == (Record::Single { owner }) {
            true => self.free(extent),
            false => Ok(()),
        }
    }

    pub(crate) fn record(&self, extent: Extent) -> Result<Record> {
        // ORDERING: Acquire: pairs with the Release of `own`.
        Ok(Record::from_bits(self.memory.record(extent)?[0].load(Acquire)))
    }

    /// Changes a record, unless somebody else does.
    pub(crate) fn change(&self, extent: Extent, from: Record, to: Record) -> Result<bool> {
        Ok(self.memory.record(extent)?[0].exchange(from.to_bits(), to.to_bits()))
    }

    /// A span gets no more items than these.
    pub(crate) fn close_span(&self, extent: Extent, items: u32) -> Result<()> {
        self.memory.record(extent)?[0].store(Record::Full { items }.to_bits(), Release);
        self.free_if_empty(extent)
    }

    /// How many items of a span are gone.
    pub(crate) fn released(&self, extent: Extent) -> Result<u32> {
        Ok(released(self.memory.record(extent)?).0)
    }

    /// How many items a tally has.
    pub(crate) fn counted(&self, tally: Tally) -> Result<u64> {
        self.get(tally.0)
    }

    /// Does `lose`, which makes a slot done that somebody had, and counts one more item: both, however often the maker dies over it.
    pub(crate) fn count(
        &self,
        Tally(total): Tally,
        position: Position,
        lose: impl FnOnce(),
    ) -> Result<()> {
        let before = self.get(total)?;
        self.set(total + 2, before)?;
        self.set(total + 1, position.bits() + 1)?;
        lose();
        self.set(total, before + 1)?;
        self.set(total + 1, 0)
    }

    /// How many bytes of items there are, for a queue with a bound in bytes: exact as long as the books are open.
    pub(crate) fn bytes(&self) -> Result<u64> {
        bytes(self.memory)
    }

    /// Says that so many bytes came, or went.
    pub(crate) fn count_bytes(&self, came: u64, went: u64) -> Result<()> {
        self.set(BYTES, self.bytes()?.saturating_add(came).saturating_sub(went))
    }

    /// Counts the bytes of all items that wait: after a death over the books.
    pub(crate) fn count_bytes_anew(&self) -> Result<()> {
        if self.memory.traits.bytes.is_none() {
            return Ok(());
        }
        let mut bytes = 0;
        self.each_slot(|_, slot| {
            let state = Stamp::from_bits(slot[0].load(Acquire)).state;
            if matches!(state, State::Published | State::Returned { .. }) {
                bytes += len_of(slot);
            }
            Ok(())
        })?;
        self.set(BYTES, bytes)
    }

    /// Takes the oldest item that was given back, if there is one: its slot is `taken` then.
    pub(crate) fn take_returned(
        &self,
        taken: State,
        prepare: impl FnOnce(&'a [AtomicU64]) -> Result<()>,
    ) -> Result<Option<Ours<&'a [AtomicU64]>>> {
        let flag = self.memory.returned();
        // ORDERING: SeqCst: before it looks. Who gives one back after that says so after that.
        flag.store(0, SeqCst);
        let found = self.returned_items(2)?;
        // Somebody may have fallen asleep meanwhile, because it was taken away.
        let say_there_are_more = || {
            flag.store(1, SeqCst);
            self.memory.getters().ring();
        };
        if found.len() > 1 {
            say_there_are_more();
        }
        let Some(Returned { ours, bits, is_odd }) = found.into_iter().next() else {
            return Ok(None);
        };
        if let Err(error) = prepare(ours.slot) {
            say_there_are_more();
            return Err(error);
        }
        let taken = match taken {
            State::Leased { owner, .. } => State::Leased { owner, is_odd },
            taken => taken,
        };
        let taken = Stamp::new(ours.position, taken).to_bits();
        Ok(ours.slot[0].exchange(bits, taken).then_some(ours))
    }

    /// How many items were given back.
    pub(crate) fn returned(&self) -> Result<u64> {
        Ok(self.returned_items(usize::MAX)?.len() as u64)
    }

    /// Up to `most` items that were given back. All lie between what is done and what nobody has had yet.
    fn returned_items(&self, most: usize) -> Result<Vec<Returned<'a>>> {
        let line = self.memory.line();
        let (mut at, end) = line.left(self.memory.done())?;
        let mut found = Vec::new();
        while end.beyond(at) > 0 && found.len() < most {
            let Some(ours) = line.again(at)? else { break };
            let bits = ours.slot[0].load(SeqCst);
            let stamp = Stamp::from_bits(bits);
            if let State::Returned { is_odd } = stamp.state
                && stamp.position == at
            {
                found.push(Returned { ours, bits, is_odd });
            }
            at = at.next();
        }
        Ok(found)
    }

    /// What the next item is called in the depot.
    pub(crate) fn next_tag(&self) -> Result<u64> {
        let tag = self.get(LAST_TAG)? + 1;
        self.set(LAST_TAG, tag)?;
        Ok(tag)
    }

    /// Visits all slots, from the oldest on.
    pub(crate) fn each_slot(
        &self,
        mut visit: impl FnMut(Position, &'a [AtomicU64]) -> Result<()>,
    ) -> Result<()> {
        for chunk in self.chunks()? {
            let Some(slots) = self.slots(chunk)? else { continue };
            for (step, slot) in (0..CHUNK).zip(slots.chunks_exact(SLOT_WORDS)) {
                visit(start_of(chunk).plus(step), slot)?;
            }
        }
        Ok(())
    }

    /// The last holder of the books died over them.
    fn mend(&self) -> Result<()> {
        for tally in [Tally::LOST, Tally::EXHAUSTED] {
            self.mend_tally(tally)?;
        }
        if let Some(chunk) = self.get(RETIRING)?.checked_sub(1) {
            if self.get(LOW)? == chunk {
                self.retire_one(chunk)?;
            }
            self.set(RETIRING, 0)?;
        }
        self.count_bytes_anew()?;
        self.count_anew()
    }

    fn mend_tally(&self, Tally(total): Tally) -> Result<()> {
        let Some(position) = self.get(total + 1)?.checked_sub(1).map(Position::new) else {
            return Ok(());
        };
        let slot = (&self.memory).slot(position)?;
        let is_done =
            slot.is_none_or(|slot| Stamp::from_bits(slot[0].load(Acquire)).state.owner().is_none());
        if is_done {
            self.set(total, self.get(total + 2)? + 1)?;
        }
        self.set(total + 1, 0)
    }
}

/// How many bytes of items there are, for a queue with a bound in bytes.
pub(crate) fn bytes(memory: &Memory) -> Result<u64> {
    Ok(memory.books(BYTES)?.load(Acquire))
}

fn full() -> Error {
    Error::new(ErrorKind::TooLarge, "the queue has no room for more")
}

/// Whether all slots of a chunk are done.
fn is_done(chunk: u64, slots: &[AtomicU64]) -> bool {
    let start = start_of(chunk);
    (0..).zip(slots.chunks_exact(SLOT_WORDS)).all(|(step, slot)| {
        slot[0].load(Acquire) == Stamp::new(start.plus(step), State::Done).to_bits()
    })
}

/// How many items of a span are gone, and with which chunk the last of them went.
fn released(record: &[AtomicU64]) -> (u32, u64) {
    let word = record[1].load(Relaxed);
    (u32::try_from(word >> 40).unwrap_or_default(), word & CHUNK_NUMBERS)
}

fn released_bits(count: u32, chunk: u64) -> u64 {
    u64::from(count) << 40 | chunk
}

/// Makes the process in slot `me` the owner of an item's extent: it has taken the item.
pub(crate) fn own(memory: &Memory, extent: Extent, me: u16) -> Result<()> {
    let owned = Record::Single { owner: me }.to_bits();
    // ORDERING: Release: whoever sees the slot done, which comes next, sees whose the extent is.
    memory.record(extent)?[0].store(owned, Release);
    Ok(())
}

#[cfg(all(test, not(loom)))]
mod tests;
