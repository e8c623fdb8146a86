//! [`SharedBytes`]: bytes that others may write.

#![expect(unsafe_code, reason = "a view is an address and a length")]

use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;
use std::ptr::NonNull;

use super::copy;
use crate::prim::Ordering::Relaxed;
use crate::prim::{AtomicU8, AtomicU16, AtomicU32, AtomicU64};

/// Whether a view may be written through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writable {
    /// It may.
    Yes,
    /// The memory is mapped for reading only.
    No,
}

/// A view of bytes that other processes and threads may write at any time.
///
/// It never gives a reference to the bytes, but copies in and out, or words as atomics. A copy that meets somebody's write
/// has bytes of before and of after it, in any mixture; none that nobody wrote. An access of 1, 2, 4 or 8 bytes that is
/// aligned is one access: of before, or of after.
///
/// # Panics
///
/// Everything that writes panics if the memory is mapped for reading only ([`is_writable`](Self::is_writable)); everything
/// that is given a place panics if that does not lie inside.
#[derive(Clone, Copy)]
pub struct SharedBytes<'a> {
    start: NonNull<u8>,
    len: usize,
    writable: Writable,
    /// Lent from a mapping, or from words.
    lent: PhantomData<&'a AtomicU8>,
}

// SAFETY: All accesses are atomic, or opaque to the compiler and harmless at any time.
unsafe impl Send for SharedBytes<'_> {}
// SAFETY: As above.
unsafe impl Sync for SharedBytes<'_> {}

macro_rules! atomics {
    ($($(#[$attribute:meta])* $name:ident: $atomic:ty;)*) => { $(
        $(#[$attribute])*
        #[inline]
        pub fn $name(self, at: usize) -> Option<&'a $atomic> {
            let end = at.checked_add(size_of::<$atomic>())?;
            let address = aligned::<$atomic>(self.start.as_ptr().wrapping_add(at))?;
            if end > self.len || self.writable == Writable::No {
                return None;
            }
            // SAFETY: It lies inside memory that is lent for `'a`, and is aligned; any pattern of bits is one of these; and
            // nobody accesses it but by atomics, or by copies that are opaque to the compiler.
            Some(unsafe { &*address })
        }
    )* };
}

impl<'a> SharedBytes<'a> {
    /// The `len` bytes from `start` on.
    ///
    /// # Safety
    ///
    /// They are mapped for `'a`, for writing if the view is to be `writable`; whoever accesses them meanwhile is in another
    /// process, or does so through views or atomics.
    pub(super) unsafe fn new(start: NonNull<u8>, len: usize, writable: Writable) -> Self {
        Self { start, len, writable, lent: PhantomData }
    }

    /// The bytes of words that processes share.
    pub fn of_words(words: &'a [AtomicU64]) -> Self {
        let start = NonNull::from(words).cast();
        // SAFETY: The words are lent for `'a`, and may be written through a shared reference, as they are atomics.
        unsafe { Self::new(start, size_of_val(words), Writable::Yes) }
    }

    /// How many bytes there are.
    #[inline]
    pub fn len(self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.len == 0
    }

    /// Whether the bytes may be written.
    #[inline]
    pub fn is_writable(self) -> bool {
        self.writable == Writable::Yes
    }

    /// The same bytes, for reading only.
    #[must_use]
    pub fn for_reading(self) -> Self {
        Self { writable: Writable::No, ..self }
    }

    /// The bytes of `range`, if they are all inside.
    #[inline]
    pub fn get(self, range: Range<usize>) -> Option<Self> {
        let len = range.end.checked_sub(range.start)?;
        let start = self.start.as_ptr().wrapping_add(range.start);
        let start = NonNull::new(start).filter(|_| range.end <= self.len)?;
        Some(Self { start, len, ..self })
    }

    /// Copies the bytes from `at` on into `out`.
    ///
    /// # Panics
    ///
    /// When there are not so many.
    #[inline]
    #[track_caller]
    pub fn read(self, at: usize, out: &mut [u8]) {
        let from = self.place(at, out.len());
        // SAFETY: `place` has checked that the bytes lie inside what is lent; `out` is borrowed for writing, so nothing
        // overlaps it.
        unsafe { copy::copy(from, out.as_mut_ptr(), out.len()) };
    }

    /// Copies `bytes` to the place `at`.
    ///
    /// # Panics
    ///
    /// When there is not so much room, or the view is for reading only.
    #[inline]
    #[track_caller]
    pub fn write(self, at: usize, bytes: &[u8]) {
        let to = self.place_to_write(at, bytes.len());
        // SAFETY: The bytes lie inside what is lent, for writing; `bytes` is borrowed, so nobody writes to it, and nothing
        // that may be written overlaps it.
        unsafe { copy::copy(bytes.as_ptr(), to, bytes.len()) };
    }

    /// All bytes, as a vector.
    pub fn read_vec(self) -> Vec<u8> {
        let mut vec = Vec::with_capacity(self.len);
        self.append_to(&mut vec);
        vec
    }

    /// Appends all bytes to `vec`.
    pub fn append_to(self, vec: &mut Vec<u8>) {
        vec.reserve(self.len);
        let spare = vec.spare_capacity_mut().as_mut_ptr().cast::<u8>();
        // SAFETY: There is room for `len` bytes behind those that the vector has, and nobody else has it.
        unsafe { copy::copy(self.start.as_ptr(), spare, self.len) };
        let filled = vec.len() + self.len;
        // SAFETY: The capacity was reserved, and the bytes were written just now.
        unsafe { vec.set_len(filled) };
    }

    /// Makes all bytes `byte`.
    ///
    /// # Panics
    ///
    /// When the view is for reading only.
    #[track_caller]
    pub fn fill(self, byte: u8) {
        let to = self.place_to_write(0, self.len);
        // SAFETY: The bytes are lent for writing.
        unsafe { copy::fill(to, byte, self.len) };
    }

    /// The `N` bytes from `at` on; for 1, 2, 4 or 8 that are aligned, by one access.
    ///
    /// # Panics
    ///
    /// When there are not so many.
    #[inline(always)]
    #[track_caller]
    pub fn load<const N: usize>(self, at: usize) -> [u8; N] {
        let mut out = [0; N];
        let place = self.place(at, N);
        macro_rules! load {
            ($($size:literal $atomic:ty),*) => {
                match N {
                    $($size => if let Some(word) = aligned::<$atomic>(place.cast_mut()) {
                        // SAFETY: It lies inside what is lent, and is aligned. It is only loaded, which is sound where the memory
                        // cannot be written.
                        let word = unsafe { &*word };
                        out.copy_from_slice(&word.load(Relaxed).to_ne_bytes());
                        return out;
                    })*
                    _ => {}
                }
            };
        }
        load!(1 AtomicU8, 2 AtomicU16, 4 AtomicU32, 8 AtomicU64);
        // SAFETY: As for `read`.
        unsafe { copy::copy(place, out.as_mut_ptr(), N) };
        out
    }

    /// Makes the `N` bytes from `at` on `bytes`; for 1, 2, 4 or 8 that are aligned, by one access.
    ///
    /// # Panics
    ///
    /// When there are not so many, or the view is for reading only.
    #[inline(always)]
    #[track_caller]
    pub fn store<const N: usize>(self, at: usize, bytes: [u8; N]) {
        macro_rules! store {
            ($($size:literal $atomic:ident $number:ty),*) => {
                match N {
                    $($size => if let Some(word) = self.$atomic(at) {
                        let mut same = [0; $size];
                        same.copy_from_slice(&bytes);
                        return word.store(<$number>::from_ne_bytes(same), Relaxed);
                    })*
                    _ => {}
                }
            };
        }
        store!(1 atomic_u8 u8, 2 atomic_u16 u16, 4 atomic_u32 u32, 8 atomic_u64 u64);
        self.write(at, &bytes);
    }

    atomics! {
        /// The byte at `at`, as an atomic. None when it does not lie inside, or the view is for reading only.
        atomic_u8: AtomicU8;
        /// The 2 bytes from `at` on, as an atomic. None when they do not lie inside, their address is odd, or the view is for
        /// reading only.
        atomic_u16: AtomicU16;
        /// The 4 bytes from `at` on, as an atomic. None when they do not lie inside, are not aligned, or the view is for reading
        /// only.
        atomic_u32: AtomicU32;
        /// The 8 bytes from `at` on, as an atomic. None when they do not lie inside, are not aligned, or the view is for reading
        /// only.
        atomic_u64: AtomicU64;
    }

    /// Copies the bytes of `from` to the place `at`. They may be bytes of this view, at other places: then they arrive as they
    /// were.
    ///
    /// # Panics
    ///
    /// When there is not so much room, or the view is for reading only.
    #[track_caller]
    pub fn copy_from(self, at: usize, from: SharedBytes<'_>) {
        let to = self.place_to_write(at, from.len);
        let source = from.start.as_ptr();
        if to.addr().abs_diff(source.addr()) >= from.len {
            // SAFETY: Both lie inside what is lent, the one for writing, and they do not overlap.
            unsafe { copy::copy(source, to, from.len) };
            return;
        }
        // Through a buffer, from the end that is overwritten last.
        let mut buffer = [0; 4096];
        let mut pieces: Vec<Range<usize>> = (0..from.len)
            .step_by(buffer.len())
            .map(|start| start..(start + buffer.len()).min(from.len))
            .collect();
        if to.addr() > source.addr() {
            pieces.reverse();
        }
        for piece in pieces {
            let buffer = &mut buffer[..piece.len()];
            from.read(piece.start, buffer);
            self.write(at + piece.start, buffer);
        }
    }

    /// Copies the bytes of `from` to the place `to`; they may overlap.
    ///
    /// # Panics
    ///
    /// When either does not lie inside, or the view is for reading only.
    #[track_caller]
    pub fn copy_within(self, from: Range<usize>, to: usize) {
        let Some(source) = self.get(from.clone()) else { beyond(self, from.start, from.len()) };
        self.copy_from(to, source);
    }

    #[inline]
    #[track_caller]
    fn place(self, at: usize, len: usize) -> *const u8 {
        if at.checked_add(len).is_none_or(|end| end > self.len) {
            beyond(self, at, len);
        }
        self.start.as_ptr().wrapping_add(at)
    }

    #[inline]
    #[track_caller]
    fn place_to_write(self, at: usize, len: usize) -> *mut u8 {
        assert!(self.is_writable(), "these bytes are for reading only");
        self.place(at, len).cast_mut()
    }
}

#[inline]
fn aligned<T>(address: *mut u8) -> Option<*mut T> {
    let address = address.cast::<T>();
    address.is_aligned().then_some(address)
}

#[cold]
#[track_caller]
fn beyond(view: SharedBytes<'_>, at: usize, len: usize) -> ! {
    panic!("{len} bytes at {at} of {}", view.len)
}

impl fmt::Debug for SharedBytes<'_> {
    /// Not the bytes: there may be many, and they change.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedBytes")
            .field("len", &self.len)
            .field("writable", &self.writable)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(count: usize) -> Vec<AtomicU64> {
        (0..count).map(|_| AtomicU64::new(0)).collect()
    }

    #[test]
    fn what_is_written_is_read() {
        let words = words(2000);
        let bytes = SharedBytes::of_words(&words);
        assert_eq!((bytes.len(), bytes.is_empty()), (16_000, false));
        let data: Vec<u8> = (0..15_000u32).map(|at| (at * 3).to_le_bytes()[0]).collect();
        bytes.write(13, &data);
        let mut out = vec![0; data.len()];
        bytes.read(13, &mut out);
        assert_eq!(out, data);
        assert_eq!(bytes.get(13..15_013).unwrap().read_vec(), data);
        let mut vec = vec![9];
        bytes.get(13..16).unwrap().append_to(&mut vec);
        assert_eq!(vec, [9, 0, 3, 6]);
        assert_eq!(words[1].load(Relaxed).to_ne_bytes()[5..], [0, 3, 6]);
        bytes.get(15..100).unwrap().fill(0xAA);
        assert_eq!((bytes.load(14), bytes.load(15), bytes.load(100)), ([3], [0xAA], [data[87]]));
    }

    #[test]
    fn loads_and_stores_have_every_size_and_place() {
        let words = words(8);
        let bytes = SharedBytes::of_words(&words);
        for at in 0..8 {
            bytes.store(at, [1]);
            bytes.store(at, [2, 3]);
            assert_eq!(bytes.load(at), [2, 3]);
            bytes.store(at, [4, 5, 6]);
            assert_eq!(bytes.load(at), [4, 5, 6]);
            bytes.store(at, 7u32.to_ne_bytes());
            assert_eq!(u32::from_ne_bytes(bytes.load(at)), 7);
            bytes.store(at, 0x1234_5678_9ABC_DEF0u64.to_ne_bytes());
            assert_eq!(u64::from_ne_bytes(bytes.load(at)), 0x1234_5678_9ABC_DEF0);
            bytes.store(at, [8; 24]);
            assert_eq!(bytes.load(at), [8; 24]);
        }
        assert_eq!(bytes.load(64), []);
    }

    #[test]
    fn atomics_are_there_where_they_are_aligned() {
        let words = words(2);
        let bytes = SharedBytes::of_words(&words);
        assert!(bytes.atomic_u8(15).is_some() && bytes.atomic_u8(16).is_none());
        assert!(bytes.atomic_u16(14).is_some() && bytes.atomic_u16(13).is_none());
        assert!(bytes.atomic_u32(12).is_some() && bytes.atomic_u32(10).is_none());
        assert!(bytes.atomic_u64(8).is_some() && bytes.atomic_u64(4).is_none());
        assert!(bytes.atomic_u64(16).is_none() && bytes.atomic_u64(usize::MAX).is_none());
        bytes.atomic_u64(8).unwrap().fetch_add(5, Relaxed);
        assert_eq!(words[1].load(Relaxed), 5);
        assert!(bytes.get(1..9).unwrap().atomic_u64(0).is_none());
        assert!(bytes.get(1..16).unwrap().atomic_u64(7).is_some());
    }

    #[test]
    fn parts_lie_inside() {
        let words = words(2);
        let bytes = SharedBytes::of_words(&words);
        assert!(bytes.get(0..16).is_some() && bytes.get(16..16).unwrap().is_empty());
        let reversed = Range { start: 3, end: 2 };
        assert!(bytes.get(0..17).is_none() && bytes.get(reversed).is_none());
        assert!(bytes.get(17..17).is_none() && bytes.get(1..usize::MAX).is_none());
    }

    #[test]
    fn copies_within_arrive_as_they_were() {
        let count = 3000;
        for (from, to, len) in
            [(0, 1, 20_000), (1, 0, 20_000), (0, 5000, 4000), (0, 0, 9), (64, 0, 64)]
        {
            let words = words(count);
            let bytes = SharedBytes::of_words(&words);
            let mut model: Vec<u8> =
                (0..count * 8).map(|at| (at * 31 / 7).to_le_bytes()[0]).collect();
            bytes.write(0, &model);
            bytes.copy_within(from..from + len, to);
            model.copy_within(from..from + len, to);
            assert!(bytes.read_vec() == model, "{len} bytes from {from} to {to}");
        }
    }

    #[test]
    fn for_reading_nothing_is_written() {
        let words = words(2);
        let bytes = SharedBytes::of_words(&words).for_reading();
        assert!(
            !bytes.is_writable() && bytes.atomic_u64(0).is_none() && bytes.atomic_u8(0).is_none()
        );
        assert_eq!((bytes.load(0), bytes.load(1)), ([0; 8], [0; 3]));
        let writes: [fn(SharedBytes<'_>); 3] =
            [|bytes| bytes.store(0, [1]), |bytes| bytes.fill(1), |bytes| bytes.write(0, &[])];
        for write in writes {
            std::panic::catch_unwind(|| write(bytes)).unwrap_err();
        }
        assert_eq!(words[0].load(Relaxed), 0);
    }

    #[test]
    #[should_panic(expected = "8 bytes at 9 of 16")]
    fn beyond_the_end_nothing_is_read() {
        SharedBytes::of_words(&words(2)).load::<8>(9);
    }

    #[test]
    #[should_panic(expected = "2 bytes at 15 of 16")]
    fn beyond_the_end_nothing_is_written() {
        SharedBytes::of_words(&words(2)).write(15, &[1, 2]);
    }

    #[test]
    #[should_panic(expected = "bytes at 18446744073709551615 of 16")]
    fn places_do_not_wrap_around() {
        SharedBytes::of_words(&words(2)).read(usize::MAX, &mut [0; 2]);
    }
}
