//! Random bytes.

use rustix::rand::{GetRandomFlags, getrandom};

use super::call;
use crate::Result;

/// Fills `bytes` with random ones, good enough for keys.
///
/// # Errors
///
/// When the system has none.
///
/// # Source
///
/// `getrandom(2)`.
pub fn fill(bytes: &mut [u8]) -> Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let fill = || getrandom(&mut *rest, GetRandomFlags::empty());
        let filled = call("get random bytes", String::new, fill)?;
        rest = rest.get_mut(filled..).unwrap_or_default();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_bytes_differ() {
        let (mut first, mut second) = ([0; 32], [0; 32]);
        fill(&mut first).unwrap();
        fill(&mut second).unwrap();
        assert_ne!(first, second);
    }
}
