//! Numbers and the bytes that they are, as they lie in memory.
//!
//! [`plain`](crate::plain) finds out whether a type is one of these; here the caller knows.

#![expect(unsafe_code, reason = "sees numbers as bytes, and bytes as numbers")]

/// An integer or a float: any pattern of bits is one, and none of its bytes is padding.
///
/// Sealed: it is these types, and no others.
pub trait Number: Copy + Send + Sync + 'static + sealed::Sealed {}

mod sealed {
    #[expect(unnameable_types, reason = "that nobody can name it is the point")]
    pub trait Sealed {}
}

macro_rules! numbers {
    ($($number:ty)*) => { $(
        impl sealed::Sealed for $number {}
        impl Number for $number {}
    )* };
}
numbers!(u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize f32 f64);

/// The bytes of `numbers`.
#[inline]
pub fn bytes_of<N: Number>(numbers: &[N]) -> &[u8] {
    // SAFETY: The numbers are initialised, without padding; bytes need no alignment; the borrow goes on.
    unsafe { std::slice::from_raw_parts(numbers.as_ptr().cast(), size_of_val(numbers)) }
}

/// The bytes of `numbers`, for writing.
#[inline]
pub fn bytes_of_mut<N: Number>(numbers: &mut [N]) -> &mut [u8] {
    // SAFETY: As for `bytes_of`; and whatever is written there, is numbers.
    unsafe { std::slice::from_raw_parts_mut(numbers.as_mut_ptr().cast(), size_of_val(numbers)) }
}

/// The numbers that `bytes` are; none if they are not aligned as such, or not a whole number of them.
#[inline]
pub fn of_bytes<N: Number>(bytes: &[u8]) -> Option<&[N]> {
    let start = bytes.as_ptr().cast::<N>();
    if !start.is_aligned() || !bytes.len().is_multiple_of(size_of::<N>()) {
        return None;
    }
    // SAFETY: It is aligned, lies inside what is borrowed, and any bytes are numbers.
    Some(unsafe { std::slice::from_raw_parts(start, bytes.len() / size_of::<N>()) })
}

/// The numbers that `bytes` are, for writing; none if they are not aligned as such, or not a whole number of them.
#[inline]
pub fn of_bytes_mut<N: Number>(bytes: &mut [u8]) -> Option<&mut [N]> {
    let start = bytes.as_mut_ptr().cast::<N>();
    if !start.is_aligned() || !bytes.len().is_multiple_of(size_of::<N>()) {
        return None;
    }
    // SAFETY: As for `of_bytes`; and numbers are bytes.
    Some(unsafe { std::slice::from_raw_parts_mut(start, bytes.len() / size_of::<N>()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_bytes_and_bytes_are_numbers() {
        let mut numbers = [1u32, 0x0203_0405];
        assert_eq!(bytes_of(&numbers), [1u32.to_ne_bytes(), 0x0203_0405u32.to_ne_bytes()].concat());
        bytes_of_mut(&mut numbers)[..4].copy_from_slice(&7u32.to_ne_bytes());
        assert_eq!(numbers[0], 7);
        let copy = numbers;
        assert_eq!(of_bytes::<u32>(bytes_of(&copy)), Some(&copy[..]));
        of_bytes_mut::<f32>(bytes_of_mut(&mut numbers)).unwrap()[1] = 1.0;
        assert_eq!(numbers, [7, 1.0f32.to_bits()]);
    }

    #[test]
    fn bytes_at_odd_places_and_half_numbers_are_none() {
        let words = [0u64; 2];
        let bytes = bytes_of(&words);
        assert!(of_bytes::<u16>(&bytes[1..3]).is_none() && of_bytes::<u16>(&bytes[..3]).is_none());
        assert!(of_bytes::<u64>(&bytes[4..12]).is_none());
        assert_eq!(of_bytes::<u64>(&bytes[8..8]), Some(&[][..]));
        let mut words = [0u64; 2];
        let bytes = bytes_of_mut(&mut words);
        assert!(of_bytes_mut::<i16>(&mut bytes[1..3]).is_none());
        assert!(of_bytes_mut::<i16>(&mut bytes[..3]).is_none());
    }
}
