//! Tasks and values in bulk: [`Piece`]s go to the workers, [`Parcel`]s come back.

use std::os::fd::OwnedFd;
use std::panic::AssertUnwindSafe;

use procession_core::codec::{Codec, Postcard, as_block, from_word, to_word};
use procession_core::{Error, ErrorKind, Message, Result};
use procession_process::{Panic, panic};
use procession_sys::plain;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::TaskError;
use crate::job::Outcome;
use crate::outbox::Header;
use crate::spare;

/// How many bytes a word has.
const WORD: usize = size_of::<u64>();

/// An argument that is longer has a piece for itself; and a value, if it is a block of bytes, goes as such.
pub(crate) const LONG: usize = 16 << 10;

/// How many words are added at a time.
const AT_A_TIME: usize = 64;

/// When so many items are to come, they are likely to need a whole buffer.
const MANY: usize = 1024;

/// How arguments lie one behind the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Layout {
    /// For each its length (4 bytes) and its bytes.
    #[default]
    Bytes,
    /// One argument, without its length.
    Single,
    /// One argument, of which there are the bytes that it is, without the head of their encoding.
    Block,
    /// Each is a word.
    Words,
}

/// Encoded arguments of consecutive tasks.
#[derive(Debug, Default)]
pub(crate) struct Piece {
    /// The place of the first in the input.
    pub(crate) first: usize,
    pub(crate) count: u32,
    pub(crate) layout: Layout,
    pub(crate) bytes: Vec<u8>,
    /// Where the first argument begins: what lies in front was split off.
    pub(crate) start: usize,
    /// What a single argument holds.
    pub(crate) handles: Vec<OwnedFd>,
    /// How many workers have died that were about to begin the first.
    pub(crate) deaths: u8,
    /// How often the only task was tried before.
    pub(crate) tries: u32,
}

impl Piece {
    /// Of one task.
    fn single(index: usize, argument: Message) -> Self {
        let (bytes, handles) = argument.into_parts();
        let layout = Layout::Single;
        Self { first: index, count: 1, layout, bytes, handles, ..Self::default() }
    }

    /// Of one task whose argument is these bytes.
    fn block(index: usize, bytes: Vec<u8>) -> Self {
        Self { first: index, count: 1, layout: Layout::Block, bytes, ..Self::default() }
    }

    /// How many bytes of arguments there are.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    pub(crate) fn arguments(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// Takes the first tasks out: `most` of them, or as many as have `most_bytes`, one at least.
    pub(crate) fn split_off(&mut self, most: u32, most_bytes: usize) -> Self {
        let most = most.min(self.count).max(1);
        let (mut end, mut count) = (self.start, 0);
        if self.layout == Layout::Words {
            let most_words = u32::try_from(most_bytes / WORD).unwrap_or(u32::MAX);
            count = most.min(most_words).max(1);
            end += count as usize * WORD;
        } else {
            while count < most && (count == 0 || end - self.start < most_bytes) {
                end = after(&self.bytes, end);
                count += 1;
            }
        }
        if matches!(self.layout, Layout::Single | Layout::Block) || count >= self.count {
            return std::mem::take(self);
        }
        let taken = Self {
            first: self.first,
            count,
            layout: self.layout,
            bytes: self.bytes[self.start..end].to_vec(),
            deaths: std::mem::take(&mut self.deaths),
            ..Self::default()
        };
        self.first += count as usize;
        self.count -= count;
        self.start = end;
        taken
    }

    /// Drops the first tasks.
    pub(crate) fn skip(&mut self, count: u32) {
        for _ in 0..count.min(self.count) {
            self.start = match self.layout {
                Layout::Words => self.start + WORD,
                _ => after(&self.bytes, self.start),
            };
            self.first += 1;
            self.count -= 1;
            self.deaths = 0;
        }
    }
}

/// Where the next argument begins.
#[inline]
fn after(bytes: &[u8], at: usize) -> usize {
    let len = bytes.get(at..).and_then(|rest| rest.first_chunk::<4>());
    let len = len.map_or(0, |len| u32::from_le_bytes(*len) as usize);
    (at + 4 + len).min(bytes.len())
}

/// Takes the next argument off the front of some.
#[inline(always)]
pub(crate) fn next_argument<'a>(bytes: &'a [u8], at: &mut usize) -> &'a [u8] {
    let start = (*at + 4).min(bytes.len());
    *at = after(bytes, *at);
    &bytes[start..*at]
}

/// Arguments on their way into pieces.
#[derive(Debug, Default)]
pub(crate) struct Packer {
    piece: Piece,
    /// Whether arguments are not words, as one of them was none.
    is_bytes: bool,
}

/// Words on their way into a packer, which gets them also when the next item is a panic.
struct Batch<'a> {
    packer: &'a mut Packer,
    next: &'a mut usize,
    words: [[u8; WORD]; AT_A_TIME],
    count: usize,
}

impl Drop for Batch<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.count > 0 {
            self.packer.append_words(*self.next, &self.words[..self.count]);
            *self.next += self.count;
        }
    }
}

/// What became of an argument that was packed.
#[derive(Debug)]
pub(crate) enum Packed {
    /// It is with the others.
    Added,
    /// It has a piece for itself, which comes behind the others.
    Alone(Piece),
}

impl Packer {
    pub(crate) fn count(&self) -> u32 {
        self.piece.count
    }

    pub(crate) fn len(&self) -> usize {
        self.piece.bytes.len()
    }

    /// Adds the argument at a place behind the one that was added last.
    #[inline(always)]
    pub(crate) fn add<T: Serialize>(&mut self, index: usize, argument: T) -> Result<Packed> {
        if !self.is_bytes {
            if let Some(word) = to_word(&argument) {
                if self.piece.count == 0 {
                    self.piece.first = index;
                    self.piece.layout = Layout::Words;
                }
                self.piece.count += 1;
                self.piece.bytes.extend_from_slice(&word.to_le_bytes());
                return Ok(Packed::Added);
            }
            self.is_bytes = true;
            if self.piece.count > 0 {
                // A type of which some values are words and others not: this one goes alone.
                return Ok(Packed::Alone(Piece::single(index, Message::encode(&argument)?)));
            }
        }
        match self.piece.layout {
            // Those before it are words.
            Layout::Words if self.piece.count > 0 => {
                Ok(Packed::Alone(Piece::single(index, Message::encode(&argument)?)))
            }
            _ => self.add_bytes(index, argument),
        }
    }

    /// Whether all that was added are words.
    pub(crate) fn takes_words(&self) -> bool {
        !self.is_bytes && (self.piece.layout == Layout::Words || self.piece.count == 0)
    }

    /// Adds items as long as they are words, `most` of them at most; the first that is none. For a packer that
    /// [takes words](Self::takes_words). `next` is the place of the next item, also when to get it panics.
    #[inline(always)]
    pub(crate) fn add_words<T: Serialize>(
        &mut self,
        next: &mut usize,
        items: &mut impl Iterator<Item = T>,
        most: usize,
    ) -> Option<T> {
        if self.piece.count == 0 && items.size_hint().0 >= MANY {
            self.piece.bytes = spare::take();
        }
        let mut left = most;
        while left > 0 {
            let wanted = left.min(AT_A_TIME);
            let mut batch = Batch { packer: self, next, words: [[0; WORD]; AT_A_TIME], count: 0 };
            for (place, item) in batch.words[..wanted].iter_mut().zip(&mut *items) {
                let Some(word) = to_word(&item) else { return Some(item) };
                *place = word.to_le_bytes();
                batch.count += 1;
            }
            if batch.count < wanted {
                break;
            }
            left -= wanted;
        }
        None
    }

    fn append_words(&mut self, index: usize, words: &[[u8; WORD]]) {
        let piece = &mut self.piece;
        if piece.count == 0 {
            (piece.first, piece.layout) = (index, Layout::Words);
        }
        piece.count += u32::try_from(words.len()).unwrap_or_default();
        piece.bytes.extend_from_slice(words.as_flattened());
    }

    fn add_bytes<T: Serialize>(&mut self, index: usize, argument: T) -> Result<Packed> {
        let argument = match plain::into_bytes(argument, LONG) {
            // It is not copied before it is known where to.
            Ok(bytes) => return Ok(Packed::Alone(Piece::block(index, bytes))),
            Err(argument) => argument,
        };
        if let Some(block) = as_block(&argument).filter(|block| block.bytes().len() > LONG) {
            // Copied once, into what it needs.
            let mut bytes = Vec::with_capacity(block.head().len() + block.bytes().len());
            bytes.extend_from_slice(block.head());
            bytes.extend_from_slice(block.bytes());
            let argument = Message::from_parts(bytes, Vec::new());
            return Ok(Packed::Alone(Piece::single(index, argument)));
        }
        let bytes = &mut self.piece.bytes;
        let start = bytes.len();
        bytes.extend_from_slice(&[0; 4]);
        let handles = match Message::encode_onto(bytes, &argument) {
            Ok(handles) => handles,
            Err(error) => {
                bytes.truncate(start);
                return Err(error);
            }
        };
        let len = bytes.len() - start - 4;
        if !handles.is_empty() || len > LONG {
            let own = match start {
                0 => std::mem::take(bytes),
                _ => bytes.split_off(start),
            };
            let piece = Piece {
                first: index,
                count: 1,
                layout: Layout::Single,
                bytes: own,
                start: 4,
                handles,
                ..Piece::default()
            };
            return Ok(Packed::Alone(piece));
        }
        if self.piece.count == 0 {
            self.piece.first = index;
        }
        self.piece.count += 1;
        // Not longer than `LONG`.
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        self.piece.bytes[start..start + 4].copy_from_slice(&len.to_le_bytes());
        Ok(Packed::Added)
    }

    /// What was added, if anything.
    pub(crate) fn take(&mut self) -> Option<Piece> {
        (self.piece.count > 0).then(|| std::mem::take(&mut self.piece))
    }
}

/// Appends what stands in front of a block of so many numbers in its encoding.
pub(crate) fn append_head(count: u64, out: &mut Vec<u8>) -> Result<()> {
    Postcard::append(&count, out)
}

/// A value as it came.
#[derive(Debug)]
pub(crate) enum Encoding {
    Message(Message),
    /// The bytes that it is, and how many each of its numbers has.
    Block(Vec<u8>, u8),
}

impl Encoding {
    pub(crate) fn decode<R: DeserializeOwned>(self) -> Result<R> {
        match self {
            Self::Message(message) => message.decode(),
            Self::Block(bytes, width) => decode_block(bytes, width.max(1).into()),
        }
    }
}

fn decode_block<R: DeserializeOwned>(bytes: Vec<u8>, width: usize) -> Result<R> {
    let bytes = match plain::from_bytes(bytes) {
        Ok(value) => return Ok(value),
        Err(bytes) => bytes,
    };
    let bytes = if plain::is_string::<R>() {
        match String::from_utf8(bytes).map(plain::from_string) {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => return Err(Error::new(ErrorKind::Decode, "a text was lost")),
            // It is refused below.
            Err(error) => error.into_bytes(),
        }
    } else {
        bytes
    };
    if let Some(mut value) = plain::number_vec::<R>()
        && let Some(vec) = plain::as_number_vec(&mut value)
        && vec.width_bytes() == width
        && bytes.len().is_multiple_of(width)
    {
        vec.append(&bytes);
        return Ok(value);
    }
    let mut encoding = Vec::with_capacity(bytes.len() + 10);
    append_head((bytes.len() / width) as u64, &mut encoding)?;
    encoding.extend_from_slice(&bytes);
    Message::decode_parts(&encoding, Vec::new())
}

/// Decodes somebody else's type, which may panic.
pub(crate) fn catch_decoding<T>(decode: impl FnOnce() -> Result<T>) -> Result<T> {
    let panicked = |panic: Panic| Err(Error::new(ErrorKind::Panicked, panic.to_string()));
    panic::catch(AssertUnwindSafe(decode)).unwrap_or_else(panicked)
}

/// The value that is a word.
pub(crate) fn decode_word<R: DeserializeOwned>(index: usize, word: u64) -> Result<R, TaskError> {
    catch_decoding(|| from_word(word)).map_err(|error| TaskError::Value { index, error })
}

/// What became of some tasks.
#[derive(Debug)]
pub(crate) enum Parcel {
    Values(Values),
    /// One value that is a word, and its place.
    Word(usize, u64),
    One(Outcome),
}

/// Values of consecutive tasks.
#[derive(Debug)]
pub(crate) struct Values {
    /// The place of the first in the input.
    pub(crate) first: usize,
    pub(crate) count: u32,
    /// For each its header and its content, in whole words; or each is a word.
    records: Vec<u8>,
    is_words: bool,
    at: usize,
}

impl Values {
    pub(crate) fn new(first: usize, count: u32, records: Vec<u8>) -> Self {
        Self { first, count, records, is_words: false, at: 0 }
    }

    /// Of values that are words.
    pub(crate) fn of_words(first: usize, count: u32, words: Vec<u8>) -> Self {
        Self { first, count, records: words, is_words: true, at: 0 }
    }

    /// The words that are left.
    fn words(&self) -> &[[u8; WORD]] {
        self.records.get(self.at..).unwrap_or_default().as_chunks().0
    }

    /// The next value, and its place. A panic of its `Deserialize` is that task's.
    pub(crate) fn next_value<R: DeserializeOwned>(
        &mut self,
    ) -> Option<(usize, Result<R, TaskError>)> {
        let index = self.first;
        self.count = self.count.checked_sub(1)?;
        self.first += 1;
        let value = if self.is_words {
            let word = self.words().first().copied().unwrap_or_default();
            self.at += WORD;
            catch_decoding(|| from_word(u64::from_le_bytes(word)))
        } else {
            let content = self.content();
            catch_decoding(|| Message::decode_parts(content, Vec::new()))
        };
        Some((index, value.map_err(|error| TaskError::Value { index, error })))
    }

    /// Appends all values to `out`; the first that is none ends it.
    pub(crate) fn append_to<R: DeserializeOwned>(
        &mut self,
        out: &mut Vec<R>,
    ) -> Result<(), TaskError> {
        let values = &mut *self;
        let decoded = catch_decoding(|| {
            if values.is_words {
                let (start, first) = (out.len(), values.first);
                let words = values.words();
                let words = &words[..words.len().min(values.count as usize)];
                out.reserve(words.len());
                if let Some(numbers) = plain::words_vec(out) {
                    numbers.append(words.as_flattened());
                    return Ok(());
                }
                for word in words {
                    match from_word(u64::from_le_bytes(*word)) {
                        Ok(value) => out.push(value),
                        Err(error) => {
                            values.first = first + out.len() - start;
                            return Err(error);
                        }
                    }
                }
                return Ok(());
            }
            while values.count > 0 {
                out.push(Message::decode_parts(values.content(), Vec::new())?);
                values.count -= 1;
                values.first += 1;
            }
            Ok(())
        });
        decoded.map_err(|error| TaskError::Value { index: self.first, error })
    }

    #[inline(always)]
    fn content(&mut self) -> &[u8] {
        let rest = self.records.get(self.at..).unwrap_or_default();
        let Some((header, rest)) = rest.split_first_chunk::<8>() else { return &[] };
        let header = Header::from_bytes(*header);
        let len = usize::try_from(header.number()).unwrap_or(usize::MAX).min(rest.len());
        self.at += 8 + len.next_multiple_of(8);
        &rest[..len]
    }
}

impl Drop for Values {
    fn drop(&mut self) {
        spare::give(std::mem::take(&mut self.records));
    }
}

impl Parcel {
    /// How many tasks it is about.
    pub(crate) fn count(&self) -> usize {
        match self {
            Self::Values(values) => values.count as usize,
            Self::Word(..) | Self::One(_) => 1,
        }
    }

    /// The place of the first task.
    pub(crate) fn first(&self) -> usize {
        match self {
            Self::Values(values) => values.first,
            Self::Word(index, _) => *index,
            Self::One(outcome) => outcome.index,
        }
    }

    /// What it says went wrong, or itself.
    pub(crate) fn into_result(self) -> Result<Self, TaskError> {
        match self {
            Self::One(Outcome { result: Err(error), .. }) => Err(error),
            fine => Ok(fine),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_split_between_tasks() {
        let mut packer = Packer::default();
        for index in 10..20usize {
            let text = "x".repeat(index);
            assert!(matches!(packer.add(index, text).unwrap(), Packed::Added));
        }
        let mut piece = packer.take().unwrap();
        assert!(packer.take().is_none());
        let front = piece.split_off(3, usize::MAX);
        assert_eq!((front.first, front.count, piece.first, piece.count), (10, 3, 13, 7));
        let few = piece.split_off(7, 20);
        assert_eq!((few.first, few.count), (13, 2), "the second goes beyond the limit");
        piece.skip(2);
        assert_eq!((piece.first, piece.count), (17, 3));
        let mut at = 0;
        for index in 17..20usize {
            let argument = next_argument(piece.arguments(), &mut at);
            let text: String = Message::decode_parts(argument, Vec::new()).unwrap();
            assert_eq!(text.len(), index);
        }
        let rest = piece.split_off(9, usize::MAX);
        assert_eq!((rest.first, rest.count, piece.count), (17, 3, 0));
    }

    #[test]
    fn long_arguments_are_alone() {
        let mut packer = Packer::default();
        assert!(matches!(packer.add(0, 1u8).unwrap(), Packed::Added));
        let Packed::Alone(piece) = packer.add(1, vec![0u16; LONG]).unwrap() else { panic!() };
        let value: Vec<u16> = Message::decode_parts(piece.arguments(), Vec::new()).unwrap();
        assert_eq!((piece.first, value.len()), (1, LONG));
        assert_eq!(packer.take().unwrap().count, 1);
    }

    /// A word, but for the seventh hundredth.
    struct Mixed(u64);

    impl Serialize for Mixed {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            match self.0 {
                700 => serializer.serialize_str("seven hundred"),
                other => serializer.serialize_u64(other),
            }
        }
    }

    #[test]
    fn words_are_taken_in_bulk_up_to_what_is_none_or_panics() {
        let (mut packer, mut next) = (Packer::default(), 5);
        let mut items = (0..2000).map(Mixed);
        assert!(packer.add_words(&mut next, &mut items, 130).is_none());
        assert_eq!((next, packer.count()), (135, 130));
        let other = packer.add_words(&mut next, &mut items, 1000).unwrap();
        assert_eq!((other.0, next, packer.count()), (700, 705, 700));
        assert!(matches!(packer.add(next, other).unwrap(), Packed::Alone(_)));
        assert!(!packer.takes_words());
        let piece = packer.take().unwrap();
        let (words, _) = piece.arguments().as_chunks();
        assert_eq!((piece.first, piece.layout), (5, Layout::Words));
        assert!(words.iter().map(|word| u64::from_le_bytes(*word)).eq(0..700));
        let (mut packer, mut next) = (Packer::default(), 0);
        let mut items = (0..100).map(|item| if item == 70 { panic!("the 70th") } else { item });
        let mut take = || assert!(packer.add_words(&mut next, &mut items, 100).is_none());
        assert!(panic::catch(AssertUnwindSafe(&mut take)).is_err());
        take();
        assert_eq!((next, packer.take().unwrap().count), (99, 99));
    }

    #[test]
    fn long_bytes_go_as_they_are() {
        let mut packer = Packer::default();
        let bytes = vec![7u8; LONG + 1];
        let place = bytes.as_ptr();
        let Packed::Alone(mut piece) = packer.add(3, bytes).unwrap() else { panic!() };
        assert_eq!((piece.layout, piece.first, piece.len()), (Layout::Block, 3, LONG + 1));
        let piece = piece.split_off(1, 1);
        assert_eq!((piece.arguments().as_ptr(), piece.count), (place, 1));
        assert!(matches!(packer.add(4, vec![7u8; LONG - 8]).unwrap(), Packed::Added));
        assert!(matches!(packer.add(5, "x".repeat(LONG - 8)).unwrap(), Packed::Added));
        let Packed::Alone(piece) = packer.add(6, ("x".repeat(LONG + 1),)).unwrap() else {
            panic!()
        };
        assert_eq!((piece.layout, piece.first, piece.len()), (Layout::Block, 6, LONG + 1));
    }

    #[test]
    fn blocks_become_whatever_they_were() {
        fn check<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(
            value: T,
            width: u8,
        ) {
            let block = as_block(&value).unwrap().bytes().to_vec();
            assert_eq!(Encoding::Block(block, width).decode::<T>().unwrap(), value);
            let encoded = Encoding::Message(Message::encode(&value).unwrap());
            assert_eq!(encoded.decode::<T>().unwrap(), value);
        }
        check(vec![1u8, 2, 3], 1);
        check(vec![1i8, -2], 1);
        check(vec![1.5f64, -2.0], 8);
        check(vec![1u128], 16);
        check(vec![1u16; 300].into_boxed_slice(), 2);
        check(String::from("text"), 1);
        check(String::from("text").into_boxed_str(), 1);
        assert!(Encoding::Block(vec![0xff], 1).decode::<String>().is_err());
        assert!(Encoding::Block(vec![1, 2, 3], 2).decode::<Vec<u16>>().is_err());
        assert!(Encoding::Block(vec![1, 2], 0).decode::<Vec<u16>>().is_err());
    }
}
