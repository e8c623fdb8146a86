//! The reading side of a ring.

use procession_core::Result;
use procession_sys::prim::Ordering::{Acquire, Relaxed, Release};
use procession_sys::words::{self, Word as _};
use serde::{Deserialize, Serialize};

use super::{
    ABORTED, ABORTED_END, AWAKE, HEAD, LEN_BITS, READ_TO, RECEIVED, Ring, SKIPPED, Side, TAIL,
    TAKEN, TOLD, WANTED, WRITER_SLEEP, Wake, Words, broken, index, words_of,
};
use crate::frame::MAX_MESSAGE_BYTES;

/// The reading side, as far as it is nobody else's business.
#[derive(Debug)]
pub(crate) struct Consumer {
    head: u64,
    /// What HEAD says.
    told: u64,
    /// Where the writer was when last looked.
    tail: u64,
    received: u64,
}

/// A message that is being taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    /// Where it begins.
    start: u64,
    /// How many bytes it has.
    pub(crate) len: u64,
    /// How many of them were taken.
    pub(crate) taken: u64,
    /// How many descriptors came with it.
    pub(crate) handles: u16,
}

impl Consumer {
    /// The consumer of a ring from which others may have read.
    pub(crate) fn of<W: Words>(ring: &Ring<W>) -> Result<Self> {
        let (head, told) = (ring.at(READ_TO).load(Acquire), ring.at(HEAD).load(Acquire));
        if head.wrapping_sub(told) > ring.size {
            return Err(broken("it was read to where nothing is"));
        }
        Ok(Self { head, told, tail: head, received: ring.at(RECEIVED).load(Relaxed) })
    }

    /// How many messages were received before.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// Counts a message that is handed out.
    #[inline(always)]
    pub(crate) fn count<W: Words>(&mut self, ring: &Ring<W>) {
        self.received += 1;
        ring.at(RECEIVED).store(self.received, Relaxed);
    }

    /// How many words there are to read.
    #[inline(always)]
    pub(crate) fn available<W: Words>(&mut self, ring: &Ring<W>) -> Result<u64> {
        match self.tail.wrapping_sub(self.head) {
            0 => self.look(ring),
            some => Ok(some),
        }
    }

    fn look<W: Words>(&mut self, ring: &Ring<W>) -> Result<u64> {
        // ORDERING: Acquire: what lies before the tail was written before.
        let tail = ring.at(TAIL).load(Acquire);
        let some = tail.wrapping_sub(self.head);
        if some > ring.size {
            return Err(broken("its writer wrote over what was not read"));
        }
        self.tail = tail;
        Ok(some)
    }

    /// Whether there is more than was known, or the writer has given up the message that is being taken.
    pub(crate) fn sees_more<W: Words>(&self, ring: &Ring<W>, taking: Option<&Head>) -> bool {
        // ORDERING: Acquire: as in `look`.
        ring.at(TAIL).load(Acquire) != self.head
            || taking.is_some_and(|head| ring.at(ABORTED).load(Acquire) == head.start + 1)
    }

    /// The message that begins here, of which there is at least the beginning.
    #[inline(always)]
    pub(crate) fn head<W: Words>(&self, ring: &Ring<W>) -> Result<Head> {
        let word = ring.rows(self.head, 1).0[0].load(Relaxed);
        let len = word & ((1 << LEN_BITS) - 1);
        if len > MAX_MESSAGE_BYTES {
            return Err(broken("a message of impossible length"));
        }
        // Only the upper bits are left.
        let handles = (word >> LEN_BITS) as u16;
        Ok(Head { start: self.head, len, taken: 0, handles })
    }

    /// Takes the next bytes of a message into `out`, as many as there are and fit; tells how the writer is to be woken. What
    /// does not fit into whole words is taken only with the end of the message.
    #[inline(always)]
    pub(crate) fn take<W: Words>(&mut self, ring: &Ring<W>, of: &mut Head, out: &mut [u8]) -> Wake {
        if of.taken == 0 {
            // The word at the front goes with the first bytes.
            self.head = of.start + 1;
        }
        let left = of.len - of.taken;
        let words = words_of(left).min(self.tail.wrapping_sub(self.head));
        let bytes = left.min(words * 8).min(out.len() as u64);
        let words = if bytes == left { words_of(left) } else { bytes / 8 };
        let (first, second) = ring.rows(self.head, words);
        let bytes = index(bytes.min(words * 8));
        let (to_first, to_second) = out[..bytes].split_at_mut(bytes.min(first.len() * 8));
        words::read(first, to_first);
        words::read(second, to_second);
        of.taken += bytes as u64;
        self.head += words;
        if of.len > ring.whole() {
            let taken = if of.taken == of.len { 0 } else { of.taken };
            ring.at(TAKEN).store(taken, Relaxed);
        }
        self.pass(ring)
    }

    /// Lets the writer know how far this side has come; not each time, because the line that says so is one that it may be
    /// looking at.
    #[inline(always)]
    fn pass<W: Words>(&mut self, ring: &Ring<W>) -> Wake {
        ring.at(READ_TO).store(self.head, Relaxed);
        if self.head == self.tail || self.head - self.told >= ring.size / TOLD {
            self.tell(ring);
        }
        match ring.at(WRITER_SLEEP).load(Relaxed) {
            AWAKE => Wake::No,
            _ => self.waken_writer(ring),
        }
    }

    /// Lets the writer know how far this side has come.
    #[inline(always)]
    pub(crate) fn tell<W: Words>(&mut self, ring: &Ring<W>) {
        self.told = self.head;
        // ORDERING: Release: what was read was read before the writer writes there.
        ring.at(HEAD).store(self.head, Release);
        ring.fence();
    }

    #[cold]
    fn waken_writer<W: Words>(&mut self, ring: &Ring<W>) -> Wake {
        self.tell(ring);
        let wanted = ring.at(WANTED).load(Relaxed);
        match self.head >= wanted || self.head == self.tail {
            true => ring.waken(Side::Writer),
            false => Wake::No,
        }
    }

    /// Passes over a message if its writer has given it up; to be asked after [`available`](Self::available) and before
    /// [`take`](Self::take).
    pub(crate) fn skip_aborted<W: Words>(
        &mut self,
        ring: &Ring<W>,
        head: &Head,
    ) -> Result<Option<Wake>> {
        // ORDERING: Acquire: its end was noted before; and a tail behind that end was written later.
        if head.len <= ring.whole() || ring.at(ABORTED).load(Acquire) != head.start + 1 {
            return Ok(None);
        }
        let end = ring.at(ABORTED_END).load(Relaxed);
        self.look(ring)?;
        if end.wrapping_sub(self.head) > self.tail.wrapping_sub(self.head) {
            return Err(broken("a message ends where nothing was written"));
        }
        self.head = end;
        ring.at(TAKEN).store(0, Relaxed);
        ring.at(READ_TO).store(end, Relaxed);
        ring.at(SKIPPED).store(end, Release);
        self.tell(ring);
        Ok(Some(ring.waken(Side::Writer)))
    }

    /// How many bytes of a message in the middle of which its holder has died were taken.
    pub(crate) fn taken<W: Words>(ring: &Ring<W>) -> u64 {
        ring.at(TAKEN).load(Relaxed)
    }
}
