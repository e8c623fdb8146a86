//! The message from a child: what became of its function.
//!
//! One byte says which, the rest is the value. A child sends one report at most, before it ends. When the fork server started
//! it, it introduces itself in front of that, and the server sends how it ended behind it.

use std::os::fd::OwnedFd;

use procession_core::{Error, ErrorKind, Handle, Message, Result};

use crate::status::{ExitStatus, Panic};

/// What stands before a return value.
pub(crate) const VALUE: u8 = 0;
const PANICKED: u8 = 1;
const NOT_STARTED: u8 = 2;
const UNSENDABLE: u8 = 3;
const ENDED: u8 = 4;
const STARTED: u8 = 5;

#[derive(Debug)]
pub(crate) enum Report {
    /// The function returned; the message has one byte before the value.
    Value(Message),
    Panicked(Panic),
    /// The function was not called.
    NotStarted(Error),
    /// The function returned something that cannot be sent.
    Unsendable(Error),
    /// The process is there, and is about to call the function: its number and its pidfd.
    Started(u32, Handle<OwnedFd>),
    /// The process has ended, says the fork server, and had so many bytes of memory at most.
    Ended(ExitStatus, Option<u64>),
}

impl Report {
    pub(crate) fn into_message(self) -> Result<Message> {
        match self {
            Self::Value(message) => Ok(message),
            Self::Panicked(panic) => Message::encode_behind(vec![PANICKED], &panic),
            Self::NotStarted(error) => Message::encode_behind(vec![NOT_STARTED], &error),
            Self::Unsendable(error) => Message::encode_behind(vec![UNSENDABLE], &error),
            Self::Started(pid, pidfd) => Message::encode_behind(vec![STARTED], &(pid, pidfd)),
            Self::Ended(status, peak) => Message::encode_behind(vec![ENDED], &(status, peak)),
        }
    }

    pub(crate) fn from_message(mut message: Message) -> Result<Self> {
        let kind = message.bytes().first().copied();
        if kind == Some(VALUE) {
            return Ok(Self::Value(message));
        }
        let handles = message.take_handles();
        let rest = message.bytes().get(1..).unwrap_or_default();
        Ok(match kind {
            Some(PANICKED) => Self::Panicked(Message::decode_parts(rest, handles)?),
            Some(NOT_STARTED) => Self::NotStarted(Message::decode_parts(rest, handles)?),
            Some(UNSENDABLE) => Self::Unsendable(Message::decode_parts(rest, handles)?),
            Some(ENDED) => {
                let (status, peak) = Message::decode_parts(rest, handles)?;
                Self::Ended(status, peak)
            }
            Some(STARTED) => {
                let (pid, pidfd) = Message::decode_parts(rest, handles)?;
                Self::Started(pid, pidfd)
            }
            _ => return Err(Error::new(ErrorKind::Decode, "a report of an unknown kind")),
        })
    }
}
