//! How much a peer may ask for.

/// The deepest that values may be nested: CPython's own pickler gives up at about twice that. The functions that go into
/// depth are recursive, and need some hundred bytes of stack for each level.
pub(crate) const DEEPEST: usize = 500;

/// How much a peer may ask for.
///
/// What goes beyond is [`TooLarge`](procession_core::ErrorKind::TooLarge), before the memory is taken.
///
/// # Examples
///
/// ```
/// use procession_core::ErrorKind;
/// use procession_python::{Limits, Value};
///
/// let mut limits = Limits::default();
/// limits.depth = 2;
/// let deep = Value::from(vec![Value::from(vec![Value::from(vec![Value::from(vec![])])])]);
/// let read = Value::from_bytes_within(&deep.to_bytes()?, &limits);
/// assert_eq!(read.unwrap_err().kind(), ErrorKind::TooLarge);
/// # Ok::<(), procession_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// How many bytes a message may have. 1 GiB by default. Memory is taken as they arrive, not when they are announced.
    pub message_bytes: u64,
    /// How much memory the value of a message may take while it is read. 8 GiB by default.
    pub memory_bytes: u64,
    /// How much memory may be taken for what a message mentions more than once, and is here as often, beside 64 bytes for each of
    /// its bytes. 64 MiB by default: a few hundred bytes can mean more than there is memory.
    pub copies_bytes: u64,
    /// How deep values may be nested: 500 by default, which is the most.
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes: 1 << 30,
            memory_bytes: 8 << 30,
            copies_bytes: 64 << 20,
            depth: DEEPEST,
        }
    }
}
