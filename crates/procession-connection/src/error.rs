//! Why a receiver that does not wait for ever came back without a message.

use std::fmt;

use procession_core::{Error, ErrorKind};

/// Why [`try_recv`](crate::Receiver::try_recv) brought no message.
#[derive(Debug)]
pub enum TryRecvError {
    /// No message is there yet.
    Empty,
    /// The other end is gone, and all it sent was received.
    Closed,
    /// A message came that could not be received.
    Failed(Error),
}

/// Why [`recv_timeout`](crate::Receiver::recv_timeout) brought no message.
#[derive(Debug)]
pub enum RecvTimeoutError {
    /// No message came in time; none was lost.
    Timeout,
    /// The other end is gone, and all it sent was received.
    Closed,
    /// A message came that could not be received.
    Failed(Error),
}

/// Why [`try_send`](crate::Sender::try_send) did not send.
#[derive(Debug)]
pub enum TrySendError<T> {
    /// There is no room for this message yet.
    Full(T),
    /// It cannot be sent; see [`send`](crate::Sender::send) for the reasons.
    Failed(Error),
}

/// Why [`send_timeout`](crate::Sender::send_timeout) did not send.
#[derive(Debug)]
pub enum SendTimeoutError<T> {
    /// There was no room for this message in time.
    Timeout(T),
    /// A part of the message has gone, over a socket; do not send it again. The rest goes before whatever is sent next, or with
    /// [`flush`](crate::Connection::flush).
    Unfinished,
    /// It cannot be sent; see [`send`](crate::Sender::send) for the reasons.
    Failed(Error),
}

impl<T> fmt::Display for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(_) => f.write_str("there is no room in the pipe yet"),
            Self::Failed(error) => write!(f, "a message could not be sent: {error}"),
        }
    }
}

impl<T> fmt::Display for SendTimeoutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout(_) => f.write_str("there was no room in the pipe in time"),
            Self::Unfinished => f.write_str("a part of the message has not gone in time"),
            Self::Failed(error) => write!(f, "a message could not be sent: {error}"),
        }
    }
}

impl<T: fmt::Debug> std::error::Error for TrySendError<T> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Failed(error) => Some(error),
            Self::Full(_) => None,
        }
    }
}

impl<T: fmt::Debug> std::error::Error for SendTimeoutError<T> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Failed(error) => Some(error),
            Self::Timeout(_) | Self::Unfinished => None,
        }
    }
}

impl<T> From<TrySendError<T>> for Error {
    fn from(error: TrySendError<T>) -> Self {
        match error {
            TrySendError::Failed(error) => error,
            TrySendError::Full(_) => Self::new(ErrorKind::TimedOut, error.to_string()),
        }
    }
}

impl<T> From<SendTimeoutError<T>> for Error {
    fn from(error: SendTimeoutError<T>) -> Self {
        match error {
            SendTimeoutError::Failed(error) => error,
            SendTimeoutError::Timeout(_) | SendTimeoutError::Unfinished => {
                Self::new(ErrorKind::TimedOut, error.to_string())
            }
        }
    }
}

impl fmt::Display for TryRecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("no message is there yet"),
            Self::Closed => f.write_str(CLOSED),
            Self::Failed(error) => write!(f, "a message could not be received: {error}"),
        }
    }
}

impl fmt::Display for RecvTimeoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout => f.write_str("no message came in time"),
            Self::Closed => f.write_str(CLOSED),
            Self::Failed(error) => write!(f, "a message could not be received: {error}"),
        }
    }
}

impl std::error::Error for TryRecvError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Failed(error) => Some(error),
            _ => None,
        }
    }
}

impl std::error::Error for RecvTimeoutError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Failed(error) => Some(error),
            _ => None,
        }
    }
}

impl From<TryRecvError> for Error {
    fn from(error: TryRecvError) -> Self {
        match error {
            TryRecvError::Failed(error) => error,
            TryRecvError::Empty => Self::new(ErrorKind::TimedOut, error.to_string()),
            TryRecvError::Closed => closed(),
        }
    }
}

impl From<RecvTimeoutError> for Error {
    fn from(error: RecvTimeoutError) -> Self {
        match error {
            RecvTimeoutError::Failed(error) => error,
            RecvTimeoutError::Timeout => Self::new(ErrorKind::TimedOut, error.to_string()),
            RecvTimeoutError::Closed => closed(),
        }
    }
}

/// Why [`recv_bytes_into`](crate::Connection::recv_bytes_into) did not receive into the buffer.
#[derive(Debug)]
#[doc(alias = "BufferTooShort")]
pub enum RecvIntoError {
    /// The buffer was shorter than the message, which is this.
    TooShort(Vec<u8>),
    /// No message came in time; none was lost.
    Timeout,
    /// The other side is gone, and all it sent was received.
    Closed,
    /// A message came that could not be received.
    Failed(Error),
}

impl fmt::Display for RecvIntoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooShort(message) => {
                write!(f, "the buffer is too short for a message of {} bytes", message.len())
            }
            Self::Timeout => f.write_str("no message came in time"),
            Self::Closed => f.write_str(CLOSED),
            Self::Failed(error) => write!(f, "a message could not be received: {error}"),
        }
    }
}

impl std::error::Error for RecvIntoError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Failed(error) => Some(error),
            _ => None,
        }
    }
}

impl From<Error> for RecvIntoError {
    fn from(error: Error) -> Self {
        match error.kind() {
            ErrorKind::Closed => Self::Closed,
            _ => Self::Failed(error),
        }
    }
}

impl From<RecvIntoError> for Error {
    fn from(error: RecvIntoError) -> Self {
        match error {
            RecvIntoError::Failed(error) => error,
            RecvIntoError::TooShort(_) => Self::new(ErrorKind::TooLarge, error.to_string()),
            RecvIntoError::Timeout => Self::new(ErrorKind::TimedOut, error.to_string()),
            RecvIntoError::Closed => closed(),
        }
    }
}

const CLOSED: &str = "the other end of the pipe is gone";

pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Closed, CLOSED)
}

/// What is said of an end that another process has by now.
pub(crate) fn moved() -> Error {
    Error::new(ErrorKind::Taken, "this end of the pipe went to another process")
}
