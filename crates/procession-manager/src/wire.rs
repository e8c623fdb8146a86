//! What a client and the server say to each other: frames, and what is in them.
//!
//! A frame is one message of a connection. A request is `call u64, object u64, operation u8`, then arguments; call zero wants no answer.
//! An answer is `call u64, status u8`, then what the operation tells. Numbers are little-endian and of fixed width; bytes stand behind
//! their length in 32 bits. All of it may come from anybody: whatever is not whole is a [`Decode`](ErrorKind::Decode) error.

use std::time::Duration;

use procession_core::{Deadline, Error, ErrorKind, Result};

/// What a connection begins with, and which of these pages both sides follow.
pub(crate) const MAGIC: &[u8; 8] = b"PRMANG01";

/// The length of what stands in front of a request's arguments.
pub(crate) const REQUEST_HEAD: usize = 17;
/// The length of what stands in front of what an answer tells.
pub(crate) const ANSWER_HEAD: usize = 9;

/// What an answer is.
pub(crate) mod status {
    /// It was done.
    pub(crate) const DONE: u8 = 0;
    /// An error follows.
    pub(crate) const FAILED: u8 = 1;
    /// The time was up.
    pub(crate) const TIMED_OUT: u8 = 2;
    /// It was done, and whoever held the object before died over it.
    pub(crate) const OWNER_DIED: u8 = 3;
    /// The queue was closed.
    pub(crate) const CLOSED: u8 = 4;
    /// The barrier is broken.
    pub(crate) const BROKEN: u8 = 5;
    /// All have come to the barrier, and this one acts before they go on.
    pub(crate) const ACT: u8 = 6;
}

/// What is asked for.
pub(crate) mod op {
    // Of the server; the object is zero, or what it is about.
    pub(crate) const CREATE: u8 = 1;
    pub(crate) const RELEASE: u8 = 2;
    pub(crate) const LEASE: u8 = 3;
    pub(crate) const CLAIM: u8 = 4;
    pub(crate) const PUBLISH: u8 = 5;
    pub(crate) const FIND: u8 = 6;
    pub(crate) const COUNT: u8 = 7;
    pub(crate) const INFO: u8 = 8;
    pub(crate) const SHUT_DOWN: u8 = 9;
    pub(crate) const BATCH: u8 = 10;

    // Of several kinds of objects.
    pub(crate) const LEN: u8 = 32;
    pub(crate) const CLEAR: u8 = 33;
    pub(crate) const GET: u8 = 34;
    pub(crate) const SET: u8 = 35;
    pub(crate) const REMOVE: u8 = 36;
    pub(crate) const COMPARE: u8 = 37;
    pub(crate) const ADD: u8 = 38;
    pub(crate) const PAGE: u8 = 39;
    pub(crate) const EXTEND: u8 = 40;
    pub(crate) const CONTAINS: u8 = 41;
    pub(crate) const POP: u8 = 42;

    // Of maps.
    pub(crate) const INSERT: u8 = 48;
    pub(crate) const GET_OR_INSERT: u8 = 49;

    // Of lists.
    pub(crate) const PUSH: u8 = 64;
    pub(crate) const SQUEEZE_IN: u8 = 65;
    pub(crate) const REVERSE: u8 = 66;
    pub(crate) const COUNT_EQUAL: u8 = 67;
    pub(crate) const FIND_EQUAL: u8 = 68;
    pub(crate) const VERSION: u8 = 69;
    pub(crate) const REPLACE: u8 = 70;

    // Of what is waited for.
    pub(crate) const ACQUIRE: u8 = 80;
    pub(crate) const GIVE_BACK: u8 = 81;
    pub(crate) const REPAIR: u8 = 82;
    pub(crate) const LOOK: u8 = 83;
    pub(crate) const WAIT: u8 = 84;
    pub(crate) const NOTIFY: u8 = 85;
    pub(crate) const NEW_CONDITION: u8 = 86;
    pub(crate) const RESET: u8 = 87;
    pub(crate) const ABORT: u8 = 88;
    pub(crate) const ACTED: u8 = 89;

    // Of queues.
    pub(crate) const PUT: u8 = 96;
    pub(crate) const TAKE: u8 = 97;
    pub(crate) const LEASE_ITEM: u8 = 98;
    pub(crate) const ITEM_DONE: u8 = 99;
    pub(crate) const ITEM_BACK: u8 = 100;
    pub(crate) const TASK_DONE: u8 = 101;
    pub(crate) const JOIN: u8 = 102;
    pub(crate) const CLOSE: u8 = 103;

    // Of users' types.
    pub(crate) const CALL: u8 = 112;
}

/// What kinds of objects there are.
pub(crate) mod kind {
    pub(crate) const MAP: u8 = 1;
    pub(crate) const LIST: u8 = 2;
    pub(crate) const LOCK: u8 = 3;
    pub(crate) const SEMAPHORE: u8 = 4;
    pub(crate) const EVENT: u8 = 5;
    pub(crate) const BARRIER: u8 = 6;
    pub(crate) const QUEUE: u8 = 7;
    pub(crate) const SHARED: u8 = 8;
}

/// A wait without end.
const FOREVER: u64 = u64::MAX;

/// A value as it travels: its bytes, and the objects of the server that it mentions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RawItem<'a> {
    pub(crate) bytes: &'a [u8],
    mentions: &'a [u8],
}

impl<'a> RawItem<'a> {
    /// One that mentions nothing.
    pub(crate) fn plain(bytes: &'a [u8]) -> Self {
        Self { bytes, mentions: &[] }
    }

    /// The objects that it mentions, one as often as it does.
    pub(crate) fn mentions(self) -> impl ExactSizeIterator<Item = u64> + 'a {
        self.mentions.as_chunks().0.iter().map(|number| u64::from_le_bytes(*number))
    }
}

/// Reads what has come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or_else(not_whole)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or_else(not_whole)?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn flag(&mut self) -> Result<bool> {
        self.u8().map(|byte| byte != 0)
    }

    pub(crate) fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn i64(&mut self) -> Result<i64> {
        self.array().map(i64::from_le_bytes)
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8]> {
        let len = self.u32()?;
        self.take(len as usize)
    }

    pub(crate) fn text(&mut self) -> Result<&'a str> {
        std::str::from_utf8(self.bytes()?).map_err(|error| not_whole().caused_by(&error))
    }

    pub(crate) fn item(&mut self) -> Result<RawItem<'a>> {
        let (len, count) = (self.u32()? as usize, self.u32()? as usize);
        let bytes = self.take(len)?;
        let mentions = self.take(count.checked_mul(8).ok_or_else(not_whole)?)?;
        Ok(RawItem { bytes, mentions })
    }

    /// An item, if there is one.
    pub(crate) fn maybe_item(&mut self) -> Result<Option<RawItem<'a>>> {
        match self.flag()? {
            true => self.item().map(Some),
            false => Ok(None),
        }
    }

    /// Until when to wait.
    pub(crate) fn deadline(&mut self) -> Result<Deadline> {
        Ok(match self.u64()? {
            FOREVER => Deadline::NEVER,
            nanos => Deadline::after(Duration::from_nanos(nanos)),
        })
    }

    /// That this was all.
    pub(crate) fn end(self) -> Result<()> {
        if self.0.is_empty() { Ok(()) } else { Err(not_whole()) }
    }
}

/// Writes what goes out.
pub(crate) trait Write {
    fn put_u8(&mut self, value: u8);
    fn put_u32(&mut self, value: u32);
    fn put_u64(&mut self, value: u64);
    fn put_i64(&mut self, value: i64);
    fn put_bytes(&mut self, bytes: &[u8]) -> Result<()>;
    fn put_item(&mut self, bytes: &[u8], mentions: &[u64]) -> Result<()>;
    fn put_deadline(&mut self, deadline: Deadline);
}

impl Write for Vec<u8> {
    fn put_u8(&mut self, value: u8) {
        self.push(value);
    }

    fn put_u32(&mut self, value: u32) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    fn put_u64(&mut self, value: u64) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    fn put_i64(&mut self, value: i64) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    fn put_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.put_u32(length(bytes.len())?);
        self.extend_from_slice(bytes);
        Ok(())
    }

    fn put_item(&mut self, bytes: &[u8], mentions: &[u64]) -> Result<()> {
        self.put_u32(length(bytes.len())?);
        self.put_u32(length(mentions.len())?);
        self.extend_from_slice(bytes);
        for mentioned in mentions {
            self.put_u64(*mentioned);
        }
        Ok(())
    }

    fn put_deadline(&mut self, deadline: Deadline) {
        let nanos = |left: Duration| u64::try_from(left.as_nanos()).unwrap_or(FOREVER);
        self.put_u64(deadline.remaining().map_or(FOREVER, nanos));
    }
}

/// A length, in the 32 bits that it has in a frame.
pub(crate) fn length(len: usize) -> Result<u32> {
    u32::try_from(len).map_err(|_too_long| {
        Error::new(ErrorKind::TooLarge, format!("{len} bytes are more than a manager keeps as one"))
    })
}

#[cold]
pub(crate) fn not_whole() -> Error {
    Error::new(ErrorKind::Decode, "not what a manager and its clients say to each other")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut out = Vec::new();
        out.put_u8(1);
        out.put_u32(7);
        out.put_u64(u64::MAX);
        out.put_i64(-3);
        out.put_bytes(b"text").unwrap();
        out.put_item(b"value", &[4, 5]).unwrap();
        out.put_deadline(Deadline::NEVER);
        out.put_deadline(Deadline::PAST);
        let mut reader = Reader(&out);
        assert!(reader.flag().unwrap());
        assert_eq!((reader.u32().unwrap(), reader.u64().unwrap()), (7, u64::MAX));
        assert_eq!((reader.i64().unwrap(), reader.text().unwrap()), (-3, "text"));
        let item = reader.item().unwrap();
        assert_eq!((item.bytes, item.mentions().collect::<Vec<_>>()), (&b"value"[..], vec![4, 5]));
        assert_eq!(reader.deadline().unwrap(), Deadline::NEVER);
        assert!(reader.deadline().unwrap().has_passed());
        reader.end().unwrap();
    }

    #[test]
    fn what_is_cut_anywhere_is_an_error() {
        let mut out = Vec::new();
        out.put_item(b"value", &[4, 5]).unwrap();
        for len in 0..out.len() {
            assert_eq!(Reader(&out[..len]).item().unwrap_err().kind(), ErrorKind::Decode);
        }
        assert_eq!(Reader(&[255; 8]).item().unwrap_err().kind(), ErrorKind::Decode);
        assert_eq!(Reader(&out).end().unwrap_err().kind(), ErrorKind::Decode);
    }
}
