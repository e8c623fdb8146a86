//! Values that are a block of bytes as they are.

use procession_sys::plain;
use serde::Serialize;

use super::varint;

/// The encoding of a value in two parts: a short head, and bytes that lie in the value.
#[derive(Debug, Clone, Copy)]
pub struct Block<'a> {
    count: usize,
    head: [u8; Block::MOST_HEAD],
    head_len: usize,
    bytes: &'a [u8],
}

impl<'a> Block<'a> {
    /// The most bytes of a head, which is a number of 64 bits by seven each.
    pub const MOST_HEAD: usize = varint::MOST;

    /// How many numbers it is; of a text, how many bytes.
    #[inline]
    pub fn count(&self) -> usize {
        self.count
    }

    /// What comes first.
    #[inline]
    pub fn head(&self) -> &[u8] {
        &self.head[..self.head_len]
    }

    /// What comes then.
    #[inline]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

/// The encoding of `value` by [`Postcard`](super::Postcard), without a copy of it, when it is a `Vec`, `Box<[_]>` or slice of
/// integers or floats, or a `String`, `Box<str>` or `str`.
///
/// `None` says nothing about the value, but that it must be encoded: on machines that are not little-endian so must numbers of
/// more than one byte.
///
/// # Examples
///
/// ```
/// use procession_core::codec::{Codec, Postcard, as_block};
///
/// let numbers = vec![1u16, 2];
/// if let Some(block) = as_block(&numbers) {
///     assert_eq!([block.head(), block.bytes()].concat(), Postcard::encode_into(&numbers, Vec::new())?);
/// }
/// assert!(as_block(&Some(numbers)).is_none());
/// # Ok::<(), procession_core::Error>(())
/// ```
#[inline]
pub fn as_block<T: Serialize + ?Sized>(value: &T) -> Option<Block<'_>> {
    let (count, bytes) = match plain::text_of(value) {
        Some(text) => (text.len(), text.as_bytes()),
        None => plain::block_of(value).map(|numbers| (numbers.count, numbers.bytes))?,
    };
    let mut head = [0; Block::MOST_HEAD];
    let head_len = varint::write(&mut head, count as u64);
    Some(Block { count, head, head_len, bytes })
}
