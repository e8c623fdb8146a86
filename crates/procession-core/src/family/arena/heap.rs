//! Places in the arena: taking them, giving them back. No system call is made here.
//!
//! The words of the arena, in this order: the class of each chunk, a header for each place, the places. A place is 64 bytes;
//! an object takes 1, 2, 4, .. 1024 of them, in a chunk of 1024 that has objects of this size only. The last word of an object's
//! first place is [`Notes`], and the one before it names its [extension](super::Object::extension).
//!
//! What a method may be called by is said at the method; who dies where, and what follows, is in `docs/arena.md`. Loom's models
//! are in `family/arena/loom.rs`.

use procession_sys::prim::Ordering::{AcqRel, Acquire, Release, SeqCst};
use procession_sys::prim::model::fence;

use super::super::stamp::ProcessId;
use super::super::table::Table;
use super::super::words::{Word, Words};
use super::header::{Header, State};
use super::recover::Kind;

/// Words in a place.
pub(super) const PLACE: usize = 8;
/// Places in a chunk.
pub(super) const CHUNK: u32 = 1024;
/// The largest object is one chunk.
pub(super) const LARGEST: u8 = 10;
/// Of an object's words, the one that names its extension.
pub(super) const LINK: usize = 6;
/// Of an object's words, its [`Notes`].
const NOTES: usize = 7;
/// Objects from this class on fill pages, which go back to the system before they are used again.
const PAGES: u8 = 6;

/// How large an arena is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) chunks: u32,
    /// Places in a chunk; other than [`CHUNK`] in models.
    pub(super) chunk: u32,
}

impl Extent {
    const fn places(self) -> u32 {
        self.chunks * self.chunk
    }

    pub(super) const fn words(self) -> usize {
        self.first_place() + self.places() as usize * PLACE
    }

    const fn first_header(self) -> usize {
        (self.chunks as usize).next_multiple_of(PLACE)
    }

    /// On a cache line.
    const fn first_place(self) -> usize {
        (self.first_header() + self.places() as usize).next_multiple_of(PLACE)
    }
}

/// What is known about the messages that an object was in, and about those who had it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Notes {
    /// How often it was put into a message.
    sent: u32,
    /// How often it was received; 31 bits.
    received: u32,
    /// Whether a process died that held it, since anybody received it last.
    pub(super) was_lost: bool,
}

impl Notes {
    const SENT: u64 = 1 << 32;
    const LOST: u64 = 1 << 31;

    fn from_bits(bits: u64) -> Self {
        let half = |bits: u64| u32::try_from(bits & u64::from(u32::MAX)).unwrap_or_default();
        Self {
            sent: half(bits >> 32),
            received: half(bits & (Self::LOST - 1)),
            was_lost: bits & Self::LOST != 0,
        }
    }

    /// Whether there is a message with it that was not received: on its way, or gone.
    pub(super) fn is_out(self) -> bool {
        self.sent & 0x7fff_ffff != self.received
    }
}

/// What came of looking whether an object can go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hold {
    /// Somebody has it, or had it when this looked.
    Held,
    /// Nobody has it, but perhaps a message: who knows the tickets decides.
    Out(Header),
    /// Nobody has it.
    Unheld(Header),
}

/// The arena, over words of any kind.
#[derive(Debug)]
pub(super) struct Heap<'a, W> {
    pub(super) table: &'a Table<W>,
    /// Its first word.
    pub(super) base: usize,
    pub(super) extent: Extent,
}

impl<'a, W: Words> Heap<'a, W> {
    /// Claims a free place for an object of `class`, and holds it for `me`, the caller, who lets no other thread claim or
    /// hold meanwhile. `is_clean` tells whether this process has no handle to what was there before. `None` when there is no
    /// room.
    pub(super) fn claim(
        &self,
        me: ProcessId,
        class: u8,
        hint: &mut u32,
        is_clean: impl Fn(u32) -> bool,
    ) -> Option<(u32, u32)> {
        loop {
            let mut looked = 0;
            for step in 0..self.extent.chunks {
                let chunk = (*hint + step) % self.extent.chunks;
                if self.class_of(chunk) == Some(class) {
                    looked += 1;
                    if let Some(claimed) = self.claim_in(chunk, me, class, &is_clean) {
                        *hint = chunk;
                        return Some(claimed);
                    }
                }
            }
            match self.take_chunk(class) {
                Some(chunk) => *hint = chunk,
                // Unless somebody else has taken one meanwhile.
                None if self.chunks_of(class) == looked => return None,
                None => {}
            }
        }
    }

    fn claim_in(
        &self,
        chunk: u32,
        me: ProcessId,
        class: u8,
        is_clean: impl Fn(u32) -> bool,
    ) -> Option<(u32, u32)> {
        let first = chunk * self.extent.chunk;
        (first..first + self.extent.chunk).step_by(1 << class).find_map(|number| {
            let free = self.header(number)?;
            if free.state != State::Free || !is_clean(number) {
                return None;
            }
            // Held first: dying in between leaves a hold of something free, which recovery clears.
            self.table.hold(me, number);
            if self.change(number, free, free.with(State::Claimed { owner: me.slot })) {
                return Some((number, free.generation));
            }
            self.table.release(me, number);
            self.free_if_lost(number);
            None
        })
    }

    /// Frees what whoever took the place has dropped already, and did not free because of the hold that the caller had. What is
    /// or was in a message, and extensions, are left to those who look when there is no room.
    fn free_if_lost(&self, number: u32) {
        if let Hold::Unheld(seen) = self.look(number)
            && let State::Live { kind, .. } = seen.state
            && kind != Kind::EXTENSION.number()
        {
            self.free(number, seen);
        }
    }

    fn chunks_of(&self, class: u8) -> usize {
        (0..self.extent.chunks).filter(|chunk| self.class_of(*chunk) == Some(class)).count()
    }

    /// Gives `class` a chunk that nobody uses.
    fn take_chunk(&self, class: u8) -> Option<u32> {
        (0..self.extent.chunks).find(|chunk| {
            self.class_of(*chunk).is_none() && {
                let word = self.table.words().at(self.base + *chunk as usize);
                word.exchange(0, u64::from(class) + 1)
            }
        })
    }

    fn class_of(&self, chunk: u32) -> Option<u8> {
        // ORDERING: Acquire: pairs with the exchange in `take_chunk`; nothing else is read on the strength of it.
        let word = self.table.words().at(self.base + chunk as usize).load(Acquire);
        u8::try_from(word).ok()?.checked_sub(1).filter(|class| *class <= LARGEST)
    }

    /// Whether the caller of [`claim`](Self::claim) should give back the memory of the place, instead of zeroing its words.
    pub(super) fn is_pages(class: u8) -> bool {
        class >= PAGES
    }

    /// Makes an object of what the caller claimed, once its words are as they shall be.
    pub(super) fn publish(&self, number: u32, generation: u32, owner: u16, class: u8, kind: u8) {
        let claimed = Header { state: State::Claimed { owner }, generation };
        let live = claimed.with(State::Live { class, kind, receipts: 0 });
        let is_ours = self.change(number, claimed, live);
        debug_assert!(is_ours, "nobody touches what a living process claimed");
    }

    /// Frees what the process in slot `owner` claimed: itself, or whoever recovers it.
    pub(super) fn unclaim(&self, number: u32, generation: u32, owner: u16) -> bool {
        let claimed = Header { state: State::Claimed { owner }, generation };
        self.change(number, claimed, claimed.freed())
    }

    /// Notes that `me`, the caller, has received the object. The message keeps it from going until this returns. `false` when
    /// it is not there.
    pub(super) fn receive(&self, me: ProcessId, number: u32, generation: u32) -> bool {
        let was_held = self.table.is_held_by(me, number);
        // Held first, counted then: whoever looks for holders and misses this one finds the count changed.
        self.table.hold(me, number);
        while let Some(header) = self.header(number)
            && header.generation == generation
            && let State::Live { class, kind, receipts } = header.state
        {
            let counted = header.with(State::Live { class, kind, receipts: receipts + 1 });
            if self.change(number, header, counted) {
                self.note_receipt(number);
                return true;
            }
        }
        if !was_held {
            self.table.release(me, number);
        }
        false
    }

    fn note_receipt(&self, number: u32) {
        loop {
            let bits = self.notes_word(number).load(Acquire);
            let received = (bits + 1) & (Notes::LOST - 1);
            let now = bits & !(Notes::SENT - 1) | received;
            if self.notes_word(number).exchange(bits, now) {
                return;
            }
        }
    }

    /// Notes that all messages with the object that were not received when it had these `notes` are gone; `false` when
    /// something was sent or received since.
    pub(super) fn note_gone(&self, number: u32, notes: Notes) -> bool {
        let bits = self.notes_word(number).load(Acquire);
        let gone = bits & !(Notes::SENT - 1) | Notes::LOST | bits >> 32 & (Notes::LOST - 1);
        Notes::from_bits(bits) == notes && self.notes_word(number).exchange(bits, gone)
    }

    /// Notes that the object was put into a message, whose ticket claims it. For whoever holds it.
    pub(super) fn note_sent(&self, number: u32) {
        loop {
            let bits = self.notes_word(number).load(Acquire);
            if self.notes_word(number).exchange(bits, bits.wrapping_add(Notes::SENT)) {
                return;
            }
        }
    }

    /// Notes that a process died that held the object. For its recoverer.
    pub(super) fn note_loss(&self, number: u32) {
        self.notes_word(number).fetch_or(Notes::LOST, AcqRel);
    }

    pub(super) fn notes(&self, number: u32) -> Notes {
        Notes::from_bits(self.notes_word(number).load(Acquire))
    }

    /// Looks whether anybody has the object.
    pub(super) fn look(&self, number: u32) -> Hold {
        // ORDERING: pairs with itself: of two who drop their holds and then look, one sees that the other's is gone.
        fence(SeqCst);
        // ORDERING: the header before the holders, as `receive` writes them the other way round.
        let Some(header) = self.header(number) else { return Hold::Held };
        if !matches!(header.state, State::Live { .. }) || self.table.is_held(number) {
            return Hold::Held;
        }
        match self.notes(number).is_out() {
            true => Hold::Out(header),
            false => Hold::Unheld(header),
        }
    }

    /// Frees the object if nobody has received it since [`look`](Self::look) found that nobody has it.
    pub(super) fn free(&self, number: u32, seen: Header) -> bool {
        // Read first: once it is free its words are another's, and so may be the place that they name.
        let extension = self.extension_of(number);
        let is_free = self.change(number, seen, seen.freed());
        // A dead process may hold it that made it: then it goes when that is recovered.
        if is_free
            && let Some((extension, header)) = extension
            && self.look(extension) == Hold::Unheld(header)
        {
            self.change(extension, header, header.freed());
        }
        is_free
    }

    fn extension_of(&self, number: u32) -> Option<(u32, Header)> {
        let link = self.word(number, LINK).load(Acquire);
        let extension = u32::try_from(link).ok()?.checked_sub(1)?;
        Some((extension, self.header(extension)?))
    }

    /// What is at `number`. Nothing if there is no such place, or somebody wrote over it.
    pub(super) fn header(&self, number: u32) -> Option<Header> {
        // ORDERING: Acquire: pairs with the exchange in `change`.
        let is_there = number < self.extent.places();
        is_there.then(|| Header::from_bits(self.header_word(number).load(Acquire))).flatten()
    }

    /// The numbers of all objects.
    pub(super) fn live(&self) -> impl Iterator<Item = u32> {
        (0..self.extent.chunks).filter_map(|chunk| Some((chunk, self.class_of(chunk)?))).flat_map(
            move |(chunk, class)| {
                let first = chunk * self.extent.chunk;
                (first..first + self.extent.chunk).step_by(1 << class).filter(|number| {
                    let header = self.header(*number);
                    header.is_some_and(|header| matches!(header.state, State::Live { .. }))
                })
            },
        )
    }

    /// Zeroes the words of a claimed place.
    pub(super) fn clear(&self, number: u32, class: u8) {
        for word in 0..PLACE << class {
            self.word(number, word).store(0, Release);
        }
    }

    /// Where the words of the place `number` begin.
    pub(super) fn first_word(&self, number: u32) -> usize {
        self.base + self.extent.first_place() + number as usize * PLACE
    }

    fn word(&self, number: u32, word: usize) -> &'a W::Word {
        self.table.words().at(self.first_word(number) + word)
    }

    fn notes_word(&self, number: u32) -> &'a W::Word {
        self.word(number, NOTES)
    }

    fn header_word(&self, number: u32) -> &'a W::Word {
        self.table.words().at(self.header_index(number))
    }

    /// Which of the words the header of the place `number` is.
    pub(super) fn header_index(&self, number: u32) -> usize {
        self.base + self.extent.first_header() + number as usize
    }

    /// The only place that changes a header.
    fn change(&self, number: u32, from: Header, to: Header) -> bool {
        self.header_word(number).exchange(from.to_bits(), to.to_bits())
    }
}
