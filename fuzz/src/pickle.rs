//! Pickles of CPython's: any bytes are a value or an error, at a bounded price; and a value that was read is written and read again as it was.

use procession::ErrorKind;
use procession::python::{Limits, Value, from_value, to_value};
use serde::de::IgnoredAny;

use super::memory;

/// What may be taken for a value.
const MEMORY: u64 = 4 << 20;
/// And for copies in it, besides so much for each byte.
const COPIES: u64 = 64 << 10;

/// Runs one input.
///
/// # Panics
///
/// When a property does not hold.
pub fn run(data: &[u8]) {
    let mut limits = Limits::default();
    (limits.memory_bytes, limits.copies_bytes) = (MEMORY, COPIES);
    let (read, peak) = memory::peak(|| Value::from_bytes_within(data, &limits));
    // Vectors double.
    let most = 2 * usize::try_from(MEMORY).unwrap() + 16 * data.len() + 4096;
    assert!(peak <= most, "{peak} bytes were taken for {} bytes", data.len());
    let value = match read {
        Ok(value) => value,
        Err(error) => {
            let expected = [ErrorKind::Decode, ErrorKind::TooLarge, ErrorKind::Unsupported];
            assert!(expected.contains(&error.kind()), "{error}");
            return;
        }
    };
    // It is for people, and short whatever comes.
    assert!(value.to_string().len() < 8 << 20);
    from_value::<IgnoredAny>(value.clone()).unwrap();
    let pickle = match value.to_bytes() {
        Ok(pickle) => pickle,
        // A name with a line break, which protocol 4 can say and 3 cannot.
        Err(error) => return assert_eq!(error.kind(), ErrorKind::Encode),
    };
    let mut free = Limits::default();
    free.copies_bytes = u64::MAX;
    let again = Value::from_bytes_within(&pickle, &free).unwrap();
    // Not by `==`: there are numbers that do not equal themselves.
    assert_eq!(again.to_bytes().unwrap(), pickle, "{value} is read as {again}");
    let through = to_value(&value).unwrap();
    assert_eq!(through.to_bytes().unwrap(), pickle);
}
