//! Counts the words of one task: read, fold, split, look up.
//!
//! A word is a longest run of ASCII letters, digits and bytes from 0x80 up, in lower case. A word
//! that crosses the end of a byte range belongs to the range in which it starts. A word of more
//! than [`WORD_BYTES`] bytes is counted as its first [`WORD_BYTES`] bytes, which bounds the memory
//! that one word can take.
//!
//! Files are read, not mapped: a fresh page of a mapping costs a page fault, a reused buffer none.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;
use crate::table::{INLINE_BYTES, Table};
use crate::walk::{Piece, Share, Task, Trouble};

/// Longer words are counted under their first bytes.
pub(crate) const WORD_BYTES: usize = 1024;
/// A file with a NUL byte in its first bytes is binary, as grep and git have it.
const SNIFF_BYTES: usize = 8 << 10;
/// Bytes asked of the system at a time. They are still in the cache when they are scanned: measured
/// 6 % faster than 1 MiB on a machine with 1 MiB of second-level cache.
const READ_BYTES: usize = 64 << 10;
/// The scan looks at this many bytes at a time, one bit of a word for each.
const BLOCK_BYTES: usize = 64;

/// The counts of one task, packed so that encoding them is a few copies.
#[derive(Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Partial {
    /// Which task this is.
    pub(crate) id: usize,
    /// Files that could be opened: text, empty and binary ones.
    pub(crate) files: u64,
    pub(crate) empty: u64,
    pub(crate) binary: u64,
    /// Bytes of text.
    pub(crate) bytes: u64,
    pub(crate) troubles: Vec<Trouble>,
    /// The first eight bytes of every word, padded with zeros.
    heads: Bytes,
    word_lens: Vec<u16>,
    word_counts: Vec<u64>,
    /// The words of more than eight bytes, one behind the other.
    long_words: Bytes,
}

impl Partial {
    /// Adds the words to a table and says how many there are, repeats included.
    pub(crate) fn add_words_to(&self, table: &mut Table) -> u64 {
        let (heads, _) = self.heads.as_slice().as_chunks::<INLINE_BYTES>();
        let mut long_words = self.long_words.as_slice();
        let mut total = 0;
        for ((&head, &len), &count) in heads.iter().zip(&self.word_lens).zip(&self.word_counts) {
            let len = usize::from(len);
            if len <= INLINE_BYTES {
                table.add_short(head, len, count);
            } else {
                let Some((word, after)) = long_words.split_at_checked(len) else { break };
                long_words = after;
                table.add_long(head, word, count);
            }
            total += count;
        }
        total
    }

    fn set_words(&mut self, table: &Table) {
        let mut heads = Vec::with_capacity(INLINE_BYTES * table.distinct());
        let mut long_words = Vec::with_capacity(table.long_bytes());
        self.word_lens.reserve_exact(table.distinct());
        self.word_counts.reserve_exact(table.distinct());
        for (head, word, count) in table.iter() {
            heads.extend_from_slice(head);
            if word.len() > INLINE_BYTES {
                long_words.extend_from_slice(word);
            }
            let len = u16::try_from(word.len()).expect("a word has at most WORD_BYTES bytes");
            self.word_lens.push(len);
            self.word_counts.push(count);
        }
        self.heads = Bytes::from(heads);
        self.long_words = Bytes::from(long_words);
    }
}

/// Counts the words of a task. The same function serves all three modes.
pub(crate) fn count_task(task: Task) -> Partial {
    thread_local! {
        static COUNTER: RefCell<Counter> = RefCell::new(Counter::new(READ_BYTES));
    }
    COUNTER.with_borrow_mut(|counter| counter.count_task(task))
}

/// Buffer and table, kept from task to task.
#[derive(Debug)]
struct Counter {
    /// Room for the start of an unfinished word, one read, and a block beyond.
    buffer: Vec<u8>,
    read_bytes: usize,
    table: Table,
    /// Bytes of text so far.
    bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Content {
    Text,
    Binary,
}

impl Counter {
    fn new(read_bytes: usize) -> Self {
        let len = WORD_BYTES + read_bytes.max(SNIFF_BYTES) + BLOCK_BYTES + INLINE_BYTES;
        Self { buffer: vec![0; len], read_bytes, table: Table::new(), bytes: 0 }
    }

    fn count_task(&mut self, task: Task) -> Partial {
        self.table.clear();
        self.bytes = 0;
        let mut partial = Partial { id: task.id, troubles: task.troubles, ..Partial::default() };
        for piece in task.pieces {
            self.count_piece(piece, &mut partial);
        }
        partial.bytes = self.bytes;
        partial.set_words(&self.table);
        partial
    }

    fn count_piece(&mut self, piece: Piece, partial: &mut Partial) {
        let opened = File::open(Path::new(&piece.path));
        let counted = match opened {
            Ok(mut file) => self.count_range(&mut file, piece.start, piece.end).map_err(|error| {
                Trouble::unreadable(piece.path.clone(), piece.share, error.to_string())
            }),
            Err(error) => Err(Trouble::on_seen(piece.path.clone(), piece.share, &error)),
        };
        match counted {
            Ok(_) if piece.share == Share::Later => {}
            Ok(content) => {
                partial.files += 1;
                partial.binary += u64::from(content == Content::Binary);
                partial.empty += u64::from(piece.end == 0);
            }
            Err(trouble) => partial.troubles.push(trouble),
        }
    }

    /// Counts the words that start in `start..end`. An early end of the file is the end.
    fn count_range(
        &mut self,
        source: &mut (impl Read + Seek),
        start: u64,
        end: u64,
    ) -> io::Result<Content> {
        let sniff = at_most(end, SNIFF_BYTES);
        let mut fresh = read_full(source, &mut self.buffer[..sniff])?;
        if self.buffer[..fresh].contains(&0) {
            return Ok(Content::Binary);
        }
        let mut words = Cut { held: 0, is_inside: start > 0 };
        let mut at = 0;
        if start > 0 {
            // The byte before the range tells whether the range starts inside of a word.
            at = source.seek(SeekFrom::Start(start - 1))?;
            fresh = 0;
        }
        loop {
            let full = words.held + fresh;
            fold(&mut self.buffer[words.held..full]);
            let before = at;
            at += fresh as u64;
            self.bytes += at.max(start) - before.max(start);
            words = self.take_words(full, words.is_inside);
            let want = at_most(end - at, self.read_bytes);
            if want == 0 {
                break;
            }
            fresh = read_some(source, &mut self.buffer[words.held..words.held + want])?;
            if fresh == 0 {
                break;
            }
        }
        if words.held > 0 {
            self.finish_word(source, words.held)?;
        }
        Ok(Content::Text)
    }

    /// Counts the word whose start is held, reading on beyond the end of the range.
    fn finish_word(&mut self, source: &mut impl Read, held: usize) -> io::Result<()> {
        let fresh = read_full(source, &mut self.buffer[held..WORD_BYTES]);
        let full = held + *fresh.as_ref().unwrap_or(&0);
        fold(&mut self.buffer[held..full]);
        let word = &self.buffer[..full];
        let len = word.iter().position(|&byte| byte == 0).unwrap_or(full);
        self.table.add(&word[..len], 1);
        fresh.map(drop)
    }

    /// Counts the words that end in the folded bytes `..full` and moves the last, unfinished one
    /// to the front of the buffer.
    fn take_words(&mut self, full: usize, is_inside: bool) -> Cut {
        let bytes = &self.buffer[..full];
        let mut from = 0;
        if is_inside {
            match bytes.iter().position(|&byte| byte == 0) {
                Some(gap) => from = gap,
                None => return Cut { held: 0, is_inside: true },
            }
        }
        let last_gap = bytes[from..].iter().rposition(|&byte| byte == 0);
        let cut = last_gap.map_or(from, |gap| from + gap + 1);
        self.count_words(from, cut);
        if full - cut >= WORD_BYTES {
            self.table.add(&self.buffer[cut..cut + WORD_BYTES], 1);
            return Cut { held: 0, is_inside: true };
        }
        self.buffer.copy_within(cut..full, 0);
        Cut { held: full - cut, is_inside: false }
    }

    /// Counts the words of the folded bytes `from..to`, the last of which is a gap.
    fn count_words(&mut self, from: usize, to: usize) {
        let (buffer, table) = (self.buffer.as_slice(), &mut self.table);
        let mut word_start = from;
        let mut last_bit = 0;
        let mut base = from;
        while base < to {
            let Some(block) = buffer[base..].first_chunk::<BLOCK_BYTES>() else { break };
            let mut mask = word_mask(block);
            if to - base < BLOCK_BYTES {
                mask &= (1 << (to - base)) - 1;
            }
            // A set bit where a word starts or where it has just ended.
            let mut edges = mask ^ (mask << 1 | last_bit);
            let mut is_word = last_bit == 1;
            while edges != 0 {
                let at = base + edges.trailing_zeros() as usize;
                if is_word {
                    add_word(table, buffer, word_start, at);
                }
                word_start = at;
                is_word = !is_word;
                edges &= edges - 1;
            }
            last_bit = mask >> (BLOCK_BYTES - 1);
            base += BLOCK_BYTES;
        }
    }
}

/// What is left of the bytes read so far.
#[derive(Clone, Copy, Debug)]
struct Cut {
    /// Bytes of an unfinished word at the front of the buffer, fewer than [`WORD_BYTES`].
    held: usize,
    /// The next byte may continue a word that is counted already, or not ours.
    is_inside: bool,
}

/// Counts the word `buffer[start..end]`.
#[inline]
fn add_word(table: &mut Table, buffer: &[u8], start: usize, end: usize) {
    let Some(&head) = buffer[start..].first_chunk::<INLINE_BYTES>() else { return };
    let len = end - start;
    if len <= INLINE_BYTES {
        let shift = 8 * (INLINE_BYTES - len);
        let head = u64::from_le_bytes(head) & (u64::MAX >> shift);
        table.add_short(head.to_le_bytes(), len, 1);
    } else {
        table.add_long(head, &buffer[start..end.min(start + WORD_BYTES)], 1);
    }
}

/// Turns letters to lower case and everything that is not part of a word to zero.
///
/// Arithmetic instead of a table: the compiler makes vector instructions of it.
fn fold(bytes: &mut [u8]) {
    for byte in bytes {
        let lower = *byte | 0x20;
        let is_letter = lower.wrapping_sub(b'a') < 26;
        let is_other = (byte.wrapping_sub(b'0') < 10) | (*byte >= 0x80);
        let other = if is_other { *byte } else { 0 };
        *byte = if is_letter { lower } else { other };
    }
}

/// One bit for each byte that is not zero.
#[inline]
fn word_mask(block: &[u8; BLOCK_BYTES]) -> u64 {
    const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    // Brings the top bits of eight bytes together in the top byte of the product.
    const GATHER: u64 = 0x0002_0408_1020_4081;
    let mut mask = 0;
    let (chunks, _) = block.as_chunks::<8>();
    for (i, chunk) in chunks.iter().enumerate() {
        let bytes = u64::from_le_bytes(*chunk);
        let top_bits = (((bytes & LOW) + LOW) | bytes) & !LOW;
        mask |= (top_bits.wrapping_mul(GATHER) >> 56) << (8 * i);
    }
    mask
}

/// `count`, but no more than `limit`.
fn at_most(count: u64, limit: usize) -> usize {
    usize::try_from(count).map_or(limit, |count| count.min(limit))
}

/// Reads once; a signal is no reason to stop.
fn read_some(source: &mut impl Read, into: &mut [u8]) -> io::Result<usize> {
    loop {
        match source.read(into) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// Reads until `into` is full or the file ends.
fn read_full(source: &mut impl Read, into: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while len < into.len() {
        match read_some(source, &mut into[len..])? {
            0 => break,
            fresh => len += fresh,
        }
    }
    Ok(len)
}

#[cfg(test)]
mod tests;
