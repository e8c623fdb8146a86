//! The error that serde's traits want, around ours.

use std::fmt;

use procession_core::{Error, ErrorKind};
use serde::{de, ser};

#[derive(Debug)]
pub(crate) struct Fault(pub(crate) Error);

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Fault {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl ser::Error for Fault {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self(Error::new(ErrorKind::Encode, text.to_string()))
    }
}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self(Error::new(ErrorKind::Decode, text.to_string()))
    }
}
