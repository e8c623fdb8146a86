//! The items of an array, one after the other.

use std::fmt;
use std::iter::FusedIterator;

use procession_core::Result;

use super::items::per_block;
use super::raw::RawArray;
use crate::plain::{self, Plain};

/// The items of a [`RawArray`], one after the other, read in blocks.
pub struct Iter<'a, T> {
    array: &'a RawArray<T>,
    /// The first item that is not in the block.
    next: usize,
    block: Vec<u8>,
    /// Where in the block the next item is.
    at: usize,
}

impl<'a, T: Plain> Iter<'a, T> {
    pub(super) fn new(array: &'a RawArray<T>) -> Self {
        Self { array, next: 0, block: Vec::new(), at: 0 }
    }

    /// If it cannot be read, its items are skipped.
    fn read_block(&mut self) -> Result<()> {
        let end = self.array.len().min(self.next + per_block::<T>());
        let part = self.array.part(self.next..end);
        (self.next, self.at) = (end, 0);
        self.block.clear();
        part?.append_to(&mut self.block);
        Ok(())
    }
}

impl<T: Plain> Iterator for Iter<'_, T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        if self.at == self.block.len() {
            if self.next == self.array.len() {
                return None;
            }
            if let Err(error) = self.read_block() {
                return Some(Err(error));
            }
        }
        let item = self.block.get(self.at..self.at + T::SIZE)?;
        self.at += T::SIZE;
        Some(T::load(item).ok_or_else(plain::no_value::<T>))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = (self.block.len() - self.at) / T::SIZE + self.array.len() - self.next;
        (left.min(1), Some(left))
    }
}

impl<T: Plain> FusedIterator for Iter<'_, T> {}

impl<T> fmt::Debug for Iter<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Iter").field("next", &self.next).finish_non_exhaustive()
    }
}
