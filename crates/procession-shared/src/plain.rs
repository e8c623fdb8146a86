//! Types whose values may lie in memory that processes share.
//!
//! [`Plain`] is the trait, and its derive; [`Layout`] and [`Fingerprint`] are what it says of a type. [`Writer`] and [`Reader`] walk along
//! the fields of one. Values go through `load_from` and `store_to` to shared bytes and back.

mod fields;
mod primitives;

use std::fmt;

use procession_core::{Error, ErrorKind, Result};
pub use procession_macros::Plain;
use procession_sys::block::SharedBytes;

pub use fields::{Reader, Writer};

/// A type whose values may lie in memory that processes share: nothing in it points anywhere, and every value is some bytes.
///
/// Integers, floats, `bool`, `char` and arrays of such are plain; with `#[derive(Plain)]` so are structures of plain fields, and
/// enumerations without fields that say which integer they are. In memory they lie as in C, whatever Rust does with them elsewhere, so
/// that no `repr(C)` is needed, and bytes between fields are zero.
///
/// Values are copied in and out, never seen by reference, as others may write at any time. Not all bytes are a value: there is no
/// `bool` of 2, and no variant for every number. What is read is checked, so that a peer that writes nonsense is an error of the one who
/// reads.
///
/// # Implementing
///
/// The derive does it. By hand it is no `unsafe` matter: whoever gets it wrong gets wrong values, or panics, and nothing worse.
///
/// # Examples
///
/// ```
/// extern crate procession_shared as procession;
/// use procession::Plain;
///
/// #[derive(Debug, Clone, Copy, PartialEq, Plain)]
/// #[repr(u8)]
/// enum Side {
///     Left = 1,
///     Right = 2,
/// }
///
/// #[derive(Debug, Clone, Copy, PartialEq, Plain)]
/// struct Step {
///     side: Side,
///     length: f32,
/// }
///
/// assert_eq!((Step::SIZE, Step::ALIGN), (8, 4));
/// let mut bytes = [0xFF; 8];
/// Step { side: Side::Right, length: 1.5 }.store(&mut bytes);
/// assert_eq!(bytes, [2, 0, 0, 0, 0, 0, 0xC0, 0x3F]);
/// assert_eq!(Step::load(&bytes), Some(Step { side: Side::Right, length: 1.5 }));
///
/// bytes[0] = 3;
/// assert_eq!(Step::load(&bytes), None);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot lie in memory that processes share",
    label = "this type is not `Plain`",
    note = "integers, floats, `bool`, `char` and arrays of them are plain; `#[derive(Clone, Copy, Plain)]` makes structures so",
    note = "what points to memory of one process (references, `Box`, `Vec`, `String`, ..) never is: copy what it points to"
)]
pub trait Plain: Copy + Send + Sync + 'static {
    /// How many bytes a value takes, in C on this machine.
    const SIZE: usize;
    /// Its address is a multiple of so many bytes.
    const ALIGN: usize;
    /// Which type it is.
    const TYPE: Fingerprint;

    /// Writes the value into the first [`SIZE`](Self::SIZE) bytes of `out`. All of them: what is no field becomes zero.
    ///
    /// # Panics
    ///
    /// When there are fewer.
    fn store(self, out: &mut [u8]);

    /// The value that the first [`SIZE`](Self::SIZE) of `bytes` are. `None` when there is no such value.
    ///
    /// # Panics
    ///
    /// When there are fewer.
    fn load(bytes: &[u8]) -> Option<Self>;

    /// How many of them are copied at once, if they lie in shared memory as they do elsewhere.
    #[doc(hidden)]
    const NUMBERS: Option<Numbers<Self>> = None;
}

/// Sees slices of numbers, or of arrays of such, as the bytes that they are. Nobody else can make one.
#[doc(hidden)]
#[derive(Debug)]
pub struct Numbers<T> {
    pub(crate) zero: T,
    pub(crate) bytes: fn(&[T]) -> &[u8],
    pub(crate) bytes_mut: fn(&mut [T]) -> &mut [u8],
}

/// Size and alignment of a structure, as in C: each field lies at the next place that suits it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    end: usize,
    align: usize,
}

impl Layout {
    /// That of a structure without fields.
    pub const EMPTY: Self = Self { end: 0, align: 1 };

    /// With one more field.
    #[must_use]
    pub const fn and<T: Plain>(self) -> Self {
        let align = if T::ALIGN > self.align { T::ALIGN } else { self.align };
        Self { end: self.end.next_multiple_of(T::ALIGN) + T::SIZE, align }
    }

    /// How many bytes it takes.
    pub const fn size(self) -> usize {
        self.end.next_multiple_of(self.align)
    }

    /// Its address is a multiple of so many bytes.
    pub const fn align(self) -> usize {
        self.align
    }
}

/// Says, in 64 bits, of which type what is shared is: its name, and the names and types of its fields.
///
/// A handle that arrives for another type than the receiver expects is refused by it. It guards against mistakes: what is read is
/// checked all the same.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(u64);

impl Fingerprint {
    /// That of a type without fields.
    pub const fn new(name: &str) -> Self {
        // FNV-1a: the offset basis.
        Self(0xcbf2_9ce4_8422_2325).mix(name.as_bytes())
    }

    /// With one more field, variant or parameter.
    #[must_use]
    pub const fn with(self, name: &str, ty: Self) -> Self {
        self.mix(name.as_bytes()).mix(&ty.0.to_le_bytes())
    }

    /// With a number, like the length of an array.
    #[must_use]
    pub const fn times(self, number: usize) -> Self {
        self.mix(&(number as u64).to_le_bytes())
    }

    /// For a message.
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    const fn mix(self, bytes: &[u8]) -> Self {
        // FNV-1a: the prime. The length first, so that names do not run into each other.
        const PRIME: u64 = 0x0100_0000_01b3;
        let mut hash = (self.0 ^ bytes.len() as u64).wrapping_mul(PRIME);
        let mut at = 0;
        while at < bytes.len() {
            hash = (hash ^ bytes[at] as u64).wrapping_mul(PRIME);
            at += 1;
        }
        Self(hash)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The value at `at`; none if the bytes there are none. One access, if it has 1, 2, 4 or 8 bytes and is aligned to so many.
///
/// # Panics
///
/// When it does not lie inside.
#[inline(always)]
#[track_caller]
pub(crate) fn load_from<T: Plain>(bytes: SharedBytes<'_>, at: usize) -> Option<T> {
    match T::SIZE {
        1 => T::load(&bytes.load::<1>(at)),
        2 => T::load(&bytes.load::<2>(at)),
        4 => T::load(&bytes.load::<4>(at)),
        8 => T::load(&bytes.load::<8>(at)),
        size => with_buffer(size, |buffer| {
            read_words(bytes, at, buffer);
            T::load(buffer)
        }),
    }
}

/// Writes the value to `at`; by one access, as [`load_from`].
///
/// # Panics
///
/// When it does not lie inside, or the view is for reading only.
#[inline(always)]
#[track_caller]
pub(crate) fn store_to<T: Plain>(bytes: SharedBytes<'_>, at: usize, value: T) {
    macro_rules! store {
        ($size:literal) => {{
            let mut buffer = [0; $size];
            value.store(&mut buffer);
            bytes.store::<$size>(at, buffer);
        }};
    }
    match T::SIZE {
        1 => store!(1),
        2 => store!(2),
        4 => store!(4),
        8 => store!(8),
        size => with_buffer(size, |buffer| {
            value.store(buffer);
            write_words(bytes, at, buffer);
        }),
    }
}

/// Up to so many bytes go word by word, which the compiler puts together from the fields, and takes apart, in registers. A copy would
/// read what was written in smaller pieces just before, for which the processor waits.
const BY_WORDS: usize = 64;

#[inline(always)]
#[track_caller]
fn read_words(bytes: SharedBytes<'_>, at: usize, out: &mut [u8]) {
    if out.len() > BY_WORDS {
        return bytes.read(at, out);
    }
    let (words, rest) = out.as_chunks_mut::<8>();
    for (index, word) in words.iter_mut().enumerate() {
        *word = bytes.load(at + index * 8);
    }
    let behind = at + words.len() * 8;
    let (halves, rest) = rest.as_chunks_mut::<4>();
    for half in halves.iter_mut() {
        *half = bytes.load(behind);
    }
    for (index, byte) in rest.iter_mut().enumerate() {
        [*byte] = bytes.load(behind + halves.len() * 4 + index);
    }
}

#[inline(always)]
#[track_caller]
fn write_words(bytes: SharedBytes<'_>, at: usize, from: &[u8]) {
    if from.len() > BY_WORDS {
        return bytes.write(at, from);
    }
    let (words, rest) = from.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        bytes.store(at + index * 8, *word);
    }
    let behind = at + words.len() * 8;
    let (halves, rest) = rest.as_chunks::<4>();
    for half in halves {
        bytes.store(behind, *half);
    }
    for (index, byte) in rest.iter().enumerate() {
        bytes.store(behind + halves.len() * 4 + index, [*byte]);
    }
}

/// Bytes on the stack, `size` of them. When `size` is a constant, all of this is one.
#[inline(always)]
pub(crate) fn with_buffer<R>(size: usize, run: impl FnOnce(&mut [u8]) -> R) -> R {
    match size {
        0..=16 => run(&mut [0; 16][..size]),
        17..=64 => run(&mut [0; 64][..size]),
        65..=512 => run(&mut [0; 512][..size]),
        513..=4096 => run(&mut [0; 4096][..size]),
        _ => run(&mut vec![0; size]),
    }
}

/// The error of bytes that are no value.
#[cold]
pub(crate) fn no_value<T>() -> Error {
    let name = std::any::type_name::<T>();
    Error::new(ErrorKind::Decode, format!("the shared bytes are no value of type {name}"))
}

/// For what has arrived, and says that it is of the type with that fingerprint.
pub(crate) fn check_type<T: Plain>(found: u64) -> Result<()> {
    if found == T::TYPE.to_bits() {
        return Ok(());
    }
    let name = std::any::type_name::<T>();
    Err(Error::new(
        ErrorKind::Decode,
        format!("what arrived in shared memory is of another type than {name}"),
    ))
}
