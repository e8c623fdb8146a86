//! [`SharedVec`] and [`SharedSlice`]: a large sequence that goes to other processes without being copied.

use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Bound, Deref, DerefMut, Range, RangeBounds};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};

use procession_core::{Error, ErrorKind, Handle, Result, refuse};
use procession_sys::block::{FileId, FrozenBlock, HugePages, PrivateBlock};
use procession_sys::number;
use procession_sys::wipe::PerProcess;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::refused;
use crate::{Number, Plain, pool};

/// The blocks that this process has mapped, each once.
static KNOWN: PerProcess<HashMap<FileId, Weak<Frozen>>> = PerProcess::new();

/// A sequence of plain values that this process fills, to be [frozen](Self::freeze) and sent to others then.
///
/// It is memory of this process alone until then, so that numbers are a plain slice of it: it dereferences to `[T]`. Structures are
/// [`get`](Self::get) and [`set`](Self::set). Its memory counts for the [quota](crate::pool::set_quota).
///
/// # Drop, kill, fork
///
/// It goes when it is dropped. In a fork of this process it can be dropped, and nothing else: every other use panics.
///
/// # Examples
///
/// ```
/// # use procession_shared as procession;
/// # fn main() -> procession_core::Result<()> {
/// use procession::SharedVec;
///
/// let mut samples = SharedVec::<f64>::zeroed(1_000_000)?;
/// for (at, sample) in samples.iter_mut().enumerate() {
///     *sample = at as f64 / 2.0;
/// }
/// let samples = samples.freeze()?; // from here on it is sent as a few bytes
/// assert_eq!(samples[3], 1.5);
/// # Ok(())
/// # }
/// ```
pub struct SharedVec<T> {
    block: PrivateBlock,
    _charge: Charge,
    len: usize,
    of: PhantomData<fn() -> T>,
}

/// Memory that counts for the quota until this is dropped.
#[derive(Debug)]
struct Charge {
    bytes: u64,
    maker: u32,
}

impl Charge {
    fn new(bytes: usize) -> Result<Self> {
        let bytes = bytes as u64;
        pool::charge(bytes)?;
        Ok(Self { bytes, maker: procession_sys::process::id() })
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if self.maker == procession_sys::process::id() {
            pool::discharge(self.bytes);
        }
    }
}

impl<T: Plain> SharedVec<T> {
    /// `len` values whose bytes are all zero.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::OutOfMemory`] when so many are beyond the [quota](crate::pool::set_quota) or the machine;
    /// [`ErrorKind::InvalidInput`] when zero is no value of this type (then see [`from_fn`](Self::from_fn));
    /// [`ErrorKind::Os`] when this process is out of descriptors.
    pub fn zeroed(len: usize) -> Result<Self> {
        let zero = vec![0; T::SIZE];
        if T::load(&zero).is_none() {
            return Err(Error::new(ErrorKind::InvalidInput, "zero is no value of this type"));
        }
        Self::blank(len)
    }

    /// `len` values that `value` makes, which is told the place.
    ///
    /// # Errors
    ///
    /// As [`zeroed`](Self::zeroed).
    pub fn from_fn(len: usize, mut value: impl FnMut(usize) -> T) -> Result<Self> {
        let mut vec = Self::blank(len)?;
        if T::SIZE > 0 {
            let places = vec.block.bytes_mut().chunks_exact_mut(T::SIZE).take(len);
            for (at, place) in places.enumerate() {
                value(at).store(place);
            }
        }
        Ok(vec)
    }

    /// A copy of these values.
    ///
    /// # Errors
    ///
    /// As [`zeroed`](Self::zeroed).
    pub fn from_slice(values: &[T]) -> Result<Self> {
        if let Some(numbers) = &T::NUMBERS {
            let mut vec = Self::blank(values.len())?;
            let bytes = (numbers.bytes)(values);
            vec.block.bytes_mut()[..bytes.len()].copy_from_slice(bytes);
            return Ok(vec);
        }
        Self::from_fn(values.len(), |at| values[at])
    }

    fn blank(len: usize) -> Result<Self> {
        let bytes = len.saturating_mul(T::SIZE);
        // A block is never empty.
        let bytes = bytes.max(1);
        let charge = Charge::new(bytes)?;
        let block = PrivateBlock::new(bytes, HugePages::Try).map_err(refused)?;
        Ok(Self { block, _charge: charge, len, of: PhantomData })
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The value at the place `at`; `None` when there is none.
    pub fn get(&self, at: usize) -> Option<T> {
        let range = place::<T>(at, self.len)?;
        // What lies there was written as such.
        T::load(&self.block.bytes()[range])
    }

    /// Makes the value at the place `at` this one.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] when there is no such place.
    pub fn set(&mut self, at: usize, value: T) -> Result<()> {
        let len = self.len;
        let range = place::<T>(at, len).ok_or_else(|| no_place(at, len))?;
        value.store(&mut self.block.bytes_mut()[range]);
        Ok(())
    }

    /// Sees to it that nobody can change the values any more, so that others can have them. Nothing is copied.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Os`] when the system refuses: in a fork of the process that made it, for one.
    pub fn freeze(self) -> Result<SharedSlice<T>> {
        let frozen = self.block.freeze().map_err(|refusal| refused(refusal.error))?;
        let id = frozen.id()?;
        let block = Arc::new(Frozen { block: frozen, id, _charge: Some(self._charge) });
        Ok(SharedSlice { block, start: 0, len: self.len, of: PhantomData })
    }
}

impl<T: Number> Deref for SharedVec<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        // A block begins on a page, and is as long as the numbers, or longer.
        number::of_bytes(&self.block.bytes()[..self.len * T::SIZE]).unwrap_or_default()
    }
}

impl<T: Number> DerefMut for SharedVec<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        let bytes = &mut self.block.bytes_mut()[..self.len * T::SIZE];
        number::of_bytes_mut(bytes).unwrap_or_default()
    }
}

impl<T> fmt::Debug for SharedVec<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedVec").field("len", &self.len).finish_non_exhaustive()
    }
}

/// A sequence of plain values that nobody can change, in whatever process: the system sees to that.
///
/// It is a value: sent in arguments, messages and results it is a few bytes and a descriptor, however long it is, and what arrives
/// are the same pages. A process that has the block already does not map it again. Numbers are a plain slice: it
/// dereferences to `[T]`. A [part](Self::slice) of one shares its block.
///
/// # Drop, kill, fork
///
/// The memory goes with the last handle, in whichever process, however that ends. Forks have their parent's handles.
///
/// # Examples
///
/// ```
/// # use procession_shared as procession;
/// # fn main() -> procession_core::Result<()> {
/// use procession::SharedSlice;
///
/// let words = SharedSlice::from_slice(&[1u32, 2, 3, 5, 8])?;
/// let part = words.slice(1..4)?;
/// assert_eq!(part[..], [2, 3, 5]);
/// assert_eq!(part.iter().sum::<u32>(), 10);
/// # Ok(())
/// # }
/// ```
pub struct SharedSlice<T> {
    block: Arc<Frozen>,
    /// In values.
    start: usize,
    len: usize,
    of: PhantomData<fn() -> T>,
}

#[derive(Debug)]
struct Frozen {
    block: FrozenBlock,
    id: FileId,
    /// In the process that made it.
    _charge: Option<Charge>,
}

impl<T: Plain> SharedSlice<T> {
    /// A copy of these values.
    ///
    /// # Errors
    ///
    /// As [`SharedVec::zeroed`] and [`SharedVec::freeze`].
    pub fn from_slice(values: &[T]) -> Result<Self> {
        SharedVec::from_slice(values)?.freeze()
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The value at the place `at`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] when there is no such place; [`ErrorKind::Decode`] when what is there is no such value, because
    /// whoever sent it made it up.
    pub fn get(&self, at: usize) -> Result<T> {
        let range = place::<T>(at, self.len).ok_or_else(|| no_place(at, self.len))?;
        let value = self.bytes().get(range).and_then(T::load);
        value.ok_or_else(|| {
            Error::new(ErrorKind::Decode, "the bytes in shared memory are no such value")
        })
    }

    /// All values, one after the other, each as [`get`](Self::get) has it. Numbers have the iterators of slices besides.
    pub fn values(&self) -> impl ExactSizeIterator<Item = Result<T>> + '_ {
        (0..self.len).map(|at| self.get(at))
    }

    /// A part of it, in the same block.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] when it is out of range.
    pub fn slice(&self, range: impl RangeBounds<usize>) -> Result<Self> {
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(last) => last.saturating_add(1),
            Bound::Excluded(end) => *end,
            Bound::Unbounded => self.len,
        };
        if start > end || end > self.len {
            let text = format!("places {start} to {end} of {} are out of range", self.len);
            return Err(Error::new(ErrorKind::InvalidInput, text));
        }
        let (block, start, len) = (Arc::clone(&self.block), self.start + start, end - start);
        Ok(Self { block, start, len, of: PhantomData })
    }

    /// Whether both are in the same block.
    pub fn shares_with<U>(&self, other: &SharedSlice<U>) -> bool {
        self.block.id == other.block.id
    }

    /// As they lie in memory.
    fn bytes(&self) -> &[u8] {
        &self.block.block.bytes()[self.start * T::SIZE..][..self.len * T::SIZE]
    }
}

impl<T> Clone for SharedSlice<T> {
    fn clone(&self) -> Self {
        Self { block: Arc::clone(&self.block), ..*self }
    }
}

impl<T: Number> Deref for SharedSlice<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        // A block begins on a page, and numbers in it at a multiple of their size.
        number::of_bytes(self.bytes()).unwrap_or_default()
    }
}

impl<T: Number> AsRef<[T]> for SharedSlice<T> {
    fn as_ref(&self) -> &[T] {
        self
    }
}

impl<T> fmt::Debug for SharedSlice<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedSlice").field("len", &self.len).finish_non_exhaustive()
    }
}

/// A slice in a message.
#[derive(Serialize, Deserialize)]
struct Sent<H> {
    file: H,
    ty: u64,
    start: usize,
    len: usize,
}

impl<T: Plain> Serialize for SharedSlice<T> {
    /// A handle: it says which block and where, not what is in it.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Ok(mut known) = KNOWN.lock() {
            // Found again if it comes back.
            known.insert(self.block.id, Arc::downgrade(&self.block));
        }
        let (file, ty) = (Handle(&self.block.block), T::TYPE.to_bits());
        Sent { file, ty, start: self.start, len: self.len }.serialize(serializer)
    }
}

impl<'de, T: Plain> Deserialize<'de> for SharedSlice<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let sent = Sent::<Handle<OwnedFd>>::deserialize(deserializer)?;
        Self::receive(sent).map_err(|error| D::Error::custom(refuse(error)))
    }
}

impl<T: Plain> SharedSlice<T> {
    fn receive(Sent { file, ty, start, len }: Sent<Handle<OwnedFd>>) -> Result<Self> {
        if ty != T::TYPE.to_bits() {
            return Err(Error::new(ErrorKind::Decode, "a shared slice of another type"));
        }
        let block = Frozen::find(file.into_inner())?;
        let end = start.checked_add(len).and_then(|end| end.checked_mul(T::SIZE));
        match end {
            Some(end) if end <= block.block.bytes().len() => {
                Ok(Self { block, start, len, of: PhantomData })
            }
            _ => Err(Error::new(ErrorKind::Decode, "a shared slice that ends beyond its memory")),
        }
    }
}

impl Frozen {
    /// The block of this file, mapped once.
    fn find(file: OwnedFd) -> Result<Arc<Self>> {
        let id = FileId::of(&file)?;
        // Not dropped under the lock, which that takes.
        let same = KNOWN.lock()?.get(&id).and_then(Weak::upgrade);
        if let Some(same) = same {
            return Ok(same);
        }
        let block = FrozenBlock::open(file).map_err(refused)?;
        let this = Arc::new(Self { block, id, _charge: None });
        KNOWN.lock()?.insert(id, Arc::downgrade(&this));
        Ok(this)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        if let Ok(mut known) = KNOWN.lock()
            && known.get(&self.id).is_some_and(|weak| weak.strong_count() == 0)
        {
            known.remove(&self.id);
        }
    }
}

/// Where the value at a place lies, in bytes.
#[inline]
fn place<T: Plain>(at: usize, len: usize) -> Option<Range<usize>> {
    (at < len).then(|| at * T::SIZE..(at + 1) * T::SIZE)
}

#[cold]
fn no_place(at: usize, len: usize) -> Error {
    Error::new(ErrorKind::InvalidInput, format!("place {at} of {len} is out of range"))
}
