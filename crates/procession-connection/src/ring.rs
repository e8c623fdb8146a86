//! A ring of words in shared memory, through which one process sends messages to one other.
//!
//! ```text
//! words     0  what it is: magic, size, namespaces, whether it is fenced
//!          16  TAIL, up to where messages were written
//!          32  HEAD, up to where they were read
//!          48  READER_SLEEP, written by a reader that goes to sleep, and looked at by the writer after each message
//!          64  WRITER_SLEEP, the other way round; WANTED, how far the reader has to come for the writer to go on
//!          80  what else is the writer's: SENT, WRITER and what belongs to that, ABORTED, ABORTED_END
//!          96  what else is the reader's: RECEIVED, READER and what belongs to that, TAKEN, SKIPPED, and READ_TO, which HEAD follows
//!         112  the messages: a power of two of words
//! ```
//!
//! Lines of 128 bytes, because processors fetch their lines of 64 in pairs. HEAD and TAIL count words since the beginning, and so
//! never come round. A message is one word (its length in bytes, and how many descriptors came with it), then its bytes, filled
//! up to whole words. Messages wrap around at the end.
//!
//! **One that is not longer than [`WHOLE`] of the ring** becomes visible whole: it is written behind TAIL, and then TAIL is
//! moved behind it. A writer that is killed before that leaves nothing. **A longer one streams:** TAIL follows its bytes as there is
//! room. Its writer may be killed in the middle (the reader then finds the end of the pipe inside a message, and says so) or may
//! give up, which it notes in ABORTED and ABORTED_END; then the reader forgets what it has of it, goes on behind it, and says so in
//! SKIPPED. There is one such note at a time: no other message streams before the reader has seen the last one. (To have read up
//! to its end is not enough: the reader may not know yet that it was the end.)
//!
//! **Sleep.** Who finds nothing to do writes into its own sleep word how it sleeps, and looks once more; who has made something to
//! do looks at the other's sleep word. Between the write and the look of each there must be a full barrier, so that one of them
//! sees the other (Dekker's argument). Who goes to sleep pays for both: it has the system make one [in all
//! processes](procession_sys::barrier) that use such rings; the other needs nothing but that its compiler leaves the order
//! alone. Where the system cannot do that, which who makes a ring finds out, both make a fence each time. So does a side that never
//! spins, and says so: the other falls asleep for each of its messages, and the system's barrier is worth a hundred fences. The waker
//! takes the sleep word back to [`AWAKE`] by itself, so that a sleeper is woken once.
//!
//! A writer sleeps until there is as much room as it needs, which it notes in WANTED; the reader wakes it when it has come that
//! far, or has emptied the ring.
//!
//! All memory is reached by atomic instructions, in both processes: a peer that writes nonsense is told apart by its numbers, and
//! what is copied out of the ring is private before anybody interprets it.

mod consumer;
mod copy;

use procession_core::{Error, ErrorKind, Result};
use procession_sys::memory::SharedWords;
use procession_sys::prim::Ordering::{Acquire, Relaxed, Release, SeqCst};
use procession_sys::prim::{AtomicU64, Ordering, compiler_fence, model};
use procession_sys::words::{self, Word as _};

pub(crate) use consumer::{Consumer, Head};
pub(crate) use copy::Source;

const MAGIC: u64 = u64::from_le_bytes(*b"prc-rng1");

/// Where things are.
const WHAT: usize = 0;
const SIZE: usize = 1;
const NAMESPACES: usize = 2;
const FENCED: usize = 3;
const TAIL: usize = 16;
const SENT: usize = 80;
const WRITER: usize = 81;
const ABORTED: usize = 84;
const ABORTED_END: usize = 85;
const WRITER_EPOCH: usize = 82;
const WRITER_DROPPED: usize = 83;
const WRITER_FENCES: usize = 86;
const HEAD: usize = 32;
const RECEIVED: usize = 96;
const READER: usize = 97;
const TAKEN: usize = 100;
const SKIPPED: usize = 101;
const READ_TO: usize = 102;
const READER_EPOCH: usize = 98;
const READER_DROPPED: usize = 99;
const READER_FENCES: usize = 103;
const READER_SLEEP: usize = 48;
const WRITER_SLEEP: usize = 64;
const WANTED: usize = 65;
const DATA: usize = 112;

/// A message that takes up more than one part in so many of the ring streams.
const WHOLE: u64 = 4;

/// A reader tells how far it has come when it has read one part in so many of the ring, or all.
const TOLD: u64 = 8;

/// What a sleep word says: awake, ..
pub(crate) const AWAKE: u64 = 0;
/// .. asleep on the word itself, ..
pub(crate) const ON_WORD: u64 = 1;
/// .. asleep on the socket, ..
pub(crate) const ON_SOCKET: u64 = 2;
/// .. gone.
pub(crate) const GONE: u64 = 3;

/// The number of descriptors stands above the length.
const LEN_BITS: u32 = 48;

/// What a ring does with a word, beside what copying takes.
pub(crate) trait Word: words::Word {
    /// Tells whether the word was `from`, and is `to` now.
    ///
    /// ORDERING: AcqRel on success: what the other did before it wrote `from` is seen, and what was done here before is seen
    /// with `to`.
    fn exchange(&self, from: u64, to: u64) -> bool;
}

/// Where a ring lies.
pub(crate) trait Words {
    /// The system's atomic, or the model checker's.
    type Word: Word;
    /// The `len` words from `start` on.
    fn row(&self, start: usize, len: usize) -> &[Self::Word];
}

impl Word for AtomicU64 {
    #[inline(always)]
    fn exchange(&self, from: u64, to: u64) -> bool {
        self.compare_exchange(from, to, Ordering::AcqRel, Relaxed).is_ok()
    }
}

impl Words for SharedWords {
    type Word = AtomicU64;

    #[inline(always)]
    fn row(&self, start: usize, len: usize) -> &[AtomicU64] {
        self.words(start, len)
    }
}

/// How the other side is to be woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "the other side may be asleep"]
pub(crate) enum Wake {
    No,
    OnWord,
    OnSocket,
    /// It is gone.
    Gone,
}

/// One of the two sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Writer,
    Reader,
}

impl Side {
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Writer => Self::Reader,
            Self::Reader => Self::Writer,
        }
    }

    fn sleep(self) -> usize {
        match self {
            Self::Writer => WRITER_SLEEP,
            Self::Reader => READER_SLEEP,
        }
    }

    fn fences(self) -> usize {
        match self {
            Self::Writer => WRITER_FENCES,
            Self::Reader => READER_FENCES,
        }
    }

    fn holder(self) -> usize {
        match self {
            Self::Writer => WRITER,
            Self::Reader => READER,
        }
    }
}

/// A ring.
#[derive(Debug)]
pub(crate) struct Ring<W> {
    words: W,
    /// How many words of messages there is room for: a power of two.
    size: u64,
    /// Whether this side makes a fence for each message.
    fences: bool,
}

/// How many words a ring with `size` words of messages takes.
pub(crate) fn words_for(size: usize) -> usize {
    DATA + size
}

impl<W: Words> Ring<W> {
    /// Makes a ring of fresh, zeroed words, of which there are [`words_for`] `size`, a power of two.
    pub(crate) fn create(words: W, size: u64, namespaces: u64, is_fenced: bool) -> Self {
        debug_assert!(size.is_power_of_two(), "{size} words");
        let ring = Self { words, size, fences: is_fenced };
        ring.at(FENCED).store(is_fenced.into(), Relaxed);
        ring.at(NAMESPACES).store(namespaces, Relaxed);
        ring.at(SIZE).store(size, Relaxed);
        ring.at(WHAT).store(MAGIC, Release);
        ring
    }

    /// The ring in words that came from somebody else, of which there are `count`.
    pub(crate) fn open(words: W, count: usize) -> Result<Self> {
        let not_one = || Error::new(ErrorKind::Decode, "not the ring of a pipe");
        if count <= DATA || words.row(WHAT, 1)[0].load(Acquire) != MAGIC {
            return Err(not_one());
        }
        let size = words.row(SIZE, 1)[0].load(Relaxed);
        // A mapping is whole pages, which may be more than the words that were asked for.
        if !size.is_power_of_two() || size > (count - DATA) as u64 {
            return Err(not_one());
        }
        let fences = words.row(FENCED, 1)[0].load(Relaxed) != 0;
        Ok(Self { words, size, fences })
    }

    /// Whether both sides make fences, because the system cannot.
    pub(crate) fn is_fenced(&self) -> bool {
        self.at(FENCED).load(Relaxed) != 0
    }

    /// Says whether `side`, which is this one from now on, makes a fence for each message. Whoever had it before may have said
    /// something else: [wake](Self::interrupt) the other side after this.
    pub(crate) fn set_fences(&mut self, side: Side, fences: bool) {
        self.fences = fences || self.is_fenced();
        self.at(side.fences()).store(self.fences.into(), Relaxed);
        model::fence(SeqCst);
    }

    /// Whether `side` makes a fence for each message. To be asked after [`fall_asleep`](Self::fall_asleep).
    pub(crate) fn makes_fences(&self, side: Side) -> bool {
        self.is_fenced() || self.at(side.fences()).load(Relaxed) != 0
    }

    /// The barrier of who does not sleep.
    #[inline(always)]
    fn fence(&self) {
        if self.fences {
            model::fence(SeqCst);
        } else {
            compiler_fence(SeqCst);
        }
    }

    pub(crate) fn words(&self) -> &W {
        &self.words
    }

    #[inline(always)]
    fn at(&self, index: usize) -> &W::Word {
        &self.words.row(index, 1)[0]
    }

    pub(crate) fn namespaces(&self) -> u64 {
        self.at(NAMESPACES).load(Relaxed)
    }

    /// The word that says how `side` sleeps.
    pub(crate) fn sleep_word(&self, side: Side) -> &W::Word {
        self.at(side.sleep())
    }

    /// The word that names the process that has `side`; zero while it is under way.
    #[inline(always)]
    pub(crate) fn holder_word(&self, side: Side) -> &W::Word {
        self.at(side.holder())
    }

    /// The word that counts how often `side` went under way.
    #[inline(always)]
    pub(crate) fn epoch_word(&self, side: Side) -> &W::Word {
        self.at(match side {
            Side::Writer => WRITER_EPOCH,
            Side::Reader => READER_EPOCH,
        })
    }

    /// The word that names a process which has dropped `side` before it was handed over to it.
    pub(crate) fn dropped_word(&self, side: Side) -> &W::Word {
        self.at(match side {
            Side::Writer => WRITER_DROPPED,
            Side::Reader => READER_DROPPED,
        })
    }

    /// Says how `side` is going to sleep. Make a barrier everywhere if this is not fenced, and look once more before you do.
    pub(crate) fn fall_asleep(&self, side: Side, how: u64) {
        self.sleep_word(side).store(how, Relaxed);
        model::fence(SeqCst);
    }

    /// Says that `side` does not sleep any more.
    pub(crate) fn wake_up(&self, side: Side) {
        self.sleep_word(side).store(AWAKE, Relaxed);
    }

    /// Says that `side` is gone for good; tells how the other is to be woken.
    pub(crate) fn leave(&self, side: Side) -> Wake {
        // ORDERING: Release: who sees it sees all that was sent before.
        self.sleep_word(side).store(GONE, Release);
        model::fence(SeqCst);
        self.waken(side.other())
    }

    /// Takes `side` out of its sleep, as if the other had woken it; tells how it slept.
    pub(crate) fn interrupt(&self, side: Side) -> Wake {
        self.waken(side)
    }

    /// Whether `side` has said that it is gone.
    pub(crate) fn is_gone(&self, side: Side) -> bool {
        self.sleep_word(side).load(Acquire) == GONE
    }

    /// How `side` is to be woken; it counts as awake from now on.
    #[inline(always)]
    fn waken(&self, side: Side) -> Wake {
        let word = self.sleep_word(side);
        match word.load(Relaxed) {
            AWAKE => Wake::No,
            other => Self::waken_slowly(word, other),
        }
    }

    #[cold]
    fn waken_slowly(word: &W::Word, mut state: u64) -> Wake {
        loop {
            let wake = match state {
                AWAKE => return Wake::No,
                ON_WORD => Wake::OnWord,
                ON_SOCKET => Wake::OnSocket,
                // Or nonsense, which nobody can be woken from.
                _ => return Wake::Gone,
            };
            if word.exchange(state, AWAKE) {
                return wake;
            }
            state = word.load(Relaxed);
        }
    }

    /// How many messages were sent, and how many of them received.
    pub(crate) fn counts(&self) -> (u64, u64) {
        // In this order, so that there are never more received than sent.
        let received = self.at(RECEIVED).load(Acquire);
        (self.at(SENT).load(Acquire), received)
    }

    /// Whether a message of so many bytes becomes visible in parts.
    pub(crate) fn streams(&self, len: u64) -> bool {
        len > self.whole()
    }

    /// The longest message, in bytes, that becomes visible whole.
    fn whole(&self) -> u64 {
        self.size / WHOLE * 8
    }

    /// The `count` words from position `at` on, in two rows when they wrap around.
    #[inline(always)]
    fn rows(&self, at: u64, count: u64) -> (&[W::Word], &[W::Word]) {
        let start = at & (self.size - 1);
        let first = count.min(self.size - start);
        let row = |start: u64, len: u64| self.words.row(DATA + index(start), index(len));
        (row(start, first), row(0, count - first))
    }
}

/// A number of words of a ring, all of which are mapped.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "see above")]
fn index(words: u64) -> usize {
    words as usize
}

/// How many words `bytes` take up.
#[inline(always)]
fn words_of(bytes: u64) -> u64 {
    bytes.div_ceil(8)
}

fn broken(what: &str) -> Error {
    Error::new(ErrorKind::Decode, format!("the ring of a pipe is broken: {what}"))
}

/// The writing side, as far as it is nobody else's business.
#[derive(Debug)]
pub(crate) struct Producer {
    tail: u64,
    /// Where the reader was when last looked.
    head: u64,
    sent: u64,
    /// Where the last message ends that was given up.
    aborted_end: u64,
}

/// What is to be written of a message.
#[derive(Debug)]
pub(crate) struct Rest {
    /// Where the message begins.
    start: u64,
    /// How many of its bytes are in the ring.
    done: u64,
    len: u64,
}

impl Rest {
    pub(crate) fn is_done(&self) -> bool {
        self.done == self.len
    }
}

impl Producer {
    /// The producer of a ring in which others may have written.
    pub(crate) fn of<W: Words>(ring: &Ring<W>) -> Result<Self> {
        let (tail, head) = (ring.at(TAIL).load(Acquire), ring.at(HEAD).load(Acquire));
        if tail.wrapping_sub(head) > ring.size {
            return Err(broken("more is in it than it holds"));
        }
        let aborted_end = ring.at(ABORTED_END).load(Relaxed);
        Ok(Self { tail, head, sent: ring.at(SENT).load(Relaxed), aborted_end })
    }

    /// How many messages went before.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// How much room must be there before a message of `len` bytes is begun, in words.
    #[inline(always)]
    pub(crate) fn needs<W: Words>(&self, ring: &Ring<W>, len: u64) -> u64 {
        match len <= ring.whole() {
            true => 1 + words_of(len),
            false => ring.size / WHOLE,
        }
    }

    /// Whether a message may stream: the reader knows of the last one that was given up.
    pub(crate) fn may_stream<W: Words>(&self, ring: &Ring<W>) -> bool {
        // ORDERING: Acquire: the reader looks at the note no more.
        self.aborted_end == ring.at(SKIPPED).load(Acquire)
    }

    /// The same, before the message is gone on with.
    pub(crate) fn needs_for<W: Words>(&self, ring: &Ring<W>, rest: &Rest) -> u64 {
        words_of(rest.len - rest.done).min(ring.size / WHOLE)
    }

    /// Whether there is room for so many words.
    #[inline(always)]
    pub(crate) fn has_room<W: Words>(&mut self, ring: &Ring<W>, words: u64) -> bool {
        ring.size - self.tail.wrapping_sub(self.head).min(ring.size) >= words
            || self.look(ring) >= words
    }

    /// As [`has_room`](Self::has_room), for whoever is going to sleep.
    pub(crate) fn sees_room<W: Words>(&self, ring: &Ring<W>, words: u64) -> bool {
        ring.size - self.tail.wrapping_sub(self.new_head(ring)) >= words
    }

    #[inline(never)]
    fn look<W: Words>(&mut self, ring: &Ring<W>) -> u64 {
        self.head = self.new_head(ring);
        ring.size - self.tail.wrapping_sub(self.head)
    }

    fn new_head<W: Words>(&self, ring: &Ring<W>) -> u64 {
        // ORDERING: Acquire: what the reader has read, it has read before we write there.
        let head = ring.at(HEAD).load(Acquire);
        // A reader that writes nonsense there harms only itself; it must not make us write over what is not read.
        match head.wrapping_sub(self.head) <= self.tail.wrapping_sub(self.head) {
            true => head,
            false => self.head,
        }
    }

    /// How much room to wait for when `words` are needed.
    pub(crate) fn worth_waking<W: Words>(&self, ring: &Ring<W>, words: u64) -> u64 {
        words.max(ring.size / 4)
    }

    /// Says how far the reader must come, before this side falls asleep.
    pub(crate) fn want<W: Words>(&self, ring: &Ring<W>, words: u64) {
        let head = (self.tail + words).saturating_sub(ring.size);
        ring.at(WANTED).store(head, Relaxed);
    }

    /// Begins a message, when there is the room that it [`needs`](Self::needs); tells how the reader is to be woken, and what
    /// is left to be written, which is nothing for one that went whole.
    #[inline(always)]
    pub(crate) fn begin<W: Words>(
        &mut self,
        ring: &Ring<W>,
        source: &Source<'_>,
        handles: u16,
    ) -> (Wake, Rest) {
        let len = source.len();
        let header = len | u64::from(handles) << LEN_BITS;
        let start = self.tail;
        ring.rows(start, 1).0[0].store(header, Relaxed);
        self.tail += 1;
        let mut rest = Rest { start, done: 0, len };
        let wake = self.go_on(ring, source, &mut rest);
        (wake, rest)
    }

    /// Writes as much of the rest as there is room for; tells how the reader is to be woken.
    #[inline(always)]
    pub(crate) fn go_on<W: Words>(
        &mut self,
        ring: &Ring<W>,
        source: &Source<'_>,
        rest: &mut Rest,
    ) -> Wake {
        let room = ring.size - self.tail.wrapping_sub(self.head);
        // A part of what streams is as much as the reader copies in one go, so that both work at a time.
        let most = if rest.len <= ring.whole() { room } else { room.min(ring.size / WHOLE) };
        let count = words_of(rest.len - rest.done).min(most);
        let (first, second) = ring.rows(self.tail, count);
        source.write(rest.done, first);
        source.write(rest.done + first.len() as u64 * 8, second);
        rest.done = (rest.done + count * 8).min(rest.len);
        self.tail += count;
        if rest.is_done() {
            self.sent += 1;
            ring.at(SENT).store(self.sent, Relaxed);
        }
        // ORDERING: Release: who sees the tail sees what lies before it.
        ring.at(TAIL).store(self.tail, Release);
        ring.fence();
        ring.waken(Side::Reader)
    }

    /// Whether the message that was written last was received by a reader that is gone by now; if it was not, it does not count.
    pub(crate) fn was_received<W: Words>(&mut self, ring: &Ring<W>, rest: &Rest) -> bool {
        // ORDERING: Acquire: what the reader has counted before it left.
        let is_gone = ring.is_gone(Side::Reader);
        debug_assert!(is_gone, "then the count is final");
        if !rest.is_done() || ring.at(RECEIVED).load(Acquire) >= self.sent {
            return rest.is_done();
        }
        self.sent -= 1;
        ring.at(SENT).store(self.sent, Relaxed);
        false
    }

    /// Gives up a message that was begun.
    pub(crate) fn abort<W: Words>(&mut self, ring: &Ring<W>, rest: &Rest) -> Wake {
        self.aborted_end = self.tail;
        ring.at(ABORTED_END).store(self.tail, Relaxed);
        // Position zero is no message's while this says that none was given up.
        ring.at(ABORTED).store(rest.start + 1, Release);
        ring.fence();
        ring.waken(Side::Reader)
    }
}

#[cfg(all(test, loom))]
mod loom;
#[cfg(all(test, not(loom)))]
mod tests;
