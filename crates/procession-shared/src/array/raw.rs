//! What an array is that has no lock: [`RawArray`].

use std::fmt;
use std::marker::PhantomData;
use std::ops::RangeBounds;

use procession_core::{Error, ErrorKind, Result};
use procession_sys::block::SharedBytes;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::items::{self, refuse, span};
use super::iter::Iter;
use super::place::Place;
use crate::number::{Integer, Number};
use crate::plain::{self, Plain};

/// Items in shared memory, as many as were asked for when it was made, without a lock: for numbers with their atomic operations,
/// for items that each have one writer, and for what is protected otherwise.
///
/// It is a handle: a clone, or what arrives when it is sent, is the same array. An [`Array`](crate::Array) has a lock.
///
/// An item of 1, 2, 4 or 8 bytes is read and written by one access each, which orders nothing else. Whoever reads a larger one, or many,
/// while another writes them may see a mixture. Copies of many numbers at once run as fast as memory does.
///
/// Arrays of up to 8192 bytes lie in the family's arena; larger ones in memory of their own, with a descriptor.
///
/// # Drop, kill, fork
///
/// The memory is there as long as any process has a handle, or a message has it. A process that is killed while it writes many items
/// has written some.
///
/// # Source
///
/// CPython `multiprocessing.sharedctypes.RawArray`.
///
/// # Examples
///
/// ```
/// # use procession_shared as procession;
/// # fn main() -> procession_core::Result<()> {
/// use procession::RawArray;
///
/// let counts = RawArray::<u32>::new(3)?;
/// counts.write(1, &[5, 7])?;
/// counts.fetch_add(1, 10)?;
/// assert_eq!(counts.to_vec()?, [0, 15, 7]);
/// assert!(counts.get(3).is_err());
/// # Ok(())
/// # }
/// ```
pub struct RawArray<T> {
    place: Place,
    /// How many items.
    len: usize,
    of: PhantomData<T>,
}

impl<T: Plain> RawArray<T> {
    /// `len` items of which all bytes are zero. None is fine.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] when zero is no `T` (use [`filled`](Self::filled)); [`ErrorKind::TooLarge`] when there is no room for
    /// another, or for one so large.
    pub fn new(len: usize) -> Result<Self> {
        let is_value = plain::with_buffer(T::SIZE, |zeros| T::load(zeros).is_some());
        if !is_value {
            let name = std::any::type_name::<T>();
            return Err(refuse(format!(
                "zero is no value of type {name}: fill the array with one"
            )));
        }
        Self::unset(len)
    }

    /// `len` times `item`.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new), but that zero need not be a `T`.
    pub fn filled(len: usize, item: T) -> Result<Self> {
        let array = Self::unset(len)?;
        array.fill(item)?;
        Ok(array)
    }

    /// A copy of `items`.
    ///
    /// # Errors
    ///
    /// As [`filled`](Self::filled).
    pub fn from_slice(items: &[T]) -> Result<Self> {
        let array = Self::unset(items.len())?;
        array.write(0, items)?;
        Ok(array)
    }

    /// What the iterator gives. Its items are counted before the array is made.
    ///
    /// # Errors
    ///
    /// As [`filled`](Self::filled).
    #[expect(clippy::should_implement_trait, reason = "it may fail, which the trait's may not")]
    pub fn from_iter(items: impl IntoIterator<Item = T>) -> Result<Self> {
        Self::from_slice(&items.into_iter().collect::<Vec<_>>())
    }

    /// Items whose bytes are zero, whether or not that is a value.
    fn unset(len: usize) -> Result<Self> {
        const { assert!(T::SIZE > 0, "a type without bytes has nothing to share") };
        let many = || Error::new(ErrorKind::TooLarge, format!("an array of {len} items"));
        let most = isize::MAX.unsigned_abs();
        let len_bytes = len.checked_mul(T::SIZE).filter(|bytes| *bytes <= most);
        Ok(Self { place: Place::new(len_bytes.ok_or_else(many)?)?, len, of: PhantomData })
    }

    /// How many items there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where an item lies.
    #[inline(always)]
    pub(super) fn slot(&self, index: usize) -> Result<Slot<'_, T>> {
        if index >= self.len {
            return Err(self.no_item(index));
        }
        Ok(Slot { bytes: self.place.bytes()?, at: index * T::SIZE, of: PhantomData })
    }

    #[cold]
    fn no_item(&self, index: usize) -> Error {
        refuse(format!("item {index} of an array of {}", self.len))
    }

    /// The bytes of a range of items.
    pub(super) fn part(&self, range: impl RangeBounds<usize>) -> Result<SharedBytes<'_>> {
        let range = span(range, self.len)?;
        let part = self.place.bytes()?.get(range.start * T::SIZE..range.end * T::SIZE);
        part.ok_or_else(|| self.no_item(range.end))
    }

    /// Reads one item.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] when there is no such item; [`ErrorKind::Decode`] when somebody wrote what is no `T`;
    /// [`ErrorKind::Closed`] as [`Object::check`](procession_core::arena::Object::check).
    #[inline(always)]
    pub fn get(&self, index: usize) -> Result<T> {
        self.slot(index)?.load()
    }

    /// Writes one item.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    #[inline(always)]
    pub fn set(&self, index: usize, item: T) -> Result<()> {
        self.slot(index)?.store(item);
        Ok(())
    }

    /// Copies the items of `range` into `out`, which has room for just so many.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get); [`ErrorKind::InvalidInput`] also when `out` is longer or shorter. When an item is no `T`, those before it were
    /// copied.
    pub fn read(&self, range: impl RangeBounds<usize>, out: &mut [T]) -> Result<()> {
        let part = self.part(range)?;
        if part.len() != out.len() * T::SIZE {
            let (there, room) = (part.len() / T::SIZE, out.len());
            return Err(refuse(format!("{there} items for a slice of {room}")));
        }
        items::read(part, out).ok_or_else(plain::no_value::<T>)
    }

    /// The items of `range`.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub fn read_vec(&self, range: impl RangeBounds<usize>) -> Result<Vec<T>> {
        items::read_vec(self.part(range)?).ok_or_else(plain::no_value::<T>)
    }

    /// All items.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    #[doc(alias = "raw")]
    pub fn to_vec(&self) -> Result<Vec<T>> {
        self.read_vec(..)
    }

    /// Copies `items` to those from `start` on.
    ///
    /// # Errors
    ///
    /// As [`set`](Self::set); [`ErrorKind::InvalidInput`] when they do not all have a place: then nothing is written.
    pub fn write(&self, start: usize, items: &[T]) -> Result<()> {
        items::write(self.part(start..start.saturating_add(items.len()))?, items);
        Ok(())
    }

    /// Makes all items `item`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Closed`] as [`get`](Self::get).
    pub fn fill(&self, item: T) -> Result<()> {
        items::fill(self.part(..)?, item);
        Ok(())
    }

    /// For who has the lock.
    pub(super) fn update<R>(
        &self,
        range: impl RangeBounds<usize>,
        change: impl FnOnce(&mut [T]) -> R,
    ) -> Result<R> {
        let part = self.part(range)?;
        let mut items = items::read_vec(part).ok_or_else(plain::no_value::<T>)?;
        let result = change(&mut items);
        items::write(part, &items);
        Ok(result)
    }

    /// One item after the other, read in blocks of 4096 bytes: what is written meanwhile may be seen or not.
    pub fn iter(&self) -> Iter<'_, T> {
        Iter::new(self)
    }

    /// The same items in memory of their own.
    ///
    /// # Errors
    ///
    /// As [`filled`](Self::filled); [`ErrorKind::Closed`] as [`get`](Self::get).
    #[doc(alias = "sharedctypes.copy")]
    pub fn copy(&self) -> Result<Self> {
        let copy = Self::unset(self.len)?;
        copy.part(..)?.copy_from(0, self.part(..)?);
        Ok(copy)
    }
}

/// Where an item lies that is there.
pub(super) struct Slot<'a, T> {
    bytes: SharedBytes<'a>,
    at: usize,
    of: PhantomData<T>,
}

impl<T: Plain> Slot<'_, T> {
    #[inline(always)]
    pub(super) fn load(&self) -> Result<T> {
        plain::load_from(self.bytes, self.at).ok_or_else(plain::no_value::<T>)
    }

    #[inline(always)]
    pub(super) fn store(&self, item: T) {
        plain::store_to(self.bytes, self.at, item);
    }

    /// For who has the lock.
    #[inline(always)]
    pub(super) fn update(&self, change: impl FnOnce(T) -> T) -> Result<T> {
        let item = change(self.load()?);
        self.store(item);
        Ok(item)
    }
}

/// An operation of numbers, or of integers.
macro_rules! operations {
    ($($(#[$attribute:meta])* $name:ident;)*) => { $(
        $(#[$attribute])*
        ///
        /// Returns what was there before. It is one atomic instruction, or a loop of such; others see it done, or not.
        ///
        /// # Errors
        ///
        /// As [`get`](Self::get).
        #[inline(always)]
        pub fn $name(&self, index: usize, operand: T) -> Result<T> {
            let Slot { bytes, at, .. } = self.slot(index)?;
            operand.$name(bytes, at).ok_or_else(not_there)
        }
    )* };
}

impl<T: Number> RawArray<T> {
    operations! {
        /// Adds `operand` to an item; integers wrap around.
        fetch_add;
        /// Subtracts `operand` from an item; integers wrap around.
        fetch_sub;
        /// Makes an item `operand`, if that is more.
        fetch_max;
        /// Makes an item `operand`, if that is less.
        fetch_min;
        /// Makes an item `operand`.
        swap;
    }

    /// Makes an item `new`, if it is `current`: `Ok` with that then, otherwise `Err` with what it is. Floats are compared by their bits.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    #[inline(always)]
    pub fn compare_exchange(&self, index: usize, current: T, new: T) -> Result<Result<T, T>> {
        let Slot { bytes, at, .. } = self.slot(index)?;
        current.compare_exchange(bytes, at, new).ok_or_else(not_there)
    }
}

impl<T: Integer> RawArray<T> {
    operations! {
        /// Keeps the bits of an item that `operand` has as well.
        fetch_and;
        /// Sets the bits of an item that `operand` has.
        fetch_or;
        /// Changes the bits of an item that `operand` has.
        fetch_xor;
    }
}

/// Items are aligned, inside, and may be written.
#[cold]
fn not_there() -> Error {
    Error::new(ErrorKind::Broken, "the array is not in memory that can be written")
}

impl<T> Clone for RawArray<T> {
    fn clone(&self) -> Self {
        Self { place: self.place.clone(), ..*self }
    }
}

impl<'a, T: Plain> IntoIterator for &'a RawArray<T> {
    type Item = Result<T>;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

impl<T: Plain + fmt::Debug> fmt::Debug for RawArray<T> {
    /// The first items, up to 16.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut list = f.debug_list();
        for item in self.iter().take(16) {
            match item {
                Ok(item) => list.entry(&item),
                Err(error) => list.entry(&format_args!("{error}")),
            };
        }
        if self.len > 16 { list.finish_non_exhaustive() } else { list.finish() }
    }
}

impl<T: Plain> Serialize for RawArray<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (T::TYPE.to_bits(), self.len, &self.place).serialize(serializer)
    }
}

impl<'de, T: Plain> Deserialize<'de> for RawArray<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (ty, len, place): (u64, usize, Place) = Deserialize::deserialize(deserializer)?;
        plain::check_type::<T>(ty).map_err(D::Error::custom)?;
        let there = place.bytes().map_err(D::Error::custom)?.len();
        if len.checked_mul(T::SIZE).is_none_or(|wanted| wanted > there) {
            return Err(D::Error::custom("the array's memory is smaller than its items"));
        }
        Ok(Self { place, len, of: PhantomData })
    }
}
