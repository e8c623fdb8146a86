//! The one error of the workspace: opaque, one pointer wide, and a serde value.

use std::borrow::Cow;
use std::fmt;

use procession_sys::{OsCode, OsError};
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The most causes that an error keeps. Deeper ones are cut off, and the last one kept says so.
///
/// So whatever walks along the causes, by recursion or not, ends soon, wherever the error came from.
const MOST_CAUSES: usize = 64;

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
/// error, with the causes as text. At most 64 causes are kept.
#[derive(Clone)]
pub struct Error(Box<Repr>);

#[derive(Clone)]
struct Repr {
    this: Link,
    /// INVARIANT: the chain that starts here holds at most [`MOST_CAUSES`].
    source: Option<Error>,
}

/// An error without its causes.
#[derive(Clone, Serialize, Deserialize)]
struct Link {
    kind: ErrorKind,
    message: Cow<'static, str>,
    os_code: Option<i32>,
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
    /// Whoever had the lock died over it; what it protects may be half done.
    OwnerDied,
    /// The value was handed out before, and holds handles that exist once.
    Taken,
    /// The object is out of order for good: its workers could not be started, say.
    Broken,
    /// The other end does not know the key, or does not speak as somebody who does.
    Authentication,
    /// There is nothing of that name.
    NotFound,
    /// The name is taken.
    AlreadyExists,
    /// There is not so much memory, or a limit leaves none.
    OutOfMemory,
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
        Self::of(Link { kind, message: message.into(), os_code: None }, None)
    }

    /// The same error, caused by `source`. The causes of `source` come along as text.
    #[must_use]
    pub fn caused_by(mut self, source: &(dyn std::error::Error + 'static)) -> Self {
        let foreign = std::iter::successors(Some(source), |cause| cause.source());
        self.0.source = chain(foreign.map(Link::of));
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

    /// The same error, of another kind.
    #[must_use]
    pub fn with_kind(mut self, kind: ErrorKind) -> Self {
        self.0.this.kind = kind;
        self
    }

    fn of(this: Link, source: Option<Self>) -> Self {
        Self(Box::new(Repr { this, source }))
    }

    /// This error and its causes.
    fn links(&self) -> impl Iterator<Item = &Link> {
        std::iter::successors(Some(self), |error| error.0.source.as_ref())
            .map(|error| &error.0.this)
    }

    /// Which kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        self.0.this.kind
    }

    /// The operating system's code, when it was the one to refuse.
    pub fn os_code(&self) -> Option<OsCode> {
        self.0.this.os_code.map(OsCode::from_raw)
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
        this.0.this.os_code = Some(error.code().raw());
        this
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        let mut this = Self::from_foreign(&error);
        this.0.this.os_code = error.raw_os_error();
        if this.0.this.os_code.is_some() {
            this.0.this.kind = ErrorKind::Os;
        }
        this
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.this.message)
    }
}

impl fmt::Debug for Error {
    /// The kind, the message and the causes: what a program prints that returns the error from `main`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (depth, link) in self.links().enumerate() {
            f.write_str(if depth == 0 { "" } else { ", because " })?;
            write!(f, "{:?}: {}", link.kind, link.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|source| source as _)
    }
}

impl Link {
    fn of(error: &(dyn std::error::Error + 'static)) -> Self {
        match error.downcast_ref::<Error>() {
            Some(error) => error.0.this.clone(),
            None => {
                Self { kind: ErrorKind::Other, message: error.to_string().into(), os_code: None }
            }
        }
    }

    /// What stands for the causes beyond [`MOST_CAUSES`].
    fn cut() -> Self {
        let message = Cow::Borrowed("more causes, which were cut off");
        Self { kind: ErrorKind::Other, message, os_code: None }
    }
}

/// The first of `causes`, caused by the second, and so on.
fn chain(mut causes: impl Iterator<Item = Link>) -> Option<Error> {
    let mut kept: Vec<Link> = causes.by_ref().take(MOST_CAUSES).collect();
    if causes.next().is_some() {
        kept.truncate(MOST_CAUSES - 1);
        kept.push(Link::cut());
    }
    let join = |source, this| Some(Error::of(this, source));
    kept.into_iter().rev().fold(None, join)
}

impl Serialize for Error {
    /// A list: the error, its cause, the cause of that.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let links: Vec<&Link> = self.links().collect();
        links.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Error {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Links)
    }
}

/// Reads the list that an error is written as.
struct Links;

impl<'de> Visitor<'de> for Links {
    type Value = Error;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an error and its causes")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut links: A) -> Result<Error, A::Error> {
        let first: Option<Link> = links.next_element()?;
        let first = first.ok_or_else(|| de::Error::invalid_length(0, &self))?;
        let mut causes: Vec<Link> = Vec::new();
        while let Some(cause) = links.next_element()? {
            // Those beyond the limit are read as well, because something else may stand behind them.
            if causes.len() <= MOST_CAUSES {
                causes.push(cause);
            }
        }
        Ok(Error::of(first, chain(causes.into_iter())))
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

    /// How many causes `error` has, and the last of them.
    fn causes(error: &Error) -> (usize, String) {
        let texts: Vec<String> =
            error.links().skip(1).map(|link| link.message.to_string()).collect();
        (texts.len(), texts.last().cloned().unwrap_or_default())
    }

    #[test]
    fn a_chain_of_any_length_is_cut_and_says_so() {
        let mut error = Error::new(ErrorKind::Died, "first");
        for depth in 1..=MOST_CAUSES {
            error = Error::new(ErrorKind::Broken, depth.to_string()).caused_by(&error);
            assert_eq!(causes(&error), (depth, "first".to_owned()));
        }
        // Five times, so that a cut chain is cut again.
        for depth in 0..5 {
            error = Error::new(ErrorKind::Broken, depth.to_string()).caused_by(&error);
            let (count, last) = causes(&error);
            assert_eq!(count, MOST_CAUSES);
            assert!(last.contains("cut off"), "{last}");
            assert_eq!(format!("{error:?}").matches("cut off").count(), 1);
        }
        let got: Error = Message::encode(&error).unwrap().decode().unwrap();
        assert_eq!(format!("{got:?}"), format!("{error:?}"));
        assert_eq!(std::error::Error::source(&got).unwrap().to_string(), "3");
    }

    #[test]
    fn a_message_of_a_million_causes_overflows_nothing() {
        let link = Link { kind: ErrorKind::Os, message: "x".into(), os_code: Some(7) };
        let message = Message::encode(&(vec![link; 1_000_000], 9u8)).unwrap();
        // On a thread with a small stack, so that it is seen if anything is recursive.
        let small = std::thread::Builder::new().stack_size(128 << 10);
        let (got, behind) = small
            .spawn(move || message.decode::<(Error, u8)>().map(|(got, nine)| (got.clone(), nine)))
            .unwrap()
            .join()
            .unwrap()
            .unwrap();
        assert_eq!((causes(&got).0, behind), (MOST_CAUSES, 9));
        assert!(causes(&got).1.contains("cut off"));
    }

    #[test]
    fn a_foreign_chain_without_end_is_cut() {
        #[derive(Debug)]
        struct Endless;
        impl fmt::Display for Endless {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("again")
            }
        }
        impl std::error::Error for Endless {
            fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
                Some(&Endless)
            }
        }
        assert_eq!(causes(&Error::from_foreign(&Endless)).0, MOST_CAUSES);
    }

    #[test]
    fn half_an_error_and_none_at_all_are_refused() {
        let error = Error::new(ErrorKind::Os, "outer").caused_by(&Error::new(ErrorKind::Os, "in"));
        let bytes = Message::encode(&error).unwrap().into_parts().0;
        for len in 0..bytes.len() {
            let cut = Message::decode_parts::<Error>(&bytes[..len], Vec::new()).unwrap_err();
            assert_eq!(cut.kind(), ErrorKind::Decode, "{len} of {}", bytes.len());
        }
        assert!(Message::decode_parts::<Error>(&[0], Vec::new()).is_err());
    }

    #[test]
    fn debug_tells_the_causes_in_order() {
        let inner = Error::new(ErrorKind::Closed, "inner");
        let error = Error::new(ErrorKind::Broken, "outer").caused_by(&inner);
        assert_eq!(format!("{error:?}"), "Broken: outer, because Closed: inner");
        assert_eq!(format!("{inner:?}"), "Closed: inner");
    }
}
