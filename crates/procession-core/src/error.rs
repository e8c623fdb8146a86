//! The one error of the workspace: opaque, one pointer wide, and a serde value.

use std::borrow::Cow;
use std::fmt;

use procession_sys::{OsCode, OsError};
use serde::{Deserialize, Serialize};

/// The result of everything here that the world can refuse.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Something that went wrong: what was attempted, of which [kind](Error::kind) the failure is, and what caused it.
///
/// # Design
///
/// Opaque, because what callers branch on is the kind; where an operation has outcomes of its own that callers tell
/// apart (nothing there yet, the worker died, ..) it has a small enum of its own, which converts into this with `?`.
///
/// An error is a serde value: a function that runs in another process may return it. What arrives there is the same
/// error, with the causes as text.
#[derive(Clone, Serialize, Deserialize)]
pub struct Error(Box<Repr>);

#[derive(Clone, Serialize, Deserialize)]
struct Repr {
    kind: ErrorKind,
    message: Cow<'static, str>,
    os_code: Option<i32>,
    source: Option<Error>,
}

/// What kind of failure an [`Error`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The operating system refused; see [`Error::os_code`].
    Os,
    /// The other end is gone, or was closed.
    Closed,
    /// The other end died in the middle of a message.
    Torn,
    /// The deadline passed first.
    TimedOut,
    /// A value cannot be written as a message.
    Encode,
    /// A message is not what the receiver expects.
    Decode,
    /// A message is larger than a limit.
    TooLarge,
    /// `procession::init()` has not run in this process.
    NotInitialized,
    /// The program at the other end is another build than this one.
    BuildMismatch,
    /// A function panicked in another process.
    Panicked,
    /// A process ended before it had given its answer.
    Died,
    /// The value was handed out before, and holds handles that exist once.
    Taken,
    /// The object is out of order for good: its workers could not be started, say.
    Broken,
    /// An argument makes no sense.
    InvalidInput,
    /// Not possible here.
    Unsupported,
    /// An error of somebody else's.
    Other,
}

impl Error {
    /// An error of the given kind; `message` says what was attempted and what stood in the way, in lower case.
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Repr { kind, message: message.into(), os_code: None, source: None }))
    }

    /// The same error, caused by `source`. The causes of `source` come along as text.
    #[must_use]
    pub fn caused_by(mut self, source: &(dyn std::error::Error + 'static)) -> Self {
        self.0.source = Some(match source.downcast_ref::<Self>() {
            Some(error) => error.clone(),
            None => Self::from_foreign(source),
        });
        self
    }

    /// An error of somebody else's, with its causes, as text.
    pub fn from_foreign(error: &(dyn std::error::Error + 'static)) -> Self {
        let this = Self::new(ErrorKind::Other, error.to_string());
        match error.source() {
            Some(source) => this.caused_by(source),
            None => this,
        }
    }

    /// Which kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The operating system's code, when it was the one to refuse.
    pub fn os_code(&self) -> Option<OsCode> {
        self.0.os_code.map(OsCode::from_raw)
    }
}

impl From<OsError> for Error {
    /// [`ErrorKind::Closed`] when the other end of a connection is gone, [`ErrorKind::Os`] otherwise.
    fn from(error: OsError) -> Self {
        let kind = match error.code() {
            OsCode::BROKEN_PIPE | OsCode::CONNECTION_RESET => ErrorKind::Closed,
            OsCode::TIMED_OUT => ErrorKind::TimedOut,
            _ => ErrorKind::Os,
        };
        let mut this = Self::new(kind, error.to_string());
        this.0.os_code = Some(error.code().raw());
        this
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        let mut this = Self::from_foreign(&error);
        this.0.os_code = error.raw_os_error();
        if this.0.os_code.is_some() {
            this.0.kind = ErrorKind::Os;
        }
        this
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    /// The kind, the message and the causes: what a program prints that returns the error from `main`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.0.kind, self.0.message)?;
        match &self.0.source {
            Some(source) => write!(f, ", because {source:?}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Message;

    #[test]
    fn is_one_pointer_wide_and_goes_everywhere() {
        fn goes_everywhere<T: std::error::Error + Send + Sync + 'static>() {}
        goes_everywhere::<Error>();
        assert_eq!(size_of::<Error>(), size_of::<usize>());
        assert_eq!(size_of::<Option<Error>>(), size_of::<usize>());
    }

    #[test]
    fn travels_with_kind_code_and_causes() {
        let os = Error::from(OsError::new("open", "/nowhere", OsCode::from_raw(2)));
        let sent = Error::new(ErrorKind::Died, "worker 7 is gone").caused_by(&os);
        let got: Error = Message::encode(&sent).unwrap().decode().unwrap();
        assert_eq!(got.kind(), ErrorKind::Died);
        assert_eq!(got.to_string(), "worker 7 is gone");
        let cause = std::error::Error::source(&got).unwrap().downcast_ref::<Error>().unwrap();
        assert_eq!(cause.kind(), ErrorKind::Os);
        assert_eq!(cause.os_code(), Some(OsCode::from_raw(2)));
        assert!(cause.to_string().starts_with("could not open /nowhere"));
    }

    #[test]
    fn foreign_errors_keep_their_causes() {
        let parse = "x".parse::<u8>().unwrap_err();
        let foreign = std::io::Error::other(parse);
        let error = Error::from(foreign);
        assert_eq!(error.kind(), ErrorKind::Other);
        assert_eq!(error.to_string(), "invalid digit found in string");
    }
}
