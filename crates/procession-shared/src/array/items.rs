//! Many items at once: between shared bytes and slices.

use std::borrow::Cow;
use std::ops::{Bound, Range, RangeBounds};

use procession_core::{Error, ErrorKind, Result};
use procession_sys::block::SharedBytes;

use crate::plain::{self, Plain};

/// Items that are not numbers are taken apart in blocks of so many bytes, on the stack: a page, which the first cache holds.
pub(super) const BLOCK: usize = 4096;

/// How many items are taken apart at once.
pub(super) const fn per_block<T: Plain>() -> usize {
    let many = BLOCK / T::SIZE;
    if many == 0 { 1 } else { many }
}

/// Copies the items that `bytes` begin with into `out`. `None` when one is no value; those before it are copied then.
#[inline]
#[track_caller]
pub(super) fn read<T: Plain>(bytes: SharedBytes<'_>, out: &mut [T]) -> Option<()> {
    if let Some(numbers) = T::NUMBERS {
        bytes.read(0, (numbers.bytes_mut)(out));
        return Some(());
    }
    let mut buffer = [0; BLOCK];
    for (index, items) in out.chunks_mut(per_block::<T>()).enumerate() {
        let start = index * per_block::<T>() * T::SIZE;
        match buffer.get_mut(..items.len() * T::SIZE) {
            Some(buffer) => {
                bytes.read(start, buffer);
                for (item, bytes) in items.iter_mut().zip(buffer.chunks_exact(T::SIZE)) {
                    *item = T::load(bytes)?;
                }
            }
            None => items[0] = plain::load_from(bytes, start)?,
        }
    }
    Some(())
}

/// The items that `bytes` are. `None` when one is no value.
pub(super) fn read_vec<T: Plain>(bytes: SharedBytes<'_>) -> Option<Vec<T>> {
    if bytes.is_empty() {
        return Some(Vec::new());
    }
    let first = match T::NUMBERS {
        // A vector of zeros is fresh memory, which is written once.
        Some(numbers) => numbers.zero,
        None => plain::load_from(bytes, 0)?,
    };
    let mut items = vec![first; bytes.len() / T::SIZE];
    read(bytes, &mut items)?;
    Some(items)
}

/// Copies `items` to the first of `bytes`.
#[inline]
#[track_caller]
pub(super) fn write<T: Plain>(bytes: SharedBytes<'_>, items: &[T]) {
    if let Some(numbers) = T::NUMBERS {
        return bytes.write(0, (numbers.bytes)(items));
    }
    let mut buffer = [0; BLOCK];
    for (index, items) in items.chunks(per_block::<T>()).enumerate() {
        let start = index * per_block::<T>() * T::SIZE;
        match buffer.get_mut(..items.len() * T::SIZE) {
            Some(buffer) => {
                for (item, out) in items.iter().zip(buffer.chunks_exact_mut(T::SIZE)) {
                    item.store(out);
                }
                bytes.write(start, buffer);
            }
            None => plain::store_to(bytes, start, items[0]),
        }
    }
}

/// Makes all items that `bytes` hold `item`.
pub(super) fn fill<T: Plain>(bytes: SharedBytes<'_>, item: T) {
    let count = bytes.len() / T::SIZE;
    let many = vec![item; count.min(per_block::<T>())];
    for start in (0..count).step_by(many.len().max(1)) {
        let end = count.min(start + many.len());
        if let Some(part) = bytes.get(start * T::SIZE..end * T::SIZE) {
            write(part, &many[..end - start]);
        }
    }
}

/// Which of `len` items a range is.
///
/// # Errors
///
/// [`ErrorKind::InvalidInput`] when it goes beyond, or ends before it begins.
pub(super) fn span(range: impl RangeBounds<usize>, len: usize) -> Result<Range<usize>> {
    let start = match range.start_bound() {
        Bound::Included(start) => Some(*start),
        Bound::Excluded(before) => before.checked_add(1),
        Bound::Unbounded => Some(0),
    };
    let end = match range.end_bound() {
        Bound::Included(last) => last.checked_add(1),
        Bound::Excluded(end) => Some(*end),
        Bound::Unbounded => Some(len),
    };
    match (start, end) {
        (Some(start), Some(end)) if start <= end && end <= len => Ok(start..end),
        (start, end) => {
            let [start, end] = [start, end].map(|place| place.unwrap_or(usize::MAX));
            Err(refuse(format!("items {start}..{end} of an array of {len}")))
        }
    }
}

#[cold]
pub(super) fn refuse(what: impl Into<Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidInput, what)
}
