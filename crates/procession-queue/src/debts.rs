//! Debts: the processes that died and had the queue, whose items and extents nobody has put in order yet.
//!
//! Whoever recovers a dead process [notes](note) a debt, and can do no more, as it may not have the file. Whoever has it
//! [settles](settle): under the book lock, before its first claim, when it waits and when it counts. The words `noted` and
//! `settled` tell whether there is anything to do.

use std::collections::HashMap;

use procession_core::Result;
use procession_sys::prim::AtomicU64;
use procession_sys::prim::Ordering::{AcqRel, Acquire, Release};

use crate::books::{Books, NOBODY, Record, own};
use crate::memory::{CHUNK, DEBT_WORDS, DEBTS, NOTED, SETTLED, SLOT_WORDS, start_of};
use crate::payload::Payload;
use crate::raw::stamp::{OWNERS, Position, Stamp, State};

/// Notes that the process in slot `dead` died. Any number of times is as good as once.
pub(crate) fn note(words: &[AtomicU64], dead: u16) {
    let Some(word) = words.get(DEBTS + usize::from(dead / 64)) else { return };
    word.fetch_or(1 << (dead % 64), AcqRel);
    // ORDERING: Release: whoever sees the count sees the bit.
    words[NOTED].fetch_add(1, Release);
}

/// Whether there is something to settle.
#[inline]
pub(crate) fn are_there(words: &[AtomicU64]) -> bool {
    words[NOTED].load(Acquire) != words[SETTLED].load(Acquire)
}

/// The dead whose debts are settled here.
struct Dead([u64; DEBT_WORDS]);

impl Dead {
    fn has(&self, owner: u16) -> bool {
        self.0.get(usize::from(owner / 64)).is_some_and(|word| word & 1 << (owner % 64) != 0)
    }
}

/// Settles all debts. Can be repeated, and is, if the settler dies over it: the bits go last.
pub(crate) fn settle(books: &Books<'_>) -> Result<()> {
    let words = books.memory.words();
    // Read first: what is noted from here on is settled by the next one.
    let noted = words[NOTED].load(Acquire);
    let bits = &words[DEBTS..DEBTS + DEBT_WORDS];
    let dead = Dead(std::array::from_fn(|at| bits[at].load(Acquire)));
    if dead.0.iter().any(|word| *word != 0) {
        each_slot(books, |position, slot| settle_slot(books, &dead, position, slot))?;
        settle_extents(books, &dead)?;
        books.retire()?;
        for (word, settled) in bits.iter().zip(dead.0) {
            word.fetch_and(!settled, AcqRel);
        }
    }
    words[SETTLED].store(noted, Release);
    Ok(())
}

fn each_slot<'a>(
    books: &Books<'a>,
    mut visit: impl FnMut(Position, &'a [AtomicU64]) -> Result<()>,
) -> Result<()> {
    for chunk in books.chunks()? {
        let Some(slots) = books.slots(chunk)? else { continue };
        for (step, slot) in (0..CHUNK).zip(slots.chunks_exact(SLOT_WORDS)) {
            visit(start_of(chunk).plus(step), slot)?;
        }
    }
    Ok(())
}

/// Ends what a dead process had begun in a slot.
fn settle_slot(
    books: &Books<'_>,
    dead: &Dead,
    position: Position,
    slot: &[AtomicU64],
) -> Result<()> {
    let done = Stamp::new(position, State::Done).to_bits();
    match Stamp::from_bits(slot[0].load(Acquire)).state {
        State::Claimed(owner) if dead.has(owner) => {
            Payload::Nothing.write(slot);
            slot[0].store(done, Release);
        }
        State::Taken(owner) if dead.has(owner) => {
            if let Payload::Single { extent, .. } = Payload::read(slot) {
                own(books.memory, extent, owner)?;
            }
            books.count_lost(position, || slot[0].store(done, Release))?;
        }
        _ => {}
    }
    Ok(())
}

/// Frees what dead processes have of extents, but for what slots name.
fn settle_extents(books: &Books<'_>, dead: &Dead) -> Result<()> {
    let is_theirs = |record: &Record| match record {
        Record::Open { owner } | Record::Single { owner } => *owner < OWNERS && dead.has(*owner),
        _ => false,
    };
    let extents = books.extents()?.into_iter().filter(|(_, record)| is_theirs(record));
    let mut named: HashMap<_, u32> = extents.map(|(extent, _)| (extent, 0)).collect();
    if named.is_empty() {
        return Ok(());
    }
    each_slot(books, |_, slot| {
        // ORDERING: Acquire: whoever made a slot done has said before whose its extent is, and the records are read again below.
        let state = Stamp::from_bits(slot[0].load(Acquire)).state;
        let extent = match (state, Payload::read(slot)) {
            (State::Published | State::Taken(_) | State::Done, Payload::Span { extent, .. })
            | (State::Published | State::Taken(_), Payload::Single { extent, .. }) => extent,
            _ => return Ok(()),
        };
        if let Some(times) = named.get_mut(&extent) {
            *times += 1;
        }
        Ok(())
    })?;
    for (extent, times) in named {
        match books.record(extent)? {
            record if !is_theirs(&record) => {}
            Record::Open { .. } => books.close_span(extent, books.released(extent)? + times)?,
            record if times > 0 => {
                // If it fails, a getter has it by now.
                books.change(extent, record, Record::Single { owner: NOBODY })?;
            }
            _ => books.free(extent)?,
        }
    }
    Ok(())
}

#[cfg(all(test, not(loom)))]
mod tests;
