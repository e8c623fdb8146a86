//! What the operating system answers when it refuses.

use std::fmt;

/// The result of a call into the operating system.
pub type Result<T> = std::result::Result<T, OsError>;

/// An error code of the operating system (`errno` on Unix).
///
/// A newtype and not an enum: the system may answer a code that this crate has never heard of.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct OsCode(i32);

impl OsCode {
    /// The process or resource does not exist.
    pub const NO_PROCESS: Self = Self(libc::ESRCH);
    /// There is no child to wait for: somebody else reaped it, or the host ignores SIGCHLD.
    pub const NO_CHILD: Self = Self(libc::ECHILD);
    /// The call would have to wait.
    pub const WOULD_BLOCK: Self = Self(libc::EAGAIN);
    /// The other end is gone.
    pub const BROKEN_PIPE: Self = Self(libc::EPIPE);
    /// The other end was closed with unread data.
    pub const CONNECTION_RESET: Self = Self(libc::ECONNRESET);
    /// The message does not fit.
    pub const MESSAGE_SIZE: Self = Self(libc::EMSGSIZE);
    /// The system is out of buffers for now.
    pub const NO_BUFFERS: Self = Self(libc::ENOBUFS);
    /// The wait ended before the event.
    pub const TIMED_OUT: Self = Self(libc::ETIMEDOUT);
    /// An argument is refused.
    pub const INVALID: Self = Self(libc::EINVAL);
    /// No such descriptor is open.
    pub const BAD_DESCRIPTOR: Self = Self(libc::EBADF);
    /// This process may open no more descriptors.
    pub const TOO_MANY_OPEN: Self = Self(libc::EMFILE);
    /// Data was cut off.
    pub const TRUNCATED: Self = Self(libc::EBADMSG);
    /// The call does not exist here.
    pub const UNSUPPORTED: Self = Self(libc::ENOSYS);
    /// Not permitted.
    pub const NOT_PERMITTED: Self = Self(libc::EPERM);

    /// There is not so much memory.
    pub const NO_MEMORY: Self = Self(libc::ENOMEM);
    /// The name is taken.
    pub const EXISTS: Self = Self(libc::EEXIST);
    /// There is nothing of that name.
    pub const NOT_FOUND: Self = Self(libc::ENOENT);
    /// The file system is full.
    pub const NO_SPACE: Self = Self(libc::ENOSPC);
    /// Somebody uses it.
    pub const BUSY: Self = Self(libc::EBUSY);

    /// The code with this number.
    pub const fn from_raw(code: i32) -> Self {
        Self(code)
    }

    /// The number of this code.
    pub const fn raw(self) -> i32 {
        self.0
    }
}

impl fmt::Debug for OsCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OsCode({}: {self})", self.0)
    }
}

impl fmt::Display for OsCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = std::io::Error::from_raw_os_error(self.0).to_string();
        let mut text = text.split(" (os error").next().unwrap_or_default().to_owned();
        text.get_mut(..1).unwrap_or_default().make_ascii_lowercase();
        f.write_str(&text)
    }
}

/// A refused call: what was attempted, on what, and the system's code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OsError {
    operation: &'static str,
    subject: Box<str>,
    code: OsCode,
}

impl OsError {
    /// An error of `operation` (a verb phrase: "open", "map memory") on `subject` (may be empty).
    pub fn new(operation: &'static str, subject: impl Into<Box<str>>, code: OsCode) -> Self {
        Self { operation, subject: subject.into(), code }
    }

    /// What was attempted.
    pub fn operation(&self) -> &'static str {
        self.operation
    }

    /// What it was attempted on; empty where the operation says it all.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The system's code.
    pub fn code(&self) -> OsCode {
        self.code
    }
}

impl fmt::Display for OsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "could not {}", self.operation)?;
        if !self.subject.is_empty() {
            write!(f, " {}", self.subject)?;
        }
        write!(f, ": {} (os error {})", self.code, self.code.raw())
    }
}

impl std::error::Error for OsError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_names_operation_subject_and_code() {
        let error = OsError::new("open", "/nowhere", OsCode::from_raw(libc::ENOENT));
        assert_eq!(
            error.to_string(),
            "could not open /nowhere: no such file or directory (os error 2)"
        );
    }

    #[test]
    fn unknown_codes_stay_representable() {
        assert_eq!(OsCode::from_raw(9999).raw(), 9999);
        assert!(OsCode::from_raw(9999).to_string().contains("9999"));
    }
}
