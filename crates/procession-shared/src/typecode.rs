//! The letters by which Python's `array` and `multiprocessing` name types.

use std::fmt;

use procession_core::{Error, ErrorKind};

use crate::Plain;
use crate::plain::Fingerprint;

/// A type by the letter that Python has for it, for what comes from there.
///
/// On this machine `l` and `L` have 8 bytes, as C's `long` does on 64-bit Linux, and `u` and `w` have 4.
///
/// # Source
///
/// CPython `array.typecodes`, `multiprocessing.sharedctypes.typecode_to_type`.
///
/// # Examples
///
/// ```
/// # use procession_shared as procession;
/// # fn main() -> procession_core::Result<()> {
/// use procession::Typecode;
///
/// let code = Typecode::try_from('q')?;
/// assert_eq!((code.size(), code.rust_type()), (8, "i64"));
/// assert!(code.is::<i64>() && !code.is::<u64>());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Typecode {
    /// `b`
    I8,
    /// `B`
    U8,
    /// `h`
    I16,
    /// `H`
    U16,
    /// `i`
    Int,
    /// `I`
    UnsignedInt,
    /// `l`
    Long,
    /// `L`
    UnsignedLong,
    /// `q`
    I64,
    /// `Q`
    U64,
    /// `f`
    F32,
    /// `d`
    F64,
    /// `u`: a character of C's `wchar_t`.
    WideChar,
    /// `w`: a character.
    Char,
    /// `c`: a byte of a string.
    Byte,
}

/// How wide C's `long` is.
#[cfg(target_pointer_width = "64")]
type Long = i64;
#[cfg(target_pointer_width = "64")]
type UnsignedLong = u64;
#[cfg(target_pointer_width = "32")]
type Long = i32;
#[cfg(target_pointer_width = "32")]
type UnsignedLong = u32;

macro_rules! typecodes {
    ($($letter:literal $code:ident $ty:ty,)*) => {
        impl Typecode {
            /// All of them.
            pub const ALL: [Self; [$($letter),*].len()] = [$(Self::$code),*];

            /// The letter.
            pub const fn letter(self) -> char {
                match self {
                    $(Self::$code => $letter,)*
                }
            }

            /// How many bytes one takes.
            pub const fn size(self) -> usize {
                match self {
                    $(Self::$code => size_of::<$ty>(),)*
                }
            }

            /// What it is in Rust.
            pub fn rust_type(self) -> &'static str {
                match self {
                    $(Self::$code => std::any::type_name::<$ty>(),)*
                }
            }

            fn ty(self) -> Fingerprint {
                match self {
                    $(Self::$code => <$ty>::TYPE,)*
                }
            }
        }
    };
}

typecodes! {
    'b' I8 i8,
    'B' U8 u8,
    'h' I16 i16,
    'H' U16 u16,
    'i' Int i32,
    'I' UnsignedInt u32,
    'l' Long Long,
    'L' UnsignedLong UnsignedLong,
    'q' I64 i64,
    'Q' U64 u64,
    'f' F32 f32,
    'd' F64 f64,
    'u' WideChar char,
    'w' Char char,
    'c' Byte u8,
}

impl Typecode {
    /// Whether it is `T`.
    pub fn is<T: Plain>(self) -> bool {
        self.ty() == T::TYPE
    }
}

impl TryFrom<char> for Typecode {
    type Error = Error;

    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] when no type has that letter.
    fn try_from(letter: char) -> Result<Self, Error> {
        let known = Self::ALL.into_iter().find(|code| code.letter() == letter);
        let unknown = || Error::new(ErrorKind::InvalidInput, format!("`{letter}` is no typecode"));
        known.ok_or_else(unknown)
    }
}

impl fmt::Display for Typecode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.letter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_name_types() {
        let letters: String = Typecode::ALL.iter().map(Typecode::to_string).collect();
        assert_eq!(letters, "bBhHiIlLqQfduwc");
        for code in Typecode::ALL {
            assert_eq!(Typecode::try_from(code.letter()).unwrap(), code);
        }
        // What CPython says on 64-bit Linux: `array.array(code).itemsize`, `ctypes.sizeof`.
        assert_eq!(
            Typecode::ALL.map(Typecode::size),
            [1, 1, 2, 2, 4, 4, 8, 8, 8, 8, 4, 8, 4, 4, 1]
        );
        assert!(
            Typecode::Long.is::<i64>() && Typecode::Byte.is::<u8>() && !Typecode::Int.is::<u32>()
        );
        let error = Typecode::try_from('?').unwrap_err();
        assert_eq!(error.to_string(), "`?` is no typecode");
    }
}
