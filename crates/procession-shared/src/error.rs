//! What can go wrong with memory that is shared, by kind.

use procession_core::{Error, ErrorKind};
use procession_sys::{OsCode, OsError};

/// What the system refused, with a kind that says more than that it did.
pub(crate) fn refused(error: OsError) -> Error {
    let kind = match error.code() {
        OsCode::EXISTS => ErrorKind::AlreadyExists,
        OsCode::NOT_FOUND => ErrorKind::NotFound,
        OsCode::NO_MEMORY | OsCode::NO_SPACE => ErrorKind::OutOfMemory,
        OsCode::INVALID => ErrorKind::InvalidInput,
        _ => ErrorKind::Os,
    };
    Error::from(error).with_kind(kind)
}

/// `len` bytes from `at` on are not all inside.
#[cold]
pub(crate) fn out_of_range(at: usize, len: usize, of: usize) -> Error {
    Error::new(ErrorKind::InvalidInput, format!("{len} bytes at {at} of {of} are out of range"))
}

/// The block may be read only.
#[cold]
pub(crate) fn read_only() -> Error {
    Error::new(ErrorKind::Unsupported, "another process keeps the writing of this block to itself")
}

/// Somebody cut off the file of a named block.
#[cold]
pub(crate) fn torn(name: &str) -> Error {
    let text = format!("somebody cut off the shared memory {name:?}: some of it is not there");
    Error::new(ErrorKind::Torn, text)
}
