//! The semaphore: a count of permits, and who has those that were taken with a guard.
//!
//! The first word, lower half: bits 0 to 30 the *value*, the permits that are there; bit 31 `SLEEPER`. Upper half: the *stamp* of
//! the last guarded change: bits 32 to 41 a cell, 42 to 61 the number of the change in that cell, 62 and 63 what it was.
//!
//! A *cell* is a word per process that has permits by guards: bits 0 to 23 the number of its last change, 24 to 47 how many
//! permits, 48 to 63 the process's slot and one, or zero for a free cell.
//!
//! ```text
//!   acquire by p:   1. the cell of p, or a free one: cell.slot = p
//!                   2. word: value - 1, stamp (cell, cell.number + 1, ACQUIRE)      <- from here the permit is p's
//!                   3. cell: permits + 1, number + 1
//!   release by p:   2. word: value + 1, stamp (cell, cell.number + 1, RELEASE)      <- from here it is nobody's
//!                   3. cell: permits - 1, number + 1; and free if there are none left
//! ```
//!
//! **Dying between 2 and 3** leaves a stamp whose number the cell does not have yet. Everybody who changes the word by a guarded
//! change first *settles* the stamp that is there: does step 3 for whoever it was. Step 3 is an exchange of the cell as it was
//! before, so it is done once, by whoever comes first. So the word and the cells together say at every instruction whose the
//! permits are; changes without a guard leave the stamp as it is.
//!
//! **Recovery** of process d: settles the stamp; for each cell of d: word: value + permits, stamp CLEAR, and step 3 makes the cell
//! free. Then wakes all. What d took without a guard stays taken.
//!
//! **Idle cells.** A thread that has claimed a cell may find that another has taken the permit, or that a sibling acquires with another
//! cell. Then it gives its own back: word: as it is, stamp FORGET. A process acquires with a cell that it has permits in, if there
//! is one; because the word decides who is first, it never has two of these, unless one is full.
//!
//! **Sleeping.** A waiter sets `SLEEPER` in a word in which there is nothing for it, and sleeps while value and bit stay as they are. A
//! release clears the bit and wakes as many as it gave; so does, for one, whoever frees a cell while permits are there. Whoever takes a permit after it has
//! slept may not be the only one who slept: if it takes the last one it sets the bit, and if it leaves some it clears the bit and
//! wakes one more. So while there is something to take and somebody sleeps, somebody is awake who will see to it. A waiter
//! that dies with its wake-up is made up for by its recoverer, which wakes all.
//!
//! A waiter that finds permits but no cell sleeps like others. If it was it who set the bit, it wakes all before: it may have been
//! woken in place of one who needs no cell. Those who then find the bit set, and no cell, wake nobody.
//!
//! **Orderings.** All changes are SeqCst exchanges, loads are Acquire. The cell is read after the word that its change is
//! based on: if the word has not changed, the cell has not either, but for its claim.
//!
//! **Who may do what.** Claim a free cell: any process, for itself. Change a cell otherwise: whoever settles. Value: anybody.

use procession_core::Result;
use procession_core::waiting::Slept;
use procession_sys::prim::Ordering::Acquire;

use super::Halt;
use crate::word::{Waiter, Word, low};

const SLEEPER: u32 = 1 << 31;
/// The largest value.
pub(crate) const MOST: u32 = SLEEPER - 1;
/// The most cells that a stamp can tell apart.
pub(crate) const CELLS: usize = 1 << 10;

const NUMBER: u32 = (1 << 20) - 1;

/// A guarded change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Acquire,
    Release,
    /// The permits of the cell stay taken, but are nobody's; or there are none.
    Forget,
    /// The permits of the cell go back, all of them.
    Clear,
}

/// The upper half of the word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    cell: usize,
    number: u32,
    change: Change,
}

impl Stamp {
    fn of(word: u64) -> Self {
        let field = |at: u32, bits: u32| low(word >> at & ((1 << bits) - 1));
        Self {
            cell: field(32, 10) as usize,
            number: field(42, 20),
            change: match field(62, 2) {
                0 => Change::Acquire,
                1 => Change::Release,
                2 => Change::Forget,
                _ => Change::Clear,
            },
        }
    }

    fn to_bits(self) -> u64 {
        let change: u64 = match self.change {
            Change::Acquire => 0,
            Change::Release => 1,
            Change::Forget => 2,
            Change::Clear => 3,
        };
        (self.cell as u64) << 32 | u64::from(self.number & NUMBER) << 42 | change << 62
    }
}

/// A cell's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cell {
    /// The process's slot and one; zero is nobody.
    owner: u16,
    permits: u32,
    number: u32,
}

const CELL_FIELD: u32 = (1 << 24) - 1;

impl Cell {
    fn of(word: u64) -> Self {
        let field = |at: u32| low(word >> at & u64::from(CELL_FIELD));
        Self {
            owner: u16::try_from(word >> 48).unwrap_or_default(),
            permits: field(24),
            number: field(0),
        }
    }

    fn to_bits(self) -> u64 {
        u64::from(self.owner) << 48
            | u64::from(self.permits & CELL_FIELD) << 24
            | u64::from(self.number & CELL_FIELD)
    }

    /// As it is after `change`.
    fn after(self, change: Change) -> Self {
        let permits = match change {
            Change::Acquire => self.permits + 1,
            Change::Release | Change::Forget => self.permits.saturating_sub(1),
            Change::Clear => 0,
        };
        let owner = if permits == 0 { 0 } else { self.owner };
        Self { owner, permits, number: self.number.wrapping_add(1) & CELL_FIELD }
    }
}

/// Whether a waiter has slept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Nap {
    No,
    Yes,
}

impl Nap {
    /// The word `left` as who has taken a permit leaves it.
    fn mark(self, left: u64) -> u64 {
        match self {
            Self::No => left,
            Self::Yes if has_permits(left) => awake(left),
            Self::Yes => left | u64::from(SLEEPER),
        }
    }
}

fn has_permits(word: u64) -> bool {
    low(word) & MOST != 0
}

/// The word without `SLEEPER`.
fn awake(word: u64) -> u64 {
    word & !u64::from(SLEEPER)
}

/// A semaphore, over words of any kind.
#[derive(Debug)]
pub(crate) struct RawSemaphore<'a, W> {
    pub(crate) word: &'a W,
    /// At most [`CELLS`].
    pub(crate) cells: &'a [W],
    /// The value may not go above this.
    pub(crate) bound: u32,
}

/// How a release was refused: it would go above the bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AboveBound;

impl<W: Word> RawSemaphore<'_, W> {
    pub(crate) fn value(&self) -> u32 {
        low(self.word.load(Acquire)) & MOST
    }

    /// Takes a permit that is nobody's, without waiting; `false` when there is none.
    #[inline]
    pub(crate) fn try_take(&self) -> bool {
        self.try_take_after(Nap::No).is_ok()
    }

    /// Or the word in which there was none.
    #[inline]
    fn try_take_after(&self, nap: Nap) -> Result<(), u64> {
        let mut word = self.word.load(Acquire);
        while has_permits(word) {
            match self.word.exchange(word, nap.mark(word - 1)) {
                Ok(()) => {
                    self.wake_next(nap, word - 1);
                    return Ok(());
                }
                Err(now) => word = now,
            }
        }
        Err(word)
    }

    /// Takes a permit that is nobody's.
    pub(crate) fn take(&self, waiter: &mut impl Waiter<W>) -> Result<(), Halt> {
        self.wait(waiter, |nap| self.try_take_after(nap))
    }

    /// Gives back `count` permits that are nobody's.
    #[inline]
    pub(crate) fn give(&self, count: u32) -> Result<(), AboveBound> {
        let mut word = self.word.load(Acquire);
        loop {
            if count > self.bound.saturating_sub(low(word) & MOST) {
                return Err(AboveBound);
            }
            match self.word.exchange(word, awake(word + u64::from(count))) {
                Ok(()) => break,
                Err(now) => word = now,
            }
        }
        self.wake_for(word, count);
        Ok(())
    }

    /// Wakes those who slept when the word was `before`.
    #[inline]
    fn wake_for(&self, before: u64, count: u32) {
        if low(before) & SLEEPER != 0 {
            self.word.wake(count);
        }
    }

    /// What who has slept owes to the next, when its taking has left this.
    #[inline]
    fn wake_next(&self, nap: Nap, left: u64) {
        if nap == Nap::Yes && has_permits(left) {
            self.word.wake(1);
        }
    }

    /// Takes a permit for the process in slot `me`, without waiting; `false` when there is none.
    pub(crate) fn try_acquire(&self, me: u16) -> bool {
        self.try_acquire_after(me, Nap::No).is_ok()
    }

    /// Or the word in which there was none, or that there was no cell with.
    fn try_acquire_after(&self, me: u16, nap: Nap) -> Result<(), u64> {
        let mut claimed = None;
        let acquired = loop {
            let word = self.settled();
            if !has_permits(word) {
                break Err(word);
            }
            let Some(cell) = self.cell_for(me).or_else(|| self.claim(me, &mut claimed)) else {
                break Err(word);
            };
            if self.change(word, nap.mark(word - 1), cell, me, Change::Acquire) {
                self.wake_next(nap, word - 1);
                break Ok(cell);
            }
        };
        if let Some(claimed) = claimed
            && acquired != Ok(claimed)
        {
            self.unclaim(me, claimed);
        }
        acquired.map(drop)
    }

    /// Takes a permit for the process in slot `me`.
    pub(crate) fn acquire(&self, me: u16, waiter: &mut impl Waiter<W>) -> Result<(), Halt> {
        self.wait(waiter, |nap| self.try_acquire_after(me, nap))
    }

    /// Gives back a permit of the process in slot `me`; `false` when it has none.
    pub(crate) fn release(&self, me: u16) -> bool {
        loop {
            let word = self.settled();
            let Some(cell) = self.used_cell_of(me) else { return false };
            // A bound that was reached by a release without a guard swallows it.
            let is_full = low(word) & MOST >= self.bound;
            let after = if is_full { word } else { word + 1 };
            if self.change(word, awake(after), cell, me, Change::Release) {
                self.wake_for(word, 1);
                return true;
            }
        }
    }

    /// Makes a permit of the process in slot `me` nobody's; it stays taken.
    pub(crate) fn forget(&self, me: u16) -> bool {
        loop {
            let word = self.settled();
            let Some(cell) = self.used_cell_of(me) else { return false };
            if self.forget_one(word, cell, me) {
                return true;
            }
        }
    }

    /// The permit may be the last one in its cell, or there is none: then the cell is free after this.
    fn forget_one(&self, word: u64, cell: usize, me: u16) -> bool {
        // Without a permit a cell is no use.
        let after = if has_permits(word) { awake(word) } else { word };
        let is_forgotten = self.change(word, after, cell, me, Change::Forget);
        if is_forgotten && after != word {
            self.word.wake(1);
        }
        is_forgotten
    }

    /// Gives back a cell that the process in slot `me` has claimed, unless it is in use.
    fn unclaim(&self, me: u16, cell: usize) {
        loop {
            let word = self.settled();
            let now = Cell::of(self.cells[cell].load(Acquire));
            let is_idle = now.owner == me + 1 && now.permits == 0;
            if !is_idle || self.forget_one(word, cell, me) {
                return;
            }
        }
    }

    /// Gives back what the process in slot `dead` had. Its recoverer then wakes all.
    pub(crate) fn recover(&self, dead: u16) {
        loop {
            let word = self.settled();
            let Some(cell) = self.cell_of(dead) else { return };
            let permits = Cell::of(self.cells[cell].load(Acquire)).permits;
            let given = permits.min(self.bound.saturating_sub(low(word) & MOST));
            self.change(word, awake(word + u64::from(given)), cell, dead, Change::Clear);
        }
    }

    /// Whether the process in slot `me` has permits.
    pub(crate) fn owns(&self, me: u16) -> bool {
        self.settled();
        self.used_cell_of(me).is_some()
    }

    /// The slots of those that have permits, or are about to.
    pub(crate) fn owners(&self) -> impl Iterator<Item = u16> {
        self.cells.iter().filter_map(|cell| Cell::of(cell.load(Acquire)).owner.checked_sub(1))
    }

    /// For the waker of a recovery.
    pub(crate) fn wake_all(&self) {
        self.word.wake(u32::MAX);
    }

    /// Attempts until it has what it wants, and sleeps in between. An attempt that fails gives the word as it found it.
    fn wait(
        &self,
        waiter: &mut impl Waiter<W>,
        attempt: impl Fn(Nap) -> Result<(), u64>,
    ) -> Result<(), Halt> {
        let mut nap = Nap::No;
        loop {
            let Err(word) = attempt(nap) else { return Ok(()) };
            if waiter.spin() {
                continue;
            }
            let sleeping = word | u64::from(SLEEPER);
            if word != sleeping {
                if self.word.exchange(word, sleeping).is_err() {
                    continue;
                }
                if has_permits(word) {
                    self.wake_all();
                }
            }
            let owners = || self.owners().collect();
            let slept = waiter.sleep(self.word, low(sleeping), &owners).map_err(Halt::Failed)?;
            nap = Nap::Yes;
            match slept {
                Slept::Look | Slept::Lost => {}
                _ if attempt(nap).is_ok() => return Ok(()),
                Slept::TimedOut => return Err(Halt::TimedOut),
                Slept::Abandoned => return Err(Halt::Closed),
            }
        }
    }

    /// The word, once the guarded change that it is stamped with is in its cell.
    fn settled(&self) -> u64 {
        loop {
            let word = self.word.load(Acquire);
            let stamp = Stamp::of(word);
            let Some(place) = self.cells.get(stamp.cell) else { return word };
            let bits = place.load(Acquire);
            let cell = Cell::of(bits);
            if (cell.number.wrapping_add(1) & NUMBER) != stamp.number {
                return word;
            }
            // If it fails, somebody else has done it.
            let _done = place.exchange(bits, cell.after(stamp.change).to_bits());
        }
    }

    /// A guarded change of `cell`, which is `me`'s, if nothing has changed since `word` was read.
    fn change(&self, word: u64, after: u64, cell: usize, me: u16, change: Change) -> bool {
        let bits = self.cells[cell].load(Acquire);
        let now = Cell::of(bits);
        if now.owner != me + 1 {
            // Another thread of this process has given it back.
            return false;
        }
        let number = now.number.wrapping_add(1) & NUMBER;
        let stamped = after & u64::from(u32::MAX) | Stamp { cell, number, change }.to_bits();
        if self.word.exchange(word, stamped).is_err() {
            return false;
        }
        let _done = self.cells[cell].exchange(bits, now.after(change).to_bits());
        true
    }

    /// The cell of the process in slot `me`.
    fn cell_of(&self, me: u16) -> Option<usize> {
        self.cells.iter().position(|cell| Cell::of(cell.load(Acquire)).owner == me + 1)
    }

    /// A cell of the process in slot `me` with permits.
    fn used_cell_of(&self, me: u16) -> Option<usize> {
        let is_used = |cell: Cell| cell.owner == me + 1 && cell.permits != 0;
        self.cells.iter().position(|cell| is_used(Cell::of(cell.load(Acquire))))
    }

    /// The cell of the process in slot `me` that the next permit goes to.
    fn cell_for(&self, me: u16) -> Option<usize> {
        let mut idle = None;
        for (place, cell) in self.cells.iter().enumerate() {
            let cell = Cell::of(cell.load(Acquire));
            match cell.permits {
                _ if cell.owner != me + 1 => {}
                0 => idle = Some(place),
                CELL_FIELD => {}
                _ => return Some(place),
            }
        }
        idle
    }

    /// A free cell that it takes for the process in slot `me`.
    fn claim(&self, me: u16, claimed: &mut Option<usize>) -> Option<usize> {
        let taken = self.cells.iter().position(|place| {
            let bits = place.load(Acquire);
            let free = Cell::of(bits);
            free.owner == 0
                && place.exchange(bits, Cell { owner: me + 1, ..free }.to_bits()).is_ok()
        });
        *claimed = taken.or(*claimed);
        taken
    }
}

#[cfg(all(test, loom))]
mod loom;
#[cfg(all(test, not(loom)))]
mod tests;
