//! Messages in a stream of bytes.
//!
//! A frame is CPython's: the length as a signed 32-bit number, or -1 and the length as an unsigned 64-bit number, both
//! big-endian, then that many bytes (`Lib/multiprocessing/connection.py`, `_send_bytes`). In a typed pipe the first of
//! these bytes is the number of descriptors that came with the frame, 255 standing for a 32-bit little-endian number that
//! follows; the rest is the value.

use std::ops::Range;

use procession_core::{Error, ErrorKind, Result};

/// The longest message that a pipe carries, in bytes: 1 TiB.
///
/// Memory for a message is taken as its bytes arrive, not when they are announced.
pub const MAX_MESSAGE_BYTES: u64 = 1 << 40;

const LONG: i32 = -1;
const MANY: u8 = u8::MAX;

/// What stands before the value: the length of the frame and the number of descriptors.
pub(crate) fn head(value_len: usize, handles: usize) -> Result<Vec<u8>> {
    let too_large = || {
        let text = format!("a message of {value_len} bytes and {handles} handles is too large");
        Error::new(ErrorKind::TooLarge, text)
    };
    let mut count = Vec::with_capacity(5);
    match u8::try_from(handles) {
        Ok(few) if few != MANY => count.push(few),
        _ => {
            count.push(MANY);
            let many = u32::try_from(handles).map_err(|_too_many| too_large())?;
            count.extend(many.to_le_bytes());
        }
    }
    let len = (value_len as u64).saturating_add(count.len() as u64);
    if len > MAX_MESSAGE_BYTES {
        return Err(too_large());
    }
    let mut head = Vec::with_capacity(17);
    match i32::try_from(len) {
        Ok(short) => head.extend(short.to_be_bytes()),
        Err(_long) => {
            head.extend(LONG.to_be_bytes());
            head.extend(len.to_be_bytes());
        }
    }
    head.extend(count);
    Ok(head)
}

/// A frame that is whole.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Where the value lies.
    pub(crate) value: Range<usize>,
    /// How many descriptors came with it.
    pub(crate) handles: usize,
    /// How many bytes the frame takes up.
    pub(crate) len: usize,
}

/// How many bytes there must be, of a frame that is not whole.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// To know its length; no frame is whole then.
    Head(usize),
    /// For all of it.
    Body(usize),
}

impl Missing {
    pub(crate) fn until(&self) -> usize {
        match *self {
            Self::Head(until) | Self::Body(until) => until,
        }
    }
}

/// The first frame in `bytes`, or what is missing of it.
pub(crate) fn parse(bytes: &[u8]) -> Result<Result<Frame, Missing>> {
    let Some((short, rest)) = bytes.split_first_chunk::<4>() else {
        return Ok(Err(Missing::Head(4)));
    };
    let (len, body) = match i32::from_be_bytes(*short) {
        LONG => match rest.split_first_chunk::<8>() {
            Some((long, body)) => (u64::from_be_bytes(*long), body),
            None => return Ok(Err(Missing::Head(12))),
        },
        short => match u64::try_from(short) {
            Ok(len) => (len, rest),
            Err(_negative) => return Err(broken("a frame of negative length")),
        },
    };
    let announced = usize::try_from(len).ok().filter(|_| len <= MAX_MESSAGE_BYTES);
    let Some(announced) = announced else {
        let text = format!("a message of {len} bytes was announced");
        return Err(Error::new(ErrorKind::TooLarge, text));
    };
    if announced == 0 {
        return Err(broken("a frame without a count of handles"));
    }
    let head = bytes.len() - body.len();
    let len = head + announced;
    let Some(body) = body.get(..announced) else { return Ok(Err(Missing::Body(len))) };
    let (count_len, handles) = match body.split_first() {
        Some((&MANY, rest)) => match rest.split_first_chunk::<4>() {
            Some((many, _value)) => (5, u32::from_le_bytes(*many) as usize),
            None => return Err(broken("a frame without a count of handles")),
        },
        Some((&few, _value)) => (1, few.into()),
        None => return Err(broken("a frame without a count of handles")),
    };
    Ok(Ok(Frame { value: head + count_len..len, handles, len }))
}

fn broken(what: &'static str) -> Error {
    Error::new(ErrorKind::Decode, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(value: &[u8], handles: usize) -> Vec<u8> {
        let mut bytes = head(value.len(), handles).unwrap();
        bytes.extend(value);
        bytes
    }

    #[test]
    fn frames_come_back_whole_and_prefixes_ask_for_more() {
        for (value, handles) in [(&b""[..], 0), (b"x", 1), (b"hello", 254), (b"hello", 255)] {
            let mut bytes = frame(value, handles);
            let len = bytes.len();
            for cut in 0..len {
                let wanted = parse(&bytes[..cut]).unwrap().unwrap_err();
                match wanted {
                    Missing::Head(until) => assert!(until > cut && until < len),
                    Missing::Body(until) => assert_eq!(until, len, "with {cut}"),
                }
            }
            bytes.extend(b"next");
            let found = parse(&bytes).unwrap().unwrap();
            assert_eq!(&bytes[found.value.clone()], value);
            assert_eq!(found, Frame { value: len - value.len()..len, handles, len });
        }
    }

    #[test]
    fn short_and_long_lengths_are_cpythons() {
        assert_eq!(head(2, 0).unwrap(), [0, 0, 0, 3, 0]);
        let long = head(i32::MAX as usize, 0).unwrap();
        assert_eq!(long, [255, 255, 255, 255, 0, 0, 0, 0, 128, 0, 0, 0, 0]);
        assert_eq!(parse(&long).unwrap().unwrap_err(), Missing::Body(12 + (1 << 31)));
    }

    #[test]
    fn nonsense_is_refused_before_memory_is_taken() {
        assert_eq!(parse(&(-2i32).to_be_bytes()).unwrap_err().kind(), ErrorKind::Decode);
        assert_eq!(parse(&[0, 0, 0, 0]).unwrap_err().kind(), ErrorKind::Decode);
        assert_eq!(parse(&[0, 0, 0, 2, MANY, 0]).unwrap_err().kind(), ErrorKind::Decode);
        let mut huge = LONG.to_be_bytes().to_vec();
        huge.extend(u64::MAX.to_be_bytes());
        assert_eq!(parse(&huge).unwrap_err().kind(), ErrorKind::TooLarge);
        assert!(head(usize::MAX, 0).is_err());
    }
}
