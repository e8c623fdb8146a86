//! The line of slots: who claims a position, who takes it.
//!
//! `tail` is not beyond the first slot that is free or closed, `head` not beyond the first that is neither taken nor done. Whoever finds
//! one of them behind moves it on by one exchange, so it matters to nobody who dies before he does. A slot that is of
//! another position than the one that was looked for tells that tail or head was read long ago.
//!
//! A process begins where it was itself: what it claimed or took last, and all in front of that, is passed. As long as nobody else comes
//! in between, it moves tail and head only once in [`STRIDE`] positions, so that a claim and a take are one exchange each.

use procession_core::Result;
use procession_sys::prim::Ordering::{Acquire, Relaxed, Release, SeqCst};
use procession_sys::prim::model::fence;
use procession_sys::prim::{AtomicU64, compiler_fence};

use super::Word;
use super::stamp::{Position, Stamp, State};

/// Where the words are.
pub(crate) trait Slots {
    type Word: Word;
    /// A slot; its first word is a [`Stamp`].
    type Slot: Copy;

    fn head(&self) -> &Self::Word;
    fn tail(&self) -> &Self::Word;
    /// The slot of a position, if there is one now.
    fn slot(&self, position: Position) -> Result<Option<Self::Slot>>;
    fn word<'a>(&'a self, slot: &'a Self::Slot) -> &'a Self::Word;
}

/// How far tail and head may be behind one process that has the queue's end to itself. A chunk begins at a multiple.
pub(crate) const STRIDE: u64 = if cfg!(loom) { 2 } else { 16 };

/// Where a process was.
#[derive(Debug)]
pub(crate) struct Trail {
    /// The position behind its last claim.
    tail: AtomicU64,
    /// The position behind what it took last.
    head: AtomicU64,
    /// Where head was when it looked whether there is room: it only moves on, so what has room by that has room. To look costs a
    /// line of the cache that getters write all the time.
    seen: AtomicU64,
}

impl Trail {
    /// That of a process which has not been anywhere beyond `start`.
    pub(crate) fn at(start: Position) -> Self {
        let word = || AtomicU64::new(start.bits());
        Self { tail: word(), head: word(), seen: word() }
    }

    /// The position behind what this process took last.
    pub(crate) fn taken(&self) -> Position {
        // ORDERING: Relaxed: the position stands for itself.
        Position::new(self.head.load(Relaxed))
    }
}

/// A slot that is ours.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ours<S> {
    pub(crate) position: Position,
    pub(crate) slot: S,
    /// Whether nobody else was in between.
    is_alone: bool,
}

/// What came of asking for a place.
#[derive(Debug)]
pub(crate) enum Claim<S> {
    Claimed(Ours<S>),
    /// There is no slot for this position: its chunk is to be attached.
    NoSlot(Position),
    Full,
    Closed,
}

/// What came of asking for an item.
#[derive(Debug)]
pub(crate) enum Take<S> {
    Taken(Ours<S>),
    /// It needs more than what was prepared.
    Unprepared,
    Empty,
    /// The next item is being put, by the process in this slot of the table.
    Busy(u16),
    Closed,
}

/// What came of asking for the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Close {
    Closed,
    /// It was.
    Already,
    NoSlot(Position),
}

/// The operations.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Line<'a, S> {
    pub(crate) slots: S,
    pub(crate) trail: &'a Trail,
    /// How many items there may be.
    pub(crate) limit: Option<u64>,
    /// Whether who publishes makes a fence, because nobody makes one everywhere before he sleeps.
    pub(crate) is_fenced: bool,
}

impl<S: Slots> Line<'_, S> {
    /// Claims the next position for the process in slot `me`.
    #[inline(always)]
    pub(crate) fn claim(&self, me: u16) -> Result<Claim<S::Slot>> {
        // ORDERING: Relaxed: the slot tells whether that is still so.
        let mut at = Position::new(self.trail.tail.load(Relaxed));
        let mut is_alone = true;
        loop {
            if let Some(slot) = self.slots.slot(at)? {
                let word = self.slots.word(&slot);
                let bits = word.load(Acquire);
                let stamp = Stamp::from_bits(bits);
                match stamp.state {
                    _ if stamp.position != at => {}
                    State::Free if !self.has_room(at)? => return Ok(Claim::Full),
                    State::Free if word.exchange(bits, claimed(at, me)) => {
                        self.trail.tail.store(at.next().bits(), Relaxed);
                        return Ok(Claim::Claimed(Ours { position: at, slot, is_alone }));
                    }
                    State::Free => {}
                    State::Closed => return Ok(Claim::Closed),
                    _ if !is_alone => self.help(self.slots.tail(), at),
                    _ => {}
                }
            } else if !is_alone {
                return Ok(Claim::NoSlot(at));
            }
            is_alone = false;
            at = Position::new(self.slots.tail().load(Acquire));
        }
    }

    /// The item in a slot that this process claimed is there.
    #[inline(always)]
    pub(crate) fn publish(&self, ours: Ours<S::Slot>) {
        let Ours { position, slot, is_alone } = ours;
        let published = Stamp::new(position, State::Published).to_bits();
        // ORDERING: Release: whoever takes it, by an exchange, sees what the slot and its payload hold.
        self.slots.word(&slot).store(published, Release);
        // ORDERING: a full fence between this and the caller's look at the bell, by him who publishes, or by him who sleeps, everywhere.
        // Who sleeps has announced itself before it looked at the slot.
        if self.is_fenced {
            fence(SeqCst)
        } else {
            compiler_fence(SeqCst)
        }
        self.pass(self.slots.tail(), position, is_alone);
    }

    /// Takes the next item: its slot is `taken` then. What `prepare` needs to read an item is made while that is still
    /// everybody's, or it says that it cannot; it may see one that somebody else takes.
    #[inline(always)]
    pub(crate) fn take(
        &self,
        taken: State,
        mut prepare: impl FnMut(S::Slot) -> Result<bool>,
    ) -> Result<Take<S::Slot>> {
        // ORDERING: Relaxed: the slot tells whether that is still so.
        let mut at = Position::new(self.trail.head.load(Relaxed));
        let mut is_alone = true;
        loop {
            if let Some(slot) = self.slots.slot(at)? {
                let word = self.slots.word(&slot);
                // ORDERING: SeqCst: after the announcement of who is about to sleep.
                let bits = word.load(SeqCst);
                let stamp = Stamp::from_bits(bits);
                match stamp.state {
                    _ if stamp.position != at => {}
                    State::Published => {
                        let is_prepared = prepare(slot);
                        if !matches!(is_prepared, Ok(true)) {
                            // What it saw may have been another item's already.
                            if word.load(Acquire) == bits {
                                return is_prepared.map(|_| Take::Unprepared);
                            }
                        } else if word.exchange(bits, Stamp::new(at, taken).to_bits()) {
                            self.trail.head.store(at.next().bits(), Relaxed);
                            self.pass(self.slots.head(), at, is_alone);
                            return Ok(Take::Taken(Ours { position: at, slot, is_alone }));
                        }
                    }
                    State::Free => return Ok(Take::Empty),
                    State::Claimed(owner) => return Ok(Take::Busy(owner)),
                    State::Closed => return Ok(Take::Closed),
                    State::Unknown => {}
                    _ if !is_alone => self.help(self.slots.head(), at),
                    _ => {}
                }
            } else if !is_alone && self.slots.head().load(Acquire) == at.bits() {
                // Not retired meanwhile, but not attached yet.
                return Ok(Take::Empty);
            }
            is_alone = false;
            at = Position::new(self.slots.head().load(Acquire));
        }
    }

    /// What becomes of a slot that is this process's.
    #[inline]
    pub(crate) fn leave(&self, ours: Ours<S::Slot>, state: State) {
        let left = Stamp::new(ours.position, state).to_bits();
        // ORDERING: Release: whoever sees it done sees what was done before, to its payload as well.
        self.slots.word(&ours.slot).store(left, Release);
    }

    /// The slot of a position that this process took.
    pub(crate) fn again(&self, position: Position) -> Result<Option<Ours<S::Slot>>> {
        let slot = self.slots.slot(position)?;
        Ok(slot.map(|slot| Ours { position, slot, is_alone: false }))
    }

    /// From where to where what is left lies that was taken; `from` is not beyond the first slot that is not done.
    pub(crate) fn left(&self, from: &S::Word) -> Result<(Position, Position)> {
        let end = self.settle_head()?;
        Ok((self.first_left(from)?.0, end))
    }

    /// Moves `from`, which is not beyond the first slot that is not done, there. Tells where that is, and how far its item is.
    pub(crate) fn first_left(&self, from: &S::Word) -> Result<(Position, Option<State>)> {
        let at = self.settle(from, |state| state == State::Done)?;
        Ok((at, self.state(from, at)?))
    }

    /// Ends the queue at the first position that nobody has.
    pub(crate) fn close(&self) -> Result<Close> {
        loop {
            let at = Position::new(self.slots.tail().load(Acquire));
            let Some(slot) = self.slots.slot(at)? else { return Ok(Close::NoSlot(at)) };
            let word = self.slots.word(&slot);
            let bits = word.load(Acquire);
            let stamp = Stamp::from_bits(bits);
            if stamp.position != at {
                continue;
            }
            match stamp.state {
                State::Free => {
                    if word.exchange(bits, Stamp::new(at, State::Closed).to_bits()) {
                        return Ok(Close::Closed);
                    }
                }
                State::Closed => return Ok(Close::Already),
                _ => self.help(self.slots.tail(), at),
            }
        }
    }

    /// How many items there are: exact if nobody puts or gets meanwhile.
    pub(crate) fn len(&self) -> Result<u64> {
        loop {
            let head = self.settle_head()?;
            let tail = self.settle_tail()?;
            if self.settle_head()? == head {
                return Ok(tail.beyond(head));
            }
        }
    }

    /// Whether there is no room, and no end either.
    pub(crate) fn is_full(&self) -> Result<bool> {
        let at = self.settle_tail()?;
        let state = self.state(self.slots.tail(), at)?;
        Ok(matches!(state, None | Some(State::Free)) && !self.has_room(at)?)
    }

    /// Whether a getter has to wait: there is nothing, or it is being put, and no end.
    pub(crate) fn is_waiting(&self) -> Result<bool> {
        Ok(matches!(self.at_head()?, None | Some(State::Free | State::Claimed(_))))
    }

    /// Whether there is something to be got.
    pub(crate) fn has_item(&self) -> Result<bool> {
        Ok(self.at_head()? == Some(State::Published))
    }

    /// Whether all items were taken, and none comes any more.
    pub(crate) fn is_over(&self) -> Result<bool> {
        Ok(self.at_head()? == Some(State::Closed))
    }

    fn at_head(&self) -> Result<Option<State>> {
        let at = self.settle_head()?;
        self.state(self.slots.head(), at)
    }

    /// The first that `find` finds of the items that are not done, which begin at `from`.
    pub(crate) fn find_left<T>(
        &self,
        from: &S::Word,
        mut find: impl FnMut(State) -> Option<T>,
    ) -> Result<Option<T>> {
        let (mut at, _) = self.first_left(from)?;
        loop {
            let Some(slot) = self.slots.slot(at)? else { return Ok(None) };
            let stamp = Stamp::from_bits(self.slots.word(&slot).load(SeqCst));
            if matches!(stamp.state, State::Free | State::Closed | State::Unknown) {
                return Ok(None);
            }
            if let Some(found) = find(stamp.state).filter(|_| stamp.position == at) {
                return Ok(Some(found));
            }
            at = at.next();
        }
    }

    /// Whether nothing is put any more.
    pub(crate) fn is_closed(&self) -> Result<bool> {
        let at = self.settle_tail()?;
        Ok(self.state(self.slots.tail(), at)? == Some(State::Closed))
    }

    /// How far the item at a position is that head or tail was at; nothing when there is no slot for it yet.
    fn state(&self, word: &S::Word, at: Position) -> Result<Option<State>> {
        let Some(slot) = self.slots.slot(at)? else {
            // It may have been retired meanwhile.
            let is_there = word.load(SeqCst) == at.bits();
            return Ok((!is_there).then_some(State::Done));
        };
        // ORDERING: SeqCst: after the announcement of who is about to sleep.
        let stamp = Stamp::from_bits(self.slots.word(&slot).load(SeqCst));
        Ok(Some(if stamp.position == at { stamp.state } else { State::Done }))
    }

    /// Whether a position that is free may be claimed.
    #[inline]
    fn has_room(&self, at: Position) -> Result<bool> {
        let Some(limit) = self.limit else { return Ok(true) };
        let seen = &self.trail.seen;
        // ORDERING: Relaxed: the number stands for itself.
        if at.since(Position::new(seen.load(Relaxed))) < limit {
            return Ok(true);
        }
        // ORDERING: SeqCst: after the announcement of who is about to sleep.
        let mut head = Position::new(self.slots.head().load(SeqCst));
        if at.beyond(head) >= limit {
            head = self.settle_head()?;
        }
        seen.store(head.bits(), Relaxed);
        Ok(at.beyond(head) < limit)
    }

    /// Moves head to the first slot that is neither taken nor done.
    fn settle_head(&self) -> Result<Position> {
        self.settle(self.slots.head(), State::is_taken)
    }

    /// Moves tail to the first slot that is free or closed.
    fn settle_tail(&self) -> Result<Position> {
        self.settle(self.slots.tail(), |state| {
            !matches!(state, State::Free | State::Closed | State::Unknown)
        })
    }

    fn settle(&self, word: &S::Word, is_passed: impl Fn(State) -> bool) -> Result<Position> {
        'anew: loop {
            let begin = Position::new(word.load(SeqCst));
            let mut at = begin;
            loop {
                let stamp = match self.slots.slot(at)? {
                    Some(slot) => Stamp::from_bits(self.slots.word(&slot).load(SeqCst)),
                    // It is where nothing is attached yet, unless its chunk was retired meanwhile.
                    None if at != begin || word.load(Acquire) == at.bits() => break,
                    None => continue 'anew,
                };
                if stamp.position != at {
                    continue 'anew;
                }
                if !is_passed(stamp.state) {
                    break;
                }
                at = at.next();
            }
            if at == begin || word.exchange(begin.bits(), at.bits()) {
                return Ok(at);
            }
        }
    }

    /// Moves tail or head behind a position that this process passed.
    #[inline(always)]
    fn pass(&self, word: &S::Word, at: Position, is_alone: bool) {
        let next = at.next();
        if is_alone && !next.bits().is_multiple_of(STRIDE) {
            return;
        }
        // ORDERING: Relaxed: if it is old the exchange fails.
        let now = Position::new(word.load(Relaxed));
        if next.beyond(now) > 0 {
            // If it fails, somebody else has moved it.
            let _moved = word.exchange(now.bits(), next.bits());
        }
    }

    #[inline(always)]
    fn help(&self, word: &S::Word, at: Position) {
        // If it fails, somebody else has done it.
        let _moved = word.exchange(at.bits(), at.next().bits());
    }
}

#[inline(always)]
fn claimed(at: Position, me: u16) -> u64 {
    Stamp::new(at, State::Claimed(me)).to_bits()
}

#[cfg(all(test, loom))]
mod loom;
