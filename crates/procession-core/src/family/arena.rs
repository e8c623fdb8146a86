//! Shared objects: small things in memory that every process of the family has, and that live as long as anybody has them.
//!
//! | who | calls |
//! |---|---|
//! | a crate with a kind of object | [`Kind::register`] before `main`; [`Object::new`]; [`Object::serialize`], [`Object::deserialize`] |
//! | an object's operations | [`Object::words`], [`Object::is_abandoned`], [`Object::others`] |
//!
//! The arena lies in the family's segment, behind the process table: no object costs a descriptor, every process can recover
//! every other's. An object is a number and a generation; its words are atomics. Who has a handle has a bit in its row of the
//! process table, which dies with the process. A handle that is on its way, in a message that nobody has read, is a claim on
//! the object's number by a [ticket](procession_sys::claim), a descriptor that goes along: the system takes the claim back when
//! the message is destroyed, whoever destroys it. So a place is used again exactly when nobody can have a handle to what was
//! there. `docs/arena.md` has the protocol, and what follows when anybody dies at any step of it.

mod header;
mod heap;
mod local;
mod recover;
mod unshared;

use std::fmt;

use procession_sys::memory::SharedWords;
use procession_sys::prim::AtomicU64;
use procession_sys::prim::Ordering::{AcqRel, Acquire, Relaxed, Release};
use procession_sys::{claim, wipe};
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use recover::{Kind, Remains};

use super::stamp::ProcessId;
use super::{ARENA, Family};
use crate::{Error, ErrorKind, Result, handle};
use header::{Header, State};
use heap::{CHUNK, Extent, Heap, Hold, LARGEST, LINK, PLACE};
use wipe::PerProcessGuard;

const EXTENT: Extent = Extent { chunks: super::MAX_OBJECTS / CHUNK, chunk: CHUNK };

/// Words that the arena takes.
pub(super) const WORDS: usize = EXTENT.words();

/// Of an object's words, how many at the front are its own; the next two are the arena's, and those of further places
/// its own again.
pub const OWN_WORDS: usize = LINK;

/// A handle to a shared object. Dropped with the others, in all processes, it takes the object with it.
///
/// # Drop, kill, fork
///
/// What a killed process had is as if it had dropped it, once its death is known. A forked process has the handles that its
/// parent had: one that was started by this library from the beginning, another from its first use of any.
pub struct Object {
    family: &'static Family,
    number: u32,
    generation: u32,
    words: &'static [AtomicU64],
    header: &'static AtomicU64,
}

impl Object {
    /// Makes an object of `kind` with at least `words` words, up to 8192, zero but for what `init` writes there: the
    /// argument beside them is the object's generation.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TooLarge`] when there is no room for another object (a quarter of a million places of eight words);
    /// as [`Family::me`].
    pub fn new(
        kind: Kind,
        words: usize,
        init: impl FnOnce(&'static [AtomicU64], u32),
    ) -> Result<Self> {
        let family = Family::current()?;
        let me = family.me()?;
        let heap = family.heap();
        let class = class_for(words)?;
        let mut ours = local::lock()?;
        let (number, generation) = claim_one(family, me, class, &mut ours)?;
        let words = family.object_words(number, class);
        if generation != 0 {
            wipe_place(family, &heap, number, class)?;
        }
        init(words, generation);
        heap.publish(number, generation, me.slot, class, kind.number());
        local::add(number);
        let header = family.object_header(number);
        Ok(Self { family, number, generation, words, header })
    }

    /// The object's words: those up to [`OWN_WORDS`], and from the ninth on. They stay there, and atomic, as long as this process
    /// does; what they mean, as long as the handle.
    #[inline]
    pub fn words(&self) -> &'static [AtomicU64] {
        self.words
    }

    /// Which of the objects that were at its place this one is.
    #[inline]
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Its place; for display.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The family.
    #[inline]
    pub fn family(&self) -> &'static Family {
        self.family
    }

    /// Whether the object is still there. It always is, but for a handle that a process has from a `fork` which nobody here knew
    /// of, and that all others dropped before its first use.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Closed`] when it is not; as [`Family::me`].
    #[inline]
    pub fn check(&self) -> Result<ProcessId> {
        let me = self.family.me()?;
        if self.is_there() { Ok(me) } else { Err(self.gone()) }
    }

    /// Whether the object is still there: see [`check`](Self::check). For a process that has joined.
    #[inline]
    pub fn is_there(&self) -> bool {
        // ORDERING: Relaxed: while this process has a handle, and has joined, the answer does not change.
        Header::is_live(self.header.load(Relaxed), self.generation)
    }

    /// The error of an object that is not there any more.
    #[cold]
    pub fn gone(&self) -> Error {
        Error::new(ErrorKind::Closed, "the shared object is gone")
    }

    /// The other processes that have the object and are not known to be dead: first those behind this one in the process
    /// table, then those before it.
    pub fn others(&self) -> impl Iterator<Item = ProcessId> {
        let me = self.family.peek_me().map_or(0, |me| me.slot);
        let (before, behind): (Vec<_>, Vec<_>) =
            self.family.table.holders(self.number).partition(|other| other.slot <= me);
        behind.into_iter().chain(before).filter(move |other| other.slot != me)
    }

    /// Whether all others that had the object are gone, and at least one of them by its death, or by a message that was
    /// never read. Threads of this process are not looked at.
    pub fn is_abandoned(&self) -> bool {
        let notes = self.family.heap().notes(self.number);
        notes.was_lost && !notes.is_out() && self.others().next().is_none()
    }

    /// Whether a message with the object is on its way, or is gone and [nobody has noticed](Self::notice_lost_messages).
    pub fn is_in_message(&self) -> bool {
        self.family.heap().notes(self.number).is_out()
    }

    /// Looks whether messages with the object were destroyed unread; tells whether this call is the one to notice.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Os`] in theory, when the system cannot tell.
    pub fn notice_lost_messages(&self) -> Result<bool> {
        let heap = self.family.heap();
        let notes = heap.notes(self.number);
        Ok(notes.is_out()
            && !claim::is_claimed(self.family.table.words(), self.number)?
            && heap.note_gone(self.number, notes))
    }

    /// The words of a second object that belongs to this one and goes with it, for what does not fit; made by the first who
    /// needs it, 8192 words, zero.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn extension(&self) -> Result<&'static [AtomicU64]> {
        let link = &self.words[LINK];
        if let Some(words) = self.family.extension_words(link) {
            return Ok(words);
        }
        let parent = u64::from(self.generation) << 32 | u64::from(self.number);
        let whole = PLACE << LARGEST;
        let extension =
            Self::new(Kind::EXTENSION, whole, |words, _| words[0].store(parent, Release))?;
        // ORDERING: Release: whoever finds the link finds an object with a parent. Dying before this, the extension goes with
        // the handle that was made for it; dying after it, it is found to belong to its parent, and stays.
        let place = u64::from(extension.number) + 1;
        let _winner = link.compare_exchange(0, place, AcqRel, Acquire);
        // The handle goes; the extension does as well, if somebody else was faster.
        drop(extension);
        self.family.extension_words(link).ok_or_else(|| self.gone())
    }

    /// The words of the extension, or none if nobody has needed it.
    pub fn peek_extension(&self) -> &'static [AtomicU64] {
        self.family.extension_words(&self.words[LINK]).unwrap_or_default()
    }

    /// The value of a handle in a message.
    ///
    /// # Errors
    ///
    /// When no message is being encoded, or the system refuses.
    pub fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let place = self.put_on_ticket().map_err(S::Error::custom)?;
        Sent { place, number: self.number, generation: self.generation }.serialize(serializer)
    }

    fn put_on_ticket(&self) -> Result<u32> {
        self.check()?;
        let words = self.family.table.words();
        let ticket = || Ok(claim::ticket(words)?);
        handle::put_on_ticket(ticket, |ticket| {
            // Claimed first: whoever finds the note and no claim takes the message for gone. Until it is noted, the handle that is
            // being sent keeps the object.
            claim::claim(ticket, self.number)?;
            self.family.heap().note_sent(self.number);
            Ok(())
        })
    }

    /// The handle in a message, to an object of `kind`.
    ///
    /// # Errors
    ///
    /// When the message has none, the object is of another kind, or this process is not of the family that it belongs to.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        kind: Kind,
        deserializer: D,
    ) -> Result<Self, D::Error> {
        let sent = Sent::deserialize(deserializer)?;
        Self::receive(kind, sent).map_err(D::Error::custom)
    }

    fn receive(kind: Kind, Sent { place, number, generation }: Sent) -> Result<Self> {
        let family = Family::current()?;
        let me = family.me()?;
        let heap = family.heap();
        handle::look_at_ticket(place, |ticket| {
            if !claim::is_same_file(ticket, family.table.words())? {
                let text = "the shared object belongs to another family of processes";
                return Err(Error::new(ErrorKind::Unsupported, text));
            }
            let wrong = || Error::new(ErrorKind::Decode, "not a shared object of this kind");
            let header = heap.header(number).ok_or_else(wrong)?;
            let State::Live { class, kind: found, .. } = header.state else { return Err(wrong()) };
            if header.generation != generation || found != kind.number() || class > LARGEST {
                return Err(wrong());
            }
            let _ours = local::lock()?;
            if !heap.receive(me, number, generation) {
                return Err(wrong());
            }
            local::add(number);
            let (words, header) =
                (family.object_words(number, class), family.object_header(number));
            Ok(Self { family, number, generation, words, header })
        })
    }

    /// The last handle of this process is gone.
    #[cold]
    fn let_go(&self) {
        let (Some(me), Ok(_ours)) = (self.family.peek_me(), local::lock()) else {
            // A fork that has joined nothing has nothing to give back.
            return;
        };
        if local::has(self.number) {
            // Another one has arrived meanwhile.
            return;
        }
        let kind = Kind::of(self.family, self.number);
        if kind.is_some_and(|kind| kind.owns(self.words, me)) {
            // What it still has is given back when it ends.
            return;
        }
        self.family.table.release(me, self.number);
        // If the system cannot tell, the place stays taken until somebody needs it.
        drop(self.family.free_if_unheld(self.number));
    }
}

impl Clone for Object {
    fn clone(&self) -> Self {
        local::add(self.number);
        Self { ..*self }
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        if local::remove(self.number) {
            self.let_go();
        }
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.number, self.generation)
    }
}

/// An object in a message.
#[derive(Serialize, Deserialize)]
struct Sent {
    place: u32,
    number: u32,
    generation: u32,
}

fn class_for(words: usize) -> Result<u8> {
    let places = words.div_ceil(PLACE).next_power_of_two();
    let class = u8::try_from(places.trailing_zeros()).unwrap_or(u8::MAX);
    match class <= LARGEST {
        true => Ok(class),
        false => Err(Error::new(ErrorKind::TooLarge, format!("a shared object of {words} words"))),
    }
}

/// Claims a place; if there is none, after a look whether something can go.
fn claim_one(
    family: &'static Family,
    me: ProcessId,
    class: u8,
    ours: &mut PerProcessGuard<'_, local::Hints>,
) -> Result<(u32, u32)> {
    let heap = family.heap();
    let hint = ours.of(class);
    let is_clean = |number| !local::has(number);
    if let Some(claimed) = heap.claim(me, class, hint, is_clean) {
        return Ok(claimed);
    }
    family.collect()?;
    heap.claim(me, class, hint, is_clean)
        .ok_or_else(|| Error::new(ErrorKind::TooLarge, "no room for another shared object"))
}

/// Makes the words of a place zero that was used before.
fn wipe_place(family: &Family, heap: &Heap<'_, SharedWords>, number: u32, class: u8) -> Result<()> {
    match Heap::<SharedWords>::is_pages(class) {
        true => Ok(family.table.words().discard(heap.first_word(number), PLACE << class)?),
        false => {
            heap.clear(number, class);
            Ok(())
        }
    }
}

impl Family {
    fn heap(&self) -> Heap<'_, SharedWords> {
        Heap { table: &self.table, base: ARENA, extent: EXTENT }
    }

    fn object_header(&'static self, number: u32) -> &'static AtomicU64 {
        self.table.words().word(self.heap().header_index(number))
    }

    fn object_words(&'static self, number: u32, class: u8) -> &'static [AtomicU64] {
        self.table.words().words(self.heap().first_word(number), PLACE << class)
    }

    /// The words of the object at `number` and of its extension, if it is of that kind. For who knew a handle a moment ago: it may
    /// be another object by now.
    pub fn peek_object(
        &'static self,
        number: u32,
        kind: Kind,
    ) -> Option<(&'static [AtomicU64], &'static [AtomicU64])> {
        match self.heap().header(number)?.state {
            State::Live { class, kind: found, .. } if found == kind.number() => {
                let words = self.object_words(number, class.min(LARGEST));
                Some((words, self.extension_words(&words[LINK]).unwrap_or_default()))
            }
            _ => None,
        }
    }

    /// The words of the extension that is named by `link`.
    fn extension_words(&'static self, link: &AtomicU64) -> Option<&'static [AtomicU64]> {
        let number = u32::try_from(link.load(Acquire)).ok()?.checked_sub(1)?;
        match self.heap().header(number)?.state {
            State::Live { class, kind, .. } if kind == Kind::EXTENSION.number() => {
                Some(self.object_words(number, class.min(LARGEST)))
            }
            _ => None,
        }
    }

    /// Whether an extension belongs to a living parent.
    fn belongs(&self, number: u32) -> bool {
        let heap = self.heap();
        let words = self.table.words();
        let parent = words.word(heap.first_word(number)).load(Acquire);
        let (at, generation) = (u32::try_from(parent & u64::from(u32::MAX)), parent >> 32);
        at.is_ok_and(|at| {
            let is_it = |header: Header| {
                matches!(header.state, State::Live { .. })
                    && u64::from(header.generation) == generation
            };
            let links = || words.word(heap.first_word(at) + LINK).load(Acquire);
            heap.header(at).is_some_and(is_it) && links() == u64::from(number) + 1
        })
    }

    /// Frees the object if nobody has it.
    fn free_if_unheld(&self, number: u32) -> Result<bool> {
        let heap = self.heap();
        let seen = match heap.look(number) {
            Hold::Held => return Ok(false),
            Hold::Out(_) if claim::is_claimed(self.table.words(), number)? => return Ok(false),
            Hold::Out(seen) | Hold::Unheld(seen) => seen,
        };
        let is_extension = Kind::of(self, number) == Some(Kind::EXTENSION);
        Ok(!(is_extension && self.belongs(number)) && heap.free(number, seen))
    }

    /// Frees what nobody has any more without anybody having noticed: messages that were never read. Tells how many.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Os`] in theory, when the system cannot tell about messages.
    pub fn collect(&self) -> Result<usize> {
        let mut freed = 0;
        for number in self.heap().live() {
            freed += usize::from(self.free_if_unheld(number)?);
        }
        Ok(freed)
    }

    /// Holds for this process, which has just joined, what it has handles to: it is a fork of one that had them.
    pub(super) fn rejoin(&self, me: ProcessId) {
        for number in local::all() {
            self.table.hold(me, number);
        }
    }

    /// How many objects there are, those included that nobody has and nobody has noticed.
    pub fn objects(&self) -> usize {
        self.heap().live().count()
    }
}

#[cfg(all(test, loom))]
mod loom;
#[cfg(all(test, not(loom)))]
mod tests;
