//! Fields, one after the other, as in C.

use super::Plain;

/// Writes the fields of a structure; for [`Plain::store`].
#[derive(Debug)]
pub struct Writer<'a> {
    /// All of the structure.
    out: &'a mut [u8],
    end: usize,
}

impl<'a> Writer<'a> {
    /// For a `T`, which takes the first bytes of `out`.
    ///
    /// # Panics
    ///
    /// When there are too few.
    #[inline(always)]
    pub fn new<T: Plain>(out: &'a mut [u8]) -> Self {
        Self { out: &mut out[..T::SIZE], end: 0 }
    }

    /// Writes the next field, and zeros up to it.
    ///
    /// # Panics
    ///
    /// When there is no room for it.
    #[inline(always)]
    pub fn put<F: Plain>(&mut self, field: F) {
        let start = self.end.next_multiple_of(F::ALIGN);
        self.out[self.end..start].fill(0);
        self.end = start + F::SIZE;
        field.store(&mut self.out[start..self.end]);
    }

    /// Writes zeros behind the last field.
    #[inline(always)]
    pub fn finish(self) {
        self.out[self.end..].fill(0);
    }
}

/// Reads the fields of a structure; for [`Plain::load`].
#[derive(Debug)]
pub struct Reader<'a> {
    /// All of the structure.
    bytes: &'a [u8],
    end: usize,
}

impl<'a> Reader<'a> {
    /// For a `T`, which is the first of `bytes`.
    ///
    /// # Panics
    ///
    /// When there are too few.
    #[inline(always)]
    pub fn new<T: Plain>(bytes: &'a [u8]) -> Self {
        Self { bytes: &bytes[..T::SIZE], end: 0 }
    }

    /// Reads the next field. `None` when there is no such value.
    ///
    /// # Panics
    ///
    /// When it is not there.
    #[inline(always)]
    pub fn take<F: Plain>(&mut self) -> Option<F> {
        let start = self.end.next_multiple_of(F::ALIGN);
        self.end = start + F::SIZE;
        F::load(&self.bytes[start..self.end])
    }
}
