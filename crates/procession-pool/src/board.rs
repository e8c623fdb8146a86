//! The board: what a pool and its workers share, but for arguments and values.
//!
//! ```text
//! line   0  TAIL, how many chunks were put up; written by the pool
//!        1  HEAD, up to where they are taken; a hint that anybody moves on
//!        2  BELL, on which workers sleep that have nothing to do
//!        3  FIRST, the worker that is next: it looks for work without sleeping, then sleeps here
//!        4  PARENT, how the pool's process waits for answers
//!        5  CLOSING: workers end when nothing is left
//!        6  FENCED: the system has no barriers for all processes
//!        7  TOKENS, how many processors no worker has; and how many seats there have been
//!        8  NEWS, a bit for each worker that has answered
//! line  16  the words of each worker
//! then      the entries, in which chunks are taken
//! then      the cells, which say what a chunk is
//! ```
//!
//! Lines have 128 bytes. **An entry** is one word: at which position it was written (32 bits, counted from one), the cell (16 bits), and who has taken it (16
//! bits). To take a chunk is one exchange of its entry, which names the worker: whenever that is killed, the pool finds what it had. Only the pool writes
//! cells and puts up entries; it writes over an entry when that was taken and it has noted by whom. So nothing that a worker does or
//! fails to do can hold up another.
//!
//! **Nobody sleeps beside work.** One worker at a time is the first: it looks for work, and when it has looked for long enough it sleeps on FIRST; the others sleep on the
//! bell. So it is the same worker that is woken again and again, whose caches are warm. Who puts up a chunk makes a fence and then looks at FIRST: it is looking, or is woken, or there is none
//! and the bell is rung. Who is the first no more says so, makes a fence, and looks once more. Who takes a chunk and sees another one wakes the
//! next.
//!
//! **Answers.** A worker writes answers into its [outbox](crate::outbox), sets its bit in NEWS, which is a fence, and looks how the pool's process
//! waits.

mod work;

use procession_core::Result;
use procession_core::bell::{Bell, Word};
use procession_sys::barrier;
use procession_sys::memory::SharedWords;
use procession_sys::prim::Ordering::{Acquire, Relaxed, Release, SeqCst};
use procession_sys::prim::{AtomicU64, fence};
use std::os::fd::OwnedFd;

use crate::Progress;
use crate::dispatch::MOST_WORKERS;
pub(crate) use work::{Gauge, Place};

const LINE: usize = 16;
const TAIL: usize = 0;
const HEAD: usize = LINE;
const BELL: usize = 2 * LINE;
const FIRST: usize = 3 * LINE;
const PARENT: usize = 4 * LINE;
const CLOSING: usize = 5 * LINE;
const FENCED: usize = 6 * LINE;
const TOKENS: usize = 7 * LINE;
const SEAT_COUNT: usize = 7 * LINE + 1;
const NEWS: usize = 8 * LINE;
const NEWS_WORDS: usize = MOST_WORKERS / 64;
const SEATS: usize = 16 * LINE;
const ENTRIES: usize = SEATS + MOST_WORKERS * LINE;
const CELLS: usize = ENTRIES + ENTRY_COUNT;
const CELL_WORDS: usize = 8;
const WORDS: usize = CELLS + CELL_COUNT * CELL_WORDS;

/// How many chunks can be up at a time.
pub(crate) const ENTRY_COUNT: usize = 4096;

/// How many chunks there can be: those that are up, and one for each worker.
pub(crate) const CELL_COUNT: usize = ENTRY_COUNT + MOST_WORKERS;

/// How the pool's process waits for answers: it does not.
pub(crate) const AWAKE: u64 = 0;
/// A caller sleeps; whoever has more to do may let it.
pub(crate) const LAZY: u64 = 1;
/// A caller sleeps, and wants to know each answer.
pub(crate) const ASLEEP: u64 = 2;
/// The keeper is to be told, by the doorbell.
pub(crate) const KEEPER: u64 = 3;
/// The keeper is to be told when a worker has nothing more to do.
pub(crate) const STARVED: u64 = 4;

/// The words of a worker. Where in its chunk it is: one more than the place of the task that it runs, or zero.
const RUN_AT: usize = 0;
/// Which chunk it runs.
const RUN_CHUNK: usize = 1;
/// Since when it runs that task.
const SINCE: usize = 2;
/// It shall not begin another task.
const HOLD: usize = 3;
/// It shall end when it has nothing to do.
const LEAVE: usize = 4;
/// Since when it has looked for work.
const READY: usize = 5;
/// On which it sleeps while its outbox is full.
const ROOM: usize = 6;
/// One more than the cell of a chunk that is for it alone.
const MAIL: usize = 7;
/// How many values stand in its outbox behind what is visible (32 bits), and where (32 bits).
const ROW: usize = 8;
/// Which task shall end, as it can see: its chunk, and one more than its place there.
const NOTICE: usize = 9;
/// Which task has said how far it is, likewise; and that.
const TOLD: usize = 11;
const DONE: usize = 13;
/// Whether it has more memory than it should (the highest bit), and how many tokens it has taken.
const HAS: usize = 15;
const IS_FULL: u64 = 1 << 63;

/// Where a cell says what.
const FUNCTION: usize = 0;
const AT: usize = 2;
const LEN: usize = 3;
const COUNT: usize = 4;
const TICKET: usize = 5;
const UNWANTED: usize = 6;
/// The place of the first task in the input (48 bits), and how often it was tried (16 bits).
const INDEX: usize = 7;

/// So many bits a place has.
const FEW: u64 = (1 << 48) - 1;

/// In the place of a worker: the pool itself has taken it.
const REVOKED: u64 = u16::MAX as u64;

/// What is to be done, as the cell says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) function: [u64; 2],
    /// Where the arguments lie.
    pub(crate) at: u64,
    pub(crate) len: u64,
    /// How many tasks.
    pub(crate) count: u32,
    pub(crate) flags: u32,
    /// Which chunk of the pool's this is: its number (32 bits), and the cell.
    pub(crate) ticket: u64,
    /// Which task of the input comes first, and how often it was tried; for whom they call.
    pub(crate) index: usize,
    pub(crate) tries: u32,
}

/// There is one task, whose arguments have no length in front.
pub(crate) const SINGLE: u32 = 1;
/// Its arguments hold descriptors, which are on their way through the worker's socket.
pub(crate) const HANDLES: u32 = 2;
/// It matters since when each task runs.
pub(crate) const TIMED: u32 = 4;
/// The arguments are words.
pub(crate) const WORDS_ONLY: u32 = 8;
/// It is wanted when it was begun and ended.
pub(crate) const RECORDED: u32 = 16;
/// There is one task, whose argument is a block: what stands in front of it is left out.
pub(crate) const BLOCK: u32 = 32;
/// There is one task, whose argument is a word, which stands in the place of where it lies.
pub(crate) const HERE: u32 = 64;

#[derive(Debug)]
pub(crate) struct Board {
    words: SharedWords,
    is_fenced: bool,
}

/// What a worker was doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Running {
    /// Which chunk.
    pub(crate) ticket: u64,
    /// Which task of it.
    pub(crate) place: u32,
    /// Since when, in [nanoseconds](procession_sys::clock::nanos).
    pub(crate) since: u64,
}

impl Board {
    pub(crate) fn create(tokens: u64) -> Result<Self> {
        let words = SharedWords::create(WORDS)?;
        let is_fenced = barrier::take_part().is_err();
        words.word(FENCED).store(is_fenced.into(), Relaxed);
        words.word(TOKENS).store(tokens, Relaxed);
        Ok(Self { words, is_fenced })
    }

    /// A worker's view.
    pub(crate) fn open(file: OwnedFd) -> Result<Self> {
        let words = SharedWords::open(file)?;
        let is_fenced = words.words(0, WORDS)[FENCED].load(Relaxed) != 0;
        if !is_fenced {
            barrier::take_part()?;
        }
        Ok(Self { words, is_fenced })
    }

    pub(crate) fn file(&self) -> &SharedWords {
        &self.words
    }

    #[inline(always)]
    fn word(&self, index: usize) -> &AtomicU64 {
        self.words.word(index)
    }

    #[inline(always)]
    fn seat_word(&self, seat: usize, word: usize) -> &AtomicU64 {
        self.word(SEATS + seat * LINE + word)
    }

    #[inline(always)]
    fn entry(&self, position: u64) -> &AtomicU64 {
        self.word(ENTRIES + low(position) % ENTRY_COUNT)
    }

    #[inline(always)]
    fn cell(&self, cell: u16) -> &[AtomicU64] {
        self.words.words(CELLS + usize::from(cell) * CELL_WORDS, CELL_WORDS)
    }

    fn bell(&self) -> Bell<'_, AtomicU64> {
        Bell(self.word(BELL))
    }

    /// What who sleeps does instead.
    pub(crate) fn heavy_fence(&self) {
        fence(SeqCst);
        if !self.is_fenced {
            // It worked when the board was made.
            drop(barrier::everywhere());
        }
    }

    /// Writes what a chunk is.
    pub(crate) fn write_cell(&self, cell: u16, order: &Order) {
        let words = self.cell(cell);
        // ORDERING: Relaxed: publishing the entry orders them.
        words[FUNCTION].store(order.function[0], Relaxed);
        words[FUNCTION + 1].store(order.function[1], Relaxed);
        words[AT].store(order.at, Relaxed);
        words[LEN].store(order.len, Relaxed);
        words[COUNT].store(u64::from(order.count) | u64::from(order.flags) << 32, Relaxed);
        words[TICKET].store(order.ticket, Relaxed);
        words[UNWANTED].store(0, Relaxed);
        let tries = u64::from(order.tries.min(u16::MAX.into()));
        words[INDEX].store(order.index as u64 & FEW | tries << 48, Relaxed);
    }

    /// Puts a chunk up at a position that was [seen](Self::owner_of) to be free.
    pub(crate) fn put_up(&self, position: u64, cell: u16) {
        // ORDERING: Release: who takes it sees the cell and the arguments.
        self.entry(position).store(stamp(position) | u64::from(cell) << 16, Release);
        self.word(TAIL).store(position + 1, Relaxed);
    }

    /// Gives one worker, which has nothing to do, a chunk.
    pub(crate) fn mail(&self, seat: usize, cell: u16) {
        // ORDERING: SeqCst: it sees the cell and the arguments; and before it sleeps it sees this.
        self.seat_word(seat, MAIL).store(u64::from(cell) + 1, SeqCst);
        self.wake_all();
    }

    /// Wakes a worker for what was put up, unless one is looking.
    pub(crate) fn call_worker(&self) {
        fence(SeqCst);
        self.wake_first();
    }

    /// Wakes the first worker, or if there is none, another.
    fn wake_first(&self) {
        let first = self.word(FIRST);
        let word = first.load(Relaxed);
        if word == 0 {
            self.bell().ring();
        } else if word & ASLEEP_HERE != 0 {
            // Or somebody else does.
            if first.compare_exchange(word, 0, SeqCst, Relaxed).is_ok() && Word::wake(first, 1) == 0
            {
                // It is about to sleep, and sees the change; or it is dead.
                self.bell().ring();
            }
        }
    }

    /// Wakes all workers.
    fn wake_all(&self) {
        let first = self.word(FIRST);
        let word = first.load(SeqCst);
        if word & ASLEEP_HERE != 0 && first.compare_exchange(word, 0, SeqCst, Relaxed).is_ok() {
            Word::wake(first, 1);
        }
        self.bell().ring_for_all();
    }

    /// Who has taken the chunk at a position, if anybody.
    pub(crate) fn owner_of(&self, position: u64) -> Owner {
        match self.entry(position).load(Acquire) & REVOKED {
            0 => Owner::Nobody,
            REVOKED => Owner::Pool,
            seat => Owner::Worker(low(seat) - 1),
        }
    }

    /// Which cell is up at a position.
    pub(crate) fn cell_at(&self, position: u64) -> u16 {
        u16::try_from(self.entry(position).load(Relaxed) >> 16 & REVOKED).unwrap_or_default()
    }

    /// Takes a chunk down that no worker has taken; whether there was one.
    pub(crate) fn revoke(&self, position: u64) -> bool {
        let entry = self.entry(position);
        let word = entry.load(Relaxed);
        word & REVOKED == 0 && entry.compare_exchange(word, word | REVOKED, SeqCst, Relaxed).is_ok()
    }

    /// Moves the hint on to a position before which everything is taken.
    pub(crate) fn pass(&self, position: u64) {
        self.word(HEAD).fetch_max(position, SeqCst);
    }

    /// Says that what is not begun of a chunk need not be.
    pub(crate) fn set_unwanted(&self, cell: u16) {
        self.cell(cell)[UNWANTED].store(1, Relaxed);
    }

    /// Has a worker begin no further task. What it runs is known after this.
    pub(crate) fn hold(&self, seat: usize) {
        self.seat_word(seat, HOLD).store(1, Relaxed);
        self.heavy_fence();
    }

    /// Lets the task that a worker runs see that it shall end.
    pub(crate) fn give_notice(&self, seat: usize, ticket: u64, place: u32) {
        self.seat_word(seat, NOTICE + 1).store(u64::from(place) + 1, Relaxed);
        self.seat_word(seat, NOTICE).store(ticket, Relaxed);
    }

    /// How far the task is that a worker runs, as it has said.
    pub(crate) fn progress(&self, seat: usize, running: &Running) -> Option<Progress> {
        let word = |word| self.seat_word(seat, word).load(Relaxed);
        let progress = Progress { done: word(DONE), total: word(DONE + 1) };
        let is_its = word(TOLD) == running.ticket && word(TOLD + 1) == u64::from(running.place) + 1;
        is_its.then_some(progress)
    }

    /// Lets it go on.
    pub(crate) fn let_go(&self, seat: usize) {
        self.seat_word(seat, HOLD).store(0, Release);
        self.wake_all();
    }

    /// What a worker runs.
    pub(crate) fn running(&self, seat: usize) -> Option<Running> {
        // ORDERING: pairs with the Release stores in `Gauge::begin`.
        let at = self.seat_word(seat, RUN_AT).load(Acquire);
        let ticket = self.seat_word(seat, RUN_CHUNK).load(Acquire);
        let since = self.seat_word(seat, SINCE).load(Acquire);
        let is_same = at == self.seat_word(seat, RUN_AT).load(Relaxed);
        let place = u32::try_from(at.checked_sub(1)?).ok()?;
        is_same.then_some(Running { ticket, place, since })
    }

    /// How many values stand in the outbox of a worker that has died behind what is visible, which ends at `tail`.
    pub(crate) fn in_row(&self, seat: usize, tail: u64) -> u32 {
        let word = self.seat_word(seat, ROW).load(Acquire);
        match word >> 32 == tail & u64::from(u32::MAX) {
            true => u32::try_from(word & u64::from(u32::MAX)).unwrap_or_default(),
            false => 0,
        }
    }

    /// Whether a worker has begun to look for work.
    pub(crate) fn is_ready(&self, seat: usize) -> bool {
        self.ready_since(seat).is_some()
    }

    /// Since when it has looked for work, in [nanoseconds](procession_sys::clock::nanos).
    pub(crate) fn ready_since(&self, seat: usize) -> Option<u64> {
        Some(self.seat_word(seat, READY).load(Acquire)).filter(|since| *since != 0)
    }

    /// Has a worker end when it has nothing to do.
    pub(crate) fn dismiss(&self, seat: usize) {
        self.seat_word(seat, LEAVE).store(1, SeqCst);
        self.wake_all();
    }

    /// Has all workers end when nothing is left.
    pub(crate) fn close(&self) {
        self.word(CLOSING).store(1, SeqCst);
        self.wake_all();
    }

    /// Whether a worker has more memory than it should.
    pub(crate) fn is_full(&self, seat: usize) -> bool {
        self.seat_word(seat, HAS).load(Relaxed) & IS_FULL != 0
    }

    /// Makes a seat ready for another worker.
    pub(crate) fn clear_seat(&self, seat: usize) {
        self.word(SEAT_COUNT).fetch_max(seat as u64 + 1, Relaxed);
        for word in 0..LINE {
            self.seat_word(seat, word).store(0, Relaxed);
        }
    }

    /// Has others go on where a worker has ended.
    pub(crate) fn replace(&self, seat: usize) {
        let first = self.word(FIRST);
        for word in [looking(seat), looking(seat) | ASLEEP_HERE] {
            // If so, nobody was called for what was put up meanwhile.
            let _was = first.compare_exchange(word, 0, SeqCst, Relaxed);
        }
        // Or it has taken somebody off a word and died before it woke him: no word tells of him any more.
        for word in [first, self.word(BELL)] {
            Word::wake(word, u32::MAX);
        }
        // Or it was woken, and has not woken the next.
        self.pass_on();
    }

    /// Wakes another worker, if there is something to do.
    pub(crate) fn pass_on(&self) {
        fence(SeqCst);
        if self.has_work() {
            self.wake_first();
        }
    }

    /// Whether a worker may have answered.
    #[inline]
    pub(crate) fn has_news(&self, seats: usize) -> bool {
        self.words.words(NEWS, news_words(seats)).iter().any(|word| word.load(Relaxed) != 0)
    }

    /// Which workers may have answered since the last time, for each of `seats`.
    pub(crate) fn take_news(&self, seats: usize, mut of: impl FnMut(usize)) {
        for (index, word) in self.words.words(NEWS, news_words(seats)).iter().enumerate() {
            if word.load(Relaxed) == 0 {
                continue;
            }
            // ORDERING: SeqCst: a worker that finds its bit set has its answers seen by whoever takes the bit.
            let mut bits = word.swap(0, SeqCst);
            while bits != 0 {
                of(index * 64 + bits.trailing_zeros() as usize);
                bits &= bits - 1;
            }
        }
    }

    /// The word on which a caller sleeps.
    pub(crate) fn parent(&self) -> &AtomicU64 {
        self.word(PARENT)
    }

    /// Takes a caller out of its sleep.
    pub(crate) fn rouse(&self) {
        let word = self.word(PARENT);
        for how in [LAZY, ASLEEP] {
            let _other = word.compare_exchange(how, AWAKE, SeqCst, Relaxed);
        }
        // Whatever the word says: a worker that was going to wake him may have died right before.
        Word::wake(word, 1);
    }

    /// A worker may sleep because its outbox is full.
    pub(crate) fn make_room(&self, seat: usize) {
        fence(SeqCst);
        Bell(self.seat_word(seat, ROOM)).ring();
    }
}

/// Who has taken a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    Nobody,
    Worker(usize),
    Pool,
}

/// What FIRST says of a worker that looks for work; this bit is set when it sleeps there.
fn looking(seat: usize) -> u64 {
    (seat as u64 + 1) << 1
}

const ASLEEP_HERE: u64 = 1;

/// What an entry at a position begins with.
#[inline(always)]
fn stamp(position: u64) -> u64 {
    (position + 1) << 32
}

fn news_words(seats: usize) -> usize {
    seats.div_ceil(64).clamp(1, NEWS_WORDS)
}

/// A number that is small, or counts round.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "see above")]
fn low(number: u64) -> usize {
    number as usize
}

#[cfg(test)]
mod tests;
