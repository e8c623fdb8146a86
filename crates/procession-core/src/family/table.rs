//! The process table: slots, who may change them and how. No system call is made here.
//!
//! The words, in this order: a header, the states of all slots side by side (they are searched), four data words per
//! slot, the holds of every slot. The holds are a bit per object, behind a summary that has a bit for each of their words
//! that was ever used: most processes hold few of many objects. The protocol, who dies where and what follows, is in
//! `docs/family.md`; what a method here may be called by is said at the method.
//!
//! Loom's models of this file and of `recovery` are in `family/loom.rs`.

use procession_sys::prim::Ordering::{AcqRel, Acquire, Relaxed, Release};

use super::stamp::{ProcessId, Stamp, State};
use super::words::{Word, Words};

const MAGIC: u64 = u64::from_le_bytes(*b"procfam1");
/// Words before the first state: magic, size, namespaces, origin (3), the reach, and one to spare.
const HEADER: usize = 8;
/// Data words per slot.
const DATA: usize = 4;
const PID: usize = 0;
const BIRTH: usize = 1;
const PARENT: usize = 2;
const LEFT: usize = 3;
/// The header's word for one more than the highest slot that was ever used.
const REACH: usize = 6;

/// How large a table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    /// At most 65,535.
    pub(super) slots: u16,
    /// Words of 64 objects each.
    pub(super) hold_words: u16,
}

impl Size {
    pub(super) const fn words(self) -> usize {
        HEADER + self.slots as usize * (1 + DATA + self.row())
    }

    /// Words before the holds: one for each 64 of these.
    const fn summary(self) -> usize {
        (self.hold_words as usize).div_ceil(64)
    }

    /// Words for the holds of one slot.
    const fn row(self) -> usize {
        self.summary() + self.hold_words as usize
    }

    pub(super) fn objects(self) -> u32 {
        u32::from(self.hold_words) * 64
    }
}

/// Which family a table is of, and where its process numbers mean something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) namespaces: u64,
    /// Process number and start of the root, and which of its families.
    pub(super) root: [u64; 3],
}

/// What a process writes down about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) pid: u32,
    /// What tells it from others with its number: see `procession_sys::pidfd::birth`.
    pub(super) birth: u64,
}

/// What came of [`Table::mark_dead`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Marked {
    Now,
    Before,
    /// Its slot is free again, or another's.
    Gone,
}

/// What came of [`Table::claim`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claim {
    /// The caller recovers.
    Ours,
    /// The process in this slot does, or died over it.
    Theirs(u16),
    /// That is done, but for giving the slot back.
    Recovered,
    /// Not dead, or gone.
    Nothing,
}

/// The table, over words of any kind.
#[derive(Debug)]
pub(super) struct Table<W> {
    words: W,
    /// INVARIANT: `size.words()` is at most `words.count()`; read once, so that nobody can change it under our feet.
    size: Size,
    origin: Origin,
}

impl<W: Words> Table<W> {
    /// Makes a table of words that nobody else has yet; they are zero, and `size.words()` in number.
    pub(super) fn create(words: W, size: Size, origin: Origin) -> Self {
        assert!(size.words() <= words.count(), "room for the table");
        // ORDERING: Relaxed: the descriptor that the words are sent by orders all this.
        words.at(0).store(MAGIC, Relaxed);
        words.at(1).store(u64::from(size.slots) << 16 | u64::from(size.hold_words), Relaxed);
        words.at(2).store(origin.namespaces, Relaxed);
        for (at, number) in (3..).zip(origin.root) {
            words.at(at).store(number, Relaxed);
        }
        Self { words, size, origin }
    }

    /// Reads the header of a table that another process made; `None` when it is none.
    pub(super) fn open(words: W) -> Option<Self> {
        if words.count() < HEADER || words.at(0).load(Relaxed) != MAGIC {
            return None;
        }
        let sizes = words.at(1).load(Relaxed);
        let size = Size {
            slots: u16::try_from(sizes >> 16).ok()?,
            hold_words: u16::try_from(sizes & 0xffff).ok()?,
        };
        let word = |at: usize| words.at(at).load(Relaxed);
        let origin = Origin { namespaces: word(2), root: [word(3), word(4), word(5)] };
        (size.slots > 0 && size.words() <= words.count()).then_some(Self { words, size, origin })
    }

    pub(super) fn words(&self) -> &W {
        &self.words
    }

    pub(super) fn size(&self) -> Size {
        self.size
    }

    pub(super) fn origin(&self) -> Origin {
        self.origin
    }

    /// The slots that were ever used.
    pub(super) fn slots(&self) -> impl Iterator<Item = u16> + use<W> {
        // ORDERING: Acquire: pairs with the exchange in `reach`: who knows of a process that took a slot sees the slot.
        let reach = self.words.at(REACH).load(Acquire);
        0..u16::try_from(reach).unwrap_or(u16::MAX).min(self.size.slots)
    }

    /// Has `slot` among those that were used.
    fn reach(&self, slot: u16) {
        let word = self.words.at(REACH);
        loop {
            let now = word.load(Relaxed);
            if now > u64::from(slot) || word.exchange(now, u64::from(slot) + 1) {
                return;
            }
        }
    }

    /// The state of `slot`. One that does not exist is no state of ours.
    pub(super) fn stamp(&self, slot: u16) -> Stamp {
        match slot < self.size.slots {
            // ORDERING: Acquire: pairs with the Release of whoever made this state (`change`).
            true => Stamp::from_bits(self.state(slot).load(Acquire)),
            false => Stamp { state: State::Unknown, generation: 0 },
        }
    }

    /// The state of `id`; `None` when its slot is another's by now, or free.
    pub(super) fn state_of(&self, id: ProcessId) -> Option<State> {
        let stamp = self.stamp(id.slot);
        let is_it = stamp.generation == id.generation && stamp.state != State::Free;
        is_it.then_some(stamp.state)
    }

    /// Takes a free slot for a child of `parent`, the caller.
    pub(super) fn reserve(&self, parent: ProcessId) -> Option<ProcessId> {
        let id = self.take(State::Joining { parent: parent.slot })?;
        // ORDERING: Release: as all data words, see `entry`. If the caller dies before this, the state word knows it.
        self.data(id.slot, PARENT).store(parent.to_bits(), Release);
        Some(id)
    }

    /// Takes a free slot for the caller, the process `pid`, which nobody reserved one for.
    pub(super) fn arrive_unasked(&self, pid: u32, parent: Option<ProcessId>) -> Option<ProcessId> {
        let id = self.take(State::Arriving { pid })?;
        self.data(id.slot, PARENT).store(parent.map_or(0, ProcessId::to_bits), Release);
        Some(id)
    }

    fn take(&self, state: State) -> Option<ProcessId> {
        (0..self.size.slots).find_map(|slot| {
            loop {
                let free = self.stamp(slot);
                if free.state != State::Free {
                    return None;
                }
                self.reach(slot);
                if self.change(slot, free, free.with(state)) {
                    return Some(ProcessId { slot, generation: free.generation });
                }
            }
        })
    }

    /// Gives back a slot that the caller reserved and that no child took; `false` when one did, or when it holds something.
    pub(super) fn abandon(&self, id: ProcessId, parent: ProcessId) -> bool {
        let joining = self.stamp_of(id, State::Joining { parent: parent.slot });
        let ours = joining.with(State::Dead { recoverer: Some(parent.slot) });
        // By way of a claim, so that a child that arrives this moment has its slot for itself, and a parent that dies this
        // moment leaves something that its recoverer finds.
        let is_unused = self.holds(id).next().is_none() && self.change(id.slot, joining, ours);
        if is_unused {
            self.clear(id);
            self.set_recovered(id, parent.slot);
            self.free(id);
        }
        is_unused
    }

    /// The first step of the caller, the process `pid`, into the slot that its parent reserved: from here on the slot is
    /// its own, whatever becomes of the parent. `false` when the slot is not there for it any more.
    pub(super) fn arrive(&self, id: ProcessId, pid: u32) -> bool {
        let now = self.stamp(id.slot);
        if now == self.stamp_of(id, State::Arriving { pid }) {
            // It has before.
            return true;
        }
        let is_waiting = matches!(now.state, State::Joining { .. });
        let is_it = is_waiting && now.generation == id.generation;
        is_it && self.change(id.slot, now, now.with(State::Arriving { pid }))
    }

    /// The second step: the caller, which arrived in the slot, says who it is. `false` when somebody took it for dead.
    pub(super) fn go_live(&self, id: ProcessId, entry: Entry) -> bool {
        // Only now: before it arrived the slot might have been taken away and given to another process.
        // ORDERING: Release: pairs with the Acquire in `entry`.
        self.data(id.slot, PID).store(entry.pid.into(), Release);
        self.data(id.slot, BIRTH).store(entry.birth, Release);
        let arriving = self.stamp_of(id, State::Arriving { pid: entry.pid });
        self.change(id.slot, arriving, arriving.with(State::Live))
    }

    /// Who the live process `id` is; `None` when it is not live.
    pub(super) fn entry(&self, id: ProcessId) -> Option<Entry> {
        let live = self.stamp_of(id, State::Live);
        if self.stamp(id.slot) != live {
            return None;
        }
        let entry = self.words_of(id);
        // ORDERING: Relaxed is enough: had the loads above met a word that a later owner of the slot wrote (Release), their
        // Acquire would make this load see that owner's state, or a later one.
        let still = Stamp::from_bits(self.state(id.slot).load(Relaxed));
        (still == live).then_some(entry)
    }

    /// The data words as they are: for a recoverer, whom nobody else changes them under.
    pub(super) fn words_of(&self, id: ProcessId) -> Entry {
        // ORDERING: Acquire: pairs with the Release in `go_live`; see `entry`.
        let pid = self.data(id.slot, PID).load(Acquire);
        let birth = self.data(id.slot, BIRTH).load(Acquire);
        Entry { pid: u32::try_from(pid).unwrap_or_default(), birth }
    }

    pub(super) fn parent(&self, slot: u16) -> Option<ProcessId> {
        ProcessId::from_bits(self.data(slot, PARENT).load(Acquire))
    }

    /// Makes `new` the parent of the process in `slot` if `old` is.
    pub(super) fn adopt(&self, slot: u16, old: ProcessId, new: ProcessId) -> bool {
        // The look first keeps a recoverer from taking everybody's cache lines.
        self.parent(slot) == Some(old)
            && self.data(slot, PARENT).exchange(old.to_bits(), new.to_bits())
    }

    /// Whether the process has ended in order.
    pub(super) fn has_left(&self, slot: u16) -> bool {
        self.data(slot, LEFT).load(Acquire) != 0
    }

    /// For the process that has the slot, or whoever reaped it.
    pub(super) fn set_left(&self, slot: u16) {
        self.data(slot, LEFT).store(1, Release);
    }

    /// Notes that the process is dead. The caller knows that it is, and not by guessing.
    pub(super) fn mark_dead(&self, id: ProcessId) -> Marked {
        loop {
            match self.state_of(id) {
                None | Some(State::Unknown) => return Marked::Gone,
                Some(State::Dead { .. } | State::Recovered) => return Marked::Before,
                Some(state) => {
                    let dead = self.stamp_of(id, State::Dead { recoverer: None });
                    if self.change(id.slot, dead.with(state), dead) {
                        return Marked::Now;
                    }
                }
            }
        }
    }

    /// Notes that a process will never come to be, unless it has arrived; tells whether it had not.
    pub(super) fn mark_dead_if_joining(&self, id: ProcessId) -> bool {
        let now = self.stamp(id.slot);
        let is_joining = matches!(now.state, State::Joining { .. });
        let dead = now.with(State::Dead { recoverer: None });
        is_joining && now.generation == id.generation && self.change(id.slot, now, dead)
    }

    /// The slot of the process that recovers the dead `id`.
    pub(super) fn claimant(&self, id: ProcessId) -> Option<u16> {
        match self.state_of(id) {
            Some(State::Dead { recoverer }) => recoverer,
            _ => None,
        }
    }

    /// Makes the caller, the process in slot `recoverer`, the one that recovers.
    pub(super) fn claim(&self, id: ProcessId, recoverer: u16) -> Claim {
        loop {
            match self.state_of(id) {
                Some(State::Dead { recoverer: Some(other) }) => return Claim::Theirs(other),
                Some(State::Dead { recoverer: None }) => {
                    let dead = self.stamp_of(id, State::Dead { recoverer: None });
                    let ours = dead.with(State::Dead { recoverer: Some(recoverer) });
                    if self.change(id.slot, dead, ours) {
                        return Claim::Ours;
                    }
                }
                Some(State::Recovered) => return Claim::Recovered,
                _ => return Claim::Nothing,
            }
        }
    }

    /// Takes back the claim of `recoverer`: the caller's own, or that of a dead process which the caller recovers.
    pub(super) fn disclaim(&self, id: ProcessId, recoverer: u16) -> bool {
        let claimed = self.stamp_of(id, State::Dead { recoverer: Some(recoverer) });
        self.change(id.slot, claimed, claimed.with(State::Dead { recoverer: None }))
    }

    /// Clears everything that the dead process left in its slot. For the recoverer.
    pub(super) fn clear(&self, id: ProcessId) {
        for word in self.used_words(id.slot) {
            self.hold_word(id.slot, word).store(0, Release);
        }
        for part in 0..self.size.summary() {
            // The look first: what was never used has no memory.
            if self.summary_word(id.slot, part).load(Acquire) != 0 {
                self.summary_word(id.slot, part).store(0, Release);
            }
        }
        self.clear_data(id);
    }

    fn clear_data(&self, id: ProcessId) {
        for word in [PID, BIRTH, PARENT, LEFT] {
            self.data(id.slot, word).store(0, Release);
        }
    }

    /// Notes that nothing is left of the process. For the recoverer, who has cleared the slot.
    pub(super) fn set_recovered(&self, id: ProcessId, recoverer: u16) -> bool {
        debug_assert!(self.holds(id).next().is_none(), "a recovered process holds nothing");
        let claimed = self.stamp_of(id, State::Dead { recoverer: Some(recoverer) });
        self.change(id.slot, claimed, claimed.with(State::Recovered))
    }

    /// Frees the slot of a process of which nothing is left. Anybody may.
    pub(super) fn free(&self, id: ProcessId) -> bool {
        self.change(id.slot, self.stamp_of(id, State::Recovered), next_free(id))
    }

    /// Notes that the process holds a reference to `object`. For the process itself, or its parent while it is joining.
    pub(super) fn hold(&self, id: ProcessId, object: u32) {
        let (word, bit) = place(object);
        let (part, part_bit) = (usize::from(word) / 64, 1 << (word % 64));
        // The summary first: dying in between leaves a bit too many.
        if self.summary_word(id.slot, part).load(Acquire) & part_bit == 0 {
            self.summary_word(id.slot, part).fetch_or(part_bit, AcqRel);
        }
        // ORDERING: AcqRel: the reference is noted before it is used, and after what was done before it was got.
        self.hold_word(id.slot, word).fetch_or(bit, AcqRel);
    }

    /// Notes that it does not any more. By the same.
    pub(super) fn release(&self, id: ProcessId, object: u32) {
        let (word, bit) = place(object);
        self.hold_word(id.slot, word).fetch_and(!bit, AcqRel);
    }

    /// What the process holds, in ascending order.
    pub(super) fn holds(&self, id: ProcessId) -> impl Iterator<Item = u32> {
        self.used_words(id.slot).flat_map(move |word| {
            let bits = self.hold_word(id.slot, word).load(Acquire);
            ones(bits).map(move |bit| u32::from(word) * 64 + u32::from(bit))
        })
    }

    /// The words of the holds that were ever used by the process in `slot`.
    fn used_words(&self, slot: u16) -> impl Iterator<Item = u16> {
        (0u16..).zip(0..self.size.summary()).flat_map(move |(at, part)| {
            ones(self.summary_word(slot, part).load(Acquire)).map(move |bit| at * 64 + bit)
        })
    }

    /// Whether the process `id` holds `object`.
    pub(super) fn is_held_by(&self, id: ProcessId, object: u32) -> bool {
        self.has_hold(id.slot, object)
    }

    fn has_hold(&self, slot: u16, object: u32) -> bool {
        let (word, bit) = place(object);
        let part = self.summary_word(slot, usize::from(word) / 64).load(Acquire);
        part >> (word % 64) & 1 == 1 && self.hold_word(slot, word).load(Acquire) & bit != 0
    }

    /// The processes not known to be dead that hold `object`.
    pub(super) fn holders(&self, object: u32) -> impl Iterator<Item = ProcessId> {
        self.slots().filter_map(move |slot| {
            let before = self.stamp(slot);
            let counts = matches!(
                before.state,
                State::Joining { .. } | State::Arriving { .. } | State::Live
            );
            let holds = counts && self.has_hold(slot, object);
            let is_it = holds && self.stamp(slot).generation == before.generation;
            is_it.then_some(ProcessId { slot, generation: before.generation })
        })
    }

    /// Whether anybody holds `object`, dead processes that have not been recovered among them.
    pub(super) fn is_held(&self, object: u32) -> bool {
        self.slots().any(|slot| self.has_hold(slot, object))
    }

    fn stamp_of(&self, id: ProcessId, state: State) -> Stamp {
        Stamp { state, generation: id.generation }
    }

    /// The only place that changes a state.
    fn change(&self, slot: u16, from: Stamp, to: Stamp) -> bool {
        slot < self.size.slots && self.state(slot).exchange(from.to_bits(), to.to_bits())
    }

    fn state(&self, slot: u16) -> &W::Word {
        self.words.at(HEADER + usize::from(slot))
    }

    fn data(&self, slot: u16, word: usize) -> &W::Word {
        let slots = usize::from(self.size.slots);
        self.words.at(HEADER + slots + usize::from(slot) * DATA + word)
    }

    fn summary_word(&self, slot: u16, part: usize) -> &W::Word {
        let before = HEADER + usize::from(self.size.slots) * (1 + DATA);
        self.words.at(before + usize::from(slot) * self.size.row() + part)
    }

    fn hold_word(&self, slot: u16, word: u16) -> &W::Word {
        self.summary_word(slot, self.size.summary() + usize::from(word))
    }
}

/// The numbers of the bits that are set, in ascending order.
fn ones(mut bits: u64) -> impl Iterator<Item = u16> {
    std::iter::from_fn(move || {
        let lowest = u16::try_from(bits.trailing_zeros()).unwrap_or(u16::MAX);
        (bits != 0).then(|| {
            bits &= bits - 1;
            lowest
        })
    })
}

fn next_free(id: ProcessId) -> Stamp {
    Stamp { state: State::Free, generation: id.generation.wrapping_add(1) }
}

fn place(object: u32) -> (u16, u64) {
    (u16::try_from(object / 64).unwrap_or(u16::MAX), 1 << (object % 64))
}
