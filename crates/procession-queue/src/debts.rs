//! Debts: the processes that died and had the queue, whose items and extents nobody has put in order yet.
//!
//! Whoever recovers a dead process [notes](note) a debt, and can do no more, as it may not have the file. Whoever has it
//! [settles](settle): under the book lock, before its first claim, when it waits and when it counts. The words `noted` and
//! `settled` tell whether there is anything to do.

use std::collections::{HashMap, HashSet};

use procession_core::Result;
use procession_sys::prim::AtomicU64;
use procession_sys::prim::Ordering::{AcqRel, Acquire, Release, SeqCst};

use crate::books::{Books, NOBODY, Record, Tally, own};
use crate::depot::Depot;
use crate::memory::{DEBT_WORDS, DEBTS, NOTED, SETTLED};
use crate::payload::{Payload, read_tag, returns, write_returns};
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
pub(crate) fn settle(books: &Books<'_>, depot: &Depot) -> Result<()> {
    let words = books.memory.words();
    // Read first: what is noted from here on is settled by the next one.
    let noted = words[NOTED].load(Acquire);
    let bits = &words[DEBTS..DEBTS + DEBT_WORDS];
    let dead = Dead(std::array::from_fn(|at| bits[at].load(Acquire)));
    if dead.0.iter().any(|word| *word != 0) {
        books.each_slot(|position, slot| settle_slot(books, &dead, position, slot))?;
        settle_extents(books, &dead)?;
        settle_depot(books, depot)?;
        books.retire()?;
        books.count_bytes_anew()?;
        // ORDERING: SeqCst: whoever gave an item back may have died before it said so.
        books.memory.returned().store(1, SeqCst);
        for (word, settled) in bits.iter().zip(dead.0) {
            word.fetch_and(!settled, AcqRel);
        }
    }
    words[SETTLED].store(noted, Release);
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
            books.count(Tally::LOST, position, || slot[0].store(done, Release))?;
        }
        State::Held(owner) if dead.has(owner) => {
            books.count(Tally::LOST, position, || slot[0].store(done, Release))?;
        }
        State::Leased { owner, is_odd } if dead.has(owner) => {
            give_back(books, owner, position, slot, is_odd)?;
        }
        _ => {}
    }
    Ok(())
}

/// Gives an item back that `owner` had leased: for somebody else, or, if it was tried as often as it may be, for nobody.
pub(crate) fn give_back(
    books: &Books<'_>,
    owner: u16,
    position: Position,
    slot: &[AtomicU64],
    is_odd: bool,
) -> Result<()> {
    let returns = returns(slot, is_odd);
    let is_exhausted = books.memory.traits.attempts.is_some_and(|most| returns + 1 >= most);
    write_returns(slot, returns);
    let state = if is_exhausted { State::Done } else { State::Returned { is_odd: !is_odd } };
    let left = Stamp::new(position, state).to_bits();
    if !is_exhausted {
        slot[0].store(left, Release);
        return Ok(());
    }
    if let Payload::Single { extent, .. } = Payload::read(slot) {
        own(books.memory, extent, owner)?;
    }
    books.count(Tally::EXHAUSTED, position, || slot[0].store(left, Release))
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
    books.each_slot(|_, slot| {
        // ORDERING: Acquire: whoever made a slot done has said before whose its extent is, and the records are read again below.
        let state = Stamp::from_bits(slot[0].load(Acquire)).state;
        let extent = match (state, Payload::read(slot)) {
            (state, Payload::Span { extent, .. })
                if state.has_payload() || matches!(state, State::Held(_) | State::Done) =>
            {
                extent
            }
            (state, Payload::Single { extent, .. }) if state.has_payload() => extent,
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

/// Takes out of the depot what no item has any more. Whoever stores something holds the books until the item is there.
fn settle_depot(books: &Books<'_>, depot: &Depot) -> Result<()> {
    if depot.is_empty()? {
        return Ok(());
    }
    let mut named = HashSet::new();
    books.each_slot(|_, slot| {
        if Stamp::from_bits(slot[0].load(Acquire)).state.has_payload() {
            named.extend(read_tag(slot));
        }
        Ok(())
    })?;
    depot.sweep(&mut |tag| named.contains(&tag))?;
    books.memory.depot_room().fetch_add(1, SeqCst);
    Ok(())
}

#[cfg(all(test, not(loom)))]
mod tests;
