//! The outbox: a ring of words through which one worker tells the pool what became of its tasks.
//!
//! ```text
//! line 0  TAIL, up to where it was written, by the worker
//!      1  HEAD, up to where it was read, by the pool
//!      2  the records: a power of two of words
//! ```
//!
//! A record is a word (kind, 8 bits; handles, 8 bits; a number, 48 bits) and, for kinds that have a content, so many bytes as the number says, filled up to
//! whole words. Records of a chunk stand behind its [`BEGIN`] and in order. One that is short becomes visible whole, when TAIL moves behind
//! it; a long one streams. A worker that is killed leaves what it had made visible: the value of a task counts when it is there whole.

use procession_core::{Error, ErrorKind, Result};
use procession_sys::prim::AtomicU64;
use procession_sys::prim::Ordering::{Acquire, Relaxed, Release};
use procession_sys::sparse::SparseFile;
use procession_sys::words;

use crate::memory::{OUTBOX_BITS, OUTBOXES};
use crate::spare;

const TAIL: usize = 0;
const HEAD: usize = 16;
const DATA: usize = 32;
/// How many words of records there are.
const SIZE: u64 = 1 << 15;
/// A record that is longer than this many words streams.
const WHOLE: u64 = SIZE / 4;

const _: () = assert!((DATA as u64 + SIZE) * 8 <= 1 << OUTBOX_BITS, "an outbox fits into its part");

/// A chunk begins; the number is its sequence.
pub(crate) const BEGIN: u8 = 1;
/// The value of a task, or why it has none.
pub(crate) const VALUE: u8 = 2;
pub(crate) const PANICKED: u8 = 3;
pub(crate) const NOT_CALLED: u8 = 4;
pub(crate) const UNSENDABLE: u8 = 5;
/// All tasks of the chunk are done; the number says how many nanoseconds that took.
pub(crate) const END: u8 = 6;
/// The others of the chunk are not begun.
pub(crate) const STOPPED: u8 = 7;
/// The value of the only task of a chunk, without a record in front of it or behind; the number is the chunk's ticket. The next word says how many
/// nanoseconds it took, in units of [`TICK`] (24 bits), and how long the value is (40 bits).
pub(crate) const ONLY: u8 = 8;

/// So many words, with this one, are no record.
const PADDING: u8 = 9;
/// As [`ONLY`], of a value that is a word: the third word of the record.
pub(crate) const ONLY_WORD: u8 = 10;
/// So many values that are words.
pub(crate) const ROW: u8 = 11;
/// When the chunk was begun and ended: two words. Behind its last value, if that is wanted.
pub(crate) const TIMES: u8 = 12;
/// The most of them.
const MOST_IN_ROW: u64 = 1 << 12;
/// The value of a task that is a block of bytes, without what stands in front of it in its encoding; in the place of the handles is how many bytes
/// each of its numbers has.
pub(crate) const BLOCK: u8 = 13;
/// A row is not begun before there is room for so many, unless fewer are left.
const ROW_AT_LEAST: u64 = 256;

/// See [`ONLY`].
const TICK: u64 = 64;
const TICKS: u64 = (1 << 24) - 1;

const NUMBER: u64 = (1 << 48) - 1;
const HANDLES_AT: u32 = 48;
const KIND_AT: u32 = 56;

/// The word at the front of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header(u64);

impl Header {
    #[inline(always)]
    pub(crate) fn new(kind: u8, handles: u8, number: u64) -> Self {
        Self(u64::from(kind) << KIND_AT | u64::from(handles) << HANDLES_AT | number & NUMBER)
    }

    pub(crate) fn kind(self) -> u8 {
        self.0.to_be_bytes()[0]
    }

    pub(crate) fn handles(self) -> u8 {
        self.0.to_be_bytes()[1]
    }

    #[inline(always)]
    pub(crate) fn number(self) -> u64 {
        self.0 & NUMBER
    }

    /// Whether it is a value without handles.
    #[inline(always)]
    pub(crate) fn is_plain(self) -> bool {
        self.0 >> HANDLES_AT == u64::from(VALUE) << 8
    }

    #[inline(always)]
    pub(crate) fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(u64::from_le_bytes(bytes))
    }

    fn has_content(self) -> bool {
        matches!(self.kind(), VALUE | PANICKED | NOT_CALLED | UNSENDABLE | TIMES | BLOCK)
    }

    /// How many words its content has.
    #[inline(always)]
    pub(crate) fn words(self) -> u64 {
        match self.has_content() {
            true => self.number().div_ceil(8),
            false => 0,
        }
    }
}

#[inline(always)]
fn row(file: &SparseFile, seat: usize, start: usize, len: usize) -> Result<&[AtomicU64]> {
    let at = ((seat as u64) << OUTBOX_BITS) + start as u64 * 8;
    Ok(file.words(OUTBOXES, at, len)?)
}

/// The `count` words from position `at` on, in two rows when they wrap around.
#[inline(always)]
fn rows(
    file: &SparseFile,
    seat: usize,
    at: u64,
    count: u64,
) -> Result<(&[AtomicU64], &[AtomicU64])> {
    let start = at % SIZE;
    let first = count.min(SIZE - start);
    let all = row(file, seat, DATA, index(SIZE))?;
    Ok((&all[index(start)..index(start + first)], &all[..index(count - first)]))
}

/// The worker's side.
#[derive(Debug)]
pub(crate) struct Writer<'a> {
    /// The whole of it.
    words: &'a [AtomicU64],
    tail: u64,
    /// Where the pool was when last looked.
    head: u64,
}

impl<'a> Writer<'a> {
    /// Goes on where the last worker in this seat has ended, whose outbox was emptied.
    pub(crate) fn open(file: &'a SparseFile, seat: usize) -> Result<Self> {
        let words = row(file, seat, 0, DATA + index(SIZE))?;
        let head = words[HEAD].load(Acquire);
        words[TAIL].store(head, Relaxed);
        Ok(Self { words, tail: head, head })
    }

    /// Whether there is room for so many words, as far as is known.
    #[inline(always)]
    fn has_room(&mut self, words: u64) -> bool {
        if SIZE - (self.tail - self.head) < words {
            self.look();
        }
        SIZE - (self.tail - self.head) >= words
    }

    #[inline(never)]
    fn look(&mut self) {
        // ORDERING: Acquire: the pool has read it before we write over it.
        let head = self.words[HEAD].load(Acquire);
        // Nonsense there must not make us write over what was not read.
        if head.wrapping_sub(self.head) <= self.tail - self.head {
            self.head = head;
        }
    }

    /// Whether so many words fit now; for who is going to sleep.
    pub(crate) fn sees_room(&self, words: u64) -> bool {
        let head = self.words[HEAD].load(Acquire);
        SIZE.saturating_sub(self.tail.wrapping_sub(head)) >= words
    }

    /// How much room a record needs before it is begun.
    pub(crate) fn needs(content: u64) -> u64 {
        (1 + content.div_ceil(8)).min(WHOLE)
    }

    /// The `count` words from where it is written on, in two rows when they wrap around.
    #[inline(always)]
    fn rows(&self, count: u64) -> (&'a [AtomicU64], &'a [AtomicU64]) {
        let start = self.tail % SIZE;
        let first = count.min(SIZE - start);
        let all = &self.words[DATA..];
        (&all[index(start)..index(start + first)], &all[..index(count - first)])
    }

    /// Writes a record, if there is room for it, or for the beginning of it; tells how many bytes are in.
    #[inline(always)]
    pub(crate) fn put(&mut self, header: Header, content: &[u8]) -> Option<usize> {
        let words = 1 + (content.len() as u64).div_ceil(8);
        if !self.has_room(words.min(WHOLE)) {
            return None;
        }
        if words > WHOLE {
            return Some(self.begin(header, content));
        }
        let (first, second) = self.rows(words);
        first[0].store(header.0, Relaxed);
        let split = content.len().min((first.len() - 1) * 8);
        words::write(&first[1..], &content[..split]);
        if !second.is_empty() {
            words::write(second, &content[split..]);
        }
        self.tail += words;
        self.publish();
        Some(content.len())
    }

    /// Writes an [`ONLY`] record, if it is short and there is room for it; whether it is written.
    #[inline(always)]
    pub(crate) fn put_only(&mut self, ticket: u64, nanos: u64, content: &[u8]) -> bool {
        let words = 2 + (content.len() as u64).div_ceil(8);
        if words > WHOLE {
            return false;
        }
        let Some(row) = self.whole(words) else { return false };
        row[0].store(Header::new(ONLY, 0, ticket).0, Relaxed);
        row[1].store((nanos / TICK).min(TICKS) << 40 | content.len() as u64, Relaxed);
        words::write(&row[2..], content);
        self.tail += words;
        self.publish();
        true
    }

    /// The same of a value that is a word.
    pub(crate) fn put_only_word(&mut self, ticket: u64, nanos: u64, word: u64) -> bool {
        let Some(row) = self.whole(3) else { return false };
        row[0].store(Header::new(ONLY_WORD, 0, ticket).0, Relaxed);
        row[1].store((nanos / TICK).min(TICKS) << 40, Relaxed);
        row[2].store(word, Relaxed);
        self.tail += 3;
        self.publish();
        true
    }

    /// Room for so many words that do not wrap around, if it is there.
    #[inline(always)]
    fn whole(&mut self, words: u64) -> Option<&'a [AtomicU64]> {
        let start = self.tail % SIZE;
        let skipped = if start + words > SIZE { SIZE - start } else { 0 };
        if !self.has_room(words + skipped) {
            return None;
        }
        if skipped > 0 {
            // What is left is filled up with what is no record.
            self.rows(1).0[0].store(Header::new(PADDING, 0, skipped).0, Relaxed);
            self.tail += skipped;
            self.publish();
        }
        Some(self.rows(words).0)
    }

    /// Room for at most so many values that are words, if there is any.
    pub(crate) fn open_row(&mut self, most: usize) -> Option<&'a [AtomicU64]> {
        let most = (most as u64).min(MOST_IN_ROW);
        // Rather a short row than none.
        let values =
            [most, most.min(ROW_AT_LEAST)].into_iter().find_map(|count| self.whole(count + 1))?;
        Some(&values[1..])
    }

    /// How much room makes a row worth while.
    pub(crate) fn row_needs(most: usize) -> u64 {
        // The end of the ring may be left free.
        2 * ((most as u64).min(ROW_AT_LEAST) + 1)
    }

    /// How far it is written.
    pub(crate) fn tail(&self) -> u64 {
        self.tail
    }

    /// Makes the values of a row visible, of which so many are there.
    pub(crate) fn close_row(&mut self, count: usize) {
        if count > 0 {
            self.rows(1).0[0].store(Header::new(ROW, 0, count as u64).0, Relaxed);
            self.tail += 1 + count as u64;
            self.publish();
        }
    }

    #[cold]
    fn begin(&mut self, header: Header, content: &[u8]) -> usize {
        self.rows(1).0[0].store(header.0, Relaxed);
        self.tail += 1;
        self.publish();
        self.go_on(content, 0)
    }

    /// Writes as much of a content as there is room for, behind what is in; tells how many bytes are in.
    pub(crate) fn go_on(&mut self, content: &[u8], done: usize) -> usize {
        self.look();
        let rest = &content[done..];
        let room = SIZE - (self.tail - self.head);
        let count = (rest.len() as u64).div_ceil(8).min(room).min(WHOLE);
        let (first, second) = self.rows(count);
        let bytes = rest.len().min(index(count) * 8);
        let split = bytes.min(first.len() * 8);
        words::write(first, &rest[..split]);
        words::write(second, &rest[split..bytes]);
        self.tail += count;
        self.publish();
        done + bytes
    }

    #[inline(always)]
    fn publish(&self) {
        // ORDERING: Release: who sees it sees what lies before it.
        self.words[TAIL].store(self.tail, Release);
    }
}

/// The pool's side.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    seat: usize,
    head: u64,
    tail: u64,
    /// How far this side was when the worker was last [told](Self::frees) that there is room.
    freed: u64,
    /// A content that is not all there.
    partial: Option<Partial>,
}

#[derive(Debug)]
struct Partial {
    header: Header,
    content: Vec<u8>,
}

/// What stands in an outbox.
#[derive(Debug)]
pub(crate) enum Found {
    /// Values without handles, one after the other: for each its header and its content, in whole words.
    Values { count: u32, records: Vec<u8> },
    /// The value of the only task of a chunk.
    Only { ticket: u64, nanos: u64, content: Vec<u8> },
    /// The same, of a value that is a word.
    OnlyWord { ticket: u64, nanos: u64, word: u64 },
    /// So many values that are words.
    Row { count: u32, words: Vec<u8> },
    /// Anything else.
    Record { header: Header, content: Vec<u8> },
}

impl Reader {
    pub(crate) fn new(file: &SparseFile, seat: usize) -> Result<Self> {
        let head = row(file, seat, HEAD, 1)?[0].load(Relaxed);
        // What the last worker in this seat has left, if it was not listened to in the end.
        row(file, seat, TAIL, 1)?[0].store(head, Relaxed);
        Ok(Self { seat, head, tail: head, freed: head, partial: None })
    }

    /// The next of what is there. Afterwards, [let the worker know](Self::tell).
    pub(crate) fn next(&mut self, file: &SparseFile) -> Result<Option<Found>> {
        if self.head == self.tail {
            // ORDERING: Acquire: what lies before it was written before.
            self.tail = row(file, self.seat, TAIL, 1)?[0].load(Acquire);
            if self.tail.wrapping_sub(self.head) > SIZE {
                return Err(nonsense());
            }
        }
        if self.head == self.tail {
            return Ok(None);
        }
        if let Some(partial) = self.partial.take() {
            return self.go_on(file, partial);
        }
        let header = self.header_at(file, self.head)?;
        match header.kind() {
            PADDING => {
                self.head += header.number().min(self.tail - self.head);
                return self.next(file);
            }
            ONLY => return self.only(file, header).map(Some),
            ONLY_WORD => {
                let second = self.header_at(file, self.head + 1)?.0;
                let word = self.header_at(file, self.head + 2)?.0;
                self.head += 3.min(self.tail - self.head);
                let nanos = (second >> 40) * TICK;
                return Ok(Some(Found::OnlyWord { ticket: header.number(), nanos, word }));
            }
            ROW => {
                let count = header.number();
                if count >= self.tail - self.head {
                    return Err(nonsense());
                }
                self.head += 1;
                let words = self.copy(file, count)?;
                // Not more than the ring holds.
                let count = u32::try_from(count).unwrap_or_default();
                return Ok(Some(Found::Row { count, words }));
            }
            _ => {}
        }
        if !header.is_plain() || header.words() + 1 > self.tail - self.head {
            self.head += 1;
            if !header.has_content() {
                return Ok(Some(Found::Record { header, content: Vec::new() }));
            }
            // What is announced is believed as far as it does no harm.
            let len = usize::try_from(header.number()).unwrap_or(usize::MAX);
            let content = Vec::with_capacity(len.min(MOST_BELIEVED) + 8);
            return self.go_on(file, Partial { header, content });
        }
        self.values(file).map(Some)
    }

    fn header_at(&self, file: &SparseFile, at: u64) -> Result<Header> {
        Ok(Header(rows(file, self.seat, at, 1)?.0[0].load(Relaxed)))
    }

    fn only(&mut self, file: &SparseFile, header: Header) -> Result<Found> {
        let second = self.header_at(file, self.head + 1)?.0;
        let (nanos, len) = ((second >> 40) * TICK, second & ((1 << 40) - 1));
        let words = len.div_ceil(8);
        if words + 2 > self.tail - self.head {
            return Err(nonsense());
        }
        self.head += 2;
        let content = self.copy(file, words)?;
        let content = shortened(content, index(len));
        Ok(Found::Only { ticket: header.number(), nanos, content })
    }

    /// As many values as are there, of which there is at least one.
    fn values(&mut self, file: &SparseFile) -> Result<Found> {
        let all = row(file, self.seat, DATA, index(SIZE))?;
        let (mut end, mut count) = (self.head, 0);
        while end < self.tail {
            let header = Header(all[index(end % SIZE)].load(Relaxed));
            if !header.is_plain() || header.words() >= self.tail - end {
                break;
            }
            end += 1 + header.words();
            count += 1;
        }
        let records = self.copy(file, end - self.head)?;
        Ok(Found::Values { count, records })
    }

    /// Copies so many words, and goes on behind them.
    fn copy(&mut self, file: &SparseFile, count: u64) -> Result<Vec<u8>> {
        let mut bytes = match count < SHORT {
            true => Vec::new(),
            false => spare::take(),
        };
        self.append_to(file, &mut bytes, index(count) * 8)?;
        Ok(bytes)
    }

    /// Appends so many bytes to those, and goes on behind them.
    fn append_to(&mut self, file: &SparseFile, bytes: &mut Vec<u8>, len: usize) -> Result<()> {
        let count = (len as u64).div_ceil(8);
        let (first, second) = rows(file, self.seat, self.head, count)?;
        let split = len.min(first.len() * 8);
        bytes.reserve(len + 8);
        words::append(first, split, bytes);
        words::append(second, len - split, bytes);
        self.head += count;
        Ok(())
    }

    /// Takes what is there of a content.
    fn go_on(&mut self, file: &SparseFile, mut partial: Partial) -> Result<Option<Found>> {
        let Ok(len) = usize::try_from(partial.header.number()) else { return Err(nonsense()) };
        let done = partial.content.len();
        let there = self.tail - self.head;
        let bytes = (len - done).min(index(there) * 8);
        // It takes memory as it comes, whatever it announces.
        self.append_to(file, &mut partial.content, bytes)?;
        if partial.content.len() == len {
            let Partial { header, content } = partial;
            return Ok(Some(Found::Record { header, content }));
        }
        self.partial = Some(partial);
        Ok(None)
    }

    /// Up to where it is visible; of a worker that has died and whose outbox was read.
    pub(crate) fn tail(&self) -> u64 {
        self.tail
    }

    /// The values in a row that a worker could not close.
    pub(crate) fn harvest(&mut self, file: &SparseFile, count: u32) -> Result<Vec<u8>> {
        let (start, count) = ((self.tail + 1) % SIZE, u64::from(count));
        if start + count > SIZE {
            return Err(nonsense());
        }
        let row = row(file, self.seat, DATA + index(start), index(count))?;
        let mut bytes = Vec::new();
        words::append(row, index(count) * 8, &mut bytes);
        Ok(bytes)
    }

    /// Whether the worker may wait for room, and so is to be told that there is some. It does not wait before three quarters are full; and it
    /// says that there is something to read when all that fills them is visible.
    pub(crate) fn frees(&mut self) -> bool {
        let may_wait = self.tail.wrapping_sub(self.freed) > SIZE / 2;
        if may_wait {
            self.freed = self.head;
        }
        may_wait
    }

    /// Lets the worker know how far this side has come.
    pub(crate) fn tell(&self, file: &SparseFile) -> Result<()> {
        // ORDERING: Release: it was read before the worker writes there.
        row(file, self.seat, HEAD, 1)?[0].store(self.head, Release);
        Ok(())
    }
}

fn shortened(mut content: Vec<u8>, len: usize) -> Vec<u8> {
    content.truncate(len);
    content
}

/// So few words are copied into memory of their own.
const SHORT: u64 = 512;

/// How many bytes are reserved for a content before they are there.
const MOST_BELIEVED: usize = 16 << 20;

/// A number of words of an outbox, all of which are mapped.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "see above")]
fn index(words: u64) -> usize {
    words as usize
}

fn nonsense() -> Error {
    Error::new(ErrorKind::Decode, "a worker's outbox is broken")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory;

    fn open(file: &SparseFile) -> (Writer<'_>, Reader) {
        (Writer::open(file, 3).unwrap(), Reader::new(file, 3).unwrap())
    }

    #[test]
    fn records_come_out_as_they_went_in_round_and_round() {
        let file = memory::create().unwrap();
        let (mut writer, mut reader) = open(&file);
        for round in 0..3000usize {
            let contents: Vec<Vec<u8>> =
                (0..9).map(|i| vec![i; usize::from(i) * (round % 97)]).collect();
            writer.put(Header::new(BEGIN, 0, round as u64), &[]).unwrap();
            for content in &contents {
                let header = Header::new(VALUE, 0, content.len() as u64);
                assert_eq!(writer.put(header, content), Some(content.len()));
            }
            writer.put(Header::new(END, 0, 5), &[]).unwrap();
            let Some(Found::Record { header, .. }) = reader.next(&file).unwrap() else { panic!() };
            assert_eq!((header.kind(), header.number()), (BEGIN, round as u64));
            let Some(Found::Values { count, records }) = reader.next(&file).unwrap() else {
                panic!()
            };
            assert_eq!(count, 9);
            let mut rest = &records[..];
            for content in &contents {
                let (head, tail) = rest.split_first_chunk::<8>().unwrap();
                let header = Header::from_bytes(*head);
                assert_eq!(header.number(), content.len() as u64);
                assert_eq!(tail[..content.len()], content[..]);
                rest = &tail[index(header.words()) * 8..];
            }
            assert!(rest.is_empty());
            let Some(Found::Record { header, .. }) = reader.next(&file).unwrap() else { panic!() };
            assert_eq!(header.kind(), END);
            assert!(reader.next(&file).unwrap().is_none());
            reader.tell(&file).unwrap();
        }
    }

    #[test]
    fn long_contents_stream_and_full_outboxes_refuse() {
        let file = memory::create().unwrap();
        let (mut writer, mut reader) = open(&file);
        let long: Vec<u8> = (0..1_000_003u32).map(|i| i.to_le_bytes()[0]).collect();
        let header = Header::new(VALUE, 0, long.len() as u64);
        let mut done = writer.put(header, &long).unwrap();
        assert!(done < long.len());
        let found = loop {
            if let Some(found) = reader.next(&file).unwrap() {
                break found;
            }
            reader.tell(&file).unwrap();
            done = writer.go_on(&long, done);
        };
        let Found::Record { header: got, content } = found else { panic!() };
        assert_eq!((got, content), (header, long));
        reader.tell(&file).unwrap();
        let mut fit = 0;
        while writer.put(Header::new(VALUE, 0, 800), &[1; 800]).is_some() {
            fit += 1;
        }
        assert_eq!(fit, SIZE / 101);
        assert!(!writer.sees_room(101));
    }

    #[test]
    fn who_may_wait_for_room_is_told_and_nobody_else() {
        let file = memory::create().unwrap();
        let (mut writer, mut reader) = open(&file);
        let mut freed = Vec::new();
        for round in 0..6000_u64 {
            writer.put_only_word(round, 0, round);
            while reader.next(&file).unwrap().is_some() {}
            reader.tell(&file).unwrap();
            if reader.frees() {
                freed.push(round);
            }
        }
        // It is never far behind, but that is known of the last half of the ring only.
        assert_eq!(freed, [SIZE / 6]);
        while writer.put(Header::new(VALUE, 0, 800), &[1; 800]).is_some() {}
        while reader.next(&file).unwrap().is_some() {}
        assert!(reader.frees() && !reader.frees());
    }
}
