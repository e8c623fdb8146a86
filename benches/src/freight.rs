//! Messages as families `pipe` and `socket` make them and look at them.
//!
//! The peers' workspace includes this file by path, so it stands on `std` alone.

use std::io;

use crate::line::Line;

/// The marker of the last message of a phase, in its number.
const LAST: u64 = 1 << 63;
/// What every number is mixed with, so that a format which saves the zeros of small numbers saves nothing: 8 bytes are 8 bytes.
pub(crate) const MIX: u64 = 0x5a5a_5a5a_5a5a_5a5a;
const PAGE: usize = 4096;

/// How closely a message is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Care {
    /// Length, first and last word.
    Ends,
    /// Every byte.
    All,
}

/// The word that message `number` bears.
pub(crate) fn marked(number: u64, is_last: bool) -> u64 {
    (number | if is_last { LAST } else { 0 }) ^ MIX
}

#[inline]
pub(crate) fn expect(word: u64, right: u64) -> io::Result<()> {
    if word == right { Ok(()) } else { Err(wrong(word, right)) }
}

#[cold]
fn wrong(word: u64, right: u64) -> io::Error {
    let [word, right] = [word ^ MIX, right ^ MIX];
    io::Error::other(format!("a message is number {word:#x} instead of {right:#x}"))
}

/// Messages of one kind, as they are made and looked at.
pub(crate) trait Freight<L> {
    fn send(&mut self, line: &mut L, word: u64) -> io::Result<()>;

    /// Returns the word that the message bears.
    fn recv(&mut self, line: &mut L, care: Care) -> io::Result<u64>;
}

pub(crate) struct Words;

impl<L: Line> Freight<L> for Words {
    #[inline]
    fn send(&mut self, line: &mut L, word: u64) -> io::Result<()> {
        line.send_word(word)
    }

    #[inline]
    fn recv(&mut self, line: &mut L, _care: Care) -> io::Result<u64> {
        line.recv_word()
    }
}

pub(crate) struct Kept {
    out: Buffer,
    buffer: Buffer,
}

impl Kept {
    pub(crate) fn new(len: usize) -> Self {
        Self { out: Buffer::new(len), buffer: Buffer::new(len) }
    }
}

impl<L: Line> Freight<L> for Kept {
    #[inline]
    fn send(&mut self, line: &mut L, word: u64) -> io::Result<()> {
        line.send(self.out.stamped(word))
    }

    #[inline]
    fn recv(&mut self, line: &mut L, care: Care) -> io::Result<u64> {
        let buffer = self.buffer.bytes();
        let len = line.recv_into(buffer)?;
        let message = buffer.get(..len).ok_or_else(|| damaged(len, buffer.len()))?;
        self.out.look(message, care)
    }
}

pub(crate) struct Fresh(pub(crate) Buffer);

impl<L: Line> Freight<L> for Fresh {
    #[inline]
    fn send(&mut self, line: &mut L, word: u64) -> io::Result<()> {
        line.send(self.0.stamped(word))
    }

    #[inline]
    fn recv(&mut self, line: &mut L, care: Care) -> io::Result<u64> {
        self.0.look(&line.recv_vec()?, care)
    }
}

pub(crate) struct Owned(pub(crate) Buffer);

impl<L: Line> Freight<L> for Owned {
    #[inline]
    fn send(&mut self, line: &mut L, word: u64) -> io::Result<()> {
        line.give(self.0.stamped(word).to_vec())
    }

    #[inline]
    fn recv(&mut self, line: &mut L, care: Care) -> io::Result<u64> {
        self.0.look(&line.take()?, care)
    }
}

/// Memory for a message, which begins a page: some processors copy many times slower to and from some other places.
#[derive(Debug)]
pub struct Buffer {
    memory: Vec<u8>,
    begin: usize,
    len: usize,
}

impl Buffer {
    /// A message of so many bytes, at least 16, that looks like no other.
    pub fn new(len: usize) -> Self {
        let mut memory = vec![0; len + PAGE];
        let begin = memory.as_ptr().align_offset(PAGE);
        for (byte, value) in memory[begin..].iter_mut().zip((0..251).cycle()) {
            *byte = value;
        }
        Self { memory, begin, len }
    }

    /// The message.
    pub fn bytes(&mut self) -> &mut [u8] {
        &mut self.memory[self.begin..self.begin + self.len]
    }

    /// The message with `word` at both ends.
    #[inline]
    pub fn stamped(&mut self, word: u64) -> &[u8] {
        let (bytes, word) = (self.bytes(), word.to_ne_bytes());
        if let Some(first) = bytes.first_chunk_mut() {
            *first = word;
        }
        if let Some(last) = bytes.last_chunk_mut() {
            *last = word;
        }
        bytes
    }

    /// The word that `message` bears, if it has the length of this one, and in its middle the same bytes.
    #[inline]
    fn look(&self, message: &[u8], care: Care) -> io::Result<u64> {
        let mine = &self.memory[self.begin..self.begin + self.len];
        let (first, last) = (message.first_chunk(), message.last_chunk());
        let middle = 8..self.len - 8;
        match (first, last) {
            (Some(first), Some(last))
                if first == last
                    && message.len() == self.len
                    && (care == Care::Ends || message[middle.clone()] == mine[middle]) =>
            {
                Ok(u64::from_ne_bytes(*first))
            }
            _ => Err(damaged(message.len(), self.len)),
        }
    }
}

#[cold]
fn damaged(len: usize, right: usize) -> io::Error {
    io::Error::other(format!("a message of {right} bytes came damaged, with {len} bytes"))
}
