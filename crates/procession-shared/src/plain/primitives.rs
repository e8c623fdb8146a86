//! What is plain by itself: numbers, `bool`, `char`, and arrays.

use std::num::Wrapping;

use procession_sys::number::{bytes_of, bytes_of_mut};

use super::{Fingerprint, Numbers, Plain};

macro_rules! numbers {
    ($($number:ident)*) => { $(
        impl Plain for $number {
            const SIZE: usize = size_of::<Self>();
            const ALIGN: usize = align_of::<Self>();
            const TYPE: Fingerprint = Fingerprint::new(stringify!($number));

            #[inline(always)]
            fn store(self, out: &mut [u8]) {
                out[..Self::SIZE].copy_from_slice(&self.to_ne_bytes());
            }

            #[inline(always)]
            fn load(bytes: &[u8]) -> Option<Self> {
                let mut same = [0; Self::SIZE];
                same.copy_from_slice(&bytes[..Self::SIZE]);
                Some(Self::from_ne_bytes(same))
            }

            const NUMBERS: Option<Numbers<Self>> = Some(Numbers {
                zero: 0 as Self,
                bytes: bytes_of,
                bytes_mut: bytes_of_mut,
            });
        }
    )* };
}

numbers!(u8 i8 u16 i16 u32 i32 u64 i64 usize isize f32 f64);

impl Plain for bool {
    const SIZE: usize = 1;
    const ALIGN: usize = 1;
    const TYPE: Fingerprint = Fingerprint::new("bool");

    #[inline(always)]
    fn store(self, out: &mut [u8]) {
        u8::from(self).store(out);
    }

    #[inline(always)]
    fn load(bytes: &[u8]) -> Option<Self> {
        match bytes[0] {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

impl Plain for char {
    const SIZE: usize = size_of::<u32>();
    const ALIGN: usize = align_of::<u32>();
    const TYPE: Fingerprint = Fingerprint::new("char");

    #[inline(always)]
    fn store(self, out: &mut [u8]) {
        u32::from(self).store(out);
    }

    #[inline(always)]
    fn load(bytes: &[u8]) -> Option<Self> {
        Self::from_u32(u32::load(bytes)?)
    }
}

impl<T: Plain, const N: usize> Plain for [T; N] {
    const SIZE: usize = T::SIZE * N;
    const ALIGN: usize = T::ALIGN;
    const TYPE: Fingerprint = Fingerprint::new("[]").times(N).with("", T::TYPE);

    #[inline]
    fn store(self, out: &mut [u8]) {
        for (at, item) in self.into_iter().enumerate() {
            item.store(&mut out[at * T::SIZE..(at + 1) * T::SIZE]);
        }
    }

    #[inline]
    fn load(bytes: &[u8]) -> Option<Self> {
        if N == 0 {
            return Some(std::array::from_fn(|_| unreachable!("there are none")));
        }
        let mut items = [T::load(bytes)?; N];
        for (at, item) in items.iter_mut().enumerate().skip(1) {
            *item = T::load(&bytes[at * T::SIZE..])?;
        }
        Some(items)
    }

    const NUMBERS: Option<Numbers<Self>> = match &T::NUMBERS {
        Some(item) => Some(Numbers {
            zero: [item.zero; N],
            bytes: |items| of_items::<T>(items.as_flattened()),
            bytes_mut: |items| of_items_mut::<T>(items.as_flattened_mut()),
        }),
        None => None,
    };
}

fn of_items<T: Plain>(items: &[T]) -> &[u8] {
    T::NUMBERS.map_or(&[], |numbers| (numbers.bytes)(items))
}

fn of_items_mut<T: Plain>(items: &mut [T]) -> &mut [u8] {
    T::NUMBERS.map_or(&mut [], |numbers| (numbers.bytes_mut)(items))
}

impl<T: Plain> Plain for Wrapping<T> {
    const SIZE: usize = T::SIZE;
    const ALIGN: usize = T::ALIGN;
    const TYPE: Fingerprint = Fingerprint::new("Wrapping").with("0", T::TYPE);

    #[inline(always)]
    fn store(self, out: &mut [u8]) {
        self.0.store(out);
    }

    #[inline(always)]
    fn load(bytes: &[u8]) -> Option<Self> {
        T::load(bytes).map(Self)
    }
}
