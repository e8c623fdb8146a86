//! [`SharedView`]: typed access to a block.

use procession_core::{Error, ErrorKind, Result};
use procession_sys::block::SharedBytes;
use procession_sys::prim::{AtomicU8, AtomicU16, AtomicU32, AtomicU64};

use super::inner::Inner;
use crate::Plain;
use crate::error::{out_of_range, read_only};
use crate::plain::{load_from, store_to};

/// Typed access to a [`SharedMemory`](super::SharedMemory): values at places that are counted in bytes from the beginning.
///
/// A value of 1, 2, 4 or 8 bytes at a multiple of its size is read and written at once. Another one may be read half
/// old and half new, if somebody writes it meanwhile.
#[derive(Debug, Clone, Copy)]
pub struct SharedView<'a> {
    bytes: SharedBytes<'a>,
    memory: &'a Inner,
}

macro_rules! atomics {
    ($($name:ident: $atomic:ty, $size:literal;)*) => { $(
        #[doc = concat!("The ", $size, " bytes from `at` on, as an atomic, for whatever std's atomics do.")]
        ///
        /// # Errors
        ///
        /// [`ErrorKind::InvalidInput`] when they are not inside, or `at` is no multiple of their number;
        /// [`ErrorKind::Unsupported`] when this process may not write the block.
        #[inline]
        pub fn $name(self, at: usize) -> Result<&'a $atomic> {
            self.bytes.$name(at).ok_or_else(|| self.no_atomic(at, $size))
        }
    )* };
}

impl<'a> SharedView<'a> {
    pub(super) fn new(bytes: SharedBytes<'a>, memory: &'a Inner) -> Self {
        Self { bytes, memory }
    }

    /// How many bytes there are.
    pub fn len(self) -> usize {
        self.bytes.len()
    }

    /// Whether there are none; never, as it happens.
    pub fn is_empty(self) -> bool {
        self.bytes.is_empty()
    }

    /// The value at the place `at`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] when it is not inside; [`ErrorKind::Decode`] when the bytes there are no such value;
    /// [`ErrorKind::Torn`] when somebody has cut them off.
    #[inline]
    pub fn get<T: Plain>(self, at: usize) -> Result<T> {
        self.check(at, T::SIZE)?;
        let value = load_from::<T>(self.bytes, at);
        self.memory.is_whole()?;
        value.ok_or_else(|| {
            Error::new(ErrorKind::Decode, "the bytes in shared memory are no such value")
        })
    }

    /// Writes a value to the place `at`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] when it would not be inside; [`ErrorKind::Unsupported`] when this process may not write the
    /// block; [`ErrorKind::Torn`] when somebody has cut it off.
    #[inline]
    pub fn set<T: Plain>(self, at: usize, value: T) -> Result<()> {
        self.check(at, T::SIZE)?;
        if !self.bytes.is_writable() {
            return Err(read_only());
        }
        store_to(self.bytes, at, value);
        self.memory.is_whole()
    }

    atomics! {
        atomic_u8: AtomicU8, 1;
        atomic_u16: AtomicU16, 2;
        atomic_u32: AtomicU32, 4;
        atomic_u64: AtomicU64, 8;
    }

    #[inline]
    fn check(self, at: usize, size: usize) -> Result<()> {
        match at.checked_add(size) {
            Some(end) if end <= self.bytes.len() => Ok(()),
            _ => Err(out_of_range(at, size, self.bytes.len())),
        }
    }

    #[cold]
    fn no_atomic(self, at: usize, size: usize) -> Error {
        if let Err(error) = self.check(at, size) {
            return error;
        }
        match at.is_multiple_of(size) {
            true => read_only(),
            false => {
                let text =
                    format!("an atomic of {size} bytes at {at}, which is no multiple of that");
                Error::new(ErrorKind::InvalidInput, text)
            }
        }
    }
}
