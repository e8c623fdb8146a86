//! Messages in a stream of bytes: what stands before each.
//!
//! A frame is CPython's (`Lib/multiprocessing/connection.py`, `_send_bytes`): the length as a signed 32-bit number, or -1 and the
//! length as an unsigned 64-bit number, both big-endian; then that many bytes.

use procession_core::{Error, ErrorKind, Result};

/// The longest message that a pipe or a connection carries, in bytes: 1 TiB.
///
/// Memory for a message is taken as its bytes arrive, not when they are announced.
pub const MAX_MESSAGE_BYTES: u64 = 1 << 40;

const LONG: i32 = -1;

/// The head of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    bytes: [u8; 12],
    len: usize,
}

impl Head {
    /// For a message of so many bytes.
    pub(crate) fn new(message: usize) -> Result<Self> {
        let message = message as u64;
        if message > MAX_MESSAGE_BYTES {
            return Err(too_large(message));
        }
        let mut bytes = [0; 12];
        let len = match i32::try_from(message) {
            Ok(short) => {
                bytes[..4].copy_from_slice(&short.to_be_bytes());
                4
            }
            Err(_long) => {
                bytes[..4].copy_from_slice(&LONG.to_be_bytes());
                bytes[4..].copy_from_slice(&message.to_be_bytes());
                12
            }
        };
        Ok(Self { bytes, len })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// What a frame announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Announced {
    /// How many bytes the head has.
    pub(crate) head: usize,
    /// How many bytes the message has.
    pub(crate) message: usize,
}

/// Reads the head that `bytes` begin with; `None` while it is not whole.
pub(crate) fn parse(bytes: &[u8]) -> Result<Option<Announced>> {
    let Some((short, rest)) = bytes.split_first_chunk::<4>() else { return Ok(None) };
    let (head, message) = match i32::from_be_bytes(*short) {
        LONG => match rest.first_chunk::<8>() {
            Some(long) => (12, u64::from_be_bytes(*long)),
            None => return Ok(None),
        },
        short => match u64::try_from(short) {
            Ok(message) => (4, message),
            Err(_negative) => {
                return Err(Error::new(ErrorKind::Decode, "a message of negative length came"));
            }
        },
    };
    let allowed = usize::try_from(message).ok().filter(|_| message <= MAX_MESSAGE_BYTES);
    Ok(Some(Announced { head, message: allowed.ok_or_else(|| too_large(message))? }))
}

fn too_large(message: u64) -> Error {
    let text = format!("a message has {message} bytes, at most {MAX_MESSAGE_BYTES} are possible");
    Error::new(ErrorKind::TooLarge, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_cpythons_and_come_back() {
        let short = Head::new(3).unwrap();
        assert_eq!(short.bytes(), [0, 0, 0, 3]);
        let longest = Head::new(i32::MAX as usize).unwrap();
        assert_eq!(longest.bytes(), [127, 255, 255, 255]);
        let long = Head::new(1 << 31).unwrap();
        assert_eq!(long.bytes(), [255, 255, 255, 255, 0, 0, 0, 0, 128, 0, 0, 0]);
        for (head, message) in [(short, 3), (longest, i32::MAX as usize), (long, 1 << 31)] {
            let whole = Announced { head: head.bytes().len(), message };
            assert_eq!(parse(head.bytes()).unwrap(), Some(whole));
            for cut in 0..head.bytes().len() {
                assert_eq!(parse(&head.bytes()[..cut]).unwrap(), None);
            }
        }
    }

    #[test]
    fn the_long_form_of_a_short_length_is_understood() {
        let bytes = [255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 3, b'x'];
        assert_eq!(parse(&bytes).unwrap(), Some(Announced { head: 12, message: 3 }));
    }

    #[test]
    fn nonsense_is_refused() {
        assert_eq!(parse(&(-2i32).to_be_bytes()).unwrap_err().kind(), ErrorKind::Decode);
        assert_eq!(parse(&i32::MIN.to_be_bytes()).unwrap_err().kind(), ErrorKind::Decode);
        let mut huge = LONG.to_be_bytes().to_vec();
        huge.extend((MAX_MESSAGE_BYTES + 1).to_be_bytes());
        assert_eq!(parse(&huge).unwrap_err().kind(), ErrorKind::TooLarge);
        assert!(Head::new(usize::MAX).is_err());
    }
}
