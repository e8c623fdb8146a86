//! Why a call did not return a value.

use std::fmt;

use procession_core::{Error, ErrorKind};

use crate::value::Exception;

/// Why a call of a method in a manager did not return a value.
#[derive(Debug, Clone)]
pub enum CallError {
    /// The method has raised this exception. CPython's managers send no traceback along.
    Raised(Box<Exception>),
    /// The manager could not make the call, or could not send what came of it: its own traceback. There is no such method, the object
    /// is gone, or the value cannot be pickled.
    Refused(String),
    /// The call did not get through, or its answer did not come, or is of another type.
    Failed(Error),
}

impl CallError {
    /// The exception that the method has raised, if that is what happened.
    pub fn raised(&self) -> Option<&Exception> {
        match self {
            Self::Raised(exception) => Some(exception),
            _ => None,
        }
    }

    /// Whether an exception of this class was raised, wherever the class is: `queue.Empty` is `_queue.Empty` in some releases.
    pub fn is(&self, class: &str) -> bool {
        self.raised().is_some_and(|exception| exception.is(class))
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Raised(exception) => write!(f, "the manager raised {exception}"),
            Self::Refused(traceback) => {
                // The last line says what it was.
                let last = traceback.trim_end().lines().last().unwrap_or_default();
                write!(f, "the manager refused a call: {last}")
            }
            Self::Failed(error) => write!(f, "a call to the manager failed: {error}"),
        }
    }
}

impl std::error::Error for CallError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Raised(exception) => Some(exception),
            Self::Refused(_) => None,
            Self::Failed(error) => Some(error),
        }
    }
}

impl From<Error> for CallError {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<CallError> for Error {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Failed(error) => error,
            CallError::Raised(_) => Self::new(ErrorKind::Other, error.to_string()),
            CallError::Refused(ref traceback) => {
                let whole = Self::new(ErrorKind::Other, traceback.clone());
                Self::new(ErrorKind::Other, error.to_string()).caused_by(&whole)
            }
        }
    }
}
