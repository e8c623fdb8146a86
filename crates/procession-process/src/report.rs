//! The message from a child: what became of its function.
//!
//! One byte says which, the rest is the value. A child sends one report at most, before it ends.

use procession_core::{Error, ErrorKind, Message, Result};

use crate::status::Panic;

/// What stands before a return value.
pub(crate) const VALUE: u8 = 0;
const PANICKED: u8 = 1;
const NOT_STARTED: u8 = 2;
const UNSENDABLE: u8 = 3;

#[derive(Debug)]
pub(crate) enum Report {
    /// The function returned; the message has one byte before the value.
    Value(Message),
    Panicked(Panic),
    /// The function was not called.
    NotStarted(Error),
    /// The function returned something that cannot be sent.
    Unsendable(Error),
}

impl Report {
    pub(crate) fn into_message(self) -> Result<Message> {
        match self {
            Self::Value(message) => Ok(message),
            Self::Panicked(panic) => Message::encode_behind(vec![PANICKED], &panic),
            Self::NotStarted(error) => Message::encode_behind(vec![NOT_STARTED], &error),
            Self::Unsendable(error) => Message::encode_behind(vec![UNSENDABLE], &error),
        }
    }

    pub(crate) fn from_message(message: Message) -> Result<Self> {
        let Some((&kind, rest)) = message.bytes().split_first() else {
            return Err(Error::new(ErrorKind::Decode, "an empty report"));
        };
        Ok(match kind {
            VALUE => Self::Value(message),
            PANICKED => Self::Panicked(Message::decode_parts(rest, Vec::new())?),
            NOT_STARTED => Self::NotStarted(Message::decode_parts(rest, Vec::new())?),
            UNSENDABLE => Self::Unsendable(Message::decode_parts(rest, Vec::new())?),
            _ => return Err(Error::new(ErrorKind::Decode, "a report of an unknown kind")),
        })
    }
}
