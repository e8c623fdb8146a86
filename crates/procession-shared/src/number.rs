//! Numbers, which have atomic operations in shared memory.

use std::fmt::{Debug, Display};
use std::hash::Hash;

use procession_sys::block::SharedBytes;
use procession_sys::number;
use procession_sys::prim::Ordering::{AcqRel, Acquire, Relaxed, Release};

use crate::Plain;

/// An integer of up to 64 bits, or a float: all bytes are one, so that nothing is checked, many are copied at once, and there are
/// atomic operations.
///
/// Sealed: it is these types, and no others.
pub trait Number:
    Plain + number::Number + Default + PartialEq + PartialOrd + Debug + Display + cell::Cell
{
}

/// An integer of up to 64 bits.
///
/// Sealed, as [`Number`].
pub trait Integer: Number + Eq + Ord + Hash + cell::IntegerCell {}

/// What is done at a place of shared bytes. `None` when it is not inside, not aligned, or may not be written.
mod cell {
    use super::SharedBytes;

    #[expect(unnameable_types, reason = "that nobody can name it is the point")]
    pub trait Cell: Sized {
        fn load(bytes: SharedBytes<'_>, at: usize) -> Option<Self>;
        fn store(self, bytes: SharedBytes<'_>, at: usize) -> Option<()>;
        fn swap(self, bytes: SharedBytes<'_>, at: usize) -> Option<Self>;
        fn compare_exchange(
            self,
            bytes: SharedBytes<'_>,
            at: usize,
            new: Self,
        ) -> Option<Result<Self, Self>>;
        fn fetch_add(self, bytes: SharedBytes<'_>, at: usize) -> Option<Self>;
        fn fetch_sub(self, bytes: SharedBytes<'_>, at: usize) -> Option<Self>;
        fn fetch_max(self, bytes: SharedBytes<'_>, at: usize) -> Option<Self>;
        fn fetch_min(self, bytes: SharedBytes<'_>, at: usize) -> Option<Self>;
    }

    #[expect(unnameable_types, reason = "that nobody can name it is the point")]
    pub trait IntegerCell: Cell {
        fn fetch_and(self, bytes: SharedBytes<'_>, at: usize) -> Option<Self>;
        fn fetch_or(self, bytes: SharedBytes<'_>, at: usize) -> Option<Self>;
        fn fetch_xor(self, bytes: SharedBytes<'_>, at: usize) -> Option<Self>;
    }
}

/// Implements [`cell::Cell`] for a number that has the bits of `$bits`, whose atomic is at `$atomic`; `$sum` and `$difference` are what
/// sums are.
macro_rules! cell {
    ($number:ident $bits:ident $atomic:ident { $($sums:tt)* }) => {
        impl Number for $number {}

        impl cell::Cell for $number {
            #[inline(always)]
            fn load(bytes: SharedBytes<'_>, at: usize) -> Option<Self> {
                Some(from!($number, bytes.$atomic(at)?.load(Acquire)))
            }

            #[inline(always)]
            fn store(self, bytes: SharedBytes<'_>, at: usize) -> Option<()> {
                bytes.$atomic(at)?.store(from!($bits, self), Release);
                Some(())
            }

            #[inline(always)]
            fn swap(self, bytes: SharedBytes<'_>, at: usize) -> Option<Self> {
                Some(from!($number, bytes.$atomic(at)?.swap(from!($bits, self), AcqRel)))
            }

            #[inline(always)]
            fn compare_exchange(
                self,
                bytes: SharedBytes<'_>,
                at: usize,
                new: Self,
            ) -> Option<Result<Self, Self>> {
                let (current, new) = (from!($bits, self), from!($bits, new));
                let found = bytes.$atomic(at)?.compare_exchange(current, new, AcqRel, Acquire);
                Some(match found {
                    Ok(before) => Ok(from!($number, before)),
                    Err(found) => Err(from!($number, found)),
                })
            }

            $($sums)*

            #[inline]
            fn fetch_max(self, bytes: SharedBytes<'_>, at: usize) -> Option<Self> {
                change!($number $bits bytes.$atomic(at)?, |now| if now > self { now } else { self })
            }

            #[inline]
            fn fetch_min(self, bytes: SharedBytes<'_>, at: usize) -> Option<Self> {
                change!($number $bits bytes.$atomic(at)?, |now| if now < self { now } else { self })
            }
        }
    };
}

/// The number of the same bits.
macro_rules! from {
    ($to:ident, $bits:expr) => {
        <$to>::from_ne_bytes($bits.to_ne_bytes())
    };
}

/// Tries until nobody came between.
macro_rules! change {
    ($number:ident $bits:ident $cell:expr, |$now:ident| $then:expr) => {{
        let cell = $cell;
        let mut before = cell.load(Relaxed);
        loop {
            let $now = from!($number, before);
            let then = from!($bits, $then);
            match cell.compare_exchange_weak(before, then, AcqRel, Relaxed) {
                Ok(before) => break Some(from!($number, before)),
                Err(found) => before = found,
            }
        }
    }};
}

macro_rules! fetch {
    ($($name:ident)*: $number:ident $bits:ident $atomic:ident) => { $(
        #[inline(always)]
        fn $name(self, bytes: SharedBytes<'_>, at: usize) -> Option<Self> {
            Some(from!($number, bytes.$atomic(at)?.$name(from!($bits, self), AcqRel)))
        }
    )* };
}

macro_rules! integers {
    ($($number:ident $bits:ident $atomic:ident,)*) => { $(
        cell!($number $bits $atomic { fetch!(fetch_add fetch_sub: $number $bits $atomic); });

        impl Integer for $number {}

        impl cell::IntegerCell for $number {
            fetch!(fetch_and fetch_or fetch_xor: $number $bits $atomic);
        }
    )* };
}

macro_rules! floats {
    ($($number:ident $bits:ident $atomic:ident,)*) => { $(
        cell!($number $bits $atomic {
            #[inline]
            fn fetch_add(self, bytes: SharedBytes<'_>, at: usize) -> Option<Self> {
                change!($number $bits bytes.$atomic(at)?, |now| now + self)
            }

            #[inline]
            fn fetch_sub(self, bytes: SharedBytes<'_>, at: usize) -> Option<Self> {
                change!($number $bits bytes.$atomic(at)?, |now| now - self)
            }
        });
    )* };
}

integers! {
    u8 u8 atomic_u8,
    i8 u8 atomic_u8,
    u16 u16 atomic_u16,
    i16 u16 atomic_u16,
    u32 u32 atomic_u32,
    i32 u32 atomic_u32,
    u64 u64 atomic_u64,
    i64 u64 atomic_u64,
}
#[cfg(target_pointer_width = "64")]
integers! {
    usize u64 atomic_u64,
    isize u64 atomic_u64,
}
#[cfg(target_pointer_width = "32")]
integers! {
    usize u32 atomic_u32,
    isize u32 atomic_u32,
}
floats! {
    f32 u32 atomic_u32,
    f64 u64 atomic_u64,
}
