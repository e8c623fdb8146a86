//! Sequences of plain numbers, seen as the bytes that they are.
//!
//! A codec knows its values by type parameters only. Here is found out whether such a parameter is in truth a sequence of
//! numbers ([`block_of`], [`block_behind`], [`number_vec`]), so that all of it is copied at once. *Plain* are integers and
//! floats: every pattern of bits is one of them, and none of it is padding. `bool` and `char` are not. The bytes are
//! little-endian: where the machine is not, only numbers of one byte are plain; and `usize` is where it has the 64 bits that
//! it is sent as.

#![expect(unsafe_code, reason = "sees numbers as bytes, and a type parameter as the type it is")]

use std::any::TypeId;
use std::collections::TryReserveError;

/// The bytes of plain numbers that lie one after the other.
#[derive(Debug, Clone, Copy)]
pub struct Numbers<'a> {
    /// As they lie in memory, which is little-endian.
    pub bytes: &'a [u8],
    /// How many numbers they are.
    pub count: usize,
}

/// A `Vec` of plain numbers, whichever they are.
pub trait NumberVec {
    /// How many bytes each number takes.
    fn width_bytes(&self) -> usize;

    /// What is in it.
    fn bytes_mut(&mut self) -> &mut [u8];

    /// Appends the numbers that `bytes` are. Bytes at the end that are not all of a number are left out.
    fn append(&mut self, bytes: &[u8]);

    /// How many more it can hold where it is.
    fn spare(&self) -> usize;

    /// Takes the memory for `count` more, and no more than that.
    ///
    /// # Errors
    ///
    /// When there is not so much.
    fn try_reserve(&mut self, count: usize) -> Result<(), TryReserveError>;

    /// Appends `count` zeros.
    fn append_zeros(&mut self, count: usize);
}

/// The numbers in `value`, when it is a `Vec<N>`, `[N]` or `Box<[N]>` of plain numbers.
#[inline]
pub fn block_of<T: ?Sized>(value: &T) -> Option<Numbers<'_>> {
    macro_rules! try_each {
        ($($number:ty)*) => { $(
            if let Some(vec) = view::<T, Vec<$number>>(value) {
                return numbers(vec);
            }
            if let Some(slice) = view::<T, [$number]>(value) {
                return numbers(slice);
            }
            if let Some(slice) = view::<T, Box<[$number]>>(value) {
                return numbers(slice);
            }
        )* };
    }
    with_numbers!(try_each);
    None
}

/// The numbers behind `reference`, when it is a `&Vec<N>` or `&[N]` of plain numbers.
#[inline]
pub fn block_behind<R>(reference: &R) -> Option<Numbers<'_>> {
    macro_rules! try_each {
        ($($number:ty)*) => { $(
            if let Some(vec) = view_behind::<R, Vec<$number>>(reference) {
                return numbers(vec);
            }
            if let Some(slice) = view_behind::<R, [$number]>(reference) {
                return numbers(slice);
            }
        )* };
    }
    with_numbers!(try_each);
    None
}

/// A `T` with nothing in it, when that is a `Vec` of plain numbers.
#[inline]
pub fn number_vec<T>() -> Option<T> {
    macro_rules! try_each {
        ($($number:ty)*) => { $(
            if <$number>::LIES_AS_SENT && typeid::of::<T>() == TypeId::of::<Vec<$number>>() {
                return cast(Vec::<$number>::new());
            }
        )* };
    }
    with_numbers!(try_each);
    None
}

/// `value`, when it is a `Vec` of plain numbers.
#[inline]
pub fn as_number_vec<T>(value: &mut T) -> Option<&mut dyn NumberVec> {
    macro_rules! try_each {
        ($($number:ty)*) => { $(
            if <$number>::LIES_AS_SENT && typeid::of::<T>() == TypeId::of::<Vec<$number>>() {
                return view_mut::<T, Vec<$number>>(value).map(|vec| vec as &mut dyn NumberVec);
            }
        )* };
    }
    with_numbers!(try_each);
    None
}

/// `value`, when it is a `Vec` of numbers that lie in memory as words of 64 bits, whichever they are.
#[inline]
pub fn words_vec<T>(value: &mut Vec<T>) -> Option<&mut dyn NumberVec> {
    as_number_vec(value).filter(|vec| vec.width_bytes() == size_of::<u64>())
}

/// The text in `value`, when it is a `String`, `str` or `Box<str>`.
#[inline]
pub fn text_of<T: ?Sized>(value: &T) -> Option<&str> {
    let string = view::<T, String>(value).map(String::as_str);
    string
        .or_else(|| view::<T, str>(value))
        .or_else(|| view::<T, Box<str>>(value).map(|text| &**text))
}

/// Whether `T` is `String`.
#[inline]
pub fn is_string<T>() -> bool {
    typeid::of::<T>() == TypeId::of::<String>()
}

/// `text` as a `T`, when that is `String`.
#[inline]
pub fn from_string<T>(text: String) -> Option<T> {
    cast(text)
}

/// The bytes that `value` is, without a copy, when it is a `Vec<u8>` or a `String`, or a tuple of one of these alone, of more than
/// `least` bytes; otherwise the value.
///
/// # Errors
///
/// As said.
#[inline]
#[expect(clippy::missing_panics_doc, reason = "what nobody took is there")]
pub fn into_bytes<T>(value: T, least: usize) -> Result<Vec<u8>, T> {
    let mut slot = Some(value);
    if let Some(bytes) = view_mut::<_, Option<Vec<u8>>>(&mut slot)
        && let Some(bytes) = bytes.take_if(|bytes| bytes.len() > least)
    {
        return Ok(bytes);
    }
    if let Some(bytes) = view_mut::<_, Option<(Vec<u8>,)>>(&mut slot)
        && let Some((bytes,)) = bytes.take_if(|(bytes,)| bytes.len() > least)
    {
        return Ok(bytes);
    }
    if let Some(text) = view_mut::<_, Option<String>>(&mut slot)
        && let Some(text) = text.take_if(|text| text.len() > least)
    {
        return Ok(text.into_bytes());
    }
    if let Some(text) = view_mut::<_, Option<(String,)>>(&mut slot)
        && let Some((text,)) = text.take_if(|(text,)| text.len() > least)
    {
        return Ok(text.into_bytes());
    }
    Err(slot.expect("nobody took it"))
}

/// `bytes` as a `T`, without a copy, when that is `Vec<u8>`; otherwise the bytes.
///
/// # Errors
///
/// As said.
#[inline]
pub fn from_bytes<T>(bytes: Vec<u8>) -> Result<T, Vec<u8>> {
    match typeid::of::<T>() == TypeId::of::<Vec<u8>>() {
        true => cast(bytes).ok_or_else(Vec::new),
        false => Err(bytes),
    }
}

/// A number of which every pattern of bits is a value, without padding, and without a lifetime in its type.
///
/// # Safety
///
/// Just that.
unsafe trait Number: Copy + Default + 'static {
    /// Whether it lies in memory as it is sent: little-endian, and as wide.
    const LIES_AS_SENT: bool;
}

/// A type that no lifetime is part of.
///
/// Types that differ in lifetimes only have one [`TypeId`]. Of these there is one each, so that what has its identity is it.
///
/// # Safety
///
/// Just that.
unsafe trait Bare: 'static {}

// SAFETY: There is no lifetime in it.
unsafe impl Bare for String {}
// SAFETY: There is no lifetime in it.
unsafe impl Bare for str {}
// SAFETY: There is none in a number.
unsafe impl<N: Number> Bare for [N] {}
// SAFETY: There is none in a number.
unsafe impl<N: Number> Bare for Vec<N> {}
// SAFETY: There is none in `B`.
unsafe impl<B: Bare + ?Sized> Bare for Box<B> {}
// SAFETY: There is none in `B`.
unsafe impl<B: Bare> Bare for Option<B> {}
// SAFETY: There is none in `B`.
unsafe impl<B: Bare> Bare for (B,) {}

/// Hands all numbers to a macro.
macro_rules! with_numbers {
    ($macro:ident) => {
        $macro! { u8 i8 u16 i16 u32 i32 u64 i64 u128 i128 usize isize f32 f64 }
    };
}
use with_numbers;

macro_rules! impl_number {
    ($($number:ident)*) => { $(
        // SAFETY: Integers and floats of Rust have no padding, no lifetimes, and no patterns that are no value.
        unsafe impl Number for $number {
            const LIES_AS_SENT: bool = lies_as_sent(stringify!($number), size_of::<Self>());
        }
    )* };
}
with_numbers!(impl_number);

const fn lies_as_sent(name: &str, width_bytes: usize) -> bool {
    let is_word = matches!(name.as_bytes(), b"usize" | b"isize");
    (cfg!(target_endian = "little") || width_bytes == 1) && (!is_word || width_bytes == 8)
}

impl<N: Number> NumberVec for Vec<N> {
    fn width_bytes(&self) -> usize {
        size_of::<N>()
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        let len_bytes = size_of_val(self.as_slice());
        let start = self.as_mut_ptr().cast::<u8>();
        // SAFETY: These are the numbers in it, borrowed for as long as the slice: initialized, without padding, in one
        // allocation. Whatever is written there, is numbers.
        unsafe { std::slice::from_raw_parts_mut(start, len_bytes) }
    }

    fn append(&mut self, bytes: &[u8]) {
        let count = bytes.len() / size_of::<N>();
        self.reserve_exact(count);
        let len = self.len() + count;
        let spare = self.spare_capacity_mut().as_mut_ptr().cast::<u8>();
        // SAFETY: So many bytes can be read from the slice (`count` is rounded down) and written behind what is in the vector
        // (reserved above). It is borrowed exclusively, so that the slice is elsewhere. Bytes need no alignment.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), spare, count * size_of::<N>()) };
        // SAFETY: So much is reserved, and `count` numbers behind the old length were written: any bytes are a number.
        unsafe { self.set_len(len) };
    }

    fn spare(&self) -> usize {
        self.capacity() - self.len()
    }

    fn try_reserve(&mut self, count: usize) -> Result<(), TryReserveError> {
        self.try_reserve_exact(count)
    }

    fn append_zeros(&mut self, count: usize) {
        self.resize(self.len() + count, N::default());
    }
}

/// The bytes of `numbers`, if they lie as they are sent.
#[inline(always)]
fn numbers<N: Number>(numbers: &[N]) -> Option<Numbers<'_>> {
    let start = numbers.as_ptr().cast::<u8>();
    // SAFETY: These are the numbers, borrowed for as long as the slice: initialized, without padding, in one allocation.
    let bytes = unsafe { std::slice::from_raw_parts(start, size_of_val(numbers)) };
    N::LIES_AS_SENT.then_some(Numbers { bytes, count: numbers.len() })
}

/// `value`, when it is a `U`.
#[inline(always)]
fn view<T: ?Sized, U: Bare + ?Sized>(value: &T) -> Option<&U> {
    let place = &raw const value;
    // SAFETY: `T` is `U` (there is but one type of that identity), so that what is read is a `&U`, of the same lifetime.
    (typeid::of::<T>() == TypeId::of::<U>()).then(|| unsafe { place.cast::<&U>().read() })
}

/// What is behind `reference`, when it is a `&U`.
#[inline(always)]
fn view_behind<R, U: Bare + ?Sized>(reference: &R) -> Option<&U> {
    let place = &raw const *reference;
    // SAFETY: `R` is `&U`, of a lifetime that may be any (there is but one `U` of that identity) but does not end before
    // `reference` does, which what is read is bound to.
    (typeid::of::<R>() == TypeId::of::<&'static U>()).then(|| unsafe { place.cast::<&U>().read() })
}

/// `value`, when it is a `U`.
#[inline(always)]
fn view_mut<T, U: Bare>(value: &mut T) -> Option<&mut U> {
    let place = &raw mut *value;
    // SAFETY: `T` is `U` (there is but one type of that identity), borrowed exclusively for as long as what is made of it.
    (typeid::of::<T>() == TypeId::of::<U>()).then(|| unsafe { &mut *place.cast::<U>() })
}

/// `value` as a `T`, when that is a `U`.
#[inline(always)]
fn cast<U: Bare, T>(value: U) -> Option<T> {
    let mut slot = None::<T>;
    *view_mut::<Option<T>, Option<U>>(&mut slot)? = Some(value);
    slot
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_seen_as_their_bytes() {
        let numbers = vec![1u16, 0x0203];
        let block = block_of(&numbers).unwrap();
        assert_eq!((block.bytes, block.count), (&[1, 0, 3, 2][..], 2));
        assert_eq!(block_of(&numbers[1..]).unwrap().bytes, [3, 2]);
        assert_eq!(block_of(&numbers.clone().into_boxed_slice()).unwrap().bytes, block.bytes);
        assert_eq!(block_behind(&&numbers).unwrap().bytes, block.bytes);
        assert_eq!(block_behind(&&numbers[..]).unwrap().bytes, block.bytes);
        assert_eq!(block_of(&Vec::<f64>::new()).unwrap().count, 0);
    }

    #[test]
    fn what_is_no_sequence_of_numbers_is_not_seen_as_one() {
        assert!(block_of(&vec![true]).is_none());
        assert!(block_of(&vec!['x']).is_none());
        assert!(block_of(&vec![[1u8; 2]]).is_none());
        assert!(block_of(&&[1u8][..]).is_none());
        assert!(block_of(&[1u8]).is_none());
        assert!(block_behind(&vec![1u8]).is_none());
        assert!(block_behind(&&vec![&1u8]).is_none());
        assert!(block_behind(&&mut vec![1u8]).is_none());
        assert!(number_vec::<Vec<bool>>().is_none());
        assert!(as_number_vec(&mut vec![Some(1u8)]).is_none());
        assert!(text_of(&&"text").is_none());
        assert!(from_string::<Box<str>>(String::new()).is_none());
        assert_eq!(into_bytes(vec![1u16; 9], 0), Err(vec![1u16; 9]));
        assert_eq!(into_bytes(("text", 1), 0), Err(("text", 1)));
        assert_eq!(into_bytes(Some(vec![1u8]), 0), Err(Some(vec![1u8])));
        assert_eq!(from_bytes::<Vec<i8>>(vec![1]), Err(vec![1]));
        assert_eq!(from_bytes::<String>(vec![1]), Err(vec![1]));
    }

    #[test]
    fn long_bytes_and_texts_change_their_type_where_they_lie() {
        let bytes = vec![7u8; 9];
        let place = bytes.as_ptr();
        let bytes = into_bytes((bytes,), 8).unwrap();
        let bytes = into_bytes(bytes, 8).unwrap();
        let bytes = into_bytes(String::from_utf8(bytes).unwrap(), 8).unwrap();
        let bytes = into_bytes((String::from_utf8(bytes).unwrap(),), 8).unwrap();
        let bytes = from_bytes::<Vec<u8>>(bytes).unwrap();
        assert_eq!((bytes.as_ptr(), &bytes[..]), (place, &[7; 9][..]));
        assert_eq!(into_bytes(bytes.clone(), 9), Err(bytes.clone()));
        assert_eq!(into_bytes((bytes.clone(),), 9), Err((bytes,)));
        assert_eq!(into_bytes(String::from("text"), 4), Err(String::from("text")));
        assert_eq!(into_bytes((String::from("text"),), 4), Err((String::from("text"),)));
    }

    #[test]
    fn a_vector_is_made_of_bytes() {
        let mut numbers = number_vec::<Vec<u32>>().unwrap();
        let vec = as_number_vec(&mut numbers).unwrap();
        vec.append(&[1, 0, 0, 0, 2, 0, 0, 0, 9]);
        vec.append_zeros(1);
        vec.bytes_mut()[8] = 3;
        assert_eq!(vec.width_bytes(), 4);
        vec.try_reserve(5).unwrap();
        assert!(vec.spare() >= 5);
        assert!(vec.try_reserve(usize::MAX / 8).is_err());
        assert_eq!(numbers, [1, 2, 3]);
        assert_eq!(from_string::<String>("text".to_owned()).as_deref(), Some("text"));
    }
}
