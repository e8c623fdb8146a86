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

const CLOSED: &str = "the other end of the pipe is gone";

pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Closed, CLOSED)
}
