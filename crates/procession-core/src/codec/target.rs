//! Values whose bytes are read into where they will lie.

use std::fmt;
use std::marker::PhantomData;

use procession_sys::plain::{self, NumberVec};
use serde::de::DeserializeOwned;

use super::fault::Fault;
use super::{not_decoded, varint};
use crate::Result;

/// How much memory is taken for bytes that are announced and have not come. From then on it doubles with what has.
const AHEAD_BYTES: usize = 1 << 20;

/// How much of it is zeroed at a time: so much stays in the cache until it is written over. A MiB takes 17 µs to fill then,
/// instead of 20 µs when all of it is zeroed first, and 15 µs when nothing is.
const STEP_BYTES: usize = 1 << 18;

/// The knowledge that a `T` is a block of bytes, which can be read into where it will lie.
pub struct BlockTarget<T>(PhantomData<fn() -> T>);

/// A `T` whose bytes are on their way.
///
/// Read into [`rest`](Self::rest) and say how much by [`advance`](Self::advance) until nothing is left, then
/// [`finish`](Self::finish). When it is dropped, what has come is lost, and nothing else.
///
/// # Examples
///
/// ```
/// use procession_core::codec::{Block, Codec, Postcard, block_target};
///
/// let encoding = Postcard::encode_into(&vec![1.5f64; 1000], Vec::new())?;
/// if let Some(target) = block_target::<Vec<f64>>() {
///     let (front, mut stream) = encoding.split_at(Block::MOST_HEAD);
///     let mut builder = target.begin(front, encoding.len())?;
///     while !builder.rest()?.is_empty() {
///         let read = std::io::Read::read(&mut stream, builder.rest()?)?;
///         builder.advance(read);
///     }
///     assert_eq!(builder.finish()?, [1.5; 1000]);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct BlockBuilder<T> {
    content: Content<T>,
    /// How many bytes it will have, and how many of them have come.
    len_bytes: usize,
    filled_bytes: usize,
}

/// What is read into. Behind what has come it is zeroed.
enum Content<T> {
    /// A `Vec` of plain numbers.
    Numbers(T),
    /// What will be a `String`.
    Text(Vec<u8>),
}

/// Whether a `T` can be read without being decoded: it is a `Vec` of integers or floats, or a `String`.
///
/// `None` says nothing about the value, but that it must be decoded, as with [`as_block`](super::as_block).
#[inline]
pub fn block_target<T: DeserializeOwned>() -> Option<BlockTarget<T>> {
    let is_block = plain::is_string::<T>() || plain::number_vec::<T>().is_some();
    is_block.then_some(BlockTarget(PhantomData))
}

impl<T> BlockTarget<T> {
    /// Begins the value whose encoding has `len_bytes` and begins with `front`: that is all of it, or at least
    /// [`Block::MOST_HEAD`](super::Block::MOST_HEAD). What is in `front` behind the head need not be read any more.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Decode`](crate::ErrorKind::Decode) when no `T` begins so, or none of that length, or there is no memory.
    pub fn begin(self, front: &[u8], len_bytes: usize) -> Result<BlockBuilder<T>> {
        BlockBuilder::new(front, len_bytes).map_err(|fault| not_decoded::<T>(&fault))
    }
}

impl<T> BlockBuilder<T> {
    fn new(front: &[u8], len_bytes: usize) -> Result<Self, Fault> {
        let content = match plain::number_vec() {
            Some(vec) => Content::Numbers(vec),
            None => Content::Text(Vec::new()),
        };
        let mut this = Self { content, len_bytes: 0, filled_bytes: 0 };
        let mut begun = front;
        let count = varint::take::<64>(&mut begun)?;
        let width = this.content.vec().width_bytes();
        let announced = usize::try_from(count).ok().and_then(|count| count.checked_mul(width));
        let coming = len_bytes.checked_sub(front.len() - begun.len());
        this.len_bytes = match coming {
            Some(coming) if announced == coming.into() && begun.len() <= coming => coming,
            _ => {
                let text = format!("{count} times {width} bytes do not make {len_bytes}");
                return Err(Fault::because(text));
            }
        };
        while !begun.is_empty() {
            let room = this.room()?;
            let (now, later) = begun.split_at(begun.len().min(room.len()));
            room[..now.len()].copy_from_slice(now);
            this.filled_bytes += now.len();
            begun = later;
        }
        Ok(this)
    }

    /// Where the next bytes belong. It may be less than what is to come; it is empty when nothing is.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Decode`](crate::ErrorKind::Decode) when there is no memory for more.
    pub fn rest(&mut self) -> Result<&mut [u8]> {
        self.room().map_err(|fault| not_decoded::<T>(&fault))
    }

    fn room(&mut self) -> Result<&mut [u8], Fault> {
        let vec = self.content.vec();
        let width = vec.width_bytes();
        let there = vec.bytes_mut().len();
        if self.filled_bytes == there && there < self.len_bytes {
            let left = self.len_bytes - there;
            if vec.spare() == 0 {
                let more = left.min(there.max(AHEAD_BYTES)) / width;
                vec.try_reserve(more).map_err(|refused| Fault::because(refused.to_string()))?;
            }
            vec.append_zeros(vec.spare().min(left.min(STEP_BYTES) / width));
        }
        Ok(&mut self.content.vec().bytes_mut()[self.filled_bytes..])
    }

    /// Says that the first `count` bytes of [`rest`](Self::rest) have been written.
    ///
    /// # Panics
    ///
    /// When it was not that long.
    #[track_caller]
    pub fn advance(&mut self, count: usize) {
        let room = self.content.vec().bytes_mut().len() - self.filled_bytes;
        assert!(count <= room, "{count} bytes were written into {room}");
        self.filled_bytes += count;
    }

    /// How many bytes are to come.
    pub fn left_bytes(&self) -> usize {
        self.len_bytes - self.filled_bytes
    }

    /// The value.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Decode`](crate::ErrorKind::Decode) when bytes are missing, or are not the text that they should be.
    pub fn finish(self) -> Result<T> {
        let value = if self.left_bytes() > 0 {
            Err(Fault::end())
        } else {
            match self.content {
                Content::Numbers(vec) => Ok(vec),
                Content::Text(bytes) => string(bytes),
            }
        };
        value.map_err(|fault| not_decoded::<T>(&fault))
    }
}

fn string<T>(bytes: Vec<u8>) -> Result<T, Fault> {
    let text = String::from_utf8(bytes).map_err(|bad| Fault::because(bad.to_string()))?;
    Ok(plain::from_string(text)
        .expect("what is no vector of numbers is a string: see `block_target`"))
}

impl<T> Content<T> {
    fn vec(&mut self) -> &mut dyn NumberVec {
        match self {
            Self::Numbers(vec) => plain::as_number_vec(vec).expect("it was made as one"),
            Self::Text(bytes) => bytes,
        }
    }
}

impl<T> Clone for BlockTarget<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for BlockTarget<T> {}

impl<T> fmt::Debug for BlockTarget<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlockTarget<{}>", std::any::type_name::<T>())
    }
}

impl<T> fmt::Debug for BlockBuilder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockBuilder")
            .field("len_bytes", &self.len_bytes)
            .field("filled_bytes", &self.filled_bytes)
            .finish()
    }
}
