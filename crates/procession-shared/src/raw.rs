//! What a value is that has no lock: [`RawValue`].

use std::fmt;
use std::marker::PhantomData;

use procession_core::arena::{Kind, OWN_WORDS, Object};
use procession_core::{Error, ErrorKind, Result};
use procession_sys::block::SharedBytes;
use procession_sys::prim::Ordering::{Acquire, Relaxed, Release};
use procession_sys::prim::{AtomicU64, fence};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::number::{Integer, Number};
use crate::plain::{self, Plain};

/// Bytes in a word of an object.
const WORD: usize = size_of::<u64>();
/// Where the words begin that do not fit into the first place of an object.
const BEHIND: usize = OWN_WORDS + 2;

/// A value in shared memory, without a lock: for numbers with their atomic operations, and for what is protected otherwise.
///
/// It is a handle: a clone, or what arrives when it is sent, is the same value. A [`Value`](crate::Value) has a lock.
///
/// A type of 1, 2, 4 or 8 bytes is read and written by one access each. Who reads a larger one while another writes it may see a
/// mixture: use a `Value` then. What is read with an access, or by an atomic operation, comes with all that the writer did before.
///
/// Values of up to 48 bytes take 64 bytes of the [family's arena](https://docs.rs/procession-core), larger ones the next power of two;
/// the most is 65,472 bytes.
///
/// # Drop, kill, fork
///
/// The memory is there as long as any process has a handle, or a message has it. A process that is killed while it writes has written,
/// or not; a larger value it may have written in part.
///
/// # Source
///
/// CPython `multiprocessing.sharedctypes.RawValue`.
///
/// # Examples
///
/// ```
/// # use procession_shared as procession;
/// # fn main() -> procession_core::Result<()> {
/// use procession::RawValue;
///
/// let counter = RawValue::new(0u64)?;
/// let same = counter.clone();
/// let thread = std::thread::spawn(move || (0..1000).try_for_each(|_| same.fetch_add(1).map(drop)));
/// for _ in 0..1000 {
///     counter.fetch_add(1)?;
/// }
/// # thread.join().unwrap()?;
/// assert_eq!(counter.get()?, 2000);
/// # Ok(())
/// # }
/// ```
pub struct RawValue<T> {
    object: Object,
    /// Those of the object that a value of up to 48 bytes lies in.
    front: &'static [AtomicU64; OWN_WORDS],
    /// That of the family: which process this is, once it has joined.
    me: &'static AtomicU64,
    of: PhantomData<T>,
}

impl<T: Plain> RawValue<T> {
    /// A value in memory of its own.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TooLarge`] when there is no room for so large a value; as [`Object::new`].
    #[doc(alias = "RawValue")]
    pub fn new(value: T) -> Result<Self> {
        let object = Object::new(Kind::VALUE, Self::words(), |words, _| {
            plain::store_to(SharedBytes::of_words(Self::part(words)), 0, value);
        })?;
        Ok(Self::of(object))
    }

    /// How many words an object has for it.
    const fn words() -> usize {
        const { assert!(T::SIZE > 0, "a type without bytes has nothing to share") };
        let words = T::SIZE.div_ceil(WORD);
        if words <= OWN_WORDS { words } else { BEHIND + words }
    }

    /// Of an object's words, those that it lies in.
    fn part(words: &[AtomicU64]) -> &[AtomicU64] {
        if Self::words() <= OWN_WORDS { &words[..OWN_WORDS] } else { &words[BEHIND..] }
    }

    /// An object that has so many words.
    fn of(object: Object) -> Self {
        let front = object
            .words()
            .first_chunk()
            .unwrap_or_else(|| unreachable!("objects have eight words"));
        let me = object.family().me_word();
        Self { object, front, me, of: PhantomData }
    }

    #[inline(always)]
    fn bytes(&self) -> SharedBytes<'static> {
        match Self::words() <= OWN_WORDS {
            true => SharedBytes::of_words(self.front),
            false => SharedBytes::of_words(&self.object.words()[BEHIND..]),
        }
    }

    /// Whether the handle is good: two loads.
    ///
    /// It always is, but in a fork that nobody knew of, before and after it joins. Both are looked at: before, the place may become
    /// another's at any time; after, it may have become that before.
    #[inline(always)]
    pub(crate) fn check(&self) -> Result<()> {
        // ORDERING: Relaxed: as in `Family::peek_me`.
        if self.me.load(Relaxed) != 0 && self.object.is_there() {
            return Ok(());
        }
        self.check_slowly()
    }

    #[cold]
    fn check_slowly(&self) -> Result<()> {
        self.object.check().map(drop)
    }

    /// Reads it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Decode`] when somebody wrote what is no `T`; [`ErrorKind::Closed`] as [`Object::check`].
    #[inline(always)]
    #[doc(alias = "value")]
    pub fn get(&self) -> Result<T> {
        self.check()?;
        self.load()
    }

    /// Writes it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Closed`] as [`Object::check`].
    #[inline(always)]
    #[doc(alias = "value")]
    pub fn set(&self, value: T) -> Result<()> {
        self.check()?;
        self.store(value);
        Ok(())
    }

    #[inline(always)]
    pub(crate) fn load(&self) -> Result<T> {
        let value = plain::load_from(self.bytes(), 0);
        // ORDERING: Acquire: pairs with the fence in `store`, and with atomic operations.
        fence(Acquire);
        value.ok_or_else(plain::no_value::<T>)
    }

    #[inline(always)]
    pub(crate) fn store(&self, value: T) {
        // ORDERING: Release: pairs with the fence in `load`.
        fence(Release);
        plain::store_to(self.bytes(), 0, value);
    }

    /// For who has the lock.
    #[inline(always)]
    pub(crate) fn replace(&self, value: T) -> Result<T> {
        let before = self.load()?;
        self.store(value);
        Ok(before)
    }

    /// For who has the lock.
    #[inline(always)]
    pub(crate) fn update(&self, change: impl FnOnce(T) -> T) -> Result<T> {
        let value = change(self.load()?);
        self.store(value);
        Ok(value)
    }

    /// The same value in memory of its own.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get) and [`new`](Self::new).
    #[doc(alias = "sharedctypes.copy")]
    pub fn copy(&self) -> Result<Self> {
        Self::new(self.get()?)
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
        /// [`ErrorKind::Closed`] as [`Object::check`].
        #[inline(always)]
        pub fn $name(&self, operand: T) -> Result<T> {
            self.check()?;
            operand.$name(self.bytes(), 0).ok_or_else(not_there)
        }
    )* };
}

impl<T: Number> RawValue<T> {
    operations! {
        /// Adds `operand`; integers wrap around.
        fetch_add;
        /// Subtracts `operand`; integers wrap around.
        fetch_sub;
        /// Makes it `operand`, if that is more.
        fetch_max;
        /// Makes it `operand`, if that is less.
        fetch_min;
        /// Makes it `operand`.
        swap;
    }

    /// Makes it `new`, if it is `current`: `Ok` with that then, otherwise `Err` with what it is. Floats are compared by their bits.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Closed`] as [`Object::check`].
    #[inline(always)]
    pub fn compare_exchange(&self, current: T, new: T) -> Result<Result<T, T>> {
        self.check()?;
        current.compare_exchange(self.bytes(), 0, new).ok_or_else(not_there)
    }
}

impl<T: Integer> RawValue<T> {
    operations! {
        /// Keeps the bits that `operand` has as well.
        fetch_and;
        /// Sets the bits that `operand` has.
        fetch_or;
        /// Changes the bits that `operand` has.
        fetch_xor;
    }
}

/// Words are aligned, inside, and may be written.
#[cold]
fn not_there() -> Error {
    Error::new(ErrorKind::Broken, "the value is not in memory that can be written")
}

impl<T> Clone for RawValue<T> {
    fn clone(&self) -> Self {
        Self { object: self.object.clone(), ..*self }
    }
}

impl<T: Plain + fmt::Debug> fmt::Debug for RawValue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.get() {
            Ok(value) => f.debug_tuple("RawValue").field(&value).finish(),
            Err(error) => write!(f, "RawValue({error})"),
        }
    }
}

impl<T: Plain> Serialize for RawValue<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (T::TYPE.to_bits(), Sent(&self.object)).serialize(serializer)
    }
}

struct Sent<'a>(&'a Object);

impl Serialize for Sent<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

struct Received(Object);

impl<'de> Deserialize<'de> for Received {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Object::deserialize(Kind::VALUE, deserializer).map(Self)
    }
}

impl<'de, T: Plain> Deserialize<'de> for RawValue<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (ty, Received(object)) = Deserialize::deserialize(deserializer)?;
        plain::check_type::<T>(ty).map_err(D::Error::custom)?;
        if object.words().len() < Self::words() {
            return Err(D::Error::custom("the value's memory is smaller than its type"));
        }
        Ok(Self::of(object))
    }
}
