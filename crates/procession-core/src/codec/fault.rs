//! Why serde stopped.

use std::borrow::Cow;
use std::fmt;

use serde::{de, ser};

/// Why a value could not be encoded or decoded, until the codec makes an error of the type out of it.
///
/// The text lies behind one pointer: nearly every call returns a result with a fault in it, which then fits into registers.
#[derive(Debug)]
pub(super) struct Fault(Box<Cow<'static, str>>);

impl Fault {
    #[cold]
    pub(super) fn because(text: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(text.into()))
    }

    /// There are fewer bytes than what is read takes.
    #[cold]
    pub(super) fn end() -> Self {
        Self::because("the bytes end too early")
    }
}

impl ser::Error for Fault {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self::because(text.to_string())
    }
}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self::because(text.to_string())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Fault {}
